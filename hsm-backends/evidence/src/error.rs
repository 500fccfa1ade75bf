//! Why evidence about a key was not taken.

use std::borrow::Cow;
use std::fmt;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The bytes are not of this shape.
    Malformed,
    /// Well formed, and it does not show what it should: a signature, a certificate, another key.
    Refused,
}

/// A failure, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
}

impl Error {
    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Malformed, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Refused, message: message.into() }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
