//! What a node does for who asks it: behind the control socket of one that runs, or in a command that is a node for as long
//! as it lives.

mod asked;
mod gates;
mod relays;
mod way;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use channel::Renewed;
use home::control::{NodeAsk, PartyAsk, PolicyFor};
use home::{Home, Name, NodeRecord, Vaults};
use identity::{Clock as _, Credential, Identifier, SystemClock};
use node::multiaddr::{MultiAddr, Part};
use node::workers::{Echo, Hop, RelayInfo, RelayService, Uppercase};
use node::{Address, Admission, ChannelOptions, Node, NodeOptions, Policies, Resolved, Resource, Runs};
use policy_lang::Policy;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::party::{HomeParty, HomeTrust, Remembers, identifiers};
use super::plan;
use crate::commands::server::process;
use crate::error::{Error, Result};
use gates::{HomeForwarding, RelayPeers, Taken};
use relays::KeptRelay;

/// The policy of guarded resources of a node that knows an authority: whoever has a credential of it.
const DEFAULT_POLICY: &str = "(= subject.has_credential true)";
/// The listener of channels that every node has.
const API: &str = "api";
/// The services that every node has, and those that may be started, with the types that policies know them by.
const ECHO: (&str, &str) = ("echo", "echoer");
const RELAYS: [&str; 2] = ["forwarding_service", "static_forwarding_service"];
const RELAY_TYPE: &str = "relay";
/// How many descriptors are for something else than connections that come: the home, the control socket, nodes that are dialled.
const OWN_FILES: usize = 128;

/// A node, and what it knows of the home.
pub(super) struct Service {
    node: Node,
    home: Home,
    vaults: Arc<Vaults>,
    identity: Name,
    issuers: Vec<Identifier>,
    scope: Option<String>,
    policies: Policies,
    relay_peers: Arc<RelayPeers>,
    kept: Mutex<Kept>,
    /// A relay is there that is to be registered without anybody waiting for it.
    relay_wanted: Notify,
}

/// What was made by hand.
#[derive(Default)]
struct Kept {
    /// What was made on the way to a channel, and ends with it.
    ways: HashMap<Address, Resolved>,
    /// Channels that were opened as another identity, or with credentials that were given.
    as_others: HashSet<Address>,
    /// Relays at other nodes, by name.
    relays: BTreeMap<String, KeptRelay>,
    /// Services, by address, with their types.
    services: BTreeMap<String, &'static str>,
}

impl Service {
    /// A node without listeners. To be called where the runtime runs.
    pub(super) fn new(home: Home, vaults: Arc<Vaults>, identity: Name, record: &NodeRecord) -> Result<Self> {
        let issuers: Vec<_> = plan::issuer(&home, record)?.into_iter().collect();
        let policies = match issuers.is_empty() {
            true => Policies::default(),
            false => Policies::with_default(policy(DEFAULT_POLICY)?),
        };
        for (to, text) in &record.policies {
            match (resource(to), policy(text)) {
                (Some(resource), Ok(policy)) => policies.set(resource, policy),
                // What was meant to guard something is not left out.
                _ => {
                    return Err(Error::new(
                        crate::exit::Kind::Corrupt,
                        format!("the stored policy for `{to}` breaks its own rules"),
                    ));
                }
            }
        }
        let forwarding = Arc::new(HomeForwarding::new(home.clone()));
        let mut options = NodeOptions { forwarding, ..NodeOptions::default() };
        options.connections = options.connections.min(process::connections(OWN_FILES));
        let node = Node::new(options);
        let scope = record.credential_scope.clone();
        let relay_peers = Arc::default();
        Ok(Self {
            node,
            home,
            vaults,
            identity,
            issuers,
            scope,
            policies,
            relay_peers,
            kept: Mutex::default(),
            relay_wanted: Notify::new(),
        })
    }

    /// Starts what every node has.
    pub(super) fn start(&self) -> Result<()> {
        let (name, resource_type) = ECHO;
        self.serve(name, resource_type, Echo, self.guarded(name, resource_type))?;
        self.serve("uppercase", "uppercase", Uppercase, self.guarded_if_any("uppercase"))?;
        for name in RELAYS {
            let issuers = self.issuers.clone();
            let rule = Arc::new(move |message: &node::Message, name: &str| {
                gates::may_relay(&issuers, message, name)
            });
            let relays = RelayService::new(self.guarded_if_any("relayed"), rule);
            self.serve(name, RELAY_TYPE, relays, self.guarded(name, RELAY_TYPE))?;
        }
        let options = self.options(&PartyAsk::default(), Vec::new(), false)?;
        Ok(self.node.listen_channels(Address::local(API), options, self.admission(None))?)
    }

    /// Listens for other nodes; where.
    pub(super) async fn listen(&self, at: SocketAddr) -> Result<SocketAddr> {
        Ok(self.node.listen_tcp(at).await?.socket)
    }

