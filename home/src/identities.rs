//! Named identities: a change history, where its keys are, and the purpose keys it vouches for.

use identity::{
    ATTESTATION_SECONDS, Clock, Identifier, Identity, IssuerBundle, PurposeKey, PurposeKeyAttestation,
    Timestamp, Validity,
};
use serde::{Deserialize, Serialize};
use vault::{Algorithm, KeySpec, KeyUri, Signer, Signing, VerifyingKey};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::record::{Name, Records};
use crate::vaults::Vaults;

/// Where a signing key is, and its public half: opening it compares the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef {
    vault: String,
    uri: String,
    algorithm: String,
    public: String,
}

impl KeyRef {
    /// The place of a bound key in a vault of the home.
    #[must_use]
    pub fn new(vault: &Name, signer: &Signer) -> Self {
        Self {
            vault: vault.to_string(),
            uri: signer.handle().uri().to_string(),
            algorithm: signer.algorithm().name().to_owned(),
            public: hex::encode(signer.public().as_bytes()),
        }
    }

    /// The vault that holds it.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is no name.
    pub fn vault(&self) -> Result<Name> {
        stored_name(&self.vault)
    }

    /// The key URI.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn uri(&self) -> Result<KeyUri> {
        self.uri
            .parse()
            .map_err(|e| Error::new(Kind::Corrupt, "a stored key URI breaks its own rules").with_source(e))
    }

    /// The algorithm.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn algorithm(&self) -> Result<Algorithm> {
        self.algorithm
            .parse()
            .map_err(|e| Error::new(Kind::Corrupt, "a stored key has no algorithm").with_source(e))
    }

    /// The public half.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn public(&self) -> Result<VerifyingKey> {
        let corrupt = || Error::new(Kind::Corrupt, "a stored public key breaks its own rules");
        let bytes = hex::decode(&self.public).map_err(|_| corrupt())?;
        VerifyingKey::from_bytes(self.algorithm()?, &bytes).map_err(|e| corrupt().with_source(e))
    }

    /// Opens it, comparing what the vault holds with what is stored.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for another key, [`Kind::NotFound`] when it is gone, or what the vault meets.
    pub async fn open(&self, vaults: &Vaults) -> Result<Signer> {
        let vault = vaults.open(&self.vault()?).await?;
        Ok(Signer::open(vault, &self.uri()?, &self.public()?).await?)
    }
}

/// A credential key that the identity vouches for. (Channel keys come with channels.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurposeKeyRecord {
    /// Where it is.
    pub key: KeyRef,
    /// The attestation under the identity's latest change, as hex.
    pub attestation: String,
}

impl PurposeKeyRecord {
    /// The attestation.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn attestation(&self) -> Result<PurposeKeyAttestation> {
        PurposeKeyAttestation::from_hex(&self.attestation).map_err(|e| {
            Error::new(Kind::Corrupt, "a stored attestation breaks its own rules").with_source(e)
        })
    }
}

/// A named identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    identifier: Identifier,
    change_history: String,
    key: Option<KeyRef>,
    #[serde(default)]
    credential_key: Option<PurposeKeyRecord>,
}

impl IdentityRecord {
    /// A record of a verified identity. Without a key it is somebody else's.
    #[must_use]
    pub fn new(identity: &Identity, key: Option<KeyRef>, credential_key: Option<PurposeKeyRecord>) -> Self {
        Self { identifier: identity.identifier(), change_history: identity.to_hex(), key, credential_key }
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
        let purpose = self.credential_key.iter().map(|record| &record.key);
        self.key.iter().chain(purpose).any(|key| key.vault == name.as_str())
    }

