//! The slots of the PIV application and which of them a purpose may have.

use ::yubikey::piv::SlotId;
use vault::{Error, Kind, PurposeKind, Result};

/// Slots for signing, in the order in which a free one is looked for: digital signature, authentication, card
/// authentication, then the retired ones from the end.
const SIGNING: [u8; 23] = [
    0x9c, 0x9a, 0x9e, 0x95, 0x94, 0x93, 0x92, 0x91, 0x90, 0x8f, 0x8e, 0x8d, 0x8c, 0x8b, 0x8a, 0x89, 0x88,
    0x87, 0x86, 0x85, 0x84, 0x83, 0x82,
];

/// Slots for agreement and sealing: key management, then the retired ones, which were made for its old keys.
const AGREEING: [u8; 21] = [
    0x9d, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91,
    0x92, 0x93, 0x94, 0x95,
];

/// One of the slots that are used here: 9a, 9c, 9d, 9e and 82 to 95.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u8);

impl Slot {
    pub(crate) fn new(number: u8) -> Option<Self> {
        matches!(number, 0x9a | 0x9c | 0x9d | 0x9e | 0x82..=0x95).then_some(Self(number))
    }

    /// From the value of a URI's `slot`: two hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let number = (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten();
        number.and_then(Self::new).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is no slot that is used here", text.escape_debug()))
                .with_hint("slots are 9a, 9c, 9d, 9e and 82 to 95")
        })
    }

    /// Every one.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0x82..=0x95).chain([0x9a, 0x9c, 0x9d, 0x9e]).map(Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn text(self) -> String {
        format!("{:02x}", self.0)
    }

    pub(crate) fn id(self) -> Result<SlotId> {
        SlotId::try_from(self.0)
            .map_err(|_| Error::new(Kind::Unsupported, format!("the driver knows no slot `{}`", self.text())))
    }

    /// The slots that a key of this purpose may have, the best first.
    pub(crate) fn of(purpose: PurposeKind) -> impl Iterator<Item = Self> {
        let numbers: &[u8] = match purpose {
            PurposeKind::Signing => &SIGNING,
            PurposeKind::Agreement | PurposeKind::Sealing => &AGREEING,
        };
        numbers.iter().copied().map(Self)
    }

    /// What NIST SP 800-73-4 part 1 §3.3 made the slot for; the retired slots, which hold all kinds here, say nothing.
    pub(crate) fn made_for(self) -> Option<PurposeKind> {
        match self.0 {
            0x9a | 0x9c | 0x9e => Some(PurposeKind::Signing),
            0x9d => Some(PurposeKind::Agreement),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_from_two_digits() {
        for good in ["9a", "9c", "9d", "9e", "82", "95", "8F"] {
            assert_eq!(Slot::parse(good).unwrap().text(), good.to_lowercase());
        }
        for bad in ["", "9", "9b", "f9", "80", "81", "96", "09a", "zz", "+9", "9c "] {
            assert_eq!(Slot::parse(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn all_are_those_of_the_purposes() {
        let mut used: Vec<_> =
            Slot::of(PurposeKind::Signing).chain(Slot::of(PurposeKind::Agreement)).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(Slot::all().collect::<Vec<_>>(), used);
        assert!(Slot::all().all(|slot| Slot::new(slot.number()) == Some(slot)));
    }

    #[test]
    fn a_purpose_has_only_slots_that_are_made_for_it() {
        for purpose in [PurposeKind::Signing, PurposeKind::Agreement] {
            assert!(Slot::of(purpose).all(|slot| slot.made_for().is_none_or(|made| made == purpose)));
            assert!(Slot::of(purpose).all(|slot| Slot::new(slot.number()).is_some() && slot.id().is_ok()));
        }
        assert_eq!(Slot::of(PurposeKind::Sealing).next(), Slot::new(0x9d));
    }
}
