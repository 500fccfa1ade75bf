//! Rotations that were cut off, as the program meets them: readers see the last committed state and are told, writers go on
//! first, and a running server goes on with its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use home::rotation::Moment;
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::rotation::cut_off;

#[test]
fn readers_are_told_and_writers_go_on() {
    for (at, changes_for_readers, finished) in [
        (Moment::Prepared, 1, false),
        (Moment::Signed, 1, true),
        (Moment::Committed, 2, true),
        (Moment::Served, 2, true),
    ] {
        let mut kms = Kms::new();
        let identifier = kms.run(&["identity", "create", "alice"]).code(0).stdout;
        kms.run(&["identity", "create", "bob"]).code(0);
        cut_off(&kms.home(), "alice", at);

        let before = kms.state();
        let read = kms.run(&["identity", "show", "alice", "--output", "json"]).code(0);
        assert!(
            read.stderr.contains("a rotation of the identity `alice` was cut off"),
            "{at:?}: {}",
            read.stderr
        );
        assert_eq!(read.json()["changes"], changes_for_readers, "{at:?}");
        assert!(kms.run(&["identity", "list", "--quiet"]).code(0).stderr.is_empty());
        assert_eq!(kms.state(), before, "a reader has changed something");

        // Whatever writes next, about whatever.
        let wrote = kms.run(&["identity", "default", "bob"]).code(0);
        let words = if finished { "is finished" } else { "is taken back" };
        assert!(wrote.stderr.contains(words), "{at:?}: {}", wrote.stderr);
        let read = kms.run(&["identity", "verify", "alice", "--output", "json"]).code(0);
        assert_eq!(read.stderr, "", "{at:?}");
        let verified = read.json();
        assert_eq!(verified["changes"], if finished { 2 } else { 1 }, "{at:?}");
        assert_eq!(verified["identifier"], identifier.as_str());
        let keys = kms.run(&["key", "list"]).code(0).json();
        assert_eq!(keys.as_array().unwrap().len(), 2, "{at:?}: one key each, and no orphan");
    }
}

#[test]
fn what_cannot_be_finished_yet_protects_what_it_needs() {
    let mut kms = Kms::new();
    kms.run(&["vault", "create", "one"]).code(0);
    kms.run(&["vault", "create", "two", "--path", "elsewhere"]).code(0);
    kms.run(&["identity", "create", "alice", "--vault", "two"]).code(0);
    cut_off(&kms.home(), "alice", Moment::Signed);
    // Its vault is away.
    std::fs::rename(kms.path("elsewhere"), kms.path("away")).unwrap();
    let made = kms.run(&["identity", "create", "bob", "--vault", "one"]).code(0);
    assert!(made.stderr.contains("cannot be finished for now"), "{}", made.stderr);
    let _ = kms.run(&["identity", "delete", "alice", "--yes"]).code(69);
    let _ = kms.run(&["vault", "delete", "one", "--yes"]).code(69);
    let _ = kms.run(&["identity", "rotate", "alice"]).code(69);
    // And back.
    std::fs::rename(kms.path("away"), kms.path("elsewhere")).unwrap();
    let rotated = kms.run(&["identity", "rotate", "alice", "--output", "json"]).code(0);
    assert!(rotated.stderr.contains("is finished"), "{}", rotated.stderr);
    assert_eq!(rotated.json()["changes"], 3);
}

#[test]
fn a_running_server_goes_on_with_its_own() {
    let mut kms = Kms::new();
    let create = [
        "authority",
        "create",
        "--project-identifier",
        "p",
        "--trusted-identities",
        "{}",
        "--http-address",
        "127.0.0.1:0",
    ];
    kms.run(&create).code(0);
    cut_off(&kms.home(), "authority-p", Moment::Committed);
    let wrote = kms.run(&["identity", "create", "other"]).code(0);
    assert!(wrote.stderr.contains("the server `authority-p` goes on with it"), "{}", wrote.stderr);
    let rotated = kms.run(&["identity", "rotate", "authority-p", "--output", "json"]).code(0).json();
    assert_eq!((&rotated["changes"], &rotated["server"]), (&3.into(), &"authority-p".into()));
    // What it publishes is what is stored.
    let shown = kms.run(&["authority", "show", "--output", "json"]).code(0).json();
    assert_eq!(shown["status"]["authority"]["changes"], 3);
    // A server that is started finishes what was cut off while it was away.
    kms.run(&["authority", "stop"]).code(0);
    cut_off(&kms.home(), "authority-p", Moment::Signed);
    kms.run(&create).code(0);
    let shown = kms.run(&["authority", "show", "--output", "json"]).code(0);
    assert_eq!(shown.json()["status"]["authority"]["changes"], 4);
    assert_eq!(shown.stderr, "");
}
