//! What tokens do differently from the standard or from each other, each with its name and its reason. What is seen on
//! one token is handled for all where that costs nothing.
//!
//! Some need no code of their own, only a rule kept elsewhere:
//!
//! * **Any digest is signed.** SoftHSM's `CKM_ECDSA` signs 5 or 64 bytes as readily as 32, and has no
//!   `CKM_ECDSA_SHA256`. We hash, so the digest is 32 bytes by type ([`crate::operations`]).
//! * **High `s`.** Half of all ECDSA signatures come with `s` in the upper half: `Signature::ecdsa_p256_normalised`.
//! * **Parameters of EdDSA ignored.** SoftHSM signs Ed25519ph and Ed25519ctx as pure Ed25519. We never send parameters.
//! * **Ids and labels are not unique.** Two keys may have the same of both: a look-up that finds two is refused.
//! * **An abandoned operation blocks its session**, and the library cannot cancel one: after any failure of the device the
//!   session is thrown away ([`crate::desk`]).
//! * **Handles die with the login.** After a logout SoftHSM's handles of private objects stay invalid for good: cached
//!   handles carry the number of their login.
//! * **Nothing is found without a login**, and that is no error: an empty result counts only after the token and the
//!   login were looked at ([`crate::desk::Bench::confirm`]).
//! * **Sticky absence.** Once SoftHSM has missed a token's directory it answers `CKR_OBJECT_HANDLE_INVALID`, finds nothing,
//!   and never sees the token again before `C_Initialize`; it never says `CKR_TOKEN_NOT_PRESENT`. Where looking for
//!   the token fails, the module is reset ([`crate::keeper`]).
//! * **Torn reads.** What SoftHSM reads while it is being written ([`needs_turns`]) it may take for broken until the next
//!   `C_Initialize`. So a token that was there is looked for more than once, and a key is missing, or there twice, only
//!   when a fresh look says so ([`crate::desk::Bench::absent`]).
//! * **Frozen slots.** SoftHSM lists the tokens that were there at `C_Initialize`. A token that is not found when a vault is
//!   opened is looked for once more after a reset ([`crate::backend`]).
//! * **Nonces of its own.** By their manuals a Luna in FIPS mode and a CloudHSM do not take a nonce for AES-GCM, and write their own
//!   over it: what is there after the call is kept.
//! * **Tries as they were.** What kryoptic tells of a PIN's tries is what it saw itself since `C_Initialize`: a process that
//!   was refused for the last try does not learn that another one gave the tries back before it is started again.
//! * **A key that is no more** is `CKR_OBJECT_HANDLE_INVALID` on SoftHSM, also for a key deleted by another process, and
//!   `CKR_GENERAL_ERROR` on kryoptic when the token was re-initialised: the first is looked up again, the second leads to
//!   a look at the token, and then to the same.

use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::Version;
use vault::{Algorithm, Error, Kind, Result};

use crate::errors::Trouble;

/// `CKA_EC_PARAMS` of the curves, each with all spellings in use: the object identifier (RFC 5480, RFC 8410) first, then
/// the PrintableString of PKCS#11 v3.0 §2.3.1. SoftHSM and kryoptic take both, others only one.
pub(crate) fn curve_spellings(algorithm: Algorithm) -> &'static [&'static [u8]] {
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdhP256 => &[b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"],
        Algorithm::Ed25519 => &[b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519"],
        Algorithm::X25519 => &[b"\x06\x03\x2b\x65\x6e", b"\x13\x0acurve25519"],
        _ => &[],
    }
}

/// How a token makes X25519 keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum X25519Route {
    /// As the standard says.
    Montgomery,
    /// SoftHSM has no `CKM_EC_MONTGOMERY_KEY_PAIR_GEN`, but its `CKM_EC_EDWARDS_KEY_PAIR_GEN` makes an X25519 key, of type
    /// `CKK_EC_EDWARDS`, when the curve says so. kryoptic refuses just that.
    Edwards,
}

impl X25519Route {
    /// The routes that a mechanism list leaves open. Whether the second one works, only a try can tell.
    pub(crate) fn listed(mechanisms: &[MechanismType]) -> Option<Self> {
        let has = |mechanism| mechanisms.contains(&mechanism);
        if !has(MechanismType::ECDH1_DERIVE) {
            return None;
        }
        if has(MechanismType::ECC_MONTGOMERY_KEY_PAIR_GEN) {
            return Some(Self::Montgomery);
        }
        has(MechanismType::ECC_EDWARDS_KEY_PAIR_GEN).then_some(Self::Edwards)
    }

    pub(crate) fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::Montgomery => Mechanism::EccMontgomeryKeyPairGen,
            Self::Edwards => Mechanism::EccEdwardsKeyPairGen,
        }
    }

    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Montgomery => "made by CKM_EC_MONTGOMERY_KEY_PAIR_GEN",
            Self::Edwards => "quirk: made by CKM_EC_EDWARDS_KEY_PAIR_GEN with the curve curve25519",
        }
    }
}

