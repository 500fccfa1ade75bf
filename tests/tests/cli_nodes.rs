//! Nodes as people and scripts use them: the introduction's example, bridges, relays, channels in channels, who is let in, and
//! what a crash leaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use identity::{Clock as _, SystemClock};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::cli::session::Session;
use ockam_kms_tests::ockam_kms;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use ockam_kms_tests::swtpm::Swtpm;
use serde_json::{Value, json};

/// Somebody whom nobody is.
const NOBODY: &str = "I0000000000000000000000000000000000000000000000000000000000000000";
/// Longer than an answer takes on a busy machine.
const LONG: &str = "60s";
/// As long as it is waited for what must not come.
const SHORT: &str = "500ms";

/// Runs a command that has to work, and gives what it prints to a pipe.
fn run(kms: &Kms, arguments: &[&str]) -> String {
    kms.run_apart(arguments, b"").code(0).stdout
}

/// A home with running nodes of these names.
fn nodes(names: &[&str]) -> Kms {
    let kms = Kms::new();
    for name in names {
        assert_eq!(run(&kms, &["node", "create", name]), *name);
    }
    kms
}

fn tcp_address(kms: &Kms, node: &str) -> String {
    let shown = kms.run_apart(&["node", "show", node, "--output", "json"], b"").code(0).json();
    shown["tcp_address"].as_str().unwrap().to_owned()
}

fn pid(kms: &Kms, node: &str) -> Option<u64> {
    kms.run_apart(&["node", "show", node, "--output", "json"], b"").code(0).json()["pid"].as_u64()
}

/// Opens a channel; its address.
fn channel(kms: &Kms, from: &str, to: &str, more: &[&str]) -> String {
    let create = ["secure-channel", "create", "--from", from, "--to", to, "--timeout", LONG];
    run(kms, &[&create[..], more].concat())
}

/// Asks `uppercase` at the end of a route.
fn shout(kms: &Kms, from: &str, to: &str) -> String {
    run(kms, &["message", "send", "hello", "--from", from, "--to", to, "--timeout", LONG])
}

/// That nobody answers at the end of a route.
fn assert_silent(kms: &Kms, from: &str, to: &str) {
    let asked = ["message", "send", "hello", "--from", from, "--to", to, "--timeout", SHORT];
    let asked = kms.run_apart(&asked, b"").code(69);
    assert!(asked.stderr.contains("no answer came"), "{}", asked.stderr);
}

#[test]
fn the_introductions_example_word_for_word() {
    let kms = Kms::new();
    let script = "for i in 1 2 3; do ockam-kms node create \"n$i\"; done\n\
        ockam-kms secure-channel create --from n1 --to /node/n1/node/n2/node/n3/service/api \\\n  \
        | ockam-kms message send \"hello ockam!\" --from n1 --to -/service/uppercase\n";
    let program = ockam_kms();
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()))
        .env("OCKAM_KMS_HOME", kms.home())
        .output()
        .unwrap();
    let (said, noted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{noted}");
    assert_eq!(said, "n1n2n3HELLO OCKAM!", "{noted}");
    // The middle node has passed it on, and has nothing to do with the channel.
    let at = |node| kms.run_apart(&["secure-channel", "list", "--at", node], b"").code(0).json();
    assert_eq!((at("n1").as_array().unwrap().len(), at("n2").as_array().unwrap().len()), (1, 0));
    assert_eq!(at("n3")[0]["role"], "responder");
}

#[test]
fn through_a_bridge() {
    let kms = nodes(&["n1", "n2", "n3"]);
    let connect = |from: &str, to: &str| {
        run(&kms, &["tcp-connection", "create", "--from", from, "--to", &tcp_address(&kms, to)])
    };
    let (a, b) = (connect("n1", "n2"), connect("n2", "n3"));
    // Whoever knows the address of a connection of n2 gets nowhere without the bridge.
    assert_silent(&kms, "n1", &format!("{a}{b}/service/uppercase"));
    assert_eq!(run(&kms, &["service", "start", "hop", "--at", "n2"]), "hop");
    assert_eq!(shout(&kms, "n1", &format!("{a}/service/hop{b}/service/uppercase")), "HELLO");
    let through = channel(&kms, "n1", &format!("{a}/service/hop{b}/service/api"), &[]);
    assert_eq!(shout(&kms, "n1", &format!("{through}/service/uppercase")), "HELLO");
}

#[test]
fn through_a_relay() {
    let kms = nodes(&["n1", "n2", "n3"]);
    let relay = run(&kms, &["relay", "create", "blue", "--at", "/node/n2", "--to", "n1", "--timeout", LONG]);
    assert_eq!(relay, "/service/forward_to_blue");
    assert_eq!(shout(&kms, "n3", &format!("/node/n2{relay}/service/uppercase")), "HELLO");
    let through = channel(&kms, "n3", &format!("/node/n2{relay}/service/api"), &[]);
    assert_eq!(shout(&kms, "n3", &format!("{through}/service/uppercase")), "HELLO");
    run(&kms, &["relay", "delete", "blue", "--at", "n1", "--yes"]);
    assert_silent(&kms, "n3", &format!("/node/n2{relay}/service/uppercase"));
}

