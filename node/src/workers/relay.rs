//! Relays: an address at one node that leads to another, which had asked for it. A node behind a firewall is reached that way.
//!
//! ```text
//! registering    to `static_forwarding_service`, the name as a text; or to `forwarding_service`, the text `register`,
//!                for a name that is made up
//! its answer     the relay's whole address as a text, from the relay
//! after that     what is sent to the relay goes the way back that the registration came, and on from there
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use channel::{Address, Route};
use identity::Identifier;
use tokio::sync::mpsc;

use super::{decode_text, encode_text};
use crate::admission::Admission;
use crate::channels::MAX_WAY;
use crate::error::{Error, Kind, Result};
use crate::message::Message;
use crate::node::{Node, Place, Rule};
use crate::worker::{Pending, Runs, Worker};

/// What the address of a relay begins with, before its name.
pub const RELAY_PREFIX: &str = "forward_to_";
/// What is sent in place of a name by who wants any.
const ANY_NAME: &str = "register";
/// The most bytes of a name.
const MAX_NAME: usize = 256;
/// The most relays that one connection or channel registers.
const MAX_RELAYS: usize = 64;

/// Whether who sent a message may have a relay of this name.
pub type RelayRule = Arc<dyn Fn(&Message, &str) -> bool + Send + Sync>;

/// Registers relays.
pub struct RelayService {
    relays: Admission,
    rule: RelayRule,
    registered: Mutex<HashMap<Address, Owner>>,
}

/// Who registered a relay.
struct Owner {
    link: u64,
    /// Who is at the other end of the channel that it came through.
    peer: Option<Identifier>,
}

impl RelayService {
    /// A service whose relays admit these, for names that the rule allows.
    #[must_use]
    pub fn new(relays: Admission, rule: RelayRule) -> Self {
        Self { relays, rule, registered: Mutex::default() }
    }
}

impl fmt::Debug for RelayService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayService").field("relays", &self.relays).finish_non_exhaustive()
    }
}

impl Worker for RelayService {
    fn receive<'a>(&'a self, node: &'a Node, message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            let invalid = |why: &'static str| Error::new(Kind::Invalid, why);
            let asked =
                decode_text(&message.payload).ok_or_else(|| invalid("the name of the relay is no text"))?;
            let name = match asked {
                ANY_NAME => String::from_utf8_lossy(Node::random_address()?.value()).into_owned(),
                name if name.is_empty() || name.len() > MAX_NAME => {
                    return Err(invalid("that is no name of a relay"));
                }
                name => name.to_owned(),
            };
            if !(self.rule)(&message, &name) {
                return Err(Error::new(
                    Kind::Denied,
                    format!("`{}` may not have the relay `{name}`", message.origin()),
                ));
            }
            if message.return_route.room() > MAX_WAY {
                return Err(invalid("the way back is longer than any that is kept"));
            }
            let address = Address::local(format!("{RELAY_PREFIX}{name}"));
            let of = message.origin().link().map(crate::link::Link::number);
            let peer = message.peer().map(|peer| peer.identifier());
            self.register(node, Owner { link: of.unwrap_or_default(), peer }, &address)?;
            let mut way = message.return_route.clone();
            way.0.pop();
            let relay = Relay { way };
            let place = Place { rule: Rule::Admission(self.relays.clone()), kind: "relay", of };
            node.replace(&address, Box::new(relay), place);
            let told = encode_text(&String::from_utf8_lossy(address.value()));
            let mut answer = message.answer(told);
            answer.return_route = Route(vec![address]);
            node.send(answer).await
        })
    }
}

