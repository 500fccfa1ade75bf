//! From a device's own words to a member: a card or a TPM attests a key, the evidence is judged without the card, and an authority
//! whose policy asks for it admits the identity behind that key and no other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::{Anchors, KeyAttestation, KeyFacts, Protection};
use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::piv::PivCard;
use ockam_kms_tests::swtpm::{AUTH, Swtpm};
use ockam_kms_tests::tpmca::{DERIVED, TpmCa};
use serde_json::json;
use tpm::TpmBackend;
use vault::{
    Algorithm, Backend as _, Custody, KeyHandle, KeyName, KeySpec, Kind, Nobody, Signing, Vault,
    VerifyingKey, block_on,
};

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
            json!({"key.protection": "attested", "key.exportable": "false", "key.touch": "never", "key.weakness": "none"}),
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

/// An authority whose enrolment policy wants an attested key, under this CA; and a ticket for it.
fn authority(kms: &mut Kms, ca: &str) -> String {
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    kms.file("trusted.json", json!({ enroller.trim(): { "ockam-role": "enroller" } }).to_string());
    kms.at("authority");
    let create =
        ["authority", "create", "--project-identifier", "demo", "--trusted-identities", "trusted.json"];
    let policy =
        "(and (= key.protection \"attested\") (= key.exportable \"false\") (= subject.role \"member\"))";
    let asks = ["--enrolment-policy", policy, "--key-attestation-ca", ca];
    kms.run(&[&create[..], &["--http-address", "127.0.0.1:0"], &asks].concat()).code(0);
    let shown = kms.run_apart(&["authority", "show", "--output", "json"], b"").code(0).json();
    let url = format!("http://{}", shown["http_address"].as_str().unwrap());
    let show = ["identity", "show", "authority-demo", "--full", "--encoding", "hex"];
    let history = kms.run_apart(&show, b"").code(0).stdout;
    let ticket = ["project", "ticket", "-a", "role=member", "--authority-route", &url];
    let ticket = [&ticket[..], &["--authority-identity", &history]].concat();
    kms.at("enroller").run(&ticket).code(0).stdout
}

#[test]
fn an_authority_admits_an_attested_key_and_no_other() {
    let test = "an_authority_admits_an_attested_key_and_no_other";
    let Some(card) = PivCard::enter(test, Path::new(CARD), "5.4.3") else { return };
    let mut kms = home(&card);
    let ticket = authority(&mut kms, "maker.pem");

    // Software says nothing of where its keys live, and without a word nobody is admitted.
    kms.at("software").run(&["identity", "create", "soft"]).code(0);
    let refused = kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    assert!(refused.stderr.contains("showed no key attestation"), "{}", refused.stderr);
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(78);
    // The ticket is not spent: the card's identity enrols by it.
    kms.at("member").run(&["vault", "create", "card", "--uri", &card.uri().to_string()]).code(0);
    kms.run(&["identity", "create", "member", "--vault", "card"]).code(0);
    // What is known of this firmware is said, and a policy could ask for it.
    kms.run(&["key", "generate", "weak", "--key-type", "p256"]).code(0);
    let said = kms.run(&["key", "attest", "weak"]).code(0).stdout;
    let judge = ["key", "attest", "verify", said.trim(), "--ca", "maker.pem", "--output", "json"];
    let judged = kms.run(&judge).code(0).json();
    assert_eq!(judged["attributes"]["key.weakness"], "known", "{judged}");
    assert_eq!(judged["weaknesses"], json!(["CVE-2024-45678 (EUCLEAK, YSA-2024-03)"]), "{judged}");
    kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(0);
    kms.run(&["project", "enroll"]).code(0);
}

/// What the certificate of an attestation key is for (tcg-kp-AIKCertificate).
const ATTESTATION: &str = "2.23.133.8.3";

/// A vault on this TPM whose attestation key these certificates are of.
fn vault_on(kms: &mut Kms, tpm: &Swtpm, key: Option<&str>, chain: &str) {
    let file = kms.file("ak.pem", chain);
    let uri =
        tpm.uri("v").without("path").with("attestation-certificate", format!("file:{}", file.display()));
    let uri = key.into_iter().fold(uri.unwrap(), |uri, key| uri.with("attestation-key", key).unwrap());
    kms.run(&["vault", "create", "tpm", "--uri", &uri.to_string()]).code(0);
}

