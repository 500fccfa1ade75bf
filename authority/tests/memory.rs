//! How much memory a request can take before it is known who sent it. Its own process: the allocator counts everything in it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

#[path = "suite/common.rs"]
#[allow(dead_code, reason = "shared with the other test binaries, which use more of it")]
mod common;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
