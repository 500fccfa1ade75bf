//! The authority through the program: started, asked, rotated, stopped, killed, started again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use home::control::{Ask, ask};
use home::{Home, Name};
use ockam_kms_tests::cli::Kms;
use serde_json::json;

/// An authority in one home, and an enroller in another who knows it.
fn start(kms: &mut Kms) {
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    let trusted = json!({ enroller: { "ockam-role": "enroller" } }).to_string();
    kms.file("trusted.json", trusted);
    kms.at("authority")
        .run(&[
            "authority",
            "create",
            "--project-identifier",
            "demo",
            "--trusted-identities",
            "trusted.json",
            "--http-address",
            "127.0.0.1:0",
        ])
        .code(0);
}

fn url(kms: &mut Kms) -> String {
    let shown = kms.at("authority").run_apart(&["authority", "show", "--output", "json"], b"").code(0).json();
    format!("http://{}", shown["http_address"].as_str().unwrap())
}

fn history(kms: &mut Kms) -> String {
    kms.at("authority")
        .run_apart(&["identity", "show", "authority-demo", "--full", "--encoding", "hex"], b"")
        .code(0)
        .stdout
}

/// The first ticket tells the enroller's home where the authority is.
fn first_ticket(kms: &mut Kms) -> String {
    let (url, history) = (url(kms), history(kms));
    let route = ["--authority-route", &url, "--authority-identity", &history];
    kms.at("enroller")
        .run(&[&["project", "ticket", "-a", "role=member", "-a", "relay"], &route[..]].concat())
        .code(0)
        .stdout
}

/// The log says who did what; no code and no attribute's value is in it.
#[test]
fn the_log_keeps_no_secret() {
    let mut kms = Kms::new();
    start(&mut kms);
    let ticket = first_ticket(&mut kms);
    let member = kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    let member = member.json()["identity"].as_str().unwrap().to_owned();
    let made = kms.at("enroller").run(&["project", "ticket", "--hex", "--output", "json"]).code(0).json();
    kms.run(&["project-member", "add", &member, "-a", "team=a,b", "-a", "note="]).code(0);
    let log = kms.at("authority").run(&["audit", "export"]).code(0).stdout;
    assert!(log.contains("\"member-add\"") && log.contains("note team"), "{log}");
    for secret in ["a,b", made["one_time_code"].as_str().unwrap(), ticket.split(',').nth(3).unwrap()] {
        assert!(!log.contains(secret), "`{secret}` is in the log: {log}");
    }
}

#[test]
fn the_server_rotates_what_it_uses() {
    let mut kms = Kms::new();
    start(&mut kms);
    let ticket = first_ticket(&mut kms);
    let before = kms
        .at("member")
        .run_with(&["project", "enroll", "-", "--output", "json"], ticket.as_bytes())
        .code(0)
        .json();
    let authority = kms.at("authority").run(&["identity", "show"]).code(0).stdout;
    let rotated = kms
        .run(&["identity", "rotate", "authority-demo", "--key-type", "p256", "--output", "json"])
        .code(0)
        .json();
    assert_eq!((&rotated["server"], &rotated["changes"]), (&"authority-demo".into(), &2.into()));
    // Without a word to the member, a new credential verifies, and so does the old one.
    let after = kms.at("member").run(&["project", "enroll", "--output", "json"]).code(0).json();
    let bundle = kms.run(&["authority", "show", "--issuer-bundle"]).code(0).stdout;
    for credential in [&before["credential"], &after["credential"]] {
        let credential = credential.as_str().unwrap();
        let by = ["--issuer", &authority, "--issuer-bundle", &bundle, "--overlap", "0", "--exit-code"];
        let _ = kms.run(&[&["credential", "verify", "--credential", credential], &by[..]].concat()).code(0);
    }
    // A revoking rotation: the old credential is over at once, new ones are issued.
    let revoked = ["identity", "rotate", "authority-demo", "--revoke-purpose-keys", "--output", "json"];
    assert_eq!(kms.at("authority").run(&revoked).code(0).json()["changes"], 3);
    let fresh = kms.at("member").run(&["project", "enroll", "--output", "json"]).code(0).json();
    let bundle = kms.run(&["authority", "show", "--issuer-bundle"]).code(0).stdout;
    for (credential, code) in [(&before, 65), (&after, 65), (&fresh, 0)] {
        let credential = credential["credential"].as_str().unwrap();
        let by = ["--issuer-bundle", &bundle, "--exit-code"];
        let _ =
            kms.run(&[&["credential", "verify", "--credential", credential], &by[..]].concat()).code(code);
    }
    // Somebody else's identity is not this server's to rotate, and a plan that fails changes nothing.
    kms.at("authority").run(&["identity", "create", "other"]).code(0);
    let other = kms.run(&["identity", "rotate", "other", "--output", "json"]).code(0).json();
    assert_eq!(other["server"], serde_json::Value::Null);
    let _ = kms.run(&["identity", "rotate", "authority-demo", "--to-vault", "nope"]).code(66);
    assert_eq!(
        kms.run(&["identity", "verify", "authority-demo", "--output", "json"]).code(0).json()["changes"],
        3
    );
    // A reload finds the same.
    let home = Home::open(kms.home()).unwrap();
    let socket = home.control_socket(&Name::new("authority-demo").unwrap());
    assert_eq!(ask(&socket, &Ask::Reload).unwrap()["changes"], 3);
    let _ = kms.at("member").run(&["project", "enroll"]).code(0);
}

