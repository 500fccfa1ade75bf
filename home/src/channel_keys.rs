//! Channel keys: the X25519 key by which an identity opens secure channels, and the vault that holds it.

use std::sync::Arc;

use identity::{Clock, PurposeKey, PurposeKeyAttestation, Timestamp};
use vault::soft::{Lock, LockedBy};
use vault::{Agreer, Algorithm, KeySpec, Scheme, Vault};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::identities::IdentityRecord;
use crate::keys::{KeyRef, PurposeKeyRecord, attest, derived_key_name, fresh_key_name};
use crate::locks::Kek;
use crate::record::Name;
use crate::vaults::Vaults;

impl Home {
    /// The channel key of an identity, with its attestation: the one it has, or a new one when it has none or the
    /// attestation ends before `good_until`.
    ///
    /// A new one is made in the vault of the primary key, where that agrees by X25519. Else it is a software key, in a vault
    /// of its own beside it that a key of that vault locks, where that has keys that seal.
    ///
    /// # Errors
    /// What the vaults meet.
    pub async fn ensure_channel_key(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        good_until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(Agreer, PurposeKeyAttestation)> {
        let record = self.identity(name)?;
        if let Some(found) = self.channel_key(vaults, &record, good_until, clock.now()).await? {
            return Ok(found);
        }
        let identity = record.identity()?;
        let primary_ref = record.own_key()?;
        let primary = primary_ref.open(vaults).await?;
        // An attestation that runs out is renewed for the same key; a missing key is made.
        let (agreer, key, made) = match record.channel_key() {
            Some(stored) => (stored.key.open_agreer(vaults).await?, stored.key.clone(), false),
            None => {
                let (vault_name, vault) = self.channel_vault(writer, vaults, &primary_ref.vault()?).await?;
                let agreer = generate_agreer(&vault_name, vault, fresh_key_name(name)?).await?;
                let key = KeyRef::agreeing(&vault_name, &agreer);
                (agreer, key, true)
            }
        };
        let stored = async {
            let purpose = PurposeKey::Channel(agreer.public().clone());
            let attestation = attest(&identity, &primary, &purpose, clock.now()).await?;
            let purpose_key = PurposeKeyRecord { key, attestation: attestation.to_hex()? };
            self.update_identity(writer, name, &record.clone().with_channel_key(Some(purpose_key)))?;
            Ok(attestation)
        };
        match stored.await {
            Ok(attestation) => Ok((agreer, attestation)),
            Err(error) => {
                if made {
                    let _ = agreer.destroy().await;
                }
                Err(error)
            }
        }
    }

    /// The channel key that an identity has, with its attestation; `None` when it has none that is good until then. Needs no
    /// lock.
    ///
    /// # Errors
    /// What the vault meets.
    pub async fn channel_key(
        &self,
        vaults: &Vaults,
        record: &IdentityRecord,
        good_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<(Agreer, PurposeKeyAttestation)>> {
        let Some(stored) = record.channel_key() else { return Ok(None) };
        let attestation = stored.attestation()?;
        if attestation.verify(&record.identity()?, now).is_err() || attestation.expires_at() < good_until {
            return Ok(None);
        }
        Ok(Some((stored.key.open_agreer(vaults).await?, attestation)))
    }

    /// The vault for the channel keys of identities whose primary keys are in `beside`.
    async fn channel_vault(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        beside: &Name,
    ) -> Result<(Name, Arc<dyn Vault>)> {
        let vault = vaults.open(beside).await?;
        if vault.capabilities().get(Algorithm::X25519).is_some() && vault.agreement().is_some() {
            return Ok((beside.clone(), vault));
        }
        let seals = vault.sealing().is_some()
            && vault.capabilities().choose(&[Algorithm::Aes256Gcm, Algorithm::EciesP256]).is_some();
        let own = derived_key_name(beside, "channel")?;
        if let Some((_, found)) = self.vaults()?.into_iter().find(|(name, _)| *name == own) {
            let sealed_by_it = match self.vault_lock(&own)? {
                Some(LockedBy::Vault(by)) => by.vault == *beside,
                _ => false,
            };
            if found.uri()?.scheme() != Scheme::Soft || (seals && !sealed_by_it) {
                return Err(Error::new(
                    Kind::Denied,
                    format!(
                        "the vault `{own}`, which would hold the channel keys, is not locked by `{beside}`"
                    ),
                )
                .with_hint(format!("`ockam-kms vault rekey {own} --kek vault={beside}` locks it so")));
            }
        } else if seals {
            let kek = Kek { vault: beside.clone(), key: None };
            self.create_sealed_vault(writer, vaults, &own, None, &kek).await?;
        } else {
            self.create_soft_vault(writer, &own, None, &Lock::KeyFile(None))?;
        }
        let vault = vaults.open(&own).await?;
        Ok((own, vault))
    }
}

async fn generate_agreer(vault_name: &Name, vault: Arc<dyn Vault>, key_name: Name) -> Result<Agreer> {
    let facet = vault.agreement().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("the vault `{vault_name}` has no keys that agree"))
    })?;
    let key = facet.generate(&KeySpec::x25519(key_name)).await?;
    Ok(Agreer::bind(Arc::clone(&vault), key)?)
}
