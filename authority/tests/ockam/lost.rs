//! Answers that are lost on the way through a channel: a proxy lets the authority do what it is asked, and keeps the first
//! answer to each question. Nothing is done twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authority::client::{Ask, ChannelClient, Enrolled};
use authority::ockam::{Options, Service};
use node::request::{ErrorBody, Method, Request, Response, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::common::{NOW, Person, World, attributes, memory, person};
use crate::world::{Site, asking, channel_key, peer};

/// How long an answer is waited for. A handshake that takes longer on a busy machine fails the test.
const WAIT: Duration = Duration::from_secs(6);

/// The next frame of a TCP transport, with its length.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

/// Passes on what goes to the authority, and from it what opens the channel: the version and the second message.
async fn forward(client: TcpStream, to: SocketAddr, loses: bool) {
    let server = TcpStream::connect(to).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let Ok(version) = from_server.read_u8().await else { return };
    to_client.write_all(&[version]).await.unwrap();
    let mut frames = 0;
    while let Some(frame) = frame(&mut from_server).await {
        frames += 1;
        if (frames == 1 || !loses) && to_client.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Loses the answers of every other connection, beginning with the first.
async fn proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut loses = true;
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, to, loses));
            loses = !loses;
        }
    });
    at
}

async fn client(site: &Site, at: SocketAddr, person: &Person) -> Arc<dyn Ask> {
    let (key, attestation) = channel_key(&site.world, person, NOW).await;
    let (authority, clock) = (site.world.root.identity.identifier(), site.world.clock.clone());
    let route = format!("/ip4/127.0.0.1/tcp/{}/service/api", at.port());
    let identity = person.identity.clone();
    let client = ChannelClient::new(&route, authority, identity, (key, &attestation), clock).unwrap();
    Arc::new(client.waiting(WAIT))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_is_done_once() {
    let site = Site::of(World::new(memory).await, Options::default()).await;
    let at = proxy(site.door.local_addr()).await;
    let enroller = client(&site, at, &site.world.enroller).await;
    let stranger = person(&site.world.vault).await;
    let member = client(&site, at, &stranger).await;

    let made = asking(&enroller, |enroller| enroller.make_ticket(&attributes(&[]), Some(60), Some(2)));
    let made = made.await.unwrap();
    let (reference, code) = (made.ticket.unwrap().reference, made.code);
    // Now, and not already: the second answer is the one that was lost.
    let enrolled = asking(&member, move |member| member.enrol(&code, None)).await.unwrap();
    assert_eq!(enrolled, Enrolled::Now);
    let direct = site.enroller().await;
    let tickets = asking(&direct, |direct| direct.tickets()).await.unwrap();
    assert_eq!(
        (tickets.len(), tickets[0].uses_left),
        (1, 1),
        "one ticket was made, and one use of it is spent"
    );
    asking(&enroller, move |enroller| enroller.revoke_ticket(&reference)).await.unwrap();
    let deleted = asking(&enroller, |enroller| enroller.delete_members()).await.unwrap();
    assert_eq!(deleted, Some(1), "what was deleted the first time");
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let site = Site::new().await;
    let (desk, enroller) = (
        authority::ockam::Desk::new(site.world.authority.clone(), Options::default()),
        peer(&site.world, &site.world.enroller).await,
    );
    let (body, other) = (hex::decode("a101a0").unwrap(), hex::decode("a201a00218c8").unwrap());
    let ask = async |key: Option<&str>, body: &[u8]| {
        let request = Request { key, ..Request::new(Method::Post, "/", Some(body)).unwrap() };
        let answer =
            desk.answer(Some(&enroller), None, Service::EnrollmentTokenIssuer, &request.encode()).await;
        let response = Response::decode(&answer).unwrap();
        (response.status.unwrap(), response.body.unwrap_or_default().to_vec())
    };
    let first = ask(Some("k"), &body).await;
    assert_eq!(first.0, Status::Ok);
    assert_eq!(ask(Some("k"), &body).await, first);
    let reused = ask(Some("k"), &other).await;
    assert_eq!(reused.0, Status::Forbidden, "as everything that the reference would refuse");
    let words = ErrorBody::decode(&reused.1).unwrap().message.unwrap();
    assert!(words.contains("was used for another request"), "{words}");
    let long = "k".repeat(authority::once::MAX_KEY + 1);
    for malformed in ["", "two words", &long] {
        assert_eq!(ask(Some(malformed), &body).await.0, Status::BadRequest, "{malformed}");
    }
    // Without one, or under another, it is another ticket.
    for key in [None, Some("another")] {
        let fresh = ask(key, &body).await;
        assert!(fresh.0 == Status::Ok && fresh.1 != first.1);
    }
}
