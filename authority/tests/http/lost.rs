//! Replies that are lost on the way: a proxy lets the server do what it is asked and cuts the first answer to each idempotency
//! key. Nothing is done twice, no ticket is spent on nobody, and the second answer is the first one, byte for byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use authority::client::{Client, Endpoint, Enrolled};
use authority::store::query;
use identity::Identifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Held, Person, World, attributes, memory, person, rocks};
use crate::net::{ByHand, RequestKey, Site, ask, digest};

/// How many people enrol and get a credential; each loses four answers.
const PEOPLE: usize = 63;

/// The answers to each key, in their order: status and body.
type Answers = Arc<Mutex<HashMap<String, Vec<(String, Vec<u8>)>>>>;

/// Reads a head and as much of a body as it declares.
async fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..].to_vec()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

async fn proxy(to: SocketAddr) -> (SocketAddr, Answers) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, answers) = (listener.local_addr().unwrap(), Answers::default());
    let kept = Arc::clone(&answers);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, to, Arc::clone(&kept)));
        }
    });
    (at, answers)
}

async fn forward(mut client: TcpStream, to: SocketAddr, answers: Answers) {
    let mut server = TcpStream::connect(to).await.unwrap();
    while let Some((head, body)) = message(&mut client).await {
        server.write_all(&[head.as_bytes(), b"\r\n\r\n", &body].concat()).await.unwrap();
        // The answer is here, so whatever was asked for is done.
        let (answer, content) = message(&mut server).await.unwrap();
        let whole = [answer.as_bytes(), b"\r\n\r\n", &content].concat();
        let Some(key) = header(&head, "idempotency-key") else {
            client.write_all(&whole).await.unwrap();
            continue;
        };
        let (first, number) = {
            let mut answers = answers.lock().unwrap();
            let number = answers.len();
            let known = answers.entry(key.to_owned()).or_default();
            known.push((answer.lines().next().unwrap().to_owned(), content));
            (known.len() == 1, number)
        };
        if !first {
            client.write_all(&whole).await.unwrap();
            continue;
        }
        // Nothing of it, half of its head, or all but the last byte.
        let much = [0, answer.len() / 2, whole.len() - 1][number % 3];
        let _ = client.write_all(&whole[..much]).await;
        return;
    }
}

/// A client that reaches the server through the proxy.
async fn through(site: &Site, at: SocketAddr, person: &Person) -> Arc<Client> {
    let key = RequestKey::of(&site.world, person).await;
    let authority = site.world.root.identity.identifier();
    let (url, clock) = (format!("http://{at}"), site.world.clock.clone());
    let client = Client::new(
        Endpoint::new(&url).unwrap(),
        authority,
        person.identity.clone(),
        key.signer,
        &key.attestation,
        clock,
    )
    .unwrap();
    Arc::new(client)
}