#[test]
fn a_relay_is_registered_anew_when_its_node_is_back() {
    let kms = nodes(&["n1", "n2"]);
    let at = ["relay", "create", "blue", "--to", "n1", "--timeout", LONG, "--at"];
    // One over a channel, since there more has ended.
    let relay = run(&kms, &[&at[..], &["/node/n2/secure/api"]].concat());
    let relayed = format!("/node/n2{relay}/service/uppercase");
    assert_eq!(shout(&kms, "n2", &relayed), "HELLO");
    run(&kms, &["node", "stop", "n2"]);
    run(&kms, &["node", "start", "n2"]);
    let asked = ["message", "send", "hello", "--from", "n2", "--to", &relayed, "--timeout", SHORT];
    let start = Instant::now();
    while kms.run_apart(&asked, b"").code != 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "it is not registered anew");
    }
    let shown = kms.run_apart(&["relay", "show", "blue", "--at", "n1", "--output", "json"], b"");
    assert_eq!(shown.code(0).json()["connection_status"], "Up");
}

#[test]
fn a_relay_has_another_name_there_and_need_not_be_waited_for() {
    let kms = nodes(&["n1", "n2"]);
    let at2 = format!("/ip4/127.0.0.1/tcp/{}", tcp_address(&kms, "n2").rsplit(':').next().unwrap());
    let create = ["relay", "create", "--to", "/node/n1", "--timeout", LONG];
    // At a node by its name alone.
    let sky = ["blue", "--at", "n2", "--relay-address", "sky", "--project-relay"];
    assert_eq!(run(&kms, &[&create[..], &sky].concat()), "/service/forward_to_sky");
    assert_eq!(shout(&kms, "n2", "/service/forward_to_sky/service/uppercase"), "HELLO");
    assert_silent(&kms, "n1", &format!("{at2}/service/forward_to_blue/service/uppercase"));
    let shown = |name| kms.run_apart(&["relay", "show", name, "--at", "n1", "--output", "json"], b"").json();
    assert_eq!((&shown("blue")["name"], &shown("blue")["connection_status"]), (&json!("blue"), &json!("Up")));
    assert_eq!(shown("blue")["remote_address"], "/service/forward_to_sky");
    // At one that is not there yet: who waits is told so, who does not has a relay as soon as it is.
    run(&kms, &["node", "stop", "n2"]);
    let red = [&create[..], &["red", "--at", &at2, "--output", "json"]].concat();
    assert_eq!(kms.run_apart(&red, b"").code(69).json()["error"]["kind"], "unavailable");
    let red = kms.run_apart(&[&red[..], &["--no-connection-wait"]].concat(), b"").code(0).json();
    assert_eq!((&red["connection_status"], &red["remote_address"]), (&json!("Down"), &json!(null)));
    assert_eq!(shown("red")["name"], "red");
    let _ = kms.run_apart(&[&create[..], &["red", "--at", &at2]].concat(), b"").code(73);
    run(&kms, &["node", "start", "n2"]);
    let start = Instant::now();
    for name in ["red", "sky"] {
        let to = format!("/service/forward_to_{name}/service/uppercase");
        let asked = ["message", "send", "hello", "--from", "n2", "--to", &to, "--timeout", SHORT];
        while kms.run_apart(&asked, b"").code != 0 {
            assert!(start.elapsed() < Duration::from_secs(120), "`{name}` is not registered");
        }
    }
    // Without a project there is no node that it would be at.
    let refused = kms.run_apart(&create, b"").code(64);
    assert!(refused.stderr.contains("--at /node/n2"), "{}", refused.stderr);
    for bad in ["", "a/b", "a\nb", &"x".repeat(5000)] {
        let _ = kms
            .run_apart(&[&create[..], &["green", "--at", "n2", "--relay-address", bad]].concat(), b"")
            .code(64);
    }
}

#[test]
fn through_another_channel() {
    let kms = nodes(&["n1", "n2"]);
    let outer = channel(&kms, "n1", "/node/n2/service/api", &[]);
    let inner = channel(&kms, "n1", &format!("{outer}/service/api"), &[]);
    assert_ne!(inner, outer);
    assert_eq!(shout(&kms, "n1", &format!("{inner}/service/uppercase")), "HELLO");
    // Both at once, by a route that says so, from a node that lives as long as the command.
    let once = ["message", "send", "hello", "--to", "/node/n2/secure/api/secure/api/service/uppercase"];
    assert_eq!(run(&kms, &once), "HELLO");
    run(&kms, &["secure-channel", "delete", &outer, "--at", "n1", "--yes"]);
    let refused = ["message", "send", "x", "--from", "n1", "--to", &format!("{outer}/service/echo")];
    let _ = kms.run_apart(&refused, b"").code(66);
}

