//! The lock of a software vault: what its data key is sealed under.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::aead;
use super::store::unhex;
use crate::bound::Sealer;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::handle::VaultId;
use crate::interact::{Ask, Interact};
use crate::secret::SecretBytes;
use crate::spec::KeyName;
use crate::uri::KeyUri;

/// Argon2id (RFC 9106): 64 MiB, three passes, one lane.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// What a stored lock may ask for at most: a file that was tampered with must not eat the machine.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;
/// The file that a key-file lock names, inside the vault's directory unless another path is given.
const KEY_FILE: &str = "kek";
/// What follows its name when a file of an earlier lock has that: a hyphen and this many random digits.
const KEY_FILE_DIGITS: usize = 16;

/// How a software vault is to be locked.
pub enum Lock {
    /// By a file of 32 random bytes, written as hex. Without a path it is made beside the data, where it protects
    /// only backups and disks that do not include it.
    KeyFile(Option<PathBuf>),
    /// By a passphrase, through Argon2id.
    Passphrase(SecretBytes),
    /// By a sealing key of another vault, which is called once for each time that the vault is opened.
    Vault {
        /// What the other vault is called where this one is registered.
        name: KeyName,
        /// The key.
        sealer: Sealer,
    },
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Vault { name, sealer } => {
                f.debug_struct("Vault").field("name", name).field("sealer", sealer).finish()
            }
        }
    }
}

/// What opens a lock.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// Whoever knows the passphrase; nobody is asked where a key file locks the vault.
    Asking(&'a dyn Interact),
    /// The sealing key that [`SealedBy`] names.
    Sealer(&'a Sealer),
}

/// What locks a software vault, as far as it can be told without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockedBy {
    /// This file.
    KeyFile(PathBuf),
    /// A passphrase.
    Passphrase,
    /// A sealing key of another vault.
    Vault(SealedBy),
}

/// The sealing key that locks a software vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBy {
    /// What the vault that holds it was called when the lock was made.
    pub vault: KeyName,
    /// That vault's own id.
    pub vault_id: VaultId,
    /// The key in it.
    pub key: KeyUri,
}

/// The lock as it is stored: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StoredLock {
    KeyFile { path: PathBuf },
    Passphrase { salt: String, memory_kib: u32, passes: u32, lanes: u32 },
    Vault { vault: String, vault_id: String, key: String },
}

/// The key-encryption key behind a lock: ours for a moment, or in a vault for ever.
pub(super) enum Kek<'a> {
    Key(SecretBytes),
    /// Not written yet.
    NewKeyFile(SecretBytes, PathBuf),
    Sealer(&'a Sealer),
}

impl Kek<'_> {
    pub(super) async fn seal(&self, plain: &[u8], associated: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Key(key) | Self::NewKeyFile(key, _) => aead::seal(&aead::cipher(key)?, plain, associated),
            Self::Sealer(sealer) => sealer.seal(plain, associated).await,
        }
    }

    pub(super) async fn unseal(&self, sealed: &[u8], associated: &[u8]) -> Result<SecretBytes> {
        match self {
            Self::Key(key) | Self::NewKeyFile(key, _) => {
                aead::unseal(&aead::cipher(key)?, sealed, associated)
            }
            Self::Sealer(sealer) => sealer.unseal(sealed, associated).await,
        }
    }

    /// Writes what has to be there before anything is locked by it.
    pub(super) fn write(&self) -> Result<()> {
        let Self::NewKeyFile(key, path) = self else { return Ok(()) };
        let text = Zeroizing::new(format!("{}\n", Zeroizing::new(hex::encode(key.expose())).as_str()));
        durable::write_new(path, text.as_bytes()).map_err(|e| {
            Error::new(Kind::Denied, format!("cannot write the key file `{}`", path.display())).with_source(e)
        })
    }
}

