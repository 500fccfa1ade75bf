//! One question put to both sides, and the differences that docs/formats.md allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{
    Credential, Error, Identifier, Identity, IssuerBundle, Kind, PurposeKey, PurposeKeyAttestation, Refusal,
    Rule, verify,
};
use interop::{Attested, ChannelOrCredentials, Judge, VerifiedCredential, VerifiedHistory};
use ockam_identity::models::{CredentialAndPurposeKey, PurposePublicKey};
use ockam_identity::{Identities, identities};
use tokio::runtime::{Builder, Runtime};

use crate::made::{as_judged, now};

/// The published crates with a store that knows some issuers. A [`Judge`] opens a new store for every question, which
/// takes a hundred times as long as the answer; every hundredth question goes to one as well.
pub(crate) struct Theirs {
    runtime: Runtime,
    store: Arc<Identities>,
    judge: Judge,
    asked: usize,
}

impl Theirs {
    pub(crate) fn knowing<'a>(issuers: impl IntoIterator<Item = &'a Identity>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(identities()).unwrap();
        for issuer in issuers {
            let verification = store.identities_verification();
            runtime.block_on(verification.import(None, issuer.as_bytes())).unwrap();
        }
        Self { runtime, store, judge: Judge::new().unwrap(), asked: 0 }
    }

    /// The answer, which the judge has to give too when it is its turn.
    fn checked<T: PartialEq + std::fmt::Debug>(
        &mut self,
        answer: Result<T, interop::Error>,
        judge: impl FnOnce(&Judge) -> Result<T, interop::Error>,
    ) -> Result<T, interop::Error> {
        self.asked += 1;
        if self.asked.is_multiple_of(100) {
            assert_eq!(answer, judge(&self.judge), "the two ways to ask");
        }
        answer
    }

    fn history(&mut self, history: &[u8]) -> Result<VerifiedHistory, interop::Error> {
        let vault = ockam_identity::Vault::create_verifying_vault();
        let identity = self.runtime.block_on(ockam_identity::Identity::import(None, history, vault));
        let answer = identity.map_err(interop::Error::from).and_then(|identity| {
            Ok(VerifiedHistory {
                identifier: identity.identifier().to_string(),
                changes: identity.changes().len(),
                latest_change_hash: identity.latest_change_hash()?.to_string(),
            })
        });
        self.checked(answer, |judge| judge.verify_history(history, None))
    }

    fn attestation(&mut self, issuer: &Identity, bytes: &[u8]) -> Result<Attested, interop::Error> {
        let subject = theirs(&issuer.identifier());
        let answer = minicbor::decode(bytes).map_err(interop::Error::from).and_then(|attestation| {
            let verification = self.store.purpose_keys().purpose_keys_verification();
            let verified = verification.verify_purpose_key_attestation(Some(&subject), &attestation);
            let data = self.runtime.block_on(verified)?;
            let (purpose, public_key) = match data.public_key {
                PurposePublicKey::SecureChannelStatic(key) => {
                    (ChannelOrCredentials::SecureChannel, key.0.to_vec())
                }
                PurposePublicKey::CredentialSigning(key) => {
                    (ChannelOrCredentials::Credentials, key_bytes(key))
                }
            };
            Ok(Attested {
                subject: data.subject.to_string(),
                purpose,
                public_key,
                created_at: data.created_at.0,
                expires_at: data.expires_at.0,
            })
        });
        self.checked(answer, |judge| judge.verify_attestation(issuer.as_bytes(), bytes))
    }

    fn credential(
        &mut self,
        issuer: &Identity,
        bytes: &[u8],
        subject: Option<&Identifier>,
    ) -> Result<VerifiedCredential, interop::Error> {
        let issuers = [theirs(&issuer.identifier())];
        let expected = subject.map(theirs);
        let answer = minicbor::decode(bytes).map_err(interop::Error::from);
        let answer = answer.and_then(|credential: CredentialAndPurposeKey| {
            let verification = self.store.credentials().credentials_verification();
            let verified = verification.verify_credential(expected.as_ref(), &issuers, &credential);
            let verified = self.runtime.block_on(verified)?;
            let data = verified.credential_data;
            let attributes = data.subject_attributes.map.into_iter();
            Ok(VerifiedCredential {
                subject: data.subject.unwrap().to_string(),
                issuer: verified.purpose_key_data.subject.to_string(),
                schema: data.subject_attributes.schema.0,
                attributes: attributes.map(|(name, value)| (name.into(), value.into())).collect(),
                created_at: data.created_at.0,
                expires_at: data.expires_at.0,
            })
        });
        let expected = subject.map(ToString::to_string);
        self.checked(answer, |judge| {
            judge.verify_credential(issuer.as_bytes(), bytes, expected.as_deref(), None)
        })
    }
}

fn theirs(identifier: &Identifier) -> ockam_identity::Identifier {
    identifier.to_string().as_str().try_into().unwrap()
}

fn key_bytes(key: ockam_identity::models::CredentialVerifyingKey) -> Vec<u8> {
    use ockam_identity::models::CredentialVerifyingKey::{ECDSASHA256CurveP256, EdDSACurve25519};
    match key {
        EdDSACurve25519(key) => key.0.to_vec(),
        ECDSASHA256CurveP256(key) => key.0.to_vec(),
    }
}

/// How a run of questions went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: usize,
    /// Our reasons, with how often both refused.
    pub(crate) refused: BTreeMap<&'static str, usize>,
    /// Where we are stricter, by our reason.
    pub(crate) stricter: BTreeMap<&'static str, usize>,
    pub(crate) differences: Vec<String>,
    /// By how many seconds our clock is wrong: zero, but for the control.
    pub(crate) ahead: u64,
}

