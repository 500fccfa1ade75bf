//! The examples of docs/formats.md, which were made by another implementation of that page, are what this one makes.

use std::str::FromStr as _;

use identity::{ChangeHash, Identifier, Timestamp};
use vault::{Algorithm, VerifyingKey};

use super::signature::{Covered, Draft, KeyId, Nonce, Parameters, Received, digest_of};
use crate::audit::{AuditRow, verify};

const FORMATS: &str = include_str!("../../../docs/formats.md");

/// The lines of an example.
fn example(name: &str) -> Vec<&'static str> {
    let (_, example) = FORMATS.split_once(&format!(" {name}\n")).unwrap();
    example.lines().take_while(|line| *line != "```").collect()
}

#[test]
fn the_documented_request_is_signed_as_we_sign() {
    let digest = digest_of(br#"{"expires_in":600}"#);
    let audience = Identifier::from_bytes([0x0F; 32]).to_string();
    let covered = Covered {
        method: "POST",
        target_uri: "http://127.0.0.1:4000/v1/tickets",
        content_digest: &digest,
        audience: &audience,
        idempotency_key: None,
    };
    let parameters = Parameters {
        created: Timestamp(1_790_000_000),
        expires: Timestamp(1_790_000_060),
        nonce: Nonce::from_bytes([7; 16]),
        key: KeyId {
            identifier: Identifier::from_bytes([0xAB; 32]),
            change: ChangeHash::from_str(&"cd".repeat(32)).unwrap(),
        },
        algorithm: Algorithm::Ed25519,
    };
    let draft = Draft::new(parameters, &covered).unwrap();

    let lines = example("example-request");
    assert_eq!(lines[0], format!("content-digest: {digest}"));
    let header = |line: &'static str, name| line.strip_prefix(name).unwrap();
    let (input, signature) = (header(lines[1], "signature-input: "), header(lines[2], "signature: "));
    let received = Received::parse(input, signature).unwrap();
    assert_eq!(received.base(&covered).unwrap(), draft.base());
    assert_eq!(draft.headers(&received.signature()), (input.to_owned(), signature.to_owned()));

    // The key is that of the example of a software vault.
    let key: serde_json::Value = serde_json::from_str(example("example-vault")[2]).unwrap();
    let key = hex::decode(key["public"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(Algorithm::Ed25519, &key).unwrap();
    assert!(key.verify(draft.base(), &received.signature()).is_ok());
    assert!(key.verify(&draft.base()[1..], &received.signature()).is_err());
}

#[test]
fn the_documented_audit_row_has_its_hash_and_its_spelling() {
    let lines = example("example-audit");
    let row: AuditRow = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(row.computed_hash(), row.hash);
    assert_eq!(serde_json::to_string(&row).unwrap(), lines[0]);
    assert_eq!(verify(&lines, Some(&row.head())).unwrap().rows(), 1);
}
