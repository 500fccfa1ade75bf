//! From what the driver answers to what callers of a vault are told: one row for each of its errors, and what the backend
//! itself may try, once, before it reports.

use ::yubikey::Error as DriverError;
use vault::device::{AGAIN, indeterminate};
use vault::{Error, Kind, Retry};

/// What the backend does by itself, once, before it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing: the answer is final.
    None,
    /// The connection or what was proved on it is gone: connect and enter the PIN again.
    Reconnect,
}

type Row = (Kind, Retry, Remedy);
const AWAY: Row = (Kind::Unavailable, AGAIN, Remedy::Reconnect);
const PIN: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::None);
const UNPROVED: Row = (Kind::Denied, Retry::NeedsOperator, Remedy::Reconnect);
const UNSUPPORTED: Row = (Kind::Unsupported, Retry::Permanent, Remedy::None);
const GONE: Row = (Kind::NotFound, Retry::Permanent, Remedy::None);
const FULL: Row = (Kind::Exhausted, AGAIN, Remedy::None);
const NONSENSE: Row = (Kind::Backend, Retry::Permanent, Remedy::None);
const UNCLEAR: Row = (Kind::Backend, Retry::Permanent, Remedy::Reconnect);

/// The table. `GenericError` is every status word that the driver does not tell apart, among them those of a card on
/// which another program selected another application: a fresh connection selects ours.
#[rustfmt::skip] // a table: one answer under another
pub(crate) fn row(answer: DriverError) -> Row {
    use DriverError as E;
    match answer {
        E::PcscError { inner } => reader(inner),
        E::WrongPin { .. } | E::PinLocked => PIN,
        E::AuthenticationError => UNPROVED,
        E::NotFound => GONE,
        E::NotSupported | E::AlgorithmError | E::AppletNotFound { .. } => UNSUPPORTED,
        E::MemoryError => FULL,
        E::GenericError | E::AppletError => UNCLEAR,
        _ => NONSENSE,
    }
}

/// What PC/SC says of the reader and its service.
#[rustfmt::skip] // a table: one answer under another
fn reader(answer: Option<pcsc::Error>) -> Row {
    use pcsc::Error as E;
    match answer {
        Some(E::NoMemory | E::ServerTooBusy) => FULL,
        Some(E::UnsupportedCard | E::UnsupportedFeature | E::ProtoMismatch | E::CardUnsupported) => UNSUPPORTED,
        Some(E::InvalidParameter | E::InvalidValue | E::InsufficientBuffer | E::PciTooSmall) => NONSENSE,
        // Removed, reset, no service, no readers, busy, and whatever else a cable can do.
        _ => AWAY,
    }
}

/// A failure on its way from the card to the caller.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The driver answered with an error.
    Answer(DriverError),
    /// What the card returned makes no sense.
    Nonsense(&'static str),
    /// Decided: goes to the caller as it is.
    Decided(Error),
    /// The same, and the connection is gone.
    Lost(Error),
}

/// The result of what a worker does.
pub(crate) type Done<T> = std::result::Result<T, Trouble>;

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        Self::Answer(error)
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
            Self::Answer(answer) => row(*answer).2,
            Self::Nonsense(_) | Self::Decided(_) => Remedy::None,
            Self::Lost(_) => Remedy::Reconnect,
        }
    }

    /// What the caller is told. `sent` says that something that changes the card was under way.
    pub(crate) fn into_error(self, card: &str, sent: bool) -> Error {
        match self {
            Self::Decided(error) | Self::Lost(error) => error,
            Self::Nonsense(what) => Error::new(Kind::Backend, format!("{card} returned {what}")),
            Self::Answer(answer) => {
                let error = answered(card, answer);
                if sent && row(answer).2 == Remedy::Reconnect { indeterminate(error) } else { error }
            }
        }
    }
}

