//! Credentials: what an issuer says about a subject, for a while.
//!
//! Issuing is in two steps, so that a service can store what it is about to sign before a key is touched: a
//! [`CredentialDraft`] fixes every byte, [`sign`](CredentialDraft::sign) adds the signature.

use std::fmt;

use minicbor::bytes::ByteVec;
use vault::Signer;

use crate::attribute::Attributes;
use crate::clock::Timestamp;
use crate::error::{Error, Refusal, Result};
use crate::history::Identity;
use crate::identifier::Identifier;
use crate::purpose_key::{PurposeKeyAttestation, VerifiedAttestation};
use crate::wire::{self, BodyType, CredentialAndPurposeKeyWire, CredentialData, MAX_BYTES, SignedWire};

/// More than what signatures and lengths add to the two signed bodies of a credential.
const WRAPPING: usize = 256;

/// A credential with the attestation of the key that signed it, as it was received: decoded, not yet checked. This is
/// what travels; its text form is hex.
#[derive(Clone)]
pub struct Credential {
    signed: SignedWire,
    data: CredentialData,
    attestation: PurposeKeyAttestation,
}

impl Credential {
    /// Decodes one (CBOR).
    ///
    /// # Errors
    /// [`Malformed`](crate::Kind::Malformed), or [`Refused`](crate::Kind::Refused) for another type or version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let both: CredentialAndPurposeKeyWire = wire::decode(bytes, "credential")?;
        let attestation = PurposeKeyAttestation::from_wire(both.purpose_key_attestation)?;
        let data = wire::open_body(&both.credential.data, BodyType::Credential)?;
        Ok(Self { signed: both.credential, data, attestation })
    }

    /// As [`decode`](Self::decode), from hex.
    ///
    /// # Errors
    /// As `decode`.
    pub fn from_hex(text: &str) -> Result<Self> {
        Self::decode(&wire::from_hex(text, "credential")?)
    }

    /// The CBOR encoding.
    ///
    /// # Errors
    /// Never for what was decoded or made here.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(&CredentialAndPurposeKeyWire {
            credential: self.signed.clone(),
            purpose_key_attestation: self.attestation.wire().clone(),
        })
    }

    /// The same as hex.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn to_hex(&self) -> Result<String> {
        Ok(hex::encode(self.encode()?))
    }

    /// Who it says is described. Checked only by verifying.
    #[must_use]
    pub fn subject(&self) -> Option<Identifier> {
        self.data.subject
    }

    /// Who it says issued it.
    #[must_use]
    pub fn issuer(&self) -> Identifier {
        self.attestation.subject()
    }

    /// The attestation it came with.
    #[must_use]
    pub fn attestation(&self) -> &PurposeKeyAttestation {
        &self.attestation
    }

    /// What it says. Checked only by verifying.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for too many attributes.
    pub fn attributes(&self) -> Result<Attributes> {
        Attributes::from_wire(self.data.attributes.clone())
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

    /// The hash that is signed: names this credential in audit rows and intents.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        wire::signed_hash(&self.signed.data)
    }

    pub(crate) fn check_signature(&self, key: &vault::VerifyingKey) -> Result<()> {
        wire::check(key, &self.signed.data, &self.signed.signature)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("subject", &self.data.subject)
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

/// A credential with every byte fixed but the signature.
#[derive(Clone)]
pub struct CredentialDraft {
    body: Vec<u8>,
    data: CredentialData,
    attestation: PurposeKeyAttestation,
    key: vault::VerifyingKey,
}

impl CredentialDraft {
    /// Drafts a credential about `subject`, from `now` for `seconds`, to be signed by the credential key that `proof`
    /// attests (`attestation` is what will travel with it). What is issued is half-open: its last good second is the one
    /// before `now + seconds`.
    ///
    /// # Errors
    /// [`Refusal::OtherPurpose`] when the attested key is no credential key, [`Refusal::OutlivesPurposeKey`] and
    /// [`Refusal::BeforePurposeKey`] when the credential would not lie inside the attestation's validity,
    /// [`Refusal::TooLarge`] when nobody would take so many bytes, [`Invalid`](crate::Kind::Invalid) for the proof of
    /// another attestation.
    pub fn new(
        attestation: &PurposeKeyAttestation,
        proof: &VerifiedAttestation,
        subject: &Identity,
        attributes: &Attributes,
        now: Timestamp,
        seconds: u64,
    ) -> Result<Self> {
        let key = proof.credential_key()?.clone();
        if !proof.is_of(attestation) {
            return Err(Error::invalid("the proof is that of another attestation"));
        }
        if seconds == 0 {
            return Err(Error::invalid("a credential has to be valid for at least a second"));
        }
        let expires_at = now.after(seconds.saturating_sub(1));
        if now < proof.created_at() {
            return Err(Refusal::BeforePurposeKey.into());
        }
        if expires_at > proof.expires_at() {
            return Err(Refusal::OutlivesPurposeKey.into());
        }
        let data = CredentialData {
            subject: Some(subject.identifier()),
            subject_latest_change_hash: Some(subject.latest().hash()),
            attributes: attributes.to_wire(),
            created_at: now.into(),
            expires_at: expires_at.into(),
        };
        let body = wire::seal_body(&data, BodyType::Credential)?;
        if body.len() + attestation.wire().data.len() + WRAPPING > MAX_BYTES {
            return Err(Refusal::TooLarge.into());
        }
        Ok(Self { body, data, attestation: attestation.clone(), key })
    }

    /// The hash that will be signed: what an intent records.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        wire::signed_hash(&self.body)
    }

    /// The last second the credential will be good at.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.data.expires_at.into()
    }

    /// Signs it.
    ///
    /// # Errors
    /// When `signer` is not the attested key, or the vault fails.
    pub async fn sign(self, signer: &Signer) -> Result<Credential> {
        if *signer.public() != self.key {
            return Err(Error::invalid("the credential key is not the one that was attested"));
        }
        let signature = signer.sign(&self.hash()).await?.into();
        let signed = SignedWire { data: ByteVec::from(self.body), signature };
        Ok(Credential { signed, data: self.data, attestation: self.attestation })
    }
}

impl fmt::Debug for CredentialDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialDraft").field("subject", &self.data.subject).finish_non_exhaustive()
    }
}
