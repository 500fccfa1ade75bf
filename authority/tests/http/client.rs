//! What the client makes of servers that are no authority, or none at all.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use authority::client::{Client, Endpoint, Kind};
use authority::ticket::Code;

use crate::common::{World, memory};
use crate::net::{RequestKey, ask};

/// A server that reads one request and answers with these bytes.
fn fake(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let answer = answer.clone();
            thread::spawn(move || {
                drain(&mut stream);
                let _ = stream.write_all(&answer);
            });
        }
    });
    url
}

/// Reads a request to the end of its body.
fn drain(stream: &mut TcpStream) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend(&buffer[..read]),
            _ => return,
        }
    }
}

fn response(status: &str, more: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}", body.len())
        .into_bytes()
}

async fn client_of(url: &str) -> Arc<Client> {
    let world = World::new(memory).await;
    let key = RequestKey::of(&world, &world.enroller).await;
    let (authority, identity) = (world.root.identity.identifier(), world.enroller.identity.clone());
    let client = Client::new(
        Endpoint::new(url).unwrap(),
        authority,
        identity,
        key.signer,
        &key.attestation,
        world.clock.clone(),
    );
    Arc::new(client.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_authority_is_called_that() {
    let problem = r#"{"kind":"forbidden","status":403,"detail":"no"}"#;
    for (name, answer, expected) in [
        ("a web page", response("200 OK", "", "<html>hello</html>"), Kind::Unexpected),
        ("an error page", response("502 Bad Gateway", "", "<html>"), Kind::Unexpected),
        ("a redirection", response("302 Found", "location: http://127.0.0.1:1/\r\n", ""), Kind::Unexpected),
        ("not modified", response("304 Not Modified", "", ""), Kind::Unexpected),
        ("not http", b"220 mail ESMTP\r\n".to_vec(), Kind::Unavailable),
        ("nothing", Vec::new(), Kind::Unavailable),
        ("half an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(), Kind::Unavailable),
        ("a problem", response("403 Forbidden", "", problem), Kind::Forbidden),
        ("a problem of another status", response("500 X", "", problem), Kind::Unexpected),
        ("another list", response("200 OK", "", r#"{"items":[1]}"#), Kind::Unexpected),
    ] {
        let client = client_of(&fake(answer)).await;
        let refused = ask(&client, |client| client.members()).await.unwrap_err();
        assert_eq!(refused.kind(), expected, "{name}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_without_an_end_is_left() {
    let page = r#"{"items":[],"next":"I0000000000000000000000000000000000000000000000000000000000000001"}"#;
    let client = client_of(&fake(response("200 OK", "", page))).await;
    let refused = ask(&client, |client| client.member_ids()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unexpected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_left() {
    let body = "x".repeat(33 * 1024 * 1024);
    let client = client_of(&fake(response("200 OK", "", &body))).await;
    let refused = ask(&client, |client| client.members()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unexpected);
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_it_may_have_happened_is_said() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, may) in [(format!("http://{closed}"), false), (fake(Vec::new()), true)] {
        let client = client_of(&url).await;
        let refused = ask(&client, |client| client.enrol(&Code::generate().unwrap())).await.unwrap_err();
        assert_eq!((refused.kind(), refused.may_have_happened()), (Kind::Unavailable, may), "{refused:?}");
        let refused = ask(&client, |client| client.members()).await.unwrap_err();
        assert!(!refused.may_have_happened(), "reading changes nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_plays_no_tricks_on_a_terminal() {
    let problem = r#"{"kind":"forbidden","status":403,"detail":"\u001b[2Jgone\u0007"}"#;
    let client = client_of(&fake(response("403 Forbidden", "", problem))).await;
    let refused = ask(&client, |client| client.members()).await.unwrap_err();
    assert!(!refused.to_string().chars().any(char::is_control), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_about_somebody_else_is_not_taken() {
    let world = World::new(memory).await;
    let (_, caller) = world.member(&[]).await;
    let other = world.authority.credential(&caller).await.unwrap().to_hex().unwrap();
    let bundle = world.authority.issuer_bundle();
    let answer = format!(r#"{{"credential":"{other}","expires_at":1}}"#);
    let url = fake(response("200 OK", "", &answer));
    let key = RequestKey::of(&world, &world.enroller).await;
    let client = Client::new(
        Endpoint::new(&url).unwrap(),
        bundle.identifier(),
        world.enroller.identity.clone(),
        key.signer,
        &key.attestation,
        world.clock.clone(),
    );
    // What the server would say of itself is not needed: it is known.
    let client = Arc::new(client.unwrap().knowing(bundle).unwrap());
    let refused = ask(&client, |client| client.credential()).await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::Untrusted | Kind::Unexpected), "{refused:?}");
    let other = Client::new(
        Endpoint::new(&url).unwrap(),
        world.enroller.identity.identifier(),
        world.enroller.identity.clone(),
        RequestKey::of(&world, &world.enroller).await.signer,
        &RequestKey::of(&world, &world.enroller).await.attestation,
        world.clock.clone(),
    );
    assert_eq!(other.unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn readiness_is_asked_without_an_identity() {
    let endpoint =
        Endpoint::new(&fake(response("503 X", "", r#"{"ready":false,"missing":["store"]}"#))).unwrap();
    assert_eq!(endpoint.missing().unwrap(), ["store"]);
    assert_eq!(endpoint.alive().unwrap_err().kind(), Kind::Unexpected);
}

/// Whoever says how long to wait waits no longer, however long the other side is silent.
#[test]
fn one_waits_as_long_as_one_says() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let endpoint = Endpoint::new(&url).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let refused = endpoint.clone().waiting(wait).alive().unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable, "{refused:?}");
    }
    // As long as there is time, and longer.
    let endpoint =
        Endpoint::new(&fake(response("200 X", "", r#"{"alive":true}"#))).unwrap().waiting(Duration::MAX);
    endpoint.alive().unwrap();
}
