//! The software backend: keys on disk, sealed under a data key that is itself sealed under a lock; in memory they are
//! opened once per process and wiped when it lets go of them.
//!
//! Several processes may use one vault at once: every key is a file of its own that is written whole or not at all, and
//! never changed. What a process has opened it keeps using, so a key that another process destroys is gone for processes
//! that open it later.

mod aead;
#[cfg(feature = "danger")]
pub mod danger;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod header;
mod key;
mod lock;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::capability::{Capabilities, Capability, Presence, Protection};
use crate::error::{Error, Kind, Result};
use crate::facet::{AgreementFacet, Custody, KeyInfo, ListingFacet, Pending, SealingFacet, SigningFacet};
use crate::handle::{KeyHandle, VaultId};
use crate::interact::Interact;
use crate::inventory::Inventory;
use crate::memory::Locked;
use crate::public::{AgreementKey, Signature};
use crate::purpose::{Agreement, Purpose, PurposeKind, Sealing, Signing};
use crate::registry::Backend;
use crate::secret::SecretBytes;
use crate::spec::{Algorithm, KeyName, KeySpec};
use crate::uri::{KeyUri, Scheme};
use crate::{Vault, facet};

use header::Header;
pub use header::Relock;
use key::{Material, PublicOf};
pub use lock::{Lock, LockedBy, SealedBy, Unlock};
use store::{Directory, KeyRecord};

/// A software vault.
pub struct SoftVault {
    id: VaultId,
    capabilities: Capabilities,
    directory: Option<Directory>,
    // What this process has opened, by key id: opening costs a file and an unsealing, using costs a look-up.
    opened: RwLock<HashMap<String, Arc<Locked<Material>>>>,
    // Only the in-memory vault finds keys by name here; on disk the name is the file's.
    names: Mutex<HashMap<String, String>>,
}

