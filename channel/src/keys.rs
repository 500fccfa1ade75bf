//! The keys of one handshake and of the channel that it opens. They are a vault in memory whose keys have no names: they
//! agree, derive, seal and open, and nothing reads them, prints them or keeps them beyond their use.
//!
//! What each type holds is wiped when it is let go of: bytes of ours by `zeroize`, keys of the cipher and the curve by
//! aws-lc, which clears every block that it frees. They lie on the heap, so moving a handle copies no key. What HMAC works
//! with is wiped where it ends, and not where it was moved from on the stack.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use vault::{AgreementKey, Error, Kind, Result, SecretBytes};
use zeroize::Zeroize;

/// The bytes of an authentication tag.
pub(crate) const TAG: usize = 16;

/// The nonce that only rekeying uses (Noise §5.1): no message has it.
const REKEY_NONCE: u64 = u64::MAX;

/// The answer of a check that failed: it says nothing about why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

fn broken(what: &'static str) -> Error {
    Error::new(Kind::Backend, what)
}

/// An X25519 key of one handshake. Clones are the same key, which is wiped with the last of them.
#[derive(Clone)]
pub(crate) struct EphemeralKey {
    secret: Arc<PrivateKey>,
    public: [u8; 32],
}

impl EphemeralKey {
    /// From 32 random bytes (RFC 7748 §5).
    pub(crate) fn new(random: &SecretBytes) -> Result<Self> {
        let random: &[u8; 32] = random.expose_array().ok_or_else(|| {
            Error::new(Kind::Invalid, "an ephemeral key is made from exactly 32 random bytes")
        })?;
        let made = PrivateKey::from_private_key(&X25519, random).ok().and_then(|secret| {
            let public = secret.compute_public_key().ok()?.as_ref().try_into().ok()?;
            Some(Self { secret: Arc::new(secret), public })
        });
        made.ok_or_else(|| broken("an ephemeral key cannot be made"))
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Agrees with a peer's key. One of small order is rejected (RFC 7748 §6.1).
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> std::result::Result<SecretBytes, Rejected> {
        agree(&self.secret, UnparsedPublicKey::new(&X25519, peer), Rejected, |secret| {
            Ok(SecretBytes::new(secret.to_vec()))
        })
    }
}

/// Checks what a vault returned for an agreement: a device is input. Zeros are what a peer's key of small order gives, and
/// rejected (RFC 7748 §6.1).
pub(crate) fn check_agreed(secret: &SecretBytes) -> Result<std::result::Result<(), Rejected>> {
    let bytes: &[u8; 32] = secret
        .expose_array()
        .ok_or_else(|| broken("the vault returned no X25519 secret: it has not 32 bytes"))?;
    let any = bytes.iter().fold(0, |all, byte| all | byte);
    Ok(if any == 0 { Err(Rejected) } else { Ok(()) })
}

/// The static key of a side, as its peer sees it.
pub(crate) fn x25519(key: &AgreementKey) -> Option<&[u8; 32]> {
    match key {
        AgreementKey::X25519(bytes) => Some(bytes),
        _ => None,
    }
}

/// Secret bytes, filled in place and boxed, so that moving them copies none.
pub(crate) struct Wiped(pub(crate) Box<[u8; 32]>);

impl Wiped {
    pub(crate) fn new() -> Self {
        Self(Box::new([0; 32]))
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The chaining key of a handshake (Noise §5.2, `ck`).
pub(crate) struct ChainingKey(Wiped);

impl ChainingKey {
    /// At the start it is the protocol's name and no secret.
    pub(crate) fn new(name: &[u8; 32]) -> Self {
        Self(Wiped(Box::new(*name)))
    }

    /// The next chaining key and a key for what follows in the handshake.
    pub(crate) fn mix(&self, secret: &SecretBytes) -> Result<(Self, RecordKey)> {
        let (next, key) = self.derive(secret.expose())?;
        Ok((Self(next), RecordKey::new(&key.0)?))
    }

    /// The two keys of the channel, in the order in which they are derived.
    pub(crate) fn split(&self) -> Result<(RecordKey, RecordKey)> {
        let (one, two) = self.derive(&[])?;
        Ok((RecordKey::new(&one.0)?, RecordKey::new(&two.0)?))
    }

    /// HKDF-SHA256 (RFC 5869) with this as salt, no info, and 64 bytes of output.
    fn derive(&self, secret: &[u8]) -> Result<(Wiped, Wiped)> {
        let pseudorandom = mac(&self.0.0, &[secret])?;
        let one = mac(&pseudorandom.0, &[&[1]])?;
        let two = mac(&pseudorandom.0, &[&one.0[..], &[2]])?;
        Ok((one, two))
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Result<Wiped> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).map_err(|_| broken("a key of HMAC cannot have 32 bytes"))?;
    parts.iter().for_each(|part| mac.update(part));
    let mut output = Wiped::new();
    mac.finalize_into((&mut *output.0).into());
    Ok(output)
}

/// An AES-256-GCM key, which seals under nonces that its user counts.
pub(crate) struct RecordKey(LessSafeKey);

impl RecordKey {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| broken("a key of AES-256 cannot have 32 bytes"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals in place.
    pub(crate) fn seal(&self, nonce: u64, associated: &[u8], text: &mut [u8]) -> Result<[u8; TAG]> {
        let tag = self
            .0
            .seal_in_place_separate_tag(wide(nonce), Aad::from(associated), text)
            .map_err(|_| broken("the cipher seals nothing"))?;
        tag.as_ref().try_into().map_err(|_| broken("the cipher's tag has not 16 bytes"))
    }

    /// Opens ciphertext and tag in place. What is rejected is no longer what it was.
    pub(crate) fn open<'t>(
        &self,
        nonce: u64,
        associated: &[u8],
        sealed: &'t mut [u8],
    ) -> std::result::Result<&'t mut [u8], Rejected> {
        self.0.open_in_place(wide(nonce), Aad::from(associated), sealed).map_err(|_| Rejected)
    }

    /// The key that follows this one (Noise §11.3): the first 32 bytes of 32 zeros, sealed under the last nonce.
    pub(crate) fn next(&self) -> Result<Self> {
        let mut bytes = Wiped::new();
        self.seal(REKEY_NONCE, &[], &mut bytes.0[..])?;
        Self::new(&bytes.0)
    }
}

/// A counter as a nonce: four zeros, then the counter, big-endian.
fn wide(nonce: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().skip(4).zip(nonce.to_be_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

macro_rules! unprintable {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

unprintable!(EphemeralKey, ChainingKey, RecordKey);

#[cfg(test)]
mod tests {
    use vault::soft::SoftVault;
    use vault::{Agreer, KeyName, KeySpec, Vault, block_on};

    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// What a key seals tells which key it is.
    fn print(key: &RecordKey) -> String {
        let mut text = *b"which key is this";
        let tag = key.seal(7, b"", &mut text).unwrap();
        hex::encode([&text[..], &tag].concat())
    }

    #[test]
    fn ephemeral_keys_agree_as_those_of_the_software_vault_do() {
        let key = EphemeralKey::new(&SecretBytes::new(vec![2; 32])).unwrap();
        // The key whose bytes are all 2 stands in tests/vectors/known-answers.txt as well.
        let public = "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59";
        assert_eq!(hex::encode(key.public()), public);
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        for at in 0..20 {
            let ours = EphemeralKey::new(&SecretBytes::random(32).unwrap()).unwrap();
            let spec = KeySpec::x25519(KeyName::new(&format!("key-{at}")).unwrap());
            let theirs = block_on(vault.agreement().unwrap().generate(&spec)).unwrap();
            let theirs = Agreer::bind(Arc::clone(&vault), theirs).unwrap();
            let one = ours.agree(x25519(theirs.public()).unwrap()).unwrap();
            let two = block_on(theirs.agree(&AgreementKey::X25519(*ours.public()))).unwrap();
            assert!(one.same_as(&two));
        }
    }

    #[test]
    fn keys_of_small_order_and_other_lengths_are_rejected() {
        let key = EphemeralKey::new(&SecretBytes::new(vec![2; 32])).unwrap();
        for point in crate::tests::SMALL_ORDER {
            assert_eq!(key.agree(&bytes(point)).map(drop), Err(Rejected), "{point}");
        }
        for length in [0, 31, 33] {
            assert!(EphemeralKey::new(&SecretBytes::new(vec![1; length])).is_err());
            assert!(check_agreed(&SecretBytes::new(vec![1; length])).is_err());
        }
        assert_eq!(check_agreed(&SecretBytes::new(vec![0; 32])).unwrap(), Err(Rejected));
        assert_eq!(check_agreed(&SecretBytes::new([vec![0; 31], vec![1]].concat())).unwrap(), Ok(()));
    }

    #[test]
    fn keys_do_not_print() {
        let key = EphemeralKey::new(&SecretBytes::new(vec![9; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "EphemeralKey(..)");
        assert_eq!(format!("{:?}", ChainingKey::new(&[1; 32])), "ChainingKey(..)");
        assert_eq!(format!("{:?}", RecordKey::new(&[1; 32]).unwrap()), "RecordKey(..)");
    }

    #[test]
    fn the_next_key_is_the_one_that_is_known() {
        let key = bytes("831124fa3e1606b97f5cda4d81c3aa04c7c0151666f05f49a09cd0faf63a05d8");
        let next = bytes("4699ba00b29842a236c781ce67c044de2bc43eaaaf35f6bfa4353581ada3d044");
        let derived = RecordKey::new(&key).unwrap().next().unwrap();
        assert_eq!(print(&derived), print(&RecordKey::new(&next).unwrap()));
        assert_ne!(print(&derived), print(&RecordKey::new(&key).unwrap()));
    }
}
