//! Relays: a node that cannot be reached is, through one that can.

use std::sync::Arc;

use channel::AnyPeer;
use node::workers::{Echo, RelayRule, RelayService};
use node::{Admission, Kind, Node, NodeOptions, Route, Runs};

use crate::world::*;

fn start_relays(node: &Node, rule: RelayRule) {
    let admission = Admission::local().tcp().channels();
    for name in ["static_forwarding_service", "forwarding_service"] {
        let service = RelayService::new(admission.clone(), Arc::clone(&rule));
        node.start_worker(local(name), service, admission.clone(), Runs::Inline).unwrap();
    }
}

#[tokio::test]
async fn a_node_behind_a_relay_is_reached_and_a_channel_goes_through() {
    let ((n1, _), (n2, at2), (n3, _)) = (node().await, node().await, node().await);
    start_relays(&n2, Arc::new(|_, _| true));
    let to_n2 = n3.connect_tcp(&at2.to_string()).await.unwrap().address;
    let relay = n3.create_relay(Route(vec![to_n2.clone()]), "n3", WAIT).await.unwrap();
    assert_eq!(relay.remote, local("forward_to_n3"));
    let to = way(&[at2], "/service/forward_to_n3/service/uppercase");
    let resolved = n1.resolve(&to, None, WAIT).await.unwrap();
    assert_eq!(shout(&n1, &resolved.route, "through").await.unwrap(), "THROUGH");
    let (own, options) = options(AnyPeer).await;
    let to = way(&[at2], "/service/forward_to_n3/secure/api/service/uppercase");
    let resolved = n1.resolve(&to, Some(&options), WAIT).await.unwrap();
    assert_eq!(shout(&n1, &resolved.route, "sealed").await.unwrap(), "SEALED");
    assert_eq!(n3.channels()[0].peer, own);
    assert!(n2.channels().is_empty());
    // What is not admitted at n3 is not reached through a relay.
    n3.start_worker(local("private"), Echo, Admission::local(), Runs::Inline).unwrap();
    let to = way(&[at2], "/service/forward_to_n3/service/private");
    assert_silent(&n1, n1.resolve(&to, None, WAIT).await.unwrap().route).await;
    // Registering it anew replaces it; when its connection ends it is gone.
    n3.stop_relay(&relay).unwrap();
    n3.create_relay(Route(vec![to_n2.clone()]), "n3", WAIT).await.unwrap();
    let to = way(&[at2], "/service/forward_to_n3/service/uppercase");
    let resolved = n1.resolve(&to, None, WAIT).await.unwrap();
    assert_eq!(shout(&n1, &resolved.route, "again").await.unwrap(), "AGAIN");
    n3.stop_tcp_connection(&to_n2).unwrap();
    until(|| !n2.workers().iter().any(|one| one.address == local("forward_to_n3"))).await;
}

