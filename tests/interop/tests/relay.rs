//! Relays of theirs at a node of ours, and of ours at a node of theirs, over TCP and through channels: reached by a third node of
//! either, with messages and with channels through the relay.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::AnyPeer;
use common::nodes::{TheirEcho, WAIT, local, our_node, their_node, way};
use common::{ED25519, Ours, P256, in_node, theirs};
use node::workers::Echo;
use node::{Admission, ChannelOptions, Kind, Node, Party, Route, Runs};
use ockam::remote::{RemoteRelay, RemoteRelayOptions};
use ockam_core::flow_control::FlowControlId;
use ockam_core::{NeutralMessage, route};
use ockam_identity::models::Identifier;
use ockam_identity::{
    SecureChannelListenerOptions, SecureChannelOptions, SecureChannels, TrustIdentifierPolicy,
    secure_channels,
};
use ockam_node::Context;
use ockam_transport_tcp::{TcpConnection, TcpConnectionOptions, TcpTransport};
use vault::Algorithm;

/// As long as it is waited for what must not come.
const SHORT: Duration = Duration::from_millis(500);
/// Enough messages for two keys of a channel, of some length.
const MESSAGES: usize = 40;

fn said(at: usize) -> Vec<u8> {
    vec![u8::try_from(at % 251).unwrap(); at % 97 * 31]
}

/// What both sides have in a test.
struct World {
    context: Arc<Context>,
    crates: Arc<SecureChannels>,
    tcp: Arc<TcpTransport>,
    theirs: Identifier,
    ours: Identifier,
    options: ChannelOptions,
}

impl World {
    async fn new(context: Arc<Context>, our_keys: &[Algorithm]) -> Self {
        let crates = secure_channels().await.unwrap();
        let tcp = TcpTransport::create_new(&context).unwrap();
        let (ours, theirs) = (Ours::new(our_keys).await, theirs(&crates, &[ED25519, P256]).await);
        let wanted = ours.identifier();
        let options = ChannelOptions::new(Arc::new(ours) as Arc<dyn Party>, Arc::new(AnyPeer));
        Self { context, crates, tcp, theirs, ours: wanted, options }
    }

    async fn connect(&self, to: SocketAddr) -> TcpConnection {
        self.tcp.connect(to.to_string(), TcpConnectionOptions::new()).await.unwrap()
    }

    /// Their worker may be reached by what comes from there: their nodes have that for what they serve.
    fn admit(&self, worker: &str, from: &FlowControlId) {
        self.context.flow_controls().add_consumer(&worker.into(), from);
    }

    /// Asks the worker at the end of a route of ours, without a channel and through one that the relay carries.
    async fn reached_by_ours(&self, node: &Node, relay: &str, worker: &str, at: SocketAddr) {
        for through in ["", "/secure/api"] {
            let to = way(&[at], &format!("/service/{relay}{through}/service/{worker}"));
            let resolved = node.resolve(&to, Some(&self.options), WAIT).await.unwrap();
            for trip in 0..MESSAGES {
                let answer = node.ask(resolved.route.clone(), said(trip), WAIT).await.unwrap();
                assert_eq!(answer.payload, said(trip), "{to} {trip}");
            }
            node.release(&resolved).await;
        }
    }

    /// The same by a node of theirs, where the peer has to be this one.
    async fn reached_by_theirs(&self, relay: &str, worker: &str, at: SocketAddr, peer: &Identifier) {
        let over = self.connect(at).await;
        let options = SecureChannelOptions::new().with_trust_policy(TrustIdentifierPolicy::new(peer.clone()));
        let to = route![over.clone(), relay, "api"];
        let channel =
            self.crates.create_secure_channel(&self.context, &self.theirs, to, options).await.unwrap();
        for to in [route![over.clone(), relay, worker], route![channel.clone(), worker]] {
            for trip in 0..MESSAGES {
                let asked = NeutralMessage::from(said(trip));
                let answer: NeutralMessage = self.context.send_and_receive(to.clone(), asked).await.unwrap();
                assert_eq!(answer.into_vec(), said(trip), "{to} {trip}");
            }
        }
        self.crates.stop_secure_channel(&self.context, channel.encryptor_address()).unwrap();
        self.tcp.disconnect(over.sender_address()).unwrap();
    }
}

async fn assert_silent(node: &Node, relay: &str, at: SocketAddr) {
    let to = node.resolve(&way(&[at], &format!("/service/{relay}/service/echo")), None, WAIT).await.unwrap();
    assert_eq!(node.ask(to.route, said(1), SHORT).await.unwrap_err().kind(), Kind::Unavailable, "{relay}");
}

