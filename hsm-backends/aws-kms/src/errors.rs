//! What goes wrong, and what that means: the one table from KMS's error codes to kinds and retry classes.
//!
//! What is tried again by itself is the SDK's business ([`crate::client`]); what arrives here has failed for good, for now.
//! Texts of KMS are kept as the source of an error, for the log; they name keys and principals, never secrets. A failed check of
//! cryptography says nothing, and keeps nothing.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use vault::device::{AGAIN, indeterminate};
use vault::{Error, Kind, Retry};

/// The longest text of KMS's that is shown.
const MAX_TEXT: usize = 400;

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Which call.
    call: &'static str,
    cause: Cause,
    /// All that the SDK says, for the log.
    detail: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    /// KMS answered with an error.
    Answer { code: String, text: String, status: u16 },
    /// There are no credentials, or they could not be had just now.
    Credentials { missing: bool },
    /// It was never sent.
    Unsent,
    /// It was sent, perhaps, and no answer came that can be read.
    Lost { late: bool },
    /// The answer lacks what it should bring.
    Empty,
    /// The answer goes on and on.
    Endless,
}

/// What the code of an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The key or alias is not there.
    Gone,
    /// The alias is taken.
    Taken,
    /// The key is disabled.
    Disabled,
    /// The key is in a state in which this cannot be done: which one, only a look at it tells.
    State,
    /// The caller may not.
    Forbidden,
    /// The credentials have expired.
    Expired,
    /// The credentials are none that AWS knows.
    Unknown,
    /// The signature of the request does not hold: a wrong secret, or a clock that is wrong.
    Signature,
    /// The clocks of the two sides differ too much.
    Skew,
    /// Too many requests.
    Throttled,
    /// A quota of the account is used up.
    Quota,
    /// A check of cryptography failed.
    Rejected,
    /// The key is for something else.
    Usage,
    /// Not offered here.
    Unsupported,
    /// The request breaks the rules of the service.
    Bad,
    /// The service has trouble of its own.
    Trouble,
    /// Nothing that is known here.
    Other,
}

/// Codes, of KMS and of what stands before every service of AWS.
const CODES: &[(&str, Meaning)] = &[
    ("AccessDenied", Meaning::Forbidden),
    ("AccessDeniedException", Meaning::Forbidden),
    ("AlreadyExistsException", Meaning::Taken),
    ("DependencyTimeoutException", Meaning::Trouble),
    ("DisabledException", Meaning::Disabled),
    ("ExpiredToken", Meaning::Expired),
    ("ExpiredTokenException", Meaning::Expired),
    ("IncompleteSignature", Meaning::Unknown),
    ("IncompleteSignatureException", Meaning::Unknown),
    ("IncorrectKeyException", Meaning::Rejected),
    ("InternalFailure", Meaning::Trouble),
    ("InternalServerError", Meaning::Trouble),
    ("InternalServiceException", Meaning::Trouble),
    ("InvalidAliasNameException", Meaning::Bad),
    ("InvalidArnException", Meaning::Bad),
    ("InvalidCiphertextException", Meaning::Rejected),
    ("InvalidClientTokenId", Meaning::Unknown),
    ("InvalidKeyUsageException", Meaning::Usage),
    ("InvalidParameterException", Meaning::Bad),
    ("InvalidSignatureException", Meaning::Signature),
    ("KeyUnavailableException", Meaning::Trouble),
    ("KMSInternalException", Meaning::Trouble),
    ("KMSInvalidStateException", Meaning::State),
    ("LimitExceededException", Meaning::Quota),
    ("MalformedPolicyDocumentException", Meaning::Bad),
    ("MissingAuthenticationToken", Meaning::Unknown),
    ("MissingAuthenticationTokenException", Meaning::Unknown),
    ("NotFoundException", Meaning::Gone),
    ("OptInRequired", Meaning::Forbidden),
    ("RequestExpired", Meaning::Skew),
    ("RequestLimitExceeded", Meaning::Throttled),
    ("RequestTimeTooSkewed", Meaning::Skew),
    ("ServiceUnavailable", Meaning::Trouble),
    ("ServiceUnavailableException", Meaning::Trouble),
    ("SignatureDoesNotMatch", Meaning::Signature),
    ("TagException", Meaning::Bad),
    ("ThrottledException", Meaning::Throttled),
    ("Throttling", Meaning::Throttled),
    ("ThrottlingException", Meaning::Throttled),
    ("TooManyRequestsException", Meaning::Throttled),
    ("UnrecognizedClientException", Meaning::Unknown),
    ("UnsupportedOperationException", Meaning::Unsupported),
    ("ValidationException", Meaning::Bad),
];

