//! Connections that say nothing or say it slowly, more of them than there are places: an honest client is served all the
//! same, and every one of them ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use authority::http::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{World, memory};
use crate::net::{Site, plain, read, send};

/// A sample of the metrics.
pub(crate) fn sample(site: &Site, line: &str) -> f64 {
    let text = site.world.authority.metrics().text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

pub(crate) async fn until(what: &str, seconds: u64, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(seconds), "{what} within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What slow clients do, each in its own way, a byte a second.
async fn slow(number: usize, to: std::net::SocketAddr, over: Arc<AtomicBool>) {
    let whole: &[u8] = match number % 5 {
        0 => b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        1 => b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        2 => b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\na\r\n1\r\na\r\n1\r\n",
        3 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        _ => b"",
    };
    // All but a few bytes of some come at once, so that every stage has its crowd.
    let at_once = if number % 10 < 5 { whole.len().saturating_sub(30) } else { 0 };
    let Ok(mut stream) = TcpStream::connect(to).await else { return };
    let (first, rest) = whole.split_at(at_once);
    if stream.write_all(first).await.is_err() {
        return;
    }
    for byte in rest {
        // One in seven closes in the middle of it.
        if over.load(Ordering::Relaxed) || (number.is_multiple_of(7) && *byte == b'/') {
            return;
        }
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Until it is cut. One whose connecting was lost in the crowd would wait for ever.
    let mut rest = [0; 64];
    while !over.load(Ordering::Relaxed)
        && tokio::time::timeout(Duration::from_millis(200), stream.read(&mut rest)).await.is_err()
    {}
}

/// How long the answers to an honest client take, for as long as this lasts: from the shortest to the longest.
async fn honest(site: &Site, lasting: Duration, pause: Duration) -> Vec<Duration> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < lasting {
        let asked = Instant::now();
        // All come from this machine, so the honest one too can lose a place to those behind it before it is heard.
        while plain(site, "GET", "/v1/issuer").await.status != 200 {
            assert!(asked.elapsed() < Duration::from_secs(2));
        }
        times.push(asked.elapsed());
        tokio::time::sleep(pause).await;
    }
    times.sort();
    times
}

/// `OCKAM_KMS_SLOW` says how many slow connections a long run has, with the deadlines and places that a server has when nothing
/// else is said. Only then does it count how long answers take.
fn slow_in_a_long_run() -> Option<usize> {
    std::env::var("OCKAM_KMS_SLOW").ok().map(|slow| slow.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_keep_no_honest_client_out_and_all_end() {
    const SLOW: usize = 400;
    /// Shorter than the shortest deadline of a long run, so that the crowd is there all the while.
    const LASTING: Duration = Duration::from_secs(8);
    let long = slow_in_a_long_run();
    let few = Options {
        connections: 64,
        header_deadline: Duration::from_secs(3),
        body_deadline: Duration::from_secs(4),
        idle_deadline: Duration::from_secs(8),
        ..Options::default()
    };
    let options = if long.is_some() { Options::default() } else { few };
    let (crowd, places) = (long.unwrap_or(SLOW), options.connections);
    let (lasting, pause) = match long {
        Some(_) => (LASTING, Duration::from_millis(2)),
        None => (Duration::from_secs(4), Duration::from_millis(10)),
    };
    let site = Site::of(World::new(memory).await, options).await;
    let idle = if long.is_some() { honest(&site, lasting, pause).await } else { Vec::new() };
    let (addr, over) = (site.addr(), Arc::new(AtomicBool::new(false)));
    let begin = Instant::now();
    let slow: Vec<_> = (0..crowd).map(|number| tokio::spawn(slow(number, addr, Arc::clone(&over)))).collect();
    let most = places.min(crowd) as f64;
    until("every place is taken", 20, || sample(&site, "ockam_kms_connections") >= most - 1.0).await;
    let times = honest(&site, lasting, pause).await;
    let longest = times.last().unwrap();
    assert!(*longest < Duration::from_secs(2), "{longest:?}");
    assert!(times.len() > 10, "{}", times.len());
    assert!(crowd < places || sample(&site, "ockam_kms_connections_evicted_total") > 0.0);
    // None of them has gone of its own accord but the few that close in the middle: the server ends them.
    until("all are reaped", 60, || sample(&site, "ockam_kms_connections") == 0.0).await;
    let reaped = begin.elapsed();
    over.store(true, Ordering::Relaxed);
    for one in slow {
        one.await.unwrap();
    }
    if long.is_some() {
        let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
        let (before, meanwhile) = (p99(&idle), p99(&times));
        println!(
            "p99 of an honest client: {before:?} of {} idle, {meanwhile:?} of {} among {crowd} slow ones; all reaped after {reaped:?}",
            idle.len(),
            times.len()
        );
        assert!(meanwhile <= 2 * before + Duration::from_millis(5), "{meanwhile:?}, idle {before:?}");
        assert!(reaped <= Duration::from_secs(60), "{reaped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_all_have_a_place_and_beyond_the_oldest_makes_room() {
    let options = Options { connections: 3, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let mut open = Vec::new();
    for count in 1..=3 {
        open.push(TcpStream::connect(site.addr()).await.unwrap());
        until("taken", 5, || sample(&site, "ockam_kms_connections") == f64::from(count)).await;
    }
    assert_eq!(sample(&site, "ockam_kms_connections_evicted_total"), 0.0);
    assert_eq!(plain(&site, "GET", "/healthz").await.status, 200);
    let mut oldest = open.remove(0);
    assert_eq!(read(&mut oldest).await.status, 0, "closed without a word");
    for mut other in open {
        other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut other).await.status, 200, "the others stayed");
    }
    assert_eq!(sample(&site, "ockam_kms_connections_evicted_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_server_waiting_is_cut_whatever_the_other_deadlines_say() {
    let options = Options { idle_deadline: Duration::from_millis(400), ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let begin = Instant::now();
    for start in ["", "GET /healthz HTT", "POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"]
    {
        let mut stream = TcpStream::connect(site.addr()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        assert_eq!(read(&mut stream).await.status, 0);
    }
    assert!(begin.elapsed() >= Duration::from_millis(1200));
    assert!(begin.elapsed() < Duration::from_secs(9), "before the deadlines for heads and bodies");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_taken_up_to_their_limits() {
    const MOST: usize = 48 * 1024;
    let site = Site::new().await;
    // With `host` and `connection`.
    for (more, status) in [(98, 200), (99, 431)] {
        let head = format!(
            "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n",
            "a: b\r\n".repeat(more)
        );
        assert_eq!(send(site.addr(), head.as_bytes()).await.status, status, "{more} more headers");
    }
    let start = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: ";
    for (length, status) in [(MOST, 200), (MOST + 1, 431)] {
        let head = format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4));
        assert_eq!(head.len(), length);
        assert_eq!(send(site.addr(), head.as_bytes()).await.status, status, "{length} bytes");
    }
}