/// The point inside `CKA_EC_POINT`. The standard wraps it into a DER OCTET STRING; kryoptic returns it raw for the
/// curves of RFC 7748 and RFC 8032, others wrap it into a BIT STRING. Which form it is follows from the length alone: the
/// first byte of a raw point can be anything.
///
/// # Errors
/// [`Kind::Corrupt`] for any other length or wrapping.
pub(crate) fn point(algorithm: Algorithm, bytes: &[u8]) -> Result<&[u8]> {
    let raw = match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdhP256 => 65,
        _ => 32,
    };
    let octets = [0x04, raw];
    let bits = [0x03, raw + 1, 0x00];
    let inner = match bytes.len().checked_sub(usize::from(raw)) {
        Some(0) => Some(bytes),
        Some(2) => bytes.strip_prefix(&octets),
        Some(3) => bytes.strip_prefix(&bits),
        _ => None,
    };
    inner.ok_or_else(|| {
        Error::new(
            Kind::Corrupt,
            format!("the token returned {} bytes that are no {algorithm} point", bytes.len()),
        )
    })
}

/// Whether a failure of a decryption or agreement may be the answer to its check. SoftHSM says `CKR_GENERAL_ERROR` to
/// a wrong GCM tag and to a peer point of small order, which is also what it says when the token is gone; kryoptic says
/// `CKR_DEVICE_ERROR` to a point that it does not like; others have answers of their own. Only a probe, and the same answer
/// once more, tell which.
pub(crate) fn may_be_a_failed_check(trouble: &Trouble) -> bool {
    use RvError as R;
    let Trouble::Answer(answer, _) = trouble else { return false };
    matches!(
        answer,
        R::GeneralError | R::FunctionFailed | R::DeviceError | R::VendorDefined(_) | R::UnknownErrorCode(_)
    )
}

/// A login can outlive the token it was made for: after SoftHSM's token was re-initialised by another process, under
/// the same serial number, a session still claims to be logged in, `C_Login` says that somebody is, and keys can be made,
/// by somebody who may not know the new PIN. So before a key is made on such a token, an object known from this
/// login must still be there, or the login must be fresh.
pub(crate) fn login_outlives_token(info: &TokenInfo) -> bool {
    info.manufacturer_id() == "SoftHSM project"
}

/// SoftHSM is not safe against its own threads and processes when it reads what is being written: a search while a key
/// is being made takes the new file for one that was removed, and the making ends in `CKR_GENERAL_ERROR`, or sees the key
/// twice; a login rewrites the token's own file, and who reads that file in the same moment takes the token for broken,
/// nameless, or of another PIN. So starting, logging in, searching, making and destroying take turns
/// ([`crate::turns`]). Using keys does not.
pub(crate) fn needs_turns(info: &TokenInfo) -> bool {
    info.manufacturer_id() == "SoftHSM project"
}

/// A version as its maker writes it. `CK_VERSION` has two numbers; Yubico, whose versions have three, packs the second
/// and the third into one: 2.41 is 2.4.1.
pub(crate) fn version(maker: &str, version: Version) -> String {
    let (major, minor) = (version.major(), version.minor());
    if maker.starts_with("Yubico") {
        return format!("{major}.{}.{}", minor / 10, minor % 10);
    }
    format!("{major}.{minor}")
}

/// PINs that manuals and tools set a token up with: of SoftHSM's examples, of the Nitrokey HSM and the YubiHSM 2 (whose
/// PIN is a key's number and its password), of PIV cards.
const WELL_KNOWN_PINS: [&[u8]; 8] =
    [b"0000", b"1234", b"123456", b"12345678", b"648219", b"0001password", b"userpin", b"user-pin"];

/// Whether everybody knows this PIN.
pub(crate) fn is_well_known(pin: &[u8]) -> bool {
    WELL_KNOWN_PINS.contains(&pin)
}

/// What a torn read of a token's own file shows: initialised, but without a serial number, which SoftHSM always gives.
pub(crate) fn is_torn(info: &TokenInfo) -> bool {
    needs_turns(info) && info.serial_number().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_told_apart_by_length() {
        for (algorithm, raw) in [
            (Algorithm::Ed25519, 32_usize),
            (Algorithm::X25519, 32),
            (Algorithm::EcdsaP256, 65),
            (Algorithm::EcdhP256, 65),
        ] {
            // A raw point that starts like a DER header is still raw.
            let mut inner = vec![0x04; raw];
            inner[1] = u8::try_from(raw).unwrap() - 2;
            let size = u8::try_from(raw).unwrap();
            let octets = [&[0x04, size], inner.as_slice()].concat();
            let bits = [&[0x03, size + 1, 0x00], inner.as_slice()].concat();
            for form in [&inner, &octets, &bits] {
                assert_eq!(point(algorithm, form).unwrap(), inner);
            }
            let wrong_tag = [&[0x05, size], inner.as_slice()].concat();
            let unused_bits = [&[0x03, size + 1, 0x01], inner.as_slice()].concat();
            for bad in [&inner[1..], &[], &octets[1..], &wrong_tag, &unused_bits, &[0; 200]] {
                assert_eq!(point(algorithm, bad).unwrap_err().kind(), Kind::Corrupt);
            }
        }
    }

    #[test]
    fn the_way_to_x25519_follows_the_list() {
        use MechanismType as M;
        let (ed, mont, dh) = (M::ECC_EDWARDS_KEY_PAIR_GEN, M::ECC_MONTGOMERY_KEY_PAIR_GEN, M::ECDH1_DERIVE);
        assert_eq!(X25519Route::listed(&[ed, mont, dh]), Some(X25519Route::Montgomery));
        assert_eq!(X25519Route::listed(&[ed, dh]), Some(X25519Route::Edwards));
        assert_eq!(X25519Route::listed(&[ed, mont]), None);
        assert_eq!(X25519Route::listed(&[dh]), None);
    }
}