#[test]
fn only_who_is_authorized_is_let_in() {
    let kms = nodes(&["n1"]);
    let alice = run(&kms, &["identity", "create", "alice"]);
    run(&kms, &["identity", "create", "mallory"]);
    run(&kms, &["node", "create", "n2", "--identity", "alice"]);
    // By who opens: the other end has to be one of these.
    channel(&kms, "n1", "/node/n2/service/api", &["--authorized", &alice]);
    channel(&kms, "n1", "/node/n2/service/api", &["--authorized", &format!("{NOBODY},{alice}")]);
    let create = ["secure-channel", "create", "--from", "n1", "--to", "/node/n2/service/api"];
    let refused = kms.run_apart(&[&create[..], &["--authorized", NOBODY]].concat(), b"").code(77);
    assert!(refused.stderr.contains(&alice), "{}", refused.stderr);
    // By who is there.
    let listen = ["secure-channel-listener", "create", "private", "--at", "n1", "--authorized", &alice];
    assert_eq!(run(&kms, &listen), "/service/private");
    channel(&kms, "n2", "/node/n1/service/private", &[]);
    // Whoever opens a channel has done so before the other side has seen who it is: what is refused is silent.
    let refused = channel(&kms, "n2", "/node/n1/service/private", &["--identity", "mallory"]);
    assert_silent(&kms, "n2", &format!("{refused}/service/echo"));
    let peers = kms.run_apart(&["secure-channel", "list", "--at", "n1"], b"").code(0).json();
    let taken = peers.as_array().unwrap().iter().filter(|one| one["listener"] == "private");
    assert_eq!(taken.map(|one| &one["peer"]).collect::<Vec<_>>(), [alice.as_str()]);
}

#[test]
fn who_was_called_may_only_answer() {
    let kms = nodes(&["n1", "n2"]);
    let to = channel(&kms, "n1", "/node/n2/service/api", &[]);
    let back = || {
        let at = kms.run_apart(&["secure-channel", "list", "--at", "n2"], b"").code(0).json();
        format!("{}/service/uppercase", at[0]["address"].as_str().unwrap())
    };
    assert_eq!(shout(&kms, "n1", &format!("{to}/service/uppercase")), "HELLO");
    assert_silent(&kms, "n2", &back());
    // Unless n1 is reached through it by its own wish.
    run(&kms, &["relay", "create", "blue", "--to", "n1", "--at", &to, "--timeout", LONG]);
    assert_eq!(shout(&kms, "n2", &back()), "HELLO");
    run(&kms, &["relay", "delete", "blue", "--at", "n1", "--yes"]);
    assert_silent(&kms, "n2", &back());
}

#[test]
fn credentials_open_what_a_policy_guards() {
    let kms = Kms::new();
    run(&kms, &["identity", "create", "issuer"]);
    let member = run(&kms, &["identity", "create", "member"]);
    let authority = run(&kms, &["identity", "show", "issuer", "--full", "--encoding", "hex"]);
    let issue = |attribute: &str| {
        run(&kms, &["credential", "issue", "--as", "issuer", "--for", &member, "--attribute", attribute])
    };
    run(&kms, &["node", "create", "guarded", "--identity", "issuer", "--authority-identity", &authority]);
    run(&kms, &["node", "create", "n1", "--identity", "member", "--authority-identity", &authority]);
    // Who was refused is told nothing; who runs the node finds what, whom and why in its log.
    let log = run(&kms, &["node", "logs", "guarded"]);
    let refused = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.contains("denied")).map(str::to_owned).collect::<Vec<_>>()
    };
    let assert_told = |times: usize, words: &[&str]| {
        let refused = refused();
        assert_eq!(refused.len(), times, "{refused:#?}");
        assert!(words.iter().all(|word| refused[times - 1].contains(word)), "{words:?} in {refused:#?}");
    };
    let by_member = format!("origin=channel of {member}");
    // By itself it lets in whoever has a credential of the authority: here nobody yet.
    let echo = |through: &str| format!("{through}/service/echo");
    let without = channel(&kms, "n1", "/node/guarded/service/api", &[]);
    assert_told(0, &[]);
    assert_silent(&kms, "n1", &echo(&without));
    let default = "policy=(= subject.has_credential true)";
    assert_told(1, &["to=0#echo", &by_member, default, "`subject.has_credential` is `false`"]);
    assert_silent(&kms, "n1", "/node/guarded/service/echo");
    assert_told(2, &["to=0#echo", "origin=tcp 127.0.0.1:", "who sends is not known without a channel"]);
    // What no policy guards is there for everybody.
    assert_eq!(shout(&kms, "n1", &format!("{without}/service/uppercase")), "HELLO");
    let given = issue("role=guest");
    let guest = channel(&kms, "n1", "/node/guarded/service/api", &["--credential", &given]);
    assert_eq!(shout(&kms, "n1", &echo(&guest)), "hello");
    assert_told(2, &[]);
    let allow = ["policy", "create", "--at", "guarded", "--resource", "echo", "--allow"];
    run(&kms, &[&allow[..], &["(= subject.role \"member\")"]].concat());
    assert_silent(&kms, "n1", &echo(&guest));
    let policy = "policy=(= subject.role \"member\")";
    assert_told(3, &["to=0#echo", &by_member, policy, "`subject.role` is `\\\"guest\\\"`"]);
    // A stored credential is presented by itself.
    let credential = issue("role=member");
    let store = ["credential", "store", "--issuer", "issuer", "--scope", "mine", "--credential", &credential];
    run(&kms, &store);
    let stored = channel(&kms, "n1", "/node/guarded/service/api", &[]);
    assert_eq!(shout(&kms, "n1", &echo(&stored)), "hello");
    assert_told(3, &[]);
    // The policy outlives the process.
    run(&kms, &["node", "stop", "guarded"]);
    run(&kms, &["node", "start", "guarded"]);
    let policies = kms.run_apart(&["policy", "list", "--at", "guarded"], b"").code(0).json();
    assert_eq!(policies[0]["expression"], "(= subject.role \"member\")");
    // Somebody else's credentials do not count.
    let of_another =
        ["credential", "issue", "--as", "member", "--for", &member, "--attribute", "role=member"];
    let of_another = run(&kms, &of_another);
    run(&kms, &["node", "create", "n2", "--identity", "member"]);
    let foreign = channel(&kms, "n2", "/node/guarded/service/api", &["--credential", &of_another]);
    let before = refused().len();
    assert_silent(&kms, "n2", &echo(&foreign));
    assert_told(before + 1, &["to=0#echo", &by_member, policy, "`subject.role` is not bound"]);
    let own = channel(&kms, "n2", "/node/guarded/service/api", &["--credential", &credential]);
    assert_eq!(shout(&kms, "n2", &echo(&own)), "hello");
}