/// The table.
fn row(meaning: Meaning) -> (Kind, Retry) {
    match meaning {
        Meaning::Gone => (Kind::NotFound, Retry::Permanent),
        Meaning::Taken => (Kind::AlreadyExists, Retry::Permanent),
        Meaning::Disabled
        | Meaning::State
        | Meaning::Forbidden
        | Meaning::Expired
        | Meaning::Unknown
        | Meaning::Signature
        | Meaning::Skew => (Kind::Denied, Retry::NeedsOperator),
        Meaning::Throttled => (Kind::Exhausted, AGAIN),
        Meaning::Quota => (Kind::Exhausted, Retry::NeedsOperator),
        Meaning::Rejected => (Kind::Rejected, Retry::Permanent),
        Meaning::Usage => (Kind::Invalid, Retry::Permanent),
        Meaning::Unsupported => (Kind::Unsupported, Retry::Permanent),
        Meaning::Trouble => (Kind::Unavailable, AGAIN),
        Meaning::Bad | Meaning::Other => (Kind::Backend, Retry::Permanent),
    }
}

fn hint(meaning: Meaning) -> Option<&'static str> {
    Some(match meaning {
        Meaning::Disabled => "enable it again: `aws kms enable-key --key-id …`",
        Meaning::Forbidden => {
            "the policy of the key, of the caller or of the organisation forbids it: docs/backends/aws-kms.md lists what is needed"
        }
        Meaning::Expired => "get new credentials: the chain of AWS has none that are still good",
        Meaning::Unknown => {
            "check the access key and its secret: `aws sts get-caller-identity` tells whose they are"
        }
        Meaning::Signature => "check the secret access key, and the clock of this machine",
        Meaning::Skew => {
            "set the clock of this machine: AWS takes requests that are five minutes off at most"
        }
        Meaning::Throttled => {
            "the account sends more requests than its quota lets through; they go through again after a while"
        }
        Meaning::Quota => "raise the quota of the account, or remove keys and aliases that nobody needs",
        Meaning::Unsupported => "this region does not offer it",
        Meaning::Trouble => "the service has trouble of its own; the vault recovers by itself",
        _ => return None,
    })
}

fn meaning(code: &str, text: &str, status: u16) -> Meaning {
    let known = CODES.iter().find(|(name, _)| *name == code).map(|(_, meaning)| *meaning);
    match (known, status) {
        // The code is the same for a wrong secret; only the text tells.
        (Some(Meaning::Signature), _)
            if text.contains("Signature expired") || text.contains("Signature not yet current") =>
        {
            Meaning::Skew
        }
        (Some(meaning), _) => meaning,
        (None, 429) => Meaning::Throttled,
        (None, 401 | 403) => Meaning::Forbidden,
        (None, 500..) => Meaning::Trouble,
        (None, _) => Meaning::Other,
    }
}

