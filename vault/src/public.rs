//! Public keys and signatures, and checking them: software is enough, no vault is asked.
//!
//! Verifying follows what unmodified Ockam peers do: Ed25519 as in RFC 8032 without the extra rules of strict
//! verification, ECDSA with low and high `s` alike (docs/formats.md, signatures).

use std::fmt;

use ed25519_dalek::Verifier as _;

use crate::error::{Error, Kind, Result};
use crate::spec::Algorithm;

/// The public half of a signing key. Holds bytes that were checked to be a point of the curve.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum VerifyingKey {
    /// The 32 bytes of RFC 8032 §5.1.5.
    Ed25519([u8; 32]),
    /// SEC 1 uncompressed: `04`, X, Y.
    EcdsaP256([u8; 65]),
}

impl VerifyingKey {
    /// A key of this algorithm from its bytes: 32 for Ed25519, 65 (SEC 1, uncompressed) for P-256.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the length is wrong or the bytes are no point of the curve.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        let bad = || Error::new(Kind::Invalid, format!("not a public key of type {algorithm}"));
        let key = match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(bytes.try_into().map_err(|_| bad())?),
            Algorithm::EcdsaP256 => Self::EcdsaP256(bytes.try_into().map_err(|_| bad())?),
            other => {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("a key of type {other} verifies no signatures"),
                ));
            }
        };
        key.parse().map_err(|()| bad())?;
        Ok(key)
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
            Self::Ed25519(bytes) => bytes,
            Self::EcdsaP256(bytes) => bytes,
        }
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`Kind::Rejected`], without detail, when it does not hold: other algorithm, wrong key, altered message.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<SignatureVerified> {
        let holds = match (self.parse(), signature) {
            (Ok(Parsed::Ed25519(key)), Signature::Ed25519(bytes)) => {
                key.verify(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
            }
            (Ok(Parsed::EcdsaP256(key)), Signature::EcdsaP256(bytes)) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_slice(bytes)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            _ => false,
        };
        if holds { Ok(SignatureVerified(())) } else { Err(Error::rejected()) }
    }

    fn parse(&self) -> std::result::Result<Parsed, ()> {
        match self {
            Self::Ed25519(bytes) => {
                ed25519_dalek::VerifyingKey::from_bytes(bytes).map(Parsed::Ed25519).map_err(|_| ())
            }
            Self::EcdsaP256(bytes) => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Parsed::EcdsaP256).map_err(|_| ())
            }
        }
    }
}

enum Parsed {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(p256::ecdsa::VerifyingKey),
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
}

impl AgreementKey {
    /// Which algorithm it agrees by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::X25519(_) => Algorithm::X25519,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::X25519(bytes) => bytes,
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
