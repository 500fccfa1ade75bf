//! `doctor` finds what is made wrong here, and says what to do about it; what is well is well.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use home::control::{Answer, ControlSocket};
use home::rotation::Moment;
use home::{Home, Name, ServerRecord};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::rotation::cut_off;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use serde_json::{Value, json};

/// A home with an identity that has issued, in a vault of the home.
fn world() -> Kms {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    kms.run(&["credential", "issue", "--as", "alice", "--for", "alice"]).code(0);
    kms
}

fn findings(kms: &Kms, more: &[&str]) -> (i32, Vec<Value>) {
    let ran = kms.run_apart(&[&["doctor", "--output", "json"], more].concat(), b"");
    let json = ran.json();
    assert_eq!(json["well"], ran.code == 0, "{json}");
    let findings = json["findings"].as_array().unwrap().clone();
    // The lock of a software vault lies beside it, in every home here.
    let news = |finding: &Value| !finding["message"].as_str().unwrap().contains("lies beside the keys");
    (ran.code, findings.into_iter().filter(news).collect())
}

/// The one kind of thing that is wrong, and what is said to do.
#[track_caller]
fn finds_with(kms: &Kms, more: &[&str], severity: &str, check: &str, message: &str, hint: &str) {
    let (code, found) = findings(kms, more);
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let is_it = |finding: &Value| {
        text(finding, "severity") == severity
            && text(finding, "check") == check
            && text(finding, "message").contains(message)
            && text(finding, "hint").contains(hint)
    };
    assert!(found.iter().any(is_it), "no {severity} of {check}, `{message}`, `{hint}`, in {found:#?}");
    assert_eq!(code, if severity == "fault" { 65 } else { 0 }, "{found:#?}");
    assert!(found.iter().all(|finding| !text(finding, "hint").is_empty()), "{found:#?}");
}

#[track_caller]
fn finds(kms: &Kms, severity: &str, check: &str, message: &str, hint: &str) {
    finds_with(kms, &[], severity, check, message, hint);
}

#[test]
fn what_is_well_is_well_and_looking_changes_nothing() {
    let kms = world();
    let before = kms.state();
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
    assert_eq!(kms.state(), before);
    let nothing = Kms::new();
    finds(&nothing, "fault", "home", "there is no home", "identity create");
    assert!(!nothing.home().exists());
}

#[test]
fn files() {
    let kms = world();
    let record = kms.home().join("identities/alice.json");
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set(&record, 0o640);
    finds(&kms, "fault", "files", "is open to others (mode 640)", "chmod go=");
    set(&record, 0o600);
    set(&kms.home().join("vaults"), 0o755);
    finds(&kms, "fault", "files", "is open to others (mode 755)", "chmod go=");
    set(&kms.home().join("vaults"), 0o700);
    for left in ["identities/.new-alice.json-0123456789abcdef", "identities/audit-0123456789abcdef.jsonl"] {
        let left = kms.home().join(left);
        fs::write(&left, "").unwrap();
        set(&left, 0o600);
        finds(&kms, "fault", "files", "was never finished", "rm ");
        // Somebody may be writing it right now.
        let writer = Home::open(kms.home()).unwrap().write().unwrap();
        let (code, found) = findings(&kms, &[]);
        assert_eq!((code, found.len()), (0, 1), "{found:#?}");
        finds(&kms, "warning", "home", "another process is writing", "when it has ended");
        drop(writer);
        fs::remove_file(left).unwrap();
    }
    symlink("/etc/passwd", kms.home().join("identities/link.json")).unwrap();
    finds(&kms, "fault", "files", "is a symbolic link", "put in its place");
    fs::remove_file(kms.home().join("identities/link.json")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&record, Some(65534), None).unwrap();
        finds(&kms, "fault", "files", "belongs to another user (65534)", "chown 0");
        std::os::unix::fs::chown(&record, Some(0), None).unwrap();
    }
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
    let header = kms.home().join("home.json");
    fs::write(&header, r#"{"format":9999}"#).unwrap();
    finds(&kms, "fault", "home", "of format 9999, newer", "use the program that wrote it");
}

#[test]
fn the_clock() {
    let kms = world();
    let record = fs::File::options().write(true).open(kms.home().join("identities/alice.json")).unwrap();
    let written = record.metadata().unwrap().modified().unwrap();
    record.set_modified(written + Duration::from_secs(1000)).unwrap();
    finds(&kms, "fault", "clock", "seconds in the future", "set this machine's clock right");
}