#[test]
fn a_node_of_a_project_renews_its_credential_and_its_channels_see_it() {
    let kms = Kms::new();
    let enroller = run(&kms, &["identity", "create", "enroller"]);
    run(&kms, &["identity", "create", "member"]);
    let trusted = format!("{{\"{enroller}\":{{\"ockam-role\":\"enroller\"}}}}");
    let create = ["authority", "create", "--project-identifier", "demo", "--trusted-identities", &trusted];
    let doors = ["--http-address", "127.0.0.1:0", "--credential-ttl", "24s"];
    run(&kms, &[&create[..], &doors].concat());
    let shown = kms.run_apart(&["authority", "show", "--output", "json"], b"").code(0).json();
    let route = format!("http://{}", shown["http_address"].as_str().unwrap());
    let authority = run(&kms, &["identity", "show", "authority-demo", "--full", "--encoding", "hex"]);
    let at = ["--authority-route", &route, "--authority-identity", &authority];
    let ticket = ["project", "ticket", "-a", "role=member", "--identity", "enroller"];
    let ticket = run(&kms, &[&ticket[..], &at].concat());
    let _ = kms.run_apart(&["project", "enroll", "-", "--identity", "member"], ticket.as_bytes()).code(0);
    let ends = || {
        let stored = kms.run_apart(&["credential", "list", "--output", "json"], b"").code(0).json();
        stored[0]["expires_at"].as_u64().unwrap()
    };
    // Both know the project's authority: it is the default project.
    run(&kms, &["node", "create", "guarded", "--identity", "enroller"]);
    run(&kms, &["node", "create", "n1", "--identity", "member"]);
    let (first, through) = (ends(), channel(&kms, "n1", "/node/guarded/service/api", &[]));
    let echo = format!("{through}/service/echo");
    assert_eq!(shout(&kms, "n1", &echo), "hello");
    let start = Instant::now();
    while ends() == first {
        assert!(start.elapsed() < Duration::from_secs(300), "it is not renewed");
        std::thread::sleep(Duration::from_millis(200));
    }
    // The first one has ended, and the channel is the same.
    while SystemClock.now().0 <= first {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(shout(&kms, "n1", &echo), "hello");
}

#[test]
fn identities_in_different_vaults() {
    let (tokens, hsm) = SoftHsm::prepare();
    let tpm = Swtpm::start();
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    let _ = hsm.init("nodes");
    let pin = kms.file("pin", format!("{PIN}\n"));
    let pin = ["--pin-file", pin.to_str().unwrap()];
    run(&kms, &["vault", "create", "soft"]);
    let token = ["vault", "create", "hsm", "--token", "nodes", "--module-path", MODULE];
    run(&kms, &[&token[..], &pin].concat());
    run(&kms, &["vault", "create", "tpm", "--uri", &tpm.uri("nodes").without("path").to_string()]);
    for vault in ["soft", "hsm", "tpm"] {
        run(&kms, &["identity", "create", vault, "--vault", vault]);
        run(&kms, &["node", "create", vault, "--identity", vault]);
    }
    for (from, to) in [("soft", "hsm"), ("hsm", "tpm"), ("tpm", "soft")] {
        let through = channel(&kms, from, &format!("/node/{to}/service/api"), &[]);
        assert_eq!(shout(&kms, from, &format!("{through}/service/uppercase")), "HELLO", "{from} to {to}");
    }
    let key = |identity: &str| {
        let shown = kms.run_apart(&["identity", "show", identity, "--output", "json"], b"").code(0).json();
        (shown["channel_key"]["vault"].clone(), shown["channel_key"]["algorithm"].clone())
    };
    assert_eq!(key("soft"), ("soft".into(), "x25519".into()));
    assert_eq!(key("hsm"), ("hsm".into(), "x25519".into()));
    // A TPM has no X25519: that key is in software, and the TPM locks it.
    assert_eq!(key("tpm"), ("tpm-channel".into(), "x25519".into()));
    let shown = kms.run_apart(&["vault", "show", "tpm-channel", "--output", "json"], b"").code(0).json();
    assert_eq!(shown["lock"]["vault"], "tpm", "{shown}");
    // Which is said where somebody looks at the identity.
    let shown = |identity: &str| {
        let json = kms.run_apart(&["identity", "show", identity, "--output", "json"], b"").code(0).json();
        let (text, code) = Session::start(&kms, &["identity", "show", identity]).end();
        assert_eq!(code, 0, "{text}");
        (json["channel_key"]["locked_by"].clone(), text)
    };
    let (locked_by, text) = shown("tpm");
    assert_eq!(locked_by, "tpm");
    let said = "(x25519, in software, in the vault `tpm-channel`, which a key of `tpm` locks)";
    assert!(text.contains(said), "{text}");
    let (locked_by, text) = shown("soft");
    assert_eq!(locked_by, serde_json::Value::Null);
    assert!(text.contains("(x25519)") && !text.contains("locks"), "{text}");
    drop(tokens);
}

#[test]
fn a_rotation_is_seen_at_the_next_handshake() {
    let kms = nodes(&["n1", "n2"]);
    let before = channel(&kms, "n1", "/node/n2/service/api", &[]);
    run(&kms, &["identity", "rotate", "default"]);
    assert_eq!(shout(&kms, "n1", &format!("{before}/service/uppercase")), "HELLO");
    let after = channel(&kms, "n1", "/node/n2/service/api", &[]);
    assert_eq!(shout(&kms, "n1", &format!("{after}/service/uppercase")), "HELLO");
    run(&kms, &["identity", "rotate", "default", "--revoke-purpose-keys"]);
    let revoked = channel(&kms, "n1", "/node/n2/service/api", &[]);
    assert_eq!(shout(&kms, "n1", &format!("{revoked}/service/uppercase")), "HELLO");
}

#[test]
fn a_node_dials_for_others_only_nodes_of_its_home() {
    let mut kms = nodes(&["n1", "n2"]);
    kms.at("elsewhere");
    run(&kms, &["node", "create", "stranger"]);
    let at = tcp_address(&kms, "stranger");
    let (host, port) = at.split_once(':').unwrap();
    let stranger = format!("/ip4/{host}/tcp/{port}");
    kms.at("home");
    assert_eq!(shout(&kms, "n1", &format!("{stranger}/service/uppercase")), "HELLO");
    assert_silent(&kms, "n1", &format!("/node/n2{stranger}/service/uppercase"));
}

#[test]
fn what_a_crash_leaves_is_found_and_cleaned_up() {
    let kms = nodes(&["n1", "n2"]);
    let (was, at) = (pid(&kms, "n2").unwrap(), tcp_address(&kms, "n2"));
    let killed = Command::new("kill").args(["-9", &was.to_string()]).status().unwrap();
    assert!(killed.success());
    let start = Instant::now();
    while pid(&kms, "n2").is_some() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not end");
    }
    let asked = ["message", "send", "x", "--from", "n2", "--to", "/service/echo"];
    let refused = kms.run_apart(&asked, b"").code(69);
    assert!(refused.stderr.contains("node start n2"), "{}", refused.stderr);
    let through = ["message", "send", "x", "--from", "n1", "--to", "/node/n2/service/echo"];
    let _ = kms.run_apart(&through, b"").code(69);
    assert_eq!(run(&kms, &["node", "start", "n2"]), "n2");
    // It listens where it did, unless somebody has taken the port meanwhile.
    assert_eq!(tcp_address(&kms, "n2"), at);
    assert_eq!(shout(&kms, "n1", "/node/n2/service/uppercase"), "HELLO");
    // A node of a name that is there and does not run is made anew.
    run(&kms, &["node", "stop", "n2"]);
    assert_eq!(run(&kms, &["node", "create", "n2"]), "n2");
    let _ = kms.run_apart(&["node", "create", "n2"], b"").code(73);
    run(&kms, &["node", "delete", "n2", "--yes"]);
    let left = std::fs::read_dir(kms.home().join("servers")).unwrap();
    let left: Vec<_> = left.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with("n2") || name.ends_with(".lock")), "{left:?}");
}