impl StoredLock {
    /// Makes a new lock for the vault in `directory`, and the key-encryption key it stands for. Writes nothing.
    pub(super) fn create<'a>(lock: &'a Lock, directory: &Path) -> Result<(Self, Kek<'a>)> {
        match lock {
            Lock::KeyFile(path) => {
                let name = match path {
                    Some(path) => path.clone(),
                    None => own_key_file(directory)?,
                };
                let full = directory.join(&name);
                let kek = if path.is_some() && full.exists() {
                    Kek::Key(given_key_file(&full)?)
                } else {
                    Kek::NewKeyFile(SecretBytes::random(32)?, full)
                };
                Ok((Self::KeyFile { path: name }, kek))
            }
            Lock::Passphrase(passphrase) => {
                let salt = SecretBytes::random(16)?;
                let key = derive(passphrase, salt.expose(), MEMORY_KIB, PASSES, 1)?;
                let stored = Self::Passphrase {
                    salt: hex::encode(salt.expose()),
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    lanes: 1,
                };
                Ok((stored, Kek::Key(key)))
            }
            Lock::Vault { name, sealer } => {
                let stored = Self::Vault {
                    vault: name.to_string(),
                    vault_id: sealer.vault().id().to_string(),
                    key: sealer.handle().uri().to_string(),
                };
                Ok((stored, Kek::Sealer(sealer)))
            }
        }
    }

    /// The key-encryption key behind the lock.
    pub(super) fn kek<'a>(&self, directory: &Path, unlock: Unlock<'a>) -> Result<Kek<'a>> {
        match (self, unlock) {
            (Self::KeyFile { path }, _) => {
                let hint = "the vault cannot be opened without it: restore it from where it is kept";
                read_key_file(&directory.join(path), hint).map(Kek::Key)
            }
            (Self::Passphrase { salt, memory_kib, passes, lanes }, Unlock::Asking(interact)) => {
                let salt = unhex(salt).filter(|salt| salt.len() == 16);
                let Some(salt) =
                    salt.filter(|_| *memory_kib <= MAX_MEMORY_KIB && *passes <= MAX_PASSES && *lanes == 1)
                else {
                    return Err(Error::new(Kind::Corrupt, "the passphrase parameters are out of bounds"));
                };
                let ask = Ask::Passphrase { of: format!("the software vault `{}`", directory.display()) };
                derive(&interact.secret(&ask)?, &salt, *memory_kib, *passes, *lanes).map(Kek::Key)
            }
            (Self::Vault { .. }, Unlock::Sealer(sealer)) => Ok(Kek::Sealer(sealer)),
            (Self::Vault { vault, key, .. }, Unlock::Asking(_)) => Err(Error::new(
                Kind::Invalid,
                format!(
                    "the vault in `{}` is locked by the key `{}` of the vault `{}`",
                    directory.display(),
                    key.escape_debug(),
                    vault.escape_debug()
                ),
            )
            .with_hint("open it by the name that it has in its home, where that vault is known too")),
            (Self::Passphrase { .. }, Unlock::Sealer(_)) => Err(Error::new(
                Kind::Invalid,
                format!("the vault in `{}` is locked by a passphrase", directory.display()),
            )),
        }
    }

    /// The lock in our words.
    pub(super) fn described(&self, directory: &Path) -> Result<LockedBy> {
        Ok(match self {
            Self::KeyFile { path } => LockedBy::KeyFile(directory.join(path)),
            Self::Passphrase { .. } => LockedBy::Passphrase,
            Self::Vault { vault, vault_id, key } => {
                let corrupt = |e: Error| {
                    Error::new(
                        Kind::Corrupt,
                        format!("the lock of the vault in `{}` breaks its own rules", directory.display()),
                    )
                    .with_hint("restore its `vault.json` from a backup")
                    .with_source(e)
                };
                LockedBy::Vault(SealedBy {
                    vault: KeyName::new(vault).map_err(corrupt)?,
                    vault_id: VaultId::new(vault_id),
                    key: key.parse().map_err(corrupt)?,
                })
            }
        })
    }

    /// A key-encryption key that is not the one.
    pub(super) fn denied(&self, directory: &Path) -> Error {
        let what = match self {
            Self::KeyFile { path } => format!("the key file `{}`", directory.join(path).display()),
            Self::Passphrase { .. } => "the passphrase".to_owned(),
            Self::Vault { vault, key, .. } => {
                format!("the key `{}` of the vault `{}`", key.escape_debug(), vault.escape_debug())
            }
        };
        let error =
            Error::new(Kind::Denied, format!("{what} does not open the vault in `{}`", directory.display()));
        error.with_hint(match self {
            Self::Vault { .. } => {
                "connect the device that holds the key it was locked with; nothing was changed"
            }
            _ => "give the one it was locked with; nothing was changed",
        })
    }

    /// The word that goes into the associated data of the sealed data key.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::KeyFile { .. } => "key-file",
            Self::Passphrase { .. } => "passphrase",
            Self::Vault { .. } => "vault",
        }
    }

    /// What else goes there: which key of which vault. Not what the vault is called, which is for its home to say.
    pub(super) fn bound(&self) -> Vec<&[u8]> {
        match self {
            Self::Vault { vault_id, key, .. } => vec![vault_id.as_bytes(), key.as_bytes()],
            _ => Vec::new(),
        }
    }

    /// Removes key files of ours in the vault's directory that this lock does not name.
    pub(super) fn forget_other_key_files(&self, directory: &Path) {
        let mine = match self {
            Self::KeyFile { path } => Some(directory.join(path)),
            _ => None,
        };
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_str().is_some_and(is_own_key_file);
            if ours && Some(entry.path()) != mine {
                let _ = durable::remove(&entry.path());
            }
        }
    }
}

