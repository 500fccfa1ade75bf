//! The vault: the facets, each turning a call into work for the thread that talks to KMS.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::meta::PKG_VERSION;
use sha2::{Digest as _, Sha256};
use vault::device::{Answer, Effect};
use vault::{
    Agreement, AgreementFacet, AgreementKey, Algorithm, AttestationFacet, Capabilities, Capability, Custody,
    Error, Inventory, KeyEvidence, KeyHandle, KeyInfo, KeyName, KeySpec, KeyUri, Kind, ListingFacet,
    MAX_SEAL, Pending, Presence, Protection, Purpose, RestoringFacet, Result, Scheme, Sealing, SealingFacet,
    SecretBytes, Signature, Signing, SigningFacet, Vault, VaultId,
};
use zeroize::Zeroizing;

use crate::address::{Address, Wanted, is_key_id};
use crate::client::Kms;
use crate::desk::Desk;
use crate::encoding;
use crate::keys::Opened;
use crate::operations::{Named, ToSign};
use crate::quirks;

/// The keys of one namespace in one region of one account.
pub struct AwsKmsVault {
    id: VaultId,
    capabilities: Capabilities,
    kms: Arc<Kms>,
    desk: Desk,
}

impl AwsKmsVault {
    /// Connects, and asks for one alias: whether region, endpoint, credentials and clock are right shows now, and not at the first
    /// signature.
    pub(crate) async fn open(address: Address, deadline: Duration) -> Result<Self> {
        let desk = Desk::start(address.shown(), deadline)?;
        let id = address.vault_id()?;
        let connect = async move {
            let kms = Kms::new(address, deadline).await?;
            kms.first_look().await?;
            Ok(kms)
        };
        let kms = Arc::new(desk.submit(Effect::Reads, connect).await?);
        Ok(Self { id, capabilities: capabilities(), kms, desk })
    }

    fn request<T, F>(&self, effect: Effect, work: impl FnOnce(Arc<Kms>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.desk.submit(effect, work(Arc::clone(&self.kms)))
    }

    fn mine<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<Named> {
        if key.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        if !is_key_id(key.id()) {
            return Err(Error::new(Kind::Invalid, "the key handle is not one of a vault in AWS KMS"));
        }
        let id = key.id().to_owned();
        let shown = key.uri().text("name")?.unwrap_or(key.id()).to_owned();
        Ok(Named { id, shown })
    }

    fn handle<P: Purpose>(&self, opened: Opened) -> Result<KeyHandle<P>> {
        let public = opened.public.as_deref();
        KeyHandle::from_parts(self.id.clone(), opened.id, opened.uri, opened.algorithm, public)
    }
}

fn capabilities() -> Capabilities {
    let line = |algorithm, note| Capability {
        algorithm,
        protection: Protection::Hardware,
        presence: Presence::None,
        note,
    };
    Capabilities::new(vec![
        line(Algorithm::EcdsaP256, "hashed by us, signed as a digest, low s"),
        line(Algorithm::Ed25519, "messages of 1 to 4096 bytes, which is what KMS takes"),
        line(
            Algorithm::EcdhP256,
            "by DeriveSharedSecret; no X25519: channel keys are software keys that KMS seals",
        ),
        line(Algorithm::Aes256Gcm, "a data key of KMS for each text, AES-256-GCM here"),
    ])
}

impl Vault for AwsKmsVault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::AwsKms
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn signing(&self) -> Option<&dyn SigningFacet> {
        Some(self)
    }

    fn agreement(&self) -> Option<&dyn AgreementFacet> {
        Some(self)
    }

    fn sealing(&self) -> Option<&dyn SealingFacet> {
        Some(self)
    }

    fn attestation(&self) -> Option<&dyn AttestationFacet> {
        Some(self)
    }

    fn listing(&self) -> Option<&dyn ListingFacet> {
        Some(self)
    }

    fn restoring(&self) -> Option<&dyn RestoringFacet> {
        Some(self)
    }

    /// Of a service there is no version to tell, but of the software that reaches it. Its quotas only AWS's own tools know.
    fn inventory(&self) -> Pending<'_, Inventory> {
        let inventory =
            Inventory::new("AWS KMS").with_version("library", "AWS SDK for Rust, KMS", PKG_VERSION);
        Box::pin(std::future::ready(Ok(inventory)))
    }
}

