//! Named identities: a change history, where its keys are, and the purpose keys it vouches for.

use identity::{
    Clock, Identifier, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation, Timestamp, Validity,
};
use serde::{Deserialize, Serialize};
use vault::{Algorithm, KeyUri, Signer};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::keys::{KeyRef, PurposeKeyRecord, adopt_signer, attest, fresh_key_name, generate_signer};
use crate::record::{Name, Records};
use crate::vaults::Vaults;

/// A named identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    identifier: Identifier,
    change_history: String,
    key: Option<KeyRef>,
    #[serde(default)]
    credential_key: Option<PurposeKeyRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_key: Option<PurposeKeyRecord>,
}

impl IdentityRecord {
    /// A record of a verified identity. Without a key it is somebody else's.
    #[must_use]
    pub fn new(identity: &Identity, key: Option<KeyRef>, credential_key: Option<PurposeKeyRecord>) -> Self {
        Self {
            identifier: identity.identifier(),
            change_history: identity.to_hex(),
            key,
            credential_key,
            channel_key: None,
        }
    }

    /// The same with this channel key.
    #[must_use]
    pub fn with_channel_key(self, channel_key: Option<PurposeKeyRecord>) -> Self {
        Self { channel_key, ..self }
    }

    /// Its identifier.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        self.identifier
    }

    /// The identity, verified again: what is on disk may have been edited.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when it does not verify.
    pub fn identity(&self) -> Result<Identity> {
        Identity::import_hex(&self.change_history)
            .ok()
            .filter(|identity| identity.identifier() == self.identifier)
            .ok_or_else(|| {
                Error::new(
                    Kind::Corrupt,
                    format!("the stored change history of `{}` does not verify", self.identifier),
                )
                .with_hint("restore it from a backup")
            })
    }

    /// Where its primary key is, when it is one's own.
    #[must_use]
    pub fn key(&self) -> Option<&KeyRef> {
        self.key.as_ref()
    }

    /// As [`key`](Self::key), for what needs one.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for somebody else's identity.
    pub fn own_key(&self) -> Result<&KeyRef> {
        self.key.as_ref().ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                format!("`{}` is a known identity without a key here", self.identifier),
            )
            .with_hint("only an identity that was created here can sign")
        })
    }

    /// Its credential key, when it has one.
    #[must_use]
    pub fn credential_key(&self) -> Option<&PurposeKeyRecord> {
        self.credential_key.as_ref()
    }

    /// The key by which it opens secure channels, when it has one.
    #[must_use]
    pub fn channel_key(&self) -> Option<&PurposeKeyRecord> {
        self.channel_key.as_ref()
    }

    /// Where its keys are, each with what it is for: `primary`, `credential`, `channel`.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, &KeyRef)> {
        let primary = self.key.as_ref().map(|key| ("primary", key));
        let credential = self.credential_key.as_ref().map(|record| ("credential", &record.key));
        let channel = self.channel_key.as_ref().map(|record| ("channel", &record.key));
        [primary, credential, channel].into_iter().flatten()
    }

    /// Its change history with the current attestations.
    ///
    /// # Errors
    /// [`Kind::Corrupt`].
    pub fn issuer_bundle(&self) -> Result<IssuerBundle> {
        let attestations =
            self.credential_key.iter().map(PurposeKeyRecord::attestation).collect::<Result<_>>()?;
        Ok(IssuerBundle::new(self.identity()?, attestations))
    }

    /// Whether a key of it is in this vault.
    #[must_use]
    pub fn uses_vault(&self, name: &Name) -> bool {
        self.keys().any(|(_, key)| key.is_in(name))
    }

    fn uses_key(&self, vault: &Name, public: &[u8]) -> bool {
        self.keys().any(|(_, key)| key.is(vault, public))
    }
}

/// How the key of a new identity comes to be.
#[derive(Clone, Debug)]
pub enum NewKey {
    /// Generated, of this algorithm or the first that the vault has of P-256 for hardware and Ed25519 for software.
    Generate(Option<Algorithm>),
    /// Adopted: it exists in the vault.
    Adopt(KeyUri),
}

impl Home {
    pub(crate) fn identity_records(&self) -> Records<IdentityRecord> {
        Records::new(self.dir("identities"), "identity")
    }

