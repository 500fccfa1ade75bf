//! Public keys and signatures, and checking them: software is enough, no vault is asked.
//!
//! Verifying follows what unmodified Ockam peers do: Ed25519 as in RFC 8032 without the extra rules of strict
//! verification, ECDSA with low and high `s` alike (docs/formats.md, signatures). Which library verifies is a matter of
//! speed alone (docs/adr/0004-verifiers.md): tests/tests/verifiers holds them all to the same verdicts.

use std::fmt;

use ed25519_dalek::Verifier as _;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::error::{Error, Kind, Result};
use crate::spec::Algorithm;

/// The public half of a signing key: always a point of its curve.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum VerifyingKey {
    /// For Ed25519.
    Ed25519(Ed25519Point),
    /// For ECDSA on P-256.
    EcdsaP256(P256Point),
}

/// A point of edwards25519 beside its 32 bytes (RFC 8032 §5.1.5). It is kept as a point since finding it from the bytes
/// is an eighth of a verification. Equal are equal bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ed25519Point(ed25519_dalek::VerifyingKey);

impl Ed25519Point {
    /// The bytes it was made from.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<ed25519_dalek::VerifyingKey> for Ed25519Point {
    fn from(key: ed25519_dalek::VerifyingKey) -> Self {
        Self(key)
    }
}

/// A point of P-256 other than infinity: the 65 bytes of SEC 1 §2.3.3, uncompressed: `04`, X, Y.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct P256Point([u8; 65]);

impl P256Point {
    /// Of a key that is parsed already.
    pub(crate) fn of(key: &p256::ecdsa::VerifyingKey) -> Option<Self> {
        key.to_sec1_point(false).as_bytes().try_into().ok().map(Self)
    }

    /// From 65 bytes, if they are a point of the curve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; 65]>::try_from(bytes).ok()?;
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&bytes).ok().map(|_| Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

impl VerifyingKey {
    /// A key of this algorithm from its bytes: 32 for Ed25519, 65 (SEC 1, uncompressed) for P-256.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the length is wrong or the bytes are no point of the curve.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        let key = match algorithm {
            Algorithm::Ed25519 => {
                ed25519_dalek::VerifyingKey::try_from(bytes).ok().map(|key| Self::Ed25519(key.into()))
            }
            Algorithm::EcdsaP256 => P256Point::from_bytes(bytes).map(Self::EcdsaP256),
            other => {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("a key of type {other} verifies no signatures"),
                ));
            }
        };
        key.ok_or_else(|| Error::new(Kind::Invalid, format!("not a public key of type {algorithm}")))
    }

    /// Which algorithm it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// The bytes, as [`from_bytes`](Self::from_bytes) takes them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(point) => point.as_bytes(),
            Self::EcdsaP256(point) => point.as_bytes(),
        }
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`Kind::Rejected`], without detail, when it does not hold: other algorithm, wrong key, altered message.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<SignatureVerified> {
        let holds = match (self, signature) {
            (Self::Ed25519(point), Signature::Ed25519(bytes)) => {
                point.0.verify(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
            }
            (Self::EcdsaP256(point), Signature::EcdsaP256(bytes)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point.0).verify(message, bytes).is_ok()
            }
            _ => false,
        };
        if holds { Ok(SignatureVerified(())) } else { Err(Error::rejected()) }
    }
}

impl fmt::Debug for Ed25519Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for P256Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), hex::encode(self.as_bytes()))
    }
}

/// The public half of an agreement key.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgreementKey {
    /// The u-coordinate of RFC 7748 §5.
    X25519([u8; 32]),
    /// A point of P-256.
    EcdhP256(P256Point),
}

impl AgreementKey {
    /// A key of this algorithm from its bytes: 32 for X25519, 65 (SEC 1, uncompressed) for P-256.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the length is wrong or the bytes are no point of the curve.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        let key = match algorithm {
            Algorithm::X25519 => bytes.try_into().ok().map(Self::X25519),
            Algorithm::EcdhP256 => P256Point::from_bytes(bytes).map(Self::EcdhP256),
            other => {
                return Err(Error::new(Kind::Invalid, format!("a key of type {other} agrees with nobody")));
            }
        };
        key.ok_or_else(|| Error::new(Kind::Invalid, format!("not a public key of type {algorithm}")))
    }

    /// Which algorithm it agrees by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::X25519(_) => Algorithm::X25519,
            Self::EcdhP256(_) => Algorithm::EcdhP256,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::X25519(bytes) => bytes,
            Self::EcdhP256(point) => point.as_bytes(),
        }
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), hex::encode(self.as_bytes()))
    }
}

/// A signature, with the algorithm that made it.
#[derive(Clone, PartialEq, Eq)]
pub enum Signature {
    /// The 64 bytes of RFC 8032 §5.1.6.
    Ed25519([u8; 64]),
    /// `r` then `s`, 32 bytes big-endian each.
    EcdsaP256([u8; 64]),
}

impl Signature {
    /// An ECDSA signature from `r` and `s`, with `s` brought into the lower half of the group order. Devices return
    /// either half; what we produce is always the lower one, so that nobody can make a second signature of ours.
    ///
    /// # Errors
    /// [`Kind::Backend`] when `r` or `s` is zero or out of range: the device returned no signature at all.
    pub fn ecdsa_p256_normalised(bytes: &[u8]) -> Result<Self> {
        let signature = p256::ecdsa::Signature::from_slice(bytes).map_err(|_| {
            Error::new(Kind::Backend, "the device returned something that is no ECDSA signature")
        })?;
        Ok(Self::EcdsaP256(signature.normalize_s().to_bytes().into()))
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// The 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        match self {
            Self::Ed25519(bytes) | Self::EcdsaP256(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), hex::encode(self.as_bytes()))
    }
}

/// Proof that a signature was checked and holds: only [`VerifyingKey::verify`] makes one.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SignatureVerified(());
