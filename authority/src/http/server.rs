//! The server: takes connections, gives each a place and its deadlines, and stops without cutting what is being answered.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{get, head};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use node::Source;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::admission::Admission;
use super::authenticate::Authenticator;
use super::connection::{self, LATE, told_to_stop, turn_away};
use super::problem::Refused;
use super::routes;
use super::tls::Tls;
use crate::error::{Error, Kind, Result};
use crate::guesses::{FAILURES_A_MINUTE, Guesses};
use crate::metrics::{self, ConnectionMetrics};
use crate::service::Authority;

/// How many connections at a time ask for metrics, or how something is.
const METRICS_CONNECTIONS: usize = 32;

/// How a server behaves. The defaults are what an authority on the open network needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Take requests without TLS from other machines. They can be read on the way; they cannot be altered or replayed.
    pub insecure_http: bool,
    /// Speak TLS with this certificate.
    pub tls: Option<Tls>,
    /// Under which URL clients know the server, when that is not the host that they name: behind a proxy that rewrites it.
    /// Requests are signed for it.
    pub public_url: Option<String>,
    /// How long the line and the headers of a request may take to come, and a TLS handshake before the first; also how
    /// long a connection may be idle.
    pub header_deadline: Duration,
    /// How long a body may take to come.
    pub body_deadline: Duration,
    /// How long an answer may take to be found.
    pub handler_deadline: Duration,
    /// How long a connection may keep the server waiting altogether: for a handshake, a whole request, or that an answer is
    /// taken off it.
    pub idle_deadline: Duration,
    /// How long a connection is kept, however busy.
    pub connection_life: Duration,
    /// How long [`Server::stop`] waits for answers that are on their way.
    pub drain: Duration,
    /// How many connections there are at a time. Whoever comes when there are as many gets the place of one that keeps the
    /// server waiting, or is turned away (503) when there is none.
    pub connections: usize,
    /// How many of them one source gets: an IPv4 address, or the first 64 bits of an IPv6 address.
    pub connections_a_source: usize,
    /// How many requests that fail to prove their sender, and how many wrong tickets, are taken from one source in a minute.
    /// As many wrong tickets are taken from one identity.
    pub failures_a_minute: u32,
    /// Count those of this machine too, and its connections.
    pub limit_loopback: bool,
    /// Count failures together with those at another door, in place of the two above.
    pub guesses: Option<Guesses>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure_http: false,
            tls: None,
            public_url: None,
            header_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(30),
            handler_deadline: Duration::from_secs(30),
            idle_deadline: Duration::from_secs(60),
            connection_life: Duration::from_secs(300),
            drain: Duration::from_secs(10),
            connections: 1024,
            connections_a_source: 256,
            failures_a_minute: FAILURES_A_MINUTE,
            limit_loopback: false,
            guesses: None,
        }
    }
}

/// An authority that takes requests over HTTP.
pub struct Server {
    local_addr: SocketAddr,
    draining: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts to serve on a listener. Signed requests are taken from the next second of the authority's clock on: those
    /// of the current one may have been seen by the server before this one. `/readyz` says when.
    ///
    /// # Errors
    /// [`Kind::Denied`] for an address that other machines reach, without [`Options::tls`] or [`Options::insecure_http`];
    /// [`Kind::Invalid`] for a public URL that is none.
    pub fn start(authority: Authority, listener: TcpListener, options: Options) -> Result<Self> {
        let local_addr = address(&listener)?;
        if options.tls.is_none() && !options.insecure_http && !local_addr.ip().to_canonical().is_loopback() {
            return Err(open_without_tls(
                local_addr,
                "give it a certificate (`--tls-cert` and `--tls-key`), listen on 127.0.0.1, or say `--insecure-http` when something else protects the way",
            ));
        }
        let authenticator = Authenticator::new(authority.clone(), &options)?;
        let draining = Arc::new(AtomicBool::new(false));
        let counts = authority.metrics().connections().clone();
        let router = routes::router(authority, authenticator, &options, Arc::clone(&draining));
        Ok(Self::with_router(local_addr, listener, router, options, counts, draining))
    }

