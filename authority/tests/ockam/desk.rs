//! Requests made by hand, answered byte for byte as the reference's clients expect it.

use std::time::Duration;

use authority::ockam::{Desk, Options, Service};
use channel::Peer;
use identity::{Credential, IssuerBundle, MEMBER_SCHEMA, Rule, verify};
use node::request::{Method, Request, Response, Status, to_bare};
use vault::soft::SoftVault;

use crate::common::{NOW, World, memory, person, rotated};
use crate::world::{Got, ask, counting, peer};

use Method::{Delete, Get, Patch, Post, Put};
use Service::{CredentialIssuer, DirectAuthenticator, EnrollmentTokenAcceptor, EnrollmentTokenIssuer};

/// The map {1: 22*32, 2: {a: b}}.
fn add(member: &str, attributes: &str) -> String {
    format!("a201 5820{member} 02{attributes}")
}

async fn desk(options: Options) -> (World, Desk, Peer) {
    let world = World::new(memory).await;
    let desk = Desk::new(world.authority.clone(), options);
    let enroller = peer(&world, &world.enroller).await;
    (world, desk, enroller)
}

#[tokio::test]
async fn without_a_channel_nothing_is_done_and_so_it_is_said() {
    let (_world, desk, _) = desk(Options::default()).await;
    for service in Service::ALL {
        let request = Request { id: 7, path: "/", method: Some(Post), body: None, key: None }.encode();
        for payload in [&request[..], b"", b"\xff"] {
            let answer = desk.answer(None, None, service, payload).await;
            let response = Response::decode(&answer).unwrap();
            assert_eq!((response.re, response.status), (0, Some(Status::BadRequest)));
            let body = "a10377736563757265206368616e6e656c207265717569726564";
            assert_eq!(hex::encode(response.body.unwrap()), body, "{}", response.error());
        }
    }
}

#[tokio::test]
async fn members_are_added_shown_listed_and_deleted_as_the_reference_does_it() {
    let (world, desk, enroller) = desk(Options::default()).await;
    let ask = async |call: (Method, &str), body: Option<&str>| {
        ask(&desk, &enroller, DirectAuthenticator, call, body).await
    };
    let id = "22".repeat(32);
    let nothing = Got::done("");
    for path in ["/", "/members", "", "members"] {
        assert_eq!(ask((Post, path), Some(&add(&id, "a161616162"))).await, nothing, "{path}");
    }
    // The entry {1: {[97]: [98]}, 2: added at, 4: added by}: attributes are arrays of integers here, and nothing expires.
    let by = hex::encode(world.enroller.identity.identifier().as_bytes());
    let entry = format!("a301a1811861811862021a{:08x}045820{by}", NOW.0);
    for path in [format!("/I{id}"), format!("/members/I{id}"), format!("/ I{} ", id.to_uppercase())] {
        assert_eq!(ask((Get, &path), None).await, Got::done(&entry), "{path}");
    }
    // With the enroller, whom the authority added itself.
    let root = hex::encode(world.root.identity.identifier().as_bytes());
    let role = "a18a186f1863186b1861186d182d1872186f186c1865881865186e1872186f186c186c18651872";
    let first = format!("5820{by}a301{role}021a{:08x}045820{root}", NOW.0);
    let second = format!("5820{id}{entry}");
    let listed = ask((Get, "/"), None).await;
    let (one, two) = if by < id { (&first, &second) } else { (&second, &first) };
    assert_eq!(listed, Got::done(&format!("a2{one}{two}")));
    assert_eq!(ask((Get, "/members"), None).await, listed);
    let (one, two) = if by < id { (&by, &id) } else { (&id, &by) };
    assert_eq!(ask((Get, "/member_ids"), None).await, Got::done(&format!("825820{one}5820{two}")));

    assert_eq!(ask((Delete, &format!("/I{id}")), None).await, nothing);
    assert_eq!(ask((Delete, &format!("/members/I{id}")), None).await, nothing, "gone is gone");
    let gone = ask((Get, &format!("/I{id}")), None).await;
    assert_eq!((gone.status, gone.error().code.as_deref()), (403, Some("not-found")));
    for n in ["31", "32", "33"] {
        assert_eq!(ask((Post, "/"), Some(&add(&n.repeat(32), "a0"))).await, nothing);
    }
    assert_eq!(ask((Delete, "/members"), None).await, nothing);
    assert_eq!(ask((Get, "/member_ids"), None).await, Got::done(&format!("815820{by}")));
    for n in ["31", "32"] {
        assert_eq!(ask((Post, "/"), Some(&add(&n.repeat(32), "a0"))).await, nothing);
    }
    // Ours: how many, and whether there was one, for who asks for that.
    let details = Some("a1190100f5");
    assert_eq!(ask((Delete, "/members"), details).await, Got::done("a119010002"));
    let gone = ask((Delete, &format!("/I{id}")), details).await;
    assert_eq!((gone.status, gone.error().code.as_deref()), (403, Some("not-found")));
    let protected = ask((Delete, &format!("/I{by}")), None).await;
    assert_eq!(protected.status, 403, "who was trusted from the start stays");
}

