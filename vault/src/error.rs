//! What can go wrong in a vault, and whether trying again can help.
//!
//! One struct, a closed list of [`Kind`]s and a [`Retry`] class: the authority maps kinds to HTTP, the command line
//! maps them to exit codes, and nothing else decides either.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of everything a vault does.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure this is: the closed list that callers may match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that can never work here: a bad URI, a bad name, a handle of another vault.
    Invalid,
    /// Well formed, but this vault cannot do it.
    Unsupported,
    /// No such key, token or object.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Wrong PIN or passphrase, or the device forbids the use.
    Denied,
    /// A person must act (enter a PIN, touch a key) and nobody can be asked.
    Presence,
    /// Sessions, slots or quota are used up.
    Exhausted,
    /// The device is away: token removed, time-out, service down.
    Unavailable,
    /// A cryptographic check failed. Carries no detail and no source, ever.
    Rejected,
    /// Stored data breaks its own rules, or a key is not the key that was recorded.
    Corrupt,
    /// Anything else; the source is kept for the log.
    Backend,
}

impl Kind {
    /// Every kind, for tables that must be complete.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Unsupported,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Denied,
        Self::Presence,
        Self::Exhausted,
        Self::Unavailable,
        Self::Rejected,
        Self::Corrupt,
        Self::Backend,
    ];

    /// The word used in JSON output and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Denied => "denied",
            Self::Presence => "presence",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::Corrupt => "corrupt",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether, and how, the same call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails the same way for ever.
    Permanent,
    /// A person has to change something first: a PIN, a cable, a permission.
    NeedsOperator,
    /// The connection to the device is stale; a fresh one may work. Backends do this once by themselves.
    NeedsReinit,
    /// Later, not before this long.
    After(Duration),
    /// The request was sent and the answer is unknown: it may have happened. Only an idempotent call may be
    /// repeated.
    Indeterminate,
}

/// A failure of a vault.
pub struct Error {
    kind: Kind,
    retry: Retry,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of this kind. `message` is lower case, has no period, and names user values in backticks.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match kind {
            Kind::Presence | Kind::Denied => Retry::NeedsOperator,
            Kind::Exhausted | Kind::Unavailable => Retry::After(Duration::from_secs(1)),
            _ => Retry::Permanent,
        };
        Self { kind, retry, message: message.into(), hint: None, source: None }
    }

    /// The answer of every failed cryptographic check: always the same words.
    #[must_use]
    pub fn rejected() -> Self {
        Self::new(Kind::Rejected, "the cryptographic check failed")
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Replaces the retry class that the kind implies.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Keeps the cause for the log. A [`Kind::Rejected`] keeps none: its cause could tell an attacker why.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        if self.kind != Kind::Rejected {
            self.source = Some(source.into());
        }
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same call may be made again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What to do about it, when that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
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
            .field("retry", &self.retry)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_keeps_no_cause() {
        let error = Error::rejected().with_source("the tag was wrong in byte 3");
        assert!(error.source().is_none());
        assert_eq!(error.to_string(), "the cryptographic check failed");
        assert_eq!(error.retry(), Retry::Permanent);
    }

    #[test]
    fn kinds_have_distinct_names() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
