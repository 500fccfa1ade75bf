//! AES-256-GCM over small secrets: nonce (12 random bytes), ciphertext, tag (16 bytes).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::secret::SecretBytes;

const NONCE: usize = 12;
const TAG: usize = 16;

/// The cipher of a 32-byte key.
pub(super) fn cipher(key: &SecretBytes) -> Result<Aes256Gcm> {
    Aes256Gcm::new_from_slice(key.expose())
        .map_err(|_| Error::new(Kind::Corrupt, "a sealing key has not 32 bytes"))
}

pub(super) fn seal(cipher: &Aes256Gcm, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0_u8; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| {
        Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
    })?;
    let mut sealed = Zeroizing::new(plain.to_vec());
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(nonce), associated, sealed.as_mut_slice().into())
        .map_err(|_| Error::new(Kind::Invalid, "too much to seal"))?;
    Ok([&nonce[..], &sealed, &tag].concat())
}

pub(super) fn unseal(cipher: &Aes256Gcm, sealed: &[u8], associated: &[u8]) -> Result<SecretBytes> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or_else(Error::rejected)?;
    let (body, tag) = rest.split_last_chunk::<TAG>().ok_or_else(Error::rejected)?;
    let mut plain = Zeroizing::new(body.to_vec());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            associated,
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| Error::rejected())?;
    Ok(SecretBytes::new(std::mem::take(&mut *plain)))
}

/// Associated data from fields, each with its length, so that no two lists of fields give the same bytes.
pub(super) fn associated(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}
