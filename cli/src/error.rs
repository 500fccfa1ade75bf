//! How a command fails: a kind, what happened, and what to do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use serde_json::{Value, json};

use crate::exit::Kind;
use crate::hints;

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failure, as it is told on stderr or in JSON.
pub(crate) struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do next. There always is something.
    pub(crate) fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| hints::of_kind(self.kind))
    }

    /// The error of another process of this program, from the line that it wrote.
    pub(crate) fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let error = value.get("error")?;
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let mut new = Self::new(Kind::from_name(text("kind")?)?, text("message")?.to_owned());
        new.hint = owned(text("hint").filter(|hint| !hint.is_empty()));
        Some(new)
    }

    /// The shape that contract and `--output json` promise.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": { "kind": self.kind.name(), "message": self.to_string(), "hint": self.hint() } })
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

fn owned(hint: Option<&str>) -> Option<Cow<'static, str>> {
    hint.map(|hint| Cow::Owned(hint.to_owned()))
}

impl From<home::Error> for Error {
    fn from(error: home::Error) -> Self {
        let hint = owned(error.hint()).or_else(|| Some(hints::of_refusal(error.refusal()?).into()));
        Self {
            kind: error.kind().into(),
            message: error.to_string().into(),
            hint,
            source: Some(error.into()),
        }
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        home::Error::from(error).into()
    }
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        home::Error::from(error).into()
    }
}

impl From<evidence::Error> for Error {
    fn from(error: evidence::Error) -> Self {
        let kind = match error.kind() {
            evidence::Kind::Malformed => Kind::Invalid,
            evidence::Kind::Refused => Kind::Rejected,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<authority::Error> for Error {
    fn from(error: authority::Error) -> Self {
        let kind = match error.kind() {
            authority::Kind::Invalid => Kind::Invalid,
            authority::Kind::Denied => Kind::Denied,
            authority::Kind::Busy | authority::Kind::Unavailable => Kind::Unavailable,
            authority::Kind::Unsupported => Kind::Unsupported,
            authority::Kind::Corrupt => Kind::Corrupt,
            authority::Kind::Vault(kind) => kind.into(),
            _ => Kind::Internal,
        };
        Self {
            kind,
            message: error.to_string().into(),
            hint: owned(error.hint()),
            source: Some(error.into()),
        }
    }
}

/// What an authority's own rules refuse.
impl From<authority::Problem> for Error {
    fn from(problem: authority::Problem) -> Self {
        use authority::Problem;
        let kind = match &problem {
            Problem::Malformed(_) => Kind::Malformed,
            Problem::Unauthenticated { .. } => Kind::Unauthenticated,
            Problem::Forbidden(_) => Kind::Forbidden,
            Problem::NotFound(_) => Kind::NotFound,
            Problem::Conflict(_) | Problem::KeyReused => Kind::Conflict,
            Problem::RateLimited { .. } => Kind::RateLimited,
            Problem::Unavailable { .. } => Kind::Unavailable,
            Problem::Internal => Kind::Internal,
        };
        Self::new(kind, problem.to_string()).with_source(problem)
    }
}

/// What an authority answered, or that it did not.
impl From<authority::client::Error> for Error {
    fn from(error: authority::client::Error) -> Self {
        use authority::client::Kind as Client;
        let kind = match error.kind() {
            Client::Invalid => Kind::Invalid,
            Client::Malformed => Kind::Malformed,
            Client::Unauthenticated => Kind::Unauthenticated,
            Client::Forbidden => Kind::Forbidden,
            Client::NotFound => Kind::NotFound,
            Client::Conflict => Kind::Conflict,
            Client::RateLimited => Kind::RateLimited,
            Client::Unavailable | Client::Unexpected => Kind::Unavailable,
            Client::Untrusted => Kind::Rejected,
            Client::Vault(kind) => kind.into(),
            _ => Kind::Internal,
        };
        let mut hint = owned(error.hint());
        if let Some(wait) = error.retry_after() {
            hint.get_or_insert_with(|| format!("try again in {} seconds", wait.as_secs()).into());
        }
        if error.may_have_happened() {
            let before = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            hint = Some(format!("it may have been done: look before you repeat it{before}").into());
        }
        Self { kind, message: error.to_string().into(), hint, source: Some(error.into()) }
    }
}

/// A failure to write what was made.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Kind::Internal, "writing JSON failed").with_source(error)
    }
}

/// A failure to read or write a path that the caller named.
pub(crate) fn io(doing: &str, path: &std::path::Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let shown = shown(&path.display().to_string());
    let (kind, why, hint) = match error.kind() {
        ErrorKind::NotFound => (Kind::NotFound, "there is no such file".to_owned(), "check the path"),
        ErrorKind::AlreadyExists => {
            (Kind::AlreadyExists, "it is there already".to_owned(), "name one that does not exist yet")
        }
        ErrorKind::PermissionDenied => {
            (Kind::Denied, "this user may not".to_owned(), "check who owns it, and its mode")
        }
        ErrorKind::IsADirectory => (Kind::Invalid, "it is a directory".to_owned(), "name a file"),
        ErrorKind::NotADirectory => {
            (Kind::Invalid, "a part of the path is no directory".to_owned(), "check the path")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Kind::Exhausted, "there is no room".to_owned(), "make room, then try again")
        }
        _ => (Kind::Unavailable, error.to_string(), "check the path and the disk"),
    };
    Error::new(kind, format!("cannot {doing} `{shown}`: {why}")).with_hint(hint).with_source(error)
}

/// User text as it may be shown: cut, without characters that a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).collect::<String>().escape_debug().to_string();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_its_json() {
        let error = Error::new(Kind::Denied, "no `x`").with_hint("ask");
        let again = Error::from_json(&error.json().to_string()).unwrap();
        assert_eq!(
            (again.kind(), again.to_string(), again.hint()),
            (Kind::Denied, "no `x`".to_owned(), "ask")
        );
        assert!(Error::from_json("{}").is_none() && Error::from_json("x").is_none());
    }

    #[test]
    fn what_users_type_is_cut() {
        assert_eq!(shown("a\u{1b}b"), "a\\u{1b}b");
        assert_eq!(shown(&"x".repeat(81)).chars().count(), 81);
        assert!(shown(&"x".repeat(81)).ends_with('…'));
    }
}
