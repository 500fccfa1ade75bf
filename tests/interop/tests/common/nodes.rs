//! Nodes of ours and of theirs, with what both have: a listener of channels, `echo`, relays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::Presentation;
use node::multiaddr::MultiAddr;
use node::workers::{Echo, RelayService, Uppercase};
use node::{Address, Admission, ChannelOptions, Forwarding, Node, NodeOptions, Party, Pending, Runs};
use ockam::RelayServiceOptions;
use ockam_core::{Any, NeutralMessage, Routed, Worker, async_trait};
use ockam_identity::models::Identifier;
use ockam_identity::{SecureChannelListenerOptions, SecureChannels, TrustIdentifierPolicy};
use ockam_node::Context;
use ockam_transport_tcp::{TcpListenerOptions, TcpTransport};
use vault::Agreer;

use super::Ours;

/// Longer than an answer takes on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// What both know the services of relays by: one for names that are made up, one for names that are asked for.
const RELAYS: [&str; 2] = ["forwarding_service", "static_forwarding_service"];
/// What addresses of their relays begin with, in nodes of `ockam`.
const PREFIX: &str = "forward_to_";

/// Their worker that sends back what it was sent.
pub(crate) struct TheirEcho;

#[async_trait]
impl Worker for TheirEcho {
    type Context = Context;
    type Message = Any;

    async fn handle_message(
        &mut self,
        context: &mut Context,
        message: Routed<Any>,
    ) -> ockam_core::Result<()> {
        let message = message.into_local_message();
        context.send(message.return_route().clone(), NeutralMessage::from(message.into_payload())).await
    }
}

/// Their bridge.
pub(crate) struct TheirHop;

#[async_trait]
impl Worker for TheirHop {
    type Context = Context;
    type Message = Any;

    async fn handle_message(
        &mut self,
        context: &mut Context,
        message: Routed<Any>,
    ) -> ockam_core::Result<()> {
        let own = context.primary_address().clone();
        context.forward(message.into_local_message().step_forward(own)?).await
    }
}

impl Party for Ours {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move { Ok((self.shown(), self.key.clone())) })
    }
}

/// Dials everything that is on the loopback.
pub(crate) struct Loopback;

impl Forwarding for Loopback {
    fn may_dial(&self, to: &str) -> bool {
        to.starts_with("127.0.0.1:")
    }
}

pub(crate) fn local(name: &str) -> Address {
    Address::local(name)
}

/// A node of ours with `api`, `echo`, `uppercase` and relays, and where it listens.
pub(crate) async fn our_node(options: ChannelOptions) -> (Node, SocketAddr) {
    let node = Node::new(NodeOptions { forwarding: Arc::new(Loopback), ..NodeOptions::default() });
    let admission = Admission::local().tcp().of_listener(&local("api"));
    node.start_worker(local("echo"), Echo, admission.clone(), Runs::Inline).unwrap();
    node.start_worker(local("uppercase"), Uppercase, admission.clone(), Runs::Inline).unwrap();
    for name in RELAYS {
        let relays = RelayService::new(admission.clone(), Arc::new(|_, _| true));
        node.start_worker(local(name), relays, admission.clone(), Runs::Inline).unwrap();
    }
    node.listen_channels(local("api"), options, admission).unwrap();
    let socket = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    (node, socket)
}

/// A node of theirs with `api`, `echo`, `hop` and relays, as their nodes have them, and where it listens.
pub(crate) async fn their_node(
    context: &Context,
    crates: &SecureChannels,
    tcp: &TcpTransport,
    who: &Identifier,
    wanted: &Identifier,
) -> SocketAddr {
    let listening = TcpListenerOptions::new();
    let spawner = listening.spawner_flow_control_id();
    let listener = tcp.listen("127.0.0.1:0", listening).await.unwrap();
    let options = SecureChannelListenerOptions::new()
        .with_trust_policy(TrustIdentifierPolicy::new(wanted.clone()))
        .as_consumer(&spawner);
    let channels = crates.create_secure_channel_listener(context, who, "api", options).unwrap();
    context.start_worker("echo", TheirEcho).unwrap();
    context.start_worker("hop", TheirHop).unwrap();
    context.flow_controls().add_consumer(&"echo".into(), channels.flow_control_id());
    context.flow_controls().add_consumer(&"hop".into(), &spawner);
    let [any, by_name] = RELAYS;
    let mut relays = RelayServiceOptions::new().alias(by_name).prefix(PREFIX);
    for from in [&spawner, channels.flow_control_id()] {
        relays = relays.service_as_consumer(from).relay_as_consumer(from);
    }
    ockam::RelayService::create(context, any, relays).unwrap();
    *listener.socket_address()
}

pub(crate) fn way(over: &[SocketAddr], then: &str) -> MultiAddr {
    let nodes: String = over.iter().map(|one| format!("/ip4/{}/tcp/{}", one.ip(), one.port())).collect();
    format!("{nodes}{then}").parse().unwrap()
}