#[test]
fn a_killed_server_is_seen_and_started_again() {
    let mut kms = Kms::new();
    start(&mut kms);
    let ticket = first_ticket(&mut kms);
    kms.at("member").run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(0);
    let shown = kms.at("authority").run(&["authority", "show", "--output", "json"]).code(0).json();
    let (pid, address) = (shown["pid"].as_i64().unwrap(), shown["http_address"].as_str().unwrap().to_owned());
    signal(pid, "KILL");
    let start = Instant::now();
    while kms.run(&["authority", "show", "--output", "json"]).code(0).json()["running"] == true {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let _ = kms.at("member").run(&["project", "enroll"]).code(69);
    // Offline, the identity is rotated here; the log is read from the store.
    assert_eq!(
        kms.at("authority").run(&["identity", "rotate", "authority-demo", "--output", "json"]).code(0).json()
            ["changes"],
        2
    );
    let exported = kms.run(&["audit", "export"]).code(0).stdout;
    let verified =
        kms.run_with(&["audit", "verify", "-", "--output", "json"], exported.as_bytes()).code(0).json();
    assert_eq!(verified["rows"], exported.lines().count());
    kms.run(&[
        "authority",
        "create",
        "--project-identifier",
        "demo",
        "--trusted-identities",
        "trusted.json",
        "--http-address",
        &address,
    ])
    .code(0);
    // The member is still one.
    let _ = kms.at("member").run(&["project", "enroll"]).code(0);
    // A second server of that name, or on that identity, or on that address, does not start and leaves nothing behind.
    kms.at("authority");
    let free = "127.0.0.1:0";
    for (at, more, code) in [
        (free, &[][..], 73),
        (free, &["--name", "second", "--identity", "authority-demo"], 73),
        (&address, &["--name", "third"], 69),
    ] {
        let before = kms.state();
        let create = [
            "authority",
            "create",
            "--project-identifier",
            "demo",
            "--trusted-identities",
            "{}",
            "--http-address",
            at,
        ];
        let _ = kms.run(&[&create[..], more].concat()).code(code);
        assert_eq!(kms.state(), before, "{more:?}");
    }
    // It ends in good order when the system says so.
    let pid = kms.run(&["authority", "show", "--output", "json"]).code(0).json()["pid"].as_i64().unwrap();
    signal(pid, "TERM");
    let start = Instant::now();
    while kms.run(&["authority", "show", "--output", "json"]).code(0).json()["running"] == true {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let log = std::fs::read_to_string(kms.home().join("servers/authority-demo.log")).unwrap();
    assert!(log.lines().last().unwrap().ends_with("ended"), "{log}");
}

fn signal(pid: i64, name: &str) {
    assert!(
        std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success()
    );
}

#[test]
fn in_the_foreground_and_with_a_passphrase() {
    let mut kms = Kms::new();
    kms.run_with(&["vault", "create", "locked", "--passphrase", "-"], b"correct horse\n").code(0);
    kms.run_with(&["identity", "create", "issuer", "--passphrase", "-"], b"correct horse\n").code(0);
    let create = [
        "authority",
        "create",
        "--identity",
        "issuer",
        "--project-identifier",
        "demo",
        "--trusted-identities",
        "{}",
        "--http-address",
        "127.0.0.1:0",
        "--passphrase",
        "-",
    ];
    let _ = kms.run_with(&create, b"wrong horse\n").code(77);
    assert_eq!(kms.run(&["authority", "list"]).code(0).stdout, "[]");
    // The secret goes to the server through a pipe.
    let _ = kms.run_with(&create, b"correct horse\n").code(0);
    let _ = kms.run(&["authority", "stop"]).code(0);

    let mut server = kms
        .command(&[&create[..], &["--foreground"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.stdin.as_mut().unwrap().write_all(b"correct horse\n").unwrap();
    let mut name = [0_u8; 14];
    server.stdout.as_mut().unwrap().read_exact(&mut name).unwrap();
    assert_eq!(&name, b"authority-demo", "it says that it is ready");
    let shown = kms.run(&["authority", "show", "--output", "json"]).code(0).json();
    assert_eq!((&shown["running"], &shown["pid"]), (&true.into(), &server.id().into()));
    signal(server.id().into(), "INT");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// Whoever starts a server and dies before it is ready leaves none behind.
#[test]
fn a_server_ends_with_a_starter_that_dies() {
    let kms = Kms::new();
    let mut server = kms
        .command(&[
            "authority",
            "create",
            "--foreground",
            "--detached",
            "--project-identifier",
            "demo",
            "--trusted-identities",
            "{}",
            "--http-address",
            "127.0.0.1:0",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = BufReader::new(server.stderr.take().unwrap()).lines();
    assert!(ready.any(|line| line.unwrap().contains("the authority is ready")));
    drop(server.stdin.take());
    assert!(ready.any(|line| line.unwrap().contains("has gone away")));
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
