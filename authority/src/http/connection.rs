//! One connection: its handshake, its requests one after another, and every way in which it ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::admission::Place;
use super::early::{Worded, written};
use super::problem::Refused;
use super::server::Options;
use crate::problem::Problem;

/// The most bytes of a request's line and headers: room for an `ockam-identity` header and the rest.
pub(super) const MAX_HEAD: usize = 48 * 1024;
/// The most bytes that are held of what was received and not yet looked at.
const MAX_BUFFER: usize = 64 * 1024;

/// Serves a connection until it ends, is ended, or has to make room.
pub(super) async fn serve(
    stream: TcpStream,
    place: Place,
    router: Router,
    options: Arc<Options>,
    stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let ended = tokio::select! {
        ended = handshake_and_requests(stream, &place, router, &options, stopping) => ended,
        () = place.taken_away() => "made room for another",
        () = place.overdue(options.idle_deadline) => "kept us waiting too long",
    };
    tracing::debug!(source = ?place.source(), ended, "a connection ended");
}

async fn handshake_and_requests(
    stream: TcpStream,
    place: &Arc<Place>,
    router: Router,
    options: &Options,
    mut stopping: watch::Receiver<bool>,
) -> &'static str {
    let Some(tls) = &options.tls else {
        return requests(stream, place, router, options, stopping).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(options.header_deadline, tls.acceptor().accept(stream)) => accepted,
        () = told_to_stop(&mut stopping) => return "stopped",
    };
    match accepted {
        Ok(Ok(stream)) => requests(stream, place, router, options, stopping).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            "did not come to an understanding about TLS"
        }
        Err(_) => "took too long over TLS",
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    place: &Arc<Place>,
    router: Router,
    options: &Options,
    mut stopping: watch::Receiver<bool>,
) -> &'static str {
    let service = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(place));
        let (answering, place) = (service.call(request), Arc::clone(place));
        async move {
            let answered = answering.await;
            place.answered();
            answered
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_deadline)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(Worded::new(stream)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = told_to_stop(&mut stopping) => None,
        () = sleep(options.connection_life) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(options.drain, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => "closed",
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection failed");
            "failed"
        }
        Err(_) => "was cut",
    }
}

/// Turns a connection away. What does not go out at once does not go out.
pub(super) fn turn_away(stream: TcpStream, options: &Options) {
    if options.tls.is_none()
        && let Some(answer) = written(&Refused::Problem(Problem::unavailable()), "retry-after: 1\r\n")
        && let Ok(stream) = stream.into_std()
    {
        let _ = std::io::Write::write(&mut &stream, &answer);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}

/// Comes back when the server ends, also when it is dropped without being stopped.
pub(super) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// For how long those are waited for who came while the server ended.
pub(super) const LATE: Duration = Duration::from_secs(1);
