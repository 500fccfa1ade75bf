//! Relays that the node has at others: registered, looked after, given up. What led to one may end, when the other node is
//! started again or the line is cut: then it is registered anew.

use home::RelayRecord;

use super::asked::{checked, multiaddr};
use super::*;
use crate::commands::node::UP;
use crate::commands::node::ask::nodes_looked_up;
use crate::exit::Kind;

/// How long registering anew may take.
const AGAIN_WAIT: Duration = Duration::from_secs(10);

/// A relay, and what it takes to register it.
#[derive(Clone)]
pub(super) struct KeptRelay {
    /// None until it is registered for the first time.
    made: Option<(RelayInfo, Resolved)>,
    to: String,
    /// What it is called at the other node, when that is not its name.
    address: Option<String>,
    party: PartyAsk,
    authorized: Vec<Identifier>,
}

impl KeptRelay {
    /// One that is not registered yet.
    pub(super) fn new(
        to: String,
        address: Option<String>,
        party: PartyAsk,
        authorized: Vec<Identifier>,
    ) -> Self {
        Self { made: None, to, address, party, authorized }
    }

    /// The relay under this name, when both that and what it is called at the other node can be an address.
    fn named(self, name: &str) -> Result<Self> {
        checked(name)?;
        self.address.as_deref().map(checked).transpose()?;
        Ok(self)
    }
}

impl Service {
    /// Registers a relay; without a time to wait, it is as with those that a node is made with.
    pub(super) async fn create_relay(
        &self,
        name: &str,
        relay: KeptRelay,
        wait: Option<Duration>,
    ) -> Result<Value> {
        let mut relay = relay.named(name)?;
        // A way that cannot be read is told now, and not to the log again and again.
        let _: MultiAddr = relay.to.parse()?;
        if self.has_relay(name) {
            return Err(Error::new(
                Kind::AlreadyExists,
                format!("there already is a relay `{}`", name.escape_debug()),
            )
            .with_hint("delete it first, or choose another name"));
        }
        if let Some(wait) = wait {
            relay.made = Some(self.register(name, &relay, wait).await?);
        }
        let json = self.relay_json(name, &relay);
        self.kept().relays.insert(name.to_owned(), relay);
        self.know_relay_peers();
        if wait.is_none() {
            self.relay_wanted.notify_one();
        }
        Ok(json)
    }

    /// Has relays registered as soon as their nodes take them.
    pub(in crate::commands::node) fn want_relays(
        &self,
        relays: &BTreeMap<String, RelayRecord>,
    ) -> Result<()> {
        for (name, relay) in relays {
            let authorized = identifiers(&relay.authorized)?;
            let (to, address) = (relay.at.clone(), relay.address.clone());
            let kept = KeptRelay::new(to, address, PartyAsk::default(), authorized).named(name)?;
            self.kept().relays.insert(name.clone(), kept);
        }
        Ok(())
    }

    /// Ends when there is a relay that waits to be registered, and was none before.
    pub(in crate::commands::node) async fn relay_wanted(&self) {
        self.relay_wanted.notified().await;
    }

    /// Whether there is a relay of this name, registered or not.
    pub(in crate::commands::node) fn has_relay(&self, name: &str) -> bool {
        self.kept().relays.contains_key(name)
    }

    /// Whoever brings others to this node, by a relay that it has there, is let in with them.
    fn know_relay_peers(&self) {
        let kept = self.kept().relays.clone();
        let ways: Vec<_> =
            kept.into_values().filter_map(|kept| kept.made).flat_map(|(_, way)| way.route.0).collect();
        let channels = self.node.channels().into_iter();
        let through = channels.filter(|channel| ways.contains(&channel.address));
        self.relay_peers.set(through.map(|channel| channel.peer).collect());
    }

    async fn register(&self, name: &str, relay: &KeptRelay, wait: Duration) -> Result<(RelayInfo, Resolved)> {
        let to = nodes_looked_up(&self.home, &relay.to.parse()?)?;
        let way = self.way(&to, &relay.party, relay.authorized.clone(), wait).await?;
        let address = relay.address.as_deref().unwrap_or(name);
        match self.node.create_relay(way.route.clone(), address, wait).await {
            Ok(relay) => Ok((relay, way)),
            Err(error) => {
                self.node.release(&way).await;
                Err(error.into())
            }
        }
    }

    pub(super) fn relays(&self) -> Value {
        let all = self.kept().relays.clone();
        all.iter().map(|(name, kept)| self.relay_json(name, kept)).collect()
    }

    pub(super) async fn delete_relay(&self, name: &str) -> Result<Value> {
        let found = self.kept().relays.remove(name);
        let Some(kept) = found else {
            return Err(Error::new(Kind::NotFound, format!("there is no relay `{}`", name.escape_debug())));
        };
        self.give_up(kept.made).await;
        self.know_relay_peers();
        Ok(json!({ "name": name }))
    }

    /// Whether what was made for a relay is still there.
    fn is_up(&self, kept: &KeptRelay) -> bool {
        let connections = self.node.tcp_connections();
        let channels = self.node.channels();
        kept.made.as_ref().is_some_and(|(_, way)| {
            way.connections.iter().all(|one| connections.iter().any(|there| there.address == *one))
                && way.channels.iter().all(|one| channels.iter().any(|there| there.address == *one))
        })
    }

    async fn give_up(&self, made: Option<(RelayInfo, Resolved)>) {
        if let Some((relay, way)) = made {
            let _ = self.node.stop_relay(&relay);
            self.node.release(&way).await;
        }
    }

    /// Registers relays whose way has ended, and those that are not registered yet.
    pub(in crate::commands::node) async fn keep_relays(&self) {
        let all = self.kept().relays.clone();
        for (name, kept) in all {
            if self.is_up(&kept) {
                continue;
            }
            let made = match self.register(&name, &kept, AGAIN_WAIT).await {
                Ok(made) => made,
                Err(error) => {
                    tracing::debug!(name, %error, "a relay cannot be registered yet");
                    continue;
                }
            };
            self.give_up(kept.made.clone()).await;
            let made = KeptRelay { made: Some(made), ..kept };
            let given_up = {
                let mut kept = self.kept();
                match kept.relays.get_mut(&name) {
                    Some(place) => {
                        *place = made;
                        None
                    }
                    None => Some(made),
                }
            };
            // It was deleted meanwhile.
            if let Some(given_up) = given_up {
                self.give_up(given_up.made).await;
            } else {
                self.know_relay_peers();
                tracing::info!(name, "a relay is registered");
            }
        }
    }

    fn relay_json(&self, name: &str, kept: &KeptRelay) -> Value {
        json!({
            "name": name,
            "destination_address": kept.to,
            "remote_address": kept.made.as_ref().map(|(relay, _)| multiaddr(&relay.remote)),
            "worker_address": kept.made.as_ref().map(|(relay, _)| multiaddr(&relay.worker)),
            "connection_status": if self.is_up(kept) { UP } else { "Down" },
        })
    }
}
