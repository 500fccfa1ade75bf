//! Secure channels of a node: two workers each. What is sent to the one leaves sealed; what arrives at the other is opened
//! and goes on from here.
//!
//! ```text
//! encryptor   named to users, local         seals what is sent to it, sends it along the way to the peer
//! decryptor   told to the peer              opens what comes, puts the encryptor in front of its return route
//! ```

mod initiator;
mod listener;
mod open;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use channel::{Address, Peer, Presentation, Renewed, Route, Trust};
use identity::{Identifier, Timestamp};
use tokio::task::JoinSet;
use vault::Agreer;

use crate::error::{Error, Kind, Result};
use crate::link::Link;
use crate::message::Origin;
use crate::node::Node;
use crate::source::Source;
use crate::worker::Pending;

use listener::Listening;
use open::Open;

pub(crate) use open::MAX_WAY;

/// What a node shows of itself in a handshake. Asked at each one, so that what is renewed is seen at the next.
pub trait Party: Send + Sync {
    /// What is shown, and the key that it attests.
    fn present(&self) -> Pending<'_, (Presentation, Agreer)>;
}

/// What is done with a peer once its handshake is over, before anything of it is delivered, and when it presents itself anew: its
/// history is written down, for one. What fails here ends the handshake, or leaves the peer as it was.
pub trait Opened: Send + Sync {
    /// A channel is open, or its peer was refreshed.
    fn opened<'a>(&'a self, peer: &'a Peer) -> Pending<'a, ()>;
}

/// Who one is in a channel, and whom one speaks to.
#[derive(Clone)]
pub struct ChannelOptions {
    /// Who one is.
    pub party: Arc<dyn Party>,
    /// Whom one speaks to.
    pub trust: Arc<dyn Trust>,
    /// What is done with a peer once its handshake is over.
    pub opened: Option<Arc<dyn Opened>>,
}

impl ChannelOptions {
    /// This party, who speaks to whom this trusts.
    #[must_use]
    pub fn new(party: Arc<dyn Party>, trust: Arc<dyn Trust>) -> Self {
        Self { party, trust, opened: None }
    }
}

impl fmt::Debug for ChannelOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelOptions").finish_non_exhaustive()
    }
}

/// Which side opened a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This node.
    Initiator,
    /// The peer.
    Responder,
}

/// An open channel, as it is listed.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// What is sent here leaves through the channel.
    pub address: Address,
    /// Where records of the peer come in.
    pub decryptor: Address,
    /// Who is at the other end.
    pub peer: Identifier,
    /// Which side opened it.
    pub role: Role,
    /// The listener that took it; none for what this node opened.
    pub listener: Option<Address>,
    /// The way to the peer.
    pub route: Route,
    /// Since when.
    pub since: Timestamp,
}

/// An open channel, as the origin of what came through it.
#[derive(Debug)]
pub struct ChannelLink {
    link: Link,
    listener: Option<Address>,
    carried_from: Option<SocketAddr>,
    peer: RwLock<Arc<Peer>>,
}

impl ChannelLink {
    fn new(peer: Peer, listener: Option<Address>, told_by: &Origin) -> Self {
        Self {
            link: Link::new(),
            listener,
            carried_from: told_by.carried_from(),
            peer: RwLock::new(Arc::new(peer)),
        }
    }

    /// The machine at the other end of the TCP connection that it was opened over: the peer's own, unless others pass its
    /// messages on.
    #[must_use]
    pub fn carried_from(&self) -> Option<SocketAddr> {
        self.carried_from
    }

    /// Who is at the other end, with the credentials that it presented last.
    #[must_use]
    pub fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.peer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The listener that took the channel; none for what this node opened.
    #[must_use]
    pub fn listener(&self) -> Option<&Address> {
        self.listener.as_ref()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn source(&self) -> Option<Source> {
        self.carried_from.map(|from| from.ip().into())
    }

    fn set_peer(&self, peer: Peer) {
        *self.peer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(peer);
    }
}

impl AsRef<Link> for ChannelLink {
    fn as_ref(&self) -> &Link {
        &self.link
    }
}

/// The channels and listeners of a node.
#[derive(Default)]
pub(crate) struct Channels {
    open: Mutex<Table>,
    listeners: Mutex<HashMap<Address, Arc<Listening>>>,
}

/// Open channels, by the address that is named to users.
#[derive(Default)]
struct Table {
    channels: HashMap<Address, Held>,
    /// What all of them take.
    bytes: usize,
}

/// A channel, and what it takes.
struct Held {
    open: Arc<Open>,
    bytes: usize,
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Arc<Open>> {
        self.channels.values().map(|held| &held.open)
    }

