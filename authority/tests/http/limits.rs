//! Too large, too slow, too many, and not HTTP at all: each is ended, and the server goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::Kind;
use authority::client;
use authority::http::{MAX_BODY, Options, Server};
use authority::service::Operator;
use authority::ticket::{Code, NewTicket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Failing, World, attributes, memory};
use crate::net::{ByHand, RequestKey, Site, ask, plain, read, send};

fn quick() -> Options {
    let short = Duration::from_millis(300);
    Options { header_deadline: short, body_deadline: short, drain: short, ..Options::default() }
}

/// Until a credential is about to be signed: its intent is stored.
async fn signing(world: &World) {
    let operator = Operator::of_this_process();
    while world.authority.orphans(&operator, None, 1).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn still_serves(site: &Site) {
    assert_eq!(plain(site, "GET", "/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_64_kib_is_refused() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let start = format!(r#"{{"identifier":"{}","attributes":{{"a":""#, enroller.identity.identifier());
    for (length, status) in [(MAX_BODY, 400), (MAX_BODY + 1, 413)] {
        let body = format!("{start}{}\"}}}}", "x".repeat(length - start.len() - 3));
        assert_eq!(body.len(), length);
        let request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/members", body.as_bytes());
        let answer = request.send(site.addr()).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.field("field"),
            if status == 400 { "attributes" } else { "-" },
            "the smaller one was read"
        );
        // As chunks, whose sum nobody declares.
        let head =
            request.head().await.replace(&format!("content-length: {length}"), "transfer-encoding: chunked");
        let mut bytes = head.into_bytes();
        for chunk in body.as_bytes().chunks(1 << 14) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        // The first of the two was this very request: its nonce is spent.
        let expected = if status == 413 { 413 } else { 401 };
        assert_eq!(send(site.addr(), &bytes).await.status, expected);
    }
    still_serves(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_are_cut() {
    let site = Site::of(World::new(memory).await, quick()).await;
    let begin = Instant::now();
    // A byte now and then never lets the deadline start again.
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    let dripped = async {
        for byte in b"GET /healthz HTTP/1.1\r\nhost: x\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), dripped).await.expect("cut");
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    stream.write_all(b"POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let answer = read(&mut stream).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    // Says nothing at all.
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    assert_eq!(read(&mut stream).await.status, 0);
    // Says nothing more.
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.status, 200);
    assert!(begin.elapsed() < Duration::from_secs(8));
    still_serves(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_unavailable() {
    let failing = Failing::new();
    let world = World::with(memory, failing.clone(), |_| {}).await;
    let (member, _) = world.member(&[]).await;
    let options = Options { handler_deadline: Duration::from_millis(200), ..Options::default() };
    let site = Site::of(world, options).await;
    let gate = failing.hold();
    let client = Arc::new(site.client(&member).await);
    let refused = ask(&client, |client| client.credential()).await.unwrap_err();
    assert_eq!(refused.kind(), client::Kind::Unavailable);
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    gate.add_permits(100);
    ask(&client, |client| client.credential()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_away_is_no_fault_of_the_caller() {
    let failing = Failing::new();
    let world = World::with(memory, failing.clone(), |_| {}).await;
    let (member, _) = world.member(&[]).await;
    let site = Site::of(world, Options::default()).await;
    let client = Arc::new(site.client(&member).await);
    for (kind, expected) in
        [(vault::Kind::Unavailable, client::Kind::Unavailable), (vault::Kind::Denied, client::Kind::Internal)]
    {
        failing.fail_next(vault::Error::new(kind, "the secret reason"));
        let refused = ask(&client, |client| client.credential()).await.unwrap_err();
        assert_eq!(refused.kind(), expected);
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    ask(&client, |client| client.credential()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_own_connection() {
    let site = Site::of(World::new(memory).await, quick()).await;
    let mut state = 1_u64;
    for round in 0..60 {
        let bytes: Vec<u8> = (0..(round * 97) % 4096 + 1)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let mut stream = TcpStream::connect(site.addr()).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
            .await
            .expect("ended");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    for (bytes, status) in [
        (
            "GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(),
            400,
        ),
        ("POST /v1/enrol HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(), 400),
        ("GET  /healthz\r\n\r\n".to_owned(), 400),
        // Another protocol: closed without a word.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 0),
        (format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), 431),
        (format!("GET /healthz HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(100_000)), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000)), 414),
    ] {
        let status_was = send(site.addr(), bytes.as_bytes()).await.status;
        // A server that closes while more is coming may lose its answer on the way.
        assert!(
            status_was == status || (bytes.len() > 65_536 && [0, 431].contains(&status_was)),
            "{status_was} in place of {status}: {:.40}",
            bytes
        );
    }
    still_serves(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_answered_before_it_stops() {
    let failing = Failing::new();
    let world = World::with(memory, failing.clone(), |_| {}).await;
    let (member, _) = world.member(&[]).await;
    let Site { world, server } = Site::of(world, Options::default()).await;
    let site_url = format!("http://{}", server.local_addr());
    let key = RequestKey::of(&world, &member).await;
    let client = client::Client::new(
        client::Endpoint::new(&site_url).unwrap(),
        world.root.identity.identifier(),
        member.identity.clone(),
        key.signer,
        &key.attestation,
        world.clock.clone(),
    );
    let client = Arc::new(client.unwrap().knowing(world.authority.issuer_bundle()).unwrap());
    let gate = failing.hold();
    let asking = tokio::spawn({
        let client = Arc::clone(&client);
        async move { ask(&client, |client| client.credential()).await }
    });
    signing(&world).await;
    let addr = server.local_addr();
    let idle = TcpStream::connect(addr).await.unwrap();
    let stopping = tokio::spawn(server.stop());
    // Whoever comes meanwhile is told so, with a word about what is going on.
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let told = async {
        loop {
            let answer = send(addr, head("/v1/issuer").as_bytes()).await;
            if answer.status == 503 {
                return answer;
            }
            // Before the end has begun it is answered as ever, and in that moment the connection is closed.
            assert!([0, 200].contains(&answer.status), "closed, answered or refused: {answer:?}");
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), told).await.expect("draining");
    assert_eq!((answer.header("connection"), answer.header("retry-after")), (Some("close"), Some("1")));
    assert_eq!(answer.json()["type"], "urn:ockam-kms:problem:ending");
    let answer = send(addr, head("/readyz").as_bytes()).await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(answer.json()["missing"], serde_json::json!(["vault", "draining"]));
    assert!(!stopping.is_finished(), "it waits for the answer");
    gate.add_permits(100);
    let granted = asking.await.unwrap().unwrap();
    assert_eq!(granted.verified.subject(), member.identity.identifier());
    tokio::time::timeout(Duration::from_secs(12), stopping).await.expect("stopped").unwrap();
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_cut() {
    let failing = Failing::new();
    let world = World::with(memory, failing.clone(), |_| {}).await;
    let (member, _) = world.member(&[]).await;
    let site = Site::of(world, quick()).await;
    let addr = site.addr();
    let _gate = failing.hold();
    let key = RequestKey::of(&site.world, &member).await;
    let request = ByHand::new(&site, &member.identity, &key, "POST", "/v1/credential", b"");
    let asking = tokio::spawn(async move { request.send(addr).await });
    signing(&site.world).await;
    let begin = Instant::now();
    site.server.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(asking.await.unwrap().status, 0, "cut without an answer");
}

#[tokio::test]
async fn other_machines_are_let_in_only_when_it_is_said() {
    let world = World::new(memory).await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address).await else { continue };
        let refused = Server::start(world.authority.clone(), listener, Options::default()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Denied);
        assert!(
            refused.hint().unwrap().contains("--tls-cert")
                && refused.hint().unwrap().contains("--insecure-http")
        );
    }
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let options = Options { insecure_http: true, ..Options::default() };
    Server::start(world.authority.clone(), listener, options).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_and_successes_are_not() {
    let options = Options { limit_loopback: true, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let enroller = Arc::new(site.enroller().await);
    let many = ask(&enroller, |enroller| (0..30).try_for_each(|_| enroller.members().map(drop))).await;
    many.unwrap();
    for _ in 0..10 {
        assert_eq!(plain(&site, "GET", "/v1/members").await.status, 401);
    }
    let answer = plain(&site, "GET", "/v1/members").await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert_eq!(plain(&site, "GET", "/v1/issuer").await.status, 200, "what is public stays public");
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_guessed_ten_times_a_minute_at_most() {
    let options = Options { limit_loopback: true, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let new = NewTicket::new(attributes(&[]), None, None).unwrap();
    let right = site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap().code;
    let (_, client) = site.stranger().await;
    let client = Arc::new(client);
    let refused = ask(&client, move |client| {
        for _ in 0..10 {
            let refused = client.enrol(&Code::generate().unwrap()).unwrap_err();
            assert_eq!(refused.kind(), client::Kind::Forbidden);
        }
        client.enrol(&right).map(drop)
    })
    .await
    .unwrap_err();
    assert_eq!(refused.kind(), client::Kind::RateLimited, "the right one is not tried");
    assert!(refused.retry_after().is_some());
}
