//! Who one is in a channel: an identity with a channel key, here in a vault in memory. Any vault will do.

use std::sync::Arc;

use channel::Presentation;
use identity::{
    ATTESTATION_SECONDS, Clock, Identity, PurposeKey, PurposeKeyAttestation, SystemClock, Validity,
};
use node::{Error, Kind, Pending, Result};
use vault::soft::SoftVault;
use vault::{Agreer, KeyName, KeySpec, Signer, Vault};

/// An identity with a channel key.
pub(crate) struct Party {
    /// The identity.
    pub(crate) identity: Identity,
    attestation: PurposeKeyAttestation,
    key: Agreer,
    /// What it presents of others' about itself.
    #[allow(dead_code, reason = "not every example has credentials")]
    pub(crate) credentials: Vec<identity::Credential>,
}

fn failed(error: identity::Error) -> Error {
    Error::new(Kind::Backend, error.to_string())
}

impl Party {
    /// A new one.
    pub(crate) async fn new() -> Result<Self> {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
        let (Some(signing), Some(agreement)) = (vault.signing(), vault.agreement()) else {
            return Err(Error::new(Kind::Unsupported, "the vault neither signs nor agrees"));
        };
        let primary = signing.generate(&KeySpec::ed25519(KeyName::new("primary")?)).await?;
        let primary = Signer::bind(Arc::clone(&vault), primary)?;
        let now = SystemClock.now();
        let identity = Identity::create(&primary, Validity::of_primary_key(now)).await.map_err(failed)?;
        let key = agreement.generate(&KeySpec::x25519(KeyName::new("channel")?)).await?;
        let key = Agreer::bind(Arc::clone(&vault), key)?;
        let valid = Validity::starting(now, ATTESTATION_SECONDS);
        let purpose = PurposeKey::Channel(key.public().clone());
        let attestation =
            PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await.map_err(failed)?;
        Ok(Self { identity, attestation, key, credentials: Vec::new() })
    }
}

impl node::Party for Party {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move {
            let now = SystemClock.now();
            let shown = Presentation::new(&self.identity, &self.attestation, &self.credentials, now);
            Ok((shown.map_err(failed)?, self.key.clone()))
        })
    }
}
