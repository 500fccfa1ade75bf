//! Identities to work with, made by ours, on keys in memory.

use std::sync::Arc;

use identity::{
    ATTESTATION_SECONDS, Attributes, Clock as _, Credential, CredentialDraft, Identity, MEMBER_SCHEMA,
    PurposeKey, PurposeKeyAttestation, Rotation, SystemClock, Timestamp, Validity,
};
use vault::soft::SoftVault;
use vault::{Algorithm, Signer, Vault, block_on};

use super::software;
use crate::Result;

/// How long a credential is good, as the authority issues them.
pub(super) const LIFE: u64 = 3600;

/// An identity of this many changes, all of whose keys are of this type, with its current key.
pub(super) fn identity(algorithm: Algorithm, changes: usize) -> Result<(Identity, Signer)> {
    let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
    let valid = Validity::of_primary_key(SystemClock.now());
    let mut key = software::signer(&vault, "primary-1", algorithm)?;
    let mut identity = block_on(Identity::create(&key, valid))?;
    for change in 2..=changes {
        let next = software::signer(&vault, &format!("primary-{change}"), algorithm)?;
        let rotation = Rotation { valid, revoke_purpose_keys: false };
        identity = block_on(identity.rotate(&key, &next, rotation))?;
        key = next;
    }
    Ok((identity, key))
}

/// Somebody who issues credentials, and whom they are about.
#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) identity: Identity,
    pub(super) member: Identity,
    pub(super) attestation: PurposeKeyAttestation,
    pub(super) key: Signer,
    pub(super) attributes: Attributes,
    /// Everything is made and checked as of this moment.
    pub(super) now: Timestamp,
}

impl Issuer {
    pub(super) fn new(algorithm: Algorithm) -> Result<Self> {
        let (identity, primary) = identity(algorithm, 1)?;
        let (member, _) = self::identity(algorithm, 1)?;
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
        let key = software::signer(&vault, "credentials", algorithm)?;
        let now = identity.latest().valid_from();
        let purpose_key = PurposeKey::Credential(key.public().clone());
        let valid = Validity::starting(now, ATTESTATION_SECONDS);
        let attestation = block_on(PurposeKeyAttestation::attest(&identity, &primary, &purpose_key, valid))?;
        let attributes = Attributes::new(MEMBER_SCHEMA, attributes())?;
        Ok(Self { identity, member, attestation, key, attributes, now })
    }

    /// Issues with the proof that the attestation was checked.
    pub(super) async fn issue(&self, proof: &identity::VerifiedAttestation) -> Result<Credential> {
        let Self { attestation, member, attributes, now, .. } = self;
        Ok(CredentialDraft::new(attestation, proof, member, attributes, *now, LIFE)?.sign(&self.key).await?)
    }
}

/// What a member's credential says.
pub(super) fn attributes() -> [(&'static str, &'static str); 3] {
    [("ockam-role", "member"), ("project", "7d1b6e6c-0f5e-4f0a-9d2b-8a4f6f3c2b10"), ("team", "payments")]
}
