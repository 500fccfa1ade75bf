//! Which platform configuration registers a sealing key is bound to: `sha256:0,7`.

use std::fmt;
use std::str::FromStr;

use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};
use vault::{Error, Kind, Result};

/// A bank and registers of it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pcrs {
    bank: Bank,
    registers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bank {
    Sha256,
    Sha384,
}

/// A PC client TPM has 24 registers (PC Client Platform TPM Profile 4.6).
const REGISTERS: u8 = 24;

impl Pcrs {
    /// The selection as the TPM takes it.
    pub(crate) fn selection(&self) -> tss_esapi::Result<PcrSelectionList> {
        let bank = match self.bank {
            Bank::Sha256 => HashingAlgorithm::Sha256,
            Bank::Sha384 => HashingAlgorithm::Sha384,
        };
        let slots = self.registers.iter().map(|register| PcrSlot::try_from(1_u32 << register));
        let slots = slots.collect::<tss_esapi::Result<Vec<_>>>()?;
        PcrSelectionList::builder().with_selection(bank, &slots).build()
    }
}

impl FromStr for Pcrs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(Kind::Invalid, format!("`{}` names no registers", text.escape_debug()))
                .with_hint("name a bank and registers of it, 0 to 23 in ascending order: `pcrs=sha256:0,7`")
        };
        let (bank, list) = text.split_once(':').ok_or_else(bad)?;
        let bank = match bank {
            "sha256" => Bank::Sha256,
            "sha384" => Bank::Sha384,
            _ => return Err(bad()),
        };
        let registers: Vec<u8> =
            list.split(',').map(|one| one.parse().ok()).collect::<Option<_>>().ok_or_else(bad)?;
        let pcrs = Self { bank, registers };
        // One spelling only: it is stored, and compared when it is read.
        let ascending = pcrs.registers.is_sorted_by(|one, other| one < other);
        let known = pcrs.registers.iter().all(|register| *register < REGISTERS);
        if ascending && known && pcrs.to_string() == text { Ok(pcrs) } else { Err(bad()) }
    }
}

impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.bank {
            Bank::Sha256 => "sha256:",
            Bank::Sha384 => "sha384:",
        })?;
        for (place, register) in self.registers.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{register}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        for good in ["sha256:0", "sha256:0,7", "sha384:23"] {
            let pcrs: Pcrs = good.parse().unwrap();
            assert_eq!(pcrs.to_string(), good);
            assert_eq!(pcrs.selection().unwrap().len(), 1);
        }
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha1:0",
            "sha256:7,0",
            "sha256:0,0",
            "sha256:24",
            "sha256:+1",
            "sha256:07",
        ] {
            assert_eq!(bad.parse::<Pcrs>().unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }
}
