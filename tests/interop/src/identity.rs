//! Identities, attestations and credentials, made and verified by `ockam_identity`.
//!
//! It reads the machine's clock and cannot be given another one: what is to be accepted has to be valid now.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ockam_identity::models::{
    Attributes, ChangeHistory, CredentialAndPurposeKey, CredentialSchemaIdentifier, PurposeKeyAttestation,
    PurposePublicKey,
};
use ockam_identity::{Identifier, Identities, Identity, identities};
use ockam_vault::SigningKeyType;
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;

/// The type of a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256.
    P256,
}

impl From<KeyType> for SigningKeyType {
    fn from(value: KeyType) -> Self {
        match value {
            KeyType::Ed25519 => Self::EdDSACurve25519,
            KeyType::P256 => Self::ECDSASHA256CurveP256,
        }
    }
}

/// What an attested key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrCredentials {
    /// The static X25519 key of secure channels.
    SecureChannel,
    /// The key that signs credentials.
    Credentials,
}

/// A change history that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHistory {
    /// The identifier, as text.
    pub identifier: String,
    /// How many changes the history has.
    pub changes: usize,
    /// The hash of the latest change, as hexadecimal.
    pub latest_change_hash: String,
}

/// An attestation that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The identifier of the identity that attests.
    pub subject: String,
    /// What the key is for.
    pub purpose: ChannelOrCredentials,
    /// The attested public key as it is encoded: 32 bytes, or 65 for P-256.
    pub public_key: Vec<u8>,
    /// Start of its validity, seconds since 1970.
    pub created_at: u64,
    /// Its last valid second.
    pub expires_at: u64,
}

/// A credential that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCredential {
    /// The identifier of its subject.
    pub subject: String,
    /// The identifier of its issuer.
    pub issuer: String,
    /// The number of its schema.
    pub schema: u64,
    /// Its attributes: any bytes to any bytes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Start of its validity, seconds since 1970.
    pub created_at: u64,
    /// Its last valid second.
    pub expires_at: u64,
}

/// An identity to be made.
#[derive(Debug, Clone)]
pub struct NewIdentity {
    /// The type of its first key.
    pub key_type: KeyType,
    /// The types of the keys it is then rotated to, in order.
    pub rotations: Vec<KeyType>,
    /// Validity of each change from now on, in seconds; ten years when absent, as the published crates have it.
    pub ttl: Option<u64>,
}

/// An identity made here; its secret key stays in the judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeIdentity {
    /// The identifier, as text.
    pub identifier: String,
    /// The change history, encoded.
    pub change_history: Vec<u8>,
}

/// An attestation made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The attestation, encoded.
    pub attestation: Vec<u8>,
    /// The attesting identity's change history, encoded.
    pub change_history: Vec<u8>,
}

/// A credential to be issued.
#[derive(Debug, Clone)]
pub struct NewCredential<'a> {
    /// The identifier of an identity made by this judge.
    pub issuer: &'a str,
    /// The identifier of the subject.
    pub subject: &'a str,
    /// The subject's change history; needed unless the judge made the subject or has imported it before.
    pub subject_change_history: Option<&'a [u8]>,
    /// The number of the schema.
    pub schema: u64,
    /// The attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Lifetime in seconds.
    pub ttl: u64,
    /// A new credential key of this type, rather than the one in use (Ed25519 at first).
    pub new_key: Option<KeyType>,
}

/// A credential issued here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The credential and the attestation of the key that signed it, encoded together.
    pub credential: Vec<u8>,
    /// The issuer's change history, encoded.
    pub issuer_change_history: Vec<u8>,
}

