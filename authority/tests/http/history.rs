//! Histories and time: rotated senders, rotated authorities, servers that start again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use authority::client::{Client, Endpoint, Kind};
use authority::http::{Options, Server};
use authority::member::MemberAttributes;
use authority::store::query;
use identity::{ManualClock, Timestamp, Validity};
use tokio::net::TcpListener;

use crate::common::{NOW, World, issuer, memory, person, rotated, signer};
use crate::load::sample;
use crate::net::{ByHand, RequestKey, STARTED, Site, THEN, ask, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_history_replaces_and_an_older_one_is_refused() {
    let site = Site::new().await;
    let old = Arc::new(site.enroller().await);
    ask(&old, |client| client.members()).await.unwrap();
    let fresh = rotated(&site.world.enroller, &site.world.vault, THEN).await;
    let key = RequestKey::valid(&site.world, &fresh, Validity::starting(THEN, 3600)).await;
    let new = Arc::new(site.client_with(&fresh.identity, &key));
    ask(&new, |client| client.members()).await.unwrap();
    let refused = ask(&old, |client| client.members()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthenticated);
    assert!(refused.to_string().contains("newer change history"), "{refused}");
    // The first time that it shows its history makes no difference.
    let again = Arc::new(site.enroller().await);
    assert_eq!(ask(&again, |client| client.members()).await.unwrap_err().kind(), Kind::Unauthenticated);
    ask(&new, |client| client.members()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_in_conflict_is_refused_kept_and_blocks() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let fork = rotated(enroller, &site.world.vault, THEN).await;
        let key = RequestKey::valid(&site.world, &fork, Validity::starting(THEN, 3600)).await;
        clients.push(Arc::new(site.client_with(&fork.identity, &key)));
    }
    ask(&clients[0], |client| client.members()).await.unwrap();
    let refused = ask(&clients[1], |client| client.members()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    let blocked = ask(&clients[0], |client| client.members()).await.unwrap_err();
    assert_eq!(blocked.kind(), Kind::Forbidden);
    let view = site.world.held.store.view().unwrap();
    let evidence = authority::store::query::conflict(view, &enroller.identity.identifier()).unwrap().unwrap();
    assert_eq!(evidence.known.as_bytes(), clients[0].identity().as_bytes());
    assert_eq!(evidence.shown.as_bytes(), clients[1].identity().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_authority_is_followed_and_never_back() {
    let site = Site::new().await;
    let world = &site.world;
    let client = Arc::new(site.enroller().await);
    let before = ask(&client, |client| client.credential()).await.unwrap();
    let fresh = rotated(&world.root, &world.vault, THEN).await;
    let keys = issuer(&fresh, &world.credential_key, THEN).await;
    let operator = authority::service::Operator::of_this_process();
    world.authority.replace_issuer(&operator, keys).await.unwrap();
    let after = ask(&client, |client| client.credential()).await.unwrap();
    assert_eq!(before.issuer.identity().len(), 1);
    assert_eq!(after.issuer.identity().len(), 2, "the client asked again for what it could not verify");

    // The same authority as it was: what is known of it is newer.
    let stale = Site::of(World::new(memory).await, Options::default()).await;
    let (url, known) = (stale.url(), after.issuer.identity().clone());
    let (root, same) = (known.identifier(), stale.world.root.identity.identifier());
    let refused = tokio::task::spawn_blocking(move || {
        let endpoint = Endpoint::new(&url).unwrap();
        (endpoint.issuer(&root, Some(&known)).unwrap_err(), endpoint.issuer(&same, None).unwrap())
    });
    let (refused, bundle) = refused.await.unwrap();
    assert_eq!(refused.kind(), Kind::Untrusted, "another authority");
    let older = stale.world.root.identity.clone();
    assert_eq!(bundle.identity().as_bytes(), older.as_bytes());
    let newer = rotated(&stale.world.root, &stale.world.vault, THEN).await.identity;
    let fork = rotated(&stale.world.root, &stale.world.vault, THEN).await;
    for (known, served) in [(newer.clone(), None), (newer, Some(fork))] {
        if let Some(fork) = served {
            let keys = issuer(&fork, &stale.world.credential_key, THEN).await;
            stale.world.authority.replace_issuer(&operator, keys).await.unwrap();
        }
        let (url, id) = (stale.url(), older.identifier());
        let asked =
            tokio::task::spawn_blocking(move || Endpoint::new(&url).unwrap().issuer(&id, Some(&known)));
        assert_eq!(asked.await.unwrap().unwrap_err().kind(), Kind::Untrusted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_authority_is_refused() {
    let (site, other) = (Site::new().await, person(&Site::new().await.world.vault).await);
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let clock = site.world.clock.clone();
    let client = Client::new(
        Endpoint::new(&site.url()).unwrap(),
        other.identity.identifier(),
        enroller.identity.clone(),
        key.signer.clone(),
        &key.attestation,
        clock,
    );
    let client = Arc::new(client.unwrap());
    let refused = ask(&client, |client| client.members()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.reason()), (Kind::Unauthenticated, Some("audience")));
    let refused = ask(&client, |client| client.issuer()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Untrusted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_server_saw_is_not_taken_again() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let request = ByHand::new(&site, &enroller.identity, &key, "GET", "/v1/members", b"");
    assert_eq!(request.send(site.addr()).await.status, 200);
    let client = Arc::new(site.client_with(&enroller.identity, &key));
    ask(&client, |client| client.members()).await.unwrap();
    let Site { world, server } = site;
    let addr = server.local_addr();
    server.stop().await;
    // It starts again in the same second and at the same address.
    let server =
        Server::start(world.authority.clone(), TcpListener::bind(addr).await.unwrap(), Options::default());
    let server = server.unwrap();
    let answer = request.send(addr).await;
    assert_eq!((answer.status, answer.field("reason").as_str()), (401, "before-start"));
    world.clock.set(Timestamp(THEN.0 + 1));
    let answer = request.send(addr).await;
    assert_eq!((answer.status, answer.field("reason").as_str()), (401, "before-start"));
    // Whoever signs anew is taken, though the server has to be shown everything again.
    ask(&client, |client| client.members()).await.unwrap();
    server.stop().await;
}

/// The same authority behind another server, at the same address.
async fn restarted(site: Site) -> Site {
    let Site { world, server } = site;
    let addr = server.local_addr();
    server.stop().await;
    let listener = TcpListener::bind(addr).await.unwrap();
    let server = Server::start(world.authority.clone(), listener, Options::default()).unwrap();
    Site { world, server }
}

/// A ticket is asked for, by a request created so many seconds ahead of the server's clock. The server starts again so many
/// seconds later, and the same bytes come in every second until their life is over. Which statuses that gave, and how many
/// tickets there are.
async fn repeated_after_a_start(ahead: u64, later: u64, once: bool) -> (u16, BTreeSet<u16>, usize) {
    let mut site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let mut request = ByHand::new(&site, &enroller.identity, &key, "POST", "/v1/tickets", b"{}");
    (request.created, request.expires) = (THEN.0 + ahead, THEN.0 + ahead + 60);
    if once {
        request.once("once");
    }
    let first = request.send(site.addr()).await;
    if first.status != 201 {
        return (first.status, BTreeSet::new(), 0);
    }
    site.world.clock.set(Timestamp(THEN.0 + later));
    site = restarted(site).await;
    let mut statuses = BTreeSet::new();
    for second in later..=ahead + 61 {
        site.world.clock.set(Timestamp(THEN.0 + second));
        let answer = request.send(site.addr()).await;
        statuses.insert(answer.status);
        assert!(answer.status != 201 || answer.body == first.body, "not the first answer: {answer:?}");
    }
    let tickets = query::tickets(site.world.held.store.view().unwrap(), None, 9).unwrap();
    (first.status, statuses, tickets.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_not_done_again_by_a_server_that_started_later() {
    let refused = BTreeSet::from([401]);
    for later in [0, 1, 5] {
        for ahead in [0, 1, 2] {
            let repeated = repeated_after_a_start(ahead, later, false).await;
            assert_eq!(repeated, (201, refused.clone(), 1), "{ahead} s ahead, started {later} s later");
        }
    }
    for ahead in [3, 50, 60] {
        let (first, ..) = repeated_after_a_start(ahead, 1, false).await;
        assert_eq!(first, 401, "{ahead} s ahead, and nothing but the nonce to tell a repetition by");
    }
    // The receipt tells it, and gives the same answer: once, while this server remembers the nonce.
    for ahead in [3, 50, 60] {
        let repeated = repeated_after_a_start(ahead, 1, true).await;
        assert_eq!(repeated, (201, BTreeSet::from([201, 401]), 1), "{ahead} s ahead, under a key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_keeps_nobody_from_reading() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for (method, path) in [("GET", "/v1/members"), ("HEAD", "/v1/members")] {
        for (ahead, status) in [(0, 200), (60, 200), (61, 401)] {
            let mut request = ByHand::new(&site, &enroller.identity, &key, method, path, b"");
            (request.created, request.expires) = (THEN.0 + ahead, THEN.0 + ahead + 60);
            assert_eq!(request.send(site.addr()).await.status, status, "{method} {ahead} s ahead");
        }
    }
}

/// Our client has a key for whatever it changes, so its clock may be as far ahead as for reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_clock_is_ahead_is_served() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    for (ahead, works) in [(3, true), (60, true), (61, false)] {
        let clock = Arc::new(ManualClock::new(Timestamp(THEN.0 + ahead)));
        let client = Client::new(
            Endpoint::new(&site.url()).unwrap(),
            site.world.root.identity.identifier(),
            enroller.identity.clone(),
            key.signer.clone(),
            &key.attestation,
            clock,
        );
        let client = Arc::new(client.unwrap());
        let made = ask(&client, |client| client.make_ticket(&MemberAttributes::default(), None, None)).await;
        assert_eq!(made.is_ok(), works, "{ahead} s ahead: {made:?}");
        let id = identity::Identifier::from_bytes([7; 32]);
        let added = ask(&client, move |client| client.add_member(&id, &MemberAttributes::default())).await;
        assert_eq!(added.is_ok(), works, "{ahead} s ahead: {added:?}");
        let deleted = ask(&client, move |client| client.delete_member(&id)).await;
        assert_eq!(deleted.is_ok(), works, "{ahead} s ahead: {deleted:?}");
        assert_eq!(ask(&client, |client| client.members()).await.is_ok(), works, "{ahead} s ahead");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_the_second_of_a_start_to_pass() {
    let site = Site::new().await;
    site.world.clock.set(STARTED);
    let client = Arc::new(site.enroller().await);
    let asked = ask(&client, |client| client.members());
    let clock = site.world.clock.clone();
    let moves = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        clock.set(Timestamp(STARTED.0 + 1));
    };
    let (asked, ()) = tokio::join!(asked, moves);
    asked.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_proxy_is_told_its_url() {
    let world = World::new(memory).await;
    let server = serve(
        &world,
        Options { public_url: Some("https://A.example:443/kms/".to_owned()), ..Options::default() },
    )
    .await;
    let site = Site { world, server };
    let enroller = &site.world.enroller;
    let key = RequestKey::of(&site.world, enroller).await;
    let mut request = ByHand::new(&site, &enroller.identity, &key, "GET", "/v1/members", b"");
    assert_eq!(request.clone().send(site.addr()).await.field("reason"), "signature");
    // Signed for the public URL, and sent to the path behind it.
    request.base = Some("https://a.example/kms".to_owned());
    assert_eq!(request.send(site.addr()).await.status, 200);
    for bad in ["a.example", "https://", "ftp://a.example", "/kms", "https://a.example?x"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { public_url: Some(bad.to_owned()), ..Options::default() };
        let refused = Server::start(site.world.authority.clone(), listener, options).unwrap_err();
        assert_eq!(refused.kind(), authority::Kind::Invalid, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_key_that_ends_is_asked_for_again() {
    let site = Site::new().await;
    let enroller = &site.world.enroller;
    let short = RequestKey::valid(&site.world, enroller, Validity { from: NOW, until: THEN }).await;
    let client = Arc::new(site.client_with(&enroller.identity, &short));
    ask(&client, |client| client.members()).await.unwrap();
    site.world.clock.set(Timestamp(THEN.0 + 1));
    let refused = ask(&client, |client| client.members()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthenticated);
    assert!(refused.to_string().contains("request key"), "{refused}");
    let key = signer(&site.world.vault).await;
    let wrong = Client::new(
        Endpoint::new(&site.url()).unwrap(),
        site.world.root.identity.identifier(),
        enroller.identity.clone(),
        key,
        &RequestKey::of(&site.world, enroller).await.attestation,
        site.world.clock.clone(),
    );
    assert_eq!(wrong.unwrap_err().kind(), Kind::Invalid, "a key that was not attested never asks");
}

/// Six machines of one identity, more than the server remembers keys of: its history is verified once for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_verified_once_whatever_keys_are_shown_with_it() {
    let site = Site::new().await;
    let stranger = person(&site.world.vault).await;
    let mut keys = Vec::new();
    for _ in 0..6 {
        keys.push(RequestKey::of(&site.world, &stranger).await);
    }
    for _ in 0..3 {
        for key in &keys {
            let request = ByHand::new(&site, &stranger.identity, key, "GET", "/v1/members", b"");
            assert_eq!(request.send(site.addr()).await.status, 403);
        }
    }
    assert_eq!(sample(&site, "ockam_kms_histories_verified_total"), 1.0);
}

/// Histories whose verifying takes longer than all else of a request, several at once.
#[tokio::test(flavor = "multi_thread")]
async fn long_histories_are_verified_in_their_turn() {
    let site = Site::new().await;
    let mut people = Vec::new();
    for _ in 0..8 {
        let mut person = person(&site.world.vault).await;
        for _ in 0..20 {
            person = rotated(&person, &site.world.vault, NOW).await;
        }
        assert!(person.identity.as_bytes().len() > 2048);
        let key = RequestKey::of(&site.world, &person).await;
        people.push(ByHand::new(&site, &person.identity, &key, "GET", "/v1/members", b""));
    }
    let addr = site.addr();
    let mut sent = tokio::task::JoinSet::new();
    for person in people {
        sent.spawn(async move { person.send(addr).await.status });
    }
    assert_eq!(sent.join_all().await, [403; 8]);
    assert_eq!(sample(&site, "ockam_kms_histories_verified_total"), 8.0);
}
