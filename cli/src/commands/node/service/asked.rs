//! What can be asked, one by one; what comes back is what a command prints as JSON.

use super::*;
use crate::commands::node::ask::bare;

impl Service {
    /// Does what was asked.
    pub(in crate::commands::node) async fn answer(&self, ask: NodeAsk) -> Result<Value> {
        let wait = Duration::from_millis;
        match ask {
            NodeAsk::OpenChannel { to, party, authorized, wait: within } => {
                self.open_channel(&to, &party, &authorized, wait(within)).await
            }
            NodeAsk::Channels => Ok(self.node.channels().iter().map(channel_json).collect()),
            NodeAsk::CloseChannel { address } => {
                let address = worker(&address);
                self.node.close_channel(&address).await?;
                let way = self.kept().ways.remove(&address);
                self.node.release(&way.unwrap_or_default()).await;
                Ok(json!({ "address": multiaddr(&address) }))
            }
            NodeAsk::ListenChannels { address, party, authorized } => {
                let authorized = identifiers(&authorized)?;
                let options = self.options(&party, authorized, false)?;
                // Asked once now: what is wrong with the keys is told to who asks, not to each peer.
                options.party.present().await?;
                let address = checked(&address)?;
                self.node.listen_channels(address.clone(), options, self.admission(None))?;
                Ok(json!({ "address": multiaddr(&address) }))
            }
            NodeAsk::ChannelListeners => {
                let listeners = self.node.channel_listeners();
                Ok(listeners.iter().map(|address| json!({ "address": multiaddr(address) })).collect())
            }
            NodeAsk::StopChannelListener { address } => {
                let address = worker(&address);
                self.node.stop_channel_listener(&address)?;
                Ok(json!({ "address": multiaddr(&address) }))
            }
            NodeAsk::Send { to, payload, party, wait: within } => {
                self.send(&to, &payload, &party, wait(within)).await
            }
            NodeAsk::Connect { to } => {
                let connection = self.node.connect_tcp(&to).await?;
                Ok(connection_json(&connection))
            }
            NodeAsk::Connections => Ok(self.node.tcp_connections().iter().map(connection_json).collect()),
            NodeAsk::Disconnect { address } => {
                let all = self.node.tcp_connections();
                let found = all.iter().find(|one| one.remote.to_string() == address);
                let found = found.map_or_else(|| worker(&address), |one| one.address.clone());
                self.node.stop_tcp_connection(&found)?;
                Ok(json!({ "address": multiaddr(&found) }))
            }
            NodeAsk::Listen { address } => {
                let on = address.parse().map_err(|_| {
                    Error::invalid(format!("`{}` is not an address and a port", address.escape_debug()))
                        .with_hint("as in 127.0.0.1:4000")
                })?;
                Ok(listener_json(&self.node.listen_tcp(on).await?))
            }
            NodeAsk::Listeners => Ok(self.node.tcp_listeners().iter().map(listener_json).collect()),
            NodeAsk::StopListener { address } => {
                let all = self.node.tcp_listeners();
                let found = all.iter().find(|one| one.socket.to_string() == address);
                let found = found.map_or_else(|| worker(&address), |one| one.address.clone());
                self.node.stop_tcp_listener(&found)?;
                Ok(json!({ "address": multiaddr(&found) }))
            }
            NodeAsk::StartService { service, address } => {
                if service != "hop" {
                    return Err(Error::invalid(format!("there is no service `{}`", service.escape_debug()))
                        .with_hint("`hop` is the one that can be started"));
                }
                checked(&address)?;
                self.serve(&address, "hop", Hop, self.guarded_if_any("hop"))?;
                Ok(json!({ "addr": address, "type": service }))
            }
            NodeAsk::Services => Ok(self.services()),
            NodeAsk::Workers => {
                let workers = self.node.workers();
                let json = |one: &node::WorkerInfo| json!({ "addr": text(&one.address), "type": one.kind });
                Ok(workers.iter().map(json).collect())
            }
            NodeAsk::CreateRelay { to, name, address, party, authorized, wait: within } => {
                let authorized = identifiers(&authorized)?;
                let relay = KeptRelay::new(to, address, party, authorized);
                self.create_relay(&name, relay, within.map(wait)).await
            }
            NodeAsk::Relays => Ok(self.relays()),
            NodeAsk::DeleteRelay { name } => self.delete_relay(&name).await,
            NodeAsk::SetPolicy { to, policy: text } => {
                let (resource, policy) = (named(&to), policy(&text)?);
                self.refuse_unguarded(&resource)?;
                self.policies.set(resource.clone(), policy.clone());
                Ok(policy_json(&resource, &policy))
            }
            NodeAsk::Policies => {
                let all = self.policies.list();
                Ok(all.iter().map(|(resource, policy)| policy_json(resource, policy)).collect())
            }
            NodeAsk::RemovePolicy { to } => {
                let resource = named(&to);
                if !self.policies.remove(&resource) {
                    return Err(Error::new(crate::exit::Kind::NotFound, "there is no such policy")
                        .with_hint("`ockam-kms policy list` shows those that there are"));
                }
                Ok(json!({}))
            }
        }
    }