    /// Ends the node: peers of its channels are told.
    pub(super) async fn stop(&self) {
        self.node.stop().await;
    }

    /// The policies, as a record keeps them.
    pub(super) fn policies_kept(&self) -> BTreeMap<String, String> {
        let named = |resource: &Resource| match resource {
            Resource::Name(name) => format!("resource:{name}"),
            Resource::Type(name) => format!("resource-type:{name}"),
        };
        self.policies.list().iter().map(|(to, policy)| (named(to), policy.as_str().to_owned())).collect()
    }

    /// The home.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// Presents the credentials of the node itself anew to the peers of the channels that it has as itself.
    pub(super) async fn present_anew(&self) {
        let party = self.party(self.identity.clone(), Vec::new());
        let renewed = self.home.identity(&self.identity).and_then(|record| {
            let credentials = party.credentials(&record, SystemClock.now())?;
            Ok(Renewed::new(&record.identity()?, &credentials)?)
        });
        let renewed = match renewed {
            Ok(renewed) => renewed,
            Err(error) => return tracing::warn!(%error, "the new credential cannot be presented"),
        };
        let (api, renewed) = (Address::local(API), Arc::new(renewed));
        let as_others = self.kept().as_others.clone();
        // At once: a peer that takes nothing does not keep the others waiting.
        let mut presenting = JoinSet::new();
        for channel in self.node.channels() {
            let as_itself = match &channel.listener {
                Some(listener) => *listener == api,
                None => !as_others.contains(&channel.address),
            };
            if !as_itself {
                continue;
            }
            let (node, renewed) = (self.node.clone(), Arc::clone(&renewed));
            presenting.spawn(async move {
                if let Err(error) = node.renew_channel(&channel.address, &renewed).await {
                    tracing::debug!(address = %channel.address, %error, "a channel does not take the new credential");
                }
            });
        }
        while presenting.join_next().await.is_some() {}
    }

    fn party(&self, identity: Name, given: Vec<Credential>) -> HomeParty {
        HomeParty {
            home: self.home.clone(),
            vaults: Arc::clone(&self.vaults),
            identity,
            issuers: self.issuers.clone(),
            scope: self.scope.clone(),
            given,
            shown: Mutex::default(),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(
        &self,
        address: &str,
        resource_type: &'static str,
        worker: impl node::Worker,
        admission: Admission,
    ) -> Result<()> {
        self.node.start_worker(Address::local(address), worker, admission, Runs::Inline)?;
        self.kept().services.insert(address.to_owned(), resource_type);
        Ok(())
    }

    fn guarded(&self, name: &str, resource_type: &str) -> Admission {
        self.admission(Some(self.policies.gate(name, resource_type)))
    }

    /// For what has no policy by default, and is guarded all the same when somebody sets one for its name. No policy can be
    /// set for these types.
    fn guarded_if_any(&self, resource_type: &str) -> Admission {
        self.admission(Some(self.policies.gate_if_any(resource_type)))
    }

    /// Who reaches the services of a node: who comes by TCP, and peers of the channels that it took, if the gate lets them.
    fn admission(&self, then: Option<Arc<dyn node::Gate>>) -> Admission {
        let relays = Arc::clone(&self.relay_peers);
        Admission::local().tcp().channels().gate(Arc::new(Taken { relays, then }))
    }

    /// Who the node is in channels, and whom it believes. `meant`: the peer is one that was named or looked for.
    fn options(&self, party: &PartyAsk, authorized: Vec<Identifier>, meant: bool) -> Result<ChannelOptions> {
        let meant = meant || !authorized.is_empty();
        let party = self.asked_party(party)?;
        let trust =
            HomeTrust { home: self.home.clone(), issuers: self.issuers.clone(), authorized, pinned: None };
        let mut options = ChannelOptions::new(Arc::new(party), Arc::new(trust));
        options.opened = Some(Arc::new(Remembers { home: self.home.clone(), strangers: meant }));
        Ok(options)
    }

    /// Who the node is in a channel when it is asked to be somebody.
    fn asked_party(&self, party: &PartyAsk) -> Result<HomeParty> {
        let identity = match &party.identity {
            Some(given) => {
                let name = crate::context::name("an identity", given)?;
                self.home.identity(&name)?.own_key()?;
                name
            }
            None => self.identity.clone(),
        };
        let given = party.credential.as_deref().map(Credential::from_hex).transpose()?;
        Ok(self.party(identity, given.into_iter().collect()))
    }
}

fn policy(text: &str) -> Result<Policy> {
    Policy::parse(text).map_err(|e| {
        Error::invalid(format!("the policy is refused: {e}"))
            .with_hint("`ockam-kms policy check` shows where")
    })
}

/// A resource from how a record keeps it.
fn resource(text: &str) -> Option<Resource> {
    match text.split_once(':')? {
        ("resource", name) => Some(Resource::Name(name.to_owned())),
        ("resource-type", name) => Some(Resource::Type(name.to_owned())),
        _ => None,
    }
}
