//! Secure channels over nodes.

use std::sync::Arc;
use std::time::Duration;

use channel::{AnyPeer, Driver, Message as Said, Only, Payload, Presentation, Progress};
use node::workers::{Echo, encode_text};
use node::{Admission, ChannelOptions, Kind, Message, Node, NodeOptions, Party, Pending, Role, Route, Runs};
use vault::{Agreer, SecretBytes};

use crate::world::*;

#[tokio::test]
async fn a_channel_is_open_end_to_end_over_nodes_in_between() {
    let ((n1, at1), (n2, at2), (n3, at3)) = (node().await, node().await, node().await);
    for nodes in [&[at2][..], &[at1, at3], &[at2, at3], &[at1, at2, at3, at2]] {
        let resolved = n1.resolve(&way(nodes, "/service/api"), None, WAIT).await.unwrap();
        let (own, options) = options(AnyPeer).await;
        let open = n1.open_channel(resolved.route.clone(), options, WAIT).await.unwrap();
        assert_eq!((open.role, open.listener.clone()), (Role::Initiator, None));
        let inside = |name: &str| -> Route { [open.address.clone(), local(name)].into_iter().collect() };
        for _ in 0..100 {
            assert_eq!(shout(&n1, &inside("uppercase"), "hello ockam!").await.unwrap(), "HELLO OCKAM!");
        }
        let last = if nodes.last() == Some(&at3) { &n3 } else { &n2 };
        let theirs: Vec<_> = last.channels().into_iter().filter(|one| one.peer == own).collect();
        assert_eq!(theirs.len(), 1);
        assert_eq!((theirs[0].role, theirs[0].listener.clone()), (Role::Responder, Some(local("api"))));
        // The close reaches the other side.
        n1.close_channel(&open.address).await.unwrap();
        until(|| !last.channels().iter().any(|one| one.peer == own)).await;
        assert_eq!(n1.ask(inside("echo"), vec![], WAIT).await.unwrap_err().kind(), Kind::NotFound);
        n1.release(&resolved).await;
    }
}

#[tokio::test]
async fn a_channel_goes_through_another_channel() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    let (_, options) = options(AnyPeer).await;
    let to = way(&[at2], "/secure/api/secure/api/service/uppercase");
    let resolved = n1.resolve(&to, Some(&options), WAIT).await.unwrap();
    assert_eq!((resolved.channels.len(), resolved.route.0.len()), (2, 2));
    assert_eq!(shout(&n1, &resolved.route, "twice").await.unwrap(), "TWICE");
    // Without anybody to be in it, none is opened.
    assert_eq!(n1.resolve(&to, None, WAIT).await.unwrap_err().kind(), Kind::Invalid);
    n1.release(&resolved).await;
    assert!(n1.channels().is_empty());
}

#[tokio::test]
async fn whom_one_does_not_want_is_refused_by_either_side() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    let resolved = n1.resolve(&way(&[at2], "/service/api"), None, WAIT).await.unwrap();
    let (_, nobody) = options(Only(vec![])).await;
    let refused = n1.open_channel(resolved.route.clone(), nobody, WAIT).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
    // The initiator is told nothing by the responder, but nothing answers.
    let (_, choosy) = options(Only(vec![])).await;
    n2.listen_channels(local("choosy"), choosy, Admission::local().tcp()).unwrap();
    let (_, anybody) = options(AnyPeer).await;
    let mut to = resolved.route.clone();
    to.0.pop();
    to.0.push(local("choosy"));
    let open = n1.open_channel(to, anybody, WAIT).await.unwrap();
    assert_silent(&n1, [open.address, local("echo")].into_iter().collect()).await;
    assert!(n2.channels().is_empty());
}

#[tokio::test]
async fn workers_are_reached_only_through_channels_of_the_listener_that_they_name() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    let admission = Admission::local().of_listener(&local("api"));
    n2.start_worker(local("inside"), Echo, admission, Runs::Spawned(4)).unwrap();
    let (_, other) = options(AnyPeer).await;
    n2.listen_channels(local("other"), other, Admission::local().tcp()).unwrap();
    for (listener, reached) in [("api", true), ("other", false)] {
        let resolved = n1.resolve(&way(&[at2], &format!("/service/{listener}")), None, WAIT).await.unwrap();
        let (_, options) = options(AnyPeer).await;
        let open = n1.open_channel(resolved.route, options, WAIT).await.unwrap();
        let inside: Route = [open.address, local("inside")].into_iter().collect();
        match reached {
            true => assert_eq!(n1.ask(inside, b"in".to_vec(), WAIT).await.unwrap().payload, b"in"),
            false => assert_silent(&n1, inside).await,
        }
    }
    let plain = n1.resolve(&way(&[at2], "/service/inside"), None, WAIT).await.unwrap();
    assert_silent(&n1, plain.route).await;
}

