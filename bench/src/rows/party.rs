//! Who is in a channel: an identity of ours with a channel key, in a vault in memory.

use std::sync::Arc;

use channel::{AnyPeer, Presentation};
use identity::{Clock, Identity, PurposeKey, PurposeKeyAttestation, SystemClock, Validity};
use node::{ChannelOptions, Error, Party, Pending};
use vault::soft::SoftVault;
use vault::{Agreer, Algorithm, KeyName, KeySpec, Signer, Vault};

use crate::Result;

/// An identity and its channel key.
#[derive(Clone, Debug)]
pub(crate) struct Somebody {
    shown: Presentation,
    key: Agreer,
}

impl Somebody {
    pub(crate) fn new(algorithm: Algorithm) -> Result<Self> {
        vault::block_on(async {
            let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
            let (signing, agreement) =
                vault.signing().zip(vault.agreement()).ok_or("the vault lacks a facet")?;
            let name = KeyName::new("primary")?;
            let spec =
                if algorithm == Algorithm::Ed25519 { KeySpec::ed25519(name) } else { KeySpec::p256(name) };
            let primary = Signer::bind(Arc::clone(&vault), signing.generate(&spec).await?)?;
            let now = SystemClock.now();
            let identity = Identity::create(&primary, Validity::of_primary_key(now)).await?;
            let key = agreement.generate(&KeySpec::x25519(KeyName::new("channel")?)).await?;
            let key = Agreer::bind(Arc::clone(&vault), key)?;
            let purpose = PurposeKey::Channel(key.public().clone());
            let valid = Validity::starting(now, 86_400);
            let attestation = PurposeKeyAttestation::attest(&identity, &primary, &purpose, valid).await?;
            Ok(Self { shown: Presentation::new(&identity, &attestation, &[], now)?, key })
        })
    }

    pub(crate) fn shown(&self) -> Presentation {
        self.shown.clone()
    }

    pub(crate) fn key(&self) -> Agreer {
        self.key.clone()
    }

    /// Speaks to everybody.
    pub(crate) fn options(self) -> ChannelOptions {
        ChannelOptions::new(Arc::new(self), Arc::new(AnyPeer))
    }
}

impl Party for Somebody {
    fn present(&self) -> Pending<'_, (Presentation, Agreer)> {
        Box::pin(async move { Ok::<_, Error>((self.shown(), self.key())) })
    }
}
