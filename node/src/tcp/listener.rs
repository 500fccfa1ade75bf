//! TCP listeners.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use channel::Address;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{TcpLink, TcpListenerInfo, locked};
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::source::Source;

/// How long a connection that makes room may take to be gone.
const ROOM_WAIT: Duration = Duration::from_secs(1);
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

/// The places of a listener, and the connections that have them: also those that read nothing more, while something is left to
/// be written to them.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<TcpLink>>>,
}

/// A place that no connection has yet.
#[derive(Debug)]
pub(super) struct FreePlace {
    places: Arc<Places>,
    permit: OwnedSemaphorePermit,
}

/// The place of a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct TakenPlace {
    places: Arc<Places>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl FreePlace {
    pub(super) fn take(self, link: Arc<TcpLink>) -> TakenPlace {
        let number = link.link().number();
        locked(&self.places.taken).insert(number, link);
        TakenPlace { places: self.places, number, _permit: self.permit }
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        locked(&self.places.taken).remove(&self.number);
    }
}

impl Places {
    fn new(places: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(places)), taken: Mutex::default() }
    }

    /// A place for a connection, if need be that of another one.
    async fn find(self: &Arc<Self>) -> Option<FreePlace> {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.make_room();
                tokio::time::timeout(ROOM_WAIT, free.acquire_owned()).await.ok()?.ok()?
            }
        };
        Some(FreePlace { places: Arc::clone(self), permit })
    }

    /// Cuts a connection off: first of those that never sent a whole frame, or send nothing more, of the machine that has the
    /// most, the oldest. Whoever says something soon is never that one, so connections that say nothing keep nobody out.
    fn make_room(&self) {
        let taken = locked(&self.taken);
        let mut crowds: HashMap<Source, usize> = HashMap::new();
        taken.values().for_each(|link| *crowds.entry(link.source()).or_default() += 1);
        let rank = |link: &&Arc<TcpLink>| {
            let crowd = crowds.get(&link.source()).copied().unwrap_or_default();
            (link.is_heard(), Reverse(crowd), link.link().number())
        };
        if let Some(link) = taken.values().filter(|link| !link.is_cut()).min_by_key(rank) {
            tracing::debug!(remote = %link.remote(), "a TCP connection makes room for another");
            link.cut();
        }
    }
}

async fn accept(node: &Node, listener: &TcpListener, name: &Address) {
    let places = Arc::new(Places::new(node.0.connections));
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Some(place) = places.find().await else {
                    tracing::debug!(%remote, "there is no place for a TCP connection");
                    continue;
                };
                if let Err(error) = node.run_connection(stream, Some((name.clone(), place))) {
                    tracing::debug!(%remote, %error, "a TCP connection was not taken");
                }
            }
            // No more descriptors, as a rule: one makes room, whoever waits goes on waiting, and nobody spins.
            Err(error) => {
                tracing::warn!(%error, "no TCP connection can be taken");
                if is_scarce(&error) {
                    places.make_room();
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether what failed wants what a connection has.
fn is_scarce(error: &std::io::Error) -> bool {
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| scarce.contains(&error))
}
