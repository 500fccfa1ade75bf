//! Request keys: one per identity, in a software vault of the home's own, made on first use and renewed daily.

use std::sync::Arc;

use identity::{
    Clock, Identifier, Identity, REQUEST_KEY_SECONDS, RequestKeyAttestation, Timestamp, Validity,
};
use serde::{Deserialize, Serialize};
use vault::soft::{Lock, SoftVault};
use vault::{Custody, KeySpec, KeyUri, Nobody, Scheme, Signer, Signing, Vault};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::identities::IdentityRecord;
use crate::keys::derived_key_name;
use crate::record::{Name, Records};
use crate::vaults::Vaults;

/// A request key is renewed when less than this is left of it, in seconds.
const RENEW_SECONDS: u64 = 3600;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestKeyRecord {
    key: String,
    attestation: String,
}

impl RequestKeyRecord {
    pub(crate) fn attestation(&self) -> Result<RequestKeyAttestation> {
        let corrupt = || {
            Error::new(Kind::Corrupt, "a stored request key breaks its own rules")
                .with_hint("remove it from `request-keys` in the home: the next request makes another")
        };
        let bytes = hex::decode(&self.attestation).map_err(|e| corrupt().with_source(e))?;
        RequestKeyAttestation::decode(&bytes).map_err(|e| corrupt().with_source(e))
    }
}

impl Home {
    fn request_key_records(&self) -> Records<RequestKeyRecord> {
        Records::new(self.dir("request-keys"), "request key")
    }

    /// The request key of an identity, with its attestation: the one it has, or a new one. Only a new one asks the
    /// primary key.
    ///
    /// # Errors
    /// What the vaults meet.
    pub async fn request_key(
        &self,
        vaults: &Vaults,
        record: &IdentityRecord,
        clock: &dyn Clock,
    ) -> Result<(Signer, RequestKeyAttestation)> {
        let identity = record.identity()?;
        // Without the lock first: readers never wait.
        if let Some(found) = self.current_request_key(&identity, clock).await? {
            return Ok(found);
        }
        let writer = self.write()?;
        if let Some(found) = self.current_request_key(&identity, clock).await? {
            return Ok(found);
        }
        self.new_request_key(&writer, vaults, record, &identity, clock).await
    }

    /// Until when the stored request key of an identity is good: `None` when there is none, or the next request makes
    /// another.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored breaks its own rules.
    pub fn request_key_until(&self, identity: &Identity, clock: &dyn Clock) -> Result<Option<Timestamp>> {
        let found = self.request_key_records().find(&record_name(&identity.identifier())?)?;
        let Some(record) = found else { return Ok(None) };
        let verified = record.attestation()?.verify(identity, clock.now());
        Ok(verified.ok().map(|verified| verified.expires_at()))
    }

    async fn current_request_key(
        &self,
        identity: &Identity,
        clock: &dyn Clock,
    ) -> Result<Option<(Signer, RequestKeyAttestation)>> {
        let name = record_name(&identity.identifier())?;
        let Some(record) = self.request_key_records().find(&name)? else { return Ok(None) };
        let attestation = record.attestation()?;
        let now = clock.now();
        // One that expired, or is under an earlier change, is replaced.
        let Ok(verified) = attestation.verify(identity, now) else { return Ok(None) };
        if verified.expires_at().since(now) < RENEW_SECONDS {
            return Ok(None);
        }
        let vault = self.request_key_vault()?;
        let uri = KeyUri::of_key(Scheme::Soft, &crate::home::stored_name(&record.key)?);
        Ok(Some((Signer::open(vault, &uri, verified.key()).await?, attestation)))
    }

    async fn new_request_key(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        record: &IdentityRecord,
        identity: &Identity,
        clock: &dyn Clock,
    ) -> Result<(Signer, RequestKeyAttestation)> {
        let primary = record.own_key()?.open(vaults).await?;
        let vault = self.request_key_vault()?;
        let facet =
            vault.signing().ok_or_else(|| Error::new(Kind::Backend, "a software vault does not sign"))?;
        let name = record_name(&identity.identifier())?;
        let old = self.request_key_records().find(&name)?;
        let random = vault::SecretBytes::random(8)?;
        let key_name = derived_key_name(&name, &hex::encode(random.expose()))?;
        let key = facet.generate(&KeySpec::ed25519(key_name.clone())).await?;
        let signer = Signer::bind(Arc::clone(&vault), key)?;
        let valid = Validity::starting(clock.now(), REQUEST_KEY_SECONDS);
        let latest = identity.latest();
        let valid = Validity {
            from: valid.from.max(latest.valid_from()),
            until: valid.until.min(latest.valid_until()),
        };
        let attestation = RequestKeyAttestation::attest(identity, &primary, signer.public(), valid).await?;
        let stored =
            RequestKeyRecord { key: key_name.to_string(), attestation: hex::encode(attestation.encode()?) };
        self.request_key_records().put(writer, &name, &stored)?;
        if let Some(old) = old {
            Custody::<Signing>::discard(facet_of(&vault)?, &crate::home::stored_name(&old.key)?).await?;
        }
        Ok((signer, attestation))
    }

    fn request_key_vault(&self) -> Result<Arc<dyn Vault>> {
        let path = self.dir("request-keys").join("vault");
        let opened = match SoftVault::open(&path, &Nobody) {
            Err(e) if e.kind() == Kind::NotFound => match SoftVault::create(&path, &Lock::KeyFile(None)) {
                // Another process made it in between.
                Err(e) if e.kind() == Kind::AlreadyExists => SoftVault::open(&path, &Nobody)?,
                made => made?,
            },
            opened => opened?,
        };
        Ok(Arc::new(opened))
    }
}

fn facet_of(vault: &Arc<dyn Vault>) -> Result<&dyn vault::SigningFacet> {
    vault.signing().ok_or_else(|| Error::new(Kind::Backend, "a software vault does not sign"))
}

fn record_name(identifier: &Identifier) -> Result<Name> {
    Ok(Name::new(&identifier.to_string())?)
}
