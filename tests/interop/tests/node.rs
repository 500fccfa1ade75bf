//! Nodes of ours and nodes of the published crates over real TCP: each side in turn the initiator, one of theirs in the
//! middle, one of ours in the middle.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use channel::{AnyPeer, Only, Renewed};
use common::nodes::{WAIT, local, our_node, their_node, way};
use common::{ED25519, Ours, P256, PAIRS, ROUND_TRIPS, in_node, ours_of, theirs};
use node::workers::Hop;
use node::{Admission, ChannelOptions, Party, Route, Runs};
use ockam_core::{NeutralMessage, route};
use ockam_identity::{SecureChannelOptions, TrustIdentifierPolicy, secure_channels};
use ockam_transport_tcp::{TcpConnectionOptions, TcpTransport};
use vault::Algorithm;

fn said(at: usize) -> Vec<u8> {
    vec![u8::try_from(at % 251).unwrap(); at % 97 * 31]
}

#[test]
fn we_open_channels_to_a_node_of_theirs() {
    for (our_keys, their_keys) in PAIRS {
        in_node(move |context| async move {
            let crates = secure_channels().await.unwrap();
            let tcp = TcpTransport::create_new(&context).unwrap();
            let (ours, bob) = (Arc::new(Ours::new(our_keys).await), theirs(&crates, their_keys).await);
            let at = their_node(&context, &crates, &tcp, &bob, &ours.identifier()).await;
            let only_bob = Arc::new(Only(vec![ours_of(&bob)]));
            let options = ChannelOptions::new(Arc::clone(&ours) as Arc<dyn Party>, only_bob);
            let (node, _) = our_node(options.clone()).await;
            let inside =
                node.resolve(&way(&[at], "/secure/api/service/echo"), Some(&options), WAIT).await.unwrap();
            for trip in 0..ROUND_TRIPS {
                let answer = node.ask(inside.route.clone(), said(trip), WAIT).await.unwrap();
                assert_eq!(answer.payload, said(trip), "{trip}");
            }
            // What is presented anew is taken, and the channel goes on; then it is closed, and nothing is left of it.
            let renewed = Renewed::new(&ours.identity, &[]).unwrap();
            node.renew_channel(&inside.channels[0], &renewed).await.unwrap();
            assert_eq!(node.ask(inside.route.clone(), said(7), WAIT).await.unwrap().payload, said(7));
            let listed = crates.secure_channel_registry().get_channel_list();
            assert_eq!(listed.len(), 1);
            node.release(&inside).await;
            for _ in 0..1000 {
                if crates.secure_channel_registry().get_channel_list().is_empty() {
                    node.stop().await;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("they still have the channel after its close");
        });
    }
}

#[test]
fn they_open_channels_to_a_node_of_ours() {
    for (our_keys, their_keys) in PAIRS {
        in_node(move |context| async move {
            let crates = secure_channels().await.unwrap();
            let tcp = TcpTransport::create_new(&context).unwrap();
            let (ours, alice) = (Ours::new(our_keys).await, theirs(&crates, their_keys).await);
            let wanted = ours.identifier();
            let only_alice = Arc::new(Only(vec![ours_of(&alice)]));
            let (node, at) = our_node(ChannelOptions::new(Arc::new(ours), only_alice)).await;
            let connection = tcp.connect(at.to_string(), TcpConnectionOptions::new()).await.unwrap();
            let options = SecureChannelOptions::new().with_trust_policy(TrustIdentifierPolicy::new(wanted));
            let channel = crates
                .create_secure_channel(&context, &alice, route![connection.clone(), "api"], options)
                .await
                .unwrap();
            for trip in 0..ROUND_TRIPS {
                let to = route![channel.clone(), "echo"];
                let answer: NeutralMessage =
                    context.send_and_receive(to, NeutralMessage::from(said(trip))).await.unwrap();
                assert_eq!(answer.into_vec(), said(trip), "{trip}");
            }
            let shouted: String = context
                .send_and_receive(route![channel.clone(), "uppercase"], "hello ockam!".to_string())
                .await
                .unwrap();
            assert_eq!(shouted, "HELLO OCKAM!");
            let listed = node.channels();
            assert_eq!((listed.len(), listed[0].peer), (1, ours_of(&alice)));
            crates.stop_secure_channel(&context, channel.encryptor_address()).unwrap();
            for _ in 0..1000 {
                if node.channels().is_empty() {
                    node.stop().await;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("we still have the channel after its close");
        });
    }
}

#[test]
fn a_channel_goes_over_a_node_of_theirs_and_over_one_of_ours() {
    in_node(|context| async move {
        let crates = secure_channels().await.unwrap();
        let tcp = TcpTransport::create_new(&context).unwrap();
        let (ours, bob) =
            (Arc::new(Ours::new(&[Algorithm::Ed25519]).await), theirs(&crates, &[ED25519]).await);
        let at = their_node(&context, &crates, &tcp, &bob, &ours.identifier()).await;
        let options = ChannelOptions::new(Arc::clone(&ours) as Arc<dyn Party>, Arc::new(AnyPeer));
        let (n1, _) = our_node(options.clone()).await;
        let (n3, at3) = our_node(options.clone()).await;
        // Theirs in the middle: their bridge, and their connection to a node of ours.
        let onward = tcp.connect(at3.to_string(), TcpConnectionOptions::new()).await.unwrap();
        context.flow_controls().add_consumer(&"hop".into(), onward.flow_control_id());
        let through = String::from_utf8(onward.sender_address().clone().inner()).unwrap();
        let to = way(&[at], &format!("/service/hop/service/{through}/service/api"));
        let route = n1.resolve(&to, None, WAIT).await.unwrap().route;
        let open = n1.open_channel(route, options.clone(), WAIT).await.unwrap();
        let inside: Route = [open.address, local("echo")].into_iter().collect();
        for trip in 0..100 {
            assert_eq!(n1.ask(inside.clone(), said(trip), WAIT).await.unwrap().payload, said(trip), "{trip}");
        }
        assert_eq!(n3.channels().len(), 1);
        // Ours in the middle: from us over n3 to theirs, dialled by n3.
        let to = way(&[at3, at], "/secure/api/service/echo");
        let inside = n1.resolve(&to, Some(&options), WAIT).await.unwrap().route;
        for trip in 0..100 {
            assert_eq!(n1.ask(inside.clone(), said(trip), WAIT).await.unwrap().payload, said(trip), "{trip}");
        }
        // And from theirs over our bridge to ours.
        n3.start_worker(local("hop"), Hop, Admission::local().tcp(), Runs::Inline).unwrap();
        let at1 = n1.tcp_listeners()[0].socket;
        let b = n3.connect_tcp(&at1.to_string()).await.unwrap().address;
        let b = String::from_utf8(b.value().to_vec()).unwrap();
        let alice = theirs(&crates, &[P256]).await;
        let bridge = tcp.connect(at3.to_string(), TcpConnectionOptions::new()).await.unwrap();
        let options = SecureChannelOptions::new();
        let channel = crates
            .create_secure_channel(&context, &alice, route![bridge, "hop", b, "api"], options)
            .await
            .unwrap();
        let shouted: String =
            context.send_and_receive(route![channel, "uppercase"], "bridged".to_string()).await.unwrap();
        assert_eq!(shouted, "BRIDGED");
        n1.stop().await;
        n3.stop().await;
    });
}