#[test]
fn a_slow_request_holds_up_no_other() {
    let kms = nodes(&["n1", "n2"]);
    // Nobody answers at `api` what is no handshake.
    let slow = ["message", "send", "x", "--from", "n1", "--to", "/node/n2/service/api", "--timeout", "300s"];
    let mut slow = kms.command(&slow).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..3 {
        assert!(pid(&kms, "n1").is_some());
        assert_eq!(shout(&kms, "n1", "/node/n2/service/uppercase"), "HELLO");
    }
    assert!(slow.try_wait().unwrap().is_none(), "the slow one was answered");
    // And it ends with the node.
    run(&kms, &["node", "stop", "n1"]);
    assert!(!slow.wait().unwrap().success());
}

#[test]
fn what_is_missing_is_made_where_a_command_needs_it() {
    let kms = Kms::new();
    let listeners = kms.run_apart(&["tcp-listener", "list"], b"").code(0);
    assert_eq!(listeners.json().as_array().unwrap().len(), 1);
    for made in ["the software vault `default`", "the identity `default`", "the node `default`"] {
        assert!(listeners.stderr.contains(made), "{made}: {}", listeners.stderr);
    }
    assert_eq!(run(&kms, &["node", "default"]), "default");
    // The second one is not.
    assert!(!kms.run_apart(&["worker", "list"], b"").code(0).stderr.contains("note"));
    run(&kms, &["node", "delete", "--all", "--yes"]);
    assert_eq!(run(&kms, &["node", "list"]), "[]");
    let _ = kms.run_apart(&["node", "default"], b"").code(66);
}