impl SoftVault {
    /// A vault that lives and dies with this value.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub fn in_memory() -> Result<Self> {
        Ok(Self::new(store::random_id()?, None))
    }

    /// Makes a vault in a directory that must not hold one yet, behind the given lock. Blocks while another vault seals.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when there is one; [`Kind::Denied`] when the directory cannot be written; what the vault
    /// meets that is to seal the data key.
    pub fn create(path: &Path, lock: &Lock) -> Result<Self> {
        let directory = crate::block_on(Directory::create(path, lock))?;
        Ok(Self::new(directory.vault_id().to_owned(), Some(directory)))
    }

    /// Opens the vault in a directory that is locked by a passphrase or a key file. The passphrase is asked for, once.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without a vault there, [`Kind::Denied`] for a wrong lock, [`Kind::Presence`] when the passphrase
    /// is needed and nobody can be asked, [`Kind::Invalid`] when a key of another vault locks it, [`Kind::Corrupt`] when
    /// the files break their own rules.
    pub fn open(path: &Path, interact: &dyn Interact) -> Result<Self> {
        crate::block_on(Self::unlock(path, Unlock::Asking(interact)))
    }

    /// Opens the vault in a directory, whatever locks it. A vault that locks it is called once.
    ///
    /// # Errors
    /// As [`open`](Self::open), and whatever the vault meets that locks it.
    pub async fn unlock(path: &Path, unlock: Unlock<'_>) -> Result<Self> {
        let directory = Directory::open(path, unlock).await?;
        Ok(Self::new(directory.vault_id().to_owned(), Some(directory)))
    }

    /// Which vault is in a directory, and what locks it: tells it without opening anything.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without a vault there, [`Kind::Corrupt`] when the file breaks its own rules.
    pub fn locked_by(path: &Path) -> Result<(VaultId, LockedBy)> {
        let header = Header::read(path)?;
        let by = header.lock().described(path)?;
        Ok((VaultId::new(header.vault_id()), by))
    }

    fn new(id: String, directory: Option<Directory>) -> Self {
        let line = |algorithm, note| Capability {
            algorithm,
            protection: Protection::Software,
            presence: Presence::None,
            note,
        };
        let capabilities = Capabilities::new(vec![
            line(Algorithm::Ed25519, ""),
            line(Algorithm::EcdsaP256, "nonces by RFC 6979"),
            line(Algorithm::X25519, ""),
            line(Algorithm::Aes256Gcm, "96-bit random nonces"),
            line(Algorithm::EcdhP256, ""),
        ]);
        Self {
            id: VaultId::new(id),
            capabilities,
            directory,
            opened: RwLock::default(),
            names: Mutex::default(),
        }
    }

    fn keep(&self, id: &str, material: Material) -> Arc<Locked<Material>> {
        let material = Arc::new(Locked::new(material));
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(opened.entry(id.to_owned()).or_insert(material))
    }

    fn opened(&self, id: &str) -> Option<Arc<Locked<Material>>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }

    /// The material behind a handle: from memory, or opened again.
    fn material<P: Purpose>(&self, handle: &KeyHandle<P>) -> Result<Arc<Locked<Material>>> {
        if handle.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        if let Some(material) = self.opened(handle.id()) {
            return Ok(material);
        }
        let name = KeyName::new(handle.uri().require("name")?)?;
        let gone = || not_found(&name);
        let directory = self.directory.as_ref().ok_or_else(gone)?;
        let record = directory.read(&name)?.ok_or_else(gone)?;
        if record.key_id() != handle.id() {
            return Err(gone().with_hint("another key now has this name; the one that was recorded is gone"));
        }
        let material = directory.unseal(&record)?;
        Ok(self.keep(handle.id(), material))
    }

    fn handle<P: PublicOf>(&self, name: &KeyName, id: &str, material: &Material) -> Result<KeyHandle<P>> {
        let public = P::public_of(material).ok_or_else(|| {
            Error::new(
                Kind::Invalid,
                format!("the key `{name}` is for {}, not for {}", material.algorithm().purpose(), P::KIND),
            )
        })?;
        let uri = KeyUri::of_key(Scheme::Soft, name);
        Ok(KeyHandle::new(self.id.clone(), id, uri, material.algorithm(), public))
    }

    fn generate_now<P: PublicOf>(&self, spec: &KeySpec<P>) -> Result<KeyHandle<P>> {
        let (id, material) = self.store(spec.name(), Material::generate(spec.algorithm())?)?;
        self.handle(spec.name(), &id, &material)
    }

    /// Stores a key under a name that is free.
    fn store(&self, name: &KeyName, material: Material) -> Result<(String, Arc<Locked<Material>>)> {
        let id = match &self.directory {
            Some(directory) => directory.write_new(name, &material)?,
            None => {
                let id = store::random_id()?;
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                if names.contains_key(name.as_str()) {
                    return Err(store::already_exists(name));
                }
                names.insert(name.as_str().to_owned(), id.clone());
                id
            }
        };
        let material = self.keep(&id, material);
        Ok((id, material))
    }

    fn open_now<P: PublicOf>(&self, uri: &KeyUri) -> Result<KeyHandle<P>> {
        if uri.scheme() != Scheme::Soft {
            return Err(Error::new(Kind::Invalid, format!("`{uri}` is not a key of a software vault")));
        }
        let name = KeyName::new(uri.require("name")?)?;
        let (id, material) = match &self.directory {
            Some(directory) => {
                let record = directory.read(&name)?.ok_or_else(|| not_found(&name))?;
                let material = match self.opened(record.key_id()) {
                    Some(material) => material,
                    None => self.keep(record.key_id(), directory.unseal(&record)?),
                };
                (record.key_id().to_owned(), material)
            }
            None => {
                let id =
                    self.names.lock().unwrap_or_else(PoisonError::into_inner).get(name.as_str()).cloned();
                let id = id.ok_or_else(|| not_found(&name))?;
                let material = self.opened(&id).ok_or_else(|| not_found(&name))?;
                (id, material)
            }
        };
        self.handle(&name, &id, &material)
    }

    fn destroy_now<P: Purpose>(&self, key: &KeyHandle<P>) -> Result<()> {
        if key.vault() != &self.id {
            return Err(Error::new(Kind::Invalid, "the key handle belongs to another vault"));
        }
        let name = KeyName::new(key.uri().require("name")?)?;
        match &self.directory {
            Some(directory) => directory.remove(&name, key.id())?,
            None => {
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                if names.get(name.as_str()).is_none_or(|id| id != key.id()) {
                    return Err(not_found(&name));
                }
                names.remove(name.as_str());
            }
        }
        self.opened.write().unwrap_or_else(PoisonError::into_inner).remove(key.id());
        Ok(())
    }

    fn list_now(&self) -> Result<Vec<KeyInfo>> {
        let Some(directory) = &self.directory else {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let mut infos = Vec::with_capacity(names.len());
            for (name, id) in &*names {
                if let Some(material) = self.opened(id) {
                    infos.push(info(name, material.algorithm(), material.public_bytes())?);
                }
            }
            infos.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(infos);
        };
        let records = directory.list()?;
        records
            .iter()
            .map(|record: &KeyRecord| info(record.name(), record.algorithm()?, record.public()?))
            .collect()
    }
}

