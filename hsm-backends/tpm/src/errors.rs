//! From what a TPM, or the library on the way to it, answers to what callers of a vault are told: one row for each
//! response code, and what the backend itself may try, once, before it reports.

use bitfield::BitRange as _;
use tss_esapi::WrapperErrorKind;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use vault::device::AGAIN;
use vault::{Error, Kind, Retry};

/// What the backend does by itself before it reports a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing: the answer is final.
    None,
    /// The TPM is busy: ask again until the deadline.
    Wait,
    /// The TPM is full: flush what is ours, then ask again, once.
    Flush,
    /// What was loaded is gone, or the way to the TPM is: connect, derive and load again, once.
    Reconnect,
}

type Row = (Kind, Retry, Remedy);

const AWAY: Row = (Kind::Unavailable, AGAIN, Remedy::Reconnect);
const BROKEN: Row = (Kind::Unavailable, Retry::NeedsOperator, Remedy::Reconnect);
const STALE: Row = (Kind::Unavailable, Retry::NeedsReinit, Remedy::Reconnect);
const BUSY: Row = (Kind::Unavailable, AGAIN, Remedy::Wait);
const FULL: Row = (Kind::Exhausted, AGAIN, Remedy::Flush);
const NO_ROOM: Row = (Kind::Exhausted, Retry::NeedsOperator, Remedy::None);
const AUTH: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::None);
const FORBIDDEN: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::None);
const FOREIGN: Row = (Kind::Corrupt, Retry::Permanent, Remedy::None);
const REJECTED: Row = (Kind::Rejected, Retry::Permanent, Remedy::None);
const UNSUPPORTED: Row = (Kind::Unsupported, Retry::Permanent, Remedy::None);
const FAULT: Row = (Kind::Backend, Retry::Permanent, Remedy::None);
const FORGED: Row = (Kind::Backend, Retry::NeedsOperator, Remedy::Reconnect);
const UNKNOWN: Row = (Kind::Backend, Retry::Permanent, Remedy::Reconnect);

pub(crate) const AUTH_FAIL: u16 = 0x08e;
pub(crate) const BAD_AUTH: u16 = 0x0a2;
pub(crate) const HANDLE: u16 = 0x08b;
pub(crate) const INTEGRITY: u16 = 0x09f;
pub(crate) const LOCKOUT: u16 = 0x921;
pub(crate) const POLICY_FAIL: u16 = 0x09d;