fn judged(kms: &mut Kms, attestation: &str, ca: &str, code: i32) -> serde_json::Value {
    let judge = ["key", "attest", "verify", attestation.trim(), "--ca", ca, "--output", "json"];
    kms.run(&judge).code(code).json()
}

#[test]
fn a_tpm_certifies_its_keys_and_only_a_known_ca_is_believed() {
    let (tpm, ca) = (Swtpm::start(), TpmCa::new());
    let endorsement = ca.manufacture(&tpm);
    tpm.tool(DERIVED);
    tpm.tool("tpm2_flushcontext -t");
    let mut kms = Kms::new();
    kms.file("root.pem", ca.root());
    kms.file("other.pem", TpmCa::new().root());
    vault_on(&mut kms, &tpm, None, &ca.certify(&tpm, &endorsement, ATTESTATION));
    for name in ["one", "two"] {
        kms.run(&["key", "generate", name, "--key-type", "p256"]).code(0);
    }
    let said = kms.run(&["key", "attest", "one"]).code(0).stdout;
    let good = judged(&mut kms, &said, "root.pem", 0);
    assert_eq!(good["kind"], "tpm-certify", "{good}");
    assert_eq!(
        good["attributes"],
        json!({"key.protection": "attested", "key.exportable": "false", "key.touch": "never", "key.weakness": "unknown"}),
        "{good}"
    );
    assert!(good["device"]["firmware"].as_str().is_some_and(|firmware| firmware.len() == 16), "{good}");
    // Without the TPM, and without its vault.
    assert_eq!(judged(kms.at("elsewhere"), &said, "root.pem", 0)["valid"], true);
    kms.at("home");
    for (ca, words) in [("other.pem", "none that is trusted"), ("/dev/null", "")] {
        let judge = ["key", "attest", "verify", said.trim(), "--ca", ca, "--output", "json"];
        let refused = kms.run(&judge);
        assert!(matches!(refused.code, 64 | 65) && refused.stdout.contains(words), "{refused:?}");
    }
    // The TPM's word about one key is none about another, be it the TPM's own or one in software.
    let bytes = hex::decode(said.trim()).unwrap();
    let read = || KeyAttestation::decode(&bytes).unwrap();
    let other = kms.run(&["key", "attest", "two", "--output", "json"]).code(0).json();
    let software = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let software = hex::encode(software.verifying_key().to_sec1_point(false).as_bytes());
    for public in [other["public_key"].as_str().unwrap(), &software] {
        let public = VerifyingKey::from_bytes(Algorithm::EcdsaP256, &hex::decode(public).unwrap()).unwrap();
        let swapped = KeyAttestation::new(public, read().into_evidence(), read().made_at()).encode().unwrap();
        let refused = judged(&mut kms, &hex::encode(swapped), "root.pem", 65);
        assert!(refused["reason"].as_str().unwrap().contains("describes another key"), "{refused}");
    }
    // One bit of it changed, and it is nothing; only when it was made is nobody's word but its sender's.
    let (anchors, now) = (Anchors::from_pem(ca.root().as_bytes()).unwrap(), read().made_at());
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1 << (place % 8);
        let Ok(altered) = KeyAttestation::decode(&altered) else { continue };
        assert!(
            altered.verify(&anchors, now).is_err() || altered.made_at() != now,
            "byte {place} of {}",
            bytes.len()
        );
    }
    // Software has nobody to say it.
    kms.run(&["vault", "create", "soft"]).code(0);
    kms.run(&["key", "generate", "three", "--vault", "soft"]).code(0);
    kms.run(&["key", "attest", "three", "--vault", "soft"]).code(78);
    assert_eq!(tpm.held().0, 0, "nothing is left in the TPM");
}

