//! Named records: one JSON file each, written whole or not at all, with a format version inside.

use std::borrow::Cow;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vault::durable;

use crate::error::{Error, Kind, Result};
use crate::home::Writer;

/// A name that becomes a file name: the same rule as for key names.
pub type Name = vault::KeyName;

/// The format version of every record.
pub const FORMAT: u32 = 1;

/// The most bytes of a record: a change history of the largest size, as hex, and something beside.
const MAX_RECORD: u64 = 2 * 1024 * 1024;

#[derive(Serialize)]
struct Outgoing<'a, T> {
    format: u32,
    record: &'a T,
}

// Read first, without what else there is: a newer format need not look like ours.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Deserialize)]
struct Incoming<T> {
    record: T,
}

/// All records of one kind: a directory.
#[derive(Debug)]
pub(crate) struct Records<T> {
    directory: PathBuf,
    // What one of them is called in messages: "identity", "vault".
    noun: &'static str,
    kind: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Records<T> {
    pub(crate) fn new(directory: PathBuf, noun: &'static str) -> Self {
        Self { directory, noun, kind: PhantomData }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    /// The record of this name, if there is one.
    pub(crate) fn find(&self, name: &Name) -> Result<Option<T>> {
        let path = self.path(name);
        let bytes = match durable::read(&path, MAX_RECORD) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        decode(&bytes, self.noun, name).map(Some)
    }

    /// The record of this name.
    pub(crate) fn get(&self, name: &Name) -> Result<T> {
        self.find(name)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no {} `{name}`", self.noun)).with_hint(
                match self.noun {
                    "server" => "`ockam-kms node list` shows those that there are".into(),
                    noun => Cow::from(format!("`ockam-kms {noun} list` shows those that there are")),
                },
            )
        })
    }

    /// Every record, ordered by name.
    pub(crate) fn list(&self) -> Result<Vec<(Name, T)>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &self.directory, e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|e| Error::io("list", &self.directory, e))?.file_name();
            names.extend(
                file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|n| Name::new(n).ok()),
            );
        }
        names.sort();
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            // One that was removed in between is not there.
            if let Some(record) = self.find(&name)? {
                records.push((name, record));
            }
        }
        Ok(records)
    }

    /// Writes a record under a name that must be free.
    pub(crate) fn create(&self, _: &Writer, name: &Name, record: &T) -> Result<()> {
        let path = self.path(name);
        durable::create_dir(&self.directory).map_err(|e| Error::io("create", &self.directory, e))?;
        durable::write_new(&path, &encode(record)?).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(Kind::AlreadyExists, format!("there already is a {} `{name}`", self.noun))
                    .with_hint("choose another name")
            }
            _ => Error::io("write", &path, e),
        })
    }

    /// Writes a record, replacing one that was there.
    pub(crate) fn put(&self, _: &Writer, name: &Name, record: &T) -> Result<()> {
        let path = self.path(name);
        durable::create_dir(&self.directory).map_err(|e| Error::io("create", &self.directory, e))?;
        durable::replace(&path, &encode(record)?).map_err(|e| Error::io("write", &path, e))
    }

    /// Removes a record.
    pub(crate) fn remove(&self, _: &Writer, name: &Name) -> Result<()> {
        let path = self.path(name);
        match durable::remove(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.get(name).map(drop),
            Err(e) => Err(Error::io("remove", &path, e)),
        }
    }
}

/// Bytes of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(&Outgoing { format: FORMAT, record })
        .map_err(|e| Error::new(Kind::Backend, "writing JSON failed").with_source(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A record from its bytes; a newer format is refused in words.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], noun: &str, name: &Name) -> Result<T> {
    let broken = |e: serde_json::Error| {
        Error::new(Kind::Corrupt, format!("the stored {noun} `{name}` breaks its own rules"))
            .with_hint("restore it from a backup")
            .with_source(e)
    };
    let version: Version = serde_json::from_slice(bytes).map_err(broken)?;
    if version.format > FORMAT {
        return Err(newer(&format!("the stored {noun} `{name}`"), version.format));
    }
    let incoming: Incoming<T> = serde_json::from_slice(bytes).map_err(broken)?;
    Ok(incoming.record)
}

pub(crate) fn newer(what: &str, format: u32) -> Error {
    Error::new(Kind::Unsupported, format!("{what} is of format {format}, newer than this program's {FORMAT}"))
        .with_hint("use the program that wrote it, or a later one")
}
