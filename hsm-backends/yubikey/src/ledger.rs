//! The ledger: a data object on the card that says which key has which name. It is what makes names, purposes and slots
//! survive, and lets another computer find them (docs/formats.md, "The ledger on a YubiKey").
//!
//! ```text
//! version = 1 (1 byte), then for each entry, by slot:
//!   slot (1 byte) | what = 0 spent, 1..=255 an algorithm | state = 0 begun, 1 made | fingerprint (16) | length of name (1) | name
//! ```

use sha2::{Digest as _, Sha256};
use vault::{Algorithm, Error, KeyName, Kind, MAX_KEY_NAME, Result};

use crate::slots::Slot;

/// The object that holds it: in the range that YubiKeys leave to applications, and none that their own tools use.
pub(crate) const OBJECT: u32 = 0x005f_6f6b;

const VERSION: u8 = 1;
/// More than the 24 slots of one card can say, and less than an object takes (3052 bytes).
const MAX_LEDGER: usize = 2800;

/// The first half of the SHA-256 of a public key: enough to tell that a slot has another key by now.
pub(crate) type Fingerprint = [u8; 16];

pub(crate) fn fingerprint(public: &[u8]) -> Fingerprint {
    let mut half = [0; 16];
    half.iter_mut().zip(Sha256::digest(public)).for_each(|(to, from)| *to = from);
    half
}

/// What a slot is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A key is being made here, or its making was cut off. The slot was free before.
    Begun { name: KeyName, algorithm: Algorithm },
    /// The key of this name.
    Made { name: KeyName, algorithm: Algorithm, fingerprint: Fingerprint },
    /// A key of nobody, put there to destroy the one before; the slot is free while it is the one in it.
    Spent { fingerprint: Fingerprint },
}

impl Use {
    pub(crate) fn name(&self) -> Option<&KeyName> {
        match self {
            Self::Begun { name, .. } | Self::Made { name, .. } => Some(name),
            Self::Spent { .. } => None,
        }
    }
}

/// All entries, one for each slot at most, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger(Vec<(Slot, Use)>);

impl Ledger {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Slot, Use)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Use> {
        self.0.iter().find(|(other, _)| *other == slot).map(|(_, entry)| entry)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&(Slot, Use)> {
        self.0.iter().find(|(_, entry)| entry.name().is_some_and(|own| own.as_str() == name))
    }

    /// Sets or clears the entry of a slot.
    pub(crate) fn set(&mut self, slot: Slot, entry: Option<Use>) {
        self.0.retain(|(other, _)| *other != slot);
        if let Some(entry) = entry {
            self.0.push((slot, entry));
            self.0.sort_by_key(|(slot, _)| *slot);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for (slot, entry) in &self.0 {
            let (what, state, fingerprint) = match entry {
                Use::Begun { algorithm, .. } => (number(*algorithm), 0, [0; 16]),
                Use::Made { algorithm, fingerprint, .. } => (number(*algorithm), 1, *fingerprint),
                Use::Spent { fingerprint } => (0, 1, *fingerprint),
            };
            let name = entry.name().map_or("", KeyName::as_str).as_bytes();
            out.extend([slot.number(), what, state]);
            out.extend(fingerprint);
            out.push(u8::try_from(name.len()).unwrap_or_default());
            out.extend(name);
        }
        out
    }

    /// # Errors
    /// [`Kind::Corrupt`] when it is not what [`encode`](Self::encode) writes, [`Kind::Unsupported`] for a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = match bytes {
            [] => return Ok(Self::default()),
            [VERSION, rest @ ..] if bytes.len() <= MAX_LEDGER => rest,
            [1, ..] => return Err(corrupt()),
            [other, ..] => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("the list of keys on the card is of version {other}"),
                )
                .with_hint("a later version of this program wrote it: use that one"));
            }
        };
        let mut ledger = Self::default();
        while !rest.is_empty() {
            let (slot, entry, after) = entry(rest).ok_or_else(corrupt)?;
            let taken = entry.name().is_some_and(|name| ledger.named(name.as_str()).is_some());
            if taken || ledger.0.last().is_some_and(|(last, _)| *last >= slot) {
                return Err(corrupt());
            }
            ledger.0.push((slot, entry));
            rest = after;
        }
        Ok(ledger)
    }
}

