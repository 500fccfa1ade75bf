//! An issuer with a credential key, a member, and short words for what tests do with them.

use identity::{
    Attributes, Credential, CredentialDraft, Identity, Kind, MEMBER_SCHEMA, PurposeKey,
    PurposeKeyAttestation, Refusal, Result, Rotation, Timestamp, Validity,
};
use vault::{Signer, block_on};

use crate::raw::Item;
use crate::seeds;

/// When it begins.
pub(crate) const START: Timestamp = Timestamp(1_790_000_000);
/// A year.
pub(crate) const YEAR: u64 = 365 * 86_400;

/// From and until, as seconds after [`START`].
pub(crate) fn window(from: u64, until: u64) -> Validity {
    Validity { from: START.after(from), until: START.after(until) }
}

/// The same as CBOR.
pub(crate) fn raw_window(from: u64, until: u64) -> (Item, Item) {
    let Validity { from, until } = window(from, until);
    (Item::Uint(from.0), Item::Uint(until.0))
}

/// An identity of this key.
pub(crate) fn identity(primary: &Signer) -> Identity {
    block_on(Identity::create(primary, Validity::of_primary_key(START))).unwrap()
}

/// The identity rotated at a second after [`START`].
pub(crate) fn rotated(identity: &Identity, old: &Signer, new: &Signer, at: u64, revoke: bool) -> Identity {
    let valid = Validity::of_primary_key(START.after(at));
    block_on(identity.rotate(old, new, Rotation { valid, revoke_purpose_keys: revoke })).unwrap()
}

/// An attestation of a credential key.
pub(crate) fn attest(
    identity: &Identity,
    primary: &Signer,
    key: &Signer,
    valid: Validity,
) -> PurposeKeyAttestation {
    let key = PurposeKey::Credential(key.public().clone());
    block_on(PurposeKeyAttestation::attest(identity, primary, &key, valid)).unwrap()
}

/// A credential, when it can be drafted at that second.
pub(crate) fn issue(
    (attestation, issuer): (&PurposeKeyAttestation, &Identity),
    key: &Signer,
    member: &Identity,
    at: Timestamp,
    seconds: u64,
) -> Result<Credential> {
    let attributes = Attributes::new(MEMBER_SCHEMA, [("role", "member"), ("site", "north")])?;
    let proof = attestation.verify(issuer, at)?;
    block_on(CredentialDraft::new(attestation, &proof, member, &attributes, at, seconds)?.sign(key))
}

/// An issuer before any rotation, and a member.
pub(crate) struct World {
    /// The issuer's primary key.
    pub(crate) primary: Signer,
    /// The issuer.
    pub(crate) issuer: Identity,
    /// Its credential key.
    pub(crate) key: Signer,
    /// The attestation of that key, from [`START`] for a year.
    pub(crate) attestation: PurposeKeyAttestation,
    /// The member.
    pub(crate) member: Identity,
    /// A credential about the member, from 100 seconds after [`START`] for a day.
    pub(crate) credential: Credential,
}

impl World {
    /// With these keys as the issuer's.
    pub(crate) fn with(primary: Signer, key: Signer) -> Self {
        let issuer = identity(&primary);
        let attestation = attest(&issuer, &primary, &key, window(0, YEAR));
        let member = identity(&seeds::ed25519(90));
        let credential = issue((&attestation, &issuer), &key, &member, START.after(100), 86_400).unwrap();
        Self { primary, issuer, key, attestation, member, credential }
    }

    /// With Ed25519 keys.
    pub(crate) fn new() -> Self {
        Self::with(seeds::ed25519(1), seeds::ed25519(2))
    }
}

/// `ok`, the code of the refusal, or the kind of another failure.
pub(crate) fn verdict<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => match error.kind() {
            Kind::Refused(refusal) => refusal.code(),
            Kind::Malformed => "malformed",
            Kind::Invalid => "invalid",
            Kind::Vault(_) => "vault",
        },
    }
}

/// Fails unless it was refused by this rule.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T>, by: Refusal) {
    assert_eq!(verdict(&result), by.code());
}