/// `ockam_identity` with keys and histories in memory.
pub struct Judge {
    runtime: Runtime,
    /// Keys and histories of what this judge makes. Verification never looks here.
    own: Arc<Identities>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl Judge {
    /// A judge that has made and seen nothing yet.
    ///
    /// # Errors
    /// [`Kind::Broken`](crate::Kind::Broken) when the runtime or the database in memory cannot be set up.
    pub fn new() -> Result<Self, Error> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|e| Error::broken(e.to_string()))?;
        let own = runtime.block_on(identities()).map_err(|e| Error::broken(e.to_string()))?;
        Ok(Self { runtime, own })
    }

    fn run<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(question)
    }

    /// Verifies a change history: alone, and by importing it into an empty store and reading it back from there,
    /// which verifies it again.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) with the reason when the history is not accepted or is not that of
    /// `expected`.
    pub fn verify_history(&self, history: &[u8], expected: Option<&str>) -> Result<VerifiedHistory, Error> {
        let expected = expected.map(identifier).transpose()?;
        self.run(async {
            let identity =
                Identity::import(expected.as_ref(), history, ockam_identity::Vault::create_verifying_vault())
                    .await?;
            let (store, imported) = import(history).await?;
            let stored = store.get_identity(&imported).await?;
            if stored != identity {
                return Err(Error::broken("the stored identity differs from the imported one"));
            }
            Ok(VerifiedHistory {
                identifier: identity.identifier().to_string(),
                changes: identity.changes().len(),
                latest_change_hash: identity.latest_change_hash()?.to_string(),
            })
        })
    }

    /// Shows a second history to a store that knows a first one of the same identity.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when either is not accepted, or the second is older than the first
    /// or in conflict with it.
    pub fn update_history(&self, known: &[u8], shown: &[u8]) -> Result<(), Error> {
        self.run(async {
            let (store, imported) = import(known).await?;
            store.identities_verification().import(Some(&imported), shown).await?;
            Ok(())
        })
    }

    /// Verifies an attestation under the latest change of a history.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) with the reason when history or attestation is not accepted.
    pub fn verify_attestation(&self, history: &[u8], attestation: &[u8]) -> Result<Attested, Error> {
        self.run(async {
            let (store, subject) = import(history).await?;
            let attestation: PurposeKeyAttestation = minicbor::decode(attestation)?;
            let verification = store.purpose_keys().purpose_keys_verification();
            let data = verification.verify_purpose_key_attestation(Some(&subject), &attestation).await?;
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
        })
    }

    /// Verifies a credential with its embedded attestation, trusting only the issuer with this history, as a
    /// verifier does that knows nothing else. A subject's history, when given, has to be acceptable too.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) with the reason when anything of it is not accepted.
    pub fn verify_credential(
        &self,
        issuer_history: &[u8],
        credential: &[u8],
        subject: Option<&str>,
        subject_history: Option<&[u8]>,
    ) -> Result<VerifiedCredential, Error> {
        let subject = subject.map(identifier).transpose()?;
        self.run(async {
            let (store, issuer) = import(issuer_history).await?;
            if let Some(history) = subject_history {
                store.identities_verification().import(subject.as_ref(), history).await?;
            }
            let credential: CredentialAndPurposeKey = minicbor::decode(credential)?;
            let verification = store.credentials().credentials_verification();
            let verified = verification.verify_credential(subject.as_ref(), &[issuer], &credential).await?;
            let data = verified.credential_data;
            let subject =
                data.subject.ok_or_else(|| Error::broken("an accepted credential without a subject"))?;
            Ok(VerifiedCredential {
                subject: subject.to_string(),
                issuer: verified.purpose_key_data.subject.to_string(),
                schema: data.subject_attributes.schema.0,
                attributes: data
                    .subject_attributes
                    .map
                    .into_iter()
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect(),
                created_at: data.created_at.0,
                expires_at: data.expires_at.0,
            })
        })
    }

    /// Makes an identity and rotates it as often as asked.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) with the published crates' reason; none is expected.
    pub fn create_identity(&self, new: &NewIdentity) -> Result<MadeIdentity, Error> {
        let identifier = self.run(async {
            let mut builder =
                self.own.identities_creation().identity_builder().with_random_key(new.key_type.into());
            if let Some(ttl) = new.ttl {
                builder = builder.with_ttl(ttl);
            }
            Ok(builder.build().await?.to_string())
        })?;
        for key_type in &new.rotations {
            self.rotate_identity(&identifier, *key_type, false, new.ttl)?;
        }
        self.exported(identifier)
    }

    /// Rotates an identity made here to a new key. The published crates destroy the old one.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the identity was not made here.
    pub fn rotate_identity(
        &self,
        name: &str,
        key_type: KeyType,
        revoke_purpose_keys: bool,
        ttl: Option<u64>,
    ) -> Result<MadeIdentity, Error> {
        let subject = identifier(name)?;
        self.run(async {
            let creation = self.own.identities_creation();
            let mut builder = creation.identity_builder().with_random_key(key_type.into());
            if revoke_purpose_keys {
                builder = builder.with_purpose_keys_revocation();
            }
            if let Some(ttl) = ttl {
                builder = builder.with_ttl(ttl);
            }
            creation.rotate_identity_with_options(&subject, builder.build_options().await?).await?;
            Ok(())
        })?;
        self.exported(subject.to_string())
    }

    /// Makes a new purpose key for an identity made here and attests it; later credentials are signed with it when
    /// it is for credentials. `key_type` is ignored for channels, whose keys are always X25519.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the identity was not made here.
    pub fn attest(
        &self,
        name: &str,
        purpose: ChannelOrCredentials,
        key_type: KeyType,
        ttl: Option<u64>,
    ) -> Result<Attestation, Error> {
        let subject = identifier(name)?;
        let attestation = self.run(async {
            let creation = self.own.purpose_keys().purpose_keys_creation();
            let attestation = match purpose {
                ChannelOrCredentials::SecureChannel => {
                    let mut builder = creation.secure_channel_purpose_key_builder(&subject);
                    if let Some(ttl) = ttl {
                        builder = builder.with_ttl(ttl);
                    }
                    builder.build().await?.attestation().clone()
                }
                ChannelOrCredentials::Credentials => {
                    let mut builder =
                        creation.credential_purpose_key_builder(&subject).with_random_key(key_type.into());
                    if let Some(ttl) = ttl {
                        builder = builder.with_ttl(ttl);
                    }
                    builder.build().await?.attestation().clone()
                }
            };
            Ok(ockam_core::cbor_encode_preallocate(&attestation)?)
        })?;
        Ok(Attestation { attestation, change_history: self.exported(subject.to_string())?.change_history })
    }

    /// Issues a credential.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the issuer was not made here, or the subject's history is
    /// neither known nor given, or is older than what is known.
    pub fn issue_credential(&self, new: NewCredential<'_>) -> Result<Issued, Error> {
        let issuer = identifier(new.issuer)?;
        let subject = identifier(new.subject)?;
        if let Some(key_type) = new.new_key {
            self.attest(new.issuer, ChannelOrCredentials::Credentials, key_type, None)?;
        }
        let credential = self.run(async {
            if let Some(history) = new.subject_change_history {
                self.own.identities_verification().import(Some(&subject), history).await?;
            }
            let attributes = Attributes {
                schema: CredentialSchemaIdentifier(new.schema),
                map: new.attributes.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            };
            let creation = self.own.credentials().credentials_creation();
            let ttl = Duration::from_secs(new.ttl);
            Ok(creation.issue_credential(&issuer, &subject, attributes, ttl).await?.encode_as_cbor_bytes()?)
        })?;
        Ok(Issued { credential, issuer_change_history: self.exported(issuer.to_string())?.change_history })
    }

    fn exported(&self, name: String) -> Result<MadeIdentity, Error> {
        let subject = identifier(&name)?;
        let change_history = self.run(async { Ok(self.own.export_identity(&subject).await?) })?;
        Ok(MadeIdentity { identifier: name, change_history })
    }
}

/// An empty store that has imported one history.
async fn import(history: &[u8]) -> Result<(Arc<Identities>, Identifier), Error> {
    let history = ChangeHistory::import(history)?;
    let store = identities().await.map_err(|e| Error::broken(e.to_string()))?;
    let identifier = store.identities_verification().import_from_change_history(None, history).await?;
    Ok((store, identifier))
}

fn identifier(text: &str) -> Result<Identifier, Error> {
    Identifier::try_from(text).map_err(|_| Error::malformed(format!("`{text}` is not an identifier")))
}

fn key_bytes(key: ockam_identity::models::CredentialVerifyingKey) -> Vec<u8> {
    use ockam_identity::models::CredentialVerifyingKey::{ECDSASHA256CurveP256, EdDSACurve25519};
    match key {
        EdDSACurve25519(key) => key.0.to_vec(),
        ECDSASHA256CurveP256(key) => key.0.to_vec(),
    }
}
