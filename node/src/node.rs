//! The node: workers at addresses, and messages on their way between them.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use channel::{Address, LOCAL, Route};
use identity::{Clock, SystemClock, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::channels::Channels;
use crate::error::{Error, Kind, Result};
use crate::link::Link;
use crate::message::{MAX_DELIVERIES, Message, Origin};
use crate::tcp::{self, Tcp};
use crate::worker::{Pending, Runs, Worker, WorkerInfo};

/// How long who delivers to a worker that is busy waits for it, when the message came from elsewhere.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// How often what has run out is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long the end of a node waits for what was written last.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// How many connections a listener has by default.
const CONNECTIONS: usize = 4096;
/// What open channels take by default.
const CHANNEL_BYTES: usize = 256 * 1024 * 1024;
/// Random bytes in an address that nobody guesses.
const RANDOM_ADDRESS: usize = 16;

/// Which TCP addresses a message that came from elsewhere may name as its next hop.
///
/// The next node is dialled by the node that has the message, so that each node of a route needs to reach only the next one.
/// A node that dialled for everybody would let strangers into its network: by default it dials for nobody.
pub trait Forwarding: Send + Sync {
    /// Whether this address, as `host:port`, may be dialled for others.
    fn may_dial(&self, to: &str) -> bool;
}

/// Dials for nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForwarding;

impl Forwarding for NoForwarding {
    fn may_dial(&self, _: &str) -> bool {
        false
    }
}

/// What a node is made with.
pub struct NodeOptions {
    /// The clock that credentials are judged by.
    pub clock: Arc<dyn Clock>,
    /// Which addresses it dials for others.
    pub forwarding: Arc<dyn Forwarding>,
    /// How many TCP connections a listener has at once: 4,096 by default. For whoever comes then, one makes room that has said
    /// nothing yet, of the machine that has the most, the oldest.
    pub connections: usize,
    /// The most memory that open channels take, about: that of 25,000 by default whose peers show one credential. A further
    /// one takes the place of the oldest of the machine that has the most of them.
    pub channel_bytes: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            forwarding: Arc::new(NoForwarding),
            connections: CONNECTIONS,
            channel_bytes: CHANNEL_BYTES,
        }
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// A node. Its clones are the same node.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    clock: Arc<dyn Clock>,
    pub(crate) forwarding: Arc<dyn Forwarding>,
    table: RwLock<HashMap<Address, Arc<Entry>>>,
    pub(crate) tcp: Tcp,
    pub(crate) channels: Channels,
    pub(crate) connections: usize,
    pub(crate) channel_bytes: usize,
    stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

struct Entry {
    worker: Box<dyn Worker>,
    rule: Rule,
    runs: Option<Arc<Semaphore>>,
    kind: &'static str,
    /// The link without which it has no purpose.
    of: Option<u64>,
}

/// Who may send to an address.
pub(crate) enum Rule {
    /// Who is admitted.
    Admission(Admission),
    /// Whoever may send through a link; without one, anybody who knows the address.
    Through(Option<Arc<dyn AsRef<Link> + Send + Sync>>),
}

/// What is at an address beside the worker.
pub(crate) struct Place {
    pub(crate) rule: Rule,
    pub(crate) kind: &'static str,
    pub(crate) of: Option<u64>,
}

impl Node {
    /// A node without workers, in the runtime that this is called in.
    #[must_use]
    pub fn new(options: NodeOptions) -> Self {
        let node = Self(Arc::new(Inner {
            clock: options.clock,
            forwarding: options.forwarding,
            table: RwLock::default(),
            tcp: Tcp::default(),
            channels: Channels::default(),
            connections: options.connections.max(1),
            channel_bytes: options.channel_bytes,
            stopping: watch::Sender::new(false),
            tasks: Mutex::default(),
        }));
        node.spawn(housekeeping(Arc::downgrade(&node.0)));
        node
    }

    /// Puts a worker at an address.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an address of a transport, [`Kind::AlreadyExists`] when it is taken.
    pub fn start_worker(
        &self,
        address: Address,
        worker: impl Worker,
        admission: Admission,
        runs: Runs,
    ) -> Result<()> {
        self.place(
            address,
            Box::new(worker),
            runs,
            Place { rule: Rule::Admission(admission), kind: "service", of: None },
        )
    }

    /// Takes a worker away.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn stop_worker(&self, address: &Address) -> Result<()> {
        self.write(|table| table.remove(address)).map(drop).ok_or_else(|| nobody_at(address))
    }

    /// The workers, ordered by address; those for a single answer are not listed.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let mut workers: Vec<_> = self.read(|table| {
            let listed = table.iter().filter(|(_, entry)| entry.kind != "mailbox");
            listed.map(|(address, entry)| WorkerInfo { address: address.clone(), kind: entry.kind }).collect()
        });
        workers.sort_by(|a, b| a.address.cmp(&b.address));
        workers
    }

    /// Sends a message to the first address of its onward route.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when nobody is there, [`Kind::Denied`] when who sent it is not admitted, [`Kind::Invalid`] for a
    /// route that goes nowhere or in circles, or what the worker met.
    pub fn send(&self, mut message: Message) -> Pending<'_, ()> {
        Box::pin(async move {
            message.deliveries += 1;
            if message.deliveries > MAX_DELIVERIES {
                return Err(Error::new(Kind::Invalid, "the route goes round in circles"));
            }
            if message.to().is_some_and(|next| next.transport() == tcp::TCP) {
                self.dial_for(&mut message).await?;
            }
            let next = message.to().ok_or_else(|| Error::new(Kind::Invalid, "the route is empty"))?;
            let entry = self.read(|table| table.get(next).cloned()).ok_or_else(|| nobody_at(next))?;
            if !entry.admits(next, &message, self.now()) {
                return Err(Error::new(
                    Kind::Denied,
                    format!("`{next}` takes nothing of {}", message.origin()),
                ));
            }
            let Some(places) = &entry.runs else { return entry.worker.receive(self, message).await };
            let places = Arc::clone(places).acquire_owned();
            let place = if message.origin().is_local() {
                places.await.ok()
            } else {
                tokio::time::timeout(BUSY_WAIT, places).await.ok().and_then(|place| place.ok())
            };
            let Some(place) = place else {
                return Err(Error::new(Kind::Exhausted, format!("`{next}` has too much to do")));
            };
            let node = self.clone();
            let worker = Arc::clone(&entry);
            self.spawn(async move {
                let (to, origin) = (message.to().cloned(), message.origin().clone());
                if let Err(error) = worker.worker.receive(&node, message).await {
                    tracing::debug!(?to, %origin, %error, "a message was not taken");
                }
                drop(place);
            });
            Ok(())
        })
    }

    /// As [`send`](Self::send), for what came from elsewhere: who sent it is told nothing, and the log has it.
    pub(crate) async fn send_quietly(&self, message: Message) {
        let (to, origin) = (message.to().cloned(), message.origin().clone());
        if let Err(error) = self.send(message).await {
            tracing::debug!(?to, %origin, %error, "a message was not delivered");
        }
    }

    /// Sends bytes along a route and waits for one answer.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when none comes in time; else as [`send`](Self::send).
    pub async fn ask(&self, route: Route, payload: Vec<u8>, wait: Duration) -> Result<Message> {
        let mut message = Message::new(route, Route::default(), payload);
        if message.to().is_some_and(|next| next.transport() == tcp::TCP) {
            self.dial_for(&mut message).await?;
        }
        let through = message.to().and_then(|next| self.link_at(next));
        let mut mailbox = self.mailbox(through)?;
        message.return_route = [mailbox.address.clone()].into_iter().collect();
        self.send(message).await?;
        mailbox.next(wait).await
    }

    /// Ends: peers of channels are told, listeners and connections are closed, and what was under way is dropped.
    pub async fn stop(&self) {
        self.close_channels(FLUSH_WAIT).await;
        // What was written last is on its way before connections end.
        self.tcp_flushed(FLUSH_WAIT).await;
        self.0.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        self.write(HashMap::clear);
    }

    /// An address that nobody guesses.
    pub(crate) fn random_address() -> Result<Address> {
        let mut bytes = [0; RANDOM_ADDRESS];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::new(Kind::Backend, "the system has no randomness").with_source(e))?;
        Ok(Address::local(hex::encode(bytes)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Ends when the node does.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.0.stopping.subscribe();
        async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Runs a task of the node's, which ends with it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.0.stopping.borrow() {
            return;
        }
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(crate) fn place(
        &self,
        address: Address,
        worker: Box<dyn Worker>,
        runs: Runs,
        place: Place,
    ) -> Result<()> {
        if address.transport() != LOCAL || address.value().is_empty() {
            return Err(Error::new(Kind::Invalid, format!("`{address}` is no address of a worker")));
        }
        let entry = Arc::new(Entry {
            worker,
            rule: place.rule,
            runs: match runs {
                Runs::Inline => None,
                Runs::Spawned(places) => Some(Arc::new(Semaphore::new(places.max(1)))),
            },
            kind: place.kind,
            of: place.of,
        });
        self.write(|table| match table.entry(address) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
            std::collections::hash_map::Entry::Occupied(taken) => Err(Error::new(
                Kind::AlreadyExists,
                format!("there already is a worker at `{}`", taken.key()),
            )
            .with_hint("stop it first, or choose another address")),
        })
    }

    /// As [`place`](Self::place), in place of what is there.
    pub(crate) fn replace(&self, address: &Address, worker: Box<dyn Worker>, place: Place) {
        let entry = Arc::new(Entry { worker, rule: place.rule, runs: None, kind: place.kind, of: place.of });
        self.write(|table| table.insert(address.clone(), entry));
    }

    pub(crate) fn remove(&self, address: &Address) {
        self.write(|table| table.remove(address));
    }

    /// What a link left behind when it ended.
    pub(crate) fn remove_of(&self, link: u64) {
        self.write(|table| table.retain(|_, entry| entry.of != Some(link)));
    }

    /// Whether anybody is at an address.
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.read(|table| table.contains_key(address))
    }

    /// What kind of worker is at an address.
    pub(crate) fn kind_at(&self, address: &Address) -> Option<&'static str> {
        self.read(|table| table.get(address).map(|entry| entry.kind))
    }

    /// The link without which what is at an address has no purpose.
    pub(crate) fn owner_at(&self, address: &Address) -> Option<u64> {
        self.read(|table| table.get(address).and_then(|entry| entry.of))
    }

    /// The link that is at an address.
    pub(crate) fn link_at(&self, address: &Address) -> Option<Arc<dyn AsRef<Link> + Send + Sync>> {
        let entry = self.read(|table| table.get(address).cloned())?;
        match (&entry.rule, entry.kind) {
            (Rule::Through(Some(link)), "tcp" | "channel") => Some(Arc::clone(link)),
            _ => None,
        }
    }

    /// Lets the link that a message came through and the link at an address send through each other.
    pub(crate) fn join(&self, origin: &Origin, address: &Address) {
        if let (Some(one), Some(other)) = (origin.link(), self.link_at(address)) {
            one.join((*other).as_ref());
        }
    }

    /// A mailbox for answers, which end it when it is dropped. Takes what comes through a link, or else from anybody who was
    /// told of it.
    pub(crate) fn mailbox(&self, through: Option<Arc<dyn AsRef<Link> + Send + Sync>>) -> Result<Mailbox> {
        let address = Self::random_address()?;
        let (sender, receiver) = mpsc::channel(MAILBOX);
        let place = Place { rule: Rule::Through(through), kind: "mailbox", of: None };
        self.place(address.clone(), Box::new(Slot(sender)), Runs::Inline, place)?;
        Ok(Mailbox { node: self.clone(), address, receiver, kept: false })
    }

    fn read<T>(&self, read: impl FnOnce(&HashMap<Address, Arc<Entry>>) -> T) -> T {
        read(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut HashMap<Address, Arc<Entry>>) -> T) -> T {
        write(&mut self.0.table.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("workers", &self.read(HashMap::len)).finish_non_exhaustive()
    }
}

