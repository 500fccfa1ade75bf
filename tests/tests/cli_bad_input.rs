//! Bad input through the program: a clear error, the right exit code, and a home in which nothing has changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::sync::Arc;

use home::{Home, Name, NewKey, Vaults};
use identity::{
    Attributes, Clock as _, Credential, CredentialDraft, MEMBER_SCHEMA, ManualClock, SystemClock, Timestamp,
};
use ockam_kms_tests::cli::{Kms, Ran};
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use vault::soft::SoftBackend;
use vault::{Nobody, Registry, Signer, block_on};

/// Runs a command that has to fail, in both forms of output: the same code, words for people in one and an error object in
/// the other; short, tame, and without effect.
#[track_caller]
fn refused(kms: &Kms, arguments: &[&str], input: &[u8], code: i32, kind: &str) -> String {
    let before = kms.state();
    let shown: Vec<_> =
        arguments.iter().map(|argument| argument.chars().take(60).collect::<String>()).collect();
    let plain = kms.run_apart(arguments, input);
    assert_eq!(plain.code, code, "{shown:?}: {} {}", plain.stdout, plain.stderr);
    assert_eq!(plain.stdout, "", "{shown:?}: a failure is no result");
    let message = plain
        .stderr
        .strip_prefix("error: ")
        .unwrap_or_else(|| panic!("{shown:?}: {}", plain.stderr))
        .to_owned();
    assert!(
        message.len() < 2500 && !message.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}: {message}"
    );
    let json = kms.run_apart(&[arguments, &["--output", "json"]].concat(), input);
    assert_eq!(json.code, code, "{shown:?}");
    let error = &json.json()["error"];
    assert_eq!(error["kind"], kind, "{shown:?}: {error}");
    assert!(message.starts_with(error["message"].as_str().unwrap()), "{shown:?}");
    assert_eq!(kms.state(), before, "{shown:?}: something has changed");
    message
}

/// A world with an issuer whose keys are two hours old, a member, and credentials of every age.
struct World {
    kms: Kms,
    history: String,
    member: String,
    good: String,
    expired: String,
    future: String,
}

impl World {
    fn new() -> Self {
        let mut kms = Kms::new();
        kms.run(&["vault", "create"]).code(0);
        let now = SystemClock.now();
        let past = ManualClock::new(Timestamp(now.0 - 7200));
        let home = Home::open(kms.home()).unwrap();
        let vaults = Vaults::new(home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody));
        let writer = home.write().unwrap();
        let (issuer, vault) = (Name::new("issuer").unwrap(), Name::new("default").unwrap());
        block_on(home.create_identity(&writer, &vaults, &issuer, &vault, NewKey::Generate(None), &past))
            .unwrap();
        let key = home.ensure_credential_key(&writer, &vaults, &issuer, past.now().after(60), &past);
        let (signer, attestation) = block_on(key).unwrap();
        drop(writer);
        let member = kms.run(&["identity", "create", "member"]).code(0).stdout;
        let subject = home.identity(&Name::new("member").unwrap()).unwrap().identity().unwrap();
        let proof = attestation.verify(&home.identity(&issuer).unwrap().identity().unwrap(), now).unwrap();
        let attributes = Attributes::new(MEMBER_SCHEMA, [("role", "member")]).unwrap();
        let issue = |signer: &Signer, at: u64, seconds: u64| -> Credential {
            let draft =
                CredentialDraft::new(&attestation, &proof, &subject, &attributes, Timestamp(at), seconds)
                    .unwrap();
            block_on(draft.sign(signer)).unwrap()
        };
        let (good, expired, future) = (
            issue(&signer, now.0, 3600),
            issue(&signer, now.0 - 7200, 60),
            issue(&signer, now.0 + 3600, 3600),
        );
        let history = kms.run(&["identity", "show", "issuer", "--full", "--encoding", "hex"]).code(0).stdout;
        // The lock file is there from now on.
        kms.run(&["credential", "issue", "--as", "issuer", "--for", "member"]).code(0);
        Self {
            history,
            member,
            good: good.to_hex().unwrap(),
            expired: expired.to_hex().unwrap(),
            future: future.to_hex().unwrap(),
            kms,
        }
    }

    /// The same text with the last digit changed.
    fn tampered(text: &str) -> String {
        let (start, last) = text.split_at(text.len() - 1);
        format!("{start}{}", if last == "0" { "1" } else { "0" })
    }

    /// Bad credentials, and the word that the reason starts with.
    fn bad_credentials(&self) -> Vec<(&'static str, String, &'static str)> {
        let good = &self.good;
        vec![
            ("not hex", "zz".to_owned(), "malformed"),
            ("odd hex", good[1..].to_owned(), "malformed"),
            ("empty", String::new(), "malformed"),
            ("truncated", good[..good.len() - 20].to_owned(), "malformed"),
            ("trailing bytes", format!("{good}00"), "trailing-bytes"),
            ("a change history", self.history.clone(), "malformed"),
            ("tampered with", good.replace(&hex::encode("member"), &hex::encode("membes")), "signature"),
            ("expired", self.expired.clone(), "expired"),
            ("from the future", self.future.clone(), "future"),
        ]
    }
}

