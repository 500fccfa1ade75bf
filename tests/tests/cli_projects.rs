//! Nodes that are of a project: `/project/NAME` in a route, and nodes that are made by a ticket or from a configuration.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::time::{Duration, Instant};

use identity::{Clock as _, SystemClock};
use ockam_kms_tests::cli::{Kms, Ran};
use serde_json::{Value, json};

/// Longer than an answer takes on a busy machine.
const LONG: &str = "60s";
/// As long as it is waited for what must not come.
const SHORT: &str = "500ms";

fn run(kms: &Kms, arguments: &[&str]) -> String {
    kms.run_apart(arguments, b"").code(0).stdout
}

fn send(kms: &Kms, more: &[&str]) -> Ran {
    kms.run_apart(&[&["message", "send", "hello"], more].concat(), b"")
}

fn history(kms: &Kms, identity: &str) -> String {
    run(kms, &["identity", "show", identity, "--full", "--encoding", "hex"])
}

fn shown(kms: &Kms, noun: &str, name: &str) -> Value {
    kms.run_apart(&[noun, "show", name, "--output", "json"], b"").code(0).json()
}

/// A home that an authority of the project `demo` runs in, with the enroller whom it trusts; how it is named.
fn authority(kms: &mut Kms) -> [String; 2] {
    authority_with(kms, &[])
}

fn authority_with(kms: &mut Kms, more: &[&str]) -> [String; 2] {
    kms.at("authority");
    let enroller = run(kms, &["identity", "create", "enroller"]);
    let trusted = json!({ enroller: { "ockam-role": "enroller" } }).to_string();
    let create = ["authority", "create", "--project-identifier", "demo", "--trusted-identities", &trusted];
    let created =
        [&create[..], &["--tcp-listener-address", "127.0.0.1:0", "--output", "json"], more].concat();
    let created = kms.run_apart(&created, b"").code(0).json();
    [created["authority_route"].as_str().unwrap().to_owned(), history(kms, "authority-demo")]
}

fn ticket(kms: &mut Kms, [route, history]: &[String; 2]) -> String {
    let at = ["--authority-route", route, "--authority-identity", history];
    let ticket = ["project", "ticket", "-a", "role=member", "--relay", "*", "--identity", "enroller"];
    run(kms.at("authority"), &[&ticket[..], &at].concat())
}

