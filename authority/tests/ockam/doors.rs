//! Two doors, one authority: what is done through the one is done as through the other, to the row of the audit log.

use std::sync::Arc;

use authority::audit::AuditRow;
use authority::client::{Ask, Client, Endpoint, Kind};
use authority::guesses::Guesses;
use authority::http::{Options, Server};
use authority::ockam;
use authority::ticket::Code;
use identity::Identifier;

use crate::common::{Person, World, attributes, memory, person};
use crate::net::{RequestKey, serve};
use crate::world::{Site, asking};

/// Everything that can be asked, allowed and refused. What came of each, in words.
fn everything(enroller: &dyn Ask, stranger: &dyn Ask) -> Vec<String> {
    let mut came = Vec::new();
    let mut note = |what: &str, outcome: Result<String, authority::client::Error>| {
        let outcome = outcome.unwrap_or_else(|error| format!("{:?}: {error}", error.kind()));
        came.push(format!("{what}: {outcome}"));
    };
    let given = attributes(&[("colour", "blue")]);
    let own = stranger.identity().identifier();
    let somebody = Identifier::from_bytes([0x22; 32]);
    note("credential", stranger.credential().map(|_| "granted".into()));
    note("list", stranger.members().map(|_| "listed".into()));
    note("add", stranger.add_member(&somebody, &given).map(|()| "added".into()));
    note("mint", stranger.make_ticket(&given, None, None).map(|_| "made".into()));
    note("guess", stranger.enrol(&Code::generate().unwrap(), None).map(|came| format!("{came:?}")));
    note("add", enroller.add_member(&somebody, &given).map(|()| "added".into()));
    note("replace", enroller.add_member(&somebody, &crate::common::enroller()).map(|()| "added".into()));
    note("show", enroller.member(&somebody).map(|member| format!("{member:?}")));
    note("delete", enroller.delete_member(&somebody).map(|()| "deleted".into()));
    note("delete again", enroller.delete_member(&somebody).map(|()| "deleted".into()));
    note("show again", enroller.member(&somebody).map(|member| format!("{member:?}")));
    let made = enroller.make_ticket(&given, Some(60), Some(1)).unwrap();
    let ticket = made.ticket.unwrap();
    note("tickets", enroller.tickets().map(|all| format!("{:?}", all.iter().map(|one| one.uses_left).max())));
    note("enrol", stranger.enrol(&made.code, None).map(|came| format!("{came:?}")));
    note("enrol again", stranger.enrol(&made.code, None).map(|came| format!("{came:?}")));
    note("credential", stranger.credential().map(|granted| format!("{:?}", granted.verified.attributes())));
    note("revoke", enroller.revoke_ticket(&ticket.reference).map(|()| "revoked".into()));
    note("delete it", enroller.delete_member(&own).map(|()| "deleted".into()));
    note("credential", stranger.credential().map(|_| "granted".into()));
    let trusted = enroller.identity().identifier();
    note("delete the enroller", enroller.delete_member(&trusted).map(|()| "deleted".into()));
    let bad = enroller.make_ticket(&given, Some(0), None).unwrap_err();
    // Over HTTP the field is named, too.
    let words = "a ticket is good for 1 to 31536000 seconds";
    assert!(bad.kind() == Kind::Malformed && bad.to_string().ends_with(words), "{bad}");
    note("delete all", enroller.delete_members().map(|count| format!("{count:?}")));
    note("issuer", stranger.issuer().map(|bundle| format!("{:?}", bundle.identifier())));
    came
}

/// The rows since then: who, what, to what and what came of it, with what differs from one run to the next left out.
fn rows(world: &World, since: usize, person: &Person) -> Vec<String> {
    let (own, enroller) = (person.identity.identifier(), world.enroller.identity.identifier());
    let rows = world.audit_lines();
    let rows = rows[since..].iter().map(|line| serde_json::from_str::<AuditRow>(line).unwrap());
    rows.map(|row| {
        let actor =
            row.actor.replace(&own.to_string(), "stranger").replace(&enroller.to_string(), "enroller");
        let mut object = row.object.replace(&own.to_string(), "stranger");
        if object.len() == 16 || (object.len() == 64 && object.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            object = "random".to_owned();
        }
        format!("{actor} {} {object} {} {}", row.action, row.details, row.outcome)
    })
    .collect()
}

/// A client of the HTTP door.
async fn by_http(site: &Site, server: &Server, person: &Person) -> Arc<dyn Ask> {
    let key = RequestKey::of(&site.world, person).await;
    let endpoint = Endpoint::new(&format!("http://{}", server.local_addr())).unwrap();
    let authority = site.world.root.identity.identifier();
    let clock = site.world.clock.clone();
    let identity = person.identity.clone();
    let client = Client::new(endpoint, authority, identity, key.signer, &key.attestation, clock);
    Arc::new(client.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_doors_do_the_same_and_log_the_same() {
    let site = Site::new().await;
    let server = serve(&site.world, Options::default()).await;
    // Known from here on, so that neither door is the first to write that down.
    site.world.enroller().await;
    let mut runs = Vec::new();
    for through_http in [true, false] {
        let stranger = person(&site.world.vault).await;
        let (asks, asked): (Arc<dyn Ask>, Arc<dyn Ask>) = if through_http {
            let enroller = by_http(&site, &server, &site.world.enroller).await;
            (enroller, by_http(&site, &server, &stranger).await)
        } else {
            (site.enroller().await, Arc::new(site.client(&stranger).await))
        };
        let since = site.world.audit_lines().len();
        let came = asking(&asks, move |asks| Ok(everything(asks, &*asked))).await.unwrap();
        let own = stranger.identity.identifier().to_string();
        let came: Vec<_> = came.iter().map(|line| line.replace(&own, "stranger")).collect();
        runs.push((came, rows(&site.world, since, &stranger)));
    }
    let (http, channel) = (&runs[0], &runs[1]);
    for (one, other) in http.0.iter().zip(&channel.0).chain(http.1.iter().zip(&channel.1)) {
        assert_eq!(one, other);
    }
    assert_eq!(http, channel);
    assert!(http.1.len() > 15, "{:#?}", http.1);
    let members = site.enroller().await;
    assert_eq!(asking(&members, |members| members.member_ids()).await.unwrap().len(), 1, "the enroller");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_at_one_door_is_stopped_at_the_other() {
    let guesses = Guesses::new(3, true);
    let options = ockam::Options { guesses: guesses.clone(), ..ockam::Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let options = Options { guesses: Some(guesses), limit_loopback: true, ..Options::default() };
    let server = serve(&site.world, options).await;
    let stranger = person(&site.world.vault).await;
    let doors =
        [by_http(&site, &server, &stranger).await, Arc::new(site.client(&stranger).await) as Arc<dyn Ask>];
    let guess = |door: &dyn Ask| door.enrol(&Code::generate().unwrap(), None);
    let mut kinds = Vec::new();
    for door in [0, 1, 0, 1, 0] {
        kinds.push(asking(&doors[door], guess).await.unwrap_err().kind());
    }
    let wrong = Kind::Forbidden;
    assert_eq!(kinds, [wrong, wrong, wrong, Kind::RateLimited, Kind::RateLimited]);
}
