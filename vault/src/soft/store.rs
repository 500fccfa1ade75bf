//! The files of a software vault (docs/formats.md, "software vault"):
//!
//! ```text
//! vault.json        format, vault id, lock, data key sealed under the lock
//! keys/NAME.json    one key: id, algorithm, public half, secret half sealed under the data key
//! ```

use std::io;
use std::path::{Path, PathBuf};

use aes_gcm::Aes256Gcm;
use serde::{Deserialize, Serialize};

use super::header::Header;
use super::key::Material;
use super::lock::{Lock, Unlock};
use super::{aead, not_found};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::memory::Locked;
use crate::secret::SecretBytes;
use crate::spec::{Algorithm, KeyName};

pub(super) const FORMAT: u32 = 1;
pub(super) const MAX_FILE: u64 = 16 * 1024;

/// 16 random bytes as hex.
pub(super) fn random_id() -> Result<String> {
    Ok(hex::encode(SecretBytes::random(16)?.expose()))
}

/// Bytes from lower-case hex. One spelling only: a file in which anything was altered is one that is refused.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|c| !c.is_ascii_uppercase());
    hex::decode(text).ok().filter(|_| lower)
}

pub(super) fn already_exists(name: &KeyName) -> Error {
    Error::new(Kind::AlreadyExists, format!("the software vault already has a key `{name}`"))
        .with_hint("choose another name, or destroy that key first")
}

/// One key as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRecord {
    format: u32,
    key_id: String,
    name: String,
    algorithm: String,
    public: Option<String>,
    sealed: String,
}

impl KeyRecord {
    /// Reads the bytes of the file of this key.
    pub(super) fn parse(name: &KeyName, bytes: &[u8]) -> Result<Self> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|e| corrupt(name.as_str()).with_source(e))?;
        if record.format != FORMAT || record.name != name.as_str() {
            return Err(corrupt(name.as_str()));
        }
        Ok(record)
    }

    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn algorithm(&self) -> Result<Algorithm> {
        self.algorithm.parse().map_err(|_| corrupt(&self.name))
    }

    pub(super) fn public(&self) -> Result<Option<Vec<u8>>> {
        self.public.as_ref().map(|text| unhex(text).ok_or_else(|| corrupt(&self.name))).transpose()
    }

    fn associated(&self, vault_id: &str) -> Result<Vec<u8>> {
        let algorithm = self.algorithm()?;
        Ok(aead::associated(&[
            b"ockam-kms software vault key",
            &self.format.to_be_bytes(),
            vault_id.as_bytes(),
            self.key_id.as_bytes(),
            self.name.as_bytes(),
            algorithm.name().as_bytes(),
            algorithm.purpose().name().as_bytes(),
            &self.public()?.unwrap_or_default(),
        ]))
    }
}

fn corrupt(name: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the file of key `{}` breaks its own rules", name.escape_debug()))
        .with_hint("restore the vault's directory from a backup")
}

/// The directory of a software vault, unlocked.
pub(super) struct Directory {
    keys: PathBuf,
    vault_id: String,
    data_key: Locked<Aes256Gcm>,
}

impl Directory {
    pub(super) async fn create(path: &Path, lock: &Lock) -> Result<Self> {
        Header::refuse_second(path)?;
        let keys = path.join("keys");
        durable::create_dir(&keys).map_err(|e| unwritable(&keys, e))?;
        let secret = SecretBytes::random(32)?;
        let header = Header::create(path, random_id()?, lock, &secret).await?;
        Self::unlocked(path, &header, &secret)
    }

    pub(super) async fn open(path: &Path, unlock: Unlock<'_>) -> Result<Self> {
        let (header, secret) = Header::open(path, unlock).await?;
        Self::unlocked(path, &header, &secret)
    }

    fn unlocked(path: &Path, header: &Header, data_key: &SecretBytes) -> Result<Self> {
        Ok(Self {
            keys: path.join("keys"),
            vault_id: header.vault_id().to_owned(),
            data_key: Locked::new(aead::cipher(data_key)?),
        })
    }

    pub(super) fn vault_id(&self) -> &str {
        &self.vault_id
    }

    /// Stores a new key and answers its id.
    pub(super) fn write_new(&self, name: &KeyName, material: &Material) -> Result<String> {
        let path = self.path(name);
        durable::sweep(&self.keys).map_err(|e| unwritable(&self.keys, e))?;
        let mut record = KeyRecord {
            format: FORMAT,
            key_id: random_id()?,
            name: name.as_str().to_owned(),
            algorithm: material.algorithm().name().to_owned(),
            public: material.public_bytes().map(hex::encode),
            sealed: String::new(),
        };
        let associated = record.associated(&self.vault_id)?;
        record.sealed = hex::encode(aead::seal(&self.data_key, material.secret().expose(), &associated)?);
        durable::write_new(&path, &json(&record)?).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => already_exists(name),
            _ => unwritable(&path, e),
        })?;
        Ok(record.key_id)
    }

    pub(super) fn read(&self, name: &KeyName) -> Result<Option<KeyRecord>> {
        let path = self.path(name);
        let bytes = match durable::read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(&path, e)),
        };
        KeyRecord::parse(name, &bytes).map(Some)
    }

    pub(super) fn unseal(&self, record: &KeyRecord) -> Result<Material> {
        let sealed = unhex(&record.sealed).ok_or_else(|| corrupt(&record.name))?;
        // A record that does not unseal was altered, or swapped with another: that is corruption of what is stored,
        // not a check of what somebody sent.
        let secret = aead::unseal(&self.data_key, &sealed, &record.associated(&self.vault_id)?)
            .map_err(|_| corrupt(&record.name))?;
        let material = Material::from_secret(record.algorithm()?, secret)?;
        if material.public_bytes() != record.public()? {
            return Err(corrupt(&record.name));
        }
        Ok(material)
    }

    pub(super) fn remove(&self, name: &KeyName, key_id: &str) -> Result<()> {
        if self.read(name)?.is_none_or(|record| record.key_id != key_id) {
            return Err(not_found(name));
        }
        let path = self.path(name);
        durable::remove(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => not_found(name),
            _ => unwritable(&path, e),
        })
    }

    /// Removes what a generation under this name that was cut off left behind: under no name, but with a sealed key.
    pub(super) fn forget(&self, name: &KeyName) -> Result<()> {
        let path = self.path(name);
        durable::forget(&path).map_err(|e| unwritable(&path, e))
    }

    /// Every key, sorted by name.
    pub(super) fn list(&self) -> Result<Vec<KeyRecord>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.keys).map_err(|e| unreadable(&self.keys, e))? {
            let entry = entry.map_err(|e| unreadable(&self.keys, e))?;
            let file = entry.file_name();
            let name =
                file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|n| KeyName::new(n).ok());
            if let Some(name) = name {
                records.extend(self.read(&name)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    fn path(&self, name: &KeyName) -> PathBuf {
        self.keys.join(format!("{name}.json"))
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Kind::Backend, "writing JSON failed").with_source(e))
}

pub(super) fn unwritable(path: &Path, e: io::Error) -> Error {
    let kind = if e.kind() == io::ErrorKind::StorageFull { Kind::Exhausted } else { Kind::Denied };
    Error::new(kind, format!("cannot write `{}`: {e}", path.display()))
        .with_hint("check that the directory is yours and that the disk has room")
        .with_source(e)
}

pub(super) fn unreadable(path: &Path, e: io::Error) -> Error {
    Error::new(Kind::Denied, format!("cannot read `{}`: {e}", path.display())).with_source(e)
}