/// What would end is told, and goes on; and nothing is made to have something to end.
#[test]
fn a_dry_run_changes_nothing_at_a_node() {
    let kms = nodes(&["n1", "n2"]);
    let address = tcp_address(&kms, "n2");
    let line = run(&kms, &["tcp-connection", "create", "--from", "n1", "--to", &address]);
    let open = channel(&kms, "n1", &format!("{line}/service/api"), &[]);
    run(&kms, &["relay", "create", "blue", "--at", "/node/n2", "--to", "n1", "--timeout", LONG]);
    run(&kms, &["policy", "create", "--at", "n1", "--resource", "echo", "--allow", "member"]);
    run(&kms, &["policy", "create", "--at", "n1", "--resource-type", "relay", "--allow", "member"]);
    run(&kms, &["secure-channel-listener", "create", "private", "--at", "n1"]);
    let listener = tcp_address(&kms, "n1");
    let there = || {
        let at = |noun: &str, flag: &str| run(&kms, &[noun, "list", flag, "n1", "--output", "json"]);
        let nouns = ["policy", "tcp-connection", "tcp-listener", "secure-channel", "secure-channel-listener"];
        let mut all: Vec<_> = nouns.iter().map(|noun| at(noun, "--at")).collect();
        all.extend([at("relay", "--to"), kms.state()]);
        all
    };
    let before = there();
    let doomed: [(&[&str], &str); 7] = [
        (&["policy", "delete", "echo"], "the policy for `echo`"),
        (&["policy", "delete", "relay"], "the policy for `relay`"),
        (&["relay", "delete", "blue"], "the relay `blue`"),
        (&["tcp-connection", "delete", &address], &address),
        (&["tcp-listener", "delete", &listener], &listener),
        (&["secure-channel", "delete", &open], &open),
        (&["secure-channel-listener", "delete", "private"], "/service/private"),
    ];
    for (verb, told) in doomed {
        let asked = [verb, &["--at", "n1", "--dry-run", "--output", "json"]].concat();
        let said = kms.run_apart(&asked, b"").code(0).json();
        assert_eq!((&said["dry_run"], &said["refused"]), (&json!(true), &json!(false)), "{verb:?}");
        assert!(said["destroyed"][0].as_str().unwrap().contains(told), "{said}");
        assert_eq!(there(), before, "{verb:?} has changed something");
        // What is not there is no preview either.
        let missing = [&verb[..2], &["nothing", "--at", "n1", "--dry-run"]].concat();
        let _ = kms.run_apart(&missing, b"").code(66);
    }
    assert_eq!(shout(&kms, "n1", &format!("{open}/service/uppercase")), "HELLO");
    // Consent does not make a dry run less of one.
    run(&kms, &["policy", "delete", "echo", "--at", "n1", "--dry-run", "--yes"]);
    assert_eq!(there(), before);
    // The same command does what was told.
    for (verb, _) in doomed {
        let yes: &[&str] = if verb[0] == "secure-channel-listener" { &[] } else { &["--yes"] };
        run(&kms, &[verb, &["--at", "n1"], yes].concat());
    }
    assert_eq!(run(&kms, &["policy", "list", "--at", "n1"]), "[]");

    let empty = Kms::new();
    for (verb, _) in doomed {
        let _ = empty.run_apart(&[verb, &["--dry-run"]].concat(), b"").code(66);
        let _ = empty.run_apart(verb, b"").code(66);
    }
    assert_eq!(run(&empty, &["node", "list"]), "[]");
}

