//! Management keys: their types, and which may be given to a card.

use std::fmt;
use std::str::FromStr;

use ::yubikey::{MgmAlgorithmId, MgmKey};
use vault::{Error, Kind, Result, SecretBytes};

use crate::errors::{Done, Trouble};
use crate::station::management_key;

/// The types of management keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagementAlgorithm {
    /// Triple DES with three keys: what cards before 5.7 leave the factory with.
    TripleDes,
    /// AES-128, from firmware 5.4.2.
    Aes128,
    /// AES-192, from firmware 5.4.2: what cards from 5.7 leave the factory with.
    Aes192,
    /// AES-256, from firmware 5.4.2.
    Aes256,
}

const ALL: [(ManagementAlgorithm, MgmAlgorithmId, &str, usize); 4] = [
    (ManagementAlgorithm::TripleDes, MgmAlgorithmId::ThreeDes, "3des", 24),
    (ManagementAlgorithm::Aes128, MgmAlgorithmId::Aes128, "aes128", 16),
    (ManagementAlgorithm::Aes192, MgmAlgorithmId::Aes192, "aes192", 24),
    (ManagementAlgorithm::Aes256, MgmAlgorithmId::Aes256, "aes256", 32),
];

impl ManagementAlgorithm {
    fn row(self) -> (MgmAlgorithmId, &'static str, usize) {
        let found = ALL.iter().find(|(algorithm, ..)| *algorithm == self);
        found.map_or((MgmAlgorithmId::Aes256, "aes256", 32), |(_, id, name, length)| (*id, *name, *length))
    }

    pub(crate) fn of_driver(id: MgmAlgorithmId) -> Self {
        let found = ALL.iter().find(|(_, other, ..)| *other == id);
        found.map_or(Self::TripleDes, |(algorithm, ..)| *algorithm)
    }

    /// Its word: `3des`, `aes128`, `aes192`, `aes256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }
}

impl fmt::Display for ManagementAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ManagementAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ALL.iter().find(|(_, _, name, _)| *name == text).map(|(algorithm, ..)| *algorithm).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is no type of a management key", text.escape_debug()))
                .with_hint("types are aes256, aes192, aes128 and 3des")
        })
    }
}

/// A management key that may be given to a card.
#[derive(Debug)]
pub struct ManagementKey {
    bytes: SecretBytes,
    algorithm: ManagementAlgorithm,
}

impl ManagementKey {
    /// A new random one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random(algorithm: ManagementAlgorithm) -> Result<Self> {
        Self::new(SecretBytes::random(algorithm.row().2)?, algorithm)
    }

    /// From its hexadecimal digits. Without a type, it is the one of its length, as far as a card has it whose best is this.
    ///
    /// # Errors
    /// [`Kind::Denied`] when they are none, [`Kind::Invalid`] when they are not of this type, known to everybody, or weak.
    pub fn from_hex(
        text: &SecretBytes,
        algorithm: Option<ManagementAlgorithm>,
        best: ManagementAlgorithm,
    ) -> Result<Self> {
        let bytes = management_key(text)?;
        let algorithm = algorithm.unwrap_or(match (best, bytes.len()) {
            (ManagementAlgorithm::TripleDes, _) => best,
            (_, 16) => ManagementAlgorithm::Aes128,
            (_, 24) => ManagementAlgorithm::Aes192,
            _ => ManagementAlgorithm::Aes256,
        });
        Self::new(bytes, algorithm)
    }

    fn new(bytes: SecretBytes, algorithm: ManagementAlgorithm) -> Result<Self> {
        let refuse = |text: String, hint| Err(Error::new(Kind::Invalid, text).with_hint(hint));
        let length = algorithm.row().2;
        if bytes.len() != length {
            let text =
                format!("the new management key has {} bytes, and {algorithm} takes {length}", bytes.len());
            return refuse(text, "write it in hexadecimal digits, two for a byte");
        }
        // That of the factory is these eight bytes again and again.
        if bytes.expose().chunks(8).all(|part| part == [1, 2, 3, 4, 5, 6, 7, 8]) {
            let text = "the new management key is the one that every card leaves the factory with".to_owned();
            return refuse(text, "everybody knows it; choose another");
        }
        if algorithm == ManagementAlgorithm::TripleDes && repeats(bytes.expose()) {
            let text = "two parts of the new Triple DES key are the same, so that they cancel out".to_owned();
            return refuse(text, "take 24 random bytes");
        }
        Ok(Self { bytes, algorithm })
    }

    /// Its type.
    #[must_use]
    pub fn algorithm(&self) -> ManagementAlgorithm {
        self.algorithm
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &SecretBytes {
        &self.bytes
    }

    pub(crate) fn to_driver(&self) -> Done<MgmKey> {
        MgmKey::from_bytes(self.bytes.expose(), Some(self.algorithm.row().0)).map_err(Trouble::from)
    }
}

