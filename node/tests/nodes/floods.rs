//! Many first messages, and what is left of them.

use std::time::{Duration, Instant};

use channel::{AnyPeer, Driver, Progress};
use node::{Kind, Route};
use vault::SecretBytes;

use crate::world::*;

/// First messages that nobody finishes.
const FLOOD: usize = 5000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_nobody_finishes_leave_room_for_honest_ones_and_nothing_behind() {
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    let before = n2.workers().len();
    let mut flooding = tokio::task::JoinSet::new();
    for source in 0..4_u8 {
        flooding.spawn(async move {
            let mut stranger = ByHand::connect(at2).await;
            for at in 0..FLOOD / 4 {
                let mut first = [source; 32];
                first[1] = u8::try_from(at % 256).unwrap();
                // Some are no key at all, some too short.
                let first = if at % 10 == 9 { &first[..at % 32] } else { &first[..] };
                stranger.send(&route(&["api"]), &route(&["mine"]), first).await;
            }
            stranger
        });
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let resolved = n1.resolve(&way(&[at2], "/service/api"), None, WAIT).await.unwrap();
        let (_, options) = options(AnyPeer).await;
        let start = Instant::now();
        let open = n1.open_channel(resolved.route.clone(), options, WAIT).await.unwrap();
        slowest = slowest.max(start.elapsed());
        n1.close_channel(&open.address).await.unwrap();
        n1.release(&resolved).await;
    }
    println!("the slowest of ten honest handshakes beside {FLOOD} first messages: {slowest:?}");
    let mut strangers = Vec::new();
    while let Some(stranger) = flooding.join_next().await {
        strangers.push(stranger.unwrap());
    }
    // What is half open is bounded while the connections stay, and gone when they end.
    until(|| n2.workers().iter().filter(|one| one.kind == "handshake").count() <= 4 * 32).await;
    drop(strangers);
    until(|| n2.workers().len() == before).await;
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_ends_by_itself() {
    let (n2, at2) = node().await;
    let before = n2.workers().len();
    let mut stranger = ByHand::connect(at2).await;
    let before = before + 1; // The connection.
    let party = Somebody::new().await;
    let random = SecretBytes::random(32).unwrap();
    let (mut driver, first) = Driver::initiate(party.presentation(), party.key(), &random).unwrap();
    stranger.send(&route(&["api"]), &route(&["mine"]), &first).await;
    let (_, to, second) = stranger.receive().await;
    assert_eq!(n2.workers().len(), before + 1);
    until(|| n2.workers().len() == before).await;
    // Its last message comes too late.
    let Progress::Open(Some(third), _) = driver.receive(&second, now(), &AnyPeer).await.unwrap() else {
        panic!("it is not open");
    };
    stranger.send(&to, &route(&["mine"]), &third).await;
    stranger.send(&route(&["echo"]), &route(&["mine"]), b"after").await;
    assert_eq!(stranger.receive().await.2, b"after");
    assert!(n2.channels().is_empty());
}

#[tokio::test]
async fn a_channel_to_nowhere_ends_in_time() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    let resolved = n1.resolve(&way(&[at2], "/service/nobody"), None, WAIT).await.unwrap();
    let before = n1.workers();
    let (_, options) = options(AnyPeer).await;
    let failed = n1.open_channel(resolved.route, options.clone(), SHORT).await.unwrap_err();
    assert_eq!(failed.kind(), Kind::Unavailable);
    let failed = n1.open_channel(Route::default(), options, SHORT).await.unwrap_err();
    assert_eq!(failed.kind(), Kind::Invalid);
    assert_eq!(n1.workers(), before);
}