    /// The identities, ordered by name.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn identities(&self) -> Result<Vec<(Name, IdentityRecord)>> {
        self.identity_records().list()
    }

    /// An identity.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn identity(&self, name: &Name) -> Result<IdentityRecord> {
        self.identity_records().get(name)
    }

    /// The name of the default identity, if there is one.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn default_identity(&self) -> Result<Option<Name>> {
        self.defaults()?.identity.as_deref().map(stored_name).transpose()
    }

    /// The identity of this name, or the default one.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without either.
    pub fn identity_or_default(&self, name: Option<&Name>) -> Result<(Name, IdentityRecord)> {
        let name = match name {
            Some(name) => name.clone(),
            None => self.default_identity()?.ok_or_else(|| {
                Error::new(Kind::NotFound, "there is no identity yet")
                    .with_hint("`ockam-kms identity create` makes one")
            })?,
        };
        let record = self.identity(&name)?;
        Ok((name, record))
    }

    /// Makes this identity the default.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn set_default_identity(&self, writer: &Writer, name: &Name) -> Result<()> {
        self.identity(name)?;
        let mut defaults = self.defaults()?;
        defaults.identity = Some(name.to_string());
        self.set_defaults(writer, &defaults)
    }

    /// Creates an identity with a key in the vault. The first one becomes the default.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`], or what the vault meets.
    pub async fn create_identity(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        vault: &Name,
        key: NewKey,
        clock: &dyn Clock,
    ) -> Result<IdentityRecord> {
        if self.identity_records().find(name)?.is_some() {
            return Err(Error::new(Kind::AlreadyExists, format!("there already is an identity `{name}`"))
                .with_hint("choose another name"));
        }
        let (signer, made) = match key {
            NewKey::Generate(algorithm) => {
                let key_name = fresh_key_name(name)?;
                (generate_signer(vaults, vault, &key_name, algorithm, None).await?, true)
            }
            NewKey::Adopt(uri) => (adopt_signer(vaults, vault, &uri).await?, false),
        };
        let stored = async {
            let identity = Identity::create(&signer, Validity::of_primary_key(clock.now())).await?;
            let record = IdentityRecord::new(&identity, Some(KeyRef::new(vault, &signer)), None);
            self.store_identity(writer, name, &record)?;
            Ok(record)
        };
        match stored.await {
            // Nothing refers to the key that was just made: leave none behind.
            Err(error) if made => {
                let _ = signer.clone().destroy().await;
                Err(error)
            }
            done => done,
        }
    }

    /// Stores somebody else's identity under a name.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] for another identity of that name.
    pub fn store_identity(&self, writer: &Writer, name: &Name, record: &IdentityRecord) -> Result<()> {
        self.identity_records().create(writer, name, record)?;
        let mut defaults = self.defaults()?;
        if defaults.identity.is_none() && record.key.is_some() {
            defaults.identity = Some(name.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        Ok(())
    }

    /// Replaces an identity's record by one of the same identifier.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for another identifier.
    pub fn update_identity(&self, writer: &Writer, name: &Name, record: &IdentityRecord) -> Result<()> {
        if self.identity(name)?.identifier != record.identifier {
            return Err(Error::new(
                Kind::Invalid,
                format!("the identity `{name}` cannot become another one"),
            ));
        }
        self.identity_records().put(writer, name, record)
    }

    /// Forgets an identity. Its keys are destroyed when `destroy_keys` is set, but for those that another one uses too.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what the vaults meet: as long as a key cannot be opened, nothing is deleted. Then the record
    /// goes first, so that no record names a key that is gone; an error from there on says which key is left.
    pub async fn delete_identity(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        destroy_keys: bool,
    ) -> Result<()> {
        let record = self.identity(name)?;
        let mut keys = Vec::new();
        for (what, key) in record.keys().filter(|_| destroy_keys) {
            if !self.is_shared(name, key)? {
                let opened = key.doom(vaults).await.map_err(|e| not_deleted(name, what, key, e))?;
                keys.push((key, opened));
            }
        }
        self.identity_records().remove(writer, name)?;
        let mut defaults = self.defaults()?;
        if defaults.identity.as_deref() == Some(name.as_str()) {
            let rest = self.identities()?;
            defaults.identity =
                rest.iter().find(|(_, one)| one.key.is_some()).map(|(first, _)| first.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        let mut left = Vec::new();
        for (key, opened) in keys {
            // One that stays is no reason to keep the others.
            if let Err(error) = key.end(vaults, opened).await {
                left.push((key, error));
            }
        }
        if left.is_empty() { Ok(()) } else { Err(keys_left(name, left)?) }
    }

    /// The identities that depend on a key, also those that know its vault by another name: one token, or one directory,
    /// may be registered twice.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn dependants(&self, vault: &Name, public: &[u8]) -> Result<Vec<Name>> {
        let mut vaults: Vec<_> = self.vaults()?.into_iter().map(|(name, _)| name).collect();
        vaults.push(vault.clone());
        let uses = |record: &IdentityRecord| vaults.iter().any(|vault| record.uses_key(vault, public));
        let all = self.identities()?.into_iter();
        Ok(all.filter(|(_, record)| uses(record)).map(|(name, _)| name).collect())
    }

    /// Whether another identity than this one uses a key too: then it is not this one's to destroy.
    fn is_shared(&self, name: &Name, key: &KeyRef) -> Result<bool> {
        let dependants = self.dependants(&key.vault()?, &key.public_bytes()?)?;
        Ok(dependants.iter().any(|other| other != name))
    }

    /// The credential key of an identity, with its attestation: the one it has, or a new one when it has none or the
    /// attestation ends before `good_until`.
    ///
    /// # Errors
    /// What the vault meets.
    pub async fn ensure_credential_key(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        good_until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(Signer, PurposeKeyAttestation)> {
        let record = self.identity(name)?;
        let identity = record.identity()?;
        let now = clock.now();
        if let Some(stored) = &record.credential_key {
            let attestation = stored.attestation()?;
            if attestation.verify(&identity, now).is_ok() && attestation.expires_at() >= good_until {
                return Ok((stored.key.open(vaults).await?, attestation));
            }
        }
        let primary_ref = record.own_key()?;
        let primary = primary_ref.open(vaults).await?;
        let vault = primary_ref.vault()?;
        // An attestation that runs out is renewed for the same key; a missing key is made.
        let (signer, made) = match &record.credential_key {
            Some(stored) => (stored.key.open(vaults).await?, false),
            None => {
                let key_name = fresh_key_name(name)?;
                (generate_signer(vaults, &vault, &key_name, None, Some(primary.algorithm())).await?, true)
            }
        };
        let stored = async {
            let key = PurposeKey::Credential(signer.public().clone());
            let attestation = attest(&identity, &primary, &key, now).await?;
            let purpose_key =
                PurposeKeyRecord { key: KeyRef::new(&vault, &signer), attestation: attestation.to_hex()? };
            let record = IdentityRecord { credential_key: Some(purpose_key), ..record.clone() };
            self.update_identity(writer, name, &record)?;
            Ok(attestation)
        };
        match stored.await {
            Ok(attestation) => Ok((signer, attestation)),
            Err(error) => {
                if made {
                    let _ = signer.destroy().await;
                }
                Err(error)
            }
        }
    }
}

/// Why an identity is still there: a key that it would leave behind cannot be opened.
fn not_deleted(name: &Name, what: &str, key: &KeyRef, error: Error) -> Error {
    let keep = format!("`ockam-kms identity delete {name} --keep-keys` leaves its keys where they are");
    let hint = error.hint().map_or_else(|| keep.clone(), |hint| format!("{hint}; {keep}"));
    let text = format!(
        "the {what} key of `{name}` in the vault `{}` cannot be opened, and nothing was deleted: {error}",
        key.vault().map_or_else(|_| "?".to_owned(), |vault| vault.to_string())
    );
    Error::new(error.kind(), text).with_hint(hint).with_source(error)
}

/// What a deletion left, and how it is ended.
fn keys_left(name: &Name, left: Vec<(&KeyRef, Error)>) -> Result<Error> {
    let (mut told, mut hints, mut first) = (Vec::new(), Vec::new(), None);
    for (key, error) in left {
        let (uri, vault) = (key.uri()?, key.vault()?);
        told.push(format!("its key `{uri}` in the vault `{vault}` is left: {error}"));
        hints.push(format!("`ockam-kms key destroy '{uri}' --vault {vault}`"));
        first.get_or_insert(error);
    }
    let kind = first.as_ref().map_or(Kind::Backend, Error::kind);
    let error = Error::new(kind, format!("the identity `{name}` is deleted, but {}", told.join(", and ")))
        .with_hint(format!("end it when its vault lets you: {}", hints.join(", ")));
    Ok(match first {
        Some(first) => error.with_source(first),
        None => error,
    })
}