#[test]
fn a_relay_of_theirs_at_a_node_of_ours() {
    for our_keys in [&[Algorithm::Ed25519][..], &[Algorithm::EcdsaP256, Algorithm::Ed25519]] {
        in_node(move |context| async move {
            let world = World::new(context, our_keys).await;
            let context = &*world.context;
            let (n1, _) = our_node(world.options.clone()).await;
            let (n2, at2) = our_node(world.options.clone()).await;
            let (over, channel_options) = (world.connect(at2).await, SecureChannelListenerOptions::new());
            let listener = world
                .crates
                .create_secure_channel_listener(
                    context,
                    &world.theirs,
                    "api",
                    channel_options.as_consumer(over.flow_control_id()),
                )
                .unwrap();
            context.start_worker("echo", TheirEcho).unwrap();
            for from in [over.flow_control_id(), listener.flow_control_id()] {
                world.admit("echo", from);
            }
            // By name; registered anew it takes its own place.
            for _ in 0..2 {
                let relay = RemoteRelay::create_static(
                    context,
                    route![over.clone()],
                    "blue",
                    RemoteRelayOptions::new(),
                );
                assert_eq!(relay.await.unwrap().remote_address(), "forward_to_blue");
            }
            world.reached_by_ours(&n1, "forward_to_blue", "echo", at2).await;
            world.reached_by_theirs("forward_to_blue", "echo", at2, &world.theirs).await;
            // Under a name that is made up.
            let relay = RemoteRelay::create(context, route![over.clone()], RemoteRelayOptions::new());
            let any = relay.await.unwrap().remote_address().to_owned();
            assert!(any.starts_with("forward_to_") && any != "forward_to_blue", "{any}");
            world.reached_by_ours(&n1, &any, "echo", at2).await;
            // Through a channel to our node.
            let trusting =
                SecureChannelOptions::new().with_trust_policy(TrustIdentifierPolicy::new(world.ours.clone()));
            let channel = world
                .crates
                .create_secure_channel(context, &world.theirs, route![over.clone(), "api"], trusting)
                .await
                .unwrap();
            for worker in ["api", "echo"] {
                world.admit(worker, channel.flow_control_id());
            }
            let relay = RemoteRelay::create_static(
                context,
                route![channel.clone()],
                "sealed",
                RemoteRelayOptions::new(),
            );
            assert_eq!(relay.await.unwrap().remote_address(), "forward_to_sealed");
            world.reached_by_ours(&n1, "forward_to_sealed", "echo", at2).await;
            world.reached_by_theirs("forward_to_sealed", "echo", at2, &world.theirs).await;
            // What led to them ends, and they with it.
            world.tcp.disconnect(over.sender_address()).unwrap();
            let gone = || {
                !n2.workers().iter().any(|one| [local("forward_to_blue"), local(&any)].contains(&one.address))
            };
            for _ in 0..1000 {
                if gone() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(gone(), "their relays are still there after their connection");
            assert_silent(&n1, "forward_to_blue", at2).await;
            n1.stop().await;
            n2.stop().await;
        });
    }
}

#[test]
fn a_relay_of_ours_at_a_node_of_theirs() {
    for our_keys in [&[Algorithm::Ed25519][..], &[Algorithm::EcdsaP256, Algorithm::Ed25519]] {
        in_node(move |context| async move {
            let world = World::new(context, our_keys).await;
            let at = their_node(&world.context, &world.crates, &world.tcp, &world.theirs, &world.ours).await;
            let (n1, _) = our_node(world.options.clone()).await;
            let (n3, _) = our_node(world.options.clone()).await;
            let over = n3.connect_tcp(&at.to_string()).await.unwrap().address;
            let relay = n3.create_relay(Route(vec![over.clone()]), "blue", WAIT).await.unwrap();
            assert_eq!(relay.remote, local("forward_to_blue"));
            world.reached_by_ours(&n1, "forward_to_blue", "echo", at).await;
            world.reached_by_theirs("forward_to_blue", "echo", at, &world.ours).await;
            // Their node itself goes the same way.
            let shouted: String = world
                .context
                .send_and_receive(route!["forward_to_blue", "uppercase"], "hello ockam!".to_string())
                .await
                .unwrap();
            assert_eq!(shouted, "HELLO OCKAM!");
            // Given up with the connection, and registered anew over another: theirs is replaced.
            n3.stop_relay(&relay).unwrap();
            n3.stop_tcp_connection(&over).unwrap();
            assert_silent(&n1, "forward_to_blue", at).await;
            let over = n3.connect_tcp(&at.to_string()).await.unwrap().address;
            let again = n3.create_relay(Route(vec![over]), "blue", WAIT).await.unwrap();
            assert_eq!(again.remote, relay.remote);
            world.reached_by_ours(&n1, "forward_to_blue", "echo", at).await;
            // Through a channel to their node, whose peer then brings others to what is for it.
            let admission = Admission::local().channels();
            n3.start_worker(local("inside"), Echo, admission, Runs::Inline).unwrap();
            let inside = n3.resolve(&way(&[at], "/secure/api"), Some(&world.options), WAIT).await.unwrap();
            let sealed = n3.create_relay(inside.route.clone(), "sealed", WAIT).await.unwrap();
            assert_eq!(sealed.remote, local("forward_to_sealed"));
            let to = way(&[at], "/service/forward_to_sealed/service/inside");
            let to = n1.resolve(&to, None, WAIT).await.unwrap().route;
            for trip in 0..MESSAGES {
                assert_eq!(n1.ask(to.clone(), said(trip), WAIT).await.unwrap().payload, said(trip), "{trip}");
            }
            assert_silent(&n1, "forward_to_sealed", at).await;
            n3.close_channel(&inside.channels[0]).await.unwrap();
            assert_eq!(n1.ask(to, said(1), SHORT).await.unwrap_err().kind(), Kind::Unavailable);
            n1.stop().await;
            n3.stop().await;
        });
    }
}