fn reason(error: &Error) -> &'static str {
    match error.kind() {
        Kind::Refused(refusal) => refusal.code(),
        Kind::Malformed => "malformed",
        Kind::Invalid | Kind::Vault(_) => panic!("verifying never fails like this: {error:?}"),
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (ours, theirs) in [(&mut self.refused, other.refused), (&mut self.stricter, other.stricter)] {
            theirs.into_iter().for_each(|(reason, count)| *ours.entry(reason).or_default() += count);
        }
        self.differences.extend(other.differences);
    }

    pub(crate) fn asked(&self) -> usize {
        self.accepted
            + self.refused.values().sum::<usize>()
            + self.stricter.values().sum::<usize>()
            + self.differences.len()
    }

    fn put<T: PartialEq + std::fmt::Debug>(
        &mut self,
        question: &dyn Fn() -> String,
        ours: Result<T, Error>,
        theirs: Result<T, interop::Error>,
        stricter: &[Refusal],
    ) {
        if let Err(error) = &theirs {
            assert_eq!(error.kind(), interop::Kind::Refused, "the judge did not judge: {error}");
        }
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => self.accepted += 1,
            (Err(ours), Err(_)) => *self.refused.entry(reason(&ours)).or_default() += 1,
            (Err(ours), Ok(_)) if ours.refusal().is_some_and(|refusal| stricter.contains(&refusal)) => {
                *self.stricter.entry(reason(&ours)).or_default() += 1;
            }
            (ours, theirs) => {
                self.differences.push(format!("{}\n  ours {ours:?}\n  theirs {theirs:?}", question()))
            }
        }
    }

    pub(crate) fn history(&mut self, theirs: &mut Theirs, history: &[u8]) {
        let ours = Identity::import(history).map(|identity| as_judged(&identity));
        let theirs = theirs.history(history);
        self.put(&|| format!("history {}", hex::encode(history)), ours, theirs, &[Refusal::TrailingBytes]);
    }

    pub(crate) fn attestation(&mut self, theirs: &mut Theirs, issuer: &Identity, attestation: &[u8]) {
        let ours = PurposeKeyAttestation::decode(attestation)
            .and_then(|attestation| attestation.verify(issuer, now().after(self.ahead)))
            .map(|proof| Attested {
                subject: proof.subject().to_string(),
                purpose: match proof.key() {
                    PurposeKey::Channel(_) => ChannelOrCredentials::SecureChannel,
                    PurposeKey::Credential(_) => ChannelOrCredentials::Credentials,
                },
                public_key: match proof.key() {
                    PurposeKey::Channel(key) => key.as_bytes().to_vec(),
                    PurposeKey::Credential(key) => key.as_bytes().to_vec(),
                },
                created_at: proof.created_at().0,
                expires_at: proof.expires_at().0,
            });
        let theirs = theirs.attestation(issuer, attestation);
        // A credential key that is no point of its curve: they take the attestation and no credential under it. That
        // a signature is what we refuse has to be checked apart, so only such keys are let through.
        let no_point = matches!(&theirs, Ok(attested) if is_no_point(attested));
        let stricter = if no_point {
            &[Refusal::TrailingBytes, Refusal::Signature][..]
        } else {
            &[Refusal::TrailingBytes]
        };
        let question = || format!("history {}\nattestation {}", issuer.to_hex(), hex::encode(attestation));
        self.put(&question, ours, theirs, stricter);
    }

    pub(crate) fn credential(
        &mut self,
        theirs: &mut Theirs,
        issuer: &Identity,
        credential: &[u8],
        subject: Option<&Identifier>,
    ) {
        let known = IssuerBundle::history_only(issuer.clone());
        let ours = Credential::decode(credential)
            .and_then(|credential| {
                verify(&credential, &known, subject, now().after(self.ahead), Rule::Reference)
            })
            .map(|proof| VerifiedCredential {
                subject: proof.subject().to_string(),
                issuer: proof.issuer().to_string(),
                schema: proof.attributes().schema(),
                attributes: proof
                    .attributes()
                    .iter()
                    .map(|(name, value)| (name.to_vec(), value.to_vec()))
                    .collect(),
                created_at: proof.created_at().0,
                expires_at: proof.expires_at().0,
            });
        let theirs = theirs.credential(issuer, credential, subject);
        let question = || {
            format!("history {}\ncredential {}, about {subject:?}", issuer.to_hex(), hex::encode(credential))
        };
        self.put(&question, ours, theirs, &[Refusal::TrailingBytes]);
    }

    /// Fails on a difference, and when too little was asked to say anything.
    pub(crate) fn check(&self, at_least: usize, reasons: &[&str]) {
        println!(
            "{} questions: both took {}, both refused {:?}, only we refused {:?}",
            self.asked(),
            self.accepted,
            self.refused,
            self.stricter
        );
        assert!(
            self.differences.is_empty(),
            "{} differences, the first:\n{}",
            self.differences.len(),
            self.differences[..self.differences.len().min(5)].join("\n")
        );
        assert!(self.asked() >= at_least, "too few questions were put");
        for reason in reasons {
            assert!(self.refused.contains_key(reason), "nothing was refused as {reason}");
        }
    }
}

fn is_no_point(attested: &Attested) -> bool {
    let algorithm = match attested.public_key.len() {
        65 => vault::Algorithm::EcdsaP256,
        _ => vault::Algorithm::Ed25519,
    };
    attested.purpose == ChannelOrCredentials::Credentials
        && vault::VerifyingKey::from_bytes(algorithm, &attested.public_key).is_err()
}
