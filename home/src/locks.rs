//! Which vault locks which: a software vault may be sealed by a key of another vault, and so on, but never by itself.
//!
//! A sealing key is made before the lock that names it, and a record says so until the lock is there: what a change that
//! was cut off left on a device is destroyed by the next one that uses that device.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vault::soft::{Lock, LockedBy, Relock, SealedBy, SoftVault};
use vault::{
    Algorithm, Custody, KeySpec, KeyUri, Scheme, Sealer, Sealing, SealingFacet, SecretBytes, Vault, VaultId,
};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer, stored_name};
use crate::record::{Name, Records};
use crate::vaults::Vaults;

/// A sealing key that is to lock a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kek {
    /// The vault that holds it.
    pub vault: Name,
    /// Which one; a new one, named after the vault that it locks, when none is given.
    pub key: Option<KeyUri>,
}

/// The lock that a vault is to get.
#[derive(Debug)]
pub enum NewLock {
    /// One that needs no other vault.
    Own(Lock),
    /// A key of another vault.
    Kek(Kek),
}

/// A key that is being made to lock the vault in a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SealingKeyRecord {
    vault: String,
    path: PathBuf,
}

/// A lock by another vault, and the key that was made for it.
struct Made {
    lock: Lock,
    key: Option<Name>,
}

impl Home {
    fn sealing_key_records(&self) -> Records<SealingKeyRecord> {
        Records::new(self.dir("sealing-keys"), "sealing key")
    }

    /// Whether a key of this name is being made to lock a vault; the next one that is made settles it when that was cut off.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn makes_lock(&self, key: &Name) -> Result<bool> {
        Ok(self.sealing_key_records().find(key)?.is_some())
    }

    /// What locks a vault: `None` for one that is not made of files of ours.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or when the vault's header cannot be read.
    pub fn vault_lock(&self, name: &Name) -> Result<Option<LockedBy>> {
        Ok(self.software(name)?.map(|(_, by)| by))
    }

    fn software(&self, name: &Name) -> Result<Option<(VaultId, LockedBy)>> {
        locked(&self.vault(name)?.uri()?)
    }

    /// The vaults that a key of this vault locks.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn locked_with(&self, vault: &Name) -> Result<Vec<Name>> {
        // Its own header may be gone: then the name has to do.
        let id = self.software(vault).ok().flatten().map(|(id, _)| id);
        self.sealed_vaults(|by| by.vault == *vault || Some(&by.vault_id) == id.as_ref())
    }

    /// The vaults that this key locks, also when its vault is registered under several names.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn locked_with_key(&self, name: &Name, vault: &dyn Vault, key: &KeyUri) -> Result<Vec<Name>> {
        self.sealed_vaults(|by| (by.vault == *name || by.vault_id == *vault.id()) && by.key.same_key(key))
    }

    fn sealed_vaults(&self, meant: impl Fn(&SealedBy) -> bool) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        for (name, record) in self.vaults()? {
            // One whose header cannot be read opens with no key at all.
            if let Ok(Some((_, LockedBy::Vault(by)))) = record.uri().and_then(|uri| locked(&uri))
                && meant(&by)
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Refuses to take a vault away from others that its keys lock.
    pub(crate) fn refuse_while_it_locks(&self, vault: &Name) -> Result<()> {
        let locked = self.locked_with(vault)?;
        if locked.is_empty() {
            return Ok(());
        }
        let names = locked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(Error::new(Kind::Denied, format!("a key of the vault `{vault}` locks {names}"))
            .with_hint("change that lock first: `ockam-kms vault rekey`"))
    }

    /// Refuses a lock by which a vault would lock itself, directly or through others.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a circle, [`Kind::NotFound`] for a vault that is not known.
    pub fn refuse_circle(&self, vault: &Name, kek: &Name) -> Result<()> {
        let id = if vault == kek { None } else { self.software(vault).ok().flatten().map(|(id, _)| id) };
        let mut through = Vec::new();
        let mut at = kek.clone();
        loop {
            let found = if at == *vault { None } else { self.software(&at)? };
            let same = at == *vault || found.as_ref().is_some_and(|(found, _)| Some(found) == id.as_ref());
            if same || through.contains(&at) {
                let chain: Vec<_> = through.iter().map(|name| format!("`{name}`")).collect();
                let by =
                    if chain.is_empty() { String::new() } else { format!(", through {}", chain.join(", ")) };
                return Err(Error::new(Kind::Invalid, format!("the vault `{vault}` would lock itself{by}"))
                    .with_hint("nothing could open it any more: name a vault that it does not lock"));
            }
            through.push(at);
            match found {
                Some((_, LockedBy::Vault(by))) => at = by.vault,
                _ => return Ok(()),
            }
        }
    }

    /// Makes a software vault that a key of another vault locks. Open that one before: it may have to ask somebody.
    ///
    /// # Errors
    /// As [`create_soft_vault`](Self::create_soft_vault), and whatever the other vault meets.
    pub async fn create_sealed_vault(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        path: Option<&Path>,
        kek: &Kek,
    ) -> Result<()> {
        self.refuse_taken(name)?;
        self.refuse_circle(name, &kek.vault)?;
        let directory = self.soft_vault_path(name, path)?;
        self.refuse_occupied(&directory)?;
        let made = self.make_lock(writer, vaults, name, &directory, kek).await?;
        let done = self.create_soft_vault(writer, name, path, &made.lock);
        self.settle(writer, vaults, made.key.as_ref()).await?;
        done
    }

    /// Changes the lock of a software vault that [`Vaults::relock`] has opened.
    ///
    /// # Errors
    /// As [`Relock::finish`], and whatever the other vault meets. The old lock is then still there.
    pub async fn relock_vault(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        relock: Relock,
        lock: &NewLock,
    ) -> Result<()> {
        let kek = match lock {
            NewLock::Own(lock) => return Ok(relock.finish(lock).await?),
            NewLock::Kek(kek) => kek,
        };
        self.refuse_circle(name, &kek.vault)?;
        let uri = self.vault(name)?.uri()?;
        let made = self.make_lock(writer, vaults, name, Path::new(uri.require("path")?), kek).await?;
        let done = relock.finish(&made.lock).await;
        self.settle(writer, vaults, made.key.as_ref()).await?;
        Ok(done?)
    }

    async fn make_lock(
        &self,
        writer: &Writer,
        vaults: &Vaults,
        name: &Name,
        directory: &Path,
        kek: &Kek,
    ) -> Result<Made> {
        let vault = vaults.open(&kek.vault).await?;
        let facet = sealing(&kek.vault, &*vault)?;
        let (handle, key) = match &kek.key {
            Some(uri) => (facet.open(uri).await?, None),
            None => {
                for (left, record) in self.sealing_key_records().list()? {
                    if record.vault == kek.vault.as_str() {
                        self.settle(writer, vaults, Some(&left)).await?;
                    }
                }
                let key = key_name(name)?;
                let record = SealingKeyRecord { vault: kek.vault.to_string(), path: directory.to_owned() };
                self.sealing_key_records().create(writer, &key, &record)?;
                let spec = KeySpec::new(key.clone(), sealing_algorithm(&kek.vault, &*vault)?)?;
                match facet.generate(&spec).await {
                    Ok(handle) => (handle, Some(key)),
                    Err(error) => {
                        // The first failure is the one that is told.
                        let _ = self.settle(writer, vaults, Some(&key)).await;
                        return Err(error.into());
                    }
                }
            }
        };
        let sealer = match Sealer::bind(vault, handle) {
            Ok(sealer) => sealer,
            Err(error) => {
                let _ = self.settle(writer, vaults, key.as_ref()).await;
                return Err(error.into());
            }
        };
        Ok(Made { lock: Lock::Vault { name: kek.vault.clone(), sealer }, key })
    }

    /// Ends what a record says of a key: it locks a vault, or it is destroyed.
    async fn settle(&self, writer: &Writer, vaults: &Vaults, key: Option<&Name>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let Some(record) = self.sealing_key_records().find(key)? else { return Ok(()) };
        if !self.locks_something(key, &record)? {
            let name = stored_name(&record.vault)?;
            let vault = vaults.open(&name).await?;
            Custody::<Sealing>::discard(sealing(&name, &*vault)?, key).await?;
        }
        self.sealing_key_records().remove(writer, key)
    }

    fn locks_something(&self, key: &Name, record: &SealingKeyRecord) -> Result<bool> {
        let named = |by: &SealedBy| by.key.same_key(&KeyUri::of_key(by.key.scheme(), key));
        let locks = match SoftVault::locked_by(&record.path) {
            Ok((_, LockedBy::Vault(by))) => named(&by),
            Ok(_) => false,
            Err(e) if e.kind() == Kind::NotFound => false,
            Err(e) => return Err(e.into()),
        };
        // A directory of ours that is not registered is what a creation that was cut off left behind.
        let registered = |uri: &KeyUri| uri.text("path").ok().flatten().map(Path::new) == Some(&record.path);
        let ours = record.path.parent() == Some(self.dir("vaults").as_path());
        let known = self.vaults()?.iter().any(|(_, vault)| vault.uri().is_ok_and(|uri| registered(&uri)));
        Ok(locks && (known || !ours))
    }
}

