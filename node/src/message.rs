//! Messages inside a node, and where they came from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use channel::{Address, Peer, Route};

use crate::channels::ChannelLink;
use crate::link::Link;
use crate::source::Source;
use crate::tcp::TcpLink;

/// How often a message is delivered inside one node before it is dropped: routes that lead in circles end.
pub(crate) const MAX_DELIVERIES: u16 = 64;

/// Bytes on their way from worker to worker.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes: the address of the worker that has it, then the rest of the way.
    pub onward_route: Route,
    /// The way back to who sent it.
    pub return_route: Route,
    /// The bytes.
    pub payload: Vec<u8>,
    origin: Origin,
    passed_on: bool,
    pub(crate) deliveries: u16,
}

impl Message {
    /// A message of this node's own.
    #[must_use]
    pub fn new(onward_route: Route, return_route: Route, payload: Vec<u8>) -> Self {
        Self { onward_route, return_route, payload, origin: Origin::Local, passed_on: false, deliveries: 0 }
    }

    /// A message that somebody else sent.
    #[must_use]
    pub(crate) fn from(origin: Origin, onward_route: Route, return_route: Route, payload: Vec<u8>) -> Self {
        Self { origin, ..Self::new(onward_route, return_route, payload) }
    }

    /// Who brought it here. An answer has the origin of what it answers: nobody makes a node speak for itself.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who is at the other end of the channel that it came through, when it came through one.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<Peer>> {
        match &self.origin {
            Origin::Channel(link) => Some(link.peer()),
            _ => None,
        }
    }

    /// The worker that has it.
    #[must_use]
    pub fn to(&self) -> Option<&Address> {
        self.onward_route.0.first()
    }

    /// The answer of the worker that has it: on the way back, from the worker.
    #[must_use]
    pub fn answer(self, payload: Vec<u8>) -> Self {
        let return_route = self.onward_route.0.into_iter().take(1).collect();
        Self { onward_route: self.return_route, return_route, payload, passed_on: false, ..self }
    }

    /// The message as a worker passes it on that is there to do that: links of the node let it through, whoever sent it.
    #[must_use]
    pub fn passed_on(self) -> Self {
        Self { passed_on: true, ..self }
    }

    /// Takes the first address off the onward route.
    pub fn take_next(&mut self) -> Option<Address> {
        (!self.onward_route.0.is_empty()).then(|| self.onward_route.0.remove(0))
    }

    /// As one that was delivered as often as another before.
    pub(crate) fn after(self, deliveries: u16) -> Self {
        Self { deliveries, ..self }
    }

    pub(crate) fn is_passed_on(&self) -> bool {
        self.passed_on
    }
}

/// What lies there in bytes: what is around it is cut off, and nothing is allocated.
pub(crate) fn cut(mut bytes: Vec<u8>, start: usize, length: usize) -> Option<Vec<u8>> {
    bytes.truncate(start.checked_add(length)?);
    (start <= bytes.len()).then(|| {
        bytes.drain(..start);
        bytes
    })
}

/// Who brought a message to this node.
#[derive(Clone)]
pub enum Origin {
    /// This node itself.
    Local,
    /// Whoever is at the other end of a TCP connection: nobody knows who that is.
    Tcp(Arc<TcpLink>),
    /// The peer of a secure channel.
    Channel(Arc<ChannelLink>),
}

impl Origin {
    pub(crate) fn link(&self) -> Option<&Link> {
        match self {
            Self::Local => None,
            Self::Tcp(link) => Some(link.link()),
            Self::Channel(link) => Some(link.link()),
        }
    }

    /// The machine at the other end of the TCP connection that a message came over, be it within a channel.
    #[must_use]
    pub fn carried_from(&self) -> Option<SocketAddr> {
        match self {
            Self::Local => None,
            Self::Tcp(link) => Some(link.remote()),
            Self::Channel(link) => link.carried_from(),
        }
    }

    /// Whom it counts with when some are too many: the machine that it was carried from.
    pub(crate) fn source(&self) -> Option<Source> {
        self.carried_from().map(|from| from.ip().into())
    }

    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("this node"),
            Self::Tcp(link) => write!(f, "tcp {}", link.remote()),
            Self::Channel(link) => write!(f, "channel of {}", link.peer().identifier()),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
