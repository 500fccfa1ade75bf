//! From a device's own words to a member: a card attests a key, the evidence is judged without the card, and an authority
//! whose policy asks for it admits the identity behind that key and no other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::piv::PivCard;
use serde_json::json;

const CARD: &str = env!("CARGO_BIN_EXE_virtual-piv-card");

/// The certificate of the card's maker, as PEM.
fn maker(card: &PivCard) -> String {
    let der = std::fs::read(card.directory().join("card/maker.der")).unwrap();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

/// A home that knows the card.
fn home(card: &PivCard) -> Kms {
    let mut kms = Kms::new();
    kms.set("PCSCLITE_CSOCK_NAME", std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap());
    kms.file("maker.pem", maker(card));
    kms
}

#[test]
fn a_card_attests_its_keys_and_only_its_maker_is_believed() {
    let test = "a_card_attests_its_keys_and_only_its_maker_is_believed";
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.7.1") else { return };
    let mut kms = home(&card);
    kms.run(&["vault", "create", "card", "--uri", &card.uri().to_string()]).code(0);
    for key_type in ["p256", "ed25519"] {
        kms.run(&["key", "generate", key_type, "--key-type", key_type]).code(0);
        let said = kms.run(&["key", "attest", key_type]).code(0).stdout;
        let judge = ["key", "attest", "verify", said.trim(), "--output", "json"];
        let judged = kms.run(&[&judge[..], &["--ca", "maker.pem"]].concat()).code(0).json();
        assert_eq!(judged["kind"], "piv-attestation", "{judged}");
        assert_eq!(
            judged["attributes"],
            json!({"key.protection": "attested", "key.exportable": "false", "key.touch": "never"}),
            "{judged}"
        );
        assert_eq!(judged["device"]["firmware"], "5.7.1", "{judged}");
        // Nobody is believed without being named.
        let refused = kms.run(&judge).code(65).json();
        assert_eq!(refused["valid"], false, "{refused}");
        // One bit of it changed, and it is nothing.
        let (start, last) = said.trim().split_at(said.trim().len() - 1);
        let altered = format!("{start}{}", if last == "0" { "1" } else { "0" });
        kms.run(&["key", "attest", "verify", &altered, "--ca", "maker.pem"]).code(65);
    }
}

#[test]
fn an_authority_admits_an_attested_key_and_no_other() {
    let test = "an_authority_admits_an_attested_key_and_no_other";
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.4.3") else { return };
    let mut kms = home(&card);
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    kms.file("trusted.json", json!({ enroller.trim(): { "ockam-role": "enroller" } }).to_string());
    kms.at("authority");
    let create =
        ["authority", "create", "--project-identifier", "demo", "--trusted-identities", "trusted.json"];
    let policy =
        "(and (= key.protection \"attested\") (= key.exportable \"false\") (= subject.role \"member\"))";
    let asks = ["--enrolment-policy", policy, "--key-attestation-ca", "maker.pem"];
    kms.run(&[&create[..], &["--http-address", "127.0.0.1:0"], &asks].concat()).code(0);
    let shown = kms.run_apart(&["authority", "show", "--output", "json"], b"").code(0).json();
    let url = format!("http://{}", shown["http_address"].as_str().unwrap());
    let show = ["identity", "show", "authority-demo", "--full", "--encoding", "hex"];
    let history = kms.run_apart(&show, b"").code(0).stdout;
    let ticket = [
        "project",
        "ticket",
        "-a",
        "role=member",
        "--authority-route",
        &url,
        "--authority-identity",
        &history,
    ];
    let ticket = kms.at("enroller").run(&ticket).code(0).stdout;

    // Software says nothing of where its keys live, and without a word nobody is admitted.
    kms.at("software").run(&["identity", "create", "soft"]).code(0);
    let refused = kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    assert!(refused.stderr.contains("showed no key attestation"), "{}", refused.stderr);
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(78);
    // The ticket is not spent: the card's identity enrols by it.
    kms.at("member").run(&["vault", "create", "card", "--uri", &card.uri().to_string()]).code(0);
    kms.run(&["identity", "create", "member", "--vault", "card"]).code(0);
    kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(0);
    kms.run(&["project", "enroll"]).code(0);
}
