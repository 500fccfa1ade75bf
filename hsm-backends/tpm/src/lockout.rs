//! The TPM's guard against dictionary attacks (TPM 2.0 Part 1, 19.8): it counts wrong authorization values, of all keys and
//! all programs together, and refuses every key that is under it when there were too many. So a value that has not been
//! seen to be right is not tried when one more failure would lock the TPM.

use tss_esapi::constants::PropertyTag;
use vault::{Error, Kind, Result};

use crate::errors::{Done, Trouble};
use crate::link::Link;

/// The guard as the TPM states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lockout {
    failures: u32,
    allowed: u32,
    /// Seconds after which one failure is forgotten.
    interval: u32,
}

impl Lockout {
    /// Asks the TPM.
    pub(crate) fn read(link: &mut Link) -> Done<Self> {
        // Counter, maximum, interval and recovery follow one another (TPM 2.0 Part 2, 6.13).
        let first = PropertyTag::LockoutCounter;
        let list = link.properties(first, 4)?;
        let find = |tag| {
            let missing = || Trouble::Nonsense(format!("TPM2_GetCapability: no {tag:?}"));
            list.find(tag).map(|property| property.value()).ok_or_else(missing)
        };
        Ok(Self {
            failures: find(first)?,
            allowed: find(PropertyTag::MaxAuthFail)?,
            interval: find(PropertyTag::LockoutInterval)?,
        })
    }

    /// Refuses to spend the last try.
    pub(crate) fn check(self) -> Result<()> {
        let Self { failures, allowed, interval } = self;
        if failures.saturating_add(1) < allowed {
            return Ok(());
        }
        let text = if failures >= allowed {
            format!(
                "the TPM is locked: it counted {failures} wrong authorization values of {allowed} allowed"
            )
        } else {
            format!(
                "one more wrong authorization value would lock the TPM: it counted {failures} of {allowed} allowed"
            )
        };
        Err(Error::new(Kind::Denied, text).with_hint(format!(
            "see that the value is right, then wait {interval} s for each failure, or reset the TPM's counter with \
             `tpm2_dictionarylockout --clear-lockout`"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_is_never_spent() {
        let check = |failures, allowed| Lockout { failures, allowed, interval: 10 }.check();
        for (failures, allowed) in [(0, 3), (1, 3), (30, 32)] {
            check(failures, allowed).unwrap();
        }
        for (failures, allowed) in [(2, 3), (3, 3), (4, 3), (0, 1), (0, 0), (u32::MAX, u32::MAX)] {
            assert_eq!(check(failures, allowed).unwrap_err().kind(), Kind::Denied, "{failures} of {allowed}");
        }
        assert!(check(2, 3).unwrap_err().to_string().contains("one more"));
        assert!(check(3, 3).unwrap_err().to_string().contains("is locked"));
    }
}
