//! At a terminal: plain text, questions whose answers are not shown, consent.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use std::time::{Duration, Instant};

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::cli::session::Session;

#[test]
fn plain_text_and_no_machine_form() {
    let mut kms = Kms::new();
    let identifier = kms.run(&["identity", "create", "alice"]).code(0).stdout;
    let (shown, code) = Session::start(&kms, &["identity", "show"]).end();
    assert_eq!(code, 0);
    assert!(shown.starts_with("name        alice (default)\n") && shown.contains(&identifier), "{shown}");
    let (shown, _) = Session::start(&kms, &["identity", "show", "--output", "json"]).end();
    assert!(shown.starts_with('{'), "{shown}");
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let kms = Kms::new();
    let mut session = Session::start(&kms, &["vault", "create", "locked", "--ask-passphrase"]);
    session.wait_for("New passphrase: ");
    session.type_in("correct hors\u{7f}se\n");
    session.wait_for("The same again: ");
    session.type_in("correct horse\n");
    let (shown, code) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("vault `locked` created") && !shown.contains("horse"), "{shown}");

    for (typed, wanted) in [("correct horse\n", 0), ("wrong horse\n", 77), ("\n", 64)] {
        let mut session = Session::start(&kms, &["key", "list"]);
        session.wait_for("Passphrase of the software vault");
        session.type_in(typed);
        let (shown, code) = session.end();
        assert_eq!(code, wanted, "{shown}");
        assert!(!shown.contains("horse"), "{shown}");
    }
    // Nobody is asked who does not want to be.
    let (shown, code) = Session::start(&kms, &["key", "list", "--no-input"]).end();
    assert_eq!(code, 75, "{shown}");
    // Ctrl-C is an end, and the terminal is as it was.
    let mut session = Session::start(&kms, &["key", "list"]);
    session.wait_for("Passphrase of");
    session.type_in("secret\u{3}");
    let (shown, code) = session.end();
    assert_eq!(code, 130, "{shown}");
}

#[test]
fn consent_is_asked_for() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    for (answer, code, left) in [("n\n", 130, 1), ("\n", 130, 1), ("y\n", 0, 0)] {
        let mut session = Session::start(&kms, &["identity", "delete", "alice"]);
        session.wait_for("[y/N]");
        session.type_in(answer);
        let (shown, ended) = session.end();
        assert_eq!(ended, code, "{shown}");
        let identities = kms.run(&["identity", "list"]).code(0).json();
        assert_eq!(identities.as_array().unwrap().len(), left);
    }
}

/// What takes long is told at a terminal, and gone when it is over; a script, and who wants quiet, hear nothing.
#[test]
fn what_is_waited_for_is_told() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    let told = "waiting for another command that writes (";
    let writer = home::Home::open(kms.home()).unwrap().write().unwrap();
    let mut session = Session::start(&kms, &["identity", "default", "alice"]);
    session.wait_for(told);
    let quiet = Session::start(&kms, &["identity", "default", "alice", "--quiet"]);
    let mut piped = kms.command(&["identity", "default", "alice"]);
    let piped =
        piped.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Longer than it takes to be told: the one that is told counts the seconds.
    session.wait_for("(1 s)");
    drop(writer);
    let (shown, code) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.ends_with("the default identity is `alice`\n") && shown.contains("\r   "), "{shown:?}");
    let (shown, code) = quiet.end();
    assert!(code == 0 && !shown.contains(told), "{shown:?}");
    let output = piped.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Whoever closes the window in which a node was started does not end the node, and ends what else was started there.
#[test]
fn a_node_outlives_the_terminal_it_was_started_at() {
    let mut kms = Kms::new();
    let script = r#""$0" node create n1; sleep 1000 & echo "beside it: $!, to the end"; wait"#;
    let mut session = Session::shell(&kms, script);
    session.wait_for(", to the end");
    let (_, beside) = session.shown().split_once("beside it: ").unwrap();
    // A process that nobody has asked about yet has no command line any more.
    let beside = format!("/proc/{}/cmdline", beside.split_once(',').unwrap().0);
    let lives = || std::fs::read(&beside).is_ok_and(|line| !line.is_empty());
    let mut pid = || kms.run(&["node", "show", "n1", "--output", "json"]).code(0).json()["pid"].clone();
    let before = pid();
    assert!(lives() && before.is_u64());
    assert_eq!(session.hang_up(), 128 + 1, "it ends by a SIGHUP");
    let start = Instant::now();
    while lives() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing was hung up");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(pid(), before);
    let send = ["message", "send", "hello", "--to", "/node/n1/service/uppercase", "--timeout", "60s"];
    assert_eq!(kms.run(&send).code(0).stdout, "HELLO");
}
