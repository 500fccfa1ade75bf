//! Why there is no verdict of "good".

use std::error::Error as StdError;
use std::fmt;

/// Who said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The published crates refuse what they were shown. This is a verdict.
    Refused,
    /// The question could not be put to them: malformed hexadecimal, an unknown operation, a text too deep for them.
    Malformed,
    /// The judge itself broke, so nothing is known about what was asked.
    Broken,
}

/// A refusal or a failure, with the words of whoever refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// A question that cannot be put.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Malformed, message: message.into() }
    }

    /// A judge that cannot work.
    pub fn broken(message: impl Into<String>) -> Self {
        Self { kind: Kind::Broken, message: message.into() }
    }

    /// What kind of no this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The words of whoever said no, without source locations.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {}

impl From<ockam_core::Error> for Error {
    /// Their display appends the place in their source, which says nothing to us and changes with the build; the
    /// cause alone is the stable part.
    fn from(error: ockam_core::Error) -> Self {
        let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self { kind: Kind::Refused, message }
    }
}

impl From<minicbor::decode::Error> for Error {
    fn from(error: minicbor::decode::Error) -> Self {
        Self { kind: Kind::Refused, message: error.to_string() }
    }
}