#[test]
fn in_the_foreground_a_node_ends_with_its_input() {
    let kms = Kms::new();
    let mut node = kms
        .command(&["node", "create", "here", "--foreground", "--exit-on-eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = [0; 4];
    std::io::Read::read_exact(node.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"here");
    assert_eq!(run(&kms, &["message", "send", "hi", "--to", "/node/here/service/echo"]), "hi");
    drop(node.stdin.take());
    assert!(node.wait().unwrap().success());
    assert_eq!(pid(&kms, "here"), None);
}

/// What an address says over HTTP: the status line and the body.
fn http(at: &str, line: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_node_says_over_http_how_it_is_where_that_is_asked_for() {
    let kms = nodes(&["quiet"]);
    let shown = |node: &str| kms.run_apart(&["node", "show", node, "--output", "json"], b"").code(0).json();
    assert_eq!(shown("quiet")["status_endpoint_address"], Value::Null);
    run(&kms, &["node", "create", "n1", "--status-endpoint", "127.0.0.1:0"]);
    run(&kms, &["node", "create", "{name: n2, status-endpoint: '127.0.0.1:0'}"]);
    for node in ["n1", "n2"] {
        let said = shown(node);
        let at = said["status_endpoint_address"].as_str().unwrap();
        assert_eq!(http(at, "HEAD /"), ("HTTP/1.1 200 OK".to_owned(), String::new()));
        let (status, body) = http(at, "GET /show");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), said);
        assert!(http(at, "GET /").0.contains("405") && http(at, "GET /x").0.contains("404"));
    }
    // It is of the node, and comes back with it.
    run(&kms, &["node", "stop", "n1"]);
    assert_eq!(shown("n1")["status_endpoint_address"], Value::Null);
    run(&kms, &["node", "start", "n1"]);
    assert_eq!(http(shown("n1")["status_endpoint_address"].as_str().unwrap(), "HEAD /").0, "HTTP/1.1 200 OK");
    // What the line says goes before what the configuration says.
    let configuration = "{name: n3, status-endpoint: '127.0.0.1:0'}";
    run(&kms, &["node", "create", configuration, "--no-status-endpoint"]);
    assert_eq!(shown("n3")["status_endpoint_address"], Value::Null);
    // Whoever lets others read it is told so.
    let open = kms.run_apart(&["node", "create", "n5", "--status-endpoint", "0.0.0.0:0"], b"").code(0);
    assert!(open.stderr.contains("whoever gets to `0.0.0.0:0`"), "{}", open.stderr);
    assert_eq!(shown("n5")["status"], "running");
    // An address that is taken starts no node.
    let taken = shown("n1")["status_endpoint_address"].as_str().unwrap().to_owned();
    let refused = kms.run_apart(&["node", "create", "n4", "--status-endpoint", &taken], b"").code(69);
    assert!(refused.stderr.contains("cannot be listened at"), "{}", refused.stderr);
}

#[test]
fn messages_are_texts_or_bytes() {
    let kms = nodes(&["n1"]);
    let send = |arguments: &[&str]| kms.run_apart(&[&["message", "send"], arguments].concat(), b"");
    assert_eq!(send(&["00ff", "--hex", "--from", "n1", "--to", "/service/echo"]).code(0).stdout, "00ff");
    assert_eq!(send(&["-3", "--from", "/node/n1", "--to", "/service/echo"]).code(0).stdout, "-3");
    assert_eq!(send(&["grüße", "--from", "n1", "--to", "/worker/uppercase"]).code(0).stdout, "GRÜSSE");
    let long = "x".repeat(100_000);
    assert_eq!(send(&[&long, "--from", "n1", "--to", "/service/echo"]).code(0).stdout, long);
    let json = send(&["a", "--from", "n1", "--to", "/service/echo", "--output", "json"]).code(0).json();
    assert_eq!(json["answer"], "a");
    let _ = send(&["x", "--from", "n1", "--to", "/service/nobody"]).code(66);
    let _ = send(&["x", "--from", "n1", "--to", "service/echo"]).code(64);
    let _ = send(&["xyz", "--hex", "--from", "n1", "--to", "/service/echo"]).code(64);
    let _ = send(&["x", "--from", "nobody", "--to", "/service/echo"]).code(66);
    // A pipe that ends without a line.
    let _ = send(&["x", "--from", "n1", "--to", "-/service/echo"]).code(64);
}

#[test]
fn what_is_hostile_is_refused_and_the_node_goes_on() {
    let kms = nodes(&["n1"]);
    let process = pid(&kms, "n1");
    for bad in ["", "a/b", "a\nb", "a\u{1b}[2J", &"x".repeat(5000)] {
        for command in [
            &["service", "start", "hop", "--at", "n1", "--addr"][..],
            &["secure-channel-listener", "create", "--at", "n1"],
            &["relay", "create", "--to", "n1", "--at", "/service/nothing"],
            &["secure-channel", "create", "--from", "n1", "--to"],
            &["message", "send", "x", "--from", "n1", "--to"],
            &["tcp-connection", "create", "--from", "n1", "--to"],
            &["tcp-listener", "create", "--at", "n1"],
            &["secure-channel", "create", "--from", "n1", "--to", "/service/api", "--authorized"],
            &["policy", "create", "--at", "n1", "--allow", "member", "--resource-type"],
        ] {
            let refused = kms.run_apart(&[command, &[bad]].concat(), b"");
            assert!(matches!(refused.code, 64 | 66), "{command:?} {bad:?}: {refused:?}");
            assert!(!refused.stderr.contains('\u{1b}'), "{command:?}");
        }
    }
    assert_eq!(pid(&kms, "n1"), process);
    assert_eq!(shout(&kms, "n1", "/service/uppercase"), "HELLO");
}

#[test]
fn reset_leaves_an_empty_home_and_no_process() {
    let kms = nodes(&["n1"]);
    // A process that nobody has asked about yet has no command line any more.
    let process = format!("/proc/{}/cmdline", pid(&kms, "n1").unwrap());
    let lives = || std::fs::read(&process).is_ok_and(|line| !line.is_empty());
    let _ = kms.run_apart(&["reset"], b"").code(64);
    let told = kms.run_apart(&["reset", "--dry-run", "--output", "json"], b"").code(0).json();
    assert_eq!(told["dry_run"], true);
    assert!(lives());
    run(&kms, &["reset", "--yes"]);
    let start = Instant::now();
    while lives() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not end");
    }
    assert_eq!(run(&kms, &["identity", "list"]), "[]");
    let left: Vec<_> = std::fs::read_dir(kms.home()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(run(&kms, &["node", "create", "again"]), "again");
}

/// The home of a thief: a copy of another one.
fn copy(kms: &Kms) -> Kms {
    let copy = Kms::new();
    let copied = std::process::Command::new("cp").arg("-r").args([kms.home(), copy.home()]).status().unwrap();
    assert!(copied.success());
    // Vaults are registered by absolute paths.
    for entry in std::fs::read_dir(copy.home().join("vaults")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let record = std::fs::read_to_string(&path).unwrap();
            let (there, here) = (kms.home(), copy.home());
            std::fs::write(path, record.replace(there.to_str().unwrap(), here.to_str().unwrap())).unwrap();
        }
    }
    copy
}

