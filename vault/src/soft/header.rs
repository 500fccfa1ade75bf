//! The header of a software vault, `vault.json`: what locks it, and its data key sealed under that. The keys hang on the
//! data key alone, so changing the lock is replacing this one file.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::aead;
use super::lock::{Kek, Lock, StoredLock, Unlock};
use super::store::{FORMAT, MAX_FILE, json, unhex, unreadable, unwritable};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::secret::SecretBytes;

/// `vault.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: u32,
    vault_id: String,
    lock: StoredLock,
    data_key: String,
}

impl Header {
    pub(super) fn vault_id(&self) -> &str {
        &self.vault_id
    }

    pub(super) fn lock(&self) -> &StoredLock {
        &self.lock
    }

    /// Refuses a directory that already holds a vault.
    pub(super) fn refuse_second(path: &Path) -> Result<()> {
        if file(path).exists() { Err(taken(path)) } else { Ok(()) }
    }

    /// Seals the data key under a new lock and writes the header, which must not exist yet.
    pub(super) async fn create(
        path: &Path,
        vault_id: String,
        lock: &Lock,
        data_key: &SecretBytes,
    ) -> Result<Self> {
        let (stored, kek) = StoredLock::create(lock, path)?;
        let header = Self::sealed(vault_id, stored, &kek, data_key).await?;
        kek.write()?;
        durable::write_new(&file(path), &json(&header)?).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => taken(path),
            _ => unwritable(&file(path), e),
        })?;
        Ok(header)
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let header_path = file(path);
        let bytes = durable::read(&header_path, MAX_FILE).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::new(Kind::NotFound, format!("there is no software vault in `{}`", path.display()))
                    .with_hint("`ockam-kms vault create` makes one")
            }
            _ => unreadable(&header_path, e),
        })?;
        Self::parse(path, &bytes)
    }

    /// Reads the bytes of the header of the vault in `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let broken = |e: serde_json::Error| broken(path).with_source(e);
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(broken)?;
        if version.format > FORMAT {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "`{}` is of format {}, newer than this program's {FORMAT}",
                    path.display(),
                    version.format
                ),
            )
            .with_hint("use the program that wrote it, or a later one"));
        }
        let header: Self = serde_json::from_slice(bytes).map_err(broken)?;
        // There never was another one.
        if header.format == FORMAT { Ok(header) } else { Err(self::broken(path)) }
    }

    /// The header of a vault, and the data key behind its lock.
    pub(super) async fn open(path: &Path, unlock: Unlock<'_>) -> Result<(Self, SecretBytes)> {
        let header = Self::read(path)?;
        match header.unlock(path, unlock).await {
            Ok(data_key) => Ok((header, data_key)),
            Err(error) => {
                // The lock may have been changed between our look and the use of the old one.
                let now = Self::read(path)?;
                if now == header {
                    return Err(error);
                }
                let data_key = now.unlock(path, unlock).await?;
                Ok((now, data_key))
            }
        }
    }

    async fn unlock(&self, path: &Path, unlock: Unlock<'_>) -> Result<SecretBytes> {
        let kek = self.lock.kek(path, unlock)?;
        self.unseal(path, &kek).await
    }

    async fn unseal(&self, path: &Path, kek: &Kek<'_>) -> Result<SecretBytes> {
        let sealed = unhex(&self.data_key).ok_or_else(|| broken(path))?;
        let unsealed = kek.unseal(&sealed, &Self::associated(&self.vault_id, &self.lock)).await;
        unsealed.map_err(|e| if e.kind() == Kind::Rejected { self.lock.denied(path) } else { e })
    }

    async fn sealed(
        vault_id: String,
        lock: StoredLock,
        kek: &Kek<'_>,
        data_key: &SecretBytes,
    ) -> Result<Self> {
        let sealed = kek.seal(data_key.expose(), &Self::associated(&vault_id, &lock)).await?;
        Ok(Self { format: FORMAT, vault_id, lock, data_key: hex::encode(sealed) })
    }

    fn associated(vault_id: &str, lock: &StoredLock) -> Vec<u8> {
        let format = FORMAT.to_be_bytes();
        let mut fields: Vec<&[u8]> =
            vec![b"ockam-kms software vault data key", &format, vault_id.as_bytes(), lock.name().as_bytes()];
        fields.extend(lock.bound());
        aead::associated(&fields)
    }
}

/// A vault whose lock is about to be changed: its data key is in memory.
pub struct Relock {
    path: PathBuf,
    header: Header,
    data_key: SecretBytes,
}

impl Relock {
    /// Opens the present lock of the vault in a directory. What this may ask, it asks now; nothing is changed yet.
    ///
    /// # Errors
    /// As [`SoftVault::unlock`](super::SoftVault::unlock).
    pub async fn begin(path: &Path, unlock: Unlock<'_>) -> Result<Self> {
        let (header, data_key) = Header::open(path, unlock).await?;
        Ok(Self { path: path.to_owned(), header, data_key })
    }

    /// Changes the lock: one file is replaced in one step, and no key is touched. Whoever is killed before that step
    /// leaves the old lock, whoever is killed after it the new one.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when somebody else changed it in between, [`Kind::Backend`] when the new lock does not open what
    /// it sealed, [`Kind::Denied`] when files cannot be written, and whatever the vault meets that is to seal. The old lock
    /// is then still there.
    pub async fn finish(self, lock: &Lock) -> Result<()> {
        let Self { path, header, data_key } = self;
        let (stored, kek) = StoredLock::create(lock, &path)?;
        let next = Header::sealed(header.vault_id.clone(), stored, &kek, &data_key).await?;
        // Before the old lock is gone: what a device sealed wrongly would be lost.
        let opened = next.unseal(&path, &kek).await;
        if !opened.is_ok_and(|opened| opened.same_as(&data_key)) {
            return Err(Error::new(Kind::Backend, "the new lock does not open what it has just sealed")
                .with_hint(
                    "nothing was changed; `ockam-kms vault check` tries out the vault that is to seal",
                ));
        }
        if Header::read(&path)? != header {
            return Err(Error::new(
                Kind::Exhausted,
                format!("the lock of the vault in `{}` was changed in between", path.display()),
            )
            .with_hint("try again"));
        }
        kek.write()?;
        durable::replace(&file(&path), &json(&next)?).map_err(|e| unwritable(&file(&path), e))?;
        // Those of earlier locks, and of changes that were cut off. They open nothing any more.
        next.lock.forget_other_key_files(&path);
        let _ = durable::forget(&file(&path));
        Ok(())
    }
}

impl std::fmt::Debug for Relock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relock").field("path", &self.path).finish_non_exhaustive()
    }
}

fn file(path: &Path) -> PathBuf {
    path.join("vault.json")
}

fn taken(path: &Path) -> Error {
    Error::new(Kind::AlreadyExists, format!("there already is a software vault in `{}`", path.display()))
        .with_hint("open it, or choose another directory")
}

fn broken(path: &Path) -> Error {
    Error::new(Kind::Corrupt, format!("`{}` breaks its own rules", file(path).display()))
        .with_hint("restore it from a backup")
}