#[test]
fn credentials_that_are_refused() {
    let world = World::new();
    let before = world.kms.state();
    let run = |arguments: &[&str]| world.kms.run_apart(arguments, b"");
    let good =
        run(&["credential", "verify", "--issuer", "issuer", "--credential", &world.good, "--output", "json"]);
    assert_eq!(good.code(0).json()["valid"], true);
    for (what, hex, word) in world.bad_credentials() {
        let given = ["--issuer", "issuer", "--credential", &hex];
        let verified =
            run(&[&["credential", "verify", "--output", "json"], &given[..]].concat()).code(0).json();
        assert_eq!(verified["valid"], false, "{what}");
        assert!(verified["reason"].as_str().unwrap().starts_with(word), "{what}: {verified}");
        assert_eq!(run(&[&["credential", "verify"], &given[..]].concat()).code(0).stdout, "false", "{what}");
        let coded = run(&[&["credential", "verify", "--exit-code"], &given[..]].concat()).code(65);
        assert_eq!(coded.stdout, "false", "{what}");

        let decided = run(&[&["policy", "eval", "role=member", "--output", "json"], &given[..]].concat())
            .code(0)
            .json();
        assert_eq!((&decided["decision"], &decided["outcome"]), (&"deny".into(), &"error".into()), "{what}");
        assert!(decided["reasons"][0].as_str().unwrap().contains(word), "{what}: {decided}");
        let _ = run(&[&["policy", "eval", "role=member", "--exit-code"], &given[..]].concat()).code(77);

        let store = [&["credential", "store", "--scope", "s"], &given[..]].concat();
        let message = refused(&world.kms, &store, b"", 65, "rejected");
        assert!(message.contains(word), "{what}: {message}");
    }
    // By somebody else, about somebody else.
    let other =
        run(&["credential", "verify", "--issuer", "member", "--credential", &world.good, "--output", "json"]);
    assert!(other.code(0).json()["reason"].as_str().unwrap().starts_with("other-issuer"));
    let about = [
        "credential",
        "verify",
        "--issuer",
        "issuer",
        "--credential",
        &world.good,
        "--subject",
        "issuer",
        "--output",
        "json",
    ];
    assert!(run(&about).code(0).json()["reason"].as_str().unwrap().starts_with("other-credential-subject"));
    // An issuer that nobody here has heard of: no verdict at all.
    let stranger = format!("I{}", "5".repeat(64));
    let unknown = [
        "policy",
        "eval",
        "role=member",
        "--issuer",
        &stranger,
        "--credential",
        &world.good,
        "--output",
        "json",
    ];
    assert!(run(&unknown).code(0).json()["reasons"][0].as_str().unwrap().contains("other-issuer"));
    // Nor of the issuer of the credential itself.
    let issuer = good_issuer(&world);
    let mut elsewhere = Kms::new();
    elsewhere.run(&["vault", "list"]).code(0);
    let verify =
        ["credential", "verify", "--issuer", &issuer, "--credential", &world.good, "--output", "json"];
    let verified = elsewhere.run(&verify).code(0).json();
    assert_eq!(verified["valid"], false);
    assert!(verified["reason"].as_str().unwrap().starts_with("unknown-issuer"), "{verified}");
    assert_eq!(world.kms.state(), before);
}

