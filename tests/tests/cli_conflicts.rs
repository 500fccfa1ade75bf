//! A member whose key is in the hands of two: what the authority makes of both histories, and its operator of that.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use home::control::{Ask, ask};
use home::{Home, Kind, Name, Side};
use ockam_kms_tests::cli::{Kms, Ran};
use serde_json::json;

const AT: [&str; 2] = ["--at", "authority-demo"];

/// An authority, and a member with a copy of the member's home; both rotate the identity on their own. The member asks
/// first, so that it is the member's history which is known.
struct Forked {
    kms: Kms,
    /// Whose histories they are.
    member: String,
    create: Vec<String>,
}

impl Forked {
    fn new() -> Self {
        let mut kms = Kms::new();
        let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
        let trusted = json!({ enroller: { "ockam-role": "enroller" } }).to_string();
        let create: Vec<_> = ["authority", "create", "--project-identifier", "demo", "--trusted-identities"]
            .into_iter()
            .chain([&*trusted, "--http-address", "127.0.0.1:0", "--output", "json"])
            .map(str::to_owned)
            .collect();
        let mut world = Self { kms, member: String::new(), create };
        let url = world.start();
        let show = ["identity", "show", "authority-demo", "--full", "--encoding", "hex"];
        let history = world.kms.run(&show).code(0).stdout;
        let route = ["--authority-route", &url, "--authority-identity", &history];
        let ticket =
            world.kms.at("enroller").run(&[&["project", "ticket"], &route[..]].concat()).code(0).stdout;
        let member = world.kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
        member.json()["identity"].as_str().unwrap().clone_into(&mut world.member);
        let (from, to) = (world.kms.path("member"), world.kms.path("thief"));
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        for home in ["member", "thief"] {
            let _ = world.rotate(home);
        }
        let _ = world.asks("member").code(0);
        world
    }

    /// Starts the authority; where it is.
    fn start(&mut self) -> String {
        let create: Vec<_> = self.create.iter().map(String::as_str).collect();
        let made = self.kms.at("authority").run(&create).code(0).json();
        made["authority_route"].as_str().unwrap().to_owned()
    }

    fn rotate(&mut self, home: &str) -> Ran {
        self.kms.at(home).run(&["identity", "rotate", "--keep-old-key"]).code(0)
    }

    /// Asks for a credential.
    fn asks(&mut self, home: &str) -> Ran {
        self.kms.at(home).run(&["project", "enroll", "--output", "json"])
    }

    fn operator(&mut self, arguments: &[&str]) -> Ran {
        self.kms.at("authority").run(&[&["conflict"], arguments, &AT, &["--output", "json"]].concat())
    }

