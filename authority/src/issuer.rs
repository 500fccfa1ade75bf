//! The keys an authority issues with: its identity, the credential key, and the attestations that it publishes. One value,
//! replaced as a whole when something of it changes, so that what is issued always fits what is published.

use identity::{
    Attributes, CredentialDraft, Identifier, Identity, IssuerBundle, MAX_ATTESTATIONS, PurposeKeyAttestation,
    Timestamp, VerifiedAttestation,
};
use vault::Signer;

use crate::error::{Error, Kind, Result};

/// How long before its end a credential key is to be renewed, in seconds: a month, or half of its life if that is less.
pub const RENEW_AHEAD_SECONDS: u64 = 30 * 86_400;

/// An authority's identity with the credential key it issues with.
#[derive(Debug)]
pub struct IssuerKeys {
    bundle: IssuerBundle,
    signer: Signer,
    attestation: PurposeKeyAttestation,
    proof: VerifiedAttestation,
}

impl IssuerKeys {
    /// Puts them together, checking that they fit: `attestation` is of `signer`'s key, by `identity` under its latest
    /// change, good now. `others` are the current attestations of further purpose keys, which are published as well.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when they do not fit.
    pub fn new(
        identity: Identity,
        signer: Signer,
        attestation: PurposeKeyAttestation,
        others: Vec<PurposeKeyAttestation>,
        now: Timestamp,
    ) -> Result<Self> {
        let proof = attestation.verify(&identity, now)?;
        if proof.credential_key()? != signer.public() {
            return Err(Error::new(Kind::Invalid, "the credential key is not the one that was attested")
                .with_hint("attest the credential key again with the identity's primary key"));
        }
        if others.len() >= MAX_ATTESTATIONS {
            return Err(Error::new(
                Kind::Invalid,
                format!("more than {MAX_ATTESTATIONS} purpose key attestations"),
            ));
        }
        for other in &others {
            other.verify(&identity, now)?;
        }
        let all = std::iter::once(attestation.clone()).chain(others).collect();
        Ok(Self { bundle: IssuerBundle::new(identity, all), signer, attestation, proof })
    }

    /// Who issues.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.bundle.identity()
    }

    /// Its identifier.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.bundle.identifier()
    }

    /// What is published about it.
    #[must_use]
    pub fn bundle(&self) -> &IssuerBundle {
        &self.bundle
    }

    /// The last second that a credential can reach.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.proof.expires_at()
    }

    /// Whether the credential key nears its end, so that a fresh attestation (or a fresh key) has to be put in place while
    /// credentials of `credential_seconds` still fit.
    #[must_use]
    pub fn needs_renewal(&self, now: Timestamp, credential_seconds: u64) -> bool {
        let life = self.proof.expires_at().since(self.proof.created_at());
        let ahead = RENEW_AHEAD_SECONDS.min(life / 2).max(credential_seconds.saturating_mul(2));
        self.proof.expires_at().since(now) < ahead
    }

    pub(crate) fn draft(
        &self,
        subject: &Identity,
        attributes: &Attributes,
        now: Timestamp,
        seconds: u64,
    ) -> identity::Result<CredentialDraft> {
        CredentialDraft::new(&self.attestation, &self.proof, subject, attributes, now, seconds)
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }
}