fn good_issuer(world: &World) -> String {
    Credential::from_hex(&world.good).unwrap().issuer().to_string()
}

#[test]
fn change_histories_that_are_refused() {
    let world = World::new();
    let history = &world.history;
    for (what, bad, word, kind, code) in [
        ("not hex", "zz".to_owned(), "malformed", "not-found", 0),
        ("truncated", history[..history.len() - 20].to_owned(), "malformed", "invalid", 64),
        ("trailing bytes", format!("{history}00"), "trailing-bytes", "rejected", 65),
        ("a credential", world.good.clone(), "wrong-type", "rejected", 65),
        ("tampered with", World::tampered(history), "signature", "rejected", 65),
        ("empty", "80".to_owned(), "empty-history", "rejected", 65),
        ("large", "00".repeat(60_000), "malformed", "invalid", 64),
    ] {
        let before = world.kms.state();
        let verified =
            world.kms.run_apart(&["identity", "verify", &bad, "--output", "json"], b"").code(65).json();
        assert_eq!(
            (&verified["valid"], &verified["identifier"]),
            (&false.into(), &serde_json::Value::Null),
            "{what}"
        );
        assert!(verified["reason"].as_str().unwrap().starts_with(word), "{what}: {verified}");
        assert_eq!(world.kms.state(), before);
        if code != 0 {
            let _ = refused(&world.kms, &["identity", "create", "x", "--identity", &bad], b"", code, kind);
        }
    }
    // Of another identity than the one that is expected.
    let other = world
        .kms
        .run_apart(&["identity", "verify", history, "--expected", &world.member, "--output", "json"], b"");
    assert!(other.code(65).json()["reason"].as_str().unwrap().starts_with("other-identifier"));
}

#[test]
fn names_that_are_hostile() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create"]).code(0);
    let long = "x".repeat(65_536);
    for bad in ["../x", "a/b", "", ".hidden", "a\nb", "a\u{1b}[2J", "é", &long] {
        for command in [
            &["vault", "create"][..],
            &["vault", "show"],
            &["vault", "check"],
            &["identity", "create"],
            &["identity", "rotate"],
            &["identity", "default"],
            &["key", "generate"],
            &["key", "list", "--vault"],
            &["identity", "create", "x", "--vault"],
            &[
                "authority",
                "create",
                "--project-identifier",
                "p",
                "--trusted-identities",
                "{}",
                "--http-address",
                "127.0.0.1:0",
                "--name",
            ],
            &[
                "authority",
                "create",
                "--trusted-identities",
                "{}",
                "--http-address",
                "127.0.0.1:0",
                "--project-identifier",
            ],
            &["authority", "show"],
            &["node", "stop"],
            &["node", "create"],
            &["node", "start"],
            &["node", "logs"],
            &["node", "default"],
            &["node", "delete", "--yes"],
            &["node", "create", "x", "--identity"],
            &["worker", "list", "--at"],
            &["message", "send", "x", "--to", "/service/echo", "--from"],
        ] {
            // After `authority-` these make names.
            if matches!(bad, "" | ".hidden") && command.last() == Some(&"--project-identifier") {
                continue;
            }
            // Some are files that are not there, some are no names: never anything else.
            let _ = refused(&kms, &[command, &[bad]].concat(), b"", 64, "invalid");
        }
    }
    // What no shell can pass, files can.
    let nul = kms.file("nul", "{\"a\0b\": {}}");
    let create = [
        "authority",
        "create",
        "--project-identifier",
        "p",
        "--http-address",
        "127.0.0.1:0",
        "--trusted-identities",
    ];
    let _ = refused(&kms, &[&create[..], &[nul.to_str().unwrap()]].concat(), b"", 64, "invalid");
    let _ = refused(&kms, &["project", "enroll", "-"], b"a\0b", 64, "invalid");
    let _ = refused(&kms, &["project", "enroll", "-"], &[0xff; 10], 64, "invalid");
    let _ = refused(&kms, &["project", "enroll", "-"], &vec![b'a'; 2_000_000], 64, "invalid");
}

