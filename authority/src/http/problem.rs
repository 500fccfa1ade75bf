//! The only place that knows which problem is which HTTP status, and how a problem is written down
//! (`application/problem+json`, RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fault::Fault;
use super::ready::Missing;
use crate::problem::{Needs, Problem};

/// Why a request is not answered with what it asked for: a problem of the authority, or one that only exists over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What the authority says.
    Problem(Problem),
    /// The request does not prove who sent it, for this reason.
    Fault(Fault),
    /// A field of the body, of the query or of the path cannot be read. The field is named.
    Field(String, String),
    /// The body as a whole cannot be read.
    Body(String),
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The server is ending.
    Ending,
    /// The authority is not ready, for want of this.
    NotReady(Vec<Missing>),
    /// There is nothing at this path.
    NoSuchPath,
    /// There is something at this path, and it does not take this method.
    NoSuchMethod,
    /// The body is of a type that is not taken.
    WrongType,
    /// The request is no HTTP/1.1.
    NoHttp,
    /// The target is too long.
    LongTarget,
    /// The headers are too long or too many.
    LongHead,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How a problem is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// What happened, as a URI: one for each row of the table, and never changed.
    #[serde(rename = "type", default)]
    #[schema(required = true, pattern = "^urn:ockam-kms:problem:[a-z-]+$")]
    pub(crate) type_uri: String,
    /// The same for people, the same words each time.
    #[serde(default)]
    #[schema(required = true)]
    pub(crate) title: String,
    /// The kind, from a closed list that never changes: what programs decide by.
    pub(crate) kind: String,
    /// The HTTP status once more.
    pub(crate) status: u16,
    /// What happened and what to do about it, for people.
    pub(crate) detail: String,
    /// What an unauthenticated sender has to show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) needs: Option<String>,
    /// Which rule of signed requests was broken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) reason: Option<String>,
    /// Which field cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) field: Option<String>,
    /// What an authority that is not ready waits for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) missing: Vec<String>,
}

/// What the `type` of every problem begins with.
pub(crate) const TYPES: &str = "urn:ockam-kms:problem:";

