//! Who signed what, when.
//!
//! An [`Identity`] is a change history that verified: each change sets the primary key and is signed by the old key and
//! the new, so the identifier outlives all its keys. The primary key vouches for *purpose keys*
//! ([`PurposeKeyAttestation`]), one of which signs [`Credential`]s. [`verify()`] checks a credential and returns a proof,
//! [`VerifiedCredential`], which is all that later steps take attributes from. Bytes and rules are those of Ockam 0.150
//! (docs/formats.md); this crate reads no clock, no file and no network.
//!
//! ```
//! use std::sync::Arc;
//! use identity::*;
//! use vault::{Custody as _, KeyName, KeySpec, Signer, Vault, soft::SoftVault};
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> { vault::block_on(async {
//! let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
//! let facet = vault.signing().expect("a software vault signs");
//! let now = Timestamp(1_790_000_000);
//!
//! // An issuer with a credential key, and a subject.
//! let primary = Signer::bind(vault.clone(), facet.generate(&KeySpec::p256(KeyName::new("issuer")?)).await?)?;
//! let issuer = Identity::create(&primary, Validity::of_primary_key(now)).await?;
//! let key = Signer::bind(vault.clone(), facet.generate(&KeySpec::ed25519(KeyName::new("credentials")?)).await?)?;
//! let purpose_key = PurposeKey::Credential(key.public().clone());
//! let valid = Validity::starting(now, ATTESTATION_SECONDS);
//! let attestation = PurposeKeyAttestation::attest(&issuer, &primary, &purpose_key, valid).await?;
//! let member = Signer::bind(vault.clone(), facet.generate(&KeySpec::ed25519(KeyName::new("member")?)).await?)?;
//! let member = Identity::create(&member, Validity::of_primary_key(now)).await?;
//!
//! // A credential, checked by somebody who knows the issuer.
//! let attributes = Attributes::new(MEMBER_SCHEMA, [("role", "member")])?;
//! let proof = attestation.verify(&issuer, now)?;
//! let credential = CredentialDraft::new(&attestation, &proof, &member, &attributes, now, 3600)?.sign(&key).await?;
//! let received = Credential::from_hex(&credential.to_hex()?)?;
//! let known = IssuerBundle::history_only(issuer);
//! let verified = verify(&received, &known, Some(&member.identifier()), now, Rule::default())?;
//! assert_eq!(verified.attributes().get("role"), Some("member"));
//! # Ok(()) }) }
//! ```

mod attribute;
mod bundle;
mod clock;
mod credential;
mod error;
mod history;
mod identifier;
mod purpose_key;
mod request_key;
mod verify;
mod wire;

pub use attribute::{Attributes, MAX_ATTRIBUTE_BYTES, MEMBER_SCHEMA, RESERVED_NAMES, check_attribute};
pub use bundle::{IssuerBundle, MAX_ATTESTATIONS};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use credential::{Credential, CredentialDraft};
pub use error::{Error, Kind, Refusal, Result};
pub use history::{Change, Identity, Relation, Rotation, Validity};
pub use identifier::{ChangeHash, Identifier};
pub use purpose_key::{
    ATTESTATION_SECONDS, PurposeKey, PurposeKeyAttestation, SKEW_SECONDS, VerifiedAttestation,
};
pub use request_key::{REQUEST_KEY_SECONDS, RequestKeyAttestation, VerifiedRequestKey};
pub use verify::{DEFAULT_OVERLAP_SECONDS, Rule, VerifiedCredential, verify, verify_with};
pub use wire::{MAX_ATTRIBUTES, MAX_BYTES, MAX_CHANGES};
