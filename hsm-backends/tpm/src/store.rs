//! The files of a vault on a TPM (docs/formats.md, "TPM vault"):
//!
//! ```text
//! tpm.json          format, vault id, name of the TPM's storage key
//! keys/NAME.json    one key: id, algorithm, public half, the two parts of it that the TPM loads
//! ```
//!
//! Nothing in them is secret: what the TPM wrapped, only this TPM unwraps, and only for who has the authorization value.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};
use vault::{Algorithm, Error, KeyName, Kind, Result, SecretBytes, durable};

use crate::pcrs::Pcrs;
use crate::template;

const FORMAT: u32 = 1;
const MAX_FILE: u64 = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultRecord {
    format: u32,
    vault_id: String,
    storage_key: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    format: u32,
    key_id: String,
    name: String,
    algorithm: String,
    public: Option<String>,
    pcrs: Option<String>,
    tpm_public: String,
    tpm_private: String,
}

/// A key as it is stored, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) key_id: String,
    pub(crate) name: KeyName,
    pub(crate) algorithm: Algorithm,
    pub(crate) pcrs: Option<Pcrs>,
    pub(crate) public: Public,
    pub(crate) private: Private,
}

impl Stored {
    /// A key that the TPM just made, under a new id.
    pub(crate) fn new(
        name: &KeyName,
        algorithm: Algorithm,
        pcrs: Option<Pcrs>,
        public: Public,
        private: Private,
    ) -> Result<Self> {
        Ok(Self { key_id: random_id()?, name: name.clone(), algorithm, pcrs, public, private })
    }

    fn record(&self) -> Result<KeyRecord> {
        let public = self.public.marshall().map_err(|e| {
            Error::new(Kind::Backend, "the TPM returned a public area that cannot be written").with_source(e)
        })?;
        Ok(KeyRecord {
            format: FORMAT,
            key_id: self.key_id.clone(),
            name: self.name.to_string(),
            algorithm: self.algorithm.name().to_owned(),
            public: template::point(&self.public).map(hex::encode),
            pcrs: self.pcrs.as_ref().map(ToString::to_string),
            tpm_public: hex::encode(public),
            tpm_private: hex::encode(self.private.value()),
        })
    }

    fn from_record(record: &KeyRecord, name: &KeyName) -> Option<Self> {
        let public = unhex(&record.tpm_public)?;
        let stored = Self {
            key_id: record.key_id.clone(),
            name: name.clone(),
            algorithm: record.algorithm.parse().ok()?,
            pcrs: record.pcrs.as_deref().map(str::parse).transpose().ok()?,
            public: Public::unmarshall(&public).ok()?,
            private: Private::try_from(unhex(&record.tpm_private)?).ok()?,
        };
        let point = record.public.as_deref().map(unhex);
        let same = point == template::point(&stored.public).map(Some)
            && stored.public.marshall().is_ok_and(|again| again == public)
            && stored.pcrs.is_some() != stored.public.auth_policy().is_empty();
        (record.format == FORMAT && record.name == name.as_str() && same).then_some(stored)
    }
}

/// The directory of a vault.
#[derive(Debug)]
pub(crate) struct Store {
    keys: PathBuf,
    id: String,
    storage_key: Vec<u8>,
}