impl<P: Purpose> Custody<P> for AwsKmsVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let (algorithm, name) = (spec.algorithm(), spec.name().clone());
            let work = |kms: Arc<Kms>| async move { kms.generate(algorithm, name.as_str()).await };
            self.handle(self.request(Effect::Changes, work).await?)
        })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move {
            let wanted = Wanted::parse(uri, &self.kms.address)?;
            let work = |kms: Arc<Kms>| async move { kms.open(P::KIND, &wanted).await };
            self.handle(self.request(Effect::Reads, work).await?)
        })
    }

    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()> {
        Box::pin(async move {
            let key = self.mine(&key)?;
            let work = |kms: Arc<Kms>| async move { kms.destroy(&key.id, &key.shown).await };
            self.request(Effect::Changes, work).await
        })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        let name = name.clone();
        let work = |kms: Arc<Kms>| async move { kms.discard(P::KIND, name.as_str()).await };
        Box::pin(self.request(Effect::Changes, work))
    }
}

impl SigningFacet for AwsKmsVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            let named = self.mine(key)?;
            let lengths = self.message_lengths(key.algorithm());
            if !lengths.contains(&message.len()) {
                let text = format!("KMS signs no message of {} bytes by {}", message.len(), key.algorithm());
                let most = quirks::MESSAGE.end();
                return Err(Error::new(Kind::Invalid, text)
                    .with_hint(format!("it takes 1 to {most}: sign a hash, or use a p256 key")));
            }
            let what = match key.algorithm() {
                Algorithm::EcdsaP256 => ToSign::Digest(Sha256::digest(message).into()),
                _ => ToSign::Message(message.to_vec()),
            };
            self.request(Effect::Reads, |kms| async move { kms.sign(&named, what).await }).await
        })
    }

    fn message_lengths(&self, algorithm: Algorithm) -> RangeInclusive<usize> {
        if algorithm == Algorithm::Ed25519 { quirks::MESSAGE } else { 0..=usize::MAX }
    }
}

impl AttestationFacet for AwsKmsVault {
    fn attest<'a>(&'a self, key: &'a KeyHandle<Signing>) -> Pending<'a, KeyEvidence> {
        Box::pin(async move {
            let named = self.mine(key)?;
            self.request(Effect::Reads, |kms| async move { kms.attest(&named).await }).await
        })
    }
}

impl AgreementFacet for AwsKmsVault {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let named = self.mine(key)?;
            if peer.algorithm() != key.algorithm() {
                return Err(Error::new(Kind::Invalid, "the peer's key is of another type"));
            }
            let peer = encoding::spki(peer);
            self.request(Effect::Reads, |kms| async move { kms.agree(&named, peer).await }).await
        })
    }
}

impl SealingFacet for AwsKmsVault {
    fn seal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        plain: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            if plain.len() > MAX_SEAL {
                return Err(Error::new(Kind::Invalid, format!("more than {MAX_SEAL} bytes to seal")));
            }
            let named = self.mine(key)?;
            let (plain, associated) = (Zeroizing::new(plain.to_vec()), associated.to_vec());
            let work = |kms: Arc<Kms>| async move { kms.seal(&named, &plain, &associated).await };
            self.request(Effect::Reads, work).await
        })
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let named = self.mine(key)?;
            let (sealed, associated) = (sealed.to_vec(), associated.to_vec());
            let work = |kms: Arc<Kms>| async move { kms.unseal(&named, &sealed, &associated).await };
            self.request(Effect::Reads, work).await
        })
    }
}

impl ListingFacet for AwsKmsVault {
    fn list(&self) -> Pending<'_, Vec<KeyInfo>> {
        Box::pin(self.request(Effect::Reads, Kms::list))
    }
}

impl RestoringFacet for AwsKmsVault {
    fn restore<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyInfo> {
        Box::pin(async move {
            let wanted = Wanted::parse(uri, &self.kms.address)?;
            let work = |kms: Arc<Kms>| async move { kms.restore(&wanted).await };
            self.request(Effect::Changes, work).await
        })
    }
}

impl fmt::Debug for AwsKmsVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKmsVault").field("id", &self.id).finish_non_exhaustive()
    }
}