/// A channel by hand, over a connection by hand: the driver, and what a middle node would do to it.
async fn open_by_hand(stranger: &mut ByHand, back: &Route) -> (channel::Channel, Route) {
    let party = Somebody::new().await;
    let random = SecretBytes::random(32).unwrap();
    let (mut driver, first) = Driver::initiate(party.presentation(), party.key(), &random).unwrap();
    stranger.send(&route(&["api"]), back, &first).await;
    let (onward, to, second) = stranger.receive().await;
    assert_eq!(onward, *back);
    let Progress::Open(Some(third), channel) = driver.receive(&second, now(), &AnyPeer).await.unwrap() else {
        panic!("it is not open");
    };
    stranger.send(&to, back, &third).await;
    (*channel, to)
}

fn payload(text: &str) -> Said<'_> {
    Said::Payload(Payload {
        onward_route: route(&["echo"]),
        return_route: route(&["app"]),
        payload: text.as_bytes(),
    })
}

async fn answer(stranger: &mut ByHand, channel: &mut channel::Channel) -> (Route, Vec<u8>) {
    let (onward, back, mut record) = stranger.receive().await;
    assert_eq!(back, Route::default(), "records have no outer way back");
    let Said::Payload(said) = channel.open(&mut record).unwrap() else { panic!("it is no payload") };
    assert_eq!((&said.onward_route, &said.return_route), (&route(&["app"]), &route(&["echo"])));
    (onward, said.payload.to_vec())
}

#[tokio::test]
async fn what_is_injected_and_replayed_costs_the_channel_nothing() {
    let (_n2, at2) = node().await;
    let mut stranger = ByHand::connect(at2).await;
    let (mut channel, to) = open_by_hand(&mut stranger, &route(&["mine"])).await;
    let mut last = Vec::new();
    for at in 0..100 {
        let text = format!("message {at}");
        let record = channel.seal(payload(&text)).unwrap();
        let mut forged = record.clone();
        *forged.last_mut().unwrap() ^= 1;
        for noise in [&forged[..], &last, &record[..7], b"", &[0xff; 40]] {
            stranger.send(&to, &Route::default(), noise).await;
        }
        stranger.send(&to, &Route::default(), &record).await;
        assert_eq!(answer(&mut stranger, &mut channel).await, (route(&["mine"]), text.into_bytes()));
        last = record;
    }
}

#[tokio::test]
async fn the_responder_follows_its_peer_and_nobody_else() {
    let (n2, at2) = node().await;
    let mut before = ByHand::connect(at2).await;
    let (mut channel, to) = open_by_hand(&mut before, &route(&["mine"])).await;
    // Counter 0 says nothing about the way; the next does. The peer's own address stays the last.
    for (back, seen) in [("elsewhere", vec!["mine"]), ("elsewhere", vec!["elsewhere", "mine"])] {
        let record = channel.seal(payload("where")).unwrap();
        before.send(&to, &route(&[back]), &record).await;
        assert_eq!(answer(&mut before, &mut channel).await.0, route(&seen));
    }
    // Over a new connection: answers come there from then on. What was forged there before moved nothing.
    let mut after = ByHand::connect(at2).await;
    let record = channel.seal(payload("moved")).unwrap();
    let mut forged = record.clone();
    forged[9] ^= 1;
    after.send(&to, &Route::default(), &forged).await;
    after.send(&to, &Route::default(), &record).await;
    assert_eq!(answer(&mut after, &mut channel).await, (route(&["mine"]), b"moved".to_vec()));
    drop(before);
    until(|| n2.tcp_connections().len() == 1).await;
    let record = channel.seal(payload("still")).unwrap();
    after.send(&to, &Route::default(), &record).await;
    assert_eq!(answer(&mut after, &mut channel).await.1, b"still");
    // An old record does not move it back.
    let mut old = ByHand::connect(at2).await;
    old.send(&to, &Route::default(), &record).await;
    let record = channel.seal(payload("not moved")).unwrap();
    after.send(&to, &Route::default(), &record).await;
    assert_eq!(answer(&mut after, &mut channel).await.1, b"not moved");
}