impl Store {
    /// Opens the vault in a directory.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, [`Kind::Corrupt`] when there is half of one.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if let Some(store) = Self::read(path, &path.join("tpm.json"))? {
            return Ok(store);
        }
        if path.join("keys").exists() {
            return Err(Error::new(
                Kind::Corrupt,
                format!("`{}` has keys, but no `tpm.json`", path.display()),
            )
            .with_hint("restore the vault's directory from a backup"));
        }
        Err(Error::new(Kind::NotFound, format!("there is no TPM vault in `{}`", path.display())).with_hint(
            "if it was there, mount its disk, or restore it from a backup; `ockam-kms vault create` makes a new one",
        ))
    }

    /// Makes a vault in a directory where there is none, on the TPM whose storage key has this name.
    pub(crate) fn create(path: &Path, storage_key: &[u8]) -> Result<Self> {
        let file = path.join("tpm.json");
        let record =
            VaultRecord { format: FORMAT, vault_id: random_id()?, storage_key: hex::encode(storage_key) };
        durable::create_dir(path).map_err(|e| unwritable(path, e))?;
        match durable::write_new(&file, &json(&record)?) {
            // Another process was faster: then it is that vault.
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(unwritable(&file, e)),
            _ => {}
        }
        Self::read(path, &file)?.ok_or_else(|| corrupt_vault(path))
    }

    fn read(path: &Path, file: &Path) -> Result<Option<Self>> {
        let bytes = match durable::read(file, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(file, e)),
        };
        let record: VaultRecord =
            serde_json::from_slice(&bytes).map_err(|e| corrupt_vault(path).with_source(e))?;
        if record.format > FORMAT {
            return Err(Error::new(
                Kind::Unsupported,
                format!("`{}` has format {}, and this build knows {FORMAT}", path.display(), record.format),
            )
            .with_hint("use the version that wrote it, or a newer one"));
        }
        let storage_key = unhex(&record.storage_key).filter(|name| name.len() == NAME);
        let whole = unhex(&record.vault_id).is_some_and(|id| id.len() == ID) && record.format == FORMAT;
        let storage_key = storage_key.filter(|_| whole).ok_or_else(|| corrupt_vault(path))?;
        Ok(Some(Self { keys: path.join("keys"), id: record.vault_id, storage_key }))
    }

    /// The id of the vault.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The name of the storage key of the TPM that this vault was made on.
    pub(crate) fn storage_key(&self) -> &[u8] {
        &self.storage_key
    }

    pub(crate) fn refuse_taken(&self, name: &KeyName) -> Result<()> {
        if self.path(name).exists() { Err(already_exists(name)) } else { Ok(()) }
    }

    pub(crate) fn write_new(&self, stored: &Stored) -> Result<()> {
        durable::create_dir(&self.keys).map_err(|e| unwritable(&self.keys, e))?;
        durable::sweep(&self.keys).map_err(|e| unwritable(&self.keys, e))?;
        let path = self.path(&stored.name);
        durable::write_new(&path, &json(&stored.record()?)?).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => already_exists(&stored.name),
            _ => unwritable(&path, e),
        })
    }

    /// The key of this name.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::Corrupt`] when the file is not as we write it.
    pub(crate) fn find(&self, name: &KeyName) -> Result<Stored> {
        let path = self.path(name);
        let bytes = durable::read(&path, MAX_FILE).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => not_found(name),
            _ => unreadable(&path, e),
        })?;
        let record: KeyRecord = serde_json::from_slice(&bytes).map_err(|e| corrupt(name).with_source(e))?;
        Stored::from_record(&record, name).ok_or_else(|| corrupt(name))
    }

    /// The key of this name and id: a later key of the same name is another key.
    pub(crate) fn find_same(&self, name: &KeyName, key_id: &str) -> Result<Stored> {
        Some(self.find(name)?).filter(|stored| stored.key_id == key_id).ok_or_else(|| not_found(name))
    }

    pub(crate) fn remove(&self, name: &KeyName) -> Result<()> {
        let path = self.path(name);
        durable::remove(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => not_found(name),
            _ => unwritable(&path, e),
        })
    }

    /// Removes what a writing under this name that was cut off left behind.
    pub(crate) fn forget(&self, name: &KeyName) -> Result<()> {
        if !self.keys.exists() {
            return Ok(());
        }
        let path = self.path(name);
        durable::forget(&path).map_err(|e| unwritable(&path, e))
    }

    /// Every key, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Stored>> {
        let entries = match std::fs::read_dir(&self.keys) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(&self.keys, e)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let file = entry.map_err(|e| unreadable(&self.keys, e))?.file_name();
            let name =
                file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|n| KeyName::new(n).ok());
            let Some(name) = name else { continue };
            match self.find(&name) {
                Ok(stored) => keys.push(stored),
                // It went while we looked.
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(keys)
    }

    fn path(&self, name: &KeyName) -> PathBuf {
        self.keys.join(format!("{name}.json"))
    }
}

/// The length of an id.
const ID: usize = 16;
/// The length of a name by SHA-256: the algorithm's number, then the digest (TPM 2.0 Part 1, 16).
const NAME: usize = 34;

fn random_id() -> Result<String> {
    Ok(hex::encode(SecretBytes::random(ID)?.expose()))
}

/// Bytes from lower-case hex: one spelling only, so that a file in which anything was altered is refused.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|c| !c.is_ascii_uppercase());
    hex::decode(text).ok().filter(|_| lower)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Kind::Backend, "writing JSON failed").with_source(e))
}

fn not_found(name: &KeyName) -> Error {
    Error::new(Kind::NotFound, format!("there is no key `{name}` in the TPM vault"))
        .with_hint("`ockam-kms key list` shows the keys of a vault")
}

fn already_exists(name: &KeyName) -> Error {
    Error::new(Kind::AlreadyExists, format!("the TPM vault already has a key `{name}`"))
        .with_hint("choose another name, or destroy that key first")
}

fn corrupt(name: &KeyName) -> Error {
    Error::new(Kind::Corrupt, format!("the file of key `{name}` breaks its own rules"))
        .with_hint("restore the vault's directory from a backup")
}

