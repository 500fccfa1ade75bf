//! How much memory a request can take, before it is known who sent it and after. Its own process, with one test at a time: the
//! allocator counts everything in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

#[path = "suite/common.rs"]
#[allow(dead_code, reason = "shared with the other test binaries, which use more of it")]
mod common;

#[path = "http/net.rs"]
#[allow(dead_code, reason = "as above")]
mod net;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authority::http::{Options, Server};
use peak_alloc::PeakAlloc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many requests there are at a time: what is common to all counts little.
const MANY: usize = 48;

/// How many single requests there are of a kind.
const SINGLE: usize = 3;

/// The bytes each of many requests takes at most, and the statuses of their answers.
async fn peak_of_each(to: SocketAddr, head: &'static [u8], body: &'static [u8]) -> usize {
    let mut streams = Vec::new();
    for _ in 0..MANY {
        streams.push(TcpStream::connect(to).await.unwrap());
    }
    // Connected and taken: what a connection costs by itself is part of the request's share as well, so it is counted from
    // here without what the client's side needs.
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let last = body.len().saturating_sub(1);
    for stream in &mut streams {
        stream.write_all(head).await.unwrap();
        stream.write_all(&body[..last]).await.unwrap();
    }
    settled().await;
    for stream in &mut streams {
        stream.write_all(&body[last..]).await.unwrap();
    }
    let mut answer = [0; 4096];
    for stream in &mut streams {
        let read = stream.read(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
    MEMORY.peak_usage().saturating_sub(before) / MANY
}

/// Until the server has taken what was sent: nothing changes any more.
async fn settled() {
    let (begin, mut last, mut same) = (Instant::now(), 0, 0);
    while same < 10 && begin.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = MEMORY.current_usage();
        (last, same) = (now, if now == last { same + 1 } else { 0 });
    }
}

fn leak(text: String) -> &'static [u8] {
    Box::leak(text.into_bytes().into_boxed_slice())
}

/// Both tests, one after the other: neither counts what the other does.
#[test]
fn a_request_takes_little() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime().block_on(a_request_of_nobody_known_takes_little());
    runtime().block_on(a_signed_request_takes_little());
}

async fn a_request_of_nobody_known_takes_little() {
    const FIXED: usize = 64 * 1024;
    let world = common::World::new(common::memory).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(world.authority.clone(), listener, Options::default()).unwrap();
    let to = server.local_addr();
    let post = |more: &str, length: usize| {
        leak(format!("POST /v1/enrol HTTP/1.1\r\nhost: x\r\n{more}content-length: {length}\r\n\r\n"))
    };
    // What is common to all requests (caches, threads) is there before.
    peak_of_each(to, post("", 2), b"{}").await;

    // JSON that is many times as large once it is parsed: it is not, before the sender is known.
    let bomb = leak(format!("{}{}", "[".repeat(32 * 1024), "]".repeat(32 * 1024)));
    let headers = "a: b\r\n".repeat(90);
    let long = format!("ockam-identity: {}\r\n", "QUJD".repeat(8 * 1024));
    let cases: [(&str, &'static [u8], &'static [u8]); 4] = [
        ("a body of 64 KiB", post("", bomb.len()), bomb),
        ("no body", post("", 1), b"{"),
        ("many headers", post(&headers, 1), b"{"),
        ("a long header", post(&long, 1), b"{"),
    ];
    for (what, head, body) in cases {
        let each = peak_of_each(to, head, body).await;
        // The head is held once as it came, in a buffer that grows as it comes.
        let most = FIXED + 4 * body.len() + head.len();
        println!("{what}: {each} bytes of {most}");
        assert!(each <= most, "{what}: {each} bytes, and {most} are allowed");
    }
    server.stop().await;
}

/// The bytes that the dearest of some requests takes, each sent for itself, and its status.
async fn dearest(site: &net::Site, request: &net::ByHand) -> (usize, u16) {
    let (mut most, mut status) = (0, 0);
    for number in 0..=SINGLE {
        let mut request = request.clone();
        request.renew();
        let bytes = [request.head().await.as_bytes(), &request.body].concat();
        settled().await;
        let mut stream = TcpStream::connect(site.addr()).await.unwrap();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = [0; 64];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer));
        let read = read.await.unwrap().unwrap();
        // What is common to all (caches, threads) is there after the first.
        if number > 0 {
            most = most.max(MEMORY.peak_usage().saturating_sub(before));
        }
        status = String::from_utf8_lossy(&answer[9..read.min(12)]).parse().unwrap();
    }
    (most, status)
}

async fn a_signed_request_takes_little() {
    const MOST: usize = 1024 * 1024;
    let site = net::Site::new().await;
    let enroller = &site.world.enroller;
    let key = net::RequestKey::of(&site.world, enroller).await;
    let id = identity::Identifier::from_bytes([7; 32]);
    let body = |start: &str, item: &dyn Fn(usize) -> String, end: &str| {
        let mut body = start.to_owned();
        for number in 0.. {
            let next = item(number);
            if body.len() + next.len() + end.len() > authority::http::MAX_BODY {
                break;
            }
            body.push_str(&next);
        }
        // The last one has no comma behind it.
        format!("{}{end}", body.trim_end_matches(','))
    };
    let name = |number: usize| {
        let digits = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let digit = |place: u32| char::from(digits[number / digits.len().pow(place) % digits.len()]);
        (0..3).map(digit).collect::<String>()
    };
    let (members, tickets) = ("/v1/members", "/v1/tickets");
    let with = |rest: &str| format!("{{\"identifier\":\"{id}\",{rest}");
    // Each attribute is two texts and its part of a node of a tree: some ten times the nine bytes that say it.
    let attributes = |number| format!("\"{}\":\"\",", name(number));
    let cases = [
        ("many attributes of a member", members, body(&with("\"attributes\":{"), &attributes, "}}"), 400),
        ("many attributes of a ticket", tickets, body("{\"attributes\":{", &attributes, "}}"), 400),
        (
            "one attribute many times",
            members,
            body(&with("\"attributes\":{"), &|_| "\"a\":\"\",".to_owned(), "}}"),
            204,
        ),
        ("a list for a name", members, body("{\"identifier\":[", &|_| "0,".to_owned(), "]}"), 400),
        ("a list for a number", tickets, body("{\"expires_in\":[", &|_| "0,".to_owned(), "]}"), 400),
        ("lists in lists", tickets, body("{\"attributes\":", &|_| "[".to_owned(), ""), 400),
        ("a field that is unknown", tickets, body("{\"other\":[", &|_| "{},".to_owned(), "]}"), 400),
        (
            "a text that is all escapes",
            members,
            body(&with("\"attributes\":{\"a\":\""), &|_| "\\u0001".to_owned(), "\"}}"),
            400,
        ),
        (
            "as many attributes as there may be",
            members,
            body(
                &with("\"attributes\":{"),
                &|number| match number {
                    0..128 => format!("\"{}\":\"{}\",", name(number), "x".repeat(250)),
                    _ => ",".to_owned(),
                },
                "}}",
            ),
            204,
        ),
    ];
    for (what, path, body, expected) in cases {
        let request = net::ByHand::new(&site, &enroller.identity, &key, "POST", path, body.as_bytes());
        let (bytes, status) = dearest(&site, &request).await;
        println!("{what}: {bytes} bytes of {MOST}, {status}");
        assert_eq!(status, expected, "{what}");
        assert!(bytes <= MOST, "{what}: {bytes} bytes, and {MOST} are allowed");
    }
    site.server.stop().await;
}