impl RelayService {
    /// One's own relay may be registered anew, over a new channel too; what is no relay is not replaced, and nobody takes over that
    /// of another whose connection or channel is there.
    fn register(&self, node: &Node, owner: Owner, address: &Address) -> Result<()> {
        if node.kind_at(address).is_some_and(|kind| kind != "relay") {
            return Err(Error::new(Kind::AlreadyExists, format!("there is a worker at `{address}`")));
        }
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.retain(|relay, _| node.has(relay));
        let before = node.has(address).then(|| node.owner_at(address).unwrap_or_default());
        let is_own = before.is_none_or(|link| {
            let peer = registered.get(address).and_then(|before| before.peer);
            link == owner.link || (peer.is_some() && peer == owner.peer)
        });
        if !is_own {
            return Err(Error::new(Kind::Denied, format!("`{address}` is the relay of another")));
        }
        let others = registered.iter().filter(|(relay, other)| other.link == owner.link && *relay != address);
        if others.count() >= MAX_RELAYS {
            return Err(Error::new(Kind::Exhausted, "it has too many relays"));
        }
        registered.insert(address.clone(), owner);
        Ok(())
    }
}

/// The address that leads to who registered it.
struct Relay {
    /// The way to the node that registered it, without the worker there.
    way: Route,
}

impl Worker for Relay {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            message.take_next();
            message.onward_route = Route([&self.way.0[..], &message.onward_route.0].concat());
            if let Some(next) = message.to() {
                node.join(message.origin(), next);
            }
            node.send(message.passed_on()).await
        })
    }
}

/// A relay that this node has at another.
#[derive(Clone, Debug)]
pub struct RelayInfo {
    /// The address at the other node: what is sent there comes here.
    pub remote: Address,
    /// The way to the other node.
    pub route: Route,
    /// The worker here that the other node sends to.
    pub worker: Address,
}

impl Node {
    /// Registers a relay of this name at the node that a route leads to.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when no answer comes: also when the other node does not want it.
    pub async fn create_relay(&self, to: Route, name: &str, wait: Duration) -> Result<RelayInfo> {
        let mut registering = Message::new(
            Route([&to.0[..], &[Address::local("static_forwarding_service")]].concat()),
            Route::default(),
            encode_text(name),
        );
        if registering.to().is_some_and(|next| next.transport() == crate::tcp::TCP) {
            self.dial_for(&mut registering).await?;
        }
        let worker = Node::random_address()?;
        let (answers, mut answered) = mpsc::channel(1);
        let through = registering.to().and_then(|next| self.link_at(next));
        let place = Place { rule: Rule::Through(through), kind: "relay", of: None };
        self.place(worker.clone(), Box::new(Registered(answers)), Runs::Inline, place)?;
        registering.return_route = Route(vec![worker.clone()]);
        let asked = async {
            self.send(registering).await?;
            let answer =
                tokio::time::timeout(wait, answered.recv()).await.ok().flatten().ok_or_else(|| {
                    Error::new(
                        Kind::Unavailable,
                        format!("the relay `{name}` was not confirmed within {wait:?}"),
                    )
                    .with_hint(
                        "see whether the other node has a relay service and lets this one have that name",
                    )
                })?;
            let confirmed = decode_text(&answer.payload).is_some_and(|told| told.ends_with(name));
            let remote = answer.return_route.0.last().cloned().filter(|_| confirmed);
            remote.ok_or_else(|| Error::new(Kind::Rejected, "what came in answer confirms no relay"))
        };
        match asked.await {
            Ok(remote) => Ok(RelayInfo { remote, route: to, worker }),
            Err(error) => {
                self.remove(&worker);
                Err(error)
            }
        }
    }

    /// Gives a relay up. The other node keeps its address until the connection or channel that it was registered through ends,
    /// and until then brings here what is sent there: who wants none of it any more ends that, too.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn stop_relay(&self, relay: &RelayInfo) -> Result<()> {
        self.stop_worker(&relay.worker)
    }
}

/// Where a relay sends to: takes the first answer, and passes on what has a way on.
struct Registered(mpsc::Sender<Message>);

impl Worker for Registered {
    fn receive<'a>(&'a self, node: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            message.take_next();
            if message.onward_route.0.is_empty() {
                // Only the first is waited for.
                let _ = self.0.try_send(message);
                return Ok(());
            }
            node.send(message).await
        })
    }
}