/// What a TPM answers (TPM 2.0 Part 2, 6.6.3), without the number of the parameter, handle or session it is about.
#[rustfmt::skip] // a table: one answer under another
const TPM: &[(u16, &str, Row)] = &[
    (0x081, "TPM_RC_ASYMMETRIC", UNSUPPORTED),
    (0x082, "TPM_RC_ATTRIBUTES", UNSUPPORTED),
    (0x083, "TPM_RC_HASH", UNSUPPORTED),
    (0x084, "TPM_RC_VALUE", UNKNOWN),
    (0x085, "TPM_RC_HIERARCHY", FORBIDDEN),
    (0x087, "TPM_RC_KEY_SIZE", UNSUPPORTED),
    (0x088, "TPM_RC_MGF", UNSUPPORTED),
    (0x089, "TPM_RC_MODE", UNSUPPORTED),
    (0x08a, "TPM_RC_TYPE", FAULT),
    (HANDLE, "TPM_RC_HANDLE", STALE),
    (0x08c, "TPM_RC_KDF", UNSUPPORTED),
    (0x08d, "TPM_RC_RANGE", FAULT),
    (AUTH_FAIL, "TPM_RC_AUTH_FAIL", AUTH),
    (0x08f, "TPM_RC_NONCE", STALE),
    (0x090, "TPM_RC_PP", FORBIDDEN),
    (0x092, "TPM_RC_SCHEME", UNSUPPORTED),
    (0x095, "TPM_RC_SIZE", FAULT),
    (0x096, "TPM_RC_SYMMETRIC", UNSUPPORTED),
    (0x097, "TPM_RC_TAG", FAULT),
    (0x098, "TPM_RC_SELECTOR", FAULT),
    (0x09a, "TPM_RC_INSUFFICIENT", FAULT),
    (0x09b, "TPM_RC_SIGNATURE", REJECTED),
    (0x09c, "TPM_RC_KEY", FAULT),
    (POLICY_FAIL, "TPM_RC_POLICY_FAIL", FORBIDDEN),
    (INTEGRITY, "TPM_RC_INTEGRITY", FOREIGN),
    (0x0a0, "TPM_RC_TICKET", FAULT),
    (0x0a1, "TPM_RC_RESERVED_BITS", FAULT),
    (BAD_AUTH, "TPM_RC_BAD_AUTH", AUTH),
    (0x0a3, "TPM_RC_EXPIRED", FORBIDDEN),
    (0x0a4, "TPM_RC_POLICY_CC", FORBIDDEN),
    (0x0a5, "TPM_RC_BINDING", FOREIGN),
    (0x0a6, "TPM_RC_CURVE", UNSUPPORTED),
    (0x0a7, "TPM_RC_ECC_POINT", REJECTED),
    (0x100, "TPM_RC_INITIALIZE", BROKEN),
    (0x101, "TPM_RC_FAILURE", BROKEN),
    (0x103, "TPM_RC_SEQUENCE", FAULT),
    (0x120, "TPM_RC_DISABLED", FORBIDDEN),
    (0x121, "TPM_RC_EXCLUSIVE", BUSY),
    (0x124, "TPM_RC_AUTH_TYPE", FORBIDDEN),
    (0x125, "TPM_RC_AUTH_MISSING", FORBIDDEN),
    (0x126, "TPM_RC_POLICY", FORBIDDEN),
    (0x127, "TPM_RC_PCR", FORBIDDEN),
    (0x128, "TPM_RC_PCR_CHANGED", BUSY),
    (0x12d, "TPM_RC_UPGRADE", BROKEN),
    (0x12e, "TPM_RC_TOO_MANY_CONTEXTS", BROKEN),
    (0x12f, "TPM_RC_AUTH_UNAVAILABLE", FORBIDDEN),
    (0x130, "TPM_RC_REBOOT", BROKEN),
    (0x131, "TPM_RC_UNBALANCED", UNSUPPORTED),
    (0x142, "TPM_RC_COMMAND_SIZE", FAULT),
    (0x143, "TPM_RC_COMMAND_CODE", UNSUPPORTED),
    (0x144, "TPM_RC_AUTHSIZE", FAULT),
    (0x145, "TPM_RC_AUTH_CONTEXT", FAULT),
    (0x146, "TPM_RC_NV_RANGE", FAULT),
    (0x147, "TPM_RC_NV_SIZE", FAULT),
    (0x148, "TPM_RC_NV_LOCKED", FORBIDDEN),
    (0x149, "TPM_RC_NV_AUTHORIZATION", FORBIDDEN),
    (0x14a, "TPM_RC_NV_UNINITIALIZED", FAULT),
    (0x14b, "TPM_RC_NV_SPACE", NO_ROOM),
    (0x14c, "TPM_RC_NV_DEFINED", FAULT),
    (0x150, "TPM_RC_BAD_CONTEXT", STALE),
    (0x151, "TPM_RC_CPHASH", FAULT),
    (0x152, "TPM_RC_PARENT", FAULT),
    (0x153, "TPM_RC_NEEDS_TEST", BUSY),
    (0x154, "TPM_RC_NO_RESULT", FAULT),
    (0x155, "TPM_RC_SENSITIVE", FOREIGN),
    (0x901, "TPM_RC_CONTEXT_GAP", STALE),
    (0x902, "TPM_RC_OBJECT_MEMORY", FULL),
    (0x903, "TPM_RC_SESSION_MEMORY", FULL),
    (0x904, "TPM_RC_MEMORY", FULL),
    (0x905, "TPM_RC_SESSION_HANDLES", FULL),
    (0x906, "TPM_RC_OBJECT_HANDLES", FULL),
    (0x907, "TPM_RC_LOCALITY", FORBIDDEN),
    (0x908, "TPM_RC_YIELDED", BUSY),
    (0x909, "TPM_RC_CANCELED", BUSY),
    (0x90a, "TPM_RC_TESTING", BUSY),
    (0x910, "TPM_RC_REFERENCE_H0", STALE),
    (0x911, "TPM_RC_REFERENCE_H1", STALE),
    (0x912, "TPM_RC_REFERENCE_H2", STALE),
    (0x918, "TPM_RC_REFERENCE_S0", STALE),
    (0x919, "TPM_RC_REFERENCE_S1", STALE),
    (0x91a, "TPM_RC_REFERENCE_S2", STALE),
    (0x920, "TPM_RC_NV_RATE", BUSY),
    (LOCKOUT, "TPM_RC_LOCKOUT", AUTH),
    (0x922, "TPM_RC_RETRY", BUSY),
    (0x923, "TPM_RC_NV_UNAVAILABLE", BUSY),
];

