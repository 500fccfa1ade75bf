//! From what a token answers to what callers of a vault are told: one row for each return value of PKCS#11, and what
//! the backend itself may try, once, before it reports.

use std::fmt::Write as _;

use cryptoki::context::Function;
use cryptoki::error::{Error as LibraryError, RvError};
use vault::device::{AGAIN, indeterminate};
use vault::{Error, Kind, Retry};

/// What the backend does by itself, once, before it reports a failure of an idempotent call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing: the answer is final.
    None,
    /// The object handle is stale: find the key again.
    Resolve,
    /// The session is bad: open another.
    Reopen,
    /// Nobody is logged in: log in again.
    Login,
    /// The token, or the way to it, may be gone: look, and connect again.
    Device,
    /// The login may outlive what it was made for: connect and log in from scratch (see [`crate::quirks`]).
    Renew,
}

/// The rows of the table, named by what they have in common.
mod row {
    use super::{AGAIN, Kind, Remedy, Retry};

    type Row = (Kind, Retry, Remedy);
    pub(super) const AWAY: Row = (Kind::Unavailable, AGAIN, Remedy::Device);
    pub(super) const MODULE: Row = (Kind::Unavailable, Retry::NeedsReinit, Remedy::Device);
    pub(super) const BROKEN: Row = (Kind::Unavailable, Retry::NeedsOperator, Remedy::Device);
    pub(super) const SESSION: Row = (Kind::Unavailable, Retry::NeedsReinit, Remedy::Reopen);
    pub(super) const LOGIN: Row = (Kind::Unavailable, Retry::NeedsReinit, Remedy::Login);
    pub(super) const OTHERS: Row = (Kind::Unavailable, AGAIN, Remedy::None);
    pub(super) const FULL: Row = (Kind::Exhausted, AGAIN, Remedy::None);
    pub(super) const PIN: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::None);
    pub(super) const DENIED: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::None);
    pub(super) const FORBIDDEN: Row = (Kind::Denied, Retry::Permanent, Remedy::None);
    pub(super) const STALE: Row = (Kind::NotFound, Retry::Permanent, Remedy::Resolve);
    pub(super) const UNSUPPORTED: Row = (Kind::Unsupported, Retry::Permanent, Remedy::None);
    pub(super) const INVALID: Row = (Kind::Invalid, Retry::Permanent, Remedy::None);
    pub(super) const REJECTED: Row = (Kind::Rejected, Retry::Permanent, Remedy::None);
    pub(super) const FAULT: Row = (Kind::Backend, Retry::Permanent, Remedy::None);
    pub(super) const UNKNOWN: Row = (Kind::Backend, Retry::Permanent, Remedy::Device);
}

/// `CKR_AEAD_DECRYPT_FAILED` of PKCS#11 3.0, which the library has no name for.
const AEAD_DECRYPT_FAILED: u64 = 0x35;

/// The table. Without a wildcard, so that a return value that the library learns does not compile until it has a row.
#[rustfmt::skip] // a table: one answer under another
pub(crate) fn row(answer: RvError) -> (Kind, Retry, Remedy) {
    use RvError as R;
    match answer {
        R::GeneralError | R::FunctionFailed | R::DeviceError | R::DeviceRemoved | R::TokenNotPresent
        | R::TokenNotRecognized | R::SlotIdInvalid => row::AWAY,
        R::CryptokiNotInitialized | R::CryptokiAlreadyInitialized => row::MODULE,
        R::FipsSelfTestFailed | R::LibraryLoadFailed => row::BROKEN,
        R::SessionClosed | R::SessionHandleInvalid | R::OperationActive | R::OperationNotInitialized => row::SESSION,
        R::UserNotLoggedIn => row::LOGIN,
        R::Cancel | R::FunctionCanceled | R::SessionExists | R::SessionReadOnlyExists | R::SessionReadWriteSoExists
        | R::UserAnotherAlreadyLoggedIn | R::UserTooManyTypes => row::OTHERS,
        R::HostMemory | R::DeviceMemory | R::SessionCount => row::FULL,
        R::PinIncorrect | R::PinInvalid | R::PinLenRange | R::PinExpired | R::PinLocked | R::PinTooWeak
        | R::UserPinNotInitialized | R::NewPinMode | R::NextOtp => row::PIN,
        R::SessionReadOnly | R::TokenWriteProtected | R::FunctionRejected => row::DENIED,
        R::ActionProhibited | R::AttributeSensitive | R::InformationSensitive | R::KeyFunctionNotPermitted
        | R::KeyNotWrappable | R::KeyUnextractable => row::FORBIDDEN,
        R::KeyHandleInvalid | R::ObjectHandleInvalid | R::UnwrappingKeyHandleInvalid
        | R::WrappingKeyHandleInvalid => row::STALE,
        R::AttributeReadOnly | R::AttributeTypeInvalid | R::AttributeValueInvalid | R::TemplateIncomplete
        | R::TemplateInconsistent | R::FunctionNotSupported | R::FunctionNotParallel | R::CurveNotSupported
        | R::MechanismInvalid | R::MechanismParamInvalid | R::KeySizeRange | R::KeyTypeInconsistent
        | R::DomainParamsInvalid | R::RandomSeedNotSupported | R::RandomNoRng | R::SessionParallelNotSupported
        | R::UnwrappingKeySizeRange | R::UnwrappingKeyTypeInconsistent | R::WrappingKeySizeRange
        | R::WrappingKeyTypeInconsistent | R::KeyIndigestible => row::UNSUPPORTED,
        R::DataInvalid | R::DataLenRange => row::INVALID,
        R::EncryptedDataInvalid | R::EncryptedDataLenRange | R::SignatureInvalid | R::SignatureLenRange
        | R::WrappedKeyInvalid | R::WrappedKeyLenRange | R::PublicKeyInvalid
        | R::UnknownErrorCode(AEAD_DECRYPT_FAILED) => row::REJECTED,
        R::ArgumentsBad | R::NoEvent | R::NeedToCreateThreads | R::CantLock | R::MutexBad | R::MutexNotLocked
        | R::UserTypeInvalid | R::UserAlreadyLoggedIn | R::KeyNotNeeded | R::KeyChanged | R::KeyNeeded
        | R::BufferTooSmall | R::SavedStateInvalid | R::StateUnsaveable | R::ExceededMaxIterations => row::FAULT,
        R::VendorDefined(_) | R::UnknownErrorCode(_) => row::UNKNOWN,
    }
}