impl Fault {
    /// What the SDK returned for this call.
    pub(crate) fn of<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let cause = match &error {
            // Done, perhaps, but what came is no answer of KMS: something stands between.
            SdkError::ServiceError(answer) if answer.raw().status().is_success() => {
                Cause::Lost { late: false }
            }
            SdkError::ServiceError(answer) => Cause::Answer {
                code: answer.err().code().unwrap_or_default().to_owned(),
                text: answer.err().message().unwrap_or_default().to_owned(),
                status: answer.raw().status().as_u16(),
            },
            _ if let Some(missing) = credentials(&error) => Cause::Credentials { missing },
            SdkError::ConstructionFailure(_) => Cause::Unsent,
            SdkError::TimeoutError(_) => Cause::Lost { late: true },
            SdkError::DispatchFailure(failure) => Cause::Lost { late: failure.is_timeout() },
            _ => Cause::Lost { late: false },
        };
        let detail = if matches!(&cause, Cause::Answer { .. }) {
            String::new()
        } else {
            shorten(&DisplayErrorContext(&error).to_string())
        };
        Self { call, cause, detail }
    }

    /// An answer without its contents.
    pub(crate) fn empty(call: &'static str) -> Self {
        Self { call, cause: Cause::Empty, detail: String::new() }
    }

    /// An answer of more parts than anybody has.
    pub(crate) fn endless(call: &'static str) -> Self {
        Self { call, cause: Cause::Endless, detail: String::new() }
    }

    /// What the answer means, if there was one.
    pub(crate) fn meaning(&self) -> Option<Meaning> {
        match &self.cause {
            Cause::Answer { code, text, status } => Some(meaning(code, text, *status)),
            _ => None,
        }
    }

    /// Whether the call may have had its effect although it failed.
    pub(crate) fn may_have_happened(&self) -> bool {
        match &self.cause {
            Cause::Lost { .. } | Cause::Empty => true,
            Cause::Answer { .. } => self.meaning() == Some(Meaning::Trouble),
            Cause::Credentials { .. } | Cause::Unsent | Cause::Endless => false,
        }
    }

    /// The error of a call that changes nothing, or that did not happen.
    pub(crate) fn into_error(self, service: &str) -> Error {
        let Self { call, cause, detail } = self;
        match cause {
            Cause::Answer { code, text, status } => answered(service, call, &code, &text, status),
            Cause::Credentials { missing: true } => {
                Error::new(Kind::Denied, "there are no AWS credentials that can be used")
                    .with_hint("the standard chain of AWS finds none: set variables, a profile or a role; docs/backends/aws-kms.md")
                    .with_source(detail)
            }
            Cause::Credentials { missing: false } => {
                Error::new(Kind::Unavailable, "the source of the AWS credentials does not answer")
                    .with_retry(AGAIN)
                    .with_hint("check what the profile or the variables name as their source")
                    .with_source(detail)
            }
            Cause::Unsent => Error::new(Kind::Backend, format!("{call} cannot be asked of {service}")).with_source(detail),
            Cause::Endless => {
                Error::new(Kind::Backend, format!("{service} does not come to an end with its answer to {call}"))
            }
            Cause::Empty => Error::new(Kind::Backend, format!("{service} left out of its answer to {call} what it should bring")),
            Cause::Lost { late } => {
                let what = if late { "did not answer in time" } else { "cannot be reached, or breaks off" };
                Error::new(Kind::Unavailable, format!("{service} {what} ({call})"))
                    .with_retry(AGAIN)
                    .with_hint("check network, endpoint and CA; the vault recovers by itself")
                    .with_source(detail)
            }
        }
    }

    /// The error of a call that changes something.
    pub(crate) fn into_error_of_change(self, service: &str) -> Error {
        let lost = self.may_have_happened();
        let error = self.into_error(service);
        if lost { indeterminate(error) } else { error }
    }
}

/// What a failed look for credentials says: whether there are none.
fn credentials(error: &(dyn StdError + 'static)) -> Option<bool> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(matches!(
                found,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            ));
        }
        next = error.source();
    }
    None
}