    /// Whoever opens a channel has shown no credential yet: no policy can decide on that.
    fn refuse_unguarded(&self, resource: &Resource) -> Result<()> {
        let Resource::Name(name) = resource else { return Ok(()) };
        if !self.node.channel_listeners().contains(&Address::local(name.as_str())) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "`{name}` listens for secure channels, and no policy decides who opens one"
        ))
        .with_hint(
            "`secure-channel-listener create --authorized` does; policies are for the services behind it",
        ))
    }

    async fn open_channel(
        &self,
        to: &str,
        party: &PartyAsk,
        authorized: &[String],
        wait: Duration,
    ) -> Result<Value> {
        let to: MultiAddr = to.parse()?;
        // Channels on the way are to whoever is there; who is meant is at the end.
        let options = self.options(party, identifiers(authorized)?, true)?;
        let mut way = self.way(&plain_end(&to)?, party, Vec::new(), wait).await?;
        let opened = self.node.open_channel(way.route.clone(), options, wait).await;
        let channel = match opened {
            Ok(channel) => channel,
            Err(error) => {
                self.node.release(&way).await;
                return Err(error.into());
            }
        };
        way.route = channel.route.clone();
        self.forget_ways().await;
        let mut kept = self.kept();
        kept.ways.insert(channel.address.clone(), way);
        if *party != PartyAsk::default() {
            kept.as_others.insert(channel.address.clone());
        }
        Ok(channel_json(&channel))
    }

    /// Closes what was made on the way to channels that their peers have closed.
    async fn forget_ways(&self) {
        let open: Vec<_> = self.node.channels().into_iter().map(|one| one.address).collect();
        let gone: Vec<Resolved> = {
            let mut kept = self.kept();
            let all = std::mem::take(&mut kept.ways);
            let (stay, gone) = all.into_iter().partition(|(address, _)| open.contains(address));
            kept.ways = stay;
            kept.as_others.retain(|address| open.contains(address));
            let gone: HashMap<_, _> = gone;
            gone.into_values().collect()
        };
        for way in gone {
            self.node.release(&way).await;
        }
    }

    async fn send(&self, to: &str, payload: &str, party: &PartyAsk, wait: Duration) -> Result<Value> {
        let to: MultiAddr = to.parse()?;
        let payload =
            hex::decode(payload).map_err(|_| Error::invalid("the message of the request is no hex"))?;
        let way = self.way(&to, party, Vec::new(), wait).await?;
        let answer = self.node.ask(way.route.clone(), payload, wait).await;
        self.node.release(&way).await;
        Ok(json!({ "payload": hex::encode(answer?.payload) }))
    }

    fn services(&self) -> Value {
        let listeners = self.node.channel_listeners();
        let kept = self.kept();
        let services = kept.services.iter().map(|(address, kind)| (address.clone(), *kind));
        let listeners = listeners.iter().map(|address| (text(address), "secure_channel_listener"));
        let mut all: Vec<_> = services.chain(listeners).collect();
        all.sort();
        all.into_iter().map(|(addr, kind)| json!({ "addr": addr, "type": kind })).collect()
    }

    /// What the node says of itself.
    pub(in crate::commands::node) fn summary(&self) -> Value {
        let listeners = self.node.tcp_listeners();
        let channels = self.node.channel_listeners();
        json!({
            "transports": listeners.iter().map(listener_json).collect::<Value>(),
            "secure_channel_listeners":
                channels.iter().map(|address| json!({ "address": multiaddr(address) })).collect::<Value>(),
            "services": self.services(),
            "secure_channels": self.node.channels().len(),
            "tcp_connections": self.node.tcp_connections().len(),
            "relays": self.kept().relays.len(),
        })
    }
}