/// A failure on its way from the device to the caller.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The token answered with an error.
    Answer(RvError, Function),
    /// What the token returned makes no sense: a length, a value, a missing function.
    Nonsense(LibraryError),
    /// The token was looked at and is not there, or the login is not what it should be.
    Away(Remedy),
    /// Decided: goes to the caller as it is.
    Decided(Error),
    /// Decided, unless a look through a fresh connection says otherwise.
    Doubtful(Error),
}

impl From<LibraryError> for Trouble {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Pkcs11(answer, function) => Self::Answer(answer, function),
            other => Self::Nonsense(other),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Decided(error)
    }
}

impl Trouble {
    /// What may be tried, once.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Answer(answer, _) => row(*answer).2,
            Self::Away(remedy) => *remedy,
            Self::Doubtful(_) => Remedy::Renew,
            Self::Nonsense(_) | Self::Decided(_) => Remedy::None,
        }
    }

    /// Whether the session may be left in the middle of something.
    pub(crate) fn spoils_the_session(&self) -> bool {
        !matches!(self, Self::Decided(_) | Self::Doubtful(_))
    }

    /// Whether a login that met this never got as far as the PIN: there was no token, no session, or no module.
    pub(crate) fn is_before_the_pin(&self) -> bool {
        use RvError as R;
        let Self::Answer(answer, _) = self else { return false };
        matches!(
            answer,
            R::TokenNotPresent
                | R::DeviceRemoved
                | R::SlotIdInvalid
                | R::SessionHandleInvalid
                | R::SessionClosed
                | R::CryptokiNotInitialized
        )
    }

    /// Whether this is the answer to a check of what somebody sent, by a token that has a word for it.
    pub(crate) fn is_rejection(&self) -> bool {
        matches!(self, Self::Answer(answer, function) if kind(*answer, *function) == Kind::Rejected)
    }

    /// What the caller is told. `sent` says that a request that changes the token was under way.
    pub(crate) fn into_error(self, token: &str, sent: bool) -> Error {
        let lost = sent && matches!(self.remedy(), Remedy::Device | Remedy::Reopen | Remedy::Login);
        let error = match self {
            Self::Decided(error) | Self::Doubtful(error) => return error,
            Self::Away(_) => away(token),
            Self::Nonsense(error) => {
                Error::new(Kind::Backend, format!("token `{token}` returned nonsense: {error}"))
            }
            Self::Answer(answer, function) => answered(token, answer, function),
        };
        if lost { indeterminate(error) } else { error }
    }
}

/// The kind of an answer to this function. What was sent can only be rejected where it is checked, and an object only be
/// missing where one is named: elsewhere such an answer says nothing that a caller could use.
fn kind(answer: RvError, function: Function) -> Kind {
    use Function as F;
    let names_an_object = || {
        matches!(
            function,
            F::GetAttributeValue
                | F::DestroyObject
                | F::SignInit
                | F::Sign
                | F::EncryptInit
                | F::Encrypt
                | F::DecryptInit
                | F::Decrypt
                | F::DeriveKey
        )
    };
    match row(answer).0 {
        Kind::Rejected if !matches!(function, F::Decrypt | F::DecryptInit | F::DeriveKey) => Kind::Backend,
        Kind::NotFound if !names_an_object() => Kind::Backend,
        kind => kind,
    }
}