fn answered(service: &str, call: &str, code: &str, text: &str, status: u16) -> Error {
    let meaning = meaning(code, text, status);
    let (kind, retry) = row(meaning);
    if kind == Kind::Rejected {
        return Error::rejected();
    }
    let code = if code.is_empty() { format!("status {status}") } else { shorten(code) };
    let what = match meaning {
        Meaning::Disabled => format!("the key is disabled: {service} answered {code} to {call}"),
        Meaning::Expired => format!("the AWS credentials have expired: {service} answered {code} to {call}"),
        Meaning::Unknown => {
            format!("{service} does not know the AWS credentials: it answered {code} to {call}")
        }
        Meaning::Skew => format!("the clock of this machine is wrong: {service} answered {code} to {call}"),
        Meaning::Throttled => format!("{service} is throttled: it answered {code} to {call}"),
        _ => format!("{service} answered {code} to {call}"),
    };
    let error = Error::new(kind, what).with_retry(retry);
    let error = match hint(meaning) {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    if text.is_empty() { error } else { error.with_source(Text(shorten(text))) }
}

/// A text of the other side, as it may go to a log: one line, not too long.
fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What KMS says beside the code.
#[derive(Debug)]
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Text {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str, text: &str, status: u16) -> Fault {
        let cause = Cause::Answer { code: code.into(), text: text.into(), status };
        Fault { call: "Sign", cause, detail: String::new() }
    }

    #[test]
    fn the_table_is_as_written_down() {
        let mut rows = Vec::new();
        let mut add = |name: &str, meaning: Meaning| {
            let (kind, retry) = row(meaning);
            rows.push(format!("{name} {meaning:?} {kind} {retry:?}\n"));
        };
        for (code, meaning) in CODES {
            add(code, *meaning);
        }
        add(
            "(InvalidSignatureException, Signature expired)",
            meaning("InvalidSignatureException", "Signature expired: 1", 400),
        );
        for status in [400, 403, 429, 500, 503] {
            add(&format!("(unknown, status {status})"), meaning("New", "", status));
        }
        let golden = include_str!("errors.golden.txt");
        assert_eq!(rows.concat(), golden, "the table changed: read the difference, then change the golden");
        assert!(
            CODES.is_sorted_by_key(|(code, _)| code.to_ascii_lowercase()),
            "sorted, so that none is there twice"
        );
    }

    #[test]
    fn a_kind_never_contradicts_its_retry_class() {
        for (code, meaning) in CODES {
            let (kind, retry) = row(*meaning);
            let waiting = matches!(kind, Kind::Unavailable | Kind::Exhausted);
            assert_eq!(retry == Retry::Permanent, !waiting && retry != Retry::NeedsOperator, "{code}");
            assert_ne!(
                retry,
                Retry::Indeterminate,
                "{code}: only the call knows whether it changes something"
            );
        }
    }

    #[test]
    fn what_was_sent_and_lost_is_indeterminate() {
        let lost = |late| Fault { call: "CreateKey", cause: Cause::Lost { late }, detail: String::new() };
        for late in [true, false] {
            assert_eq!(lost(late).into_error_of_change("KMS").retry(), Retry::Indeterminate);
            assert_eq!(lost(late).into_error("KMS").retry(), AGAIN);
        }
        assert_eq!(
            fault("KMSInternalException", "", 500).into_error_of_change("KMS").retry(),
            Retry::Indeterminate
        );
        assert_eq!(fault("ThrottlingException", "", 400).into_error_of_change("KMS").retry(), AGAIN);
        assert_eq!(
            fault("AccessDeniedException", "", 400).into_error_of_change("KMS").retry(),
            Retry::NeedsOperator
        );
    }

    #[test]
    fn a_rejection_says_nothing() {
        let error = fault("InvalidCiphertextException", "the tag was wrong", 400).into_error("KMS");
        assert_eq!(error.to_string(), Error::rejected().to_string());
        assert!(error.source().is_none());
    }

    #[test]
    fn texts_of_the_other_side_are_one_short_line() {
        let error = fault("AccessDeniedException", &format!("no\n\u{1b}[2J{}", "x".repeat(10_000)), 400);
        let error = error.into_error("KMS in `eu-west-1`");
        let source = error.source().unwrap().to_string();
        assert!(source.len() <= MAX_TEXT && !source.contains(char::is_control));
        assert_eq!(error.to_string(), "KMS in `eu-west-1` answered AccessDeniedException to Sign");
    }
}
