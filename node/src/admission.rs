//! Who may send to a worker. Nobody but the node itself, unless it is said.

use std::fmt;
use std::sync::Arc;

use channel::Address;
use identity::Timestamp;

use crate::message::Origin;

/// A decision on each message to a worker, beside where it came in.
pub trait Gate: Send + Sync {
    /// Whether a message of this origin may reach the worker at `to`. Never asked about the node's own messages.
    fn admits(&self, to: &Address, origin: &Origin, now: Timestamp) -> bool;
}

/// Who may send to a worker.
#[derive(Clone, Default)]
pub struct Admission {
    tcp: bool,
    channels: Channels,
    gate: Option<Arc<dyn Gate>>,
}

#[derive(Clone, Debug, Default)]
enum Channels {
    #[default]
    Nobody,
    Anybody,
    Of(Vec<Address>),
}

impl Admission {
    /// This node alone.
    #[must_use]
    pub fn local() -> Self {
        Self::default()
    }

    /// Everybody who has a TCP connection to this node, or to whom it has one: they are not known.
    #[must_use]
    pub fn tcp(self) -> Self {
        Self { tcp: true, ..self }
    }

    /// Peers of all secure channels.
    #[must_use]
    pub fn channels(self) -> Self {
        Self { channels: Channels::Anybody, ..self }
    }

    /// Peers of secure channels that this listener took. Adds to those that were named before.
    #[must_use]
    pub fn of_listener(self, listener: &Address) -> Self {
        let channels = match self.channels {
            Channels::Anybody => Channels::Anybody,
            Channels::Nobody => Channels::Of(vec![listener.clone()]),
            Channels::Of(mut listeners) => {
                listeners.push(listener.clone());
                Channels::Of(listeners)
            }
        };
        Self { channels, ..self }
    }

    /// And only if this agrees.
    #[must_use]
    pub fn gate(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    pub(crate) fn admits(&self, to: &Address, origin: &Origin, now: Timestamp) -> bool {
        let through = match origin {
            Origin::Local => return true,
            Origin::Tcp(_) => self.tcp,
            Origin::Channel(link) => match &self.channels {
                Channels::Nobody => false,
                Channels::Anybody => true,
                Channels::Of(listeners) => link.listener().is_some_and(|one| listeners.contains(one)),
            },
        };
        through && self.gate.as_ref().is_none_or(|gate| gate.admits(to, origin, now))
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("tcp", &self.tcp)
            .field("channels", &self.channels)
            .field("gate", &self.gate.is_some())
            .finish()
    }
}
