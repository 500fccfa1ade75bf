//! Key material of the software vault, and what one does with it.

use aes_gcm::Aes256Gcm;
use p256::ecdsa::signature::Signer as _;
use zeroize::Zeroizing;

use super::aead;
use crate::error::{Error, Kind, Result};
use crate::public::{AgreementKey, P256Point, Signature, VerifyingKey};
use crate::purpose::{Agreement, Purpose, Sealing, Signing};
use crate::secret::SecretBytes;
use crate::spec::Algorithm;

/// A key in memory, kept in locked pages. Every variant wipes itself when dropped.
#[expect(clippy::large_enum_variant, reason = "what is boxed would not lie in the pages that are locked")]
pub(super) enum Material {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
    X25519(x25519_dalek::StaticSecret),
    EcdhP256(p256::SecretKey),
    Aes256Gcm(Aes256Gcm, Zeroizing<[u8; 32]>),
}

impl Material {
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self> {
        // A P-256 scalar has to be below the group order, which 32 random bytes miss once in 2^32: then draw again.
        for _ in 0..8 {
            match Self::from_secret(algorithm, SecretBytes::random(32)?) {
                Err(e) if e.kind() == Kind::Corrupt => {}
                done => return done,
            }
        }
        Err(Error::new(Kind::Backend, "the system's randomness gives no key"))
    }

    /// From the 32 bytes that [`secret`](Self::secret) gave: an Ed25519 seed, a P-256 scalar (big-endian), an X25519
    /// scalar or an AES key.
    pub(super) fn from_secret(algorithm: Algorithm, secret: SecretBytes) -> Result<Self> {
        let corrupt =
            || Error::new(Kind::Corrupt, format!("the stored bytes are no key of type {algorithm}"));
        let bytes: &[u8; 32] = secret.expose_array().ok_or_else(corrupt)?;
        Ok(match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(bytes)),
            Algorithm::EcdsaP256 => {
                let key = p256::ecdsa::SigningKey::from_slice(bytes).map_err(|_| corrupt())?;
                Self::EcdsaP256(key)
            }
            Algorithm::X25519 => Self::X25519(x25519_dalek::StaticSecret::from(*bytes)),
            Algorithm::Aes256Gcm => Self::Aes256Gcm(aead::cipher(&secret)?, Zeroizing::new(*bytes)),
            Algorithm::EcdhP256 => Self::EcdhP256(p256::SecretKey::from_slice(bytes).map_err(|_| corrupt())?),
            Algorithm::EciesP256 => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("software vaults have no keys of type {algorithm}"),
                )
                .with_hint("they seal by aes256-gcm"));
            }
        })
    }

    /// The 32 bytes to seal at rest.
    pub(super) fn secret(&self) -> SecretBytes {
        let bytes = Zeroizing::new(match self {
            Self::Ed25519(key) => key.to_bytes(),
            Self::EcdsaP256(key) => key.to_bytes().into(),
            Self::X25519(key) => key.to_bytes(),
            Self::EcdhP256(key) => key.to_bytes().into(),
            Self::Aes256Gcm(_, key) => **key,
        });
        SecretBytes::new(bytes.to_vec())
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::EcdsaP256(_) => Algorithm::EcdsaP256,
            Self::X25519(_) => Algorithm::X25519,
            Self::EcdhP256(_) => Algorithm::EcdhP256,
            Self::Aes256Gcm(..) => Algorithm::Aes256Gcm,
        }
    }

    /// The public half as bytes, for keys that have one.
    pub(super) fn public_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(_) | Self::EcdsaP256(_) => {
                Signing::public_of(self).map(|key| key.as_bytes().to_vec())
            }
            Self::X25519(_) | Self::EcdhP256(_) => {
                Agreement::public_of(self).map(|key| key.as_bytes().to_vec())
            }
            Self::Aes256Gcm(..) => None,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Signature> {
        match self {
            Self::Ed25519(key) => Some(Signature::Ed25519(key.sign(message).to_bytes())),
            Self::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Some(Signature::EcdsaP256(signature.normalize_s().to_bytes().into()))
            }
            _ => None,
        }
    }

    pub(super) fn agree(&self, peer: &AgreementKey) -> Option<Result<SecretBytes>> {
        match (self, peer) {
            (Self::X25519(key), AgreementKey::X25519(peer)) => {
                let shared = key.diffie_hellman(&x25519_dalek::PublicKey::from(*peer));
                // RFC 7748 §6.1: an all-zero result means that the peer's key was of small order.
                Some(if shared.was_contributory() {
                    Ok(SecretBytes::new(shared.as_bytes().to_vec()))
                } else {
                    Err(Error::rejected())
                })
            }
            (Self::EcdhP256(key), AgreementKey::EcdhP256(peer)) => {
                let peer = p256::PublicKey::from_sec1_bytes(peer.as_bytes()).map_err(|_| Error::rejected());
                Some(peer.map(|peer| {
                    let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
                    SecretBytes::new(shared.raw_secret_bytes().to_vec())
                }))
            }
            _ => None,
        }
    }

    pub(super) fn cipher(&self) -> Option<&Aes256Gcm> {
        match self {
            Self::Aes256Gcm(cipher, _) => Some(cipher),
            _ => None,
        }
    }
}

/// The public half of a key, when it is of this purpose.
pub(super) trait PublicOf: Purpose {
    fn public_of(material: &Material) -> Option<Self::Public>;
}

impl PublicOf for Signing {
    fn public_of(material: &Material) -> Option<VerifyingKey> {
        match material {
            Material::Ed25519(key) => Some(VerifyingKey::Ed25519(key.verifying_key().into())),
            Material::EcdsaP256(key) => P256Point::of(key.verifying_key()).map(VerifyingKey::EcdsaP256),
            _ => None,
        }
    }
}

impl PublicOf for Agreement {
    fn public_of(material: &Material) -> Option<AgreementKey> {
        match material {
            Material::X25519(key) => {
                Some(AgreementKey::X25519(x25519_dalek::PublicKey::from(key).to_bytes()))
            }
            Material::EcdhP256(key) => P256Point::of(&key.public_key().into()).map(AgreementKey::EcdhP256),
            _ => None,
        }
    }
}

impl PublicOf for Sealing {
    fn public_of(material: &Material) -> Option<()> {
        matches!(material, Material::Aes256Gcm(..)).then_some(())
    }
}