#[test]
fn vaults_and_their_keys() {
    let mut kms = world();
    kms.file("passphrase", "correct horse\n");
    kms.run(&["vault", "create", "locked", "--passphrase-file", "passphrase"]).code(0);
    finds(&kms, "warning", "vault", "the vault `locked` is locked", "--passphrase-file");
    let opened = ["--passphrase-file", "passphrase"];
    assert_eq!(findings(&kms, &opened), (0, Vec::new()));
    kms.file("wrong", "horse\n");
    finds_with(
        &kms,
        &["--passphrase-file", "wrong"],
        "fault",
        "vault",
        "does not open the vault",
        "give the one",
    );
    kms.run(&["vault", "delete", "locked", "--yes"]).code(0);

    kms.run(&["vault", "create", "away", "--path", "away"]).code(0);
    fs::set_permissions(kms.path("away/vault.json"), Permissions::from_mode(0o644)).unwrap();
    finds(&kms, "fault", "files", "away/vault.json` is open to others", "chmod go=");
    fs::remove_dir_all(kms.path("away")).unwrap();
    finds(&kms, "fault", "vault", "the vault `away` cannot be opened", "");
    kms.run(&["vault", "delete", "away", "--yes"]).code(0);

    // A key file that lies elsewhere is as secret as a PIN.
    kms.run(&["vault", "create", "apart", "--key-file", "apart.kek"]).code(0);
    let warnings = |kms: &mut Kms| {
        kms.run(&["vault", "check", "apart", "--output", "json"]).code(0).json()["warnings"].to_string()
    };
    assert_eq!((findings(&kms, &[]), &*warnings(&mut kms)), ((0, Vec::new()), "[]"));
    fs::set_permissions(kms.path("apart.kek"), Permissions::from_mode(0o666)).unwrap();
    finds(&kms, "fault", "vault", "apart.kek`, is open to others (mode 666)", "vault rekey");
    let warned = warnings(&mut kms);
    assert!(warned.contains("the key file that locks it") && warned.contains("mode 666"), "{warned}");
    kms.run(&["vault", "delete", "apart", "--yes"]).code(0);

    vault::durable::create_dir(&kms.home().join("vaults/stray")).unwrap();
    finds(&kms, "fault", "vault", "is a vault that nothing names", "look for keys of yours");
    fs::remove_dir(kms.home().join("vaults/stray")).unwrap();

    kms.run(&["key", "generate", "alice-0123456789abcdef"]).code(0);
    finds(&kms, "warning", "vault", "no identity here names the key", "ockam-kms key destroy");
    kms.run(&["key", "destroy", "alice-0123456789abcdef", "--yes"]).code(0);
    // A name that was chosen is its owner's affair.
    kms.run(&["key", "generate", "build"]).code(0);
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
}

#[test]
fn tokens() {
    let (_directory, hsm) = SoftHsm::prepare();
    hsm.init("ca");
    let mut kms = world();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.file("pin", format!("{PIN}\n"));
    fs::set_permissions(kms.path("pin"), Permissions::from_mode(0o600)).unwrap();
    let create = ["vault", "create", "hsm", "--token", "ca", "--module-path", MODULE, "--pin-file", "pin"];
    kms.run(&create).code(0);
    kms.run(&["identity", "create", "issuer", "--vault", "hsm", "--key-type", "p256"]).code(0);
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
    fs::set_permissions(kms.path("pin"), Permissions::from_mode(0o644)).unwrap();
    finds(&kms, "fault", "vault", "the file with the PIN", "change the PIN");
    fs::set_permissions(kms.path("pin"), Permissions::from_mode(0o600)).unwrap();
    kms.file("pin", "0000\n");
    finds(&kms, "fault", "vault", "the vault `hsm` cannot be opened", "");
    kms.file("pin", format!("{PIN}\n"));
    // The token is exchanged for another of its name; then for none.
    fs::rename(hsm.tokens(), hsm.tokens().with_extension("away")).unwrap();
    fs::create_dir(hsm.tokens()).unwrap();
    finds(&kms, "fault", "vault", "there is no token `ca`", "");
    hsm.init("ca");
    let (code, found) = findings(&kms, &[]);
    assert!(code == 65 && found.iter().any(|one| one["check"] == "identity"), "{found:#?}");
    // A module that others may write runs with our rights.
    let module = kms.path("module.so");
    fs::copy(MODULE, &module).unwrap();
    fs::set_permissions(&module, Permissions::from_mode(0o666)).unwrap();
    let record = kms.home().join("vaults/hsm.json");
    let text = fs::read_to_string(&record).unwrap().replace(MODULE, module.to_str().unwrap());
    fs::write(&record, text).unwrap();
    finds(&kms, "fault", "vault", "module.so", "");
}

