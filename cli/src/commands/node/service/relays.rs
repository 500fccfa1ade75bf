//! Relays that the node has at others: registered, looked after, given up. What led to one may end, when the other node is
//! started again or the line is cut: then it is registered anew.

use super::asked::{checked, multiaddr};
use super::*;
use crate::exit::Kind;

/// How long registering anew may take.
const AGAIN_WAIT: Duration = Duration::from_secs(10);

/// A relay, and what it takes to register it anew.
#[derive(Clone)]
pub(super) struct KeptRelay {
    relay: RelayInfo,
    way: Resolved,
    to: String,
    party: PartyAsk,
    authorized: Vec<Identifier>,
}

impl Service {
    pub(super) async fn create_relay(
        &self,
        to: &str,
        name: &str,
        party: PartyAsk,
        authorized: Vec<Identifier>,
        wait: Duration,
    ) -> Result<Value> {
        checked(name)?;
        if self.kept().relays.contains_key(name) {
            return Err(Error::new(
                Kind::AlreadyExists,
                format!("there already is a relay `{}`", name.escape_debug()),
            )
            .with_hint("delete it first, or choose another name"));
        }
        let (relay, way) = self.register(to, name, &party, authorized.clone(), wait).await?;
        let made = KeptRelay { relay, way, to: to.to_owned(), party, authorized };
        let json = self.relay_json(name, &made);
        self.kept().relays.insert(name.to_owned(), made);
        self.know_relay_peers();
        Ok(json)
    }

    /// Whoever brings others to this node, by a relay that it has there, is let in with them.
    fn know_relay_peers(&self) {
        let ways: Vec<_> = self.kept().relays.values().flat_map(|kept| kept.way.route.0.clone()).collect();
        let channels = self.node.channels().into_iter();
        let through = channels.filter(|channel| ways.contains(&channel.address));
        self.relay_peers.set(through.map(|channel| channel.peer).collect());
    }

    async fn register(
        &self,
        to: &str,
        name: &str,
        party: &PartyAsk,
        authorized: Vec<Identifier>,
        wait: Duration,
    ) -> Result<(RelayInfo, Resolved)> {
        let to: MultiAddr = to.parse()?;
        let options = self.options(party, authorized, true)?;
        let way = self.node.resolve(&to, Some(&options), wait).await?;
        match self.node.create_relay(way.route.clone(), name, wait).await {
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
        let Some(KeptRelay { relay, way, .. }) = found else {
            return Err(Error::new(Kind::NotFound, format!("there is no relay `{}`", name.escape_debug())));
        };
        self.node.stop_relay(&relay)?;
        self.node.release(&way).await;
        self.know_relay_peers();
        Ok(json!({ "name": name }))
    }

    /// Whether what was made for a relay is still there.
    fn is_up(&self, kept: &KeptRelay) -> bool {
        let connections = self.node.tcp_connections();
        let channels = self.node.channels();
        kept.way.connections.iter().all(|one| connections.iter().any(|there| there.address == *one))
            && kept.way.channels.iter().all(|one| channels.iter().any(|there| there.address == *one))
    }

    /// Registers relays anew whose way has ended.
    pub(in crate::commands::node) async fn keep_relays(&self) {
        let all = self.kept().relays.clone();
        for (name, kept) in all {
            if self.is_up(&kept) {
                continue;
            }
            let again =
                self.register(&kept.to, &name, &kept.party, kept.authorized.clone(), AGAIN_WAIT).await;
            let (relay, way) = match again {
                Ok(made) => made,
                Err(error) => {
                    tracing::debug!(name, %error, "a relay cannot be registered anew yet");
                    continue;
                }
            };
            let _ = self.node.stop_relay(&kept.relay);
            self.node.release(&kept.way).await;
            let made = KeptRelay { relay, way, ..kept };
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
            if let Some(KeptRelay { relay, way, .. }) = given_up {
                let _ = self.node.stop_relay(&relay);
                self.node.release(&way).await;
            } else {
                self.know_relay_peers();
                tracing::info!(name, "a relay is registered anew");
            }
        }
    }

    fn relay_json(&self, name: &str, kept: &KeptRelay) -> Value {
        json!({
            "name": name,
            "destination_address": kept.to,
            "remote_address": multiaddr(&kept.relay.remote),
            "worker_address": multiaddr(&kept.relay.worker),
            "connection_status": if self.is_up(kept) { "Up" } else { "Down" },
        })
    }
}