    /// Starts to serve an authority's metrics, at `/metrics` and to anybody: they name nobody. A listener of their own, so
    /// that the door that members come through does not lead to them. Without TLS.
    ///
    /// # Errors
    /// [`Kind::Denied`] for an address that other machines reach, without [`Options::insecure_http`].
    pub fn start_metrics(authority: &Authority, listener: TcpListener, options: Options) -> Result<Self> {
        let local_addr = address(&listener)?;
        if !options.insecure_http && !local_addr.ip().to_canonical().is_loopback() {
            return Err(open_without_tls(local_addr, "listen on 127.0.0.1, or say `--insecure-http`"));
        }
        let counted = authority.metrics().clone();
        let router = Router::new()
            .route("/metrics", get(async move || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], counted.text())));
        Ok(Self::aside(local_addr, listener, router, options))
    }

    /// Starts to say to anybody how something is, as the reference's nodes do: `HEAD /` that it lives, `GET /show` what `show`
    /// says, as JSON. Without TLS.
    ///
    /// # Errors
    /// When the listener is none any more.
    pub fn start_show(
        listener: TcpListener,
        show: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        let local_addr = address(&listener)?;
        let router = Router::new().route("/", head(async || StatusCode::OK)).route(
            "/show",
            get(async move || match tokio::task::spawn_blocking(show).await {
                Ok(Some(shown)) => ([(CONTENT_TYPE, "application/json")], shown).into_response(),
                _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }),
        );
        Ok(Self::aside(local_addr, listener, router, Options::default()))
    }

    /// A small listener beside the door, for few and without TLS.
    fn aside(local_addr: SocketAddr, listener: TcpListener, router: Router, options: Options) -> Self {
        let router = router
            .fallback(async || Refused::NoSuchPath)
            .method_not_allowed_fallback(async || Refused::NoSuchMethod);
        let options = Options { tls: None, connections: METRICS_CONNECTIONS, ..options };
        Self::with_router(local_addr, listener, router, options, ConnectionMetrics::default(), Arc::default())
    }

    fn with_router(
        local_addr: SocketAddr,
        listener: TcpListener,
        router: Router,
        options: Options,
        counts: ConnectionMetrics,
        draining: Arc<AtomicBool>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let admission = Admission::new(options.connections, options.connections_a_source, counts);
        let door = Door { router, admission, options: Arc::new(options), draining: Arc::clone(&draining) };
        let task = tokio::spawn(accept(listener, door, stopping));
        Self { local_addr, draining, stop, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more requests (503, and the connection is closed), and comes back when those that it has are answered or
    /// their time is over.
    pub async fn stop(self) {
        self.draining.store(true, Ordering::SeqCst);
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener
        .local_addr()
        .map_err(|e| Error::new(Kind::Internal, "the listener has no address").with_source(e))
}

fn open_without_tls(address: SocketAddr, hint: &'static str) -> Error {
    let words = format!("`{address}` can be reached by other machines, and there is no TLS on it");
    Error::new(Kind::Denied, words).with_hint(hint)
}

/// What a listener serves with.
#[derive(Clone)]
struct Door {
    router: Router,
    admission: Arc<Admission>,
    options: Arc<Options>,
    draining: Arc<AtomicBool>,
}

impl Door {
    /// Serves what was accepted.
    async fn take(
        &self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        connections: &mut JoinSet<()>,
        stopping: &watch::Receiver<bool>,
    ) {
        let (stream, source) = match accepted {
            Ok((stream, peer)) => (stream, Source::from(peer.ip())),
            // A peer that is gone again, or no more descriptors: neither ends the server, and a descriptor can be had back.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                self.admission.make_room();
                return sleep(Duration::from_millis(50)).await;
            }
        };
        let is_limited = self.options.limit_loopback || !source.is_loopback();
        let Some(place) = self.admission.admit(source, is_limited) else {
            return turn_away(stream, &self.options);
        };
        let (router, options) = (self.router.clone(), Arc::clone(&self.options));
        connections.spawn(connection::serve(stream, place, router, options, stopping.clone()));
    }
}

async fn accept(listener: TcpListener, door: Door, stopping: watch::Receiver<bool>) {
    let mut stopped = stopping.clone();
    let mut connections = JoinSet::new();
    // A connection whose place was taken away holds its descriptor until it has ended. Whoever comes faster than that waits.
    let most = door.options.connections + door.options.connections / 8 + 1;
    loop {
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            accepted = listener.accept(), if connections.len() < most => {
                door.take(accepted, &mut connections, &stopping).await;
            }
            Some(_) = connections.join_next() => {}
        }
    }
    door.draining.store(true, Ordering::SeqCst);
    // Whoever comes now is told so, and does not make the end come later.
    let (_never, going_on) = watch::channel(false);
    let mut late = JoinSet::new();
    let drained = async {
        loop {
            tokio::select! {
                ended = connections.join_next() => if ended.is_none() { return },
                accepted = listener.accept() => door.take(accepted, &mut late, &going_on).await,
                Some(_) = late.join_next() => {}
            }
        }
    };
    if timeout(door.options.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut what did not end in time");
        connections.shutdown().await;
    }
    drop(listener);
    let _ = timeout(LATE.min(door.options.drain), async { while late.join_next().await.is_some() {} }).await;
    late.shutdown().await;
}