/// Whether two neighbours of the three DES keys are the same, but for the parity bits, which do not count (NIST SP 800-67r2
/// §3.3).
fn repeats(key: &[u8]) -> bool {
    let same = |one: &[u8], other: &[u8]| one.iter().zip(other).all(|(a, b)| (a ^ b) & 0xfe == 0);
    key.chunks(8).zip(key.chunks(8).skip(1)).any(|(one, other)| same(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_back() {
        for (algorithm, id, name, _) in ALL {
            assert_eq!(name.parse::<ManagementAlgorithm>().unwrap(), algorithm);
            assert_eq!(ManagementAlgorithm::of_driver(id), algorithm);
            assert_eq!(ManagementKey::random(algorithm).unwrap().algorithm().name(), name);
        }
        assert!("des".parse::<ManagementAlgorithm>().is_err());
    }

    #[test]
    fn weak_keys_are_refused() {
        use ManagementAlgorithm::{Aes128, Aes192, Aes256, TripleDes};
        let digits = |text: String| SecretBytes::new(text.into_bytes());
        let factory = |times| digits("0102030405060708".repeat(times));
        for (bad, algorithm) in [
            (factory(2), Aes128),
            (factory(3), Aes192),
            (factory(3), TripleDes),
            (factory(4), Aes256),
            (digits("11".repeat(24)), TripleDes),
            // Parity bits make no difference.
            (digits(["10".repeat(8), "11".repeat(8), "22".repeat(8)].concat()), TripleDes),
            (digits(["22".repeat(8), "10".repeat(8), "11".repeat(8)].concat()), TripleDes),
            (digits("11".repeat(16)), Aes256),
        ] {
            let error = ManagementKey::from_hex(&bad, Some(algorithm), Aes256).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
        let good = digits(["10".repeat(8), "22".repeat(8), "10".repeat(8)].concat());
        assert!(ManagementKey::from_hex(&good, Some(TripleDes), Aes256).is_ok());
        let none = ManagementKey::from_hex(&digits("xx".repeat(16)), None, Aes256);
        assert_eq!(none.unwrap_err().kind(), Kind::Denied);
    }

    #[test]
    fn a_length_says_the_type() {
        use ManagementAlgorithm::{Aes128, Aes192, Aes256, TripleDes};
        let of = |length: usize, best| {
            let digits: String = (0..length).map(|place| format!("{place:02x}")).collect();
            let key = ManagementKey::from_hex(&SecretBytes::new(digits.into_bytes()), None, best);
            key.map(|key| key.algorithm()).map_err(|e| e.kind())
        };
        assert_eq!(of(16, Aes256), Ok(Aes128));
        assert_eq!(of(24, Aes256), Ok(Aes192));
        assert_eq!(of(32, Aes256), Ok(Aes256));
        assert_eq!(of(24, TripleDes), Ok(TripleDes));
        assert_eq!(of(32, TripleDes), Err(Kind::Invalid));
    }
}