/// What the layers of the library answer (TSS 2.0 Overview, base response codes). Most mean that nothing, or nothing that
/// can be read, came back from the TPM.
#[rustfmt::skip] // a table: one answer under another
const LIBRARY: &[(u16, &str, Row)] = &[
    (1, "GENERAL_FAILURE", AWAY),
    (2, "NOT_IMPLEMENTED", UNSUPPORTED),
    (3, "BAD_CONTEXT", AWAY),
    (5, "BAD_REFERENCE", FAULT),
    (6, "INSUFFICIENT_BUFFER", FAULT),
    (7, "BAD_SEQUENCE", AWAY),
    (8, "NO_CONNECTION", AWAY),
    (9, "TRY_AGAIN", BUSY),
    (10, "IO_ERROR", AWAY),
    (11, "BAD_VALUE", FAULT),
    (12, "NOT_PERMITTED", FORBIDDEN),
    (13, "INVALID_SESSIONS", FAULT),
    (14, "NO_DECRYPT_PARAM", FAULT),
    (15, "NO_ENCRYPT_PARAM", FAULT),
    (16, "BAD_SIZE", FAULT),
    (17, "MALFORMED_RESPONSE", AWAY),
    (18, "INSUFFICIENT_CONTEXT", FAULT),
    (19, "INSUFFICIENT_RESPONSE", AWAY),
    (20, "INCOMPATIBLE_TCTI", UNSUPPORTED),
    (21, "NOT_SUPPORTED", UNSUPPORTED),
    (22, "BAD_TCTI_STRUCTURE", FAULT),
    (23, "MEMORY", NO_ROOM),
    (24, "BAD_TR", AWAY),
    (27, "RSP_AUTH_FAILED", FORGED),
];

/// A response code, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Who answers: 0 is the TPM.
    layer: u8,
    code: u16,
}

/// Layers whose codes are those of a TPM: the TPM, and resource managers that answer in its name.
const TPM_LAYERS: [u8; 2] = [0, 11];

impl Answer {
    fn from_code(code: u32) -> Self {
        let [_, layer, high, low] = code.to_be_bytes();
        let code = u16::from_be_bytes([high, low]);
        // Format one (bit 7): six bits of error number, the others say which parameter, handle or session.
        let code = if TPM_LAYERS.contains(&layer) && code & 0x080 != 0 { code & 0x0bf } else { code };
        Self { layer, code }
    }

    /// Whether the TPM answered with this code.
    pub(crate) fn is(self, code: u16) -> bool {
        TPM_LAYERS.contains(&self.layer) && self.code == code
    }

