//! What to generate: a name, and an algorithm that fits the purpose.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::purpose::{Agreement, Purpose, PurposeKind, Sealing, Signing};

/// The algorithms a key can have. Each belongs to exactly one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 signatures (RFC 8032), pure: the message is not hashed before.
    Ed25519,
    /// ECDSA on NIST P-256 with SHA-256 over the message (FIPS 186-5), `s` in the lower half.
    EcdsaP256,
    /// X25519 key agreement (RFC 7748).
    X25519,
    /// AES-256 in Galois/Counter mode (NIST SP 800-38D), 96-bit random nonce.
    Aes256Gcm,
    /// Diffie-Hellman on NIST P-256: the x-coordinate of the shared point (NIST SP 800-56A, ECC CDH).
    EcdhP256,
    /// Sealing for a P-256 key that only agrees: an ephemeral key, HKDF-SHA256, AES-256-GCM (docs/formats.md).
    EciesP256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] =
        [Self::Ed25519, Self::EcdsaP256, Self::X25519, Self::Aes256Gcm, Self::EcdhP256, Self::EciesP256];

    /// The word for it in text, JSON and command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "p256",
            Self::X25519 => "x25519",
            Self::Aes256Gcm => "aes256-gcm",
            Self::EcdhP256 => "ecdh-p256",
            Self::EciesP256 => "ecies-p256",
        }
    }

    /// What a key of this algorithm is for.
    #[must_use]
    pub fn purpose(self) -> PurposeKind {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => PurposeKind::Signing,
            Self::X25519 | Self::EcdhP256 => PurposeKind::Agreement,
            Self::Aes256Gcm | Self::EciesP256 => PurposeKind::Sealing,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("`{}` is not a key type", text.escape_debug()))
                .with_hint("key types are ed25519, p256, x25519, aes256-gcm, ecdh-p256 and ecies-p256")
        })
    }
}

/// The longest key name, in bytes. PKCS#11 tokens are the narrowest place a name has to fit (a CKA_LABEL).
pub const MAX_KEY_NAME: usize = 96;

/// The name a key is generated under: 1 to [`MAX_KEY_NAME`] ASCII letters, digits, `.`, `_` and `-`, not starting with
/// `.` or `-`. It becomes a file name and a token label, so it can hold nothing that either would interpret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when it is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > MAX_KEY_NAME
            || name.starts_with(['.', '-'])
            || !name.chars().all(fits)
        {
            let shown: String = name.chars().take(40).collect();
            return Err(Error::new(Kind::Invalid, format!("`{}` cannot be a key name", shown.escape_debug()))
                .with_hint(format!(
                    "use 1 to {MAX_KEY_NAME} letters, digits, `.`, `_` or `-`, starting with a letter, digit or `_`"
                )));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// A key to be generated: the name it must get, and an algorithm of the right purpose.
#[derive(Clone, Debug)]
pub struct KeySpec<P: Purpose> {
    name: KeyName,
    algorithm: Algorithm,
    purpose: PhantomData<P>,
}

impl<P: Purpose> KeySpec<P> {
    /// A key of this name and algorithm.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the algorithm is for another purpose.
    pub fn new(name: KeyName, algorithm: Algorithm) -> Result<Self> {
        if algorithm.purpose() != P::KIND {
            return Err(Error::new(
                Kind::Invalid,
                format!("a key of type {algorithm} is for {}, not for {}", algorithm.purpose(), P::KIND),
            ));
        }
        Ok(Self { name, algorithm, purpose: PhantomData })
    }

    /// The name the key must get.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl KeySpec<Signing> {
    /// An Ed25519 signing key.
    #[must_use]
    pub fn ed25519(name: KeyName) -> Self {
        Self { name, algorithm: Algorithm::Ed25519, purpose: PhantomData }
    }

    /// An ECDSA P-256 signing key.
    #[must_use]
    pub fn p256(name: KeyName) -> Self {
        Self { name, algorithm: Algorithm::EcdsaP256, purpose: PhantomData }
    }
}

impl KeySpec<Agreement> {
    /// An X25519 agreement key.
    #[must_use]
    pub fn x25519(name: KeyName) -> Self {
        Self { name, algorithm: Algorithm::X25519, purpose: PhantomData }
    }
}

impl KeySpec<Sealing> {
    /// An AES-256-GCM sealing key.
    #[must_use]
    pub fn aes256_gcm(name: KeyName) -> Self {
        Self { name, algorithm: Algorithm::Aes256Gcm, purpose: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_are_refused() {
        for bad in ["", "../x", "a/b", ".hidden", "-flag", "a\0b", "é", "a b", &"x".repeat(MAX_KEY_NAME + 1)]
        {
            assert_eq!(KeyName::new(bad).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
        }
        for good in ["a", "_a", "issuer.2026-11", &"x".repeat(MAX_KEY_NAME)] {
            assert_eq!(KeyName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_algorithm_of_another_purpose_is_refused() {
        let name = KeyName::new("k").unwrap();
        assert!(KeySpec::<Signing>::new(name.clone(), Algorithm::X25519).is_err());
        assert!(KeySpec::<Agreement>::new(name, Algorithm::X25519).is_ok());
    }
}
