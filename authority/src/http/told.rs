//! What is told about each request: a line in the log, a count and a time in the metrics, and an id that joins them to what
//! the client got. Never what was sent: neither bodies nor headers nor paths as they came.

use std::fmt;
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::problem::Refused;
use crate::metrics::Metrics;

/// Names a request in the log, so that whoever got an answer can ask about it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An id for a request: random, so that it tells nobody how many there are. Without randomness it is empty; it proves nothing.
fn new_id() -> String {
    vault::SecretBytes::random(8).map(|random| hex::encode(random.expose())).unwrap_or_default()
}

/// Answers a request, and tells about it.
pub(super) async fn telling(
    metrics: &Metrics,
    (method, route): (&'static str, &'static str),
    quiet: bool,
    answering: impl Future<Output = Result<Response, Refused>>,
) -> Response {
    let (id, begin) = (new_id(), Instant::now());
    let span = tracing::info_span!("request", id, method, route, subject = Empty);
    let answered = answering.instrument(span.clone()).await;
    let _in_span = span.entered();
    let took = begin.elapsed();
    let (outcome, reason) = match &answered {
        Ok(_) => ("ok", None),
        Err(refused) => (refused.kind(), refused.reason()),
    };
    metrics.request([("method", method), ("route", route)], outcome, took);
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (status, milliseconds) = (response.status(), took.as_secs_f64() * 1000.0);
    let status_code = status.as_u16();
    if status.is_server_error() && !quiet {
        tracing::warn!(status = status_code, milliseconds, outcome, reason, "answered");
    } else if quiet {
        tracing::debug!(status = status_code, milliseconds, outcome, reason, "answered");
    } else {
        tracing::info!(status = status_code, milliseconds, outcome, reason, "answered");
    }
    response
}

/// Says who sent the request that is being answered: proven, not claimed.
pub(super) fn sent_by(subject: impl fmt::Display) {
    Span::current().record("subject", tracing::field::display(subject));
}