#[test]
fn a_project_that_is_an_authority_alone_is_met_there() {
    let mut kms = Kms::new();
    let demo = authority(&mut kms);
    let ticket = ticket(&mut kms, &demo);
    let _ = kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    let echo = ["--to", "/project/demo/service/echo", "--timeout", LONG];
    assert_eq!(send(&kms, &echo).code(0).stdout, "hello");
    // The same from a node that runs.
    run(&kms, &["node", "create", "n1"]);
    assert_eq!(send(&kms, &[&echo[..], &["--from", "n1"]].concat()).code(0).stdout, "hello");
    for (to, code, told) in [
        ("/project/nobody/service/echo", 66, "there is no project `nobody`"),
        ("/project/demo/service/echo/project/other/service/a", 66, "there is no project `other`"),
    ] {
        let refused = send(&kms, &["--to", to, "--from", "n1"]).code(code);
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    let create = ["secure-channel", "create", "--from", "n1", "--to", "/project/demo"];
    let refused = kms.run_apart(&create, b"").code(64);
    assert!(refused.stderr.contains("/project/demo/service/api"), "{}", refused.stderr);
}

#[test]
fn the_node_of_a_project_is_met_as_itself_and_asks_for_a_credential() {
    let mut kms = Kms::new();
    let demo = authority(&mut kms);
    let ticket = ticket(&mut kms, &demo);
    // The project's node believes the authority, and lets nobody to `echo` who has no credential of it.
    kms.at("project");
    run(&kms, &["identity", "create", "node"]);
    run(&kms, &["node", "create", "node", "--identity", "node", "--authority-identity", &demo[1]]);
    let at = shown(&kms, "node", "node")["route"]["verbose"].as_str().unwrap().to_owned();
    let own = history(&kms, "node");
    kms.at("stranger");
    run(&kms, &["identity", "create", "stranger"]);
    let somebody = history(&kms, "stranger");

    let import = |kms: &Kms, history: &str, route: &str| {
        let project = json!({
            "id": "demo", "name": "demo", "access_route": route, "project_change_history": history,
            "authority_access_route": demo[0], "authority_identity": demo[1],
        });
        kms.run_apart(&["project", "import", "--project-file", "-"], project.to_string().as_bytes()).code(0)
    };
    let route = format!("{at}/service/api");
    let echo = ["--to", "/project/demo/service/echo"];
    let long = [&echo[..], &["--timeout", LONG]].concat();

    let _ = import(kms.at("member"), &own, &route);
    let _ = kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    // Enrolling by a ticket says that there is no other node than the authority: what was imported is better.
    let _ = import(&kms, &own, &route);
    assert_eq!(send(&kms, &long).code(0).stdout, "hello");
    // Within the channel to the project, another one to its listener.
    run(&kms, &["node", "create", "n1"]);
    let create = ["secure-channel", "create", "--from", "n1", "--timeout", LONG, "--to"];
    let through = run(&kms, &[&create[..], &["/project/demo/service/api"]].concat());
    let to = format!("{through}/service/uppercase");
    assert_eq!(send(&kms, &["--to", &to, "--from", "n1", "--timeout", LONG]).code(0).stdout, "HELLO");
    // Where nothing else is said, a relay is there.
    let relay = run(&kms, &["relay", "create", "--to", "n1", "--timeout", LONG]);
    assert_eq!(relay, "/service/forward_to_default");
    let to = format!("/project/demo{relay}/service/uppercase");
    assert_eq!(send(&kms, &["--to", &to, "--timeout", LONG]).code(0).stdout, "HELLO");
    let _ = import(kms.at("stranger"), &own, &route);
    assert!(send(&kms, &[&echo[..], &["--timeout", SHORT]].concat()).code(69).stderr.contains("no answer"));
    // Somebody else at the same place is not the project.
    for (name, history) in [("member", &somebody), ("stranger", &somebody)] {
        let _ = import(kms.at(name), history, &route);
        assert!(send(&kms, &long).code(77).stderr.contains("error"));
    }
    for (history, route, told) in [
        ("", route.as_str(), "who its node is"),
        (&own, "/service/demo", "where its node is"),
        (&own, "/service/a/service/b", "where its node is"),
    ] {
        let _ = import(kms.at("member"), history, route);
        let refused = send(&kms, &long).code(78);
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
}

#[test]
fn a_ticket_makes_a_node_a_member() {
    let mut kms = Kms::new();
    let demo = authority(&mut kms);
    let (first, second) = (ticket(&mut kms, &demo), ticket(&mut kms, &demo));
    kms.at("project");
    run(&kms, &["node", "create", "node", "--authority-identity", &demo[1]]);
    let at = shown(&kms, "node", "node")["route"]["verbose"].as_str().unwrap().to_owned();
    let echo = format!("{at}/secure/api/service/echo");

    kms.at("member");
    let create = ["node", "create", "n1", "--identity", "robot", "--enrollment-ticket"];
    let made = kms.run_apart(&[&create[..], &["-"]].concat(), first.as_bytes()).code(0);
    assert_eq!(made.stdout, "n1");
    assert!(made.stderr.contains("the identity `robot` is made"), "{}", made.stderr);
    let ask = ["--from", "n1", "--to", &echo, "--timeout", LONG];
    assert_eq!(send(&kms, &ask).code(0).stdout, "hello");
    // No process of the node has seen the ticket, wherever it came from.
    kms.set("ENROLLMENT_TICKET", &second);
    let made = kms.run_apart(&["node", "create", "n2", "--output", "json"], b"").code(0).json();
    // The environment of a node is for root alone to read.
    let process = |what: &str| std::fs::read(format!("/proc/{}/{what}", made["pid"])).unwrap_or_default();
    let code = second.split(',').nth(3).unwrap();
    for place in ["environ", "cmdline"] {
        assert!(!String::from_utf8_lossy(&process(place)).contains(code), "{place}");
    }
    kms.set("ENROLLMENT_TICKET", "");
    // It is started again as it was made, and a ticket is not asked for.
    run(&kms, &["node", "stop", "n1"]);
    run(&kms, &["node", "start", "n1"]);
    assert_eq!(send(&kms, &ask).code(0).stdout, "hello");

    let refused = |more: &[&str], code: i32, told: &str| {
        let refused = kms.run_apart(&[&["node", "create"], more].concat(), b"").code(code);
        assert!(refused.stderr.contains(told) && refused.stderr.contains("hint"), "{}", refused.stderr);
    };
    refused(&["n1", "--enrollment-ticket", &first], 73, "already running");
    refused(&["n3", "--enrollment-ticket", "a,b"], 64, "error");
    refused(&["n3", "--enrollment-ticket", &first, "--identity", "other"], 77, "unknown enrollment token");
    refused(&["n3", "--enrollment-ticket", &first, "--project", "other"], 64, "of the project `demo`");
    assert_eq!(kms.run_apart(&["node", "show", "n3"], b"").code, 66);
}

#[test]
fn a_configuration_says_what_options_say_and_more() {
    let mut kms = Kms::new();
    let demo = authority(&mut kms);
    let ticket = ticket(&mut kms, &demo);
    kms.at("member");
    run(&kms, &["node", "create", "far"]);
    let ticket = kms.file("ticket", ticket);
    let configuration = format!(
        "variables:\n  NAME: n0\nname: $NAME\nidentity: robot\nticket: {}\n\
         policies:\n  - resource: echo\n    expression: (= subject.role \"nobody\")\n\
         relays:\n  - blue: {{at: /node/far}}\n  - red: {{at: /node/away/secure/api}}\n",
        ticket.display()
    );
    let file = kms.file("node.yaml", &configuration);
    let create = ["node", "create", file.to_str().unwrap(), "--variable", "NAME=n1"];
    let made = kms.run_apart(&create, b"").code(0);
    assert_eq!(made.stdout, "n1");
    assert!(made.stderr.contains("the relay `red` is not registered"), "{}", made.stderr);
    assert!(!made.stderr.contains("`blue`"), "{}", made.stderr);
    let policies =
        || kms.run_apart(&["policy", "list", "--at", "n1", "--output", "json"], b"").code(0).json();
    assert_eq!(policies()[0]["expression"], "(= subject.role \"nobody\")");
    let shout = || {
        let to = "/node/far/service/forward_to_blue/service/uppercase";
        send(&kms, &["--from", "far", "--to", to, "--timeout", LONG]).code(0).stdout
    };
    assert_eq!(shout(), "HELLO");
    // The node that was away comes, and the relay with it.
    run(&kms, &["node", "create", "away"]);
    let up = |name: &str| {
        let shown =
            kms.run_apart(&["relay", "show", name, "--at", "n1", "--output", "json"], b"").code(0).json();
        shown["connection_status"] == "Up"
    };
    let start = Instant::now();
    while !up("red") {
        assert!(start.elapsed() < Duration::from_secs(120), "it is not registered");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Both are there again after the node was started again, but not what was given up.
    run(&kms, &["relay", "delete", "red", "--at", "n1", "--yes"]);
    run(&kms, &["node", "stop", "n1"]);
    run(&kms, &["node", "start", "n1"]);
    assert_eq!((shout().as_str(), policies().as_array().unwrap().len()), ("HELLO", 1));
    let _ = kms.run_apart(&["relay", "show", "red", "--at", "n1"], b"").code(66);

    // Inline, from standard input, and in the foreground.
    assert_eq!(run(&kms, &["node", "create", "{name: n2}"]), "n2");
    let inline = ["node", "create", "--configuration", "-", "--foreground", "--output", "json"];
    let ended =
        kms.run_apart(&["node", "create", "n3", "--configuration", "exit-on-eof: true"], b"").code(64);
    assert!(ended.stderr.contains("--foreground"), "{}", ended.stderr);
    let ended = kms.run_apart(&inline, b"{name: n3, exit-on-eof: true}").code(0);
    assert_eq!(ended.json()["name"], "n3");

    for (given, code, told) in [
        (&["nothing.yaml"][..], 66, "there is no file `nothing.yaml`"),
        (&["https://example.com/node.yaml"], 78, "not fetched"),
        (&["names: n4"], 64, "`names` is no key"),
        (&["tcp-outlet: {a: {to: 1}}"], 78, "`tcp-outlet`"),
        (&["name: $MISSING"], 64, "`MISSING` has no value"),
        (&["name: n4", "--configuration", "name: n5"], 64, "two configurations"),
        (&["n4", "--variable", "A=b"], 64, "--variable"),
        (&["{name: n4, policies: {resource: echo, expression: (}}"], 64, "error"),
        (&["{name: n4, policies: {resource: echo, expression: \"(= a\"}}"], 64, "is refused"),
        (&["{name: n4, relays: {a: {at: /project/none}}}"], 66, "there is no project `none`"),
    ] {
        let refused = kms.run_apart(&[&["node", "create"], given].concat(), b"").code(code);
        assert!(refused.stderr.contains(told) && refused.stderr.contains("hint"), "{}", refused.stderr);
        assert_eq!(kms.run_apart(&["node", "show", "n4"], b"").code, 66, "{given:?}");
    }
}

/// Reliability R29: what a node grants to a member in a live channel ends, at the latest, with the last credential that the
/// member was issued before it was deleted. Beside it, somebody who was not deleted keeps what they have, in the same time.
#[test]
fn a_deleted_member_loses_its_live_channels_with_its_last_credential() {
    let mut kms = Kms::new();
    let demo = authority_with(&mut kms, &["--credential-ttl", "24s"]);
    let tickets = [ticket(&mut kms, &demo), ticket(&mut kms, &demo)];
    kms.at("project");
    run(&kms, &["node", "create", "node", "--authority-identity", &demo[1]]);
    let at = shown(&kms, "node", "node")["route"]["verbose"].as_str().unwrap().to_owned();
    let mut opened = Vec::new();
    for (name, ticket) in ["deleted", "kept"].into_iter().zip(tickets) {
        kms.at(name);
        let made = ["node", "create", "n1", "--enrollment-ticket", "-"];
        let _ = kms.run_apart(&made, ticket.as_bytes()).code(0);
        let to = format!("{at}/service/api");
        let create = ["secure-channel", "create", "--from", "n1", "--to", &to, "--timeout", LONG];
        let echo = format!("{}/service/echo", run(&kms, &create));
        assert_eq!(send(&kms, &["--from", "n1", "--to", &echo, "--timeout", LONG]).code(0).stdout, "hello");
        opened.push(echo);
    }
    let identifier = run(kms.at("deleted"), &["identity", "show"]);
    let (node, history) = (demo[0].as_str(), demo[1].as_str());
    let delete = ["project-member", "delete", &identifier, "--identity", "enroller"];
    let at = ["--authority-route", node, "--authority-identity", history];
    run(kms.at("authority"), &[&delete[..], &at].concat());
    let stored = kms.at("deleted").run_apart(&["credential", "list", "--output", "json"], b"").code(0).json();
    // Nothing was issued after that.
    let ends = stored[0]["expires_at"].as_u64().unwrap();
    while SystemClock.now().0 <= ends + 1 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let [deleted, kept] = &opened[..] else { unreachable!("two channels were opened") };
    let silent = send(&kms, &["--from", "n1", "--to", deleted, "--timeout", SHORT]).code(69);
    assert!(silent.stderr.contains("no answer"), "{}", silent.stderr);
    assert_eq!(
        send(kms.at("kept"), &["--from", "n1", "--to", kept, "--timeout", LONG]).code(0).stdout,
        "hello"
    );
}

#[test]
fn one_waits_for_an_authority_as_long_as_one_says() {
    let mut kms = Kms::new();
    let place = authority(&mut kms);
    let ticket = ticket(&mut kms, &place);
    kms.at("late");
    run(&kms, &["identity", "create", "late"]);
    // Whoever takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let route = format!("/ip4/127.0.0.1/tcp/{}/service/api", silent.local_addr().unwrap().port());
    let silent_ticket = ticket.replace(&place[0], &route);
    assert_ne!(silent_ticket, ticket);
    kms.run_apart(&["project", "enroll", &silent_ticket, "--timeout", "500ms"], b"").code(69);
    run(&kms, &["project", "enroll", &ticket, "--timeout", "240s"]);
}

/// A node that counts on a project by being told of no other would let everybody in without it.
#[test]
fn a_project_that_a_node_counts_on_is_not_forgotten() {
    let mut kms = Kms::new();
    let place = authority(&mut kms);
    let ticket = ticket(&mut kms, &place);
    kms.at("member");
    run(&kms, &["identity", "create", "member"]);
    run(&kms, &["project", "enroll", &ticket]);
    for node in [&["node", "create", "told", "--project", "demo"][..], &["node", "create", "untold"]] {
        run(&kms, node);
        let name = node[2];
        let refused = kms.run_apart(&["project", "delete", "demo", "--yes"], b"").code(77);
        assert!(refused.stderr.contains(&format!("`{name}`")), "{}", refused.stderr);
        run(&kms, &["node", "stop", name]);
        kms.run_apart(&["project", "delete", "demo", "--yes"], b"").code(77);
        run(&kms, &["node", "delete", name, "--yes"]);
    }
    let other = history(&kms, "member");
    run(&kms, &["node", "create", "apart", "--authority-identity", &other]);
    assert_eq!(run(&kms, &["project", "delete", "demo", "--yes"]), "demo");
    assert_eq!(run(&kms, &["credential", "list"]), "[]");
}
