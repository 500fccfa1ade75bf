//! The directory itself: where it is, who may write it, and what is in it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vault::durable;

use crate::error::{Error, Kind, Result};
use crate::record::{FORMAT, Name, newer};

/// How long a writer waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The directory in which one operator or server keeps everything.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

/// Proof that this process holds the one lock for writers. Readers need none: every file is replaced in one step.
#[derive(Debug)]
pub struct Writer {
    // Held until dropped; the system releases it when the process dies, so a held lock means that its owner lives.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
}

/// The names that are used when none is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// The default vault.
    pub vault: Option<String>,
    /// The default identity.
    pub identity: Option<String>,
    /// The default project.
    pub project: Option<String>,
    /// The default node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Home {
    /// Where the home is: `OCKAM_KMS_HOME`, else `$OCKAM_HOME/ockam-kms`, else `~/.ockam-kms`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when none of the variables is set.
    pub fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("OCKAM_KMS_HOME")
            .or_else(|| set("OCKAM_HOME").map(|path| path.join("ockam-kms")))
            .or_else(|| set("HOME").map(|path| path.join(".ockam-kms")))
            .ok_or_else(|| {
                Error::new(Kind::Invalid, "there is no home directory")
                    .with_hint("set OCKAM_KMS_HOME to a directory")
            })
    }

    /// Opens a home, making it when there is none.
    ///
    /// # Errors
    /// [`Kind::Denied`] when it cannot be made or read, [`Kind::Unsupported`] when it is of a newer format.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = std::path::absolute(path.into())
            .map_err(|e| Error::new(Kind::Invalid, "the home has no absolute path").with_source(e))?;
        let home = Self { path };
        let header = home.path.join("home.json");
        let bytes = match durable::read(&header, 4096) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                durable::create_dir(&home.path).map_err(|e| Error::io("create", &home.path, e))?;
                let bytes = serde_json::to_vec(&Header { format: FORMAT })
                    .map_err(|e| Error::new(Kind::Backend, "writing JSON failed").with_source(e))?;
                match durable::write_new(&header, &bytes) {
                    // Two processes may make it at once: either's header is the same.
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(Error::io("write", &header, e));
                    }
                    _ => bytes,
                }
            }
            Err(e) => return Err(Error::io("read", &header, e)),
        };
        let found: Header = serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(Kind::Corrupt, format!("`{}` is not the header of a home", header.display()))
                .with_source(e)
        })?;
        if found.format > FORMAT {
            return Err(newer(&format!("the home `{}`", home.path.display()), found.format));
        }
        Ok(home)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the lock for writers, waiting for another one up to a minute.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when another process holds it for longer.
    pub fn write(&self) -> Result<Writer> {
        let path = self.path.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Writer { _lock: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::Exhausted,
                        format!(
                            "another process has been writing the home `{}` for a minute",
                            self.path.display()
                        ),
                    )
                    .with_hint("wait for it, or end it: a lock that is held has a live owner"));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
            }
        }
    }

    /// The names that are used when none is given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn defaults(&self) -> Result<Defaults> {
        let path = self.path.join("defaults.json");
        match durable::read(&path, 64 * 1024) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                Error::new(Kind::Corrupt, format!("`{}` breaks its own rules", path.display())).with_source(e)
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Defaults::default()),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// Sets them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_defaults(&self, _: &Writer, defaults: &Defaults) -> Result<()> {
        let path = self.path.join("defaults.json");
        let bytes = serde_json::to_vec_pretty(defaults)
            .map_err(|e| Error::new(Kind::Backend, "writing JSON failed").with_source(e))?;
        durable::replace(&path, &bytes).map_err(|e| Error::io("write", &path, e))
    }
}

/// A stored name that has to exist; what is on disk may have been edited.
pub(crate) fn stored_name(text: &str) -> Result<Name> {
    Name::new(text)
        .map_err(|e| Error::new(Kind::Corrupt, "a stored name breaks its own rules").with_source(e))
}
