//! Sealing by a key that only agrees, as [`Algorithm::EciesP256`](vault::Algorithm::EciesP256) says (docs/formats.md):
//! an ephemeral P-256 key agrees with the card's; HKDF-SHA256 (RFC 5869) makes an AES-256-GCM key of the shared secret
//! and of both public keys. The key is used once, so its nonce is zero.
//!
//! ```text
//! version = 1 (1 byte) | ephemeral public key (65 bytes, SEC 1 uncompressed) | ciphertext | tag (16 bytes)
//! ```

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use vault::{Error, Kind, P256Point, Result, SecretBytes};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const POINT: usize = 65;
const TAG: usize = 16;
const LABEL: &[u8] = b"ockam-kms ecies-p256 v1";

/// Seals for the owner of a public key. Needs no device.
pub(crate) fn seal(public: &P256Point, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
    let receiver = p256::PublicKey::from_sec1_bytes(public.as_bytes())
        .map_err(|_| Error::new(Kind::Corrupt, "the card returned a public key that is none"))?;
    let ephemeral = ephemeral()?;
    let point = p256::ecdsa::VerifyingKey::from(ephemeral.public_key()).to_sec1_point(false);
    let shared = p256::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), receiver.as_affine());
    let cipher = cipher(shared.raw_secret_bytes(), point.as_bytes(), public)?;
    let sealed = cipher.encrypt(&Nonce::default(), Payload { msg: plain, aad: associated });
    let sealed = sealed.map_err(|_| Error::new(Kind::Invalid, "too much to seal"))?;
    Ok([&[VERSION], point.as_bytes(), &sealed].concat())
}

/// The two parts of what was sealed: the point to agree with, and the rest.
pub(crate) fn split(sealed: &[u8]) -> Result<(P256Point, &[u8])> {
    let (version, rest) = sealed.split_first().ok_or_else(Error::rejected)?;
    let (point, rest) = rest.split_at_checked(POINT).ok_or_else(Error::rejected)?;
    let point = P256Point::from_bytes(point).ok_or_else(Error::rejected)?;
    if *version != VERSION || rest.len() < TAG { Err(Error::rejected()) } else { Ok((point, rest)) }
}

/// Opens the rest with the secret that the card agreed on.
pub(crate) fn open(
    shared: &SecretBytes,
    ephemeral: &P256Point,
    public: &P256Point,
    rest: &[u8],
    associated: &[u8],
) -> Result<SecretBytes> {
    let cipher = cipher(shared.expose(), ephemeral.as_bytes(), public)?;
    let plain = cipher.decrypt(&Nonce::default(), Payload { msg: rest, aad: associated });
    plain.map(SecretBytes::new).map_err(|_| Error::rejected())
}

fn ephemeral() -> Result<p256::SecretKey> {
    // A scalar has to be below the group order, which random bytes miss once in 2^32.
    for _ in 0..8 {
        if let Ok(key) = p256::SecretKey::from_slice(SecretBytes::random(32)?.expose()) {
            return Ok(key);
        }
    }
    Err(Error::new(Kind::Backend, "the system's randomness gives no key"))
}

fn cipher(shared: &[u8], ephemeral: &[u8], public: &P256Point) -> Result<Aes256Gcm> {
    let extracted = mac(&[0; 32], &[shared])?;
    let key = mac(&extracted, &[LABEL, ephemeral, public.as_bytes(), &[1]])?;
    Aes256Gcm::new_from_slice(&*key).map_err(|_| Error::new(Kind::Backend, "a key of the wrong length"))
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key)
        .map_err(|_| Error::new(Kind::Backend, "a key of the wrong length"))?;
    for part in parts {
        mac.update(part);
    }
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_for_a_key_opens_with_it_alone() {
        let key = ephemeral().unwrap();
        let point = p256::ecdsa::VerifyingKey::from(key.public_key()).to_sec1_point(false);
        let public = P256Point::from_bytes(point.as_bytes()).unwrap();
        let sealed = seal(&public, b"secret", b"for").unwrap();
        let (with, rest) = split(&sealed).unwrap();
        let peer = p256::PublicKey::from_sec1_bytes(with.as_bytes()).unwrap();
        let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
        let shared = SecretBytes::new(shared.raw_secret_bytes().to_vec());
        assert_eq!(open(&shared, &with, &public, rest, b"for").unwrap().expose(), b"secret");
        assert!(open(&shared, &with, &public, rest, b"other").is_err());
        assert!(open(&shared, &public, &public, rest, b"for").is_err(), "both keys are bound");
        assert!(open(&SecretBytes::new(vec![0; 32]), &with, &public, rest, b"for").is_err());
    }

    #[test]
    fn what_is_no_sealed_text_is_rejected() {
        let key = ephemeral().unwrap();
        let point = p256::ecdsa::VerifyingKey::from(key.public_key()).to_sec1_point(false);
        let sealed = seal(&P256Point::from_bytes(point.as_bytes()).unwrap(), b"", b"").unwrap();
        assert_eq!(sealed.len(), 1 + POINT + TAG);
        for length in 0..sealed.len() {
            assert_eq!(split(&sealed[..length]).unwrap_err().kind(), Kind::Rejected);
        }
    }
}