    fn get(&self, address: &Address) -> Option<&Arc<Open>> {
        self.channels.get(address).map(|held| &held.open)
    }

    fn add(&mut self, open: &Arc<Open>) {
        let bytes = open.bytes();
        self.bytes += bytes;
        self.channels.insert(open.address().clone(), Held { open: Arc::clone(open), bytes });
    }

    fn remove(&mut self, address: &Address) {
        let removed = self.channels.remove(address);
        self.bytes -= removed.map_or(0, |held| held.bytes);
    }

    /// Counts one anew that is there.
    fn weigh(&mut self, open: &Open) {
        if let Some(held) = self.channels.get_mut(open.address()) {
            let bytes = open.bytes();
            self.bytes = self.bytes - held.bytes + bytes;
            held.bytes = bytes;
        }
    }

    /// When they take more than that, the oldest channel of the machine that has the most.
    fn too_many(&self, most: usize) -> Option<Arc<Open>> {
        if self.bytes <= most {
            return None;
        }
        let crowd = largest(self.all().map(|one| one.link().source()))?;
        let of_it = self.all().filter(|one| one.link().source() == crowd);
        of_it.min_by_key(|one| one.link().link().number()).cloned()
    }
}

/// What there is the most of.
fn largest<T: Copy + Eq + Hash>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(one, _)| one)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// The open channels, ordered by address.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let open: Vec<_> = locked(&self.0.channels.open).all().cloned().collect();
        let mut all: Vec<_> = open.iter().map(|one| one.info()).collect();
        all.sort_by(|a, b| a.address.cmp(&b.address));
        all
    }

    /// Closes a channel: the peer is told.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn close_channel(&self, address: &Address) -> Result<()> {
        let open = self.channel(address)?;
        self.forget_channel(&open);
        open.close(self).await;
        Ok(())
    }

    /// Presents new credentials to the peer of a channel.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what sending meets.
    pub async fn renew_channel(&self, address: &Address, renewed: &Renewed) -> Result<()> {
        self.channel(address)?.renew(self, renewed).await
    }

    /// Closes all channels, whether or not their peers can be told in time.
    pub(crate) async fn close_channels(&self, wait: Duration) {
        let all: Vec<_> = locked(&self.0.channels.open).all().cloned().collect();
        let mut closing = JoinSet::new();
        for open in all {
            self.forget_channel(&open);
            let node = self.clone();
            closing.spawn(async move { open.close(&node).await });
        }
        let _ = tokio::time::timeout(wait, async { while closing.join_next().await.is_some() {} }).await;
    }

    /// Adds an open channel to the others.
    fn remember_channel(&self, open: &Arc<Open>) {
        locked(&self.0.channels.open).add(open);
        self.bound_channels();
    }

    /// Counts anew what a channel takes.
    fn weigh_channel(&self, open: &Open) {
        locked(&self.0.channels.open).weigh(open);
        self.bound_channels();
    }

    /// Ends channels when all of them take too much.
    fn bound_channels(&self) {
        loop {
            let other = locked(&self.0.channels.open).too_many(self.0.channel_bytes);
            let Some(other) = other else { return };
            tracing::warn!(peer = %other.link().peer().identifier(), "a channel gives way to others: there are too many");
            self.forget_channel(&other);
            let node = self.clone();
            self.spawn(async move { other.close(&node).await });
        }
    }

    fn channel(&self, address: &Address) -> Result<Arc<Open>> {
        locked(&self.0.channels.open).get(address).cloned().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no secure channel at `{address}`"))
                .with_hint("`secure-channel list` shows them")
        })
    }

    /// Takes a channel's workers away, and what was there because of it.
    fn forget_channel(&self, open: &Open) {
        let info = open.info();
        self.remove(&info.address);
        self.remove(&info.decryptor);
        self.remove_of(open.link().link().number());
        locked(&self.0.channels.open).remove(&info.address);
    }

    /// Drops handshakes that were not finished in time, and channels over connections that ended long ago.
    pub(crate) fn sweep_channels(&self) {
        let listeners: Vec<_> = locked(&self.0.channels.listeners).values().cloned().collect();
        for listener in listeners {
            listener.sweep(self);
        }
        let open: Vec<_> = locked(&self.0.channels.open).all().cloned().collect();
        for one in open {
            if one.is_abandoned(self) {
                tracing::debug!(peer = %one.link().peer().identifier(), "a channel is dropped whose connection ended");
                self.forget_channel(&one);
            }
        }
    }
}
