//! Sealed texts: a data key that KMS made and encrypted, and what is sealed with it here (docs/formats.md).
//!
//! ```text
//! 01 | length of the encrypted data key (2 bytes, big-endian) | encrypted data key | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! Why not `Encrypt`, which takes as many bytes as we seal: its ciphertexts are of KMS alone, and what they are bound to is the
//! encryption context, which goes to the log of the account. So only a hash of the associated data goes there, and the data
//! itself is bound here, under a key that serves one text. Associated data of the cipher: the words below, the id of the key, all that
//! stands before the nonce, and the associated data, each with its length in 8 bytes before it.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use vault::{Error, Kind, MAX_SEAL, Result, SecretBytes};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
/// The longest encrypted data key: the longest ciphertext of KMS.
const MAX_ENCRYPTED_KEY: usize = 6144;
const WORDS: &[u8] = b"ockam-kms aws-kms sealed text";

/// A sealed text, taken apart.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    /// What stands before the nonce.
    head: &'a [u8],
    pub(crate) encrypted_key: &'a [u8],
    nonce: &'a [u8; NONCE],
    body: &'a [u8],
    tag: &'a [u8; TAG],
}

impl<'a> Envelope<'a> {
    /// Takes a text apart.
    ///
    /// # Errors
    /// [`Kind::Rejected`] when it is none of ours.
    pub(crate) fn parse(sealed: &'a [u8]) -> Result<Self> {
        Self::split(sealed).ok_or_else(Error::rejected)
    }

    fn split(sealed: &'a [u8]) -> Option<Self> {
        let (&[version, high, low], rest) = sealed.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if version != VERSION || !(1..=MAX_ENCRYPTED_KEY).contains(&length) {
            return None;
        }
        let (encrypted_key, rest) = rest.split_at_checked(length)?;
        let head = sealed.get(..3 + length)?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (body, tag) = rest.split_last_chunk()?;
        (body.len() <= MAX_SEAL).then_some(Self { head, encrypted_key, nonce, body, tag })
    }

    /// Opens it with its data key.
    ///
    /// # Errors
    /// [`Kind::Rejected`] when anything differs.
    pub(crate) fn open(
        &self,
        data_key: &SecretBytes,
        key_id: &str,
        associated: &[u8],
    ) -> Result<SecretBytes> {
        let mut plain = Zeroizing::new(self.body.to_vec());
        cipher(data_key)?
            .decrypt_inout_detached(
                &Nonce::from(*self.nonce),
                &bound(key_id, self.head, associated),
                plain.as_mut_slice().into(),
                &Tag::from(*self.tag),
            )
            .map_err(|_| Error::rejected())?;
        Ok(SecretBytes::new(std::mem::take(&mut *plain)))
    }
}

/// Seals with a data key that serves this once.
///
/// # Errors
/// [`Kind::Backend`] when KMS's data key is none, [`Kind::Unavailable`] when the system gives no randomness.
pub(crate) fn seal(
    data_key: &SecretBytes,
    encrypted_key: &[u8],
    key_id: &str,
    plain: &[u8],
    associated: &[u8],
) -> Result<Vec<u8>> {
    let length = u16::try_from(encrypted_key.len())
        .ok()
        .filter(|length| (1..=MAX_ENCRYPTED_KEY).contains(&usize::from(*length)));
    let length = length.ok_or_else(|| {
        let text = format!("KMS returned an encrypted data key of {} bytes", encrypted_key.len());
        Error::new(Kind::Backend, text)
    })?;
    let head = [&[VERSION], length.to_be_bytes().as_slice(), encrypted_key].concat();
    let mut nonce = [0_u8; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| {
        Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
    })?;
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = cipher(data_key)?
        .encrypt_inout_detached(
            &Nonce::from(nonce),
            &bound(key_id, &head, associated),
            body.as_mut_slice().into(),
        )
        .map_err(|_| Error::new(Kind::Invalid, "too much to seal"))?;
    Ok([head.as_slice(), &nonce, &body, &tag].concat())
}

fn cipher(data_key: &SecretBytes) -> Result<Aes256Gcm> {
    Aes256Gcm::new_from_slice(data_key.expose()).map_err(|_| {
        Error::new(
            Kind::Backend,
            format!("KMS returned a data key of {} bytes instead of 32", data_key.len()),
        )
    })
}

fn bound(key_id: &str, head: &[u8], associated: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [WORDS, key_id.as_bytes(), head, associated] {
        bytes.extend_from_slice(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretBytes {
        SecretBytes::new(vec![byte; 32])
    }

    fn opened(sealed: &[u8], data_key: u8, key_id: &str, associated: &[u8]) -> Result<Vec<u8>> {
        let envelope = Envelope::parse(sealed)?;
        envelope.open(&key(data_key), key_id, associated).map(|plain| plain.expose().to_vec())
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_and_nothing_else() {
        let sealed = seal(&key(1), b"encrypted", "id", b"plain", b"with").unwrap();
        assert_eq!(sealed[..3], [1, 0, 9]);
        assert_eq!(Envelope::parse(&sealed).unwrap().encrypted_key, b"encrypted");
        assert_eq!(opened(&sealed, 1, "id", b"with").unwrap(), b"plain");
        for (data_key, id, associated) in [(2, "id", b"with"), (1, "ie", b"with"), (1, "id", b"wits")] {
            assert_eq!(opened(&sealed, data_key, id, associated).unwrap_err().kind(), Kind::Rejected);
        }
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert_eq!(
                opened(&altered, 1, "id", b"with").unwrap_err().kind(),
                Kind::Rejected,
                "byte {place}"
            );
            assert_eq!(opened(&sealed[..place], 1, "id", b"with").unwrap_err().kind(), Kind::Rejected);
        }
        assert_eq!(
            opened(&[sealed.as_slice(), b"x"].concat(), 1, "id", b"with").unwrap_err().kind(),
            Kind::Rejected
        );
    }

    #[test]
    fn lengths_have_limits() {
        for length in [0, MAX_ENCRYPTED_KEY + 1, 70_000] {
            let error = seal(&key(1), &vec![0; length], "id", b"", b"").unwrap_err();
            assert_eq!(error.kind(), Kind::Backend);
        }
        let longest = seal(&key(1), &[0; MAX_ENCRYPTED_KEY], "id", &[7; MAX_SEAL], b"").unwrap();
        assert_eq!(opened(&longest, 1, "id", b"").unwrap(), [7; MAX_SEAL]);
        let short_key = SecretBytes::new(vec![0; 16]);
        assert_eq!(seal(&short_key, b"e", "id", b"", b"").unwrap_err().kind(), Kind::Backend);
        for bad in [&b""[..], b"\x01", b"\x01\x00\x00", &[1; 40], &[0; 100]] {
            assert!(Envelope::parse(bad).is_err());
        }
        let huge = [[1, 0, 1, 0].as_slice(), &[0; NONCE], &[0; MAX_SEAL + 1], &[0; TAG]].concat();
        assert!(Envelope::parse(&huge).is_err());
    }
}
