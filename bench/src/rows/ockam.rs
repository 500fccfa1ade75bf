//! The published Ockam crates, with one store in memory that is made once.

use std::sync::Arc;
use std::time::Duration;

use ockam_identity::models::{Attributes, CredentialAndPurposeKey, CredentialSchemaIdentifier};
use ockam_identity::{
    CredentialsCreation, CredentialsVerification, Identifier, Identities, Identity, Vault, identities,
};
use ockam_vault::{SigningKeyType, VaultForVerifyingSignatures};
use tokio::runtime::Builder;
use vault::Algorithm;

use super::issuer::{LIFE, attributes};
use crate::Result;
use crate::contender::Runner;

/// `ockam_identity`, and how its futures are run.
#[derive(Clone)]
pub(super) struct Ockam {
    pub(super) runner: Runner,
    store: Arc<Identities>,
    verifying: Arc<dyn VaultForVerifyingSignatures>,
}

impl Ockam {
    pub(super) fn new() -> Result<Self> {
        let runner = Runner::Tokio(Arc::new(Builder::new_current_thread().enable_all().build()?));
        let store = runner.run(identities())?;
        Ok(Self { runner, store, verifying: Vault::create_verifying_vault() })
    }

    /// Verifies a change history and stores nothing.
    pub(super) async fn verify_history(&self, history: &[u8]) -> Result<Identity> {
        Ok(Identity::import(None, history, Arc::clone(&self.verifying)).await?)
    }

    /// Verifies a change history and stores it.
    pub(super) fn know(&self, history: &[u8]) -> Result<Identifier> {
        Ok(self.runner.run(self.store.identities_verification().import(None, history))?)
    }

    /// What verifies credentials.
    pub(super) fn verification(&self) -> Arc<CredentialsVerification> {
        self.store.credentials().credentials_verification()
    }

    /// An issuer of its own, with a credential key of the same type, and a member.
    pub(super) fn issuer(&self, algorithm: Algorithm) -> Result<OckamIssuer> {
        let key_type = || match algorithm {
            Algorithm::Ed25519 => SigningKeyType::EdDSACurve25519,
            _ => SigningKeyType::ECDSASHA256CurveP256,
        };
        self.runner.run(async {
            let make = self.store.identities_creation();
            let issuer = make.identity_builder().with_random_key(key_type()).build().await?;
            let member = make.identity_builder().with_random_key(key_type()).build().await?;
            let purpose_keys = self.store.purpose_keys().purpose_keys_creation();
            purpose_keys.credential_purpose_key_builder(&issuer).with_random_key(key_type()).build().await?;
            let map = attributes()
                .map(|(name, value)| (name.as_bytes().to_vec().into(), value.as_bytes().to_vec().into()));
            Ok(OckamIssuer {
                history: self.store.export_identity(&issuer).await?,
                creation: self.store.credentials().credentials_creation(),
                attributes: Attributes {
                    schema: CredentialSchemaIdentifier(1),
                    map: map.into_iter().collect(),
                },
                issuer,
                member,
            })
        })
    }
}

/// An issuer whose keys and history are in the store.
#[derive(Clone)]
pub(super) struct OckamIssuer {
    pub(super) history: Vec<u8>,
    pub(super) member: Identifier,
    issuer: Identifier,
    creation: Arc<CredentialsCreation>,
    attributes: Attributes,
}

impl OckamIssuer {
    pub(super) async fn issue(&self) -> Result<CredentialAndPurposeKey> {
        let life = Duration::from_secs(LIFE);
        let attributes = self.attributes.clone();
        Ok(self.creation.issue_credential(&self.issuer, &self.member, attributes, life).await?)
    }
}
