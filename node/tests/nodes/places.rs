//! More connections than places, and what one connection may take.

use std::time::{Duration, Instant};

use node::workers::Echo;
use node::{Admission, Node, NodeOptions, Runs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::*;

/// A node with so many places, and `echo` behind them.
async fn narrow(connections: usize) -> (Node, std::net::SocketAddr) {
    let node = Node::new(NodeOptions { connections, ..NodeOptions::default() });
    node.start_worker(local("echo"), Echo, Admission::local().tcp(), Runs::Inline).unwrap();
    let at = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    (node, at)
}

async fn echo(by_hand: &mut ByHand, text: &[u8]) {
    by_hand.send(&route(&["echo"]), &route(&["mine"]), text).await;
    assert_eq!(by_hand.receive().await.2, text);
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let (node, at) = narrow(4).await;
    let mut honest = ByHand::connect_from("127.0.0.9", at).await;
    echo(&mut honest, b"before").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(ByHand::connect_from("127.0.0.8", at).await);
        assert!(node.tcp_connections().len() <= 4);
    }
    // Whoever said something has its place still, and whoever comes gets one.
    echo(&mut honest, b"after").await;
    let mut newcomer = ByHand::connect_from("127.0.0.7", at).await;
    echo(&mut newcomer, b"new").await;
    // The latest of the silent ones has its place, and the oldest has not.
    let mut last = silent.pop().unwrap();
    echo(&mut last, b"last").await;
    silent.swap_remove(0).assert_ended().await;
}

#[tokio::test]
async fn a_crowd_that_talks_makes_room_before_somebody_alone() {
    let (node, at) = narrow(4).await;
    let mut alone = ByHand::connect_from("127.0.0.9", at).await;
    echo(&mut alone, b"alone").await;
    for _ in 0..20 {
        let mut one = ByHand::connect_from("127.0.0.8", at).await;
        echo(&mut one, b"crowd").await;
        assert!(node.tcp_connections().len() <= 4);
    }
    echo(&mut alone, b"still").await;
}

#[tokio::test]
async fn one_that_takes_nothing_gives_its_place_up_at_once() {
    let (node, at) = narrow(1).await;
    let mut greedy = ByHand::connect(at).await;
    for _ in 0..3 {
        greedy.send(&route(&["echo"]), &route(&["mine"]), &vec![0; 3 * 1024 * 1024]).await;
    }
    // Its answers wait to be written.
    let begin = Instant::now();
    let mut honest = ByHand::connect_from("127.0.0.9", at).await;
    echo(&mut honest, b"honest").await;
    assert!(begin.elapsed() < Duration::from_secs(20), "not after all that could be waited for");
    assert_eq!(node.tcp_connections().len(), 1);
}

#[tokio::test]
async fn one_that_sends_nothing_more_keeps_its_place_only_until_another_comes() {
    let (node, at) = narrow(1).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut one = ByHand::connect(at).await;
        for _ in 0..2 {
            one.send(&route(&["echo"]), &route(&["mine"]), &vec![0; 3 * 1024 * 1024]).await;
        }
        // Its answers wait to be written, and nothing is read of it.
        one.0.shutdown().await.unwrap();
        until(|| node.tcp_connections().is_empty()).await;
        greedy.push(one);
    }
    let mut honest = ByHand::connect_from("127.0.0.9", at).await;
    echo(&mut honest, b"honest").await;
    // Each was cut off by the next, long before its own time was over.
    for mut one in greedy {
        let mut taken = Vec::new();
        let _ = tokio::time::timeout(WAIT, one.0.read_to_end(&mut taken)).await.expect("it stays");
        assert!(taken.len() < 6 * 1024 * 1024, "it was written to the end");
    }
}

#[tokio::test]
async fn what_is_no_frame_is_passed_over() {
    let (_node, at) = narrow(4).await;
    let mut stranger = ByHand::connect(at).await;
    let long = vec![0x5a; 300 * 1024];
    for noise in [&b""[..], b"\xff", b"\x84\x80\x80\x41", &long] {
        stranger.frame(noise).await;
    }
    let far = node::Route(vec![local("x"); channel::MAX_HOPS + 1]);
    stranger.send(&route(&["echo"]), &far, b"too many hops").await;
    echo(&mut stranger, b"heard").await;
    // What is longer than any frame cannot be passed over.
    stranger.0.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    stranger.assert_ended().await;
}
