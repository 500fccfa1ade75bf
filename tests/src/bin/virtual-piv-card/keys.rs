//! The keys of the card: P-256, Ed25519 and X25519, each from 32 secret bytes.

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sha2::{Digest as _, Sha256};

use crate::state::Slot;

pub(crate) const P256: u8 = 0x11;
pub(crate) const ED25519: u8 = 0xe0;
pub(crate) const X25519: u8 = 0xe1;

/// A scalar of P-256, which is also a seed of Ed25519 and a scalar of X25519.
pub(crate) fn random_scalar() -> [u8; 32] {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        if p256::SecretKey::from_slice(&bytes).is_ok() {
            return bytes;
        }
    }
}

pub(crate) fn point(secret: &[u8; 32]) -> Vec<u8> {
    let key = p256::ecdsa::SigningKey::from_slice(secret).unwrap();
    key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

pub(crate) fn public(slot: &Slot) -> Vec<u8> {
    match slot.algorithm {
        P256 => point(&slot.secret),
        ED25519 => ed25519_dalek::SigningKey::from_bytes(&slot.secret).verifying_key().to_bytes().to_vec(),
        _ => {
            x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(slot.secret)).to_bytes().to_vec()
        }
    }
}

/// An ECDSA signature of a digest, in DER.
pub(crate) fn ecdsa(secret: &[u8; 32], digest: &[u8]) -> Vec<u8> {
    let key = p256::ecdsa::SigningKey::from_slice(secret).unwrap();
    let signature: p256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
    // Real cards give either half of `s`: ours does by the last bit of the digest.
    let signature = if digest.last().is_some_and(|byte| byte & 1 == 1) {
        let (r, s) = signature.split_scalars();
        p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap()
    } else {
        signature
    };
    signature.to_der().as_bytes().to_vec()
}

/// The same over a message.
pub(crate) fn ecdsa_sha256(secret: &[u8; 32], message: &[u8]) -> Vec<u8> {
    ecdsa(secret, &Sha256::digest(message))
}

/// Signs what the host sent: a digest for P-256, a message for Ed25519.
pub(crate) fn sign(slot: &Slot, input: &[u8]) -> Option<Vec<u8>> {
    match slot.algorithm {
        P256 if input.len() == 32 => Some(ecdsa(&slot.secret, input)),
        ED25519 => Some(ed25519_dalek::SigningKey::from_bytes(&slot.secret).sign(input).to_bytes().to_vec()),
        _ => None,
    }
}

/// Agrees with a peer's public key.
pub(crate) fn agree(slot: &Slot, peer: &[u8]) -> Option<Vec<u8>> {
    match slot.algorithm {
        P256 => {
            let key = p256::SecretKey::from_slice(&slot.secret).unwrap();
            let peer = p256::PublicKey::from_sec1_bytes(peer).ok()?;
            let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
            Some(shared.raw_secret_bytes().to_vec())
        }
        X25519 => {
            let peer = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(peer).ok()?);
            Some(x25519_dalek::StaticSecret::from(slot.secret).diffie_hellman(&peer).to_bytes().to_vec())
        }
        _ => None,
    }
}
