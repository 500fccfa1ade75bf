//! Issuers that are given as a history, an issuer bundle, an identifier or a name: what the home knows of them counts, however
//! they are given.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::process::Command;

use ockam_kms_tests::cli::Kms;
use serde_json::{Value, json};

const FULL: [&str; 6] = ["identity", "show", "iss", "--full", "--encoding", "hex"];

/// A home with an issuer, and a credential that it issued.
fn issuer(kms: &mut Kms) -> String {
    kms.at("issuer").run(&["identity", "create", "iss"]).code(0);
    kms.run(&["identity", "create", "member"]).code(0);
    issued(kms)
}

fn issued(kms: &mut Kms) -> String {
    kms.run(&["credential", "issue", "--as", "iss", "--for", "member", "-a", "role=admin"]).code(0).stdout
}

fn history(kms: &mut Kms, home: &str) -> String {
    kms.at(home).run(&FULL).code(0).stdout
}

/// What a credential is found to be, by two verbs: why it is refused, if it is.
#[track_caller]
fn checked(kms: &mut Kms, credential: &str, by: &[&str]) -> Option<String> {
    let given = [&["--credential", credential, "--output", "json"], by].concat();
    let verify = [&["credential", "verify"], &given[..]].concat();
    let said = kms.run(&verify).code(0).json();
    let reason = said["reason"].as_str().map(str::to_owned);
    assert_eq!(said["valid"], json!(reason.is_none()), "{said}");
    let code = if reason.is_some() { 65 } else { 0 };
    assert_eq!(kms.run(&[&verify[..], &["--exit-code"]].concat()).code(code).json(), said);
    let eval = [&["policy", "eval", "(= subject.role \"admin\")"], &given[..]].concat();
    let decision = kms.run(&eval).code(0).json()["decision"].clone();
    assert_eq!(decision, if reason.is_some() { "deny" } else { "allow" });
    let store = [&["credential", "store", "--scope", "s"], &given[..]].concat();
    let _ = kms.run(&store).code(code);
    reason
}

#[track_caller]
fn refused(kms: &mut Kms, credential: &str, by: &[&str], code: &str) {
    let reason = checked(kms, credential, by).unwrap_or_else(|| panic!("{by:?}"));
    assert!(reason.starts_with(&format!("{code}: ")), "{by:?}: {reason}");
}

#[test]
fn a_history_from_before_a_revocation_does_not_count() {
    let mut kms = Kms::new();
    let credential = issuer(&mut kms);
    let old = history(&mut kms, "issuer");
    // The control: where nothing is known, what is given is all there is.
    assert_eq!(checked(kms.at("stranger"), &credential, &["--issuer-bundle", &old]), None);
    kms.at("issuer").run(&["identity", "rotate", "iss", "--revoke-purpose-keys"]).code(0);
    let new = history(&mut kms, "issuer");
    kms.at("verifier").run(&["identity", "create", "iss", "--identity", &new]).code(0);
    let identifier = kms.run(&["identity", "show", "iss"]).code(0).stdout;
    kms.file("old.hex", &old);
    // Its owner knows what it attests now.
    for (home, over) in [("issuer", "not-latest-change"), ("verifier", "revoked")] {
        kms.at(home);
        refused(&mut kms, &credential, &["--issuer", "iss"], over);
        for by in [
            &["--issuer-bundle", &*old][..],
            &["--issuer-bundle", "old.hex"],
            &["--issuer", "old.hex"],
            &["--issuer", &old],
            &["--issuer", "iss", "--issuer-bundle", "old.hex"],
            &["--issuer", &identifier, "--issuer-bundle", "old.hex"],
            &["--issuer", &new, "--issuer-bundle", &old],
        ] {
            refused(&mut kms, &credential, by, "older");
        }
        refused(&mut kms, &credential, &["--issuer", &old, "--issuer-bundle", &new], "revoked");
        refused(&mut kms, &credential, &["--issuer-bundle", &new], "revoked");
    }
    // Of two that are given, the older one does not count either, also where nothing is known.
    kms.at("stranger");
    refused(&mut kms, &credential, &["--issuer", &new, "--issuer-bundle", &old], "older");
    // Nor does an older history of a subject.
    kms.at("verifier").run(&["identity", "create", "me"]).code(0);
    let issue = ["credential", "issue", "--as", "me", "--output", "json", "--for"];
    let _ = kms.run(&[&issue[..], &[&new]].concat()).code(0);
    let error = kms.run(&[&issue[..], &[&old]].concat()).code(65).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("older"), "{error}");
    // A newer one than is known counts.
    let before = kms.at("issuer").run(&["identity", "rotate", "iss"]).code(0);
    assert_eq!(before.stderr.matches("error").count(), 0);
    let (newest, credential) = (history(&mut kms, "issuer"), issued(&mut kms));
    assert_eq!(checked(kms.at("verifier"), &credential, &["--issuer-bundle", &newest]), None);
}

#[test]
fn a_history_that_contradicts_the_known_one_does_not_count() {
    let mut kms = Kms::new();
    issuer(&mut kms);
    let (from, to) = (kms.path("issuer"), kms.path("thief"));
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    let mut forked = |home: &str| {
        kms.at(home).run(&["identity", "rotate", "iss", "--keep-old-key"]).code(0);
        let credential = issued(&mut kms);
        (history(&mut kms, home), credential)
    };
    let ((mine, good), (theirs, bad)) = (forked("issuer"), forked("thief"));
    let conflicts = |kms: &mut Kms| kms.run(&["conflict", "list", "--output", "json"]).code(0).json();
    assert_eq!(checked(kms.at("stranger"), &bad, &["--issuer-bundle", &theirs]), None);
    // One's own is no matter for anybody to decide.
    kms.at("issuer");
    refused(&mut kms, &bad, &["--issuer-bundle", &theirs], "conflict");
    assert_eq!(conflicts(&mut kms), json!([]));

    let identifier =
        kms.at("verifier").run(&["identity", "create", "iss", "--identity", &mine]).code(0).stdout;
    assert_eq!(checked(&mut kms, &good, &["--issuer-bundle", &mine]), None);
    assert_eq!(conflicts(&mut kms), json!([]));
    refused(&mut kms, &bad, &["--issuer-bundle", &theirs], "conflict");
    let kept = conflicts(&mut kms);
    let sides =
        |one: &Value| [one["known"].clone(), one["shown"].clone()].map(|side| side["change_history"].clone());
    assert_eq!(sides(&kept[0]), [json!(mine), json!(theirs)]);
    // From then on it is blocked, by whatever it is named.
    for by in [
        &["--issuer", "iss"][..],
        &["--issuer", &identifier],
        &["--issuer", &mine],
        &["--issuer-bundle", &mine],
        &["--issuer-bundle", &theirs],
        &["--issuer", "iss", "--issuer-bundle", &mine],
    ] {
        refused(&mut kms, &good, by, "conflict");
    }
    assert_eq!(conflicts(&mut kms), kept);
    kms.run(&["conflict", "decide", &identifier, "--keep", "known"]).code(0);
    for by in [&["--issuer", "iss"][..], &["--issuer", &identifier], &["--issuer-bundle", &mine]] {
        assert_eq!(checked(&mut kms, &good, by), None, "{by:?}");
    }
    // What was decided against is refused, and blocks nothing any more.
    refused(&mut kms, &bad, &["--issuer-bundle", &theirs], "conflict");
    assert_eq!(checked(&mut kms, &good, &["--issuer", "iss"]), None);
}
