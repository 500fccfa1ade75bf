//! An open channel: sealing what leaves, opening what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use channel::{
    Address, Channel, Message as Said, Payload, Peer, RECORD_OVERHEAD, RecordError, RecordOpener,
    RecordSealer, Renewed, Route, Trust,
};
use identity::Timestamp;

use super::{ChannelInfo, ChannelLink, Opened, Role, locked};
use crate::error::{Error, Kind, Result};
use crate::link::Link;
use crate::message::{Message, Origin, cut};
use crate::node::{Node, Place, Rule};
use crate::worker::{Pending, Runs, Worker};

/// How long a channel stays whose connection has ended: a peer that comes back over another one goes on with it.
const WITHOUT_CONNECTION: Duration = Duration::from_secs(300);
/// How long who sends for others waits until it is their turn and there is room.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// The most room of a way to a peer: of some fifty addresses.
pub(crate) const MAX_WAY: usize = 4 * 1024;
/// What a channel takes in memory, about, whoever is at its other end.
const OWN_BYTES: usize = 8 * 1024;
/// The bytes of a record's counter.
const COUNTER: usize = size_of::<u64>();

/// An open channel.
pub(super) struct Open {
    link: Arc<ChannelLink>,
    role: Role,
    encryptor: Address,
    decryptor: Address,
    since: Timestamp,
    trust: Arc<dyn Trust>,
    opened: Option<Arc<dyn Opened>>,
    /// Held while a record is sealed and queued: records leave in the order of their counters.
    sealing: tokio::sync::Mutex<Option<RecordSealer>>,
    opening: Mutex<RecordOpener>,
    way: Mutex<Way>,
}

/// The way to the peer.
#[derive(Clone)]
struct Way {
    route: Route,
    /// Who told it: records leave with that origin, so that nobody has them sent where it may not send itself.
    told_by: Origin,
    /// The counter of the record that told it.
    counter: u64,
    gone: Option<Instant>,
}

/// How what is to be sealed came here.
struct Sent {
    /// How often it was delivered inside this node before.
    deliveries: u16,
    /// Whether it came from elsewhere.
    for_others: bool,
}

/// What a handshake leaves behind.
pub(super) struct Made {
    pub(super) channel: Channel,
    pub(super) role: Role,
    pub(super) listener: Option<Address>,
    pub(super) decryptor: Address,
    pub(super) route: Route,
    pub(super) told_by: Origin,
    pub(super) trust: Arc<dyn Trust>,
    pub(super) opened: Option<Arc<dyn Opened>>,
}

/// What came of a record.
enum Taken {
    Message(Message),
    Refreshed(Box<Peer>),
    Nothing,
}

impl Open {
    /// Puts an open channel's workers in their places. The decryptor takes the place of the handshake.
    pub(super) fn start(node: &Node, made: Made) -> Result<Arc<Self>> {
        let (peer, sealer, opener) = made.channel.split();
        let open = Arc::new(Self {
            link: Arc::new(ChannelLink::new(peer, made.listener, &made.told_by)),
            role: made.role,
            encryptor: Node::random_address()?,
            decryptor: made.decryptor,
            since: node.now(),
            trust: made.trust,
            opened: made.opened,
            sealing: tokio::sync::Mutex::new(Some(sealer)),
            opening: Mutex::new(opener),
            way: Mutex::new(Way { route: made.route, told_by: made.told_by, counter: 0, gone: None }),
        });
        let through: Arc<dyn AsRef<Link> + Send + Sync> = Arc::clone(&open.link) as _;
        let place = Place { rule: Rule::Through(Some(through)), kind: "channel", of: None };
        node.place(open.encryptor.clone(), Box::new(Encryptor(Arc::clone(&open))), Runs::Inline, place)?;
        // Records prove by themselves whose they are: whoever brings them.
        let place = Place { rule: Rule::Through(None), kind: "decryptor", of: None };
        node.replace(&open.decryptor, Box::new(Decryptor(Arc::clone(&open))), place);
        node.remember_channel(&open);
        tracing::info!(peer = %open.link.peer().identifier(), address = %open.encryptor, "a secure channel is open");
        Ok(open)
    }

    pub(super) fn link(&self) -> &ChannelLink {
        &self.link
    }

    /// What names it to users.
    pub(super) fn address(&self) -> &Address {
        &self.encryptor
    }

    /// The memory that it takes, about: what a peer shows is there as it came and once more decoded.
    pub(super) fn bytes(&self) -> usize {
        OWN_BYTES + 2 * self.link.peer().presented_bytes()
    }

    pub(super) fn info(&self) -> ChannelInfo {
        ChannelInfo {
            address: self.encryptor.clone(),
            decryptor: self.decryptor.clone(),
            peer: self.link.peer().identifier(),
            role: self.role,
            listener: self.link.listener().cloned(),
            route: self.way().route,
            since: self.since,
        }
    }

