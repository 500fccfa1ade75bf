//! Messages, TCP and who gets where without channels.

use node::workers::{Echo, Hop, encode_text};
use node::{Admission, Kind, Node, NodeOptions, Route, Runs, TCP};

use crate::world::*;

#[tokio::test]
async fn a_message_goes_over_tcp_and_its_answer_comes_back() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    let resolved = n1.resolve(&way(&[at2], "/service/uppercase"), None, WAIT).await.unwrap();
    assert_eq!(shout(&n1, &resolved.route, "hello ockam!").await.unwrap(), "HELLO OCKAM!");
    // A long one, larger than what is queued at once.
    let long = vec![b'a'; 5 * 1024 * 1024];
    let to = n1.resolve(&way(&[at2], "/service/echo"), None, WAIT).await.unwrap();
    assert_eq!(n1.ask(to.route.clone(), long.clone(), WAIT).await.unwrap().payload, long);
    n1.release(&to).await;
    until(|| n1.tcp_connections().len() == 1).await;
}

#[tokio::test]
async fn each_node_dials_the_next_one_and_answers_come_back() {
    let ((n1, at1), (n2, at2), (n3, at3)) = (node().await, node().await, node().await);
    // The first step is this node itself: it is left out.
    let to = way(&[at1, at2, at3], "/service/uppercase");
    let resolved = n1.resolve(&to, None, WAIT).await.unwrap();
    assert_eq!(resolved.route.0.len(), 3);
    for text in ["one", "two"] {
        assert_eq!(shout(&n1, &resolved.route, text).await.unwrap(), text.to_uppercase());
    }
    // One connection each, used again.
    assert_eq!(
        (n1.tcp_connections().len(), n2.tcp_connections().len(), n3.tcp_connections().len()),
        (1, 2, 1)
    );
}

#[tokio::test]
async fn a_node_dials_for_nobody_unless_it_was_told_to() {
    let ((n1, _), (_n3, at3)) = (node().await, node().await);
    let closed = Node::new(NodeOptions::default());
    let at2 = closed.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    let resolved = n1.resolve(&way(&[at2, at3], "/service/uppercase"), None, WAIT).await.unwrap();
    assert_silent(&n1, resolved.route).await;
    assert_eq!(closed.tcp_connections().len(), 1);
}

#[tokio::test]
async fn a_hop_is_a_bridge_and_without_one_nobody_gets_out_again() {
    let ((n1, _), (n2, _), (_n3, at3)) = (node().await, node().await, node().await);
    let at2 = n2.tcp_listeners()[0].socket;
    let a = n1.connect_tcp(&at2.to_string()).await.unwrap().address;
    let b = n2.connect_tcp(&at3.to_string()).await.unwrap().address;
    let over = |names: &[node::Address]| names.iter().cloned().collect::<Route>();
    // Whoever knows the address of a connection of n2 cannot use it.
    assert_silent(&n1, over(&[a.clone(), b.clone(), local("uppercase")])).await;
    start_hop(&n2);
    let bridged = over(&[a, local("hop"), b, local("uppercase")]);
    assert_eq!(shout(&n1, &bridged, "over a bridge").await.unwrap(), "OVER A BRIDGE");
}

