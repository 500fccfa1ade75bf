//! The server: takes connections, gives each its deadlines, and stops without cutting what is being answered.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::attempts::Source;
use super::authenticate::Authenticator;
use super::early::Worded;
use super::routes;
use super::tls::Tls;
use crate::error::{Error, Kind, Result};
use crate::service::Authority;

/// The most bytes of a request's line and headers: room for an `ockam-identity` header and the rest.
pub(crate) const MAX_HEAD: usize = 48 * 1024;
/// The most bytes that are held of what was received and not yet looked at.
const MAX_BUFFER: usize = 64 * 1024;

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
    /// How long a connection is kept, however busy.
    pub connection_life: Duration,
    /// How long [`Server::stop`] waits for answers that are on their way.
    pub drain: Duration,
    /// How many connections are served at a time; more wait.
    pub connections: usize,
    /// How many requests that fail to prove their sender, and how many wrong tickets, are taken from one source in a minute.
    /// As many wrong tickets are taken from one identity.
    pub failures_a_minute: u32,
    /// Count those of this machine too.
    pub limit_loopback: bool,
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
            connection_life: Duration::from_secs(300),
            drain: Duration::from_secs(10),
            connections: 1024,
            failures_a_minute: 10,
            limit_loopback: false,
        }
    }
}

/// An authority that takes requests over HTTP.
pub struct Server {
    local_addr: SocketAddr,
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
        let local_addr = listener
            .local_addr()
            .map_err(|e| Error::new(Kind::Internal, "the listener has no address").with_source(e))?;
        if options.tls.is_none() && !options.insecure_http && !local_addr.ip().to_canonical().is_loopback() {
            return Err(Error::new(
                Kind::Denied,
                format!("`{local_addr}` can be reached by other machines, and there is no TLS on it"),
            )
            .with_hint(
                "give it a certificate (`--tls-cert` and `--tls-key`), listen on 127.0.0.1, or say `--insecure-http` when something else protects the way",
            ));
        }
        let authenticator = Authenticator::new(authority.clone(), &options)?;
        let router = routes::router(authority, authenticator, &options);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(accept(listener, router, Arc::new(options), stopping));
        Ok(Self { local_addr, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more requests, and comes back when those that it has are answered or their time is over.
    pub async fn stop(self) {
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

async fn accept(
    listener: TcpListener,
    router: Router,
    options: Arc<Options>,
    stopping: watch::Receiver<bool>,
) {
    let mut stopped = stopping.clone();
    let slots = Arc::new(Semaphore::new(options.connections.max(1)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            // Also when the `Server` is dropped without being stopped.
            () = told_to_stop(&mut stopped) => break,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let connection =
                        serve(stream, peer.ip(), router.clone(), Arc::clone(&options), stopping.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                // A peer that is gone again, or no more descriptors: neither ends the server.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(options.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut what did not end in time");
        connections.shutdown().await;
    }
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    options: Arc<Options>,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = &options.tls else {
        return serve_http(stream, peer, router, options, stopping).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(options.header_deadline, tls.acceptor().accept(stream)) => accepted,
        () = told_to_stop(&mut stopping) => return,
    };
    match accepted {
        Ok(Ok(stream)) => serve_http(stream, peer, router, options, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    router: Router,
    options: Arc<Options>,
    mut stopping: watch::Receiver<bool>,
) {
    let source = Source::from(peer);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(source);
        service.call(request)
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
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a connection ended early"),
        Err(_) => tracing::debug!(%peer, "a connection was cut"),
    }
}
