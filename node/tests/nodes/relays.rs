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
    assert_eq!(n3.create_relay(to_n2, "one-more", SHORT).await.unwrap_err().kind(), Kind::Unavailable);
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
