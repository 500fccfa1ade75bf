//! The judge gives today the verdicts that were recorded with the vectors. Without this, a judge put together wrongly
//! (an empty store, a foreign version, a stopped clock) could agree with us and mean nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::collections::BTreeMap;

use interop::Judge;
use serde::Deserialize;

const VECTORS: &str = include_str!("../../vectors/ockam-0.150.json");

#[derive(Deserialize)]
struct Vectors {
    identities: Vec<History>,
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
struct History {
    name: String,
    change_history: String,
    verdict: HistoryVerdict,
}

#[derive(Deserialize)]
struct HistoryVerdict {
    ok: bool,
    error: Option<String>,
    identifier: Option<String>,
    changes: Option<usize>,
    latest_change_hash: Option<String>,
}

#[derive(Deserialize)]
struct Credential {
    name: String,
    issuer_change_history: String,
    credential: String,
    subject: String,
    verdict: CredentialVerdict,
}

#[derive(Deserialize)]
struct CredentialVerdict {
    ok: bool,
    error: Option<String>,
    subject: Option<String>,
    schema: Option<u64>,
    attributes_hex: Option<BTreeMap<String, String>>,
    created_at: Option<u64>,
    expires_at: Option<u64>,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).unwrap()
}

#[test]
fn every_history_gets_its_recorded_verdict() {
    let judge = Judge::new().unwrap();
    let identities = vectors().identities;
    assert_eq!(identities.len(), 118);
    let mut accepted = 0;
    for History { name, change_history, verdict } in identities {
        match judge.verify_history(&hex::decode(&change_history).unwrap(), None) {
            Ok(verified) => {
                accepted += 1;
                assert!(verdict.ok, "{name}: accepted");
                assert_eq!(Some(verified.identifier), verdict.identifier, "{name}");
                assert_eq!(Some(verified.changes), verdict.changes, "{name}");
                assert_eq!(Some(verified.latest_change_hash), verdict.latest_change_hash, "{name}");
            }
            Err(refusal) => {
                assert!(!verdict.ok, "{name}: refused, {refusal}");
                assert_eq!(Some(refusal.message()), verdict.error.as_deref(), "{name}");
            }
        }
    }
    // Eight as made, eight with a trailing byte (the reference ignores it), six cut short by a change.
    assert_eq!(accepted, 22);
}

#[test]
fn every_credential_gets_its_recorded_verdict() {
    let judge = Judge::new().unwrap();
    let credentials = vectors().credentials;
    assert_eq!(credentials.len(), 48);
    let mut accepted = 0;
    for Credential { name, issuer_change_history, credential, subject, verdict } in credentials {
        let history = hex::decode(&issuer_change_history).unwrap();
        let bytes = hex::decode(&credential).unwrap();
        match judge.verify_credential(&history, &bytes, Some(&subject), None) {
            Ok(verified) => {
                accepted += 1;
                assert!(verdict.ok, "{name}: accepted");
                assert_eq!(Some(verified.subject), verdict.subject, "{name}");
                assert_eq!(Some(verified.schema), verdict.schema, "{name}");
                assert_eq!(Some(verified.created_at), verdict.created_at, "{name}");
                assert_eq!(Some(verified.expires_at), verdict.expires_at, "{name}");
                let attributes = verified.attributes.iter().map(|(k, v)| (hex::encode(k), hex::encode(v)));
                assert_eq!(Some(attributes.collect()), verdict.attributes_hex, "{name}");
            }
            Err(refusal) => {
                assert!(!verdict.ok, "{name}: refused, {refusal}");
                assert_eq!(Some(refusal.message()), verdict.error.as_deref(), "{name}");
            }
        }
    }
    assert_eq!(accepted, 8);
}

#[test]
fn the_attestation_within_each_accepted_credential_is_accepted_alone() {
    let judge = Judge::new().unwrap();
    let mut seen = 0;
    for vector in vectors().credentials.iter().filter(|vector| vector.verdict.ok) {
        let both = hex::decode(&vector.credential).unwrap();
        let both: ockam_identity::models::CredentialAndPurposeKey = minicbor::decode(&both).unwrap();
        let attestation = minicbor::to_vec(&both.purpose_key_attestation).unwrap();
        let history = hex::decode(&vector.issuer_change_history).unwrap();
        let attested = judge.verify_attestation(&history, &attestation).unwrap();
        assert_eq!(attested.subject, judge.verify_history(&history, None).unwrap().identifier);
        assert!(attested.expires_at >= vector.verdict.expires_at.unwrap());

        let mut tampered = attestation.clone();
        *tampered.last_mut().unwrap() ^= 1;
        assert!(judge.verify_attestation(&history, &tampered).is_err());
        seen += 1;
    }
    assert_eq!(seen, 8);
}