    #[track_caller]
    fn is_refused(&mut self, home: &str, words: &str) {
        let refused = self.asks(home).code(77);
        let error = &refused.json()["error"];
        assert_eq!(error["kind"], "forbidden", "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }

    fn history(&mut self, home: &str) -> String {
        self.kms.at(home).run(&["identity", "show", "--full", "--encoding", "hex"]).code(0).stdout
    }

    /// Rows of the audit log with this action: details and outcome.
    fn rows(&mut self, action: &str) -> Vec<(String, String)> {
        let log = self.kms.at("authority").run(&["audit", "export"]).code(0).stdout;
        let rows = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        rows.filter(|row| row["action"] == action)
            .map(|row| (text(&row["details"]), text(&row["outcome"])))
            .collect()
    }
}

const BLOCKED: &str = "contradict";
const DECIDED: &str = "decided for another change history";

#[test]
fn an_operator_decides_which_history_counts() {
    for (keep, good, bad) in [("known", "member", "thief"), ("shown", "thief", "member")] {
        let mut world = Forked::new();
        let member = world.member.clone();
        assert_eq!(world.operator(&["list"]).code(0).json(), json!([]));
        let none = world.operator(&["show", &member]).code(66).json();
        assert_eq!(none["error"]["message"], format!("there is no conflict about `{member}`"));
        assert!(none["error"]["hint"].as_str().unwrap().contains("conflict list --at authority-demo"));
        let _ = world.operator(&["decide", &member, "--keep", keep]).code(66);

        // Whoever shows another history has both refused.
        world.is_refused("thief", BLOCKED);
        world.is_refused("member", BLOCKED);
        let listed = world.operator(&["list"]).code(0).json();
        let shown = world.operator(&["show", &member]).code(0).json();
        assert_eq!(listed, json!([shown]));
        assert_eq!((&shown["identifier"], &shown["decided"]), (&json!(member), &json!(null)));
        assert_eq!(shown["changes_in_common"], 1);
        for (side, home) in [("known", "member"), ("shown", "thief")] {
            assert_eq!(shown[side]["change_history"], world.history(home), "{side}");
        }
        // That is not a conflict of the home that the authority runs from.
        assert_eq!(
            world.kms.at("authority").run(&["conflict", "list", "--output", "json"]).code(0).json(),
            json!([])
        );

        // Nothing is decided by looking, nor by asking what would be.
        let preview = world.operator(&["decide", &member, "--keep", keep, "--dry-run"]).code(0).json();
        assert_eq!(preview["dry_run"], true);
        world.is_refused(good, BLOCKED);
        let decided = world.operator(&["decide", &member, "--keep", keep]).code(0).json();
        assert_eq!(decided, json!({ "identifier": member, "kept": keep }));

        let credential = world.asks(good).code(0).json();
        assert_eq!(credential["identity"], json!(member));
        world.is_refused(bad, DECIDED);
        let _ = world.asks(good).code(0);
        // Neither does what goes on from the other history block, nor another that the old key signs.
        let _ = world.rotate(bad);
        world.is_refused(bad, DECIDED);
        let _ = world.rotate(good);
        let _ = world.asks(good).code(0);
        assert_eq!(world.operator(&["show", &member]).code(0).json()["decided"]["kept"], keep);
        let words = format!("{keep} history {}", if keep == "known" { "kept" } else { "taken" });
        assert_eq!(world.rows("conflict-resolve").last().unwrap(), &(words, "done".to_owned()));

        // It outlives the process.
        world.kms.at("authority").run(&["authority", "stop"]).code(0);
        let gone = world.operator(&["list"]).code(69).json();
        assert_eq!(gone["error"]["kind"], "unavailable");
        let url = world.start();
        let known = world.operator(&["show", &member]).code(0).json();
        assert_eq!((&known["decided"]["kept"], url.is_empty()), (&json!(keep), false));
        // And can be changed.
        let other = if keep == "known" { "shown" } else { "known" };
        let _ = world.operator(&["decide", &member, "--keep", other]).code(0);
        assert_eq!(world.operator(&["show", &member]).code(0).json()["decided"]["kept"], other);
    }
}

#[test]
fn what_an_authority_is_asked_about_conflicts_is_checked() {
    let mut world = Forked::new();
    let member = world.member.clone();
    world.is_refused("thief", BLOCKED);
    // An authority forgets nothing.
    let _ = world.operator(&["decide", &member, "--forget", "--yes"]).code(64);
    let _ = world.operator(&["decide", &member]).code(64);
    let _ = world.operator(&["show", "nobody"]).code(66);
    for at in ["nothing", "../authority", ""] {
        let asked = world.kms.at("authority").run(&["conflict", "list", "--at", at, "--output", "json"]);
        assert!([64, 66].contains(&asked.code), "{at}: {asked:?}");
    }
    // Only where it runs, and only by whoever runs it.
    let _ = world.kms.at("member").run(&["conflict", "list", "--at", "authority-demo"]).code(66);
    let home = Home::open(world.kms.at("authority").home()).unwrap();
    let socket = home.control_socket(&Name::new("authority-demo").unwrap());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let nobody = identity::Identifier::from_bytes([7; 32]);
    for question in
        [Ask::Conflict { identifier: nobody }, Ask::Decide { identifier: nobody, keep: Side::Shown }]
    {
        assert_eq!(ask(&socket, &question).unwrap_err().kind(), Kind::NotFound);
    }
    // Page by page: after the last there is nothing.
    let last = Some(member.parse().unwrap());
    assert_eq!(ask(&socket, &Ask::Conflicts { after: last }).unwrap(), json!({ "items": [], "next": null }));
    assert_eq!(world.operator(&["list"]).code(0).json().as_array().unwrap().len(), 1);
    world.is_refused("member", BLOCKED);
}
