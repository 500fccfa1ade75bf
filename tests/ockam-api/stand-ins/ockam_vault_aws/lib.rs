//! Stands in for `ockam_vault_aws`, which brings the client of a cloud that nothing here asks for anything:
//! the vaults of the judge are databases on disk. A vault of this kind cannot be had, so no key can be in one.

use ockam_core::errcode::{Kind, Origin};
use ockam_core::{Error, Result, async_trait};
use ockam_vault::{Signature, SigningKeyType, SigningSecretKeyHandle, VaultForSigning, VerifyingPublicKey};

/// Has no values.
#[derive(Debug)]
pub enum AwsSigningVault {}

impl AwsSigningVault {
    /// Refuses.
    pub async fn create() -> Result<Self> {
        Err(Error::new(Origin::Vault, Kind::Unsupported, "built without keys in a cloud"))
    }
}

#[async_trait]
impl VaultForSigning for AwsSigningVault {
    async fn sign(&self, _: &SigningSecretKeyHandle, _: &[u8]) -> Result<Signature> {
        match *self {}
    }

    async fn generate_signing_secret_key(&self, _: SigningKeyType) -> Result<SigningSecretKeyHandle> {
        match *self {}
    }

    async fn get_verifying_public_key(&self, _: &SigningSecretKeyHandle) -> Result<VerifyingPublicKey> {
        match *self {}
    }

    async fn get_secret_key_handle(&self, _: &VerifyingPublicKey) -> Result<SigningSecretKeyHandle> {
        match *self {}
    }

    async fn delete_signing_secret_key(&self, _: SigningSecretKeyHandle) -> Result<bool> {
        match *self {}
    }
}
