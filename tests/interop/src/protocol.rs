//! The judge over JSON lines: one question a line, one answer a line, in order.
//!
//! Every answer has `"ok"`. Bytes are hexadecimal, times are seconds since 1970. The README lists the operations.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::error::Error;
use crate::identity::{ChannelOrCredentials, Judge, KeyType, MadeIdentity, NewCredential, NewIdentity};
use crate::policy::{self, Bindings};

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    VerifyHistory {
        change_history: String,
        expected: Option<String>,
    },
    UpdateHistory {
        known: String,
        shown: String,
    },
    VerifyAttestation {
        change_history: String,
        attestation: String,
    },
    VerifyCredential {
        issuer_change_history: String,
        credential: String,
        subject: Option<String>,
        subject_change_history: Option<String>,
    },
    CreateIdentity {
        key_type: KeyType,
        #[serde(default)]
        rotations: Vec<KeyType>,
        ttl: Option<u64>,
    },
    RotateIdentity {
        identifier: String,
        key_type: KeyType,
        #[serde(default)]
        revoke_purpose_keys: bool,
        ttl: Option<u64>,
    },
    Attest {
        identifier: String,
        purpose: ChannelOrCredentials,
        key_type: Option<KeyType>,
        ttl: Option<u64>,
    },
    IssueCredential {
        issuer: String,
        subject: String,
        subject_change_history: Option<String>,
        schema: Option<u64>,
        #[serde(default)]
        attributes: BTreeMap<String, String>,
        #[serde(default)]
        attributes_hex: BTreeMap<String, String>,
        ttl: u64,
        key_type: Option<KeyType>,
    },
    EvalPolicy(Case),
    EvalPolicies {
        cases: Vec<Case>,
    },
}

#[derive(Debug, Deserialize)]
struct Case {
    expression: String,
    #[serde(default)]
    env: Bindings,
}

/// Answers one line, also when the published crates panic over it: whoever asks has more questions.
pub fn answer(judge: &Judge, line: &str) -> Json {
    // What a panic may leave half done lies in the judge's database, behind transactions.
    catch_unwind(AssertUnwindSafe(|| attempt(judge, line)))
        .unwrap_or_else(|_| refusal(&Error::broken("the published crates panicked")))
}

fn attempt(judge: &Judge, line: &str) -> Json {
    let question =
        serde_json::from_str(line).map_err(|e| Error::malformed(format!("the question is malformed: {e}")));
    question.and_then(|question| put(judge, question)).unwrap_or_else(|error| refusal(&error))
}

fn refusal(error: &Error) -> Json {
    json!({ "ok": false, "kind": format!("{:?}", error.kind()).to_lowercase(), "error": error.message() })
}