#[test]
fn certificates_that_are_not_of_an_attestation_key_prove_nothing() {
    let (tpm, ca) = (Swtpm::start(), TpmCa::new());
    let endorsement = ca.manufacture(&tpm);
    // A key that somebody else made there: RSA, below the endorsement key, kept under a handle.
    tpm.tool("tpm2_createak -C ek.ctx -G rsa -g sha256 -s rsassa -c ak.ctx -u ak.public");
    tpm.tool("tpm2_flushcontext -t");
    tpm.tool("tpm2_evictcontrol -C o -c ak.ctx 0x81010002");
    tpm.tool("tpm2_flushcontext -t");
    let mut kms = Kms::new();
    kms.file("root.pem", ca.root());
    let chain = ca.certify(&tpm, &endorsement, ATTESTATION);
    vault_on(&mut kms, &tpm, Some("0x81010002"), &chain);
    kms.run(&["key", "generate", "one", "--key-type", "p256"]).code(0);
    let said = kms.run(&["key", "attest", "one"]).code(0).stdout;
    let good = judged(&mut kms, &said, "root.pem", 0);
    assert_eq!(good["attributes"]["key.protection"], "attested", "{good}");
    // The same key, certified for something else.
    kms.file("ak.pem", ca.certify(&tpm, &endorsement, "clientAuth"));
    let said = kms.run(&["key", "attest", "one"]).code(0).stdout;
    let refused = judged(&mut kms, &said, "root.pem", 65);
    assert!(refused["reason"].as_str().unwrap().contains("attestation key"), "{refused}");
    // A certificate of another key is noticed before anything is sent to anybody.
    tpm.tool(DERIVED);
    tpm.tool("tpm2_flushcontext -t");
    kms.file("ak.pem", ca.certify(&tpm, &endorsement, ATTESTATION));
    let refused = kms.run(&["key", "attest", "one"]).code(64);
    assert!(refused.stderr.contains("is not that of the attestation key `0x81010002`"), "{}", refused.stderr);
    for (text, code) in [("", 64), ("-----BEGIN CERTIFICATE-----\n", 64)] {
        kms.file("ak.pem", text);
        kms.run(&["key", "attest", "one"]).code(code);
    }
    std::fs::remove_file(kms.path("ak.pem")).unwrap();
    kms.run(&["key", "attest", "one"]).code(66);
    // Keys that would sign anything, or are not there, certify nothing.
    kms.file("ak.pem", &chain);
    let uri = |key: &str| {
        let file = format!("file:{}", kms.path("ak.pem").display());
        tpm.uri("w")
            .with("attestation-certificate", file)
            .unwrap()
            .with("attestation-key", key)
            .unwrap()
            .to_string()
    };
    let (loose, none) = (uri("0x81010003"), uri("0x81010009"));
    tpm.tool("tpm2_createprimary -C o -G ecc:ecdsa-sha256 -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign -c l.ctx");
    tpm.tool("tpm2_evictcontrol -C o -c l.ctx 0x81010003");
    tpm.tool("tpm2_flushcontext -t");
    for (name, uri, code, words) in
        [("loose", loose, 77, "lacks the attribute restricted"), ("none", none, 66, "0x81010009")]
    {
        kms.run(&["vault", "create", name, "--uri", &uri]).code(0);
        kms.run(&["key", "generate", name, "--vault", name, "--key-type", "p256"]).code(0);
        let refused = kms.run(&["key", "attest", name, "--vault", name]).code(code);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

/// What a vault says of a key, judged as if nobody had certified the TPM.
fn attest(vault: &Arc<dyn Vault>, key: &KeyHandle<Signing>) -> vault::Result<KeyFacts> {
    let said = block_on(vault.attestation().unwrap().attest(key))?;
    Ok(KeyAttestation::new(key.public().clone(), said, 0).verify(&Anchors::none(), 0).unwrap())
}

#[test]
fn a_tpm_certifies_whatever_happens_to_it() {
    let mut tpm = Swtpm::start();
    let backend = TpmBackend::new().with_deadline(Duration::from_secs(120));
    let vault = block_on(backend.create(&tpm.uri("v"), Arc::new(Nobody))).unwrap();
    let signing = vault.signing().unwrap();
    let keys: Vec<_> = ["a", "b", "c"]
        .map(|name| block_on(signing.generate(&KeySpec::p256(KeyName::new(name).unwrap()))).unwrap())
        .into();
    for key in keys.iter().cycle().take(9) {
        let facts = attest(&vault, key).unwrap();
        assert!(!facts.exportable && facts.protection == Protection::Hardware);
    }
    let (objects, sessions) = tpm.held();
    assert!(objects <= 1 && sessions <= 1, "{objects} objects, {sessions} sessions");
    // Other programs hold the slots: nothing of theirs is taken, nothing of ours stays.
    let fill = || while tpm.try_tool("tpm2_createprimary -C n -G ecc -c other.ctx").is_ok() {};
    fill();
    let error = attest(&vault, &keys[0]).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    tpm.tool("tpm2_flushcontext -t");
    let _facts = attest(&vault, &keys[0]).unwrap();
    for round in 0..2 {
        tpm.kill();
        let error = attest(&vault, &keys[1]).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "round {round}: {error}");
        tpm.restart();
        let _facts = attest(&vault, &keys[1]).unwrap();
    }
    // One that somebody else made, and that the TPM keeps.
    tpm.tool("tpm2_flushcontext -t");
    tpm.tool("tpm2_createprimary -C o -G ecc -c p.ctx");
    tpm.tool("tpm2_flushcontext -t");
    let template = "-G ecc:ecdsa-sha256 -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    tpm.tool(&format!("tpm2_create -C p.ctx {template} -p {AUTH} -u k.pub -r k.priv -c k.ctx"));
    tpm.tool("tpm2_flushcontext -t");
    tpm.tool("tpm2_evictcontrol -C o -c k.ctx 0x81000001");
    tpm.tool("tpm2_flushcontext -t");
    let kept =
        block_on(Custody::<Signing>::open(signing, &"tpm:persistent=0x81000001".parse().unwrap())).unwrap();
    assert!(!attest(&vault, &kept).unwrap().exportable);
    // A wrong value for the key is the key's, and counted once.
    std::fs::write(tpm.auth_file(), "wrong").unwrap();
    for _ in 0..3 {
        let vault = block_on(backend.open(&tpm.uri("v"), Arc::new(Nobody))).unwrap();
        let other = block_on(Custody::<Signing>::open(vault.signing().unwrap(), keys[2].uri())).unwrap();
        let error = attest(&vault, &other).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("authorization value for the key `c`"), "{error}");
    }
}

