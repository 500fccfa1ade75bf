//! Listeners of channels: who sends a first message to one has a handshake at an address of its own.
//!
//! A first message is cheap to send and costs two agreements to answer, so what is begun and not finished is bounded: in time,
//! for each who sends, and for all (what is sent through one connection counts as one).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use channel::{Address, Driver, Progress, Route};
use vault::SecretBytes;

use super::open::{Made, Open};
use super::{ChannelOptions, MAX_WAY, Role, largest, locked};
use crate::admission::Admission;
use crate::error::{Error, Kind, Result};
use crate::message::{Message, Origin};
use crate::node::{Node, Place, Rule};
use crate::source::Source;
use crate::worker::{Pending, Runs, Worker};

/// How long the last message of a handshake is waited for.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// The most handshakes under way at one listener. A further one takes the place of the oldest of the machine that has the
/// most of them.
const MAX_HALF_OPEN: usize = 1024;
/// The most of them that came through one connection or channel; a further one takes the place of the oldest.
const MAX_HALF_OPEN_OF_ONE: usize = 32;
/// How many first messages are answered at once: they may wait for a device.
const AT_ONCE: usize = 32;
/// The random bytes of an ephemeral key.
const EPHEMERAL: usize = 32;

/// A listener and the handshakes that are under way at it.
pub(super) struct Listening {
    options: ChannelOptions,
    half_open: Mutex<VecDeque<HalfOpen>>,
}

struct HalfOpen {
    address: Address,
    of: Option<u64>,
    source: Option<Source>,
    since: Instant,
}

impl Node {
    /// Listens for channels at an address.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when the address is taken.
    pub fn listen_channels(
        &self,
        address: Address,
        options: ChannelOptions,
        admission: Admission,
    ) -> Result<()> {
        let listening = Arc::new(Listening { options, half_open: Mutex::default() });
        let worker = Listener { listening: Arc::clone(&listening), address: address.clone() };
        let place = Place { rule: Rule::Admission(admission), kind: "channel-listener", of: None };
        self.place(address.clone(), Box::new(worker), Runs::Spawned(AT_ONCE), place)?;
        locked(&self.0.channels.listeners).insert(address, listening);
        Ok(())
    }

    /// The addresses that channels are listened for at, ordered.
    #[must_use]
    pub fn channel_listeners(&self) -> Vec<Address> {
        let mut all: Vec<_> = locked(&self.0.channels.listeners).keys().cloned().collect();
        all.sort();
        all
    }

    /// Stops listening for channels. Those that are open stay.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn stop_channel_listener(&self, address: &Address) -> Result<()> {
        let listening = locked(&self.0.channels.listeners).remove(address).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no secure channel listener at `{address}`"))
                .with_hint("`secure-channel-listener list` shows them")
        })?;
        self.remove(address);
        for one in locked(&listening.half_open).drain(..) {
            self.remove(&one.address);
        }
        Ok(())
    }
}

impl Listening {
    /// Drops what was not finished in time.
    pub(super) fn sweep(&self, node: &Node) {
        let mut half_open = locked(&self.half_open);
        while let Some(oldest) = half_open.pop_front_if(|one| one.since.elapsed() > HANDSHAKE_WAIT) {
            node.remove(&oldest.address);
        }
    }

    /// Makes room for one more handshake.
    fn admit(&self, node: &Node, address: &Address, origin: &Origin) {
        self.sweep(node);
        let of = origin.link().map(crate::link::Link::number);
        let mut half_open = locked(&self.half_open);
        let oldest = if half_open.iter().filter(|one| one.of == of).count() >= MAX_HALF_OPEN_OF_ONE {
            half_open.iter().position(|one| one.of == of)
        } else if half_open.len() >= MAX_HALF_OPEN {
            let crowd = largest(half_open.iter().map(|one| one.source));
            half_open.iter().position(|one| Some(one.source) == crowd)
        } else {
            None
        };
        if let Some(oldest) = oldest.and_then(|oldest| half_open.remove(oldest)) {
            node.remove(&oldest.address);
        }
        let (address, source) = (address.clone(), origin.source());
        half_open.push_back(HalfOpen { address, of, source, since: Instant::now() });
    }

