//! Transcripts of `ockam-kms`: what is typed, what comes out, and how it ends. `UPDATE_GOLDEN=1` records them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};

#[test]
fn vaults_and_keys() {
    let mut kms = Kms::new();
    kms.say("The first vault is the default; there is one lock each");
    kms.run(&["vault", "create"]);
    kms.file("passphrase", "correct horse\n");
    kms.run(&["vault", "create", "locked", "--passphrase-file", "passphrase"]);
    kms.run_with(&["vault", "create", "piped", "--passphrase", "-", "--output", "json"], b"battery staple\n");
    kms.run(&["vault", "create", "elsewhere", "--path", "elsewhere", "--key-file", "kek"]);
    kms.run(&["vault", "list", "--output", "json"]);
    kms.run(&["vault", "show", "locked"]);
    kms.run(&["vault", "default"]);
    kms.run(&["vault", "default", "elsewhere"]);
    kms.run(&["vault", "default", "--output", "json"]);

    kms.say("What a vault can do is tried out");
    kms.run(&["vault", "check", "default", "--output", "json"]);

    kms.say("Keys");
    kms.run(&["key", "generate", "build"]);
    kms.run(&["key", "generate", "release", "--key-type", "p256"]);
    kms.run(&["key", "generate", "channel", "--key-type", "x25519"]);
    kms.run(&["key", "generate", "wrap", "--key-type", "aes256-gcm", "--output", "json"]);
    kms.run(&["key", "generate", "build"]);
    kms.run(&["key", "list"]);
    kms.run(&["key", "show", "soft:name=release"]);
    let signature = kms.run(&["key", "sign", "release", "-3"]).code(0).stdout;
    kms.run(&["key", "verify", "release", "-3", "--signature", &signature]);
    kms.run(&["key", "verify", "release", "-4", "--signature", &signature]);
    kms.file("message", "-3");
    kms.run(&[
        "key",
        "verify",
        "release",
        "--file",
        "message",
        "--signature",
        &signature,
        "--output",
        "json",
    ]);
    kms.run(&["key", "sign", "channel", "x"]);
    kms.run(&["key", "sign", "nothing", "x"]);
    kms.run(&["key", "destroy", "build"]);
    kms.run(&["key", "destroy", "build", "--yes"]);
    kms.run(&["key", "destroy", "build", "--yes"]);

    kms.say("A key that an identity depends on stays");
    let uri = kms.run(&["key", "generate", "root"]).code(0).stdout;
    kms.run(&["identity", "create", "issuer", "--key", &uri]);
    kms.run(&["key", "destroy", "root", "--yes"]);

    kms.say("A passphrase that is needed, and nobody to ask");
    kms.run(&["key", "list", "--vault", "locked"]);
    kms.run_with(&["key", "list", "--vault", "locked", "--passphrase", "-"], b"correct horse\n");

    kms.say("Moving and deleting");
    kms.run(&["vault", "move", "elsewhere", "--path", "there"]);
    kms.run(&["key", "show", "wrap"]);
    kms.run(&["vault", "delete", "elsewhere", "--yes"]);
    kms.run(&["vault", "delete", "locked"]);
    kms.run(&["vault", "delete", "locked", "--yes"]);
    kms.run(&["vault", "show", "locked"]);
    kms.golden("cli-vaults-and-keys.txt");
}