#[test]
fn identities() {
    let kms = world();
    let keys = kms.home().join("vaults/default/keys");
    let away = kms.path("away");
    fs::rename(&keys, &away).unwrap();
    fs::create_dir(&keys).unwrap();
    fs::set_permissions(&keys, Permissions::from_mode(0o700)).unwrap();
    finds(&kms, "fault", "identity", "the primary key of `alice`", "");
    finds(&kms, "fault", "identity", "the credential key of `alice`", "");
    fs::remove_dir(&keys).unwrap();
    fs::rename(&away, &keys).unwrap();
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));

    let record = kms.home().join("identities/alice.json");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, whole.replace("\"attestation\": \"82", "\"attestation\": \"83")).unwrap();
    finds(&kms, "fault", "identity", "the credential key of `alice`", "");
    fs::write(&record, whole.replace("\"change_history\": \"81", "\"change_history\": \"82")).unwrap();
    finds(&kms, "fault", "identity", "does not verify", "restore it from a backup");
    fs::write(&record, &whole).unwrap();

    // Two histories of one identity.
    let identifier = kms.run_apart(&["identity", "show"], b"").code(0).stdout;
    let conflicts = kms.home().join("conflicts");
    vault::durable::create_dir(&conflicts).unwrap();
    let evidence = json!({ "format": 1, "record": { "known": "", "shown": "", "at": 0 } }).to_string();
    vault::durable::write_new(&conflicts.join(format!("{identifier}.json")), evidence.as_bytes()).unwrap();
    finds(&kms, "fault", "identity", "contradict each other", "a key of it was misused");
    fs::remove_dir_all(conflicts).unwrap();

    // A request key that is none.
    let requests = kms.home().join("request-keys");
    vault::durable::create_dir(&requests).unwrap();
    let broken = json!({ "format": 1, "record": { "key": "k", "attestation": "82" } }).to_string();
    vault::durable::write_new(&requests.join(format!("{identifier}.json")), broken.as_bytes()).unwrap();
    finds(&kms, "fault", "identity", "the request key of `alice`", "remove it from `request-keys`");
}

#[test]
fn rotations() {
    let kms = world();
    cut_off(&kms.home(), "alice", Moment::Signed);
    finds(&kms, "fault", "rotation", "a rotation of the identity `alice` was cut off", "goes on with it");
    // What it says to do, done.
    let _ = kms.run_apart(&["identity", "default", "alice"], b"").code(0);
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
}

#[test]
fn servers() {
    let kms = world();
    let home = Home::open(kms.home()).unwrap();
    let name = Name::new("authority-p").unwrap();
    let record = |identity: &str| ServerRecord {
        identity: identity.to_owned(),
        ..serde_json::from_value(json!({
            "kind": "authority", "pid": std::process::id(), "identity": "", "project": "p",
            "http_address": null, "store": "memory:", "tls": false,
        }))
        .unwrap()
    };
    let put = |identity: &str| home.put_server(&home.write().unwrap(), &name, &record(identity)).unwrap();
    put("alice");
    finds(&kms, "warning", "server", "`authority-p` does not run", "authority create");
    put("nobody");
    finds(&kms, "fault", "server", "is for the identity `nobody`, which is not here", "restore");
    put("alice");
    // One that runs, as far as its lock says, and is stuck; then one that is not ready, and of another version.
    let _lock = home.lock_server(&name).unwrap();
    finds(&kms, "fault", "server", "runs and does not answer", "");
    let status = |ready: bool, version: &'static str| {
        ControlSocket::serve(&home.control_socket(&name), move |_| {
            Answer::Done(json!({ "name": "authority-p", "ready": ready, "version": version }))
        })
        .unwrap()
    };
    let ours = kms.run_apart(&["version"], b"").code(0).stdout;
    let ours: &'static str = Box::leak(ours.into_boxed_str());
    let socket = status(false, ours);
    finds(&kms, "fault", "server", "is not ready", "its log says why");
    drop(socket);
    let socket = status(true, "0.0.9");
    finds(&kms, "warning", "server", "is of version 0.0.9", "authority stop");
    drop(socket);
    let _socket = status(true, ours);
    assert_eq!(findings(&kms, &[]), (0, Vec::new()));
}
