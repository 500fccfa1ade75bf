//! AES-256-GCM (NIST SP 800-38D) with the key that the TPM unsealed: nonce (12 random bytes), ciphertext, tag (16 bytes).
//! A TPM has no such mode of its own, so this runs in software, once for each unsealing.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use vault::{Error, Kind, Result, SecretBytes};
use zeroize::Zeroizing;

const NONCE: usize = 12;
const TAG: usize = 16;
/// The length of the key.
pub(crate) const KEY: usize = 32;

fn cipher(key: &SecretBytes) -> Result<Aes256Gcm> {
    Aes256Gcm::new_from_slice(key.expose())
        .map_err(|_| Error::new(Kind::Corrupt, format!("the TPM unsealed {} bytes, not {KEY}", key.len())))
}

pub(crate) fn seal(key: &SecretBytes, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0_u8; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| {
        Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
    })?;
    let mut sealed = Zeroizing::new(plain.to_vec());
    let tag = cipher(key)?
        .encrypt_inout_detached(&Nonce::from(nonce), associated, sealed.as_mut_slice().into())
        .map_err(|_| Error::new(Kind::Invalid, "too much to seal"))?;
    Ok([&nonce[..], &sealed, &tag].concat())
}

pub(crate) fn unseal(key: &SecretBytes, sealed: &[u8], associated: &[u8]) -> Result<SecretBytes> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or_else(Error::rejected)?;
    let (body, tag) = rest.split_last_chunk::<TAG>().ok_or_else(Error::rejected)?;
    let mut plain = Zeroizing::new(body.to_vec());
    cipher(key)?
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            associated,
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| Error::rejected())?;
    Ok(SecretBytes::new(std::mem::take(&mut *plain)))
}
