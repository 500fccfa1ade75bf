//! What can go wrong when a store is opened, an issuer is put together or an audit log is read. What a *request* is refused
//! with is a [`Problem`](crate::Problem).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The result of everything here that is not a request.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A value that can never work here.
    Invalid,
    /// The file system does not let us.
    Denied,
    /// Another process (or another part of this one) has the store open.
    Busy,
    /// The store was written by a newer version of this software.
    Unsupported,
    /// Stored data breaks its own rules.
    Corrupt,
    /// The store failed while it was writing: it answers nothing until it is opened again.
    Unavailable,
    /// A vault failed; its own error is the source.
    Vault(vault::Kind),
    /// Anything else; the source is kept for the log.
    Internal,
}

/// A failure.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn corrupt(what: impl fmt::Display) -> Self {
        Self::new(Kind::Corrupt, format!("the authority's store is damaged: {what}"))
            .with_hint("restore it from a backup; do not issue from it until then")
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
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
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        let kind = match error.kind() {
            identity::Kind::Vault(kind) => Kind::Vault(kind),
            _ => Kind::Invalid,
        };
        let hint = error.vault_error().and_then(vault::Error::hint).map(str::to_owned);
        let mut new = Self::new(kind, error.to_string()).with_source(error);
        new.hint = hint.map(Cow::Owned);
        new
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