/// A name in the vault's directory that no key file has.
fn own_key_file(directory: &Path) -> Result<PathBuf> {
    let plain = PathBuf::from(KEY_FILE);
    if !directory.join(&plain).exists() {
        return Ok(plain);
    }
    let random = SecretBytes::random(KEY_FILE_DIGITS / 2)?;
    Ok(PathBuf::from(format!("{KEY_FILE}-{}", hex::encode(random.expose()))))
}

fn is_own_key_file(name: &str) -> bool {
    let random = name.strip_prefix(KEY_FILE).and_then(|rest| rest.strip_prefix('-'));
    name == KEY_FILE
        || random.is_some_and(|random| {
            random.len() == KEY_FILE_DIGITS && random.bytes().all(|c| c.is_ascii_hexdigit())
        })
}

/// The key in a file that is to lock a vault: nothing depends on it yet.
fn given_key_file(path: &Path) -> Result<SecretBytes> {
    // A pipe, or a device, would not be there when the vault is opened.
    if !path.is_file() {
        return Err(Error::new(Kind::Invalid, format!("`{}` is there, and is no file", path.display()))
            .with_hint("name a file: one that there is not yet is made, with a new key"));
    }
    read_key_file(path, "name a key file that you may read, or one that there is not yet: that is made")
}

fn read_key_file(path: &Path, hint: &'static str) -> Result<SecretBytes> {
    let text = SecretBytes::read_file(path).map_err(|e| {
        Error::new(e.kind(), format!("cannot read the key file `{}`", path.display()))
            .with_hint(hint)
            .with_source(e)
    })?;
    let mut key = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.expose(), key.as_mut_slice()).map_err(|_| {
        Error::new(Kind::Corrupt, format!("the key file `{}` does not hold 64 hex digits", path.display()))
    })?;
    Ok(SecretBytes::new(key.to_vec()))
}

fn derive(
    passphrase: &SecretBytes,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
) -> Result<SecretBytes> {
    let params = argon2::Params::new(memory_kib, passes, lanes, Some(32))
        .map_err(|_| Error::new(Kind::Corrupt, "the passphrase parameters are out of bounds"))?;
    let mut key = Zeroizing::new([0_u8; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
        .map_err(|e| {
            Error::new(Kind::Exhausted, "deriving a key from the passphrase failed")
                .with_source(e.to_string())
        })?;
    Ok(SecretBytes::new(key.to_vec()))
}