#[test]
fn an_attestation_key_with_a_value_of_its_own_is_told_from_the_key() {
    let tpm = Swtpm::start();
    tpm.tool(&format!("{} -p secret", DERIVED.replace("|noda", "")));
    tpm.tool("tpm2_evictcontrol -C o -c ak.ctx 0x81010002");
    tpm.tool("tpm2_flushcontext -t");
    let uri = tpm.uri("v").with("attestation-key", "0x81010002").unwrap();
    let backend = TpmBackend::new().with_deadline(Duration::from_secs(120));
    let vault = block_on(backend.create(&uri, Arc::new(Nobody))).unwrap();
    let signing = vault.signing().unwrap();
    let key = block_on(signing.generate(&KeySpec::p256(KeyName::new("k").unwrap()))).unwrap();
    let error = attest(&vault, &key).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("the attestation key wants"), "{error}");
    // The key itself is not taken to have been refused.
    let signature = block_on(signing.sign(&key, b"x")).unwrap();
    assert!(key.public().verify(b"x", &signature).is_ok());
}

#[test]
fn a_tpm_that_nobody_certified_only_says_so() {
    let tpm = Swtpm::start();
    let mut kms = Kms::new();
    kms.run(&["vault", "create", "tpm", "--uri", &tpm.uri("v").without("path").to_string()]).code(0);
    kms.run(&["key", "generate", "one", "--key-type", "p256"]).code(0);
    let said = kms.run(&["key", "attest", "one"]).code(0).stdout;
    let judged = kms.run(&["key", "attest", "verify", said.trim(), "--output", "json"]).code(0).json();
    assert_eq!(judged["attributes"]["key.protection"], "hardware", "{judged}");
}

#[test]
fn an_authority_admits_a_key_that_a_tpm_certifies() {
    let (tpm, ca) = (Swtpm::start(), TpmCa::new());
    let endorsement = ca.manufacture(&tpm);
    tpm.tool(DERIVED);
    tpm.tool("tpm2_flushcontext -t");
    let mut kms = Kms::new();
    kms.file("root.pem", ca.root());
    let ticket = authority(&mut kms, "root.pem");
    kms.at("member");
    vault_on(&mut kms, &tpm, None, &ca.certify(&tpm, &endorsement, ATTESTATION));
    kms.run(&["identity", "create", "member", "--vault", "tpm"]).code(0);
    // A TPM that somebody else certified is none that the authority knows.
    let chain = std::fs::read(kms.path("ak.pem")).unwrap();
    kms.file("ak.pem", TpmCa::new().certify_anyway(&tpm));
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(77);
    kms.file("ak.pem", chain);
    kms.run_with(&["project", "enroll", "-"], ticket.as_bytes()).code(77);
    kms.run_with(&["project", "enroll", "-", "--attest-key"], ticket.as_bytes()).code(0);
    kms.run(&["project", "enroll"]).code(0);
}