#[test]
fn a_newer_history_of_somebody_known_is_remembered_whichever_listener_they_come_to() {
    let (verifier, alices) = (nodes(&["v"]), Kms::new());
    let alice = run(&alices, &["identity", "create", "alice"]);
    let thiefs = copy(&alices);
    run(&verifier, &["secure-channel-listener", "create", "private", "--at", "v", "--authorized", &alice]);
    let at = tcp_address(&verifier, "v");
    let (ip, port) = at.rsplit_once(':').unwrap();
    let to = |listener: &str| format!("/ip4/{ip}/tcp/{port}/service/{listener}");
    run(&alices, &["node", "create", "a", "--identity", "alice"]);
    // She is meant there, and known from then on; what she shows elsewhere after a rotation counts as well.
    channel(&alices, "a", &to("private"), &[]);
    run(&alices, &["identity", "rotate", "alice"]);
    let own = channel(&alices, "a", &to("api"), &[]);
    assert_eq!(shout(&alices, "a", &format!("{own}/service/uppercase")), "HELLO");
    run(&thiefs, &["node", "create", "t", "--identity", "alice"]);
    let stolen = channel(&thiefs, "t", &to("api"), &[]);
    assert_silent(&thiefs, "t", &format!("{stolen}/service/uppercase"));
    // A stranger is let in, and leaves nothing behind.
    let before = verifier.state();
    run(&thiefs, &["identity", "create", "stranger"]);
    let stranger = channel(&thiefs, "t", &to("api"), &["--identity", "stranger"]);
    assert_eq!(shout(&thiefs, "t", &format!("{stranger}/service/uppercase")), "HELLO");
    assert_eq!(verifier.state(), before);
}

#[test]
fn what_asks_for_nothing_by_itself_is_guarded_by_a_policy_all_the_same() {
    let kms = Kms::new();
    run(&kms, &["identity", "create", "issuer"]);
    let member = run(&kms, &["identity", "create", "member"]);
    let authority = run(&kms, &["identity", "show", "issuer", "--full", "--encoding", "hex"]);
    run(&kms, &["node", "create", "guarded", "--identity", "issuer", "--authority-identity", &authority]);
    run(&kms, &["node", "create", "n1", "--identity", "member", "--authority-identity", &authority]);
    run(&kms, &["service", "start", "hop", "--at", "guarded"]);
    let allow = |to: &[&str]| {
        let create = ["policy", "create", "--at", "guarded", "--allow", "(= subject.role \"member\")"];
        kms.run_apart(&[&create[..], to].concat(), b"")
    };
    allow(&["--resource", "uppercase"]).code(0);
    allow(&["--resource", "hop"]).code(0);
    let issue = ["credential", "issue", "--as", "issuer", "--for", &member, "--attribute", "role=member"];
    let credential = run(&kms, &issue);
    let without = channel(&kms, "n1", "/node/guarded/service/api", &[]);
    let with = channel(&kms, "n1", "/node/guarded/service/api", &["--credential", &credential]);
    for service in ["/service/uppercase", "/service/hop/service/uppercase"] {
        assert_silent(&kms, "n1", &format!("{without}{service}"));
        assert_eq!(shout(&kms, "n1", &format!("{with}{service}")), "HELLO", "{service}");
    }
    // Who opens a channel has shown no credential yet.
    let refused = allow(&["--resource", "api"]).code(64);
    assert!(refused.stderr.contains("--authorized"), "{}", refused.stderr);
}