fn answered(card: &str, answer: DriverError) -> Error {
    let (kind, retry, _) = row(answer);
    let error = Error::new(kind, format!("{card} answered: {answer}")).with_retry(retry);
    match answer {
        DriverError::PcscError { .. } if kind == Kind::Unavailable => {
            error.with_hint("check that it is plugged in and that `pcscd` runs; the vault recovers by itself")
        }
        DriverError::WrongPin { tries: 0 } | DriverError::PinLocked => {
            Error::new(kind, format!("{card} is locked: its tries are used up"))
                .with_hint("`ockam-kms vault unblock-pin` gives the PIN new tries, by the PUK")
        }
        DriverError::WrongPin { tries } => {
            Error::new(kind, format!("{card} refused the PIN, {}", left(tries)))
                .with_hint("enter the right one; the last try is never spent by this program")
        }
        DriverError::AuthenticationError => {
            error.with_hint("the PIN or the management key is not the card's, or nobody touched it in time")
        }
        _ => error,
    }
}

/// How many tries are left, in words.
pub(crate) fn left(tries: u8) -> String {
    if tries == 1 { "1 try is left".to_owned() } else { format!("{tries} tries are left") }
}

/// The card is not there.
pub(crate) fn away(card: &str) -> Error {
    Error::new(Kind::Unavailable, format!("{card} is away"))
        .with_hint("plug it in again; the vault recovers by itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<DriverError> {
        use DriverError as E;
        let pcsc = |inner| E::PcscError { inner };
        let mut all = vec![
            E::AlgorithmError,
            E::AppletError,
            E::AppletNotFound { applet_name: "PIV" },
            E::ArgumentError,
            E::AuthenticationError,
            E::CertificateBuilder,
            E::GenericError,
            E::InvalidObject,
            E::KeyError,
            E::MemoryError,
            E::NotSupported,
            E::NotFound,
            E::ParseError,
            E::PinLocked,
            E::RangeError,
            E::SizeError,
            E::WrongPin { tries: 2 },
            pcsc(None),
        ];
        use pcsc::Error as P;
        all.extend(
            [
                P::RemovedCard,
                P::ResetCard,
                P::NoService,
                P::ServiceStopped,
                P::NoSmartcard,
                P::NoReadersAvailable,
                P::ReaderUnavailable,
                P::UnknownReader,
                P::UnpoweredCard,
                P::UnresponsiveCard,
                P::SharingViolation,
                P::CommError,
                P::CommDataLost,
                P::NotTransacted,
                P::InvalidHandle,
                P::InternalError,
                P::Timeout,
                P::Cancelled,
                P::NoMemory,
                P::ServerTooBusy,
                P::UnsupportedCard,
                P::ProtoMismatch,
                P::InsufficientBuffer,
                P::InvalidParameter,
            ]
            .map(|error| pcsc(Some(error))),
        );
        all
    }

    #[test]
    fn the_table_is_as_written_down() {
        let rows: Vec<_> = every()
            .into_iter()
            .map(|answer| {
                let (kind, retry, remedy) = row(answer);
                let name = match answer {
                    DriverError::PcscError { inner: Some(inner) } => format!("Pcsc{inner:?}"),
                    DriverError::PcscError { inner: None } => "Pcsc".to_owned(),
                    DriverError::WrongPin { .. } => "WrongPin".to_owned(),
                    DriverError::AppletNotFound { .. } => "AppletNotFound".to_owned(),
                    other => format!("{other:?}"),
                };
                format!("{name} {kind} {retry:?} {remedy:?}\n")
            })
            .collect();
        assert_eq!(
            rows.concat(),
            include_str!("errors.golden.txt"),
            "the table changed: read the difference, then change the golden"
        );
    }

    #[test]
    fn a_pin_is_never_tried_again() {
        for answer in [DriverError::WrongPin { tries: 1 }, DriverError::PinLocked] {
            assert_eq!(row(answer).2, Remedy::None);
        }
    }

    #[test]
    fn what_was_sent_and_lost_is_indeterminate() {
        let lost = || Trouble::Answer(DriverError::PcscError { inner: Some(pcsc::Error::RemovedCard) });
        assert_eq!(lost().into_error("c", true).retry(), Retry::Indeterminate);
        assert_eq!(lost().into_error("c", false).retry(), AGAIN);
        let refused = Trouble::Answer(DriverError::AlgorithmError);
        assert_eq!(refused.into_error("c", true).retry(), Retry::Permanent);
    }
}
