//! The main path through the client: a ticket, enrolling, a credential; members and tickets as enrollers see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use authority::client::{Enrolled, Kind};
use authority::http::{Options, Server};
use authority::ticket::Code;
use identity::{Identifier, Rule, Timestamp, Validity, verify};
use tokio::net::TcpListener;
use vault::{KeyName, KeySpec, Signer};

use crate::common::{NOW, World, attributes, enroller, memory, person, rocks};
use crate::net::{RequestKey, Site, THEN, ask, plain};

async fn enrols(site: &Site) {
    let enroller = Arc::new(site.enroller().await);
    let (person, member) = site.stranger().await;
    let member = Arc::new(member);
    let refused = ask(&member, |member| member.credential()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().as_str()), (Kind::Forbidden, "unauthorized member"));

    let given = attributes(&[("colour", "blue"), ("empty", "")]);
    let issued = ask(&enroller, {
        let given = given.clone();
        move |enroller| enroller.make_ticket(&given, Some(60), Some(2))
    })
    .await
    .unwrap();
    assert_eq!((issued.ticket.uses_left, issued.ticket.expires_at), (2, Timestamp(THEN.0 + 60)));
    assert_eq!(issued.ticket.attributes, given);
    let wrong = ask(&member, |member| member.enrol(&Code::generate().unwrap())).await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.to_string().as_str()), (Kind::Forbidden, "unknown enrollment token"));
    let code = Arc::new(issued.code);
    for expected in [Enrolled::Now, Enrolled::Already] {
        let code = Arc::clone(&code);
        assert_eq!(ask(&member, move |member| member.enrol(&code)).await.unwrap(), expected);
    }
    let tickets = ask(&enroller, |enroller| enroller.tickets()).await.unwrap();
    assert_eq!(tickets[0].uses_left, 1, "who is a member already spends no ticket");

    let granted = ask(&member, |member| member.credential()).await.unwrap();
    assert_eq!(granted.verified.subject(), person.identity.identifier());
    assert_eq!(granted.verified.attributes().get("colour"), Some("blue"));
    assert_eq!(granted.verified.attributes().get("empty"), Some(""));
    assert_eq!(granted.verified.attributes().get("trust_context_id"), Some("project-1"));
    assert_eq!(
        granted.verified.expires_at(),
        Timestamp(THEN.0 + 3599),
        "an hour, the last second of which is this"
    );
    // And for somebody else, who has only the bundle.
    let subject = person.identity.identifier();
    assert!(verify(&granted.credential, &granted.issuer, Some(&subject), THEN, Rule::default()).is_ok());
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
async fn request_keys_of_both_types_are_taken() {
    let site = Site::new().await;
    let world = &site.world;
    let facet = world.vault.signing().unwrap();
    let p256 = facet.generate(&KeySpec::p256(KeyName::new("p256").unwrap())).await.unwrap();
    let p256 = Signer::bind(Arc::clone(&world.vault), p256).unwrap();
    let key = RequestKey::with(p256, &world.enroller, Validity::starting(NOW, 3600)).await;
    let client = Arc::new(site.client_with(&world.enroller.identity, &key));
    for _ in 0..2 {
        assert_eq!(ask(&client, |client| client.members()).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_listed_shown_and_deleted() {
    let site = Site::new().await;
    let client = Arc::new(site.enroller().await);
    let who = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Identifier::from_bytes(bytes)
    };
    let added = ask(&client, move |client| {
        for n in 0..250 {
            client.add_member(&who(n), &attributes(&[("n", &n.to_string())]))?;
        }
        client.add_member(&who(3), &attributes(&[("n", "replaced")]))?;
        client.members()
    })
    .await
    .unwrap();
    assert_eq!(added.len(), 251, "over several pages, with the enroller");
    assert!(added.is_sorted_by_key(|member| member.identifier));
    let ids = ask(&client, |client| client.member_ids()).await.unwrap();
    assert_eq!(ids, added.iter().map(|member| member.identifier).collect::<Vec<_>>());
    let page = ask(&client, move |client| client.members_after(Some(&who(9)), 2)).await.unwrap();
    assert_eq!(page.items.iter().map(|member| member.identifier).collect::<Vec<_>>(), [who(10), who(11)]);
    assert_eq!(page.next, Some(who(11)));

    let shown = ask(&client, move |client| client.member(&who(3))).await.unwrap();
    assert_eq!(shown.attributes.get("n"), Some("replaced"));
    assert_eq!(shown.added_by, site.world.enroller.identity.identifier());
    ask(&client, move |client| client.delete_member(&who(3))).await.unwrap();
    for gone in [
        ask(&client, move |client| client.delete_member(&who(3))).await.unwrap_err(),
        ask(&client, move |client| client.member(&who(3)).map(drop)).await.unwrap_err(),
    ] {
        assert_eq!(gone.kind(), Kind::NotFound);
    }
    assert_eq!(ask(&client, |client| client.delete_members()).await.unwrap(), 249);
    assert_eq!(
        ask(&client, |client| client.member_ids()).await.unwrap().len(),
        1,
        "the enroller is pre-trusted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_listed_and_revoked() {
    let site = Site::new().await;
    let client = Arc::new(site.enroller().await);
    let made = ask(&client, |client| {
        (0..3)
            .map(|_| client.make_ticket(&attributes(&[("a", "b")]), None, None))
            .collect::<Result<Vec<_>, _>>()
    })
    .await
    .unwrap();
    let listed = ask(&client, |client| client.tickets()).await.unwrap();
    let references = |tickets: &[authority::ticket::Ticket]| {
        tickets.iter().map(|ticket| ticket.reference.clone()).collect::<BTreeSet<_>>()
    };
    let all: Vec<_> = made.iter().map(|issued| issued.ticket.clone()).collect();
    assert_eq!(references(&listed), references(&all));
    let revoked = all[0].reference.clone();
    for expected in [None, Some(Kind::NotFound)] {
        let revoked = revoked.clone();
        let outcome = ask(&client, move |client| client.revoke_ticket(&revoked)).await;
        assert_eq!(outcome.err().map(|error| error.kind()), expected);
    }
    let (_, member) = site.stranger().await;
    let code = made.into_iter().next().unwrap().code;
    let refused = ask(&Arc::new(member), move |member| member.enrol(&code)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_gives_roles() {
    let world = World::with(memory, Arc::new(vault::soft::SoftVault::in_memory().unwrap()), |settings| {
        settings.rules.enforce_admin = true;
    })
    .await;
    let site = Site::of(world, Options::default()).await;
    let client = Arc::new(site.enroller().await);
    let target = person(&site.world.vault).await.identity.identifier();
    let refused = ask(&client, move |client| client.add_member(&target, &enroller())).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    let refused = ask(&client, move |client| client.make_ticket(&enroller(), None, None)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_reads_the_issuer_and_how_it_is() {
    let site = Site::new().await;
    let (root, bundle) = (&site.world.root.identity, site.world.authority.issuer_bundle());
    let answer = plain(&site, "GET", "/v1/issuer").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let json = answer.json();
    assert_eq!(json["identifier"], root.identifier().to_string());
    assert_eq!(json["change_history"], root.to_hex());
    assert_eq!(json["bundle"], bundle.to_hex().unwrap());
    assert_eq!(json["attestations"][0], bundle.attestations().unwrap()[0].to_hex().unwrap());
    assert_eq!(plain(&site, "GET", "/healthz").await.body, r#"{"alive":true}"#);
    let answer = plain(&site, "GET", "/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ready":true,"missing":[]}"#));
    // The clock is set back: by less than the skew, and by more.
    for (back, status, missing) in [(60, 200, serde_json::json!([])), (61, 503, serde_json::json!(["clock"]))]
    {
        site.world.clock.set(Timestamp(THEN.0 - back));
        let answer = plain(&site, "GET", "/readyz").await;
        assert_eq!((answer.status, &answer.json()["missing"]), (status, &missing));
    }
    let refused = ask(&Arc::new(site.enroller().await), |client| client.members()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "not that the request is from the future");
    // In the second of the start no request is taken, for those of the server before may be sent again.
    site.world.clock.set(THEN);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(site.world.authority.clone(), listener, Options::default()).unwrap();
    let site = Site { world: site.world, server };
    let answer = plain(&site, "GET", "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["missing"], serde_json::json!(["start"]));
}
