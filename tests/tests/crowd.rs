//! Two thousand connections that say nothing, or say it a byte a second, in fragments, or leave in the middle of it: honest people
//! are served by the real program all the same, and every one of those connections is ended by the deadlines that it runs with.
//!
//! `authority/tests/http/load.rs` has the same with fewer, and with deadlines that a test can wait out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authority::client::{Client, Kind};
use authority::member::MemberAttributes;
use ockam_kms_tests::crash::{Program, World};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const SLOW: usize = 2_000;
/// By when every connection has to be ended: twice the longest deadline of a request.
const REAPED: Duration = Duration::from_secs(60);
/// How long an honest person waits at the most, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// What slow clients say, each kind a part of what a server waits for.
const KINDS: [(&str, &[u8]); 5] = [
    (
        "head",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    (
        "body",
        b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    (
        "chunks",
        b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\n",
    ),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ("silence", b""),
];

/// What they have in common.
#[derive(Debug, Default)]
struct Crowd {
    /// How many are connected.
    connected: AtomicUsize,
    over: AtomicBool,
}

/// A slow client. Tells how long it was until the server ended it, or nothing when it left by itself.
async fn slow(number: usize, to: SocketAddr, crowd: Arc<Crowd>) -> Option<(&'static str, Duration)> {
    let (kind, whole) = KINDS[number % KINDS.len()];
    let mut stream = TcpStream::connect(to).await.ok()?;
    let begun = Instant::now();
    crowd.connected.fetch_add(1, Ordering::Relaxed);
    // All but the last bytes of some come at once, so that every stage has its crowd.
    let at_once = if number % 10 < 5 { whole.len().saturating_sub(60) } else { 0 };
    let (first, rest) = whole.split_at(at_once);
    // One in seven leaves in the middle of it.
    let leaves = number.is_multiple_of(7);
    let mut said = stream.write_all(first).await;
    let mut answer = [0; 256];
    for (count, byte) in rest.iter().map(Some).chain(std::iter::repeat(None)).enumerate() {
        if crowd.over.load(Ordering::Relaxed) || leaves && count == 4 {
            return None;
        }
        if let Some(byte) = byte {
            said = said.and(stream.write_all(&[*byte]).await);
        }
        let ended = match timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => true,
            // An answer; the end comes after it.
            Ok(Ok(_)) | Err(_) => said.is_err(),
        };
        if ended {
            return Some((kind, begun.elapsed()));
        }
    }
    None
}

/// An honest person's request: how long until it was answered, and how often it was sent. All come from one machine, so that an
/// honest connection too can lose its place to those behind it, before it is heard.
fn ask(client: &Client) -> (Duration, usize) {
    let begun = Instant::now();
    for tries in 1.. {
        match client.make_ticket(&MemberAttributes::default(), Some(3600), None) {
            Ok(_) => return (begun.elapsed(), tries),
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
        }
        assert!(begun.elapsed() < PATIENCE, "not answered in {:?}", begun.elapsed());
    }
    unreachable!("numbers end nowhere")
}

/// The middle of some times, and what all but a hundredth of them are below.
fn figures(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
fn two_thousand_slow_connections_keep_nobody_out_and_are_ended() {
    // A descriptor for each connection, on both sides.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most > 2 * SLOW as u64), "too few descriptors: {limit:?}");

    let mut world = World::new(Program::Real);
    world.start();
    let to: SocketAddr = world.url().trim_start_matches("http://").parse().unwrap();
    let client = world.enroller();
    let mut idle: Vec<_> = (0..100).map(|_| ask(&client).0).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", world.pid().as_raw_nonzero())).unwrap().count();
    // With one for the connection that the honest client keeps.
    let before = open();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let crowd = Arc::new(Crowd::default());
    let begun = Instant::now();
    let slow: Vec<_> = (0..SLOW).map(|number| runtime.spawn(slow(number, to, Arc::clone(&crowd)))).collect();
    let (mut times, mut again, mut most) = (Vec::new(), 0, 0);
    // Until the server holds no more than before. Counted at the server: where the system has no more room for those who
    // wait to be let in, it drops some who believe that they are connected.
    let reaped = loop {
        let held = open();
        most = most.max(held);
        if begun.elapsed() > Duration::from_secs(5) && held <= before {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < REAPED, "{held} descriptors after {:?}, {before} before", begun.elapsed());
        let (took, tries) = ask(&client);
        times.push(took);
        again += tries - 1;
        std::thread::sleep(Duration::from_millis(20));
    };
    let connected = crowd.connected.load(Ordering::Relaxed);
    let dropped = slow.iter().filter(|one| !one.is_finished()).count();
    crowd.over.store(true, Ordering::Relaxed);
    let mut longest: BTreeMap<_, (usize, Duration)> = BTreeMap::new();
    for (kind, lived) in slow.into_iter().filter_map(|one| runtime.block_on(one).unwrap()) {
        assert!(lived < REAPED, "{kind}: {lived:?}");
        let (count, most) = longest.entry(kind).or_default();
        (*count, *most) = (*count + 1, lived.max(*most));
    }
    println!(
        "{connected} connected, {dropped} of them never let in; {most} descriptors of the server at the most, {before} before"
    );
    println!(
        "all ended after {reaped:?}; those that did not leave by themselves, by kind, and the longest: {longest:?}"
    );
    println!(
        "honest requests: median and p99 {:?} idle, {:?} of {} meanwhile, {again} sent again",
        figures(&mut idle),
        figures(&mut times),
        times.len()
    );
    assert!(
        connected > SLOW * 9 / 10 && most > before + SLOW / 4,
        "{connected} connected, {most} descriptors"
    );
    assert_eq!(longest.len(), KINDS.len(), "{longest:?}");
    assert!(longest.values().map(|(count, _)| count).sum::<usize>() > SLOW / 2, "{longest:?}");
    assert!(times.len() > 50, "{}", times.len());
    assert!(client.endpoint().missing().unwrap().is_empty());
    let log = world.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// The measure sees connections that nobody ends: those of a listener that takes them and does nothing.
#[test]
fn control_a_server_that_ends_nothing_is_noticed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let crowd = Arc::new(Crowd::default());
    let ended = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        let slow: Vec<_> = (0..50).map(|number| tokio::spawn(slow(number, to, Arc::clone(&crowd)))).collect();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(slow.iter().filter(|one| one.is_finished()).count(), 0);
        crowd.over.store(true, Ordering::Relaxed);
        let mut ended = Vec::new();
        for one in slow {
            ended.push(one.await.unwrap());
        }
        ended
    });
    assert!(ended.iter().all(Option::is_none), "{ended:?}");
}