fn answered(token: &str, answer: RvError, function: Function) -> Error {
    let (kind, (_, retry, _)) = (kind(answer, function), row(answer));
    if kind == Kind::Rejected {
        return Error::rejected();
    }
    let text = format!("token `{token}` answered {} to C_{function:?}", name(answer));
    let error = Error::new(kind, text).with_retry(retry);
    match kind {
        Kind::Unavailable => {
            error.with_hint("check that the token is connected; the vault recovers by itself")
        }
        Kind::Exhausted => error.with_hint("other programs may hold its sessions or memory"),
        _ => error,
    }
}

/// The token is not there.
pub(crate) fn away(token: &str) -> Error {
    Error::new(Kind::Unavailable, format!("token `{token}` is away"))
        .with_hint("connect it again; the vault recovers by itself")
}

/// The name that the standard gives a return value: `PinIncorrect` is `CKR_PIN_INCORRECT`.
pub(crate) fn name(answer: RvError) -> String {
    let (word, code) = match answer {
        RvError::VendorDefined(code) => ("VendorDefined".to_owned(), Some(code)),
        RvError::UnknownErrorCode(code) => ("Unknown".to_owned(), Some(code)),
        other => (format!("{other:?}"), None),
    };
    let mut name = String::from("CKR");
    for letter in word.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    if let Some(code) = code {
        let _ = write!(name, " {code:#x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use cryptoki::error::Rv;

    use super::*;

    /// Every return value that PKCS#11 names, as the library reads it.
    fn every() -> Vec<RvError> {
        (1..0x400_u64)
            .chain([0x8000_0000, 0x8000_0001])
            .filter_map(|code| match Rv::from(code) {
                Rv::Ok => None,
                Rv::Error(RvError::UnknownErrorCode(code)) if code != AEAD_DECRYPT_FAILED => None,
                Rv::Error(answer) => Some(answer),
            })
            .collect()
    }

    #[test]
    fn the_table_is_as_written_down() {
        let rows: Vec<_> = every()
            .into_iter()
            .map(|answer| {
                let (kind, retry, remedy) = row(answer);
                format!("{} {kind} {retry:?} {remedy:?}", name(answer))
            })
            .collect();
        let golden = include_str!("errors.golden.txt");
        assert_eq!(
            rows.join("\n") + "\n",
            golden,
            "the table changed: read the difference, then change the golden"
        );
        assert!(rows.len() > 90, "the library names {} return values", rows.len());
    }

    #[test]
    fn a_kind_never_contradicts_its_retry_class() {
        for answer in every() {
            let (kind, retry, remedy) = row(answer);
            let waiting = matches!(kind, Kind::Unavailable | Kind::Exhausted);
            assert_eq!(
                retry == Retry::Permanent,
                !waiting && !matches!(retry, Retry::NeedsOperator),
                "{answer:?}"
            );
            // Only what a fresh connection can cure is tried again, and a PIN never.
            assert!(remedy == Remedy::None || kind != Kind::Denied, "{answer:?}");
            assert_ne!(retry, Retry::Indeterminate, "{answer:?}: only the request knows whether it was sent");
        }
    }

    #[test]
    fn what_was_sent_and_lost_is_indeterminate() {
        let lost = || Trouble::Answer(RvError::DeviceRemoved, Function::GenerateKeyPair);
        assert_eq!(lost().into_error("t", true).retry(), Retry::Indeterminate);
        assert_eq!(lost().into_error("t", false).retry(), AGAIN);
        let refused = Trouble::Answer(RvError::MechanismInvalid, Function::GenerateKeyPair);
        assert_eq!(refused.into_error("t", true).retry(), Retry::Permanent);
    }

    #[test]
    fn an_answer_that_does_not_fit_its_function_is_a_fault() {
        let told = |answer, function| Trouble::Answer(answer, function).into_error("t", false).kind();
        for (function, kind) in [(Function::Decrypt, Kind::Rejected), (Function::Sign, Kind::Backend)] {
            assert_eq!(told(RvError::EncryptedDataInvalid, function), kind);
            let rejects = Trouble::Answer(RvError::SignatureInvalid, function).is_rejection();
            assert_eq!(rejects, kind == Kind::Rejected);
        }
        for (function, kind) in [(Function::SignInit, Kind::NotFound), (Function::Login, Kind::Backend)] {
            assert_eq!(told(RvError::ObjectHandleInvalid, function), kind);
        }
    }

    #[test]
    fn a_rejection_says_nothing() {
        let error = Trouble::Answer(RvError::EncryptedDataInvalid, Function::Decrypt).into_error("t", false);
        assert_eq!(error.to_string(), Error::rejected().to_string());
    }
}
