//! The raw crates, as somebody would call them who has no vault.

use ed25519_dalek::{Signer as _, Verifier as _};
use vault::{Algorithm, Signature};

use crate::Result;

/// A key in memory that signs.
#[derive(Clone)]
pub(super) enum RawSigner {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
}

impl RawSigner {
    pub(super) fn new(algorithm: Algorithm) -> Result<Self> {
        // Any scalar will do: what it takes to sign does not depend on it.
        let secret = [0x17; 32];
        match algorithm {
            Algorithm::Ed25519 => Ok(Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&secret)))),
            Algorithm::EcdsaP256 => Ok(Self::P256(Box::new(p256::ecdsa::SigningKey::from_slice(&secret)?))),
            other => Err(format!("no raw key of type {other}").into()),
        }
    }

    pub(super) fn verifier(&self) -> RawVerifier {
        match self {
            Self::Ed25519(key) => RawVerifier::Ed25519(key.verifying_key()),
            Self::P256(key) => RawVerifier::P256(*key.verifying_key()),
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().into()
            }
        }
    }
}

/// A parsed key that verifies.
#[derive(Clone, Copy)]
pub(super) enum RawVerifier {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl RawVerifier {
    pub(super) fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        match algorithm {
            Algorithm::Ed25519 => {
                Ok(Self::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into()?)?))
            }
            Algorithm::EcdsaP256 => Ok(Self::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)?)),
            other => Err(format!("no raw key of type {other}").into()),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<()> {
        match self {
            Self::Ed25519(key) => Ok(key.verify(message, &ed25519_dalek::Signature::from_bytes(signature))?),
            Self::P256(key) => Ok(key.verify(message, &p256::ecdsa::Signature::from_slice(signature)?)?),
        }
    }
}

/// The bytes of a signature of ours, whichever its type.
pub(super) fn bytes(signature: &Signature) -> [u8; 64] {
    match signature {
        Signature::Ed25519(bytes) | Signature::EcdsaP256(bytes) => *bytes,
    }
}

/// The crate that the raw keys of this type are from.
pub(super) fn crate_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ed25519-dalek",
        _ => "p256",
    }
}