fn corrupt_vault(path: &Path) -> Error {
    Error::new(Kind::Corrupt, format!("`{}` breaks its own rules", path.join("tpm.json").display()))
        .with_hint("restore the vault's directory from a backup")
}

fn unwritable(path: &Path, e: io::Error) -> Error {
    let kind = if e.kind() == io::ErrorKind::StorageFull { Kind::Exhausted } else { Kind::Denied };
    Error::new(kind, format!("cannot write `{}`: {e}", path.display()))
        .with_hint("check that the directory is yours and that the disk has room")
        .with_source(e)
}

fn unreadable(path: &Path, e: io::Error) -> Error {
    Error::new(Kind::Denied, format!("cannot read `{}`: {e}", path.display())).with_source(e)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use vault::PurposeKind;

    use super::*;

    fn stored(name: &str, public: Public, pcrs: Option<Pcrs>, algorithm: Algorithm) -> Stored {
        let private = Private::try_from(vec![1; 126]).unwrap();
        Stored::new(&KeyName::new(name).unwrap(), algorithm, pcrs, public, private).unwrap()
    }

    #[test]
    fn a_vault_is_made_once_and_read_strictly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        assert_eq!(Store::open(&path).unwrap_err().kind(), Kind::NotFound);
        assert!(!path.exists(), "looking makes nothing");
        let store = Store::create(&path, &[3; NAME]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join("tpm.json")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Store::create(&path, &[4; NAME]).unwrap();
        assert_eq!(again.id(), store.id(), "what is there is not made again");
        let again = Store::open(&path).unwrap();
        assert_eq!((again.id(), again.storage_key()), (store.id(), &[3; NAME][..]));
        let text = fs::read_to_string(path.join("tpm.json")).unwrap();
        for (from, to, kind) in [
            ("\"format\": 1", "\"format\": 2", Kind::Unsupported),
            ("\"format\": 1", "\"format\": 0", Kind::Corrupt),
            ("0303", "03", Kind::Corrupt),
            ("{", "", Kind::Corrupt),
        ] {
            fs::write(path.join("tpm.json"), text.replacen(from, to, 1)).unwrap();
            assert_eq!(Store::open(&path).unwrap_err().kind(), kind, "{from}");
        }
        fs::remove_file(path.join("tpm.json")).unwrap();
        fs::create_dir(path.join("keys")).unwrap();
        assert_eq!(Store::open(&path).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn keys_are_what_was_written_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), &[3; NAME]).unwrap();
        assert!(store.list().unwrap().is_empty());
        let sealed = template::sealed(None).unwrap();
        let key = stored("k", sealed, None, Algorithm::Aes256Gcm);
        store.write_new(&key).unwrap();
        assert_eq!(store.write_new(&key).unwrap_err().kind(), Kind::AlreadyExists);
        assert_eq!(store.refuse_taken(&key.name).unwrap_err().kind(), Kind::AlreadyExists);
        let found = store.find_same(&key.name, &key.key_id).unwrap();
        assert_eq!((&found.public, &found.private), (&key.public, &key.private));
        assert_eq!(store.find_same(&key.name, "other").unwrap_err().kind(), Kind::NotFound);
        let file = dir.path().join("keys/k.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        for (from, to) in [
            ("\"k\"", "\"l\""),
            ("aes256-gcm", "aes-gcm"),
            ("\"pcrs\": null", "\"pcrs\": \"sha256:0\""),
            ("\"public\": null", "\"public\": \"04\""),
            ("\"tpm_public\": \"00", "\"tpm_public\": \"0"),
            ("\"format\": 1", "\"format\": 1, \"more\": 1"),
        ] {
            assert!(text.contains(from), "{from}: {text}");
            fs::write(&file, text.replacen(from, to, 1)).unwrap();
            assert_eq!(store.find(&key.name).unwrap_err().kind(), Kind::Corrupt, "{from}");
        }
        // The file of one key in the place of another.
        fs::write(dir.path().join("keys/l.json"), &text).unwrap();
        assert_eq!(store.find(&KeyName::new("l").unwrap()).unwrap_err().kind(), Kind::Corrupt);
        fs::remove_file(dir.path().join("keys/l.json")).unwrap();
        fs::write(&file, &text).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        store.remove(&key.name).unwrap();
        assert_eq!(store.remove(&key.name).unwrap_err().kind(), Kind::NotFound);
        store.forget(&key.name).unwrap();
        // A template without its point is no key.
        let empty = stored("e", template::pair(PurposeKind::Signing).unwrap(), None, Algorithm::EcdsaP256);
        assert!(template::point(&empty.public).is_some());
    }
}
