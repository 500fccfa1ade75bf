//! The door over TCP: with our own client, and with messages made by hand.

use std::sync::Arc;
use std::time::Duration;

use authority::client::{Ask, ChannelClient, Enrolled, Kind};
use authority::ockam::{Options, Service};
use channel::Only;
use identity::{Identifier, Timestamp};
use node::request::{Method, Request, Response, Status};
use node::{Address, ChannelOptions, Node, NodeOptions, Route};

use crate::common::{NOW, Person, World, attributes, memory, person, rocks};
use crate::world::{Shown, Site, asking, channel_key, counting};

/// A node of somebody's own, and how they open channels.
async fn node_of(site: &Site, person: &Person) -> (Node, ChannelOptions) {
    let (key, attestation) = channel_key(&site.world, person, NOW).await;
    let shown = Shown(std::sync::Mutex::new(Shown::of(person, &key, &attestation)));
    let only = Only(vec![site.world.root.identity.identifier()]);
    let node = Node::new(NodeOptions { clock: site.world.clock.clone(), ..NodeOptions::default() });
    (node, ChannelOptions::new(Arc::new(shown), Arc::new(only)))
}

const WAIT: Duration = Duration::from_secs(20);

async fn enrols(site: &Site) {
    let enroller = site.enroller().await;
    let (person, member) = site.stranger().await;
    let refused = asking(&member, |member| member.credential()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().as_str()), (Kind::Forbidden, "unauthorized member"));

    let given = attributes(&[("colour", "blue"), ("empty", "")]);
    let made = asking(&enroller, {
        let given = given.clone();
        move |enroller| enroller.make_ticket(&given, Some(60), Some(2))
    })
    .await
    .unwrap();
    let ticket = made.ticket.unwrap();
    assert_eq!((ticket.uses_left, ticket.expires_at), (2, Timestamp(NOW.0 + 60)));
    assert_eq!((ticket.attributes, ticket.issued_by), (given, site.world.enroller.identity.identifier()));
    let wrong = asking(&member, |member| member.enrol(&authority::ticket::Code::generate().unwrap(), None));
    let wrong = wrong.await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.to_string().as_str()), (Kind::Forbidden, "unknown enrollment token"));
    let code = Arc::new(made.code);
    for expected in [Enrolled::Now, Enrolled::Already] {
        let code = Arc::clone(&code);
        assert_eq!(asking(&member, move |member| member.enrol(&code, None)).await.unwrap(), expected);
    }
    let tickets = asking(&enroller, |enroller| enroller.tickets()).await.unwrap();
    assert_eq!(tickets[0].uses_left, 1, "who is a member already spends no ticket");

    let granted = asking(&member, |member| member.credential()).await.unwrap();
    assert_eq!(granted.verified.subject(), person.identity.identifier());
    for (name, value) in [("colour", "blue"), ("empty", ""), ("trust_context_id", "project-1")] {
        assert_eq!(granted.verified.attributes().get(name), Some(value));
    }
    let issuer = asking(&member, |member| member.issuer()).await.unwrap();
    assert_eq!(issuer.identity().as_bytes(), site.world.root.identity.as_bytes());
    assert!(
        issuer.attestations().is_some_and(|all| !all.is_empty()),
        "the whole bundle, not only the history"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_enrols_and_a_member_gets_a_credential() {
    enrols(&Site::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_with_rocksdb() {
    enrols(&Site::of(World::new(rocks).await, Options::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_listed_shown_and_deleted() {
    let site = Site::new().await;
    let client = site.enroller().await;
    let who = |n: u8| Identifier::from_bytes([n; 32]);
    let added = asking(&client, move |client| {
        for n in 1..8 {
            client.add_member(&who(n), &attributes(&[("n", &n.to_string())]))?;
        }
        client.add_member(&who(3), &attributes(&[("n", "replaced"), ("ü", "\0")]))?;
        client.members()
    })
    .await
    .unwrap();
    assert_eq!(added.len(), 8, "with the enroller");
    assert!(added.is_sorted_by_key(|member| member.identifier));
    let ids = asking(&client, |client| client.member_ids()).await.unwrap();
    assert_eq!(ids, added.iter().map(|member| member.identifier).collect::<Vec<_>>());
    // As the authority itself has them.
    let caller = site.world.enroller().await;
    assert_eq!(added, site.world.authority.members(&caller, None, 100).await.unwrap().items);

    let shown = asking(&client, move |client| client.member(&who(3))).await.unwrap();
    assert_eq!((shown.attributes.get("n"), shown.attributes.get("ü")), (Some("replaced"), Some("\0")));
    let own = client.identity().identifier();
    let own = asking(&client, move |client| client.member(&own)).await.unwrap();
    assert!(own.pre_trusted && !shown.pre_trusted);
    asking(&client, move |client| client.delete_member(&who(3))).await.unwrap();
    for gone in [
        asking(&client, move |client| client.delete_member(&who(3))).await.unwrap_err(),
        asking(&client, move |client| client.member(&who(3)).map(drop)).await.unwrap_err(),
    ] {
        assert_eq!(gone.kind(), Kind::NotFound);
    }
    assert_eq!(asking(&client, |client| client.delete_members()).await.unwrap(), Some(6));
    let (_, stranger) = site.stranger().await;
    let refused = asking(&stranger, |stranger| stranger.members().map(drop)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_listed_and_revoked() {
    let site = Site::new().await;
    let client = site.enroller().await;
    let made = asking(&client, |client| client.make_ticket(&attributes(&[("a", "b")]), None, None));
    let made = made.await.unwrap().ticket.unwrap();
    assert_eq!(asking(&client, |client| client.tickets()).await.unwrap(), std::slice::from_ref(&made));
    for expected in [None, Some(Kind::NotFound)] {
        let reference = made.reference.clone();
        let outcome = asking(&client, move |client| client.revoke_ticket(&reference)).await;
        assert_eq!(outcome.err().map(|error| error.kind()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reached_without_a_channel_of_the_listener() {
    let site = Site::new().await;
    let somebody = person(&site.world.vault).await;
    let (node, options) = node_of(&site, &somebody).await;
    let connection = node.connect_tcp(&site.door.local_addr().to_string()).await.unwrap().address;
    let to = |first: &Address, service: &str| -> Route {
        [first.clone(), Address::local(service)].into_iter().collect()
    };
    let request = Request::new(Method::Post, "/", None).unwrap();
    let services = Service::ALL.map(Service::address);
    for service in services.into_iter().chain(["echo"]) {
        // Silence, as with the reference: whoever may not send to an address learns nothing of it.
        let silent = node.ask(to(&connection, service), request.encode(), Duration::from_millis(300)).await;
        assert_eq!(silent.unwrap_err().kind(), node::Kind::Unavailable, "{service}");
    }
    // Over the same connection, in a channel.
    let channel = node.open_channel(to(&connection, "api"), options, WAIT).await.unwrap().address;
    for service in services {
        let answer = node.ask(to(&channel, service), request.encode(), WAIT).await.unwrap();
        let response = Response::decode(&answer.payload).unwrap();
        assert!(response.re == request.id && !response.is_ok(), "{service}: {response:?}");
        let garbage = node.ask(to(&channel, service), b"\xff".to_vec(), WAIT).await.unwrap();
        let response = Response::decode(&garbage.payload).unwrap();
        assert_eq!((response.re, response.status), (0, Some(Status::BadRequest)), "{service}");
    }
    let echoed = node.ask(to(&channel, "echo"), b"hello".to_vec(), WAIT).await.unwrap();
    assert_eq!(echoed.payload, b"hello");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_is_not_there() {
    let options = Options { direct_authentication: false, token_enrolment: false, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let somebody = person(&site.world.vault).await;
    let (node, options) = node_of(&site, &somebody).await;
    let connection = node.connect_tcp(&site.door.local_addr().to_string()).await.unwrap().address;
    let listener: Route = [connection, Address::local("api")].into_iter().collect();
    let channel = node.open_channel(listener, options, WAIT).await.unwrap().address;
    let to = |service: &str| -> Route { [channel.clone(), Address::local(service)].into_iter().collect() };
    let request = Request::new(Method::Post, "/", None).unwrap();
    for closed in ["direct_authenticator", "enrollment_token_issuer", "enrollment_token_acceptor"] {
        let silent = node.ask(to(closed), request.encode(), Duration::from_millis(300)).await;
        assert_eq!(silent.unwrap_err().kind(), node::Kind::Unavailable, "{closed}");
    }
    assert!(node.ask(to("credential_issuer"), request.encode(), WAIT).await.is_ok());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_that_guesses_is_stopped() {
    let site = Site::of(World::new(memory).await, counting(3)).await;
    let mut kinds = Vec::new();
    for _ in 0..5 {
        let (_, stranger) = site.stranger().await;
        let guess = |stranger: &dyn Ask| stranger.enrol(&authority::ticket::Code::generate().unwrap(), None);
        kinds.push(asking(&stranger, guess).await.unwrap_err().kind());
    }
    let wrong = Kind::Forbidden;
    assert_eq!(kinds, [wrong, wrong, wrong, Kind::RateLimited, Kind::RateLimited]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_speaks_to_its_authority_alone() {
    let site = Site::new().await;
    let somebody = person(&site.world.vault).await;
    let other = person(&site.world.vault).await.identity.identifier();
    let (key, attestation) = channel_key(&site.world, &somebody, NOW).await;
    let identity = somebody.identity.clone();
    let clock = site.world.clock.clone();
    let new = |route: &str, authority| {
        ChannelClient::new(route, authority, identity.clone(), (key.clone(), &attestation), clock.clone())
    };
    let client: Arc<dyn Ask> = Arc::new(new(&site.route(), other).unwrap());
    let refused = asking(&client, |client| client.credential().map(drop)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Untrusted, "{refused}");
    assert!(!refused.may_have_happened());

    let authority = site.world.root.identity.identifier();
    for bad in ["", "/service/api/tcp", "http://127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"] {
        assert_eq!(new(bad, authority).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    // Nobody is there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client: Arc<dyn Ask> =
        Arc::new(new(&format!("/ip4/127.0.0.1/tcp/{gone}/service/api"), authority).unwrap());
    let gone = asking(&client, |client| client.credential().map(drop)).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::Unavailable);
    assert!(!gone.may_have_happened());
}
