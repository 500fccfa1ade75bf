//! Vaults, identities and locks on a card, through the program.

use ockam_kms_tests::cli::session::Session;
use serde_json::json;

use super::access::with_vault;
use super::{NEW, OLD, enter};

#[test]
fn identities_live_on_a_card_and_move() {
    let Some(card) = enter("program::identities_live_on_a_card_and_move", NEW) else { return };
    let mut kms = with_vault(&card);
    let check = kms.run(&["vault", "check", "card", "--output", "json"]).code(0).json();
    assert_eq!(check["backend"], "yubikey");
    let lines = check["lines"].as_array().unwrap();
    assert!(lines.len() == 15 && lines.iter().all(|line| line["ok"] == true), "{check}");
    let named = check["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|text| text.as_str().unwrap().contains("the file with the PIN"));
    assert!(named, "its files are open to all: {check}");

    let identifier = kms.run(&["identity", "create", "anna", "--vault", "card"]).code(0).stdout;
    let key = |kms: &mut ockam_kms_tests::cli::Kms| {
        let shown = kms.run(&["identity", "show", "anna", "--output", "json"]).code(0).json();
        assert_eq!(shown["identifier"].as_str(), Some(identifier.trim()));
        shown["key"]["uri"].as_str().unwrap_or_default().to_owned()
    };
    // From slot to slot: the old key is destroyed once the new one counts.
    let before = kms.run(&["identity", "rotate", "anna", "--output", "json"]).code(0).json();
    assert_eq!((&before["old_key"]["vault"], &before["new_key"]["vault"]), (&json!("card"), &json!("card")));
    assert_eq!(before["old_key_destroyed"], true, "{before}");
    let slot = |uri: &serde_json::Value| {
        let uri: vault::KeyUri = uri.as_str().unwrap().parse().unwrap();
        uri.text("slot").unwrap().unwrap().to_owned()
    };
    assert_ne!(slot(&before["old_key"]["uri"]), slot(&before["new_key"]["uri"]));
    let _ = key(&mut kms);

    // From software to the card, and back.
    kms.run(&["vault", "create", "soft"]).code(0);
    kms.run(&["identity", "create", "bert", "--vault", "soft"]).code(0);
    let moved =
        kms.run(&["identity", "rotate", "bert", "--to-vault", "card", "--output", "json"]).code(0).json();
    assert_eq!((&moved["changes"], &moved["new_key"]["vault"]), (&json!(2), &json!("card")), "{moved}");
    kms.run(&["identity", "verify", "bert"]).code(0);
    kms.run(&["credential", "issue", "--as", "bert", "--for", "anna", "--attribute", "a=b"]).code(0);
    kms.run(&["identity", "rotate", "bert", "--to-vault", "soft"]).code(0);
    let keys = kms.run(&["key", "list", "--vault", "card", "--output", "json"]).code(0).json();
    let is_left = |key: &serde_json::Value| key["uri"] == moved["new_key"]["uri"];
    assert!(!keys.as_array().unwrap().iter().any(is_left), "{keys}");
}

#[test]
fn a_card_locks_a_software_vault() {
    let Some(card) = enter("program::a_card_locks_a_software_vault", OLD) else { return };
    let mut kms = with_vault(&card);
    kms.run(&["vault", "create", "locked", "--kek", "vault=card"]).code(0);
    let identifier = kms.run(&["identity", "create", "cora", "--vault", "locked"]).code(0).stdout;
    kms.run(&["identity", "rotate", "cora"]).code(0);
    card.pull();
    let away = kms.run(&["identity", "rotate", "cora"]).code(69);
    assert!(away.stderr.contains("YubiKey `12345678`"), "{}", away.stderr);
    card.insert_and_wait();
    kms.run(&["identity", "rotate", "cora"]).code(0);
    kms.run(&["vault", "rekey", "locked", "--own-key-file"]).code(0);
    kms.run(&["identity", "rotate", "cora"]).code(0);
    kms.run(&["vault", "rekey", "locked", "--kek", "vault=card"]).code(0);
    kms.run(&["identity", "rotate", "cora"]).code(0);
    assert_eq!(kms.run(&["identity", "show", "cora"]).code(0).stdout, identifier);
    let refused = kms.run(&["vault", "delete", "card", "--yes"]).code(77);
    assert!(refused.stderr.contains("locks"), "{}", refused.stderr);
    // The lock's key is the card's, and cannot be taken from under it.
    let keys = kms.run(&["key", "list", "--vault", "card"]).code(0).json();
    for key in keys.as_array().unwrap() {
        let name = key["name"].as_str().unwrap();
        let destroyed = kms.run(&["key", "destroy", name, "--vault", "card", "--yes"]);
        assert!(matches!(destroyed.code, 0 | 77), "{destroyed:?}");
    }
    kms.run(&["identity", "rotate", "cora"]).code(0);
}

#[test]
fn a_person_is_told_when_to_touch() {
    let Some(card) = enter("program::a_person_is_told_when_to_touch", NEW) else { return };
    let mut kms = super::access::home();
    let uri = card.uri().with("touch-policy", "always").unwrap().to_string();
    kms.run(&["vault", "create", "card", "--uri", &uri]).code(0);
    kms.run(&["key", "generate", "build", "--vault", "card", "--key-type", "p256"]).code(0);
    let mut session = Session::start(&kms, &["key", "sign", "build", "message", "--vault", "card"]);
    // Told before the card waits, and the card waits until it is touched.
    session.wait_for("Touch YubiKey `12345678` now: it blinks.");
    card.touch();
    let (shown, code) = session.end();
    assert_eq!(code, 0, "{shown}");
}

#[test]
fn a_key_that_was_cut_off_is_removed_by_its_name() {
    let Some(card) = enter("program::a_key_that_was_cut_off_is_removed_by_its_name", NEW) else { return };
    let mut kms = with_vault(&card);
    let generate = ["key", "generate", "build", "--vault", "card", "--key-type", "x25519"];
    card.fault("pull 47");
    kms.run(&generate).code(69);
    card.wait_until_out();
    card.insert_and_wait();
    let again = kms.run(&generate).code(73);
    assert!(
        again.stderr.contains("was cut off") && again.stderr.contains("key destroy build"),
        "{}",
        again.stderr
    );
    kms.run(&["key", "destroy", "build", "--vault", "card", "--dry-run"]).code(0);
    let removed = kms.run(&["key", "destroy", "build", "--vault", "card", "--yes"]).code(0);
    assert_eq!(removed.stdout, "build");
    kms.run(&["key", "destroy", "build", "--vault", "card", "--yes"]).code(66);
    kms.run(&generate).code(0);
}