    fn find(self) -> Option<(&'static str, Row)> {
        let table = if TPM_LAYERS.contains(&self.layer) { TPM } else { LIBRARY };
        table.iter().find(|(code, ..)| *code == self.code).map(|(_, name, row)| (*name, *row))
    }

    fn row(self) -> Row {
        self.find().map_or(UNKNOWN, |(_, row)| row)
    }

    fn name(self) -> String {
        let layer = match self.layer {
            layer if TPM_LAYERS.contains(&layer) => "",
            6 => "FAPI ",
            7 => "ESYS ",
            8 => "SYS ",
            9 => "MU ",
            10 => "TCTI ",
            _ => "TSS ",
        };
        match self.find() {
            Some((name, _)) => format!("{layer}{name}"),
            None => format!("{layer}{:#x}", self.code),
        }
    }
}

/// A failure on its way from the TPM to the caller.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The TPM, or the library, answered with an error.
    Answer(Answer, &'static str),
    /// What the TPM returned makes no sense.
    Nonsense(String),
    /// What we have loaded is not what the TPM has under its handle.
    Stale,
    /// Decided: goes to the caller as it is.
    Decided(Error),
}

/// What talking to the TPM gives.
pub(crate) type Done<T> = Result<T, Trouble>;

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Decided(error)
    }
}

impl Trouble {
    pub(crate) fn new(error: tss_esapi::Error, command: &'static str) -> Self {
        let code: u32 = match error {
            tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.bit_range(31, 0),
            tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.bit_range(31, 0),
            tss_esapi::Error::Tss2Error(Tss2ResponseCode::Success) => 0,
            tss_esapi::Error::WrapperError(WrapperErrorKind::InvalidHandleState) => return Self::Stale,
            tss_esapi::Error::WrapperError(kind) => return Self::Nonsense(format!("{command}: {kind}")),
        };
        Self::Answer(Answer::from_code(code), command)
    }

    /// Whether it is about the second session of the command (TPM 2.0 Part 2, 6.6.2: format one, N is 8 and its number).
    pub(crate) fn is_about_second_session(error: &tss_esapi::Error) -> bool {
        match error {
            tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatOne(code)) => {
                let code: u32 = code.bit_range(31, 0);
                code & 0xfc0 == 0xa80
            }
            _ => false,
        }
    }

    /// Whether the TPM answered with this code.
    pub(crate) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Answer(answer, _) if answer.is(code))
    }

    /// Whether the TPM refused the authorization value.
    pub(crate) fn refuses_auth(&self) -> bool {
        self.is(AUTH_FAIL) || self.is(BAD_AUTH)
    }

    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Answer(answer, _) => answer.row().2,
            Self::Stale => Remedy::Reconnect,
            Self::Nonsense(_) | Self::Decided(_) => Remedy::None,
        }
    }

    /// What the caller is told; `tpm` names the TPM.
    pub(crate) fn into_error(self, tpm: &str) -> Error {
        match self {
            Self::Decided(error) => error,
            Self::Stale => {
                Error::new(Kind::Unavailable, format!("the TPM `{tpm}` lost what was loaded into it"))
                    .with_retry(AGAIN)
                    .with_hint("another program may flush what is not its own: use `tcti=device:/dev/tpmrm0`")
            }
            Self::Nonsense(what) => {
                Error::new(Kind::Backend, format!("the TPM `{tpm}` returned something that cannot be used"))
                    .with_source(what)
            }
            Self::Answer(answer, command) => told(answer, command, tpm),
        }
    }
}

