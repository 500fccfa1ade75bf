//! Request keys: software keys, good for a day at most, that sign an identity's HTTP requests, so that a primary key in
//! hardware is asked once a day and not once a request. Attested in a body of a type of our own, so that none of
//! Ockam's bodies can stand for it (docs/formats.md, "request key").

use std::fmt;

use minicbor::bytes::ByteVec;
use vault::{Signer, VerifyingKey};

use crate::clock::Timestamp;
use crate::error::{Error, Refusal, Result};
use crate::history::{Identity, Validity};
use crate::identifier::{ChangeHash, Identifier};
use crate::purpose_key::check_time;
use crate::wire::{self, BodyType, RequestKeyData, SignedWire};

/// The longest a request key may be valid, in seconds.
pub const REQUEST_KEY_SECONDS: u64 = 86_400;

/// The attestation of a request key, as it was received: decoded, not yet checked.
#[derive(Clone)]
pub struct RequestKeyAttestation {
    signed: SignedWire,
    data: RequestKeyData,
}

impl RequestKeyAttestation {
    /// Decodes one (CBOR).
    ///
    /// # Errors
    /// [`Malformed`](crate::Kind::Malformed), or [`Refused`](crate::Kind::Refused) for another type or version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let signed: SignedWire = wire::decode(bytes, "request key attestation")?;
        let data = wire::open_body(&signed.data, BodyType::RequestKey)?;
        Ok(Self { signed, data })
    }

    /// The CBOR encoding.
    ///
    /// # Errors
    /// Never for what was decoded or made here.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(&self.signed)
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

    /// The last second it is good at.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.data.expires_at.into()
    }

    /// Has `primary` vouch for a request key of `identity`, under its latest change.
    ///
    /// # Errors
    /// When `primary` is not the identity's current primary key, the validity is longer than a day or not inside the
    /// change's, or the vault fails.
    pub async fn attest(
        identity: &Identity,
        primary: &Signer,
        key: &VerifyingKey,
        valid: Validity,
    ) -> Result<Self> {
        let latest = identity.latest();
        if primary.public() != latest.primary_key() {
            return Err(Error::invalid("only the identity's current primary key attests its request keys"));
        }
        if valid.until <= valid.from {
            return Err(Error::invalid("the validity ends before it starts"));
        }
        if valid.until.since(valid.from) > REQUEST_KEY_SECONDS {
            return Err(Refusal::TooLong.into());
        }
        if valid.from < latest.valid_from() {
            return Err(Refusal::BeforeChange.into());
        }
        if valid.until > latest.valid_until() {
            return Err(Refusal::OutlivesChange.into());
        }
        let data = RequestKeyData {
            subject: identity.identifier(),
            subject_latest_change_hash: latest.hash(),
            public_key: key.into(),
            created_at: valid.from.into(),
            expires_at: valid.until.into(),
        };
        let body = wire::seal_body(&data, BodyType::RequestKey)?;
        let signature = primary.sign(&wire::signed_hash(&body)).await?.into();
        Ok(Self { signed: SignedWire { data: ByteVec::from(body), signature }, data })
    }

    /// Checks it: under the identity's latest change, at most a day long, good now.
    ///
    /// # Errors
    /// [`Refused`](crate::Kind::Refused) with the rule.
    pub fn verify(&self, identity: &Identity, now: Timestamp) -> Result<VerifiedRequestKey> {
        if self.data.subject != identity.identifier() {
            return Err(Refusal::OtherSubject.into());
        }
        let latest = identity.latest();
        if self.data.subject_latest_change_hash != latest.hash() {
            return Err(Refusal::NotLatestChange.into());
        }
        let (created_at, expires_at) = (Timestamp::from(self.data.created_at), self.expires_at());
        if expires_at.since(created_at) > REQUEST_KEY_SECONDS {
            return Err(Refusal::TooLong.into());
        }
        if created_at < latest.valid_from() {
            return Err(Refusal::BeforeChange.into());
        }
        if expires_at > latest.valid_until() {
            return Err(Refusal::OutlivesChange.into());
        }
        check_time(created_at, expires_at, now)?;
        wire::check(latest.primary_key(), &self.signed.data, &self.signed.signature)?;
        Ok(VerifiedRequestKey { subject: self.data.subject, key: self.data.public_key.key()?, expires_at })
    }
}

impl fmt::Debug for RequestKeyAttestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestKeyAttestation").field("subject", &self.data.subject).finish_non_exhaustive()
    }
}

/// Proof that a request key was checked: only [`RequestKeyAttestation::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedRequestKey {
    subject: Identifier,
    key: VerifyingKey,
    expires_at: Timestamp,
}

impl VerifiedRequestKey {
    /// Whose key it is.
    #[must_use]
    pub fn subject(&self) -> Identifier {
        self.subject
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The last second it is good at.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
