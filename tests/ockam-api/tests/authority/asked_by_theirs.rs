//! The published client asks our authority and its own the same things.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ockam_api::authenticator::direct::Members as _;
use ockam_api::authenticator::enrollment_tokens::TokenIssuer as _;
use ockam_api::authenticator::one_time_code::OneTimeCode;
use ockam_api::enroll::enrollment::Enrollment as _;
use ockam_api::orchestrator::AuthorityNodeClient;
use ockam_identity::AttributesEntry;
use ockam_identity::models::Identifier;

use crate::program::Program;
use crate::world::{Askers, Place, in_node, ours, theirs};

const ENROLLER: [(&str, &str); 1] = [("ockam-role", "enroller")];

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What their client makes of refusals and their verification of credentials, so that no time-out is taken for either.
const ANSWERS: [&str; 3] = ["origin: Api, kind: Invalid", "message: ", "CredentialVerificationFailed"];

/// Who takes part. Alice is an enroller from the start.
struct Cast {
    people: BTreeMap<&'static str, Identifier>,
    place: Place,
}

impl Cast {
    fn id(&self, name: &str) -> &Identifier {
        &self.people[name]
    }

    fn name(&self, id: &Identifier) -> String {
        let found = self.people.iter().find(|(_, known)| *known == id);
        match found {
            Some((name, _)) => (*name).to_owned(),
            None if *id == self.place.identifier => "the authority".to_owned(),
            None => panic!("nobody knows {id}"),
        }
    }

    fn entry(&self, entry: &AttributesEntry) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pairs: Vec<_> =
            entry.attrs().iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
        let by = entry.attested_by().map(|by| self.name(&by));
        format!("{} by {by:?} until {:?}", pairs.join(" "), entry.expires_at())
    }
}