#[test]
fn command_lines_that_are_wrong() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    for (arguments, code, kind) in [
        (&["vault", "create", "x", "--uri", "issuer"][..], 64, "invalid"),
        (&["vault", "create", "x", "--uri", "kmip:x"], 78, "unsupported"),
        (&["vault", "create", "x", "--uri", "pkcs11:token=t?pin-value=1234"], 64, "invalid"),
        (&["vault", "create", "x", "--uri", "soft:?path=/nowhere/at/all"], 66, "not-found"),
        (&["vault", "create", "x", "--token", "t"], 64, "usage"),
        (&["vault", "create", "x", "--token", "t", "--module-path", "nowhere.so"], 66, "not-found"),
        (&["vault", "create", "x", "--pin", "1234"], 64, "usage"),
        (&["vault", "create", "x", "--passphrase", "hunter2"], 64, "usage"),
        (&["vault", "create", "x", "--passphrase", "-"], 64, "invalid"),
        (&["vault", "create", "x", "--passphrase-file", "nowhere"], 66, "not-found"),
        (&["vault", "create", "default"], 73, "already-exists"),
        (&["vault", "create", "x", "--aws-kms"], 64, "usage"),
        (&["vault", "create", "x", "--uri", "awskms:"], 64, "invalid"),
        (&["vault", "create", "x", "--uri", "awskms:region=eu-west-1;name=k"], 64, "invalid"),
        (
            &["vault", "create", "x", "--uri", "awskms:region=eu-west-1?endpoint=http://192.0.2.1"],
            64,
            "invalid",
        ),
        (&["vault", "move", "default", "--path", "."], 73, "already-exists"),
        (&["identity", "create", "x", "--vault", "nope"], 66, "not-found"),
        (&["identity", "create", "x", "--key-type", "rsa"], 64, "invalid"),
        (&["identity", "create", "x", "--key", "soft:name=nope"], 66, "not-found"),
        (&["identity", "create", "x", "--key", "pkcs11:object=k"], 64, "invalid"),
        (&["identity", "rotate", "alice", "--to-vault", "nope"], 66, "not-found"),
        (&["identity", "rotate", "nobody"], 66, "not-found"),
        (&["identity", "rotate", "alice", "--to-key", "soft:name=nope"], 66, "not-found"),
        (&["credential", "issue", "--for", "nobody"], 66, "not-found"),
        (&["credential", "issue", "--for", "alice", "--ttl", "x5m"], 64, "usage"),
        (&["credential", "issue", "--for", "alice", "--ttl", "0"], 64, "usage"),
        (&["credential", "issue", "--for", "alice", "-a", "has_credential=x"], 64, "invalid"),
        (&["credential", "issue", "--for", "alice", "-a", ""], 64, "invalid"),
        (&["credential", "issue", "--for", "alice", "-a", "a b=c"], 64, "invalid"),
        (&["credential", "issue", "--for", "alice", "--ttl", "100000d"], 64, "invalid"),
        (&["credential", "verify", "--issuer", "alice"], 64, "usage"),
        (&["credential", "verify", "--issuer", "alice", "--credential-path", "nowhere"], 66, "not-found"),
        (&["credential", "verify", "--issuer", "alice", "--credential-path", "."], 64, "invalid"),
        (&["policy", "eval", "a", "--issuer", "alice"], 64, "usage"),
        (&["project", "enroll", "garbage"], 64, "invalid"),
        (&["project", "ticket"], 66, "not-found"),
        (&["project", "ticket", "--revoke", "zz"], 64, "invalid"),
        (&["project", "ticket", "--authority-route", "http://127.0.0.1:1"], 64, "usage"),
        (&["project-member", "add", "nobody"], 64, "invalid"),
        (&["authority", "stop"], 66, "not-found"),
        (&["authority", "show", "nope"], 66, "not-found"),
        (&["node", "delete", "nope", "--yes"], 66, "not-found"),
        (&["node", "create", "x", "--project", "nope"], 66, "not-found"),
        (&["node", "create", "x", "--authority-identity", "8182"], 64, "invalid"),
        (&["node", "create", "x", "--tcp-listener-address", "nowhere"], 64, "invalid"),
        (&["message", "send", "x", "--to", "/node/nope/service/echo"], 66, "not-found"),
        (&["message", "send", "x", "--to", "/service/echo", "--timeout", "soon"], 64, "usage"),
        (&["message", "send", "x", "--to", "/service/echo", "--authority-identity", "82"], 64, "invalid"),
        (&["secure-channel", "create", "--from", "nope", "--to", "/service/api"], 66, "not-found"),
        (&["project", "import", "--project-file", "nowhere"], 66, "not-found"),
        (&["audit", "verify", "nowhere"], 66, "not-found"),
        (&["audit", "verify", "-", "--head", "x"], 64, "invalid"),
        (&["audit", "export"], 66, "not-found"),
        (&["key", "sign", "nope", "x"], 66, "not-found"),
        (&["key", "verify", "x", "--signature", "00"], 64, "usage"),
        (
            &["key", "verify", "x", "--public-key", "00", "--key-type", "p256", "--signature", "00"],
            64,
            "invalid",
        ),
        (&["bogus"], 64, "usage"),
        (&["identity", "list", "extra"], 64, "usage"),
        (&["identity", "list", "--no-input=maybe"], 64, "usage"),
    ] {
        let message = refused(&kms, arguments, b"", code, kind);
        assert!(
            !message.contains("1234") && !message.contains("hunter2"),
            "{arguments:?} repeats a secret: {message}"
        );
    }
}

