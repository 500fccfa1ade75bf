//! Purpose keys and their attestations: an identity's primary key vouches for keys that do the daily work.

use std::fmt;

use minicbor::bytes::ByteVec;
use vault::{AgreementKey, Signer, VerifyingKey};

use crate::clock::Timestamp;
use crate::error::{Error, Refusal, Result};
use crate::history::{Change, Identity, Validity};
use crate::identifier::{ChangeHash, Identifier};
use crate::wire::{self, AttestationData, BodyType, PurposeKeyWire, SignedWire};

/// How far ahead of our clock something may have been made, in seconds. Applies to not-before only.
pub const SKEW_SECONDS: u64 = 60;

/// The longest an attestation of ours runs: five years, as the reference's.
pub const ATTESTATION_SECONDS: u64 = 5 * 365 * 86_400;

/// A purpose key, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurposeKey {
    /// The static key of secure channels. Agrees, never signs.
    Channel(AgreementKey),
    /// Signs credentials.
    Credential(VerifyingKey),
}

impl PurposeKey {
    fn wire(&self) -> Result<PurposeKeyWire> {
        match self {
            Self::Channel(key) => key.try_into(),
            Self::Credential(key) => Ok(PurposeKeyWire::Credential(key.into())),
        }
    }

    fn from_wire(wire: &PurposeKeyWire) -> Result<Self> {
        Ok(match wire {
            PurposeKeyWire::Channel(bytes) => Self::Channel(AgreementKey::X25519(*bytes)),
            PurposeKeyWire::Credential(key) => Self::Credential(key.key()?),
        })
    }
}

/// A purpose key attestation as it was received: decoded, not yet checked.
#[derive(Clone)]
pub struct PurposeKeyAttestation {
    signed: SignedWire,
    data: AttestationData,
}

impl PurposeKeyAttestation {
    /// Decodes one (CBOR).
    ///
    /// # Errors
    /// [`Malformed`](crate::Kind::Malformed), or [`Refused`](crate::Kind::Refused) for another type or version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::from_wire(wire::decode(bytes, "purpose key attestation")?)
    }

    /// As [`decode`](Self::decode), from hex.
    ///
    /// # Errors
    /// As `decode`.
    pub fn from_hex(text: &str) -> Result<Self> {
        Self::decode(&wire::from_hex(text, "purpose key attestation")?)
    }

    pub(crate) fn from_wire(signed: SignedWire) -> Result<Self> {
        let data = wire::open_body(&signed.data, BodyType::PurposeKeyAttestation)?;
        Ok(Self { signed, data })
    }

    pub(crate) fn wire(&self) -> &SignedWire {
        &self.signed
    }

    /// The CBOR encoding.
    ///
    /// # Errors
    /// Never for what was decoded or made here.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(&self.signed)
    }

    /// The same as hex.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn to_hex(&self) -> Result<String> {
        Ok(hex::encode(self.encode()?))
    }

    /// Whose key it says it is. Checked only by [`verify`](Self::verify).
    #[must_use]
    pub fn subject(&self) -> Identifier {
        self.data.subject
    }

    /// The change it says it is under.
    #[must_use]
    pub fn change_hash(&self) -> ChangeHash {
        self.data.subject_latest_change_hash
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.data.created_at.into()
    }

    /// The last second it is good at.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.data.expires_at.into()
    }

    /// The key.
    ///
    /// # Errors
    /// [`Refusal::Signature`] when the bytes are no key.
    pub fn key(&self) -> Result<PurposeKey> {
        PurposeKey::from_wire(&self.data.public_key)
    }

    /// Has `primary` vouch for a purpose key of `identity`, under its latest change.
    ///
    /// # Errors
    /// When `primary` is not the identity's current primary key, the validity does not lie inside the change's, or the
    /// vault fails.
    pub async fn attest(
        identity: &Identity,
        primary: &Signer,
        key: &PurposeKey,
        valid: Validity,
    ) -> Result<Self> {
        let latest = identity.latest();
        if primary.public() != latest.primary_key() {
            return Err(Error::invalid("only the identity's current primary key attests its purpose keys"));
        }
        if valid.until <= valid.from {
            return Err(Error::invalid("the validity ends before it starts"));
        }
        if valid.from < latest.valid_from() {
            return Err(Refusal::BeforeChange.into());
        }
        if valid.until > latest.valid_until() {
            return Err(Refusal::OutlivesChange.into());
        }
        let data = AttestationData {
            subject: identity.identifier(),
            subject_latest_change_hash: latest.hash(),
            public_key: key.wire()?,
            created_at: valid.from.into(),
            expires_at: valid.until.into(),
        };
        let body = wire::seal_body(&data, BodyType::PurposeKeyAttestation)?;
        let signature = primary.sign(&wire::signed_hash(&body)).await?.into();
        Ok(Self { signed: SignedWire { data: ByteVec::from(body), signature }, data })
    }

    /// Checks it as the reference does: it has to be under the latest change.
    ///
    /// # Errors
    /// [`Refused`](crate::Kind::Refused) with the rule.
    pub fn verify(&self, identity: &Identity, now: Timestamp) -> Result<VerifiedAttestation> {
        self.verify_latest(identity, now, None)
    }

    pub(crate) fn verify_latest(
        &self,
        identity: &Identity,
        now: Timestamp,
        kept: Option<&VerifiedAttestation>,
    ) -> Result<VerifiedAttestation> {
        if self.data.subject != identity.identifier() {
            return Err(Refusal::OtherSubject.into());
        }
        let latest = identity.latest();
        if self.data.subject_latest_change_hash != latest.hash() {
            return Err(Refusal::NotLatestChange.into());
        }
        self.verify_under(latest, now, kept)
    }

    /// Checks everything but which change it is under: that is the change with the hash that it names. The one check that
    /// neither time nor a rotation can change, that the signature holds, is left out when `kept` is the proof of it.
    pub(crate) fn verify_under(
        &self,
        change: &Change,
        now: Timestamp,
        kept: Option<&VerifiedAttestation>,
    ) -> Result<VerifiedAttestation> {
        self.verify_window(change)?;
        check_time(self.created_at(), self.expires_at(), now)?;
        match kept.filter(|kept| kept.is_of(self)) {
            Some(kept) => Ok(kept.clone()),
            None => self.verify_signature(change),
        }
    }

    pub(crate) fn verify_window(&self, change: &Change) -> Result<()> {
        if self.expires_at() > change.valid_until() {
            return Err(Refusal::OutlivesChange.into());
        }
        if self.created_at() < change.valid_from() {
            return Err(Refusal::BeforeChange.into());
        }
        Ok(())
    }

    fn verify_signature(&self, change: &Change) -> Result<VerifiedAttestation> {
        wire::check(change.primary_key(), &self.signed.data, &self.signed.signature)?;
        Ok(VerifiedAttestation {
            signed: self.signed.clone(),
            subject: self.data.subject,
            key: self.key()?,
            created_at: self.created_at(),
            expires_at: self.expires_at(),
        })
    }
}

