//! TCP: connections, listeners, and the addresses that stand for them.
//!
//! A connection is a worker at a random address: what is sent there leaves through it. What comes in has that address in
//! front of its return route. An address of the transport itself, `1#host:port`, is dialled when a message has it next.

mod connection;
mod frame;
mod listener;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use channel::{Address, Route};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

pub use connection::TcpLink;
pub use frame::MAX_FRAME;
#[cfg(feature = "fuzzing")]
pub(crate) use frame::{decode, encode};

use crate::error::{Error, Kind, Result};
use crate::message::Message;
use crate::node::{Node, nobody_at};

/// The number of the transport in addresses.
pub const TCP: u8 = 1;

/// How long dialling may take.
const DIAL_WAIT: Duration = Duration::from_secs(10);
/// The most connections that a node dials.
const MAX_DIALLED: usize = 4096;

/// A TCP connection, as it is listed.
#[derive(Clone, Debug)]
pub struct TcpConnectionInfo {
    /// What is sent here leaves through the connection.
    pub address: Address,
    /// Who is at the other end.
    pub remote: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// The listener that took it; none for what this node dialled.
    pub listener: Option<Address>,
}

/// A TCP listener, as it is listed.
#[derive(Clone, Debug)]
pub struct TcpListenerInfo {
    /// What names it.
    pub address: Address,
    /// Where it listens.
    pub socket: SocketAddr,
}

/// The most KiB of long frames that are being read at a time, whosoever they are.
const LONG_FRAMES: usize = if cfg!(test) { 1024 } else { 256 * 1024 };

/// The connections and listeners of a node.
pub(crate) struct Tcp {
    connections: Mutex<HashMap<Address, Arc<TcpLink>>>,
    listeners: Mutex<HashMap<Address, listener::Listening>>,
    /// Connections that were dialled for routes, by what was dialled.
    dialled: Mutex<HashMap<String, Address>>,
    /// Room for long frames that are being read, in KiB.
    long_frames: Semaphore,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            connections: Mutex::default(),
            listeners: Mutex::default(),
            dialled: Mutex::default(),
            long_frames: Semaphore::new(LONG_FRAMES),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when nobody answers there, [`Kind::Invalid`] when it is no such address.
    pub async fn connect_tcp(&self, to: &str) -> Result<TcpConnectionInfo> {
        if to.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            return Err(Error::new(Kind::Invalid, format!("`{}` is no TCP address", to.escape_debug()))
                .with_hint("write it as HOST:PORT"));
        }
        let dialled = |link: &&Arc<TcpLink>| link.listener().is_none();
        if locked(&self.0.tcp.connections).values().filter(dialled).count() >= MAX_DIALLED {
            return Err(Error::new(Kind::Exhausted, "the node has too many TCP connections"));
        }
        let failed = |e: std::io::Error| {
            Error::new(Kind::Unavailable, format!("cannot connect to `{}`: {e}", to.escape_debug()))
                .with_hint("see whether a node listens there: `node list`")
                .with_source(e)
        };
        let stream = tokio::time::timeout(DIAL_WAIT, TcpStream::connect(to))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(failed)?;
        self.run_connection(stream, None).map_err(failed)
    }

    /// The TCP connections, ordered by address.
    #[must_use]
    pub fn tcp_connections(&self) -> Vec<TcpConnectionInfo> {
        let mut all: Vec<_> = locked(&self.0.tcp.connections).values().map(|link| link.info()).collect();
        all.sort_by(|a, b| a.address.cmp(&b.address));
        all
    }

    /// Closes a connection.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn stop_tcp_connection(&self, address: &Address) -> Result<()> {
        let link = locked(&self.0.tcp.connections).get(address).cloned();
        link.map(|link| link.close()).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no TCP connection `{address}`"))
                .with_hint("`tcp-connection list` shows them")
        })
    }

    /// Dials what a message has as its next hop, and puts the connection's address there.
    pub(crate) async fn dial_for(&self, message: &mut Message) -> Result<()> {
        let Some(next) = message.to() else { return Ok(()) };
        let text = std::str::from_utf8(next.value())
            .map_err(|_| Error::new(Kind::Invalid, format!("`{next}` is no TCP address")))?;
        if !message.origin().is_local() && !self.0.forwarding.may_dial(text) {
            return Err(Error::new(
                Kind::Denied,
                format!("`{text}` is not dialled for {}", message.origin()),
            ));
        }
        let text = text.to_owned();
        let address = self.dial(&text).await?;
        self.join(message.origin(), &address);
        if let Some(first) = message.onward_route.0.first_mut() {
            *first = address;
        }
        Ok(())
    }

    /// The connection to what was dialled before, or a new one.
    pub(crate) async fn dial(&self, to: &str) -> Result<Address> {
        let known = locked(&self.0.tcp.dialled).get(to).cloned();
        if let Some(known) = known.filter(|known| locked(&self.0.tcp.connections).contains_key(known)) {
            return Ok(known);
        }
        let made = self.connect_tcp(to).await?.address;
        let mut dialled = locked(&self.0.tcp.dialled);
        let connections = locked(&self.0.tcp.connections);
        dialled.retain(|_, address| connections.contains_key(address));
        dialled.insert(to.to_owned(), made.clone());
        Ok(made)
    }

    /// Whether this is where one of the node's own listeners is reached.
    pub(crate) async fn is_own(&self, to: &str) -> bool {
        let Ok(resolved) = tokio::time::timeout(DIAL_WAIT, tokio::net::lookup_host(to)).await else {
            return false;
        };
        let resolved: Vec<_> = resolved.into_iter().flatten().collect();
        let listeners = locked(&self.0.tcp.listeners);
        let own = |to: &SocketAddr| {
            listeners.values().any(|one| {
                let here = one.socket();
                here.port() == to.port()
                    && (here.ip() == to.ip() || (here.ip().is_unspecified() && to.ip().is_loopback()))
            })
        };
        resolved.iter().any(own)
    }

    /// Waits until a message of so many bytes could leave along a route, for those who would rather not begin in vain.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when nobody is at its first address, [`Kind::Invalid`] when the message is too long for a frame,
    /// [`Kind::Exhausted`] when the connection takes nothing more, [`Kind::Unavailable`] when it has ended.
    pub(crate) async fn ready(&self, route: &Route, length: usize) -> Result<()> {
        let Some(first) = route.0.first() else { return Ok(()) };
        let link = locked(&self.0.tcp.connections).get(first).cloned();
        match link {
            Some(link) => link.ready(length).await,
            None if self.has(first) => Ok(()),
            None => Err(nobody_at(first)),
        }
    }

    /// Whether a message of so many bytes could leave along a route at once.
    pub(crate) fn has_room(&self, route: &Route, length: usize) -> bool {
        let Some(first) = route.0.first() else { return true };
        locked(&self.0.tcp.connections).get(first).is_none_or(|link| link.has_room(length))
    }

    /// Waits until what was queued has been written.
    pub(crate) async fn tcp_flushed(&self, wait: Duration) {
        let links: Vec<_> = locked(&self.0.tcp.connections).values().cloned().collect();
        let _ = tokio::time::timeout(wait, async {
            for link in links {
                link.flushed().await;
            }
        })
        .await;
    }
}
