//! What can go wrong with what is kept on disk.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use identity::Refusal;
pub use vault::Kind;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure. Its kinds are those of a vault: a caller treats a missing identity as it treats a missing key.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    refusal: Option<Refusal>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), hint: None, refusal: None, source: None }
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure, of another kind: what a device calls "not found" may mean to its caller that it is away.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A failure to read or write a path.
    #[must_use]
    pub fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::AlreadyExists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
            io::ErrorKind::FileTooLarge => Kind::Corrupt,
            _ => Kind::Denied,
        };
        Self::new(kind, format!("cannot {doing} `{}`: {error}", path.display()))
            .with_hint(
                "check that the directory is yours and that the disk has room; OCKAM_KMS_HOME names another",
            )
            .with_source(error)
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it, when that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The rule of verification that refused, when one did.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        let hint = error.hint().map(|hint| hint.to_owned().into());
        Self {
            kind: error.kind(),
            message: error.to_string().into(),
            hint,
            refusal: None,
            source: Some(error.into()),
        }
    }
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        let kind = match error.kind() {
            identity::Kind::Refused(_) => Kind::Rejected,
            identity::Kind::Vault(kind) => kind,
            _ => Kind::Invalid,
        };
        let hint = error.vault_error().and_then(vault::Error::hint).map(|hint| hint.to_owned().into());
        let (message, refusal) = (error.to_string().into(), error.refusal());
        Self { kind, message, hint, refusal, source: Some(error.into()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
