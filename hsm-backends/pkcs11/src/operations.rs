//! Using keys: signing, agreeing, sealing. What a device returns is checked for length, and for being what it should be
//! as far as that can be told; signatures are verified by whoever asked for them.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use vault::{AgreementKey, Algorithm, Error, Kind, SecretBytes, Signature};

use crate::desk::Bench;
use crate::errors::Trouble;
use crate::objects::Described;
use crate::quirks;

type Done<T> = std::result::Result<T, Trouble>;

const NONCE: usize = 12;
const TAG: usize = 16;
const TAG_BITS: u64 = 128;

/// What is signed: for ECDSA the digest, hashed by us, so that its length is right by type.
#[derive(Clone, Debug)]
pub(crate) enum ToSign {
    Digest([u8; 32]),
    Message(Vec<u8>),
}

/// Signs.
pub(crate) fn sign(bench: &mut Bench<'_>, key: ObjectHandle, what: &ToSign) -> Done<Signature> {
    match what {
        ToSign::Digest(digest) => {
            let bytes = bench.session()?.sign(&Mechanism::Ecdsa, key, digest)?;
            Ok(Signature::ecdsa_p256_normalised(&bytes)?)
        }
        ToSign::Message(message) => {
            let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
            let bytes = bench.session()?.sign(&pure, key, message)?;
            let length = bytes.len();
            let bytes =
                bytes.try_into().map_err(|_| bench.nonsense(&format!("a signature of {length} bytes")))?;
            Ok(Signature::Ed25519(bytes))
        }
    }
}

/// Agrees on a secret.
pub(crate) fn agree(bench: &mut Bench<'_>, key: ObjectHandle, peer: &AgreementKey) -> Done<SecretBytes> {
    // With a peer that is good beyond doubt the same key works, so a failure is the other peer's fault.
    let works = |bench: &mut Bench<'_>| derive(bench, key, base_point(peer.algorithm())).is_ok();
    checked(bench, |bench| derive(bench, key, peer.as_bytes()), works)
}

/// Does something that checks what somebody sent. Where a token has no word of its own for a failed check, the check
/// failed if the token is in order (it `works`) and gives the same answer once more.
fn checked<T>(
    bench: &mut Bench<'_>,
    mut work: impl FnMut(&mut Bench<'_>) -> Done<T>,
    works: impl FnOnce(&mut Bench<'_>) -> bool,
) -> Done<T> {
    let first = match work(bench) {
        Err(trouble) if trouble.is_rejection() => return Err(Error::rejected().into()),
        Err(trouble) if quirks::may_be_a_failed_check(&trouble) => trouble,
        other => return other,
    };
    bench.renew_session();
    if !works(bench) {
        bench.renew_session();
        return Err(first);
    }
    match work(bench) {
        Err(again) if again.is_rejection() || quirks::may_be_a_failed_check(&again) => {
            bench.renew_session();
            Err(Error::rejected().into())
        }
        other => other,
    }
}

/// The base point of a curve: of RFC 7748 §4.1, or of P-256 (SP 800-186 §3.2.1.3), uncompressed. Agreeing with it gives the
/// (first) coordinate of one's own public key.
fn base_point(algorithm: Algorithm) -> &'static [u8] {
    const X25519: [u8; 32] = {
        let mut point = [0; 32];
        point[0] = 9;
        point
    };
    const P256: &[u8; 65] = b"\x04\
        \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
        \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
    if algorithm == Algorithm::X25519 { &X25519 } else { P256 }
}

fn derive(bench: &mut Bench<'_>, key: ObjectHandle, peer: &[u8]) -> Done<SecretBytes> {
    // The peer's point is sent raw, which every token has to take (PKCS#11 v3.1 §6.3.18); kryoptic takes nothing else.
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), peer));
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::ValueLen(32.into()),
    ];
    let derived = bench.session()?.derive_key(&mechanism, key, &template)?;
    let value = bench.bytes(derived, AttributeType::Value, 32);
    // A handle that the token got wrong may be a key's.
    let passing =
        bench.fixed(derived, &[AttributeType::Token]).is_ok_and(|read| read == [Attribute::Token(false)]);
    if !passing || bench.session()?.destroy_object(derived).is_err() {
        // It goes with the session that made it.
        bench.renew_session();
    }
    let secret = SecretBytes::new(value?.unwrap_or_default());
    if secret.len() != 32 {
        return Err(bench.nonsense(&format!("a shared secret of {} bytes", secret.len())));
    }
    // RFC 7748 §6.1: an all-zero secret means that the peer's key was of small order. On P-256 nobody meets one.
    if secret.same_as(&SecretBytes::new(vec![0; 32])) {
        return Err(Error::rejected().into());
    }
    Ok(secret)
}

/// Checks that a public key belongs to the private one: a device, or somebody with write access to it, may have put
/// another public object beside it, and an agreement would not show that. On P-256 the negative of a point passes, too; with
/// it everybody comes to the same secrets.
pub(crate) fn check_agreement_key(bench: &mut Bench<'_>, key: &Described, public: &[u8]) -> Done<()> {
    let own = derive(bench, key.object, base_point(key.algorithm))?;
    let coordinate = if key.algorithm == Algorithm::X25519 { Some(public) } else { public.get(1..33) };
    if coordinate == Some(own.expose()) {
        return Ok(());
    }
    let text = format!("the public half of the key `{}` does not belong to its private half", key.id.shown());
    Err(Error::new(Kind::Corrupt, text).into())
}

/// Seals: a nonce of ours, or the one that the token wrote over it (quirks: nonces of its own), then what the token made. What
/// it does not unseal again is not given out: nobody would notice before it is needed.
pub(crate) fn seal(
    bench: &mut Bench<'_>,
    key: ObjectHandle,
    plain: &[u8],
    associated: &[u8],
) -> Done<Vec<u8>> {
    let mut nonce = [0_u8; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| {
        Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
    })?;
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, associated, TAG_BITS.into())?);
    let body = bench.session()?.encrypt(&mechanism, key, plain)?;
    if body.len() != plain.len() + TAG {
        return Err(bench.nonsense(&format!("{} bytes for {} to seal", body.len(), plain.len())));
    }
    match decrypt(bench, key, nonce, &body, associated) {
        Ok(again) if again.expose() == plain => {}
        Err(trouble) if !trouble.is_rejection() => return Err(trouble),
        _ => return Err(bench.nonsense("something that it does not unseal")),
    }
    Ok([nonce.as_slice(), &body].concat())
}

/// Unseals what [`seal`] made.
pub(crate) fn unseal(
    bench: &mut Bench<'_>,
    key: ObjectHandle,
    sealed: &[u8],
    associated: &[u8],
) -> Done<SecretBytes> {
    let Some((nonce, body)) = sealed.split_first_chunk::<NONCE>().filter(|(_, body)| body.len() >= TAG)
    else {
        return Err(Error::rejected().into());
    };
    let works = |bench: &mut Bench<'_>| seal(bench, key, b"probe", b"").is_ok();
    checked(bench, |bench| decrypt(bench, key, *nonce, body, associated), works)
}

fn decrypt(
    bench: &mut Bench<'_>,
    key: ObjectHandle,
    mut nonce: [u8; NONCE],
    body: &[u8],
    associated: &[u8],
) -> Done<SecretBytes> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, associated, TAG_BITS.into())?);
    let plain = SecretBytes::new(bench.session()?.decrypt(&mechanism, key, body)?);
    if plain.len() + TAG != body.len() {
        return Err(bench.nonsense(&format!("{} bytes for {} to unseal", plain.len(), body.len())));
    }
    Ok(plain)
}
