//! The journal of a rotation: one file per identity, replaced at each step, authenticated by a key of the home.
//!
//! It holds no secrets. What it says is acted on only when its code verifies, and destroying a key takes more than its
//! word.

use std::io;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use identity::Identifier;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vault::{SecretBytes, durable};

use crate::error::{Error, Kind, Result};
use crate::home::{Home, Writer};
use crate::identities::IdentityRecord;
use crate::keys::KeyRef;
use crate::record::{FORMAT, Name, newer};
use crate::rotation::Plan;

const MAX_JOURNAL: u64 = 4 * 1024 * 1024;

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    Begun,
    Prepared,
    Signed,
    Committed,
    Served,
}

/// What is known of a rotation under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) phase: Phase,
    pub(super) plan: Plan,
    pub(super) identifier: Identifier,
    /// The identity's record before the rotation.
    pub(super) before: IdentityRecord,
    /// The vault of the new key.
    pub(super) new_vault: String,
    /// The name under which a new key is generated; none when an existing key is adopted.
    pub(super) new_name: Option<String>,
    /// The new key, from `prepared` on.
    pub(super) new_key: Option<KeyRef>,
    /// The identity's record after the rotation, from `signed` on.
    pub(super) after: Option<IdentityRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: u32,
    // The entry as text, so that the code is over exactly these bytes.
    entry: String,
    code: String,
}

/// The entry in the bytes of a journal, written again: for `crate::fuzzing`. Its code is not looked at.
#[cfg(feature = "fuzzing")]
pub(crate) fn entry(bytes: &[u8]) -> Option<Vec<u8>> {
    let sealed: Sealed = serde_json::from_slice(bytes).ok()?;
    let entry: Entry = serde_json::from_str(&sealed.entry).ok()?;
    let entry = serde_json::to_string(&entry).ok()?;
    serde_json::to_vec(&Sealed { entry, ..sealed }).ok()
}

/// The journals of a home.
pub(super) struct Journal<'a>(pub(super) &'a Home);

impl Journal<'_> {
    fn path(&self, identity: &Name) -> PathBuf {
        self.0.dir("rotations").join(format!("{identity}.json"))
    }

    /// Writes an entry durably.
    pub(super) fn write(&self, _: &Writer, identity: &Name, entry: &Entry) -> Result<()> {
        let json = |e: serde_json::Error| Error::new(Kind::Backend, "writing JSON failed").with_source(e);
        let text = serde_json::to_string(entry).map_err(json)?;
        let code = hex::encode(self.code(&text)?.finalize().into_bytes());
        let bytes = serde_json::to_vec(&Sealed { format: FORMAT, entry: text, code }).map_err(json)?;
        let directory = self.0.dir("rotations");
        durable::create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
        let path = self.path(identity);
        durable::replace(&path, &bytes).map_err(|e| Error::io("write", &path, e))
    }

    /// The entry of an identity, when a rotation of it was cut off.
    pub(super) fn read(&self, identity: &Name) -> Result<Option<Entry>> {
        let path = self.path(identity);
        let bytes = match durable::read(&path, MAX_JOURNAL) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        let broken = || {
            Error::new(
                Kind::Corrupt,
                format!("the rotation journal `{}` breaks its own rules", path.display()),
            )
            .with_hint(
                "somebody changed it: compare the identity's record with its vault, then remove the journal",
            )
        };
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|e| broken().with_source(e))?;
        if sealed.format > FORMAT {
            return Err(newer("the rotation journal", sealed.format));
        }
        let code = hex::decode(&sealed.code).map_err(|_| broken())?;
        self.code(&sealed.entry)?.verify_slice(&code).map_err(|_| broken())?;
        let entry: Entry = serde_json::from_str(&sealed.entry).map_err(|e| broken().with_source(e))?;
        if entry.plan.identity != identity.as_str() {
            return Err(broken());
        }
        Ok(Some(entry))
    }

    pub(super) fn remove(&self, _: &Writer, identity: &Name) -> Result<()> {
        let path = self.path(identity);
        match durable::remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// The identities with a journal.
    pub(super) fn list(&self) -> Result<Vec<Name>> {
        let directory = self.0.dir("rotations");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &directory, e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|e| Error::io("list", &directory, e))?.file_name();
            names.extend(
                file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|n| Name::new(n).ok()),
            );
        }
        names.sort();
        Ok(names)
    }

    fn code(&self, text: &str) -> Result<Hmac<Sha256>> {
        let key = self.key()?;
        let mut code = Hmac::<Sha256>::new_from_slice(key.expose())
            .map_err(|_| Error::new(Kind::Corrupt, "the journal key is empty"))?;
        code.update(b"ockam-kms rotation journal\n");
        code.update(text.as_bytes());
        Ok(code)
    }

    /// The home's journal key, made on first use.
    fn key(&self) -> Result<SecretBytes> {
        let path = self.0.dir("journal.key");
        if !path.exists() {
            let key = SecretBytes::random(32)?;
            match durable::write_new(&path, hex::encode(key.expose()).as_bytes()) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("write", &path, e));
                }
                _ => {}
            }
        }
        Ok(SecretBytes::read_file(&path)?)
    }
}