/// What locks the vault of a URI, when it is a software vault.
pub(crate) fn locked(uri: &KeyUri) -> Result<Option<(VaultId, LockedBy)>> {
    match uri.scheme() {
        Scheme::Soft => Ok(Some(SoftVault::locked_by(Path::new(uri.require("path")?))?)),
        _ => Ok(None),
    }
}

pub(crate) fn sealing<'a>(name: &Name, vault: &'a dyn Vault) -> Result<&'a dyn SealingFacet> {
    vault.sealing().ok_or_else(|| no_sealing(name))
}

fn no_sealing(name: &Name) -> Error {
    Error::new(Kind::Unsupported, format!("the vault `{name}` has no keys that seal"))
        .with_hint("`ockam-kms vault check` lists what a vault can do")
}

/// What a key that locks a vault is made as: an AES key where there are such, else one that agrees.
fn sealing_algorithm(name: &Name, vault: &dyn Vault) -> Result<Algorithm> {
    let found = vault.capabilities().choose(&[Algorithm::Aes256Gcm, Algorithm::EciesP256]);
    found.ok_or_else(|| no_sealing(name))
}

/// A name for the key that locks a vault: nobody else's, also where several homes share a token.
fn key_name(vault: &Name) -> Result<Name> {
    let random = hex::encode(SecretBytes::random(4)?.expose());
    let stem: String =
        vault.as_str().chars().take(vault::MAX_KEY_NAME - "-kek-".len() - random.len()).collect();
    Ok(Name::new(&format!("{stem}-kek-{random}"))?)
}