#[tokio::test]
async fn tickets_are_made_and_taken_as_the_reference_does_it() {
    let (world, desk, enroller) = desk(Options::default()).await;
    let stranger = person(&world.vault).await;
    let member = peer(&world, &stranger).await;
    let mint = async |body: &str| ask(&desk, &enroller, EnrollmentTokenIssuer, (Post, "/"), Some(body)).await;
    let take = async |path: &str, body: &str| {
        ask(&desk, &member, EnrollmentTokenAcceptor, (Post, path), Some(body)).await
    };
    let unauthorized = ask(&desk, &member, CredentialIssuer, (Post, "/"), None).await;
    assert_eq!((unauthorized.status, unauthorized.message().as_str()), (403, "unauthorized member"));
    assert_eq!(unauthorized.body, "a301612f02010373756e617574686f72697a6564206d656d626572");

    let made = mint("a301a16161616202190258 0302").await;
    assert!(made.status == 200 && made.body.starts_with("a1015820") && made.body.len() == 72, "{made:?}");
    let unknown = take("/", &format!("a1015820{}", "11".repeat(32))).await;
    assert_eq!((unknown.status, unknown.message().as_str()), (403, "unknown enrollment token"));
    assert_eq!(take("/credential", &made.body).await, Got::done(""));
    for again in [&made.body, &format!("a1015820{}", "11".repeat(32))] {
        let again = take("/", again).await;
        assert_eq!((again.status, again.message().as_str()), (403, "already a member"));
        assert_eq!(again.error().code, None, "to the byte as the reference says it");
    }
    // The default is one use, ten minutes.
    let once = mint("a101a0").await.body;
    for (expected, message) in [(200, None), (403, Some("unknown enrollment token".to_owned()))] {
        let other = peer(&world, &person(&world.vault).await).await;
        let got = ask(&desk, &other, EnrollmentTokenAcceptor, (Post, "/"), Some(&once)).await;
        assert_eq!((got.status, (got.status != 200).then(|| got.message())), (expected, message));
    }
    let refused = ask(&desk, &member, EnrollmentTokenIssuer, (Post, "/tokens"), Some("a101a0")).await;
    assert_eq!(refused.status, 403, "a member is no enroller");

    // And ours: details where they are asked for, the list, and the end of one.
    let detailed = mint("a201a0 190100f5").await;
    assert!(detailed.body.starts_with("a2015820") && detailed.body[72..].starts_with("190101a60148"));
    let reference = detailed.body[84..100].to_owned();
    let tickets = ask(&desk, &enroller, EnrollmentTokenIssuer, (Get, "/tokens"), None).await;
    assert!(tickets.body.contains(&reference) && tickets.body.starts_with("83"), "{tickets:?}");
    for (expected, code) in [(200, None), (403, Some("not-found"))] {
        let path = format!("/tokens/{reference}");
        let got = ask(&desk, &enroller, EnrollmentTokenIssuer, (Delete, &path), None).await;
        let found = (got.status != 200).then(|| got.error().code.unwrap());
        assert_eq!((got.status, found.as_deref()), (expected, code));
    }
}

