//! What is told about each request, as at the HTTP door: a line in the log, a count and a time in the metrics. Never what was
//! sent: neither bodies nor paths as they came.

use std::time::Instant;

use identity::Identifier;
use node::request::{Method, Request};
use tracing::Instrument as _;

use super::Service;
use super::desk::Done;
use crate::metrics::Metrics;

pub(super) async fn telling(
    metrics: &Metrics,
    service: Service,
    request: &Request<'_>,
    subject: Identifier,
    answering: impl Future<Output = Done>,
) -> Done {
    let begin = Instant::now();
    let method = word(request.method);
    let span = tracing::info_span!("request", id = request.id, method, route = service.address(), %subject);
    let done = answering.instrument(span.clone()).await;
    let _in_span = span.entered();
    let took = begin.elapsed();
    let outcome = done.as_ref().map_or_else(|refused| refused.code(), |_| "ok");
    metrics.request([("method", method), ("route", service.address())], outcome, took);
    let milliseconds = took.as_secs_f64() * 1000.0;
    if done.as_ref().is_err_and(|refused| refused.is_fault()) {
        tracing::warn!(milliseconds, outcome, "answered");
    } else {
        tracing::info!(milliseconds, outcome, "answered");
    }
    done
}

fn word(method: Option<Method>) -> &'static str {
    match method {
        Some(Method::Get) => "GET",
        Some(Method::Post) => "POST",
        Some(Method::Put) => "PUT",
        Some(Method::Delete) => "DELETE",
        Some(Method::Patch) => "PATCH",
        None => "other",
    }
}