#[test]
fn identities() {
    let mut kms = Kms::new();
    kms.say("The first identity makes a vault when there is none, and is the default");
    let first = kms.run(&["identity", "create"]).code(0).stdout;
    kms.run(&["identity", "create", "alice"]);
    kms.say("Creating it again gives the same");
    kms.run(&["identity", "create", "alice", "--output", "json"]);
    kms.run(&["identity", "create", "bob", "--key-type", "p256"]);
    kms.run(&["identity", "create", "carol", "--key-type", "x25519"]);
    kms.run(&["identity", "list"]);
    kms.run(&["identity", "default"]);
    kms.run(&["identity", "default", "bob"]);
    kms.run(&["identity", "show"]);
    kms.run(&["identity", "show", "bob", "--output", "json"]);
    kms.run(&["identity", "show", "alice", "--full"]);
    let history = kms.run(&["identity", "show", "alice", "--full", "--encoding", "hex"]).code(0).stdout;

    kms.say("Verifying: a name, hex, a file, standard input");
    kms.run(&["identity", "verify", "alice", "--output", "json"]);
    kms.run(&["identity", "verify", &history]);
    kms.file("history", &history);
    kms.run(&["identity", "verify", "history"]);
    kms.run_with(&["identity", "verify", "-"], history.as_bytes());
    kms.run(&["identity", "verify", &history, "--expected", &first, "--output", "json"]);

    kms.say("Rotating: the identifier stays");
    kms.run(&["identity", "rotate", "alice", "--dry-run", "--output", "json"]);
    kms.run(&["identity", "rotate", "alice"]);
    kms.run(&["vault", "create", "second"]);
    kms.run(&[
        "identity",
        "rotate",
        "alice",
        "--to-vault",
        "second",
        "--key-type",
        "p256",
        "--keep-old-key",
        "--output",
        "json",
    ]);
    kms.run(&["key", "generate", "ceremony"]);
    kms.run(&[
        "identity",
        "rotate",
        "alice",
        "--to-vault",
        "default",
        "--to-key",
        "soft:name=ceremony",
        "--output",
        "json",
    ]);
    kms.run(&["identity", "rotate", "alice", "--to-key", "soft:name=ceremony"]);
    kms.run(&["identity", "verify", "alice", "--output", "json"]);
    kms.run(&["key", "list", "--vault", "second"]);

    kms.say("Somebody else's identity");
    kms.at("other").run(&["identity", "create", "alice", "--identity", &history]);
    kms.run(&["identity", "show", "alice", "--output", "json"]);
    kms.run(&["identity", "rotate", "alice"]);
    kms.run(&["identity", "create", "alice", "--identity", &history]);
    let bob = kms.at("home").run(&["identity", "show", "bob", "--full", "--encoding", "hex"]).code(0).stdout;
    kms.at("other").run(&["identity", "create", "alice", "--identity", &bob]);
    kms.at("home");

    kms.say("Deleting");
    kms.run(&["identity", "delete", "alice"]);
    kms.run(&["identity", "delete", "alice", "--yes"]);
    kms.run(&["identity", "show", "alice"]);
    kms.run(&["identity", "delete", "--all", "--yes", "--output", "json"]);
    kms.run(&["key", "list"]);
    kms.golden("cli-identities.txt");
}

#[test]
fn credentials_and_policies() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "issuer", "--key-type", "p256"]);
    let member = kms.run(&["identity", "create", "member"]).code(0).stdout;

    kms.say("Attributes are never split, keep a hyphen and an empty value; a name alone is true");
    let credential = kms
        .run(&[
            "credential",
            "issue",
            "--as",
            "issuer",
            "--for",
            &member,
            "-a",
            "role=member",
            "-a",
            "sites=oslo,bern",
            "-a",
            "-3",
            "-a",
            "level=-3",
            "-a",
            "note=",
        ])
        .code(0)
        .stdout;
    kms.file("credential", &credential);
    kms.run(&["credential", "issue", "--as", "issuer", "--for", "member", "-a", "identifier=x"]);
    kms.run(&[
        "credential",
        "verify",
        "--issuer",
        "issuer",
        "--credential-path",
        "credential",
        "--output",
        "json",
    ]);
    kms.run(&[
        "credential",
        "verify",
        "--issuer",
        "issuer",
        "--credential",
        &credential,
        "--subject",
        "member",
    ]);
    kms.run(&["credential", "verify", "--issuer", "member", "--credential-path", "credential"]);
    kms.run(&[
        "credential",
        "verify",
        "--issuer",
        "issuer",
        "--credential-path",
        "credential",
        "--subject",
        "issuer",
        "--exit-code",
    ]);
    kms.run_with(&["credential", "show", "--credential", "-", "--output", "json"], credential.as_bytes());
    kms.run(&[
        "credential",
        "store",
        "--issuer",
        "issuer",
        "--scope",
        "mine",
        "--credential-path",
        "credential",
    ]);
    kms.run(&["credential", "list"]);
    kms.run(&["credential", "show", "mine"]);
    kms.run(&["credential", "show", "yours"]);

    kms.say("A policy decides on what the verified credential says");
    let on = ["--credential-path", "credential", "--issuer", "issuer", "--output", "json"];
    let mut eval = |expression: &str, more: &[&str]| {
        kms.run(&[&["policy", "eval", expression], &on[..], more].concat());
    };
    eval("role=member and not banned", &[]);
    eval("role=member", &["--subject", "member"]);
    eval("(= subject.sites \"oslo,bern\")", &["--exit-code"]);
    eval("(> subject.level \"-2\")", &["--exit-code"]);
    eval("role=guest", &["--exit-code"]);
    eval("(if true 1 2)", &[]);
    eval("(and", &["--exit-code"]);
    eval("role=member", &["--subject", "issuer", "--exit-code"]);
    kms.run(&["policy", "eval", "role=member", "--credential-path", "credential"]);

    kms.say("Or on what is typed, to try it out");
    kms.run(&["policy", "eval", "-3", "-a", "-3", "--output", "json"]);
    kms.run(&["policy", "eval", "member and not guest", "-a", "member", "-a", "guest=", "--output", "json"]);
    kms.run(&["policy", "eval", "(exists? subject.has_credential)", "--output", "json"]);
    kms.run(&["policy", "eval", "member", "-a", "has_credential=true"]);

    kms.say("After a rotation: by the rule of the reference never, by ours for the overlap or with the issuer's bundle");
    let history = kms.run(&["identity", "show", "issuer", "--full", "--encoding", "hex"]).code(0).stdout;
    kms.run(&["identity", "rotate", "issuer"]);
    let verify = ["credential", "verify", "--credential-path", "credential", "--output", "json"];
    let mut check = |more: &[&str]| {
        kms.run(&[&verify[..], more].concat());
    };
    check(&["--issuer", "issuer"]);
    check(&["--issuer", "issuer", "--rule", "reference"]);
    check(&["--issuer", &history, "--rule", "reference"]);
    let rotated = kms.run(&["identity", "show", "issuer", "--full", "--encoding", "hex"]).code(0).stdout;
    let mut check = |more: &[&str]| {
        kms.run(&[&verify[..], more].concat());
    };
    check(&["--issuer", &rotated]);
    check(&["--issuer", &rotated, "--overlap", "0"]);
    kms.run(&["identity", "rotate", "issuer", "--revoke-purpose-keys"]);
    kms.run(&[&verify[..], &["--issuer", "issuer"]].concat());
    kms.golden("cli-credentials-and-policies.txt");
}

