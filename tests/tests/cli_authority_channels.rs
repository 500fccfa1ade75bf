//! The authority's door of secure channels through the program: the same commands as over HTTP, with a route in the place of a
//! URL.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use ockam_kms_tests::cli::Kms;
use serde_json::{Value, json};

/// An authority in one home with these doors, and an enroller in another whom it trusts.
fn start(kms: &mut Kms, doors: &[&str]) -> Value {
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    let trusted = json!({ enroller: { "ockam-role": "enroller" } }).to_string();
    kms.file("trusted.json", trusted);
    let create = ["authority", "create", "--project-identifier", "demo", "--trusted-identities"];
    let create = [&create[..], &["trusted.json", "--output", "json"], doors].concat();
    kms.at("authority").run(&create).code(0).json()
}

fn history(kms: &mut Kms) -> String {
    kms.at("authority")
        .run_apart(&["identity", "show", "authority-demo", "--full", "--encoding", "hex"], b"")
        .code(0)
        .stdout
}

const CHANNELS: [&str; 2] = ["--tcp-listener-address", "127.0.0.1:0"];
const HTTP: [&str; 2] = ["--http-address", "127.0.0.1:0"];

#[test]
fn everything_works_without_http() {
    let mut kms = Kms::new();
    let created = start(&mut kms, &CHANNELS);
    assert_eq!((&created["http_address"], &created["is_authority"]), (&Value::Null, &Value::Bool(true)));
    let route = created["authority_route"].as_str().unwrap().to_owned();
    assert!(route.starts_with("/ip4/127.0.0.1/tcp/") && route.ends_with("/service/api"), "{route}");
    let shown = kms.run(&["authority", "show", "--output", "json"]).code(0).json();
    assert_eq!(
        (&shown["channel_route"], &shown["status"]["ready"]),
        (&Value::from(route.as_str()), &Value::Bool(true))
    );
    let listed = kms.run(&["authority", "list", "--output", "json"]).code(0).json();
    assert_eq!(listed[0]["channel_route"].as_str(), Some(route.as_str()));

    // The first ticket tells the enroller's home where the authority is.
    let history = history(&mut kms);
    let to = ["--authority-route", &route, "--authority-identity", &history];
    let made = ["project", "ticket", "-a", "role=member", "--usage-count", "2", "--output", "json"];
    let made = kms.at("enroller").run(&[&made[..], &to[..]].concat()).code(0).json();
    let ticket = made["ticket"].as_str().unwrap().to_owned();
    let fields: Vec<_> = ticket.split(',').collect();
    // Where the reference's readers look: the project in a route with an address, and the identifier of the history.
    let project_route = route.replace("/service/api", "/service/demo");
    let show = ["identity", "show", "authority-demo"];
    let authority = kms.at("authority").run_apart(&show, b"").code(0).stdout;
    assert_eq!((fields[0], fields[1], fields[2]), (&*project_route, &*authority, "demo"));
    assert_eq!((fields[4], fields[5]), (history.as_str(), history.as_str()), "both histories, as hex");
    assert_eq!(fields[6], route);
    assert_eq!(made["uses_left"], 2);

    let enrolled =
        kms.at("member").run_with(&["project", "enroll", "-", "--output", "json"], ticket.as_bytes());
    let enrolled = enrolled.code(0).json();
    let member = enrolled["identity"].as_str().unwrap().to_owned();
    assert!(enrolled["credential"].as_str().is_some_and(|credential| credential.len() > 100));
    let again = kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    assert!(again.stderr.contains("already a member"), "{}", again.stderr);
    // A member is no enroller.
    let refused = kms.run(&["project-member", "list"]).code(77);
    assert!(refused.stderr.contains("only an enroller"), "{}", refused.stderr);

    let listed = kms.at("enroller").run(&["project-member", "list", "--output", "json"]).code(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let shown = kms.run(&["project-member", "show", &member, "--output", "json"]).code(0).json();
    assert_eq!(shown["attributes"]["attributes"]["role"], "member");
    let other = format!("I{}", "22".repeat(32));
    kms.run(&["project-member", "add", &other, "-a", "team=a,b"]).code(0);
    let ids = kms.run(&["project-member", "list-ids", "--output", "json"]).code(0).json();
    assert_eq!(ids.as_array().unwrap().len(), 3);
    kms.run(&["project-member", "delete", &other]).code(0);
    let _ = kms.run(&["project-member", "delete", &other]).code(66);
    let _ = kms.run(&["project-member", "show", &other]).code(66);
    let deleted = kms.run(&["project-member", "delete", "--all", "--output", "json"]).code(0).json();
    assert_eq!(deleted["deleted"], 1);
    let _ = kms.at("member").run(&["project", "enroll"]).code(77);

    let listed = kms.at("enroller").run(&["project", "ticket", "--list", "--output", "json"]).code(0).json();
    let reference = listed[0]["reference"].as_str().unwrap().to_owned();
    assert_eq!(Value::from(reference.as_str()), made["reference"]);
    kms.run(&["project", "ticket", "--revoke", &reference]).code(0);
    let gone = kms.at("other").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    assert!(gone.stderr.contains("unknown enrollment token"), "{}", gone.stderr);
    let log = kms.at("authority").run(&["audit", "export"]).code(0).stdout;
    for action in ["ticket-make", "enrol", "credential-issue", "member-add", "member-delete", "ticket-revoke"]
    {
        assert!(log.contains(&format!("\"action\":\"{action}\"")), "{action}: {log}");
    }
    kms.run(&["authority", "stop"]).code(0);
    let away = kms.at("enroller").run(&["project-member", "list"]).code(69);
    assert!(away.stderr.contains("does not answer"), "{}", away.stderr);
}

#[test]
fn a_rotation_is_shown_at_the_next_handshake() {
    let mut kms = Kms::new();
    let created = start(&mut kms, &CHANNELS);
    let route = created["authority_route"].as_str().unwrap().to_owned();
    let history = history(&mut kms);
    let to = ["--authority-route", &route, "--authority-identity", &history];
    let ticket = kms.at("enroller").run(&[&["project", "ticket"], &to[..]].concat()).code(0).stdout;
    kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    for (changes, more) in [(2, &["--key-type", "p256"][..]), (3, &["--revoke-purpose-keys"])] {
        let rotate = ["identity", "rotate", "authority-demo", "--output", "json"];
        let rotated = kms.at("authority").run(&[&rotate[..], more].concat()).code(0).json();
        assert_eq!((&rotated["server"], &rotated["changes"]), (&"authority-demo".into(), &changes.into()));
        // Who knew the former history is shown the new one, and gets a credential that holds under it.
        kms.at("member").run(&["project", "enroll"]).code(0);
        let known = kms.run(&["authority", "show", "--output", "json"]).code(0).json();
        assert_eq!(known["changes"], changes);
    }
    // The bundle has more than the history.
    let bundle = kms.run(&["authority", "show", "--issuer-bundle", "--output", "json"]).code(0).json();
    let bundle = &bundle["issuer_bundle"];
    assert!(bundle.as_str().is_some_and(|hex| hex.len() > 3 * history.len()), "{bundle}");
}

#[test]
fn both_doors_are_open_at_once() {
    let mut kms = Kms::new();
    let created = start(&mut kms, &[&CHANNELS[..], &HTTP].concat());
    let route = created["authority_route"].as_str().unwrap().to_owned();
    assert!(route.starts_with("/ip4/"), "the route that everybody's clients understand: {route}");
    let url = format!("http://{}", created["http_address"].as_str().unwrap());
    let history = history(&mut kms);
    for to in [&route, &url] {
        let to = ["--authority-route", to, "--authority-identity", &history];
        let listed = ["project-member", "list-ids", "--output", "json"];
        let listed = kms.at("enroller").run(&[&listed[..], &to[..]].concat()).code(0).json();
        assert_eq!(listed.as_array().unwrap().len(), 1);
    }
    // A ticket of the one door is taken at the other.
    let by_url = ["--authority-route", &url, "--authority-identity", &history];
    let ticket = kms.run(&[&["project", "ticket"], &by_url[..]].concat()).code(0).stdout;
    let ticket = ticket.replace(&url, &route);
    kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
}

#[test]
fn what_is_closed_is_closed_and_no_door_is_none() {
    let mut kms = Kms::new();
    let closed = ["--no-direct-authentication", "--no-token-enrollment", "--disable-trust-context-id"];
    let created = start(&mut kms, &[&CHANNELS[..], &HTTP, &closed].concat());
    let url = format!("http://{}", created["http_address"].as_str().unwrap());
    let (route, history) = (created["authority_route"].as_str().unwrap().to_owned(), history(&mut kms));
    let by = |to: &str| ["--authority-route", to, "--authority-identity", &history].map(str::to_owned);
    let ticket = by(&url);
    let ticket: Vec<_> = ["project", "ticket", "--project-identifier", "demo"]
        .into_iter()
        .chain(ticket.iter().map(String::as_str))
        .collect();
    let ticket = kms.at("enroller").run(&ticket).code(0).stdout;
    kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    let shown = kms.run(&["credential", "list", "--output", "json"]).code(0).stdout;
    assert!(!shown.contains("trust_context_id"), "{shown}");
    let get = by(&route);
    let get: Vec<_> = ["project", "enroll"].into_iter().chain(get.iter().map(String::as_str)).collect();
    kms.run(&get).code(0);

    let nothing = ["authority", "create", "--project-identifier", "x", "--trusted-identities", "{}"];
    let refused = kms.at("other").run(&nothing).code(64);
    assert!(refused.stderr.contains("would have no door"), "{}", refused.stderr);
    let _ = kms.run(&[&nothing[..], &["--no-token-enrollment"], &HTTP[..]].concat()).code(64);
}