fn told(answer: Answer, command: &str, tpm: &str) -> Error {
    let (kind, retry, _) = answer.row();
    if kind == Kind::Rejected {
        return Error::rejected();
    }
    let text = format!("the TPM `{tpm}` answered {} to {command}", answer.name());
    let error = Error::new(kind, text).with_retry(retry);
    if answer.is(LOCKOUT) {
        return error.with_hint(
            "it is locked after too many wrong authorization values: wait until it recovers, or reset it with \
             `tpm2_dictionarylockout --clear-lockout`",
        );
    }
    if answer.is(POLICY_FAIL) {
        return error.with_hint(
            "the registers that the key is bound to have other values: this machine started differently",
        );
    }
    if answer.is(INTEGRITY) {
        return error.with_hint(
            "the key's file was altered, or it was made by another TPM: restore it from a backup",
        );
    }
    match kind {
        Kind::Unavailable => error.with_hint("check that the TPM is there; the vault recovers by itself"),
        Kind::Exhausted => error.with_hint(
            "other programs hold its slots: `tcti=device:/dev/tpmrm0` gives each program slots of its own",
        ),
        Kind::Denied => {
            error.with_hint("its owner has a password or forbids the command: docs/backends/tpm.md")
        }
        _ => error,
    }
}

/// Names the command that failed.
pub(crate) trait At<T> {
    /// The result as ours, with the command.
    fn at(self, command: &'static str) -> Done<T>;
}

impl<T> At<T> for tss_esapi::Result<T> {
    fn at(self, command: &'static str) -> Done<T> {
        self.map_err(|error| Trouble::new(error, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_as_written_down() {
        let mut text = String::new();
        for (layer, table) in [(0_u8, TPM), (10, LIBRARY)] {
            for (code, ..) in table {
                let answer = Answer::from_code((u32::from(layer) << 16) | u32::from(*code));
                let (kind, retry, remedy) = answer.row();
                text += &format!("{} {kind} {retry:?} {remedy:?}\n", answer.name());
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/errors.golden.txt"), &text).unwrap();
            return;
        }
        let golden = include_str!("errors.golden.txt");
        assert_eq!(text, golden, "the table changed: read the difference, then change the golden");
    }

    #[test]
    fn codes_are_read_without_what_they_are_about() {
        // TPM_RC_AUTH_FAIL about session 1, TPM_RC_HANDLE about handle 1, both also from a resource manager.
        for (code, name) in [
            (0x0000_098e, "TPM_RC_AUTH_FAIL"),
            (0x000b_098e, "TPM_RC_AUTH_FAIL"),
            (0x0000_018b, "TPM_RC_HANDLE"),
            (0x0000_01df, "TPM_RC_INTEGRITY"),
            (0x0000_0902, "TPM_RC_OBJECT_MEMORY"),
            (0x0000_0921, "TPM_RC_LOCKOUT"),
            (0x000a_000a, "TCTI IO_ERROR"),
            (0x0007_001b, "ESYS RSP_AUTH_FAILED"),
            (0x0000_0119, "0x119"),
        ] {
            assert_eq!(Answer::from_code(code).name(), name, "{code:#x}");
        }
        // The library reads layers as if they were TPM codes: TCTI's IO_ERROR must not become one.
        assert!(!Answer::from_code(0x000a_0101).is(0x101));
    }

    #[test]
    fn a_kind_never_contradicts_its_retry_class() {
        for (_, name, (kind, retry, remedy)) in TPM.iter().chain(LIBRARY) {
            let waiting = matches!(kind, Kind::Unavailable | Kind::Exhausted);
            assert!(!(waiting && *retry == Retry::Permanent), "{name}");
            // An authorization value is never sent again by ourselves.
            assert!(*kind != Kind::Denied || *remedy == Remedy::None, "{name}");
            assert_ne!(*retry, Retry::Indeterminate, "{name}");
        }
    }

    #[test]
    fn a_rejection_says_nothing() {
        let error = Trouble::Answer(Answer::from_code(0x1e7), "TPM2_ECDH_ZGen").into_error("t");
        assert_eq!(error.to_string(), Error::rejected().to_string());
    }
}