impl Entry {
    fn admits(&self, to: &Address, message: &Message, now: Timestamp) -> bool {
        match &self.rule {
            Rule::Admission(admission) => admission.admits(to, message.origin(), now),
            Rule::Through(None) => true,
            Rule::Through(Some(link)) => (**link).as_ref().admits(message),
        }
    }
}

pub(crate) fn nobody_at(address: &Address) -> Error {
    Error::new(Kind::NotFound, format!("there is no worker at `{address}`"))
        .with_hint("`worker list` shows those of a node")
}

async fn housekeeping(node: Weak<Inner>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(inner) = node.upgrade() else { return };
        Node(inner).sweep_channels();
    }
}

/// The most answers that wait in a mailbox; further ones are dropped.
const MAILBOX: usize = 16;

/// An address for answers.
pub(crate) struct Mailbox {
    node: Node,
    pub(crate) address: Address,
    receiver: mpsc::Receiver<Message>,
    kept: bool,
}

impl Mailbox {
    /// The next message.
    pub(crate) async fn next(&mut self, wait: Duration) -> Result<Message> {
        match tokio::time::timeout(wait, self.receiver.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Error::new(Kind::Unavailable, "the node ended before an answer came")),
            Err(_) => Err(Error::new(Kind::Unavailable, "no answer came in time").with_hint(
                "the route leads nowhere, or who is there may not be reached or does not answer: their log tells which",
            )),
        }
    }
}

impl Mailbox {
    /// Leaves the address to who takes its place.
    pub(crate) fn keep(mut self) -> Address {
        self.kept = true;
        self.address.clone()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if !self.kept {
            self.node.remove(&self.address);
        }
    }
}

struct Slot(mpsc::Sender<Message>);

impl Worker for Slot {
    fn receive<'a>(&'a self, _: &'a Node, message: Message) -> Pending<'a, ()> {
        let kept = self.0.try_send(message).is_ok();
        Box::pin(async move {
            if kept { Ok(()) } else { Err(Error::new(Kind::Exhausted, "the mailbox is full")) }
        })
    }
}
