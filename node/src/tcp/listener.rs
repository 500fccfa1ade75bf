//! TCP listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::Address;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::{TcpListenerInfo, locked};
use crate::error::{Error, Kind, Result};
use crate::node::Node;

/// The most connections that one listener has at once.
const MAX_CONNECTIONS: usize = 4096;
/// How long it waits when a connection could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A listener that listens until it is dropped.
pub(super) struct Listening {
    info: TcpListenerInfo,
    _end: watch::Sender<()>,
}

impl Listening {
    pub(super) fn socket(&self) -> SocketAddr {
        self.info.socket
    }
}

impl Node {
    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when it cannot be listened on.
    pub async fn listen_tcp(&self, on: SocketAddr) -> Result<TcpListenerInfo> {
        let failed = |e: std::io::Error| {
            Error::new(Kind::Unavailable, format!("cannot listen on `{on}`: {e}"))
                .with_hint("choose another address, or port 0 for any that is free")
                .with_source(e)
        };
        let listener = TcpListener::bind(on).await.map_err(failed)?;
        self.take_tcp_listener(listener)
    }

    /// Listens on what is listened on already.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when it has no address.
    pub fn take_tcp_listener(&self, listener: TcpListener) -> Result<TcpListenerInfo> {
        let failed = |e: std::io::Error| {
            Error::new(Kind::Unavailable, "the TCP listener has no address").with_source(e)
        };
        let info = TcpListenerInfo {
            address: Self::random_address()?,
            socket: listener.local_addr().map_err(failed)?,
        };
        let (end, mut ended) = watch::channel(());
        let (node, stopped, name) = (self.clone(), self.stopped(), info.address.clone());
        self.spawn(async move {
            tokio::select! {
                () = accept(&node, &listener, &name) => {}
                _ = ended.changed() => {}
                () = stopped => {}
            }
        });
        let listening = Listening { info: info.clone(), _end: end };
        locked(&self.0.tcp.listeners).insert(info.address.clone(), listening);
        Ok(info)
    }

    /// The TCP listeners, ordered by address.
    #[must_use]
    pub fn tcp_listeners(&self) -> Vec<TcpListenerInfo> {
        let mut all: Vec<_> = locked(&self.0.tcp.listeners).values().map(|one| one.info.clone()).collect();
        all.sort_by(|a, b| a.address.cmp(&b.address));
        all
    }

    /// Stops listening. Connections that were taken stay.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn stop_tcp_listener(&self, address: &Address) -> Result<()> {
        locked(&self.0.tcp.listeners).remove(address).map(drop).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no TCP listener `{address}`"))
                .with_hint("`tcp-listener list` shows them")
        })
    }
}

async fn accept(node: &Node, listener: &TcpListener, name: &Address) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, remote)) => {
                if let Err(error) = node.run_connection(stream, Some(name.clone()), Some(place)) {
                    tracing::debug!(%remote, %error, "a TCP connection was not taken");
                }
            }
            // No more descriptors: whoever waits goes on waiting, and nobody spins.
            Err(error) => {
                tracing::warn!(%error, "no TCP connection can be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
