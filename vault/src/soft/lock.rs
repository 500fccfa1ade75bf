//! The lock of a software vault: what its data key is sealed under.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::secret::SecretBytes;

/// Argon2id (RFC 9106): 64 MiB, three passes, one lane.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// What a stored lock may ask for at most: a file that was tampered with must not eat the machine.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;
/// The file that a key-file lock names, inside the vault's directory unless another path is given.
const KEY_FILE: &str = "kek";

/// How a software vault is locked.
pub enum Lock {
    /// By a file of 32 random bytes, written as hex. Without a path it is made beside the data, where it protects
    /// only backups and disks that do not include it.
    KeyFile(Option<PathBuf>),
    /// By a passphrase, through Argon2id.
    Passphrase(SecretBytes),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
        }
    }
}

/// The lock as it is stored: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StoredLock {
    KeyFile { path: PathBuf },
    Passphrase { salt: String, memory_kib: u32, passes: u32, lanes: u32 },
}

impl StoredLock {
    /// Makes a new lock for the vault in `directory`, and the key-encryption key it stands for.
    pub(super) fn create(lock: &Lock, directory: &Path) -> Result<(Self, SecretBytes)> {
        match lock {
            Lock::KeyFile(path) => {
                let stored = Self::KeyFile { path: path.clone().unwrap_or_else(|| PathBuf::from(KEY_FILE)) };
                let full = directory.join(path.as_deref().unwrap_or(Path::new(KEY_FILE)));
                if path.is_some() && full.exists() {
                    let key = read_key_file(&full)?;
                    return Ok((stored, key));
                }
                let key = SecretBytes::random(32)?;
                let text = zeroize::Zeroizing::new(format!("{}\n", hex::encode(key.expose())));
                durable::write_new(&full, text.as_bytes()).map_err(|e| {
                    Error::new(Kind::Denied, format!("cannot write the key file `{}`", full.display()))
                        .with_source(e)
                })?;
                Ok((stored, key))
            }
            Lock::Passphrase(passphrase) => {
                let mut salt = [0_u8; 16];
                getrandom::fill(&mut salt).map_err(|e| {
                    Error::new(Kind::Unavailable, "the system gave no randomness").with_source(e.to_string())
                })?;
                let key = derive(passphrase, &salt, MEMORY_KIB, PASSES, 1)?;
                let stored = Self::Passphrase {
                    salt: hex::encode(salt),
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    lanes: 1,
                };
                Ok((stored, key))
            }
        }
    }

    /// The key-encryption key behind the lock.
    pub(super) fn key(
        &self,
        directory: &Path,
        passphrase: impl FnOnce() -> Result<SecretBytes>,
    ) -> Result<SecretBytes> {
        match self {
            Self::KeyFile { path } => read_key_file(&directory.join(path)),
            Self::Passphrase { salt, memory_kib, passes, lanes } => {
                let salt = hex::decode(salt).map_err(|_| Error::new(Kind::Corrupt, "the salt is not hex"))?;
                if *memory_kib > MAX_MEMORY_KIB || *passes > MAX_PASSES || *lanes != 1 || salt.len() != 16 {
                    return Err(Error::new(Kind::Corrupt, "the passphrase parameters are out of bounds"));
                }
                derive(&passphrase()?, &salt, *memory_kib, *passes, *lanes)
            }
        }
    }

    /// The word that goes into the associated data of the sealed data key.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::KeyFile { .. } => "key-file",
            Self::Passphrase { .. } => "passphrase",
        }
    }
}

fn read_key_file(path: &Path) -> Result<SecretBytes> {
    let text = SecretBytes::read_file(path).map_err(|e| {
        Error::new(e.kind(), format!("cannot read the key file `{}`", path.display()))
            .with_hint("the vault cannot be opened without it: restore it from where it is kept")
            .with_source(e)
    })?;
    let mut key = zeroize::Zeroizing::new([0_u8; 32]);
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
    let mut key = zeroize::Zeroizing::new([0_u8; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
        .map_err(|e| {
            Error::new(Kind::Exhausted, "deriving a key from the passphrase failed")
                .with_source(e.to_string())
        })?;
    Ok(SecretBytes::new(key.to_vec()))
}