async fn lost_replies_cost_nothing(held: fn(Identifier) -> Held) {
    let site = Site::of(World::new(held).await, Default::default()).await;
    let (at, answers) = proxy(site.addr()).await;
    let enroller = through(&site, at, &site.world.enroller).await;
    for n in 0..PEOPLE {
        let person = person(&site.world.vault).await;
        let member = through(&site, at, &person).await;
        let given = attributes(&[("n", &n.to_string())]);
        let made = ask(&enroller, move |enroller| enroller.make_ticket(&given, None, Some(2))).await.unwrap();
        let enrolled = ask(&member, move |member| member.enrol(&made.code)).await.unwrap();
        assert_eq!(enrolled, Enrolled::Now);
        let granted = ask(&member, |member| member.credential()).await.unwrap();
        assert_eq!(granted.verified.attributes().get("n"), Some(n.to_string().as_str()));
        let reference = made.ticket.reference;
        let ticket = query::ticket(site.world.held.store.view().unwrap(), &reference).unwrap().unwrap();
        assert_eq!(ticket.uses_left, 1, "spent once, and of two uses one is left");
        ask(&enroller, move |enroller| enroller.revoke_ticket(&reference)).await.unwrap();
    }

    let answers = answers.lock().unwrap();
    assert_eq!(answers.len(), 4 * PEOPLE, "each call has a key of its own");
    for (key, answers) in &*answers {
        assert_eq!(answers.len(), 2, "one answer is lost, one comes through: {key}");
        assert_eq!(answers[0], answers[1], "and they are the same");
    }
    let done = |action: &str| {
        let action = format!(r#""action":"{action}""#);
        let lines = site.world.audit_lines();
        lines.iter().filter(|line| line.contains(&action) && line.contains(r#""outcome":"done""#)).count()
    };
    for action in ["ticket-make", "enrol", "credential-intend", "credential-issue", "ticket-revoke"] {
        assert_eq!(done(action), PEOPLE, "{action}");
    }
    let members = query::members(site.world.held.store.view().unwrap(), None, 1000).unwrap();
    assert_eq!(members.items.len(), PEOPLE + 1, "and the enroller");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_cost_nothing_in_memory() {
    lost_replies_cost_nothing(memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_cost_nothing_on_disk() {
    lost_replies_cost_nothing(rocks).await;
}

/// The control: without a key whoever asks again has it done again.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_it_is_done_twice() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for _ in 0..2 {
        let request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/tickets", b"{}");
        assert_eq!(request.send(site.addr()).await.status, 201);
    }
    let tickets = query::tickets(site.world.held.store.view().unwrap(), None, 9).unwrap();
    assert_eq!(tickets.items.len(), 2);
}

/// A request under a key.
async fn keyed(site: &Site, request: &ByHand, key: &str) -> (u16, String, String) {
    let mut request = request.clone();
    request.renew();
    request.digest = digest(&request.body);
    request.once(key);
    let answer = request.send(site.addr()).await;
    (answer.status, answer.field("type").replace("urn:ockam-kms:problem:", ""), answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_is_read_in_both_spellings() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let mut request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/tickets", b"{}");
    let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
    let quoted = format!("\"{uuid}\"");
    let first = keyed(&site, &request, uuid).await;
    assert_eq!(first.0, 201);
    for key in [uuid, quoted.as_str()] {
        assert_eq!(keyed(&site, &request, key).await, first, "{key}");
    }
    // Another body, another path, another query.
    request.body = b"{\"uses\":2}".to_vec();
    for path in ["/v1/tickets", "/v1/members", "/v1/tickets?x=y"] {
        request.path = path.to_owned();
        let (status, of_type, body) = keyed(&site, &request, uuid).await;
        match path {
            // Not of the right shape for this path, which is found first.
            "/v1/members" => assert_eq!((status, of_type.as_str()), (400, "malformed")),
            _ => {
                assert_eq!((status, of_type.as_str()), (422, "key-reused"), "{path}");
                assert!(body.contains(r#""kind":"conflict""#), "{body}");
            }
        }
    }
    request.path = "/v1/tickets".to_owned();
    for bad in ["\"", "\"\"", "a b", "\"a", &"x".repeat(129), "a\r\nidempotency-key: b"] {
        let (status, of_type, _) = keyed(&site, &request, bad).await;
        let expected = if bad.contains('\r') { (401, "unauthenticated") } else { (400, "malformed") };
        assert_eq!((status, of_type.as_str()), expected, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_cannot_be_exchanged_or_taken_away_or_put_in() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for (sent, status, reason) in [
        ("idempotency-key: b\r\n", 401, "signature"),
        ("", 401, "components"),
        ("idempotency-key: a\r\n", 201, "-"),
    ] {
        let mut request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/tickets", b"{}");
        request.once("a");
        request.headers = sent.to_owned();
        let answer = request.send(site.addr()).await;
        assert_eq!((answer.status, answer.field("reason").as_str()), (status, reason), "{sent}");
    }
    // Also where it would mean nothing.
    for (method, path, body) in [("POST", "/v1/tickets", &b"{}"[..]), ("GET", "/v1/members", b"")] {
        let mut request = ByHand::new(&site, &enroller.identity, &key, method, path, body);
        request.headers = "idempotency-key: b\r\n".to_owned();
        let answer = request.send(site.addr()).await;
        assert_eq!((answer.status, answer.field("reason").as_str()), (401, "components"), "{method}");
    }
}
