//! `ockam-kms` as a whole: where output goes, what is private, what happens at once. What each verb says is in golden/cli.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};

/// A PIN that is wrong, or a token that is not there, changes nothing here.
#[test]
fn a_token_that_refuses_leaves_nothing() {
    let (_directory, hsm) = SoftHsm::prepare();
    hsm.init("ca");
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.file("pin", format!("{PIN}\n"));
    kms.file("wrong", "0000\n");
    kms.run(&["vault", "create", "soft"]).code(0);
    let before = kms.state();
    for (token, pin, code, kind) in [("ca", "wrong", 77, "denied"), ("nope", "pin", 66, "not-found")] {
        let create = ["vault", "create", "bad", "--token", token, "--module-path", MODULE, "--pin-file", pin];
        let refused = kms.run(&[&create[..], &["--output", "json"]].concat()).code(code);
        assert_eq!(refused.json()["error"]["kind"], kind);
        assert_eq!(kms.state(), before);
    }
}

#[test]
fn output_goes_where_the_contract_says() {
    let mut kms = Kms::new();
    let quiet = |ran: ockam_kms_tests::cli::Ran| assert_eq!(ran.stderr, "");
    quiet(kms.run(&["identity", "create", "--quiet"]).code(0));
    kms.set("QUIET", "1");
    quiet(kms.at("second").run(&["identity", "create"]).code(0));
    assert!(!kms.at("third").run(&["identity", "create", "--quiet=false"]).code(0).stderr.is_empty());
    // Errors are told all the same.
    let failed = kms.run(&["identity", "show", "nobody"]).code(66);
    assert!(
        failed.stdout.is_empty() && failed.stderr.starts_with("error: there is no identity `nobody`\nhint: ")
    );
    // Every outcome is JSON on standard output when it is asked for, wherever that stands.
    for arguments in [
        &["--output", "json", "identity", "show", "nobody"][..],
        &["identity", "show", "nobody", "--output=json"],
        &["bogus", "--output", "json"],
        &["identity", "rotate", "--bogus", "--output", "json"],
        &["vault", "create", "../x", "--output", "json"],
        &["--output", "json"],
        &["key", "sign", "k", "--output", "json"],
        &["vault", "create", "x", "--pin", "1234", "--output", "json"],
    ] {
        let ran = kms.run(arguments);
        let error = &ran.json()["error"];
        assert_ne!(ran.code, 0, "{arguments:?}");
        for field in ["kind", "message", "hint"] {
            assert!(error[field].is_string(), "{arguments:?}: {field}");
        }
        assert!(ran.stderr.is_empty(), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains("1234"), "a secret is never repeated");
    }
    assert!(kms.run(&["identity", "--help", "--output", "json"]).code(0).json()["help"].is_string());
}

/// Whoever reads our output may go away; what was done is done.
#[test]
fn a_closed_pipe_and_a_full_disk() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]);
    let mut child =
        kms.command(&["identity", "show", "alice"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = kms
        .command(&["identity", "show", "alice"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stderr).contains("writing the result failed"));
}

/// What would be destroyed is told, and is still there; what would be refused is told as that.
#[test]
fn a_dry_run_changes_nothing() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "issuer"]).code(0);
    kms.run(&["identity", "create", "member"]).code(0);
    kms.run(&["credential", "issue", "--as", "issuer", "--for", "member"]).code(0);
    kms.run(&["vault", "create", "other"]).code(0);
    kms.run(&["key", "generate", "build", "--vault", "other"]).code(0);
    let create = ["authority", "create", "--project-identifier", "p", "--trusted-identities", "{}"];
    // Its database, which it writes when it likes, is not in the home.
    let at = ["--identity", "issuer", "--http-address", "127.0.0.1:0", "--store", "rocksdb:elsewhere"];
    kms.run(&[&create[..], &at].concat()).code(0);
    let before = kms.state();
    for (arguments, code, told) in [
        (&["key", "destroy", "build", "--vault", "other"][..], 0, "soft:name=build"),
        (&["vault", "delete", "other"], 0, "with every key in it"),
        (&["vault", "delete", "default"], 77, "the identity `issuer`, which has a key"),
        (&["vault", "delete", "--all"], 77, "the identity `member`, which has a key"),
        (&["vault", "move", "other", "--path", "there"], 0, "after it is copied"),
        (&["identity", "delete", "member"], 0, "for good"),
        (&["identity", "delete", "issuer"], 77, "the server `authority-p`"),
        (&["identity", "rotate", "issuer"], 0, "old_key_destroyed"),
        (&["authority", "stop"], 0, "the process"),
        (&["node", "stop"], 0, "the process"),
        (&["node", "delete", "authority-p"], 77, "--force"),
        (&["node", "delete", "authority-p", "--force"], 0, "the record and the logs"),
    ] {
        let ran = kms.run(&[arguments, &["--dry-run", "--output", "json"]].concat()).code(code);
        assert!(ran.stdout.contains(told) && ran.stdout.contains("\"dry_run\":true"), "{}", ran.stdout);
        assert_eq!(kms.state(), before, "{arguments:?} has changed something");
    }
    assert_eq!(kms.run(&["authority", "show", "--output", "json"]).code(0).json()["running"], true);
}
