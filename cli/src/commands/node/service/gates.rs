//! Who gets through a node: to its services, to other nodes, and to a relay of a name.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use home::Home;
use identity::{Clock as _, Identifier, SystemClock, Timestamp};
use node::{Address, Forwarding, Gate, Message, Origin};

/// The attribute that says which relays its holder may have.
const RELAY_ATTRIBUTE: &str = "ockam-relay";
/// Any relay.
const ANY: &str = "*";

/// Who is at the other end of channels through which this node has registered relays.
#[derive(Default)]
pub(super) struct RelayPeers(RwLock<HashSet<Identifier>>);

impl RelayPeers {
    /// These, and no others any more.
    pub(super) fn set(&self, peers: HashSet<Identifier>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    fn has(&self, peer: &Identifier) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }
}

/// Lets peers of channels through that this node took, and not those of channels that it opened itself: to whom it speaks has
/// not come to use its services, unless it is there to bring others who have. Then another gate decides, if there is one.
pub(super) struct Taken {
    pub(super) relays: Arc<RelayPeers>,
    pub(super) then: Option<Arc<dyn Gate>>,
}

impl Gate for Taken {
    fn admits(&self, to: &Address, origin: &Origin, now: Timestamp) -> bool {
        let came = match origin {
            Origin::Channel(link) => link.listener().is_some() || self.relays.has(&link.peer().identifier()),
            Origin::Local | Origin::Tcp(_) => true,
        };
        came && self.then.as_ref().is_none_or(|gate| gate.admits(to, origin, now))
    }
}

/// For how long it is believed that a server runs that was seen to: each message that passes a node asks.
const SEEN: Duration = Duration::from_secs(1);
/// How soon it is looked again for one that was not seen: one may have been started since.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Dials for others where servers of the same home listen, and nowhere else.
pub(super) struct HomeForwarding {
    home: Home,
    /// Where they listened when it was last looked.
    seen: Mutex<Option<(Instant, HashSet<SocketAddr>)>>,
}

impl HomeForwarding {
    pub(super) fn new(home: Home) -> Self {
        Self { home, seen: Mutex::default() }
    }

    fn look(&self) -> HashSet<SocketAddr> {
        let servers = self.home.servers().unwrap_or_default().into_iter().filter(|(.., running)| *running);
        let listens = |address: &str| Some(reached_at(address.parse().ok()?));
        servers.filter_map(|(_, record, _)| listens(record.tcp_address.as_deref()?)).collect()
    }
}

impl Forwarding for HomeForwarding {
    fn may_dial(&self, to: &str) -> bool {
        let Ok(to) = to.parse::<SocketAddr>() else { return false };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, listening)) = &*seen {
            let is_there = listening.contains(&to);
            if when.elapsed() < if is_there { SEEN } else { LOOK_AGAIN } {
                return is_there;
            }
        }
        let listening = self.look();
        let is_there = listening.contains(&to);
        *seen = Some((Instant::now(), listening));
        is_there
    }
}

/// Where a listener is reached from the same machine.
fn reached_at(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// Whether who sent a message may have a relay of this name: anybody at a node that knows no authority, else those whom it
/// gave the name.
pub(super) fn may_relay(issuers: &[Identifier], message: &Message, name: &str) -> bool {
    if issuers.is_empty() {
        return true;
    }
    let now = SystemClock.now();
    let allowed = message.peer().is_some_and(|peer| {
        peer.credentials(now).any(|credential| {
            let attributes = credential.attributes();
            attributes.text().any(|(key, value)| key == RELAY_ATTRIBUTE && (value == name || value == ANY))
        })
    });
    if !allowed {
        tracing::info!(origin = %message.origin(), name, "denied: no credential gives that relay");
    }
    allowed
}

#[cfg(test)]
mod tests {
    use home::{Name, ServerRecord};

    use super::*;

    #[test]
    fn a_node_dials_for_others_where_a_server_of_the_home_runs() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path().join("home")).unwrap();
        let forwarding = HomeForwarding::new(home.clone());
        assert!(!forwarding.may_dial("127.0.0.1:4000"));
        let name = Name::new("n1").unwrap();
        let record: ServerRecord = serde_json::from_str(
            r#"{"kind":"node","pid":1,"identity":"a","tcp_address":"0.0.0.0:4000","node":{"listen":""}}"#,
        )
        .unwrap();
        home.put_server(&home.write().unwrap(), &name, &record).unwrap();
        // It does not run: somebody else may have its port.
        std::thread::sleep(LOOK_AGAIN);
        assert!(!forwarding.may_dial("127.0.0.1:4000"));
        let lock = home.lock_server(&name).unwrap();
        std::thread::sleep(LOOK_AGAIN);
        assert!(forwarding.may_dial("127.0.0.1:4000"));
        for other in ["127.0.0.1:4001", "10.0.0.1:4000", "localhost:4000", "127.0.0.1", ""] {
            assert!(!forwarding.may_dial(other), "{other}");
        }
        // One that has ended is missed a second later at most.
        drop(lock);
        std::thread::sleep(SEEN);
        assert!(!forwarding.may_dial("127.0.0.1:4000"));
    }
}