/// A row of the table: status, kind, the end of the type's URI, title.
type Row = (StatusCode, &'static str, &'static str, &'static str);

/// Rows whose kind and type are one word.
fn row(status: StatusCode, kind: &'static str, title: &'static str) -> Row {
    (status, kind, kind, title)
}

/// Rows of requests that the server cannot read, for another reason than what their bodies say.
fn unreadable(status: StatusCode, name: &'static str, title: &'static str) -> Row {
    (status, "malformed", name, title)
}

impl Refused {
    /// The table.
    fn row(&self) -> Row {
        match self {
            Self::Problem(problem) => match problem {
                Problem::Malformed(_) => malformed(),
                Problem::Unauthenticated { .. } => unauthenticated(),
                Problem::Forbidden(_) => row(StatusCode::FORBIDDEN, problem.code(), "not allowed"),
                Problem::NotFound(_) => row(StatusCode::NOT_FOUND, problem.code(), "no such thing"),
                Problem::Conflict(_) => {
                    row(StatusCode::CONFLICT, problem.code(), "it contradicts what is there")
                }
                Problem::KeyReused => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    problem.code(),
                    "key-reused",
                    "the idempotency key stands for another request",
                ),
                Problem::RateLimited { .. } => {
                    row(StatusCode::TOO_MANY_REQUESTS, problem.code(), "too many requests")
                }
                Problem::Unavailable { .. } => {
                    row(StatusCode::SERVICE_UNAVAILABLE, problem.code(), "not at the moment")
                }
                Problem::Internal => {
                    row(StatusCode::INTERNAL_SERVER_ERROR, problem.code(), "the authority failed")
                }
            },
            Self::Fault(_) => unauthenticated(),
            Self::Field(..) | Self::Body(_) => malformed(),
            Self::TooLarge => unreadable(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large"),
            Self::TooSlow => unreadable(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body is too slow"),
            Self::Ending => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "ending", "the server is ending")
            }
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not-ready", "not ready"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "not-found", "no-such-path", "no such path"),
            Self::NoSuchMethod => {
                unreadable(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "no such method at this path")
            }
            Self::WrongType => {
                unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-type", "the body is of another type")
            }
            Self::NoHttp => unreadable(StatusCode::BAD_REQUEST, "no-http", "not a request of HTTP/1.1"),
            Self::LongTarget => unreadable(StatusCode::URI_TOO_LONG, "long-target", "the target is too long"),
            Self::LongHead => unreadable(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "long-head",
                "the headers are too long",
            ),
        }
    }

    fn status(&self) -> StatusCode {
        self.row().0
    }

    /// The word for it, from a closed list.
    pub(crate) fn kind(&self) -> &'static str {
        self.row().1
    }

    /// Which rule of signed requests was broken.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Fault(fault) => Some(fault.code()),
            _ => None,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Problem(problem) => problem.to_string(),
            Self::Fault(fault) => fault.to_string(),
            Self::Field(name, words) => format!("`{name}`: {words}"),
            Self::Body(words) => format!("the body: {words}"),
            Self::TooLarge => format!("the body is larger than {} bytes", super::routes::MAX_BODY),
            Self::TooSlow => "the body did not come in time".to_owned(),
            Self::Ending => "the server is ending: try again in a moment".to_owned(),
            Self::NotReady(missing) => missing.iter().map(|one| one.words()).collect::<Vec<_>>().join("; "),
            Self::NoSuchPath => "there is nothing at this path".to_owned(),
            Self::NoSuchMethod => "this path does not take this method".to_owned(),
            Self::WrongType => "a body has to be of the type application/json".to_owned(),
            Self::NoHttp => "the line or a header of the request is not of the form of HTTP/1.1".to_owned(),
            Self::LongTarget => "the target of the request is too long".to_owned(),
            Self::LongHead => {
                format!("the headers are more than 100, or larger than {} bytes", super::connection::MAX_HEAD)
            }
        }
    }

    fn needs(&self) -> Option<Needs> {
        match self {
            Self::Problem(Problem::Unauthenticated { needs }) => Some(*needs),
            Self::Fault(Fault::RequestKey) => Some(Needs::RequestKey),
            Self::Fault(_) => Some(Needs::Signature),
            _ => None,
        }
    }

    pub(crate) fn body(&self) -> ProblemBody {
        let (status, kind, name, title) = self.row();
        ProblemBody {
            type_uri: format!("{TYPES}{name}"),
            title: title.to_owned(),
            kind: kind.to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
            needs: self.needs().map(|needs| needs.code().to_owned()),
            reason: self.reason().map(str::to_owned),
            field: match self {
                Self::Field(name, _) => Some(name.clone()),
                _ => None,
            },
            missing: match self {
                Self::NotReady(missing) => missing.iter().map(|one| one.code().to_owned()).collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn malformed() -> Row {
    row(StatusCode::BAD_REQUEST, "malformed", "the request cannot be read")
}

fn unauthenticated() -> Row {
    row(StatusCode::UNAUTHORIZED, "unauthenticated", "who sent the request is not proven")
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Problem(problem) = &self
            && let Some(wait) = problem.retry_after()
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if matches!(self, Self::Ending | Self::NotReady(_)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(self, Self::TooLarge | Self::TooSlow | Self::Ending) {
            // What is left of the body is not going to be read.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::time::Duration;

    /// Every variant, by a match that does not compile when one is added.
    fn every() -> Vec<Refused> {
        let wait = Duration::from_millis(2500);
        let needs = [Needs::Signature, Needs::History, Needs::NewerHistory, Needs::RequestKey];
        let mut all = vec![Refused::Problem(Problem::Malformed("words".into()))];
        all.extend(needs.map(|needs| Refused::Problem(Problem::Unauthenticated { needs })));
        all.extend([
            Refused::Problem(Problem::Forbidden("words".into())),
            Refused::Problem(Problem::NotFound("words".into())),
            Refused::Problem(Problem::Conflict("words".into())),
            Refused::Problem(Problem::KeyReused),
            Refused::Problem(Problem::RateLimited { retry_after: wait }),
            Refused::Problem(Problem::Unavailable { retry_after: wait }),
            Refused::Problem(Problem::Internal),
            Refused::Field("attributes".into(), "words".into()),
            Refused::Body("words".into()),
            Refused::TooLarge,
            Refused::TooSlow,
            Refused::NoSuchPath,
            Refused::NoSuchMethod,
            Refused::WrongType,
            Refused::NoHttp,
            Refused::LongTarget,
            Refused::LongHead,
            Refused::Ending,
            Refused::NotReady(Missing::ALL.to_vec()),
        ]);
        all.extend(Fault::ALL.iter().map(|fault| Refused::Fault(*fault)));
        all
    }

    #[test]
    fn every_type_is_documented_with_its_status_and_kind() {
        let page = include_str!("../../../docs/http.md");
        for refused in every() {
            let (status, kind, name, title) = refused.row();
            assert!(page.contains(&format!("| `{name}` | {} | {kind} |", status.as_u16())), "{refused:?}");
            for other in every().iter().filter(|other| other.row().2 == name) {
                assert_eq!(other.row(), (status, kind, name, title), "one type, one row");
            }
        }
    }

    #[test]
    fn the_table_is_the_committed_one() {
        let mut table = String::new();
        for refused in every() {
            let body = serde_json::to_string(&refused.body()).unwrap();
            let response = refused.into_response();
            let header = |name| {
                response.headers().get(name).map_or("-", |value: &HeaderValue| value.to_str().unwrap())
            };
            assert_eq!(header(header::CONTENT_TYPE), "application/problem+json");
            writeln!(
                table,
                "{} retry-after={} connection={} {body}",
                response.status().as_u16(),
                header(header::RETRY_AFTER),
                header(header::CONNECTION)
            )
            .unwrap();
        }
        crate::http::golden::check("http-problems.txt", &table);
    }
}
