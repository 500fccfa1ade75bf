//! Many first messages, and what is left of them.

use std::time::{Duration, Instant};

use channel::{AnyPeer, Driver, Progress};
use node::{Address, Kind, Node, Route};
use vault::SecretBytes;

use crate::world::*;

/// First messages that nobody finishes.
const FLOOD: usize = 5000;
/// The variable that makes it a long flood of so many, in which times and memory count.
const LONG: &str = "OCKAM_KMS_FLOOD";
/// Machines that a long flood comes from.
const MACHINES: usize = 64;
/// Honest handshakes beside a long flood: at once, and in all at least.
const HONEST: (usize, usize) = (4, 100);
/// The longest that all but one of a hundred of them may take.
const SLOWEST: Duration = Duration::from_secs(2);
/// The most bytes that a long flood may cost this process, which floods as well.
const GROWTH: usize = 32 * 1024 * 1024;
/// Handshakes under way at a listener, at most.
const AT_A_LISTENER: usize = 1024;
/// Those of one connection.
const OF_ONE: usize = 32;
/// How long a handshake waits for its end.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How many handshakes are under way.
fn handshakes(node: &Node) -> usize {
    node.workers().iter().filter(|one| one.kind == "handshake").count()
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_nobody_finishes_leave_room_for_honest_ones_and_nothing_behind() {
    let long: Option<usize> = std::env::var(LONG).ok().map(|many| many.parse().unwrap());
    let is_long = long.is_some();
    let flood = long.unwrap_or(FLOOD);
    let (machines, at_once, least) = if is_long { (MACHINES, HONEST.0, HONEST.1) } else { (4, 1, 10) };
    let ((n1, _), (n2, at2)) = (node().await, node().await);
    let before = n2.workers().len();
    // What a first channel takes is not the flood's.
    honest(&n1, at2).await;
    until(|| n2.workers().len() == before).await;
    let (start, at_first) = (Instant::now(), resident());
    let mut flooding = tokio::task::JoinSet::new();
    for machine in 0..machines {
        flooding.spawn(async move {
            let from = if is_long { format!("127.{machine}.0.7") } else { "127.0.0.1".to_owned() };
            let mut stranger = ByHand::connect_from(&from, at2).await;
            for at in 0..flood / machines {
                let mut first = [u8::try_from(machine).unwrap(); 32];
                first[1] = u8::try_from(at % 256).unwrap();
                // Some are no key at all, some too short.
                let first = if at % 10 == 9 { &first[..at % 32] } else { &first[..] };
                stranger.send(&route(&["api"]), &route(&["mine"]), first).await;
            }
            if is_long {
                // It is not over when all is sent, but when all is taken.
                stranger.send(&route(&["echo"]), &route(&["mine"]), b"over").await;
                while stranger.receive().await.2 != b"over" {}
            }
            stranger
        });
    }
    let flooding = tokio::spawn(flooding.join_all());
    let (mut took, mut most) = (Vec::new(), at_first);
    let is_over = |many: usize| if is_long { flooding.is_finished() } else { many >= least };
    while !is_over(took.len()) {
        let mut round = tokio::task::JoinSet::new();
        for _ in 0..at_once {
            let n1 = n1.clone();
            round.spawn(async move { honest(&n1, at2).await });
        }
        took.extend(round.join_all().await);
        most = most.max(resident());
    }
    let lasted = start.elapsed();
    let strangers = flooding.await.unwrap();
    // What is half open is bounded while the connections stay, and gone when they end.
    until(|| handshakes(&n2) <= (machines * OF_ONE).min(AT_A_LISTENER)).await;
    most = most.max(resident());
    drop(strangers);
    until(|| n2.workers().len() == before).await;
    took.sort_unstable();
    let (p99, slowest) = (took[(took.len() * 99).div_ceil(100) - 1], took[took.len() - 1]);
    let (many, grown) = (took.len(), most - at_first);
    println!(
        "{flood} first messages of {machines} in {lasted:.1?}; {many} honest handshakes: p99 {p99:.1?}, \
         slowest {slowest:.1?}; {} KiB of memory more",
        grown / 1024
    );
    if is_long {
        assert!(many >= least, "too few to tell");
        assert!(p99 <= SLOWEST, "an honest handshake waits");
        assert!(grown <= GROWTH, "a flood costs memory");
    }
}

/// How long a connection and a channel through it take.
async fn honest(from: &Node, to: std::net::SocketAddr) -> Duration {
    let (_, options) = options(AnyPeer).await;
    let start = Instant::now();
    let resolved = from.resolve(&way(&[to], "/service/api"), None, WAIT).await.unwrap();
    let open = from.open_channel(resolved.route.clone(), options, WAIT).await.unwrap();
    let took = start.elapsed();
    from.close_channel(&open.address).await.unwrap();
    from.release(&resolved).await;
    took
}

/// Begins as many handshakes as one connection may have, and says where they are.
async fn begin_many(stranger: &mut ByHand) -> Vec<Address> {
    for at in 0..OF_ONE {
        let first = [u8::try_from(at + 1).unwrap(); 32];
        stranger.send(&route(&["api"]), &route(&["mine"]), &first).await;
    }
    let mut begun = Vec::new();
    for _ in 0..OF_ONE {
        begun.extend(stranger.receive().await.1.0);
    }
    begun
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_handshakes_makes_room_before_somebody_alone() {
    for _ in 0..10 {
        let (n2, at2) = node().await;
        let start = Instant::now();
        let mut alone = ByHand::connect_from("127.0.0.9", at2).await;
        let party = Somebody::new().await;
        let random = SecretBytes::random(32).unwrap();
        let (mut driver, first) = Driver::initiate(party.presentation(), party.key(), &random).unwrap();
        alone.send(&route(&["api"]), &route(&["mine"]), &first).await;
        let (_, to, second) = alone.receive().await;
        let (mut crowd, mut begun) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let mut stranger = ByHand::connect_from("127.0.0.8", at2).await;
            begun.push(begin_many(&mut stranger).await);
            crowd.push(stranger);
            assert!(handshakes(&n2) <= AT_A_LISTENER);
        }
        let workers = n2.workers();
        let is_there = |one: &&Address| workers.iter().any(|worker| worker.address == **one);
        let there: Vec<_> = begun.iter().map(|of_one| of_one.iter().filter(is_there).count()).collect();
        if start.elapsed() > HANDSHAKE_WAIT {
            println!("this machine is so slow that handshakes end by themselves: once more");
            continue;
        }
        assert_eq!(workers.iter().filter(|one| one.kind == "handshake").count(), AT_A_LISTENER);
        // The oldest of all stays, and the oldest of the crowd are gone: 256 and one for the place of that one.
        assert!(to.0.iter().all(|one| is_there(&one)), "the one alone gave way");
        assert_eq!(there, [[0; 8].as_slice(), &[OF_ONE - 1], &[OF_ONE; 31]].concat());
        let Progress::Open(Some(third), _) = driver.receive(&second, now(), &AnyPeer).await.unwrap() else {
            panic!("it is not open");
        };
        alone.send(&to, &route(&["mine"]), &third).await;
        until(|| n2.channels().len() == 1).await;
        assert_eq!(n2.channels()[0].peer, party.identifier());
        return;
    }
    panic!("no flood was over in {HANDSHAKE_WAIT:?}");
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

/// A stranger who takes no answers, and has so little room for them that they wait at the node.
async fn deaf(to: std::net::SocketAddr) -> ByHand {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.8:0".parse().unwrap()).unwrap();
    let mut stranger = ByHand(socket.connect(to).await.unwrap());
    tokio::io::AsyncWriteExt::write_all(&mut stranger.0, &[1]).await.unwrap();
    stranger
}

/// Each answer that had to wait for them would hold one of the listener's places for five seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_answers_holds_nobody_up() {
    let ((n1, _), (_n2, at2)) = (node().await, node().await);
    honest(&n1, at2).await;
    let mut flooding = tokio::task::JoinSet::new();
    for _ in 0..2 {
        flooding.spawn(async move {
            let mut stranger = deaf(at2).await;
            for at in 0..20_000_usize {
                let first = [u8::try_from(at % 250 + 2).unwrap(); 32];
                stranger.send(&route(&["api"]), &route(&["mine"]), &first).await;
            }
            stranger
        });
    }
    let (start, mut took) = (Instant::now(), Vec::new());
    // Until their queues are full, and for some time after that.
    while start.elapsed() < Duration::from_secs(25) {
        took.push(honest(&n1, at2).await);
    }
    took.sort();
    println!("{} honest handshakes, the slowest {:?}", took.len(), took.last());
    let late = took.iter().filter(|took| **took > Duration::from_secs(4)).count();
    assert!(late * 2 < took.len(), "{late} of {} waited", took.len());
    assert!(took.len() > 10, "only {} in 25 s", took.len());
}
