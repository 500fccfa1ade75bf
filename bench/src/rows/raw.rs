//! The raw crates, as somebody would call them who has no vault.

use ed25519_dalek::{Signer as _, Verifier as _};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
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
            Self::P256(key) => RawVerifier::of_p256(key.verifying_key()),
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

/// A key that is known to be a point and verifies, by the crate that is the fastest here.
#[derive(Clone, Copy)]
pub(super) enum RawVerifier {
    Ed25519(ed25519_dalek::VerifyingKey),
    /// `ring` has no parsed form of a key.
    P256([u8; 65]),
}

impl RawVerifier {
    pub(super) fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self> {
        match algorithm {
            Algorithm::Ed25519 => {
                Ok(Self::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into()?)?))
            }
            Algorithm::EcdsaP256 => Ok(Self::of_p256(&p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)?)),
            other => Err(format!("no raw key of type {other}").into()),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<()> {
        match self {
            Self::Ed25519(key) => Ok(key.verify(message, &ed25519_dalek::Signature::from_bytes(signature))?),
            Self::P256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .map_err(|_| "the signature does not hold".into()),
        }
    }

    fn of_p256(key: &p256::ecdsa::VerifyingKey) -> Self {
        let mut bytes = [0; 65];
        bytes.copy_from_slice(key.to_sec1_point(false).as_bytes());
        Self::P256(bytes)
    }
}

/// The bytes of a signature of ours, whichever its type.
pub(super) fn bytes(signature: &Signature) -> [u8; 64] {
    match signature {
        Signature::Ed25519(bytes) | Signature::EcdsaP256(bytes) => *bytes,
    }
}

/// The crate that verifies with keys of this type.
pub(super) fn verifier_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ed25519-dalek",
        _ => "ring",
    }
}

/// The crate that signs with keys of this type.
pub(super) fn crate_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ed25519-dalek",
        _ => "p256",
    }
}