    fn way(&self) -> Way {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the connection that leads to the peer ended long ago.
    pub(super) fn is_abandoned(&self, node: &Node) -> bool {
        let mut way = locked(&self.way);
        let there = way.route.0.first().is_some_and(|first| node.has(first));
        if there {
            way.gone = None;
            return false;
        }
        way.gone.get_or_insert_with(Instant::now).elapsed() > WITHOUT_CONNECTION
    }

    /// Seals, and sends along the way to the peer. `back` is who the peer is told to answer on the outside. Whoever sends
    /// for others waits only so long for the turn.
    async fn send(&self, node: &Node, said: Said<'_>, back: Route, sent: Sent) -> Result<()> {
        // A record that is sealed and then does not leave costs a counter all the same, and the peer follows over a window of
        // them only: so there is room before it is sealed.
        let turn = async {
            let sealing = self.sealing.lock().await;
            let way = self.way();
            let length = said.room() + RECORD_OVERHEAD + way.route.room() + back.room();
            node.ready(&way.route, length).await?;
            Ok::<_, Error>((sealing, way))
        };
        let (mut sealing, Way { route, told_by, .. }) = if sent.for_others {
            let full = |_| Error::new(Kind::Exhausted, "the secure channel takes nothing more");
            tokio::time::timeout(TURN_WAIT, turn).await.map_err(full)??
        } else {
            turn.await?
        };
        let sealer = sealing.as_mut().ok_or_else(closed)?;
        let record = sealer.seal(said).map_err(unsealed)?;
        node.send(Message::from(told_by, route, back, record).after(sent.deliveries)).await
    }

    /// Tells the peer that nothing more comes. It is not waited for.
    pub(super) async fn close(&self, node: &Node) {
        let Some(sealer) = self.sealing.lock().await.take() else { return };
        let Ok(record) = sealer.close() else { return };
        let Way { route, told_by, .. } = self.way();
        let back = [self.encryptor.clone()].into_iter().collect();
        node.send_quietly(Message::from(told_by, route, back, record)).await;
    }

    pub(super) async fn renew(&self, node: &Node, renewed: &Renewed) -> Result<()> {
        let back = [self.encryptor.clone()].into_iter().collect();
        self.send(node, renewed.message(), back, Sent { deliveries: 0, for_others: false }).await
    }

    /// Opens a record, and says what came of it.
    fn open(&self, node: &Node, mut message: Message) -> Result<Taken> {
        let counter = message.payload.first_chunk::<COUNTER>().map(|counter| u64::from_be_bytes(*counter));
        let begins = message.payload.as_ptr().addr();
        let mut opener = locked(&self.opening);
        match opener.open(&mut message.payload).map_err(refused)? {
            Said::Payload(Payload { onward_route, mut return_route, payload }) => {
                // It lies within the record.
                let (start, length) = (payload.as_ptr().addr().saturating_sub(begins), payload.len());
                drop(opener);
                let outside = || Error::new(Kind::Backend, "a payload is not within its record");
                let payload = cut(std::mem::take(&mut message.payload), start, length).ok_or_else(outside)?;
                let told_by = message.origin().clone();
                self.follow(counter, message.return_route, told_by);
                return_route.0.insert(0, self.encryptor.clone());
                let origin = Origin::Channel(Arc::clone(&self.link));
                let said = Message::from(origin, onward_route, return_route, payload);
                Ok(Taken::Message(said.after(message.deliveries)))
            }
            Said::Refresh(refresh) => {
                let mut peer = (*self.link.peer()).clone();
                peer.refresh(&refresh, node.now(), &*self.trust).map_err(refused)?;
                drop(opener);
                Ok(Taken::Refreshed(Box::new(peer)))
            }
            Said::Close => {
                drop(opener);
                tracing::info!(peer = %self.link.peer().identifier(), address = %self.encryptor, "the peer closed a secure channel");
                node.forget_channel(self);
                Ok(Taken::Nothing)
            }
        }
    }

    /// Takes a peer as it presented itself anew.
    async fn refreshed(&self, node: &Node, peer: Peer) -> Result<()> {
        if let Some(opened) = &self.opened {
            opened.opened(&peer).await?;
        }
        tracing::debug!(peer = %peer.identifier(), "a peer presented new credentials");
        self.link.set_peer(peer);
        node.weigh_channel(self);
        Ok(())
    }

    /// The responder follows its peer over new connections: the way back of a record that is newer than what told the way
    /// before, in front of the peer's own address. Counter 0 tells nothing.
    fn follow(&self, counter: Option<u64>, mut back: Route, told_by: Origin) {
        let mut way = locked(&self.way);
        let Some(counter) = counter.filter(|counter| *counter > way.counter) else { return };
        if back.room() > MAX_WAY {
            return;
        }
        way.counter = counter;
        let Some(last) = way.route.0.last().cloned() else { return };
        if self.role == Role::Responder {
            back.0.push(last);
            way.route = back;
            way.told_by = told_by;
        }
    }
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, "the secure channel is closed").with_hint("open another one")
}

fn unsealed(error: RecordError) -> Error {
    match error {
        RecordError::TooLong => Error::new(Kind::Invalid, error.to_string()),
        RecordError::Exhausted => Error::new(Kind::Unavailable, error.to_string()),
        _ => Error::new(Kind::Backend, error.to_string()).with_source(error),
    }
}

fn refused(error: RecordError) -> Error {
    Error::new(Kind::Rejected, error.to_string())
}

struct Encryptor(Arc<Open>);

impl Worker for Encryptor {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            message.take_next();
            let sent = Sent { deliveries: message.deliveries, for_others: !message.origin().is_local() };
            let Message { onward_route, return_route, payload, .. } = message;
            let said = Said::Payload(Payload { onward_route, return_route, payload: &payload });
            // Without an outer way back: the peer would follow it.
            self.0.send(node, said, Route::default(), sent).await
        })
    }
}

struct Decryptor(Arc<Open>);

impl Worker for Decryptor {
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            match self.0.open(node, message)? {
                Taken::Message(said) => node.send(said).await,
                Taken::Refreshed(peer) => self.0.refreshed(node, *peer).await,
                Taken::Nothing => Ok(()),
            }
        })
    }
}