fn entry(bytes: &[u8]) -> Option<(Slot, Use, &[u8])> {
    let [slot, what, state, rest @ ..] = bytes else { return None };
    let (fingerprint, rest) = rest.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length).min(MAX_KEY_NAME + 1))?;
    let name = || KeyName::new(std::str::from_utf8(name).ok()?).ok();
    let entry = match (what, state) {
        (0, 1) if *length == 0 => Use::Spent { fingerprint: *fingerprint },
        (what, 0) if *fingerprint == [0; 16] => Use::Begun { name: name()?, algorithm: algorithm(*what)? },
        (what, 1) => Use::Made { name: name()?, algorithm: algorithm(*what)?, fingerprint: *fingerprint },
        _ => return None,
    };
    Some((Slot::new(*slot)?, entry, rest))
}

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "the list of keys on the card is damaged").with_hint(
        "another program wrote into data object 5f6f6b; keys can still be opened by their slot, `yubikey:slot=9c`",
    )
}

/// The number of an algorithm in the ledger.
const NUMBERS: [(Algorithm, u8); 5] = [
    (Algorithm::Ed25519, 1),
    (Algorithm::EcdsaP256, 2),
    (Algorithm::X25519, 3),
    (Algorithm::EcdhP256, 4),
    (Algorithm::EciesP256, 5),
];

fn number(algorithm: Algorithm) -> u8 {
    NUMBERS.iter().find(|(known, _)| *known == algorithm).map_or(0, |(_, number)| *number)
}

fn algorithm(number: u8) -> Option<Algorithm> {
    NUMBERS.iter().find(|(_, known)| *known == number).map(|(algorithm, _)| *algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Ledger {
        let mut ledger = Ledger::default();
        for (place, number) in (0x82..=0x95).chain([0x9a, 0x9c, 0x9d, 0x9e]).enumerate() {
            let name = KeyName::new(&format!("{place:0>MAX_KEY_NAME$}")).unwrap();
            let entry =
                Use::Made { name, algorithm: Algorithm::EcdsaP256, fingerprint: fingerprint(&[number]) };
            ledger.set(Slot::new(number).unwrap(), Some(entry));
        }
        ledger
    }

    #[test]
    fn a_full_card_fits_and_reads_back() {
        let ledger = full();
        assert!(ledger.encode().len() <= MAX_LEDGER, "{}", ledger.encode().len());
        assert_eq!(Ledger::decode(&ledger.encode()).unwrap(), ledger);
    }

    #[test]
    fn every_kind_of_entry_reads_back() {
        let name = |text| KeyName::new(text).unwrap();
        let mut ledger = Ledger::default();
        let slot = |number| Slot::new(number).unwrap();
        ledger.set(slot(0x9c), Some(Use::Begun { name: name("a"), algorithm: Algorithm::Ed25519 }));
        ledger.set(slot(0x9d), Some(Use::Spent { fingerprint: fingerprint(b"x") }));
        assert_eq!(Ledger::decode(&ledger.encode()).unwrap(), ledger);
        ledger.set(slot(0x9c), None);
        assert_eq!(ledger.iter().count(), 1);
    }

    #[test]
    fn what_is_cut_or_altered_is_refused_or_another_ledger() {
        let ledger = full();
        let bytes = ledger.encode();
        for length in 1..bytes.len() {
            if let Ok(shorter) = Ledger::decode(&bytes[..length]) {
                assert_eq!(shorter.encode(), &bytes[..length]);
                assert_ne!(shorter, ledger);
            }
        }
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(
                Ledger::decode(&altered)
                    .is_err_and(|e| matches!(e.kind(), Kind::Corrupt | Kind::Unsupported))
                    || Ledger::decode(&altered).is_ok_and(|other| other.encode() == altered)
            );
        }
        assert_eq!(Ledger::decode(&[2, 0]).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(Ledger::decode(&[1; MAX_LEDGER + 1]).unwrap_err().kind(), Kind::Corrupt);
    }
}