impl fmt::Debug for PurposeKeyAttestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurposeKeyAttestation")
            .field("subject", &self.data.subject)
            .field("change", &self.data.subject_latest_change_hash)
            .finish_non_exhaustive()
    }
}

/// Refuses what was made too far in the future, or has expired. `expires_at` itself is still good.
pub(crate) fn check_time(created_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<()> {
    if created_at.since(now) > SKEW_SECONDS {
        return Err(Refusal::Future.into());
    }
    if expires_at < now {
        return Err(Refusal::Expired.into());
    }
    Ok(())
}

/// Proof that an attestation was checked: only verifying makes one.
#[derive(Clone, Debug)]
pub struct VerifiedAttestation {
    signed: SignedWire,
    subject: Identifier,
    key: PurposeKey,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl VerifiedAttestation {
    /// Whether this is the proof of that attestation and not of another one: the same bytes, the same signature.
    pub(crate) fn is_of(&self, attestation: &PurposeKeyAttestation) -> bool {
        self.signed == attestation.signed
    }

    /// Whose key it is.
    #[must_use]
    pub fn subject(&self) -> Identifier {
        self.subject
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PurposeKey {
        &self.key
    }

    /// The key, if it signs credentials.
    ///
    /// # Errors
    /// [`Refusal::OtherPurpose`].
    pub fn credential_key(&self) -> Result<&VerifyingKey> {
        match &self.key {
            PurposeKey::Credential(key) => Ok(key),
            PurposeKey::Channel(_) => Err(Refusal::OtherPurpose.into()),
        }
    }

    /// The first second of its validity.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The last second of its validity.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../tests/vectors/known-answers.txt");

    fn known(name: &str) -> &'static str {
        let mut lines = VECTORS.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == name).unwrap().1
    }

    /// A proof that is not known again costs a check of a signature and no verdict, so only here it can be seen.
    #[test]
    fn a_proof_is_known_again_as_that_of_its_attestation_and_of_no_other() {
        let identity = Identity::import_hex(known("identity-1")).unwrap();
        let attestations = ["channel-attestation-1", "credential-key-attestation-1"]
            .map(|name| PurposeKeyAttestation::from_hex(known(name)).unwrap());
        let now = identity.latest().valid_from();
        for (n, attestation) in attestations.iter().enumerate() {
            let proof = attestation.verify(&identity, now).unwrap();
            for (m, other) in attestations.iter().enumerate() {
                assert_eq!(proof.is_of(other), n == m, "{n} {m}");
            }
        }
    }
}
