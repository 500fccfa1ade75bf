//! What a request can be refused with: a closed list, whose words are safe to show to whoever asked. Transports map it to
//! their own codes; the details of a fault of ours go to the log and nowhere else.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Kind};

/// What an unauthenticated caller has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// A signature, made by the rules, that holds.
    Signature,
    /// The caller's change history, which the authority does not have.
    History,
    /// A newer change history than the one that was shown or named.
    NewerHistory,
    /// An attestation of the request key, good now.
    RequestKey,
}

impl Needs {
    /// The word for machines, which never changes.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::History => "history",
            Self::NewerHistory => "newer-history",
            Self::RequestKey => "request-key",
        }
    }
}

/// A request that was refused, or could not be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request is not of the shape it has to be.
    Malformed(Cow<'static, str>),
    /// Who asks is not known.
    Unauthenticated {
        /// What has to be shown.
        needs: Needs,
    },
    /// Who asks is known, and may not.
    Forbidden(Cow<'static, str>),
    /// There is no such thing.
    NotFound(Cow<'static, str>),
    /// It contradicts what is there.
    Conflict(Cow<'static, str>),
    /// The idempotency key stands for another request.
    KeyReused,
    /// Too many requests.
    RateLimited {
        /// When to come again.
        retry_after: Duration,
    },
    /// Something that is needed is away. Later it may work.
    Unavailable {
        /// When to come again.
        retry_after: Duration,
    },
    /// A fault of ours. The log says which.
    Internal,
}

impl Problem {
    pub(crate) fn malformed(words: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed(words.into())
    }

    pub(crate) fn forbidden(words: impl Into<Cow<'static, str>>) -> Self {
        Self::Forbidden(words.into())
    }

    pub(crate) fn not_found(words: impl Into<Cow<'static, str>>) -> Self {
        Self::NotFound(words.into())
    }

    pub(crate) fn conflict(words: impl Into<Cow<'static, str>>) -> Self {
        Self::Conflict(words.into())
    }

    pub(crate) fn unavailable() -> Self {
        Self::Unavailable { retry_after: Duration::from_secs(1) }
    }

    /// The word for machines (and for the audit log), which never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) | Self::KeyReused => "conflict",
            Self::RateLimited { .. } => "rate-limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether it is a fault of ours, and not a decision about what was asked. A fault is never the caller's.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Internal)
    }

    /// When to come again, for those problems that pass.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// What a failing vault means for a request: a fault of ours, whatever it says.
    #[must_use]
    pub fn of_vault(kind: vault::Kind, retry: vault::Retry) -> Self {
        use vault::Kind;
        match kind {
            Kind::Presence | Kind::Exhausted | Kind::Unavailable => Self::Unavailable {
                retry_after: match retry {
                    vault::Retry::After(wait) => wait.max(Duration::from_secs(1)),
                    _ => Duration::from_secs(1),
                },
            },
            Kind::Invalid
            | Kind::Unsupported
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::Denied
            | Kind::Rejected
            | Kind::Corrupt
            | Kind::Backend => Self::Internal,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(words)
            | Self::Forbidden(words)
            | Self::NotFound(words)
            | Self::Conflict(words) => f.write_str(words),
            Self::Unauthenticated { needs } => f.write_str(match needs {
                Needs::Signature => "the request is not signed by its sender",
                Needs::History => "the sender's change history is not known here: send it along",
                Needs::NewerHistory => {
                    "a newer change history of the sender is known here: send the latest one"
                }
                Needs::RequestKey => "the sender's request key is not known here: send its attestation along",
            }),
            Self::KeyReused => f.write_str(
                "this idempotency key was used for another request: use a new key for each request",
            ),
            Self::RateLimited { .. } => f.write_str("too many requests: try again later"),
            Self::Unavailable { .. } => {
                f.write_str("the authority cannot do this at the moment: try again later")
            }
            Self::Internal => f.write_str("the authority failed: its operator finds the reason in its log"),
        }
    }
}

impl std::error::Error for Problem {}

/// A fault of the store or of what stands in it: logged here, and told to nobody.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        tracing::error!(kind = ?error.kind(), %error, source = sources(&error), "the authority failed");
        match error.kind() {
            Kind::Busy | Kind::Unavailable => Self::unavailable(),
            _ => Self::Internal,
        }
    }
}

/// A failure while issuing: a vault's, or ours. What a *client* sent is never turned into a problem this way.
impl From<identity::Error> for Problem {
    fn from(error: identity::Error) -> Self {
        tracing::error!(kind = ?error.kind(), %error, source = sources(&error), hint = error.vault_error().and_then(vault::Error::hint), "issuing failed");
        match error.vault_error() {
            Some(vault) => Self::of_vault(vault.kind(), vault.retry()),
            None => Self::Internal,
        }
    }
}

/// What is behind an error, for the log.
fn sources(error: &dyn std::error::Error) -> Option<String> {
    let chain: Vec<_> =
        std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect();
    (!chain.is_empty()).then(|| chain.join(": "))
}

#[cfg(test)]
mod tests {
    use vault::Retry;

    use super::*;

    #[test]
    fn a_vaults_fault_is_never_the_callers() {
        let table: Vec<_> = vault::Kind::ALL
            .iter()
            .map(|kind| {
                let problem = Problem::from(identity::Error::from(vault::Error::new(*kind, "secret detail")));
                assert!(problem.is_fault());
                assert!(!problem.to_string().contains("secret detail"));
                format!("{kind} -> {}", problem.code())
            })
            .collect();
        assert_eq!(
            table,
            [
                "invalid -> internal",
                "unsupported -> internal",
                "not-found -> internal",
                "already-exists -> internal",
                "denied -> internal",
                "presence -> unavailable",
                "exhausted -> unavailable",
                "unavailable -> unavailable",
                "rejected -> internal",
                "corrupt -> internal",
                "backend -> internal",
            ]
        );
    }

    #[test]
    fn the_vault_says_when_to_come_again() {
        let after = |retry| Problem::of_vault(vault::Kind::Unavailable, retry).retry_after().unwrap();
        assert_eq!(after(Retry::After(Duration::from_secs(30))), Duration::from_secs(30));
        assert_eq!(after(Retry::After(Duration::ZERO)), Duration::from_secs(1));
        assert_eq!(after(Retry::Indeterminate), Duration::from_secs(1));
    }
}
