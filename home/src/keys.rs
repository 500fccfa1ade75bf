//! The keys of identities: where they are, how they are named, and the purpose keys that an identity vouches for.

use std::sync::Arc;

use identity::{ATTESTATION_SECONDS, Identity, PurposeKey, PurposeKeyAttestation, Timestamp, Validity};
use serde::{Deserialize, Serialize};
use vault::{
    Agreement, AgreementKey, Agreer, Algorithm, Custody, KeySpec, KeyUri, PurposeKind, Signer, Signing,
    Vault, VerifyingKey,
};

use crate::error::{Error, Kind, Result};
use crate::home::stored_name;
use crate::record::Name;
use crate::vaults::Vaults;

/// Where a key is, and its public half: opening it compares the two.
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

    /// The same of a key that agrees.
    #[must_use]
    pub fn agreeing(vault: &Name, agreer: &Agreer) -> Self {
        Self {
            vault: vault.to_string(),
            uri: agreer.handle().uri().to_string(),
            algorithm: agreer.algorithm().name().to_owned(),
            public: hex::encode(agreer.public().as_bytes()),
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

    /// The bytes of its public half.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is no hex.
    pub fn public_bytes(&self) -> Result<Vec<u8>> {
        hex::decode(&self.public).map_err(|_| no_public_key())
    }

    /// The public half of a key that signs.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn public(&self) -> Result<VerifyingKey> {
        VerifyingKey::from_bytes(self.algorithm()?, &self.public_bytes()?)
            .map_err(|e| no_public_key().with_source(e))
    }

    /// The public half of a key that agrees.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what is stored is none.
    pub fn agreement_public(&self) -> Result<AgreementKey> {
        AgreementKey::from_bytes(self.algorithm()?, &self.public_bytes()?)
            .map_err(|e| no_public_key().with_source(e))
    }

    /// Opens a key that signs, comparing what the vault holds with what is stored.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for another key, [`Kind::NotFound`] when it is gone, or what the vault meets.
    pub async fn open(&self, vaults: &Vaults) -> Result<Signer> {
        let vault = vaults.open(&self.vault()?).await?;
        Ok(Signer::open(vault, &self.uri()?, &self.public()?).await?)
    }

    /// The same of a key that agrees.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_agreer(&self, vaults: &Vaults) -> Result<Agreer> {
        let vault = vaults.open(&self.vault()?).await?;
        Ok(Agreer::open(vault, &self.uri()?, &self.agreement_public()?).await?)
    }

    /// Makes sure that its vault, which is open, holds the key that is stored.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn check(&self, vault: Arc<dyn Vault>) -> Result<()> {
        if self.agrees()? {
            Agreer::open(vault, &self.uri()?, &self.agreement_public()?).await?;
        } else {
            Signer::open(vault, &self.uri()?, &self.public()?).await?;
        }
        Ok(())
    }

    /// Opens it to destroy it: none when its vault, which is there, does not hold it any more.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Kind::NotFound`] only when the vault is not there, and so nothing is known of the key.
    pub(crate) async fn doom(&self, vaults: &Vaults) -> Result<Option<Doomed>> {
        let vault = vaults.open(&self.vault()?).await?;
        let opened = if self.agrees()? {
            Agreer::open(vault, &self.uri()?, &self.agreement_public()?).await.map(Doomed::Agrees)
        } else {
            Signer::open(vault, &self.uri()?, &self.public()?).await.map(Doomed::Signs)
        };
        match opened {
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Destroys what [`doom`](Self::doom) opened, or what is left of it.
    ///
    /// # Errors
    /// What the vault meets.
    pub(crate) async fn end(&self, vaults: &Vaults, opened: Option<Doomed>) -> Result<()> {
        let ended = match opened {
            Some(Doomed::Signs(key)) => key.destroy().await,
            Some(Doomed::Agrees(key)) => key.destroy().await,
            None => Err(vault::Error::new(Kind::NotFound, "the key is gone")),
        };
        match ended {
            // It was destroyed before, or nearly: on a token, the public half may be left.
            Err(e) if e.kind() == Kind::NotFound => match random_key_name(&self.uri()?) {
                Some(name) => self.discard(vaults, &name).await,
                // It was adopted. Another key may have its name by now.
                None => Ok(()),
            },
            ended => Ok(ended?),
        }
    }

    /// Makes sure that nothing of a key of this name is left in its vault.
    async fn discard(&self, vaults: &Vaults, name: &Name) -> Result<()> {
        let vault = vaults.open(&self.vault()?).await?;
        match (self.agrees()?, vault.signing(), vault.agreement()) {
            (true, _, Some(facet)) => Custody::<Agreement>::discard(facet, name).await?,
            (false, Some(facet), _) => Custody::<Signing>::discard(facet, name).await?,
            _ => {}
        }
        Ok(())
    }

    fn agrees(&self) -> Result<bool> {
        Ok(self.algorithm()?.purpose() == PurposeKind::Agreement)
    }

    /// Whether it is the key with this public half in this vault.
    pub(crate) fn is(&self, vault: &Name, public: &[u8]) -> bool {
        self.is_in(vault) && self.public == hex::encode(public)
    }

    /// Whether it is in this vault.
    pub(crate) fn is_in(&self, vault: &Name) -> bool {
        self.vault == vault.as_str()
    }
}

/// A key that was opened to be destroyed.
pub(crate) enum Doomed {
    Signs(Signer),
    Agrees(Agreer),
}

/// A key that the identity vouches for.
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

fn no_public_key() -> Error {
    Error::new(Kind::Corrupt, "a stored public key breaks its own rules")
}

/// Vouches for a purpose key under the identity's latest change, for as long as both may run.
pub(crate) async fn attest(
    identity: &Identity,
    primary: &Signer,
    key: &PurposeKey,
    now: Timestamp,
) -> Result<PurposeKeyAttestation> {
    let latest = identity.latest();
    let from = now.max(latest.valid_from());
    let until = from.after(ATTESTATION_SECONDS).min(latest.valid_until());
    Ok(PurposeKeyAttestation::attest(identity, primary, key, Validity { from, until }).await?)
}

/// A key name that is free: the identity's name and random digits.
pub(crate) fn fresh_key_name(name: &Name) -> Result<Name> {
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
    Ok(Signer::bind(Arc::clone(&vault), key)?)
}

/// Opens a key that exists; the backend reads its attributes back and refuses one that may do more than sign.
pub(crate) async fn adopt_signer(vaults: &Vaults, vault_name: &Name, uri: &KeyUri) -> Result<Signer> {
    let vault = vaults.open(vault_name).await?;
    let facet = vault.signing().ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("the vault `{vault_name}` has no signing keys"))
    })?;
    let key = facet.open(uri).await?;
    Ok(Signer::bind(Arc::clone(&vault), key)?)
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
