//! What the driver and the cards do that nobody would expect: each with its reason.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::yubikey::{Error as DriverError, Version};
use vault::{Error, Kind, Result};

use crate::errors::{Done, Trouble};

/// **The driver indexes what the card returned** (0.9.0-rc.0: version, metadata, authentication, attestation), so an
/// answer that is too short is a panic there. Every call of the driver goes through here and becomes an error.
pub(crate) fn shielded<T>(call: impl FnOnce() -> ::yubikey::Result<T>) -> Done<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Nonsense("an answer of a length that cannot be")),
    }
}

/// **The driver has one error for a status word that it does not know and for an answer that is none** (0.9.0-rc.0): a card
/// that is pulled in the middle of a command can look like one that refused it. Whether it is there, another question tells.
pub(crate) fn says_nothing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Answer(DriverError::GenericError))
}

/// What a card that answers nothing at all comes to.
pub(crate) fn not_transacted() -> Trouble {
    Trouble::Answer(DriverError::PcscError { inner: Some(pcsc::Error::NotTransacted) })
}

/// **The driver cannot send 255 bytes to be signed**: it counts the length of that length in two ways (0.9.0-rc.0). The
/// card hashes for Ed25519 itself, so longer messages would have to go over whole; what is signed by this software is
/// shorter than this.
pub(crate) const LONGEST_MESSAGE: usize = 254;

/// **Only from 5.3 on a card says what is in its slots**, and without that nobody can keep from overwriting a key.
pub(crate) fn check_version(card: &str, version: Version) -> Result<()> {
    if (version.major, version.minor) >= (5, 3) {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, format!("{card} has firmware {version}"))
        .with_hint("this needs 5.3 or later, which says what is in its slots; firmware cannot be updated"))
}

/// **Curve25519 came with 5.7.**
pub(crate) fn has_curve25519(version: Version) -> bool {
    (version.major, version.minor) >= (5, 7)
}

/// **AES came to the management key with 5.4.2**; before, there is Triple DES alone.
pub(crate) fn has_aes(version: Version) -> bool {
    (version.major, version.minor, version.patch) >= (5, 4, 2)
}

/// What follows from that for who only agrees on P-256.
pub(crate) fn ecdh_note(version: Version) -> &'static str {
    if has_curve25519(version) {
        ""
    } else {
        "no X25519 below firmware 5.7: channel keys are software keys that the card seals"
    }
}

/// **ECDSA before 5.7 leaks its nonce to whoever has the card in hands** (YSA-2024-03, "EUCLEAK").
pub(crate) fn ecdsa_note(version: Version) -> &'static str {
    if has_curve25519(version) {
        "hashed by us, low s"
    } else {
        "hashed by us, low s; firmware below 5.7 is open to EUCLEAK (YSA-2024-03)"
    }
}