#[tokio::test]
async fn names_are_for_whom_the_rule_says_and_take_the_place_of_no_worker() {
    let ((n2, at2), (n3, _)) = (node().await, node().await);
    start_relays(&n2, Arc::new(|_, name| name != "not-yours"));
    n2.start_worker(local("forward_to_taken"), Echo, Admission::local(), Runs::Inline).unwrap();
    let to_n2 = Route(vec![n3.connect_tcp(&at2.to_string()).await.unwrap().address]);
    for name in ["not-yours", "taken", ""] {
        let refused = n3.create_relay(to_n2.clone(), name, SHORT).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable, "{name}");
    }
    assert_eq!(n2.ask(route(&["forward_to_taken"]), vec![7], WAIT).await.unwrap().payload, [7]);
    // Nobody has more than its share.
    for at in 0..64 {
        n3.create_relay(to_n2.clone(), &format!("relay-{at}"), WAIT).await.unwrap();
    }
    assert_eq!(
        n3.create_relay(to_n2.clone(), "one-more", SHORT).await.unwrap_err().kind(),
        Kind::Unavailable
    );
    // Nor does it make room in somebody else's by asking for a relay of theirs.
    let (n4, _) = node().await;
    let n4_to_n2 = Route(vec![n4.connect_tcp(&at2.to_string()).await.unwrap().address]);
    for at in 0..64 {
        n4.create_relay(n4_to_n2.clone(), &format!("theirs-{at}"), WAIT).await.unwrap();
    }
    assert_eq!(n3.create_relay(to_n2, "theirs-0", SHORT).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(n4.create_relay(n4_to_n2, "theirs-64", SHORT).await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_relay_through_a_channel_ends_with_it() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    start_relays(&n2, Arc::new(|message, _| message.peer().is_some()));
    let n3 = Node::new(NodeOptions::default());
    n3.start_worker(local("echo"), Echo, Admission::local().channels(), Runs::Inline).unwrap();
    let (_, options) = options(AnyPeer).await;
    let inside = n3.resolve(&way(&[at2], "/secure/api"), Some(&options), WAIT).await.unwrap();
    n3.create_relay(inside.route.clone(), "n3", WAIT).await.unwrap();
    let to = n1.resolve(&way(&[at2], "/service/forward_to_n3/service/echo"), None, WAIT).await.unwrap();
    assert_eq!(n1.ask(to.route.clone(), vec![5], WAIT).await.unwrap().payload, [5]);
    n3.close_channel(&inside.channels[0]).await.unwrap();
    until(|| !n2.workers().iter().any(|one| one.address == local("forward_to_n3"))).await;
}

#[tokio::test]
async fn a_way_that_is_too_long_to_pass_on_costs_nobody_a_connection() {
    let ((n2, at2), (n3, _)) = (node().await, node().await);
    start_relays(&n2, Arc::new(|_, _| true));
    let to_n2 = n3.connect_tcp(&at2.to_string()).await.unwrap().address;
    n3.create_relay(Route(vec![to_n2.clone()]), "n3", WAIT).await.unwrap();
    let mut stranger = ByHand::connect(at2).await;
    let to = route(&["forward_to_n3", "echo"]);
    // As long as a frame may have it, to which n2 adds the stranger's connection.
    stranger.send(&to, &Route(vec![local("x"); channel::MAX_HOPS]), b"too long").await;
    stranger.send(&to, &route(&["mine"]), b"next").await;
    assert_eq!(stranger.receive().await.2, b"next");
    assert_eq!(n3.tcp_connections()[0].address, to_n2);
    // Nor is a relay registered whose way back is longer than any that is kept.
    let service = route(&["static_forwarding_service"]);
    stranger.send(&service, &Route(vec![local("x"); 200]), &node::workers::encode_text("far")).await;
    stranger.send(&to, &route(&["mine"]), b"last").await;
    assert_eq!(stranger.receive().await.2, b"last");
    assert!(!n2.workers().iter().any(|one| one.address == local("forward_to_far")));
}

#[tokio::test]
async fn nobody_takes_over_the_relay_of_another_who_is_there() {
    let ((n2, at2), (n3, _), (n4, _)) = (node().await, node().await, node().await);
    start_relays(&n2, Arc::new(|_, _| true));
    let n3_to_n2 = n3.connect_tcp(&at2.to_string()).await.unwrap().address;
    let n4_to_n2 = n4.connect_tcp(&at2.to_string()).await.unwrap().address;
    n3.create_relay(Route(vec![n3_to_n2.clone()]), "blue", WAIT).await.unwrap();
    let refused = n4.create_relay(Route(vec![n4_to_n2.clone()]), "blue", SHORT).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    n3.start_worker(local("here"), Echo, Admission::local().tcp(), Runs::Inline).unwrap();
    assert_eq!(n2.ask(route(&["forward_to_blue", "here"]), vec![3], WAIT).await.unwrap().payload, [3]);
    // When it has gone, whoever comes has it.
    n3.stop_tcp_connection(&n3_to_n2).unwrap();
    until(|| !n2.workers().iter().any(|one| one.address == local("forward_to_blue"))).await;
    n4.create_relay(Route(vec![n4_to_n2]), "blue", WAIT).await.unwrap();
    // The same identity has its own anew over another channel.
    let (_, own) = options(AnyPeer).await;
    for _ in 0..2 {
        let way = n3.resolve(&way(&[at2], "/secure/api"), Some(&own), WAIT).await.unwrap();
        n3.create_relay(way.route, "green", WAIT).await.unwrap();
    }
    let (_, others) = options(AnyPeer).await;
    let way = n4.resolve(&way(&[at2], "/secure/api"), Some(&others), WAIT).await.unwrap();
    let refused = n4.create_relay(way.route, "green", SHORT).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
}