#[test]
fn secrets_that_are_wrong() {
    let mut kms = Kms::new();
    kms.run_with(&["vault", "create", "locked", "--passphrase", "-"], b"correct horse").code(0);
    let list = ["key", "list", "--vault", "locked", "--passphrase", "-"];
    let message = refused(&kms, &list, b"wrong horse", 77, "denied");
    assert!(!message.contains("horse"));
    let _ = refused(&kms, &list, b"", 64, "invalid");
    let _ = refused(&kms, &list, &[b'x'; 5000], 64, "invalid");
    let _ = refused(&kms, &["key", "list", "--vault", "locked"], b"", 75, "presence");
    let path = kms.path("nowhere");
    let _ =
        refused(&kms, &["key", "list", "--passphrase-file", path.to_str().unwrap()], b"", 66, "not-found");
    // A vault whose key file is gone.
    let kek = kms.path("kek");
    kms.run(&["vault", "create", "filed", "--key-file", kek.to_str().unwrap()]).code(0);
    std::fs::remove_file(kek).unwrap();
    let message = refused(&kms, &["key", "list", "--vault", "filed"], b"", 66, "not-found");
    assert!(message.contains("restore it"), "{message}");
}

#[test]
fn tokens_that_are_wrong() {
    let (_directory, hsm) = SoftHsm::prepare();
    hsm.init("ca");
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.file("pin", format!("{PIN}\n"));
    kms.file("wrong", "0000\n");
    kms.run(&["vault", "list"]).code(0);
    let create = |token: &'static str, pin: &'static str| {
        ["vault", "create", "hsm", "--token", token, "--module-path", MODULE, "--pin-file", pin]
    };
    let message = refused(&kms, &create("ca", "wrong"), b"", 77, "denied");
    assert!(!message.contains("0000"), "{message}");
    let _ = refused(&kms, &create("nope", "pin"), b"", 66, "not-found");
    let _ = refused(&kms, &create("ca", "nowhere"), b"", 66, "not-found");
    // A module that others can write is not loaded.
    let module = kms.path("module.so");
    std::fs::copy(MODULE, &module).unwrap();
    std::fs::set_permissions(&module, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let shown = module.to_str().unwrap().to_owned();
    let _ = refused(
        &kms,
        &["vault", "create", "hsm", "--token", "ca", "--module-path", &shown, "--pin-file", "pin"],
        b"",
        77,
        "denied",
    );

    kms.run(&create("ca", "pin")).code(0);
    kms.run(&["identity", "create", "issuer", "--vault", "hsm"]).code(0);
    kms.run(&["identity", "create", "other", "--vault", "hsm"]).code(0);
    let _ = refused(&kms, &["identity", "create", "x", "--key", "pkcs11:object=nope"], b"", 66, "not-found");
    // Its keys are gone for good; nothing is made anew.
    hsm.init_again("ca");
    let _ = refused(&kms, &["credential", "issue", "--as", "issuer", "--for", "other"], b"", 66, "not-found");
    let _ = refused(&kms, &["identity", "rotate", "issuer", "--dry-run"], b"", 66, "not-found");
    hsm.delete("ca");
    let _ = refused(&kms, &["credential", "issue", "--as", "issuer", "--for", "other"], b"", 66, "not-found");
}

#[test]
fn homes_that_cannot_be() {
    let mut kms = Kms::new();
    kms.file("file", "x");
    for home in ["file", "file/inside"] {
        kms.at(home);
        for command in
            [&["identity", "create"][..], &["identity", "list"], &["vault", "create"], &["authority", "list"]]
        {
            let message = refused(&kms, command, b"", 77, "denied");
            assert!(message.contains("OCKAM_KMS_HOME"), "{message}");
        }
    }
    // Of a newer format, or broken.
    std::fs::create_dir(kms.at("newer").home()).unwrap();
    kms.file("newer/home.json", r#"{"format":99}"#);
    let message = refused(&kms, &["identity", "create"], b"", 78, "unsupported");
    assert!(message.contains("format 99"), "{message}");
    std::fs::create_dir(kms.at("broken").home()).unwrap();
    kms.file("broken/home.json", "{");
    let _ = refused(&kms, &["identity", "create"], b"", 74, "corrupt");
    kms.at("edited").run(&["identity", "create", "alice"]).code(0);
    let record = kms.home().join("identities/alice.json");
    let edited = std::fs::read_to_string(&record)
        .unwrap()
        .replace("\"change_history\": \"81", "\"change_history\": \"82");
    std::fs::write(&record, edited).unwrap();
    let _ = refused(&kms, &["identity", "show", "alice"], b"", 74, "corrupt");
    // Without a home to put things, and without one to look for.
    let output = kms.command(&["identity", "list"]).env_remove("OCKAM_KMS_HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

/// Files are private, whatever the umask says.
#[test]
fn what_is_written_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let kms = Kms::new();
    let program = ockam_kms_tests::ockam_kms();
    let script = format!(
        "umask 0; '{}' identity create a && '{0}' credential issue --as a --for a",
        program.display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("OCKAM_KMS_HOME", kms.home())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut ahead = vec![kms.home()];
    let mut seen = 0;
    while let Some(path) = ahead.pop() {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if path.is_dir() {
            ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 8, "{seen}");
}

#[test]
fn several_processes_at_once() {
    let kms = Kms::new();
    let at_once = |count: usize, arguments: &(dyn Fn(usize) -> Vec<String> + Sync)| -> Vec<Ran> {
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..count)
                .map(|number| {
                    let kms = &kms;
                    scope.spawn(move || {
                        let words = arguments(number);
                        kms.run_apart(&words.iter().map(String::as_str).collect::<Vec<_>>(), b"")
                    })
                })
                .collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        })
    };
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    // Nothing is there yet, not even the home: one vault, one identity, the same for all.
    let same = at_once(8, &|_| words("identity create alice".to_owned()));
    assert!(same.iter().all(|ran| ran.code == 0 && ran.stdout == same[0].stdout), "{same:?}");
    let different = at_once(8, &|number| words(format!("identity create n{number}")));
    assert!(different.iter().all(|ran| ran.code == 0), "{different:?}");
    let vaults = at_once(8, &|_| words("vault create v".to_owned()));
    assert_eq!(vaults.iter().filter(|ran| ran.code == 0).count(), 1, "{vaults:?}");
    assert!(vaults.iter().all(|ran| matches!(ran.code, 0 | 73)), "{vaults:?}");
    let rotations = at_once(4, &|_| words("identity rotate alice".to_owned()));
    assert!(rotations.iter().all(|ran| ran.code == 0), "{rotations:?}");
    let verified = kms.run_apart(&["identity", "verify", "alice", "--output", "json"], b"").code(0).json();
    assert_eq!(verified["changes"], 5);
    let keys = kms.run_apart(&["key", "list", "--vault", "default", "--output", "json"], b"").code(0).json();
    assert_eq!(keys.as_array().unwrap().len(), 9, "one key for each identity, and none left over");
}