fn info(name: &str, algorithm: Algorithm, public: Option<Vec<u8>>) -> Result<KeyInfo> {
    Ok(KeyInfo {
        name: name.to_owned(),
        uri: KeyUri::new(Scheme::Soft).with("name", name)?,
        purpose: algorithm.purpose(),
        algorithm,
        public,
    })
}

fn not_found(name: &KeyName) -> Error {
    Error::new(Kind::NotFound, format!("there is no key `{name}` in the software vault"))
        .with_hint("`ockam-kms key list` shows the keys of a vault")
}

impl Vault for SoftVault {
    fn id(&self) -> &VaultId {
        &self.id
    }

    fn scheme(&self) -> Scheme {
        Scheme::Soft
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

    fn listing(&self) -> Option<&dyn ListingFacet> {
        Some(self)
    }

    fn inventory(&self) -> Pending<'_, Inventory> {
        let inventory =
            Inventory::new("software").with_version("library", "ockam-kms", env!("CARGO_PKG_VERSION"));
        Box::pin(std::future::ready(Ok(inventory)))
    }

    fn returns_may_lie(&self) -> bool {
        false
    }
}

impl<P: PublicOf> Custody<P> for SoftVault {
    fn generate<'a>(&'a self, spec: &'a KeySpec<P>) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move { self.generate_now(spec) })
    }

    fn open<'a>(&'a self, uri: &'a KeyUri) -> Pending<'a, KeyHandle<P>> {
        Box::pin(async move { self.open_now(uri) })
    }

    fn destroy(&self, key: KeyHandle<P>) -> Pending<'_, ()> {
        Box::pin(async move { self.destroy_now(&key) })
    }

    fn discard<'a>(&'a self, name: &'a KeyName) -> Pending<'a, ()> {
        Box::pin(async move {
            let uri = KeyUri::of_key(Scheme::Soft, name);
            match Custody::<P>::open(self, &uri).await {
                Ok(key) => self.destroy_now(&key)?,
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
            self.directory.as_ref().map_or(Ok(()), |directory| directory.forget(name))
        })
    }
}

fn wrong_purpose(wanted: PurposeKind) -> Error {
    Error::new(Kind::Corrupt, format!("a handle for {wanted} names a key of another purpose"))
}

impl SigningFacet for SoftVault {
    fn sign<'a>(&'a self, key: &'a KeyHandle<Signing>, message: &'a [u8]) -> Pending<'a, Signature> {
        Box::pin(async move {
            self.material(key)?.sign(message).ok_or_else(|| wrong_purpose(PurposeKind::Signing))
        })
    }
}

impl AgreementFacet for SoftVault {
    fn agree<'a>(
        &'a self,
        key: &'a KeyHandle<Agreement>,
        peer: &'a AgreementKey,
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            if peer.algorithm() != key.algorithm() {
                return Err(Error::new(Kind::Invalid, "the peer's key is of another type"));
            }
            self.material(key)?.agree(peer).ok_or_else(|| wrong_purpose(PurposeKind::Agreement))?
        })
    }
}

impl SealingFacet for SoftVault {
    fn seal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        plain: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            if plain.len() > facet::MAX_SEAL {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("more than {} bytes to seal", facet::MAX_SEAL),
                ));
            }
            let material = self.material(key)?;
            let cipher = material.cipher().ok_or_else(|| wrong_purpose(PurposeKind::Sealing))?;
            aead::seal(cipher, plain, associated)
        })
    }

    fn unseal<'a>(
        &'a self,
        key: &'a KeyHandle<Sealing>,
        sealed: &'a [u8],
        associated: &'a [u8],
    ) -> Pending<'a, SecretBytes> {
        Box::pin(async move {
            let material = self.material(key)?;
            let cipher = material.cipher().ok_or_else(|| wrong_purpose(PurposeKind::Sealing))?;
            aead::unseal(cipher, sealed, associated)
        })
    }
}

impl ListingFacet for SoftVault {
    fn list(&self) -> Pending<'_, Vec<KeyInfo>> {
        Box::pin(async move { self.list_now() })
    }
}

impl fmt::Debug for SoftVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftVault").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Opens software vaults: `soft:?path=DIRECTORY`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftBackend;

impl Backend for SoftBackend {
    fn scheme(&self) -> Scheme {
        Scheme::Soft
    }

    fn open<'a>(&'a self, uri: &'a KeyUri, interact: Arc<dyn Interact>) -> Pending<'a, Arc<dyn Vault>> {
        Box::pin(async move {
            let path = uri.require("path")?;
            Ok(Arc::new(SoftVault::open(Path::new(path), &*interact)?) as Arc<dyn Vault>)
        })
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