    fn uses_key(&self, vault: &Name, public: &[u8]) -> bool {
        let public = hex::encode(public);
        let purpose = self.credential_key.iter().map(|record| &record.key);
        self.key.iter().chain(purpose).any(|key| key.vault == vault.as_str() && key.public == public)
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

    /// Forgets an identity. Its keys are destroyed when `destroy_keys` is set.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what the vault meets; the record goes first, so that no record names a key that is gone.
    pub async fn delete_identity(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        destroy_keys: bool,
    ) -> Result<()> {
        let record = self.identity(name)?;
        self.identity_records().remove(writer, name)?;
        let mut defaults = self.defaults()?;
        if defaults.identity.as_deref() == Some(name.as_str()) {
            let rest = self.identities()?;
            defaults.identity =
                rest.iter().find(|(_, one)| one.key.is_some()).map(|(first, _)| first.to_string());
            self.set_defaults(writer, &defaults)?;
        }
        if destroy_keys {
            for key in record.key.iter().chain(record.credential_key.iter().map(|record| &record.key)) {
                match key.open(vaults).await {
                    Ok(signer) => signer.destroy().await?,
                    Err(e) if e.kind() == Kind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    /// The identities that depend on a key.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn dependants(&self, vault: &Name, public: &[u8]) -> Result<Vec<Name>> {
        let all = self.identities()?;
        Ok(all
            .into_iter()
            .filter(|(_, record)| record.uses_key(vault, public))
            .map(|(name, _)| name)
            .collect())
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
            let attestation = attest_credential_key(&identity, &primary, signer.public(), now).await?;
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

/// Vouches for a credential key under the identity's latest change, for as long as both may run.
pub(crate) async fn attest_credential_key(
    identity: &Identity,
    primary: &Signer,
    key: &VerifyingKey,
    now: Timestamp,
) -> Result<PurposeKeyAttestation> {
    let latest = identity.latest();
    let from = now.max(latest.valid_from());
    let until = from.after(ATTESTATION_SECONDS).min(latest.valid_until());
    let key = PurposeKey::Credential(key.clone());
    Ok(PurposeKeyAttestation::attest(identity, primary, &key, Validity { from, until }).await?)
}

/// A key name that is free: the identity's name and random digits.
fn fresh_key_name(name: &Name) -> Result<Name> {
    let random = vault::SecretBytes::random(8)?;
    derived_key_name(name, &hex::encode(random.expose()))
}

/// A key name from an identity's name and a suffix, cut to fit.
pub(crate) fn derived_key_name(name: &Name, suffix: &str) -> Result<Name> {
    let room = vault::MAX_KEY_NAME.saturating_sub(suffix.len() + 1);
    let stem: String = name.as_str().chars().take(room).collect();
    Ok(Name::new(&format!("{stem}-{suffix}"))?)
}

/// The name of a key, when it is one that [`derived_key_name`] made with random digits: no other key ever has it.
pub(crate) fn random_key_name(uri: &KeyUri) -> Option<Name> {
    let text = ["name", "object"].into_iter().find_map(|attribute| uri.text(attribute).ok().flatten())?;
    let (_, digits) = text.rsplit_once('-')?;
    let random = digits.len() == 16 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    random.then(|| Name::new(text).ok()).flatten()
}

/// Generates a signing key: of the wanted algorithm, else of the preferred one, else of what the vault has first.
pub(crate) async fn generate_signer(
    vaults: &Vaults,
    vault_name: &Name,
    key_name: &Name,
    wanted: Option<Algorithm>,
    preferred: Option<Algorithm>,
) -> Result<Signer> {
    let vault = vaults.open(vault_name).await?;
    let order: Vec<_> = match wanted {
        Some(wanted) => vec![wanted],
        None => preferred.into_iter().chain([Algorithm::Ed25519, Algorithm::EcdsaP256]).collect(),
    };
    let algorithm = vault.capabilities().choose(&order).ok_or_else(|| {
        let names: Vec<_> = order.iter().map(|algorithm| algorithm.name()).collect();
        Error::new(
            Kind::Unsupported,
            format!("the vault `{vault_name}` has no signing keys of {}", names.join(" or ")),
        )
        .with_hint(format!("`ockam-kms vault check {vault_name}` lists what it can do"))
    })?;
    let spec = KeySpec::<Signing>::new(key_name.clone(), algorithm)?;
    let facet = vault.signing().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("the vault `{vault_name}` has no signing keys"))
    })?;
    let key = facet.generate(&spec).await?;
    Ok(Signer::bind(std::sync::Arc::clone(&vault), key)?)
}

/// Opens a key that exists; the backend reads its attributes back and refuses one that may do more than sign.
pub(crate) async fn adopt_signer(vaults: &Vaults, vault_name: &Name, uri: &KeyUri) -> Result<Signer> {
    let vault = vaults.open(vault_name).await?;
    let facet = vault.signing().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("the vault `{vault_name}` has no signing keys"))
    })?;
    let key = facet.open(uri).await?;
    Ok(Signer::bind(std::sync::Arc::clone(&vault), key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_random_digits_is_told_from_one_that_was_chosen() {
        let made = fresh_key_name(&Name::new("alice").unwrap()).unwrap();
        for scheme in [vault::Scheme::Soft, vault::Scheme::Pkcs11] {
            assert_eq!(random_key_name(&KeyUri::of_key(scheme, &made)), Some(made.clone()));
            for chosen in
                ["alice", "alice-key", "0123456789abcdef", "alice-0123456789ABCDEF", "a-0123456789abcde"]
            {
                assert_eq!(
                    random_key_name(&KeyUri::of_key(scheme, &Name::new(chosen).unwrap())),
                    None,
                    "{chosen}"
                );
            }
        }
        assert_eq!(random_key_name(&"pkcs11:id=%01".parse().unwrap()), None);
    }
}