#[tokio::test]
async fn what_is_not_admitted_is_not_reached() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    n2.start_worker(local("private"), Echo, Admission::local(), Runs::Inline).unwrap();
    let connection = n1.connect_tcp(&at2.to_string()).await.unwrap().address;
    for name in ["private", "nobody"] {
        assert_silent(&n1, [connection.clone(), local(name)].into_iter().collect()).await;
    }
    // The node itself reaches it, and is told what is wrong.
    assert_eq!(n2.ask(route(&["private"]), b"x".to_vec(), WAIT).await.unwrap().payload, b"x");
    assert_eq!(n2.ask(route(&["nobody"]), vec![], WAIT).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(n2.ask(Route::default(), vec![], WAIT).await.unwrap_err().kind(), Kind::Invalid);
    let taken = n2.start_worker(local("private"), Echo, Admission::local(), Runs::Inline).unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists);
    n2.stop_worker(&local("private")).unwrap();
    assert_eq!(n2.stop_worker(&local("private")).unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn nobody_makes_a_node_speak_for_itself() {
    // An answer that is asked for to be sent elsewhere: out through another connection, or to a worker that takes nothing but
    // the node's own.
    let ((n2, at2), (_n3, at3)) = (node().await, node().await);
    let elsewhere = n2.connect_tcp(&at3.to_string()).await.unwrap().address;
    n2.start_worker(local("private"), Echo, Admission::local(), Runs::Inline).unwrap();
    let mut stranger = ByHand::connect(at2).await;
    let before = n2.workers().len();
    for back in [
        vec![elsewhere, local("echo")],
        vec![local("private"), local("mine")],
        vec![node::Address::new(TCP, "10.0.0.1:1")],
    ] {
        stranger.send(&route(&["echo"]), &Route(back), b"deflected").await;
    }
    stranger.send(&route(&["echo"]), &route(&["mine"]), b"answered").await;
    // The connection's own address is put in front of a way back, so the first three went through the stranger's connection
    // itself: it has all of them, and nobody else has any.
    for _ in 0..4 {
        let (onward, back, _) = stranger.receive().await;
        assert_ne!(onward.0.first(), Some(&local("echo")));
        assert_eq!(back, route(&["echo"]));
    }
    assert_eq!(n2.workers().len(), before);
}

#[tokio::test]
async fn routes_in_circles_end() {
    let (n1, at1) = node().await;
    start_hop(&n1);
    n1.start_worker(local("hop2"), Hop, Admission::local().tcp(), Runs::Inline).unwrap();
    let circle: Route = (0..200).map(|at| local(if at % 2 == 0 { "hop" } else { "hop2" })).collect();
    assert_eq!(n1.ask(circle.clone(), vec![], WAIT).await.unwrap_err().kind(), Kind::Invalid);
    // From outside too, and the node lives on.
    let mut stranger = ByHand::connect(at1).await;
    stranger.send(&circle, &route(&["mine"]), b"").await;
    stranger.send(&route(&["echo"]), &route(&["mine"]), b"still here").await;
    assert_eq!(stranger.receive().await.2, b"still here");
}

#[tokio::test]
async fn frames_are_those_of_the_reference() {
    let (_n1, at1) = node().await;
    // A version of its own, a frame that is too long: the connection ends.
    for bytes in [&[2][..], &[1, 1, 0, 0, 1]] {
        let stream = tokio::net::TcpStream::connect(at1).await.unwrap();
        let mut by_hand = ByHand(stream);
        tokio::io::AsyncWriteExt::write_all(&mut by_hand.0, bytes).await.unwrap();
        by_hand.assert_ended().await;
    }
    // An empty onward route is a heartbeat, an address where nobody is says nothing: the connection stays.
    let mut by_hand = ByHand::connect(at1).await;
    by_hand.send(&Route::default(), &Route::default(), b"").await;
    by_hand.send(&route(&["nobody"]), &route(&["mine"]), b"").await;
    by_hand
        .frame(&hex::decode("8581820044 6563686f 81820041 61 4178 627b7d 00".replace(' ', "")).unwrap())
        .await;
    let (onward, back, payload) = by_hand.receive().await;
    assert_eq!((onward, back, payload), (route(&["a"]), route(&["echo"]), b"x".to_vec()));
    // What is no text is answered.
    by_hand.send(&route(&["uppercase"]), &route(&["a"]), &[0xff]).await;
    assert_eq!(by_hand.receive().await.2, encode_text("error: that is no text"));
}

#[tokio::test]
async fn ends_are_told() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    let resolved = n1.resolve(&way(&[at2], "/service/echo"), None, WAIT).await.unwrap();
    n1.ask(resolved.route.clone(), vec![1], WAIT).await.unwrap();
    n2.stop().await;
    until(|| n1.tcp_connections().is_empty()).await;
    assert_eq!(n1.ask(resolved.route, vec![1], WAIT).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(n1.connect_tcp(&at2.to_string()).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(n1.connect_tcp("nowhere").await.unwrap_err().kind(), Kind::Invalid);
    // Nothing can be listened on twice.
    let taken = n1.tcp_listeners()[0].socket;
    assert_eq!(n1.listen_tcp(taken).await.unwrap_err().kind(), Kind::Unavailable);
    let name = n1.tcp_listeners()[0].address.clone();
    n1.stop_tcp_listener(&name).unwrap();
    assert_eq!(n1.stop_tcp_listener(&name).unwrap_err().kind(), Kind::NotFound);
    until(|| std::net::TcpStream::connect(taken).is_err()).await;
}