    /// Puts a handshake at its address, unless its place was given away while its first message was answered.
    fn put(&self, node: &Node, address: &Address, handshake: Handshake, place: Place) -> Result<()> {
        let half_open = locked(&self.half_open);
        if half_open.iter().any(|one| one.address == *address) {
            node.place(address.clone(), Box::new(handshake), Runs::Inline, place)
        } else {
            Err(Error::new(Kind::Exhausted, "the handshake gave way to others"))
        }
    }

    fn finished(&self, address: &Address) {
        locked(&self.half_open).retain(|one| one.address != *address);
    }
}

struct Listener {
    listening: Arc<Listening>,
    address: Address,
}

impl Worker for Listener {
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            let address = Node::random_address()?;
            self.listening.admit(node, &address, message.origin());
            let begun = self.begin(node, &address, message).await;
            if begun.is_err() {
                self.listening.finished(&address);
                node.remove(&address);
            }
            begun
        })
    }
}

impl Listener {
    /// Answers a first message.
    async fn begin(&self, node: &Node, address: &Address, message: Message) -> Result<()> {
        if message.return_route.room() > MAX_WAY {
            return Err(Error::new(Kind::Invalid, "the way back is longer than any that is kept"));
        }
        let has_room = |length: usize| {
            // Who does not take what it is told is not waited for: others wait for the place that this one has meanwhile.
            let full = || Error::new(Kind::Exhausted, "the peer takes no answer");
            node.has_room(&message.return_route, length).then_some(()).ok_or_else(full)
        };
        has_room(MAX_WAY)?;
        let options = self.listening.options.clone();
        let (own, key) = options.party.present().await?;
        let mut driver = Driver::respond(own, key, &SecretBytes::random(EPHEMERAL)?).map_err(failed)?;
        let progress = driver.receive(&message.payload, node.now(), &*options.trust).await.map_err(failed)?;
        let Progress::Send(second) = progress else {
            return Err(Error::new(Kind::Backend, "the handshake was over before it began"));
        };
        has_room(second.len() + MAX_WAY)?;
        let way = message.return_route.clone();
        let told_by = message.origin().clone();
        let of = told_by.link().map(crate::link::Link::number);
        let handshake = Handshake {
            driver: tokio::sync::Mutex::new(Some(driver)),
            listening: Arc::clone(&self.listening),
            listener: self.address.clone(),
            address: address.clone(),
            way: way.clone(),
            told_by: told_by.clone(),
        };
        let place = Place { rule: Rule::Through(None), kind: "handshake", of };
        self.listening.put(node, address, handshake, place)?;
        let back: Route = [address.clone()].into_iter().collect();
        node.send(Message::from(told_by, way, back, second)).await
    }
}

/// A handshake that waits for its last message.
struct Handshake {
    driver: tokio::sync::Mutex<Option<Driver>>,
    listening: Arc<Listening>,
    listener: Address,
    address: Address,
    way: Route,
    told_by: Origin,
}

impl Worker for Handshake {
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut waiting = self.driver.lock().await;
            let Some(driver) = waiting.as_mut() else {
                // The channel opened while this message waited: it is its first record.
                drop(waiting);
                return node.send(message).await;
            };
            let options = &self.listening.options;
            let progress =
                driver.receive(&message.payload, node.now(), &*options.trust).await.map_err(failed)?;
            let Progress::Open(_, channel) = progress else {
                return Err(Error::new(Kind::Backend, "the handshake goes on after its end"));
            };
            *waiting = None;
            self.listening.finished(&self.address);
            if let Some(opened) = &options.opened
                && let Err(error) = opened.opened(channel.peer()).await
            {
                node.remove(&self.address);
                return Err(error);
            }
            let made = Made {
                channel: *channel,
                role: Role::Responder,
                listener: Some(self.listener.clone()),
                decryptor: self.address.clone(),
                route: self.way.clone(),
                told_by: self.told_by.clone(),
                trust: Arc::clone(&options.trust),
                opened: options.opened.clone(),
            };
            Open::start(node, made).map(drop)
        })
    }
}

pub(super) fn failed(error: channel::HandshakeError) -> Error {
    let kind = match &error {
        channel::HandshakeError::Peer(channel::PeerFault::NotAdmitted(_)) => Kind::Denied,
        channel::HandshakeError::Peer(_) => Kind::Rejected,
        channel::HandshakeError::Us(error) => error.kind(),
        _ => Kind::Invalid,
    };
    Error::new(kind, error.to_string()).with_source(error)
}