#[tokio::test]
async fn many_callers_share_a_channel_and_nothing_is_lost() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    let (_, options) = options(AnyPeer).await;
    let resolved = n1.resolve(&way(&[at2], "/secure/api/service/echo"), Some(&options), WAIT).await.unwrap();
    let n1 = Arc::new(n1);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64_u8 {
        let (n1, route) = (Arc::clone(&n1), resolved.route.clone());
        callers.spawn(async move {
            for at in 0..50_u8 {
                let said = vec![caller ^ at; usize::from(at) * 97];
                assert_eq!(n1.ask(route.clone(), said.clone(), WAIT).await.unwrap().payload, said);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_holds_up_nobody_else() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    // It asks for much and reads none of the answers.
    let mut greedy = ByHand::connect(at2).await;
    let large = vec![0; 1024 * 1024];
    let sending = tokio::spawn(async move {
        loop {
            greedy.send(&route(&["echo"]), &route(&["mine"]), &large).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let resolved = n1.resolve(&way(&[at2], "/service/echo"), None, WAIT).await.unwrap();
    for _ in 0..20 {
        assert_eq!(
            n1.ask(resolved.route.clone(), encode_text("x"), WAIT).await.unwrap().payload,
            encode_text("x")
        );
    }
    assert!(!sending.is_finished(), "it was to be held up, not cut off");
    sending.abort();
}

#[tokio::test]
async fn channels_beyond_what_a_node_holds_take_the_place_of_the_oldest() {
    // Room for fewer than ten.
    let n2 = Node::new(NodeOptions { channel_bytes: 100_000, ..NodeOptions::default() });
    let api = local("api");
    n2.start_worker(local("echo"), Echo, Admission::local().of_listener(&api), Runs::Inline).unwrap();
    n2.listen_channels(api, options(AnyPeer).await.1, Admission::local().tcp()).unwrap();
    let at2 = n2.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    // Somebody alone at another address, then a crowd at one.
    let mut alone = ByHand::connect_from("127.0.0.9", at2).await;
    let (mut channel, to) = open_by_hand(&mut alone, &route(&["mine"])).await;
    until(|| n2.channels().len() == 1).await;
    let (n1, _) = node().await;
    let mut opened = Vec::new();
    for _ in 0..30 {
        let (_, own) = options(AnyPeer).await;
        opened.push(n1.resolve(&way(&[at2], "/secure/api/service/echo"), Some(&own), WAIT).await.unwrap());
    }
    until(|| n2.channels().len() < 12 && n1.channels().len() < 12).await;
    let last = opened.last().unwrap().route.clone();
    assert_eq!(n1.ask(last, vec![7], WAIT).await.unwrap().payload, [7]);
    assert_eq!(n1.ask(opened[0].route.clone(), vec![7], SHORT).await.unwrap_err().kind(), Kind::NotFound);
    let record = channel.seal(payload("still here")).unwrap();
    alone.send(&to, &Route::default(), &record).await;
    assert_eq!(answer(&mut alone, &mut channel).await.1, b"still here");
    // What has ended counts no more.
    for info in n2.channels() {
        n2.close_channel(&info.address).await.unwrap();
    }
    for _ in 0..5 {
        let (_, own) = options(AnyPeer).await;
        n1.resolve(&way(&[at2], "/secure/api/service/echo"), Some(&own), WAIT).await.unwrap();
    }
    until(|| n2.channels().len() == 5).await;
}

#[tokio::test]
async fn what_cannot_leave_costs_the_channel_nothing() {
    let (n2, at2) = node().await;
    let mut before = ByHand::connect(at2).await;
    let (mut channel, to) = open_by_hand(&mut before, &route(&["mine"])).await;
    until(|| n2.channels().len() == 1).await;
    let encryptor = n2.channels()[0].address.clone();
    let send = |hops: usize, length: usize| {
        let onward = std::iter::once(encryptor.clone()).chain(vec![local("x"); hops]).collect();
        n2.send(Message::new(onward, route(&["echo"]), vec![0; length]))
    };
    // Longer than a frame, or on a way that nobody takes.
    for _ in 0..40 {
        assert_eq!(send(1, 16 * 1024 * 1024 - 500).await.unwrap_err().kind(), Kind::Invalid);
        assert_eq!(send(257, 1).await.unwrap_err().kind(), Kind::Invalid);
    }
    // Its connection has ended.
    drop(before);
    until(|| n2.tcp_connections().is_empty()).await;
    for _ in 0..40 {
        assert_eq!(send(1, 1).await.unwrap_err().kind(), Kind::NotFound);
    }
    // The peer comes back, and still follows.
    let mut after = ByHand::connect(at2).await;
    for text in ["counter 0 tells no way", "back"] {
        let record = channel.seal(payload(text)).unwrap();
        after.send(&to, &Route::default(), &record).await;
    }
    assert_eq!(answer(&mut after, &mut channel).await.1, b"back");
}

/// Shows itself when it is let.
struct Slow(Somebody, Arc<tokio::sync::Semaphore>);

impl Party for Slow {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move {
            self.1.acquire().await.unwrap().forget();
            self.0.present().await
        })
    }
}

#[tokio::test]
async fn a_handshake_that_gave_way_while_it_was_answered_leaves_nothing_behind() {
    let (n2, at2) = node().await;
    let before = n2.workers().len() + 1; // The connection.
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let party = Slow(Somebody::new().await, Arc::clone(&gate));
    let options = ChannelOptions::new(Arc::new(party), Arc::new(AnyPeer));
    n2.listen_channels(local("slow"), options, Admission::local().tcp()).unwrap();
    let mut stranger = ByHand::connect(at2).await;
    stranger.send(&route(&["slow"]), &route(&["mine"]), &[9; 32]).await;
    stranger.send(&route(&["echo"]), &route(&["mine"]), b"sent").await;
    assert_eq!(stranger.receive().await.2, b"sent");
    n2.stop_channel_listener(&local("slow")).unwrap();
    gate.add_permits(1);
    until(|| gate.available_permits() == 0).await;
    stranger.send(&route(&["echo"]), &route(&["mine"]), b"after").await;
    assert_eq!(stranger.receive().await.2, b"after", "and no second message of a handshake");
    assert_eq!(n2.workers().len(), before);
}