/// The way to a listener, however it is written: `/secure/api` is what is about to be done with `/service/api`.
fn plain_end(to: &MultiAddr) -> Result<MultiAddr> {
    let mut parts = to.parts().to_vec();
    match parts.last_mut() {
        Some(last @ Part::Secure(_)) => {
            if let Part::Secure(name) = last {
                *last = Part::Service(std::mem::take(name));
            }
        }
        Some(Part::Project(name)) => {
            let hint = format!("as in /project/{name}/service/api");
            return Err(
                Error::invalid("the way ends at a project, and names no listener there").with_hint(hint)
            );
        }
        _ => {}
    }
    Ok(MultiAddr::new(parts)?)
}

/// An address that can be written in a route.
pub(super) fn checked(name: &str) -> Result<Address> {
    MultiAddr::new(vec![Part::Service(name.to_owned())])?;
    Ok(Address::local(name))
}

/// A worker's address, from how it is typed.
fn worker(typed: &str) -> Address {
    Address::local(bare(typed))
}

/// An address of a worker as text.
fn text(address: &Address) -> String {
    String::from_utf8_lossy(address.value()).into_owned()
}

pub(super) fn multiaddr(address: &Address) -> String {
    format!("/service/{}", text(address))
}

fn channel_json(channel: &node::ChannelInfo) -> Value {
    json!({
        "address": multiaddr(&channel.address),
        "peer": channel.peer.to_string(),
        "role": match channel.role {
            node::Role::Initiator => "initiator",
            node::Role::Responder => "responder",
        },
        "listener": channel.listener.as_ref().map(text),
        "route": channel.route.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "since": channel.since.0,
    })
}

fn connection_json(connection: &node::TcpConnectionInfo) -> Value {
    json!({
        "type": "Tcp",
        "mode": if connection.listener.is_some() { "Incoming" } else { "Outgoing" },
        "socket_addr": connection.remote.to_string(),
        "local_addr": connection.local.to_string(),
        "address": multiaddr(&connection.address),
    })
}

fn listener_json(listener: &node::TcpListenerInfo) -> Value {
    json!({
        "type": "Tcp",
        "mode": "Listen",
        "socket_addr": listener.socket.to_string(),
        "address": multiaddr(&listener.address),
    })
}

fn named(to: &PolicyFor) -> Resource {
    match to {
        PolicyFor::Resource(name) => Resource::Name(name.clone()),
        PolicyFor::ResourceType(name) => Resource::Type(name.clone()),
    }
}

fn policy_json(resource: &Resource, policy: &Policy) -> Value {
    let (name, resource_type) = match resource {
        Resource::Name(name) => (Some(name), None),
        Resource::Type(name) => (None, Some(name)),
    };
    json!({
        "resource": name,
        "resource_type": resource_type,
        "action": node::ACTION,
        "expression": policy.as_str(),
    })
}
