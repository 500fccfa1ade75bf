//! What can go wrong between a client and its authority.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::http::problem::ProblemBody;

/// The result of everything a client does.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A value that can never work here: a bad URL, a request key that is not the one attested.
    Invalid,
    /// The authority does not take the request for one of the right shape.
    Malformed,
    /// The authority does not believe who sent it.
    Unauthenticated,
    /// The authority knows who sent it, and refuses.
    Forbidden,
    /// There is no such member or ticket.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// Too many requests of late.
    RateLimited,
    /// The authority cannot be reached, or cannot do it at the moment.
    Unavailable,
    /// The authority failed.
    Internal,
    /// What answers does not speak as an authority does.
    Unexpected,
    /// What came does not prove itself: another authority's history, an older or contradicting one, a credential that does
    /// not verify.
    Untrusted,
    /// The vault of the request key failed; its own error is the source.
    Vault(vault::Kind),
}

impl Kind {
    fn of_code(code: &str) -> Self {
        match code {
            "malformed" => Self::Malformed,
            "unauthenticated" => Self::Unauthenticated,
            "forbidden" => Self::Forbidden,
            "not-found" => Self::NotFound,
            "conflict" => Self::Conflict,
            "rate-limited" => Self::RateLimited,
            "unavailable" => Self::Unavailable,
            "internal" => Self::Internal,
            _ => Self::Unexpected,
        }
    }

    /// The word for machines, which never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unexpected => "unexpected",
            Self::Untrusted => "untrusted",
            Self::Vault(kind) => kind.name(),
        }
    }
}

/// A failure.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    may_have_happened: bool,
    problem: Option<Box<ProblemBody>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            retry_after: None,
            may_have_happened: false,
            problem: None,
            source: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn that_comes_again(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    pub(crate) fn that_may_have_happened(mut self, may: bool) -> Self {
        self.may_have_happened = may;
        self
    }

    /// What a problem that the authority answered means here.
    pub(crate) fn of_problem(problem: ProblemBody, retry_after: Option<Duration>) -> Self {
        let mut error = Self::new(Kind::of_code(&problem.kind), printable(&problem.detail));
        error.hint = match problem.reason.as_deref() {
            Some("expired" | "future") => Some("set this machine's clock right, and the authority's".into()),
            _ => None,
        };
        error.retry_after = retry_after;
        error.problem = Some(Box::new(problem));
        error
    }

    pub(crate) fn untrusted(words: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Untrusted, words)
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

    /// When the authority says to come again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the request was sent and its answer never came, so that it may have been done.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.may_have_happened
    }

    /// What the authority says the sender has to show, in its word.
    pub(crate) fn needs(&self) -> Option<&str> {
        self.problem.as_ref()?.needs.as_deref()
    }

    /// Which rule of signed requests the authority says was broken, in its word.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.problem.as_ref()?.reason.as_deref()
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        let mut new = Self::new(Kind::Vault(error.kind()), error.to_string()).with_source(error);
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
            .field("may_have_happened", &self.may_have_happened)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What somebody else wrote, so that it cannot play tricks on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