fn put(judge: &Judge, question: Question) -> Result<Json, Error> {
    match question {
        Question::VerifyHistory { change_history, expected } => {
            verify_history(judge, &change_history, expected)
        }
        Question::UpdateHistory { known, shown } => {
            judge.update_history(&bytes(&known)?, &bytes(&shown)?)?;
            Ok(json!({ "ok": true }))
        }
        Question::VerifyAttestation { change_history, attestation } => {
            verify_attestation(judge, &change_history, &attestation)
        }
        Question::VerifyCredential { issuer_change_history, credential, subject, subject_change_history } => {
            let subject_history = subject_change_history.as_deref().map(bytes).transpose()?;
            verify_credential(judge, &issuer_change_history, &credential, subject, subject_history)
        }
        Question::CreateIdentity { key_type, rotations, ttl } => {
            Ok(made(&judge.create_identity(&NewIdentity { key_type, rotations, ttl })?))
        }
        Question::RotateIdentity { identifier, key_type, revoke_purpose_keys, ttl } => {
            Ok(made(&judge.rotate_identity(&identifier, key_type, revoke_purpose_keys, ttl)?))
        }
        Question::Attest { identifier, purpose, key_type, ttl } => {
            let attested = judge.attest(&identifier, purpose, key_type.unwrap_or(KeyType::Ed25519), ttl)?;
            Ok(json!({
                "ok": true,
                "attestation": hex::encode(attested.attestation),
                "change_history": hex::encode(attested.change_history),
            }))
        }
        Question::IssueCredential {
            issuer,
            subject,
            subject_change_history,
            schema,
            attributes,
            attributes_hex,
            ttl,
            key_type,
        } => {
            let subject_change_history = subject_change_history.as_deref().map(bytes).transpose()?;
            let issued = judge.issue_credential(NewCredential {
                issuer: &issuer,
                subject: &subject,
                subject_change_history: subject_change_history.as_deref(),
                schema: schema.unwrap_or(1),
                attributes: both(attributes, attributes_hex)?,
                ttl,
                new_key: key_type,
            })?;
            Ok(json!({
                "ok": true,
                "credential": hex::encode(issued.credential),
                "issuer_change_history": hex::encode(issued.issuer_change_history),
            }))
        }
        Question::EvalPolicy(case) => Ok(evaluated(&case)),
        Question::EvalPolicies { cases } => {
            Ok(json!({ "ok": true, "results": cases.iter().map(evaluated).collect::<Vec<_>>() }))
        }
    }
}

fn verify_history(judge: &Judge, history: &str, expected: Option<String>) -> Result<Json, Error> {
    let verified = judge.verify_history(&bytes(history)?, expected.as_deref())?;
    Ok(json!({
        "ok": true,
        "identifier": verified.identifier,
        "changes": verified.changes,
        "latest_change_hash": verified.latest_change_hash,
    }))
}

fn verify_attestation(judge: &Judge, history: &str, attestation: &str) -> Result<Json, Error> {
    let attested = judge.verify_attestation(&bytes(history)?, &bytes(attestation)?)?;
    Ok(json!({
        "ok": true,
        "subject": attested.subject,
        "purpose": attested.purpose,
        "public_key": hex::encode(attested.public_key),
        "created_at": attested.created_at,
        "expires_at": attested.expires_at,
    }))
}

fn verify_credential(
    judge: &Judge,
    issuer_history: &str,
    credential: &str,
    subject: Option<String>,
    subject_history: Option<Vec<u8>>,
) -> Result<Json, Error> {
    let (issuer_history, credential) = (bytes(issuer_history)?, bytes(credential)?);
    let verified = judge.verify_credential(
        &issuer_history,
        &credential,
        subject.as_deref(),
        subject_history.as_deref(),
    )?;
    let attributes: BTreeMap<_, _> =
        verified.attributes.iter().map(|(k, v)| (hex::encode(k), hex::encode(v))).collect();
    Ok(json!({
        "ok": true,
        "subject": verified.subject,
        "issuer": verified.issuer,
        "schema": verified.schema,
        "attributes_hex": attributes,
        "created_at": verified.created_at,
        "expires_at": verified.expires_at,
    }))
}

fn made(identity: &MadeIdentity) -> Json {
    json!({
        "ok": true,
        "identifier": identity.identifier,
        "change_history": hex::encode(&identity.change_history),
    })
}

fn evaluated(case: &Case) -> Json {
    match policy::evaluate(&case.expression, &case.env) {
        Ok(outcome) => json!({ "ok": true, "outcome": outcome.word() }),
        Err(error) => refusal(&error),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    hex::decode(text).map_err(|e| Error::malformed(format!("malformed hexadecimal: {e}")))
}

fn both(
    text: BTreeMap<String, String>,
    hexadecimal: BTreeMap<String, String>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let text = text.into_iter().map(|(k, v)| Ok((k.into_bytes(), v.into_bytes())));
    text.chain(hexadecimal.into_iter().map(|(k, v)| Ok((bytes(&k)?, bytes(&v)?)))).collect()
}