#[test]
fn a_token() {
    let (_directory, hsm) = SoftHsm::prepare();
    hsm.init("ca");
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.file("pin", format!("{PIN}\n"));
    kms.file("wrong", "0000\n");
    kms.say("A vault on a token; the PIN comes from a file or standard input");
    kms.run(&["vault", "create", "hsm", "--token", "ca", "--module-path", MODULE, "--pin-file", "pin"]);
    kms.run(&["vault", "show", "hsm", "--output", "json"]);
    kms.run_with(
        &["vault", "create", "asked", "--token", "ca", "--module-path", MODULE, "--pin", "-"],
        PIN.as_bytes(),
    );
    kms.run(&["key", "list", "--vault", "asked"]);
    kms.run_with(&["key", "list", "--vault", "asked", "--pin", "-"], PIN.as_bytes());

    kms.say("An identity whose key never leaves it; adopted keys; rotation into it");
    kms.run(&["identity", "create", "issuer", "--vault", "hsm", "--key-type", "p256"]);
    kms.run(&["key", "generate", "ceremony", "--vault", "hsm", "--key-type", "p256"]);
    kms.run(&["identity", "rotate", "issuer", "--to-key", "pkcs11:object=ceremony", "--output", "json"]);
    kms.run(&["key", "destroy", "ceremony", "--vault", "hsm", "--yes"]);
    kms.run(&["key", "destroy", "ceremony", "--vault", "asked", "--pin-file", "pin", "--yes"]);
    kms.run(&["vault", "create", "soft"]);
    kms.run(&["identity", "create", "member", "--vault", "soft"]);
    kms.run(&["identity", "rotate", "member", "--to-vault", "hsm", "--output", "json"]);
    kms.run(&["identity", "verify", "member", "--output", "json"]);
    kms.run(&["key", "list", "--vault", "soft"]);
    kms.golden("cli-token.txt");

    // One wrong PIN, and no second try with it.
    let before = kms.state();
    let wrong = kms.run(&[
        "vault",
        "create",
        "bad",
        "--token",
        "ca",
        "--module-path",
        MODULE,
        "--pin-file",
        "wrong",
        "--output",
        "json",
    ]);
    assert_eq!(wrong.code(77).json()["error"]["kind"], "denied");
    let unknown = kms.run(&[
        "vault",
        "create",
        "bad",
        "--token",
        "nope",
        "--module-path",
        MODULE,
        "--pin-file",
        "pin",
        "--output",
        "json",
    ]);
    assert_eq!(unknown.code(66).json()["error"]["kind"], "not-found");
    assert_eq!(kms.state(), before);
}

#[test]
fn help_and_version() {
    let mut kms = Kms::new();
    kms.run(&["version"]);
    kms.run(&["version", "--output", "json"]);
    kms.run(&["--version"]);
    kms.run(&["--help"]);
    for noun in [
        "vault",
        "key",
        "identity",
        "credential",
        "policy",
        "authority",
        "node",
        "project",
        "project-member",
        "audit",
    ] {
        kms.run(&[noun, "--help"]);
    }
    for verb in [["vault", "create"], ["identity", "rotate"], ["authority", "create"], ["project", "ticket"]]
    {
        kms.run(&[verb[0], verb[1], "--help"]);
    }
    kms.golden("cli-help.txt");
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