#[tokio::test]
async fn credentials_are_what_the_reference_takes() {
    for say_project in [true, false] {
        let vault = std::sync::Arc::new(SoftVault::in_memory().unwrap());
        let world = World::with(memory, vault, |settings| settings.say_project = say_project).await;
        let desk = Desk::new(world.authority.clone(), Options::default());
        let (somebody, _) = world.member(&[("colour", "blue")]).await;
        // The latest change of whoever asks is in it.
        let after = rotated(&somebody, &world.vault, NOW).await;
        let subject = peer(&world, &after).await;
        for path in ["/", "/credential"] {
            let got = ask(&desk, &subject, CredentialIssuer, (Post, path), None).await;
            assert_eq!(got.status, 200);
            let credential = Credential::from_hex(&got.body).unwrap();
            let issuer = IssuerBundle::history_only(world.root.identity.clone());
            let id = after.identity.identifier();
            let verified = verify(&credential, &issuer, Some(&id), NOW, Rule::Reference).unwrap();
            let attributes = verified.attributes();
            assert_eq!(attributes.schema(), MEMBER_SCHEMA);
            let project = say_project.then_some("project-1");
            assert_eq!(
                (attributes.get("colour"), attributes.get("trust_context_id")),
                (Some("blue"), project)
            );
            let change = hex::encode(after.identity.latest().hash().as_bytes());
            assert!(got.body.contains(&change), "it names the subject's latest change");
        }
        let bundle = ask(&desk, &subject, CredentialIssuer, (Get, "/issuer"), None).await;
        let bundle = IssuerBundle::decode(&hex::decode(bundle.body).unwrap()).unwrap();
        assert_eq!(bundle.identifier(), world.root.identity.identifier());
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_answered() {
    let (_world, desk, enroller) = desk(Options::default()).await;
    let id = "22".repeat(32);
    let code = "11".repeat(32);
    let long = format!("a101a1791001{}60", "61".repeat(4097));
    let reserved = add(&id, "a16a6964656e74696669657261 78").replace(' ', "");
    let malformed: Vec<(Service, (Method, &str), Option<String>)> = vec![
        (DirectAuthenticator, (Post, "/"), None),
        (DirectAuthenticator, (Post, "/"), Some(String::new())),
        (DirectAuthenticator, (Post, "/members"), Some("ff".into())),
        (DirectAuthenticator, (Post, "/"), Some(format!("a1015820{id}"))),
        (DirectAuthenticator, (Post, "/"), Some(add(&id, "a141614162"))),
        (DirectAuthenticator, (Post, "/"), Some(reserved)),
        (DirectAuthenticator, (Get, "/I69"), None),
        (DirectAuthenticator, (Get, "/members/"), None),
        (DirectAuthenticator, (Delete, "/"), None),
        (DirectAuthenticator, (Delete, "/members/nobody"), None),
        (EnrollmentTokenIssuer, (Post, "/"), None),
        (EnrollmentTokenIssuer, (Post, "/tokens"), Some("a0".into())),
        (EnrollmentTokenIssuer, (Post, "/"), Some("a201a00200".into())),
        (EnrollmentTokenIssuer, (Post, "/"), Some("a201a0031b0000000100000001".into())),
        (EnrollmentTokenIssuer, (Post, "/"), Some(long)),
        (EnrollmentTokenIssuer, (Delete, "/tokens/xyz"), None),
        (EnrollmentTokenAcceptor, (Post, "/"), None),
        (EnrollmentTokenAcceptor, (Post, "/"), Some(format!("a101581f{}", &code[2..]))),
        (EnrollmentTokenAcceptor, (Post, "/"), Some(format!("a1016120{code}"))),
    ];
    for (service, call, body) in malformed {
        let got = ask(&desk, &enroller, service, call, body.as_deref()).await;
        assert_eq!(got.status, 400, "{service} {call:?} {body:?}: {got:?}");
        assert_ne!(got.message(), "unknown path", "{service} {call:?} {body:?}");
        let error = got.error();
        assert_eq!((error.path.as_deref(), error.method), (Some(call.1), Some(call.0)));
    }
    let unknown = [
        (DirectAuthenticator, (Put, "/")),
        (DirectAuthenticator, (Patch, "/members")),
        (DirectAuthenticator, (Post, "/nothing")),
        (DirectAuthenticator, (Get, "/members/a/b")),
        (DirectAuthenticator, (Get, "/a/b/c/d/e/f")),
        (EnrollmentTokenIssuer, (Get, "/")),
        (EnrollmentTokenIssuer, (Post, "/credential")),
        (EnrollmentTokenAcceptor, (Post, "/tokens")),
        (EnrollmentTokenAcceptor, (Get, "/")),
        (CredentialIssuer, (Get, "/")),
        (CredentialIssuer, (Post, "/tokens")),
    ];
    for (service, call) in unknown {
        let got = ask(&desk, &enroller, service, call, None).await;
        assert_eq!((got.status, got.message().as_str()), (400, "unknown path"), "{service} {call:?}");
    }
    // What is no request at all, or says nothing that is a method.
    for payload in [vec![], vec![0xff; 11], to_bare(b"\xa1"), to_bare(b"no request"), vec![0; 70_000]] {
        let answer = desk.answer(Some(&enroller), None, CredentialIssuer, &payload).await;
        let response = Response::decode(&answer).unwrap();
        assert_eq!((response.re, response.status), (0, Some(Status::BadRequest)));
        assert!(response.error().message.is_some());
    }
    let strange = to_bare(&hex::decode("a4010702612f030904f4").unwrap());
    let answer = desk.answer(Some(&enroller), None, CredentialIssuer, &strange).await;
    let response = Response::decode(&answer).unwrap();
    assert_eq!((response.re, response.error().to_string().as_str()), (7, "unknown path"));
}

#[tokio::test]
async fn who_may_do_what_is_as_over_http() {
    let (world, desk, enroller) = desk(Options::default()).await;
    let (member, _) = world.member(&[]).await;
    let member = peer(&world, &member).await;
    let stranger = peer(&world, &person(&world.vault).await).await;
    let id = "22".repeat(32);
    let body = add(&id, "a0");
    for somebody in [&member, &stranger] {
        for (call, body) in [
            ((Post, "/"), Some(body.as_str())),
            ((Get, "/"), None),
            ((Get, "/member_ids"), None),
            ((Get, format!("/I{id}").as_str()), None),
            ((Delete, "/members"), None),
            ((Delete, format!("/I{id}").as_str()), None),
        ] {
            let got = ask(&desk, somebody, DirectAuthenticator, call, body).await;
            assert_eq!(
                (got.status, got.message().as_str()),
                (403, "only an enroller may do this"),
                "{call:?}"
            );
        }
    }
    assert_eq!(ask(&desk, &enroller, DirectAuthenticator, (Post, "/"), Some(&body)).await.status, 200);
}

#[tokio::test]
async fn whoever_guesses_is_stopped() {
    let (world, desk, _) = desk(counting(3)).await;
    let guesser = peer(&world, &person(&world.vault).await).await;
    let wrong = format!("a1015820{}", "11".repeat(32));
    let guess = async || ask(&desk, &guesser, EnrollmentTokenAcceptor, (Post, "/"), Some(&wrong)).await;
    for _ in 0..3 {
        assert_eq!(guess().await.message(), "unknown enrollment token");
    }
    let stopped = guess().await;
    let error = stopped.error();
    assert_eq!((stopped.status, error.code.as_deref()), (403, Some("rate-limited")));
    assert!(error.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)));
    // Somebody else, from a machine that is not known, is not.
    let other = peer(&world, &person(&world.vault).await).await;
    let got = ask(&desk, &other, EnrollmentTokenAcceptor, (Post, "/"), Some(&wrong)).await;
    assert_eq!(got.message(), "unknown enrollment token");
    // And one machine counts for all who are behind it.
    let machine = Some([192, 0, 2, 1].into());
    let (mut refused, request) = (0, hex::decode(&wrong).unwrap());
    for _ in 0..6 {
        let one = peer(&world, &person(&world.vault).await).await;
        let request = Request { id: 7, path: "/", method: Some(Post), body: Some(&request), key: None };
        let answer = desk.answer(Some(&one), machine, EnrollmentTokenAcceptor, &request.encode()).await;
        let code = Response::decode(&answer).unwrap().error().code;
        refused += usize::from(code.as_deref() == Some("rate-limited"));
    }
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn a_channel_does_not_outlive_its_attestation() {
    let (world, desk, enroller) = desk(Options::default()).await;
    world.clock.set(NOW.after(crate::world::HOUR + 1));
    let got = ask(&desk, &enroller, DirectAuthenticator, (Get, "/"), None).await;
    assert_eq!((got.status, got.error().code.as_deref()), (401, Some("unauthenticated")));
}

#[tokio::test]
async fn what_takes_too_long_is_answered() {
    let (_world, desk, enroller) = desk(Options { deadline: Duration::ZERO, ..Options::default() }).await;
    // A store in memory may be done before anybody looks at the time: then the next one is tried.
    for member in 0..200_u8 {
        let body = add(&format!("{member:02x}").repeat(32), "a0");
        let got = ask(&desk, &enroller, DirectAuthenticator, (Post, "/"), Some(&body)).await;
        if got.status != 200 {
            assert_eq!((got.status, got.error().code.as_deref()), (500, Some("unavailable")));
            return;
        }
    }
    panic!("everything was done in no time");
}

#[test]
fn services_are_open_that_are_not_closed() {
    let open = |direct_authentication, token_enrolment| {
        let options = Options { direct_authentication, token_enrolment, ..Options::default() };
        options.services().map(Service::address).collect::<Vec<_>>()
    };
    assert_eq!(open(true, true).len(), 4);
    assert_eq!(
        open(false, true),
        ["enrollment_token_issuer", "enrollment_token_acceptor", "credential_issuer"]
    );
    assert_eq!(open(true, false), ["direct_authenticator", "credential_issuer"]);
}
