//! Verifying credentials, by one of two rules (docs/formats.md, "attestations under an earlier change").

use crate::attribute::Attributes;
use crate::bundle::IssuerBundle;
use crate::clock::Timestamp;
use crate::credential::Credential;
use crate::error::{Refusal, Result};
use crate::history::{Change, Identity};
use crate::identifier::Identifier;
use crate::purpose_key::{PurposeKey, PurposeKeyAttestation, VerifiedAttestation, check_time};

/// How long credentials under the change before stay good when the issuer's bundle is not known, by default.
pub const DEFAULT_OVERLAP_SECONDS: u64 = 3600;

/// What to do with an attestation under an earlier change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Refuse it, as the reference does.
    Reference,
    /// Take it when the same key is attested under the latest change, or else for a while after the rotation.
    Continuous {
        /// How long that while is, in seconds.
        overlap_seconds: u64,
    },
}

impl Default for Rule {
    fn default() -> Self {
        Self::Continuous { overlap_seconds: DEFAULT_OVERLAP_SECONDS }
    }
}

impl Rule {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Continuous { .. } => "continuous",
        }
    }
}

/// Proof that a credential was checked: only [`verify`] makes one, and it is all that a policy takes attributes from.
#[derive(Clone, Debug)]
pub struct VerifiedCredential {
    subject: Identifier,
    issuer: Identifier,
    attributes: Attributes,
    created_at: Timestamp,
    expires_at: Timestamp,
    rule: Rule,
    attestation: VerifiedAttestation,
}

impl VerifiedCredential {
    /// Proof that the attestation of the credential's key was checked: to be kept for [`verify_with`].
    #[must_use]
    pub fn attestation(&self) -> &VerifiedAttestation {
        &self.attestation
    }

    /// Who is described.
    #[must_use]
    pub fn subject(&self) -> Identifier {
        self.subject
    }

    /// Who says so.
    #[must_use]
    pub fn issuer(&self) -> Identifier {
        self.issuer
    }

    /// What is said.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The first second it is good at.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The last second it is good at.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The rule it was checked by.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }
}

/// Checks a credential: by this issuer, about the expected subject (when one is expected), good now.
///
/// # Errors
/// [`Refused`](crate::Kind::Refused) with the rule that it breaks.
pub fn verify(
    credential: &Credential,
    issuer: &IssuerBundle,
    expected_subject: Option<&Identifier>,
    now: Timestamp,
    rule: Rule,
) -> Result<VerifiedCredential> {
    check(credential, issuer, expected_subject, now, rule, None)
}

/// As [`verify`], for whoever checks many credentials of one issuer: when `kept` is the proof of the very attestation that
/// came with this credential, its signature is not checked again. Everything that time or a rotation can change is, so the
/// verdict is always that of `verify`.
///
/// # Errors
/// As `verify`.
pub fn verify_with(
    kept: &VerifiedAttestation,
    credential: &Credential,
    issuer: &IssuerBundle,
    expected_subject: Option<&Identifier>,
    now: Timestamp,
    rule: Rule,
) -> Result<VerifiedCredential> {
    check(credential, issuer, expected_subject, now, rule, Some(kept))
}

fn check(
    credential: &Credential,
    issuer: &IssuerBundle,
    expected_subject: Option<&Identifier>,
    now: Timestamp,
    rule: Rule,
    kept: Option<&VerifiedAttestation>,
) -> Result<VerifiedCredential> {
    let attestation = credential.attestation();
    if attestation.subject() != issuer.identifier() {
        return Err(Refusal::OtherIssuer.into());
    }
    let proof = match rule {
        Rule::Reference => attestation.verify_latest(issuer.identity(), now, kept)?,
        Rule::Continuous { overlap_seconds } => {
            verify_continuous(attestation, issuer, now, overlap_seconds, kept)?
        }
    };
    credential.check_signature(proof.credential_key()?)?;
    let subject = credential.subject().ok_or(Refusal::NoSubject)?;
    if expected_subject.is_some_and(|expected| *expected != subject) {
        return Err(Refusal::OtherCredentialSubject.into());
    }
    if credential.created_at() < proof.created_at() {
        return Err(Refusal::BeforePurposeKey.into());
    }
    if credential.expires_at() > proof.expires_at() {
        return Err(Refusal::OutlivesPurposeKey.into());
    }
    check_time(credential.created_at(), credential.expires_at(), now)?;
    Ok(VerifiedCredential {
        subject,
        issuer: issuer.identifier(),
        attributes: credential.attributes()?,
        created_at: credential.created_at(),
        expires_at: credential.expires_at(),
        rule,
        attestation: proof,
    })
}

/// An attestation under the latest change is checked as the reference does. One under an earlier change is good when the
/// bundle attests the same key under the latest change; without a bundle, for the overlap after the next change.
fn verify_continuous(
    attestation: &PurposeKeyAttestation,
    issuer: &IssuerBundle,
    now: Timestamp,
    overlap_seconds: u64,
    kept: Option<&VerifiedAttestation>,
) -> Result<VerifiedAttestation> {
    let identity = issuer.identity();
    if attestation.change_hash() == identity.latest().hash() {
        return attestation.verify_latest(identity, now, kept);
    }
    let (change, later) = split_at(identity, attestation).ok_or(Refusal::NotLatestChange)?;
    // Under whichever change: its key has to have signed it, and it has to lie inside that change's validity.
    let proof = attestation.verify_under(change, now, kept)?;
    // Channel keys never: a channel is opened anew with a new attestation at no cost.
    let key = proof.credential_key()?;
    match issuer.attestations() {
        Some(current) => {
            let attested_anew = current.iter().any(|one| {
                one.verify(identity, now)
                    .is_ok_and(|again| *again.key() == PurposeKey::Credential(key.clone()))
            });
            if attested_anew { Ok(proof) } else { Err(Refusal::NotLatestChange.into()) }
        }
        None => {
            if later.iter().any(|change| change.revokes_purpose_keys()) {
                return Err(Refusal::Revoked.into());
            }
            let next = later.first().ok_or(Refusal::NotLatestChange)?;
            // A stolen earlier key can back-date, but not into the time after the overlap.
            let in_time = attestation.created_at() < next.valid_from()
                && now < next.valid_from().after(overlap_seconds);
            if in_time { Ok(proof) } else { Err(Refusal::NotLatestChange.into()) }
        }
    }
}

/// The change that an attestation is under, and the changes after it.
fn split_at<'a>(
    identity: &'a Identity,
    attestation: &PurposeKeyAttestation,
) -> Option<(&'a Change, Vec<&'a Change>)> {
    let mut changes = identity.changes().skip_while(|change| change.hash() != attestation.change_hash());
    let change = changes.next()?;
    Some((change, changes.collect()))
}