/// What came of each step, in words that are the same whoever was asked.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn step<T, E: Display>(
        &mut self,
        step: &str,
        outcome: Result<T, E>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        self.0.push(match &outcome {
            Ok(value) => format!("{step}: {}", show(value)),
            Err(error) => {
                let words = error.to_string();
                assert!(
                    ANSWERS.iter().any(|answer| words.contains(answer)),
                    "{step}: no answer, but {words}"
                );
                format!("{step}: refused")
            }
        });
        outcome.ok()
    }

    fn done<T, E: Display>(&mut self, step: &str, outcome: Result<T, E>) -> Option<T> {
        self.step(step, outcome, |_| "done".to_owned())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn members(askers: &Askers, cast: &Cast, told: &mut Told) {
    let context = &*askers.context;
    let of = async |name: &str| askers.client(&cast.place, cast.id(name)).await;
    let (alice, bob, carol, eve) = (of("alice").await, of("bob").await, of("carol").await, of("eve").await);
    let add = async |client: &AuthorityNodeClient, who: &str, pairs: &[(&str, &str)]| {
        client.add_member(context, cast.id(who).clone(), attributes(pairs)).await
    };
    told.done("a stranger adds", add(&bob, "carol", &[]).await);
    told.done(
        "an enroller adds",
        add(&alice, "carol", &[("team", "blue"), ("ü", ""), ("a", "b=c, d")]).await,
    );
    told.step("and shows", alice.show_member(context, cast.id("carol")).await, |e| cast.entry(e));
    told.done("and adds again", add(&alice, "carol", &[("team", "red")]).await);
    told.step("what is there is replaced", alice.show_member(context, cast.id("carol")).await, |e| {
        cast.entry(e)
    });
    told.done("without attributes", add(&alice, "dave", &[]).await);
    told.step("shown", alice.show_member(context, cast.id("dave")).await, |e| cast.entry(e));
    told.step("who is none", alice.show_member(context, cast.id("bob")).await, |e| cast.entry(e));
    told.done("a member lists", carol.list_members(context).await);
    told.done("a member lists identifiers", carol.list_member_ids(context).await);
    told.done("a member shows itself", carol.show_member(context, cast.id("carol")).await);
    told.done("a member deletes", carol.delete_member(context, cast.id("dave")).await);
    told.done("a member deletes all", carol.delete_all_members(context).await);
    told.done("an enroller makes one", add(&alice, "eve", &ENROLLER).await);
    told.done("who adds", add(&eve, "bob", &[("by", "eve")]).await);
    told.step("and is named", alice.show_member(context, cast.id("bob")).await, |e| cast.entry(e));
    told.step("a list", eve.list_members(context).await, |list| {
        let all: BTreeMap<_, _> = list.iter().map(|(id, entry)| (cast.name(id), cast.entry(entry))).collect();
        format!("{all:?}")
    });
    told.step("identifiers", eve.list_member_ids(context).await, |list| {
        let mut names: Vec<_> = list.iter().map(|id| cast.name(id)).collect();
        names.sort();
        names.join(" ")
    });
    told.done("deletes whom the configuration names", eve.delete_member(context, cast.id("alice")).await);
    told.done("themselves, too", alice.delete_member(context, cast.id("alice")).await);
    told.done("deletes a member", eve.delete_member(context, cast.id("bob")).await);
    told.done("deletes nobody", eve.delete_member(context, cast.id("bob")).await);
    told.step("who is gone", alice.show_member(context, cast.id("bob")).await, |e| cast.entry(e));
}

async fn tickets(askers: &Askers, cast: &Cast, told: &mut Told) {
    let context = &*askers.context;
    let of = async |name: &str| askers.client(&cast.place, cast.id(name)).await;
    let alice = of("alice").await;
    let make = async |pairs: &[(&str, &str)], seconds: Option<u64>, uses: Option<u64>| {
        alice.create_token(context, attributes(pairs), seconds.map(Duration::from_secs), uses).await
    };
    let take = async |who: &str, code: OneTimeCode| of(who).await.present_token(context, &code).await;
    let shown = async |who: &str| alice.show_member(context, cast.id(who)).await;
    told.done(
        "a stranger makes one",
        of("bob").await.create_token(context, attributes(&[]), None, None).await,
    );
    told.done(
        "a member makes one",
        of("carol").await.create_token(context, attributes(&[]), None, None).await,
    );

    let pairs =
        [("role", "member"), ("ockam-relay", "web"), ("ockam-tls-certificate", "true"), ("ü", "a,b=c")];
    let plain = told.done("an enroller makes one", make(&pairs, None, None).await).unwrap();
    let expires = told.done("for a second", make(&[], Some(1), None).await).unwrap();
    let made = now();
    told.step("unknown", take("bob", OneTimeCode::new()).await, |status| format!("{status:?}"));
    told.step("taken", take("bob", plain).await, |status| format!("{status:?}"));
    told.step("shown", shown("bob").await, |e| cast.entry(e));
    told.step("taken again", take("bob", plain).await, |status| format!("{status:?}"));
    told.step("taken by another", take("frank", plain).await, |status| format!("{status:?}"));

    let two = told.done("for two", make(&[], Some(300), Some(2)).await).unwrap();
    for who in ["bob", "frank", "grace", "heidi"] {
        told.step(&format!("{who} takes"), take(who, two).await, |status| format!("{status:?}"));
    }
    let enrollers = told.done("for enrollers", make(&ENROLLER, Some(300), None).await).unwrap();
    told.step("taken", take("heidi", enrollers).await, |status| format!("{status:?}"));
    told.step(
        "who makes one",
        of("heidi").await.create_token(context, attributes(&[]), None, None).await,
        |_| "done".into(),
    );
    while now() < made + 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    told.step("expired", take("ivan", expires).await, |status| format!("{status:?}"));
}

async fn credentials(askers: &Askers, cast: &Cast, told: &mut Told) {
    let context = &*askers.context;
    for who in ["alice", "bob", "carol", "frank", "heidi", "ivan"] {
        let client = askers.client(&cast.place, cast.id(who)).await;
        let issued = client.issue_credential(context).await;
        if let Some(credential) = told.done(&format!("{who} gets a credential"), issued) {
            let verified = askers.verified(&cast.place, cast.id(who), &credential).await;
            told.step("which says", verified, |says| format!("{says:?}"));
            let another = askers.verified(&cast.place, cast.id("ivan"), &credential).await;
            told.done("of another", another);
        }
    }
    let alice = askers.client(&cast.place, cast.id("alice")).await;
    told.done("an enroller deletes all", alice.delete_all_members(context).await);
    let left = alice.list_member_ids(context).await;
    told.step("but", left, |left| left.iter().map(|id| cast.name(id)).collect::<Vec<_>>().join(" "));
    let bob = askers.client(&cast.place, cast.id("bob")).await;
    told.done("who was one gets nothing", bob.issue_credential(context).await);
}

#[test]
fn their_client_gets_from_ours_what_it_gets_from_theirs() {
    in_node(|context| async move {
        let askers = Askers::new(&context).await;
        let mut people = BTreeMap::new();
        for name in ["alice", "bob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan"] {
            people.insert(name, askers.identity().await);
        }
        let enrollers = [people["alice"].clone()];
        let program = Program::new();
        let places = [theirs(&context, &enrollers).await, ours(&program, &enrollers).await];
        let mut all = Vec::new();
        for place in places {
            let cast = Cast { people: people.clone(), place };
            let mut told = Told::default();
            members(&askers, &cast, &mut told).await;
            tickets(&askers, &cast, &mut told).await;
            credentials(&askers, &cast, &mut told).await;
            all.push(told.0);
        }
        let refused = all[0].iter().filter(|told| told.ends_with(": refused")).count();
        assert!(refused >= 20 && all[0].len() >= 55, "their own authority tells: {:#?}", all[0]);
        assert_eq!(all[0], all[1], "theirs, and ours");
    });
}
