//! A store on disk, in RocksDB. A batch goes to the write-ahead log and is synced before it is answered; RocksDB shows it to
//! readers only after that.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use identity::{Identifier, Timestamp};
use rocksdb::{
    DB, DBRecoveryMode, Direction, ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};
use vault::durable;

use crate::error::{Error, Kind, Result};
use crate::store::command::{Applied, Command};
use crate::store::overlay::Batch;
use crate::store::writer::{Engine, Writer};
use crate::store::{Entry, Pending, Store, View};

/// The file whose lock says that somebody has the store open. RocksDB has one of its own, but says so only in words.
const LOCK: &str = "IN-USE";

/// A store in a directory.
#[derive(Debug)]
pub struct RocksStore(Writer<Rocks>);

impl RocksStore {
    /// Opens the store in a directory, or makes one there. The directory can be entered by its owner only.
    ///
    /// # Errors
    /// [`Kind::Busy`] when it is open elsewhere, [`Kind::Denied`] when it cannot be read or written, [`Kind::Invalid`] when
    /// it belongs to another authority, [`Kind::Unsupported`] when a newer version wrote it, [`Kind::Corrupt`] when it
    /// breaks its own rules.
    pub fn open(path: &Path, authority: Identifier, now: Timestamp) -> Result<Self> {
        let engine = Rocks::open(path)?;
        Writer::start(engine, authority, now).map(Self)
    }
}

impl Store for RocksStore {
    fn authority(&self) -> Identifier {
        self.0.authority()
    }

    fn kind(&self) -> &'static str {
        "rocksdb"
    }

    fn execute(&self, command: Command) -> Pending<'_, Applied> {
        self.0.execute(command)
    }

    fn view(&self) -> Result<&dyn View> {
        self.0.view()
    }
}

pub(crate) struct Rocks {
    // INVARIANT: closed before the lock is given back, so it stands first.
    db: DB,
    path: PathBuf,
    _lock: File,
}

impl Rocks {
    fn open(path: &Path) -> Result<Self> {
        durable::create_dir(path).map_err(|error| file_error(path, error))?;
        let lock = take_lock(path)?;
        let db = DB::open(&options(), path).map_err(|error| db_error(path, error))?;
        // RocksDB syncs what is in its directory, and not the directory's own name. Also done when the directory was
        // there: whoever made it may have died before it got to this.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for dir in [path, parent] {
            durable::sync_dir(dir).map_err(|error| file_error(dir, error))?;
        }
        Ok(Self { db, path: path.to_owned(), _lock: lock })
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    // A record cut off at the very end is what a crash leaves and was never answered. Any other damage to the log is
    // reported: the default would silently drop everything behind it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(16 * 1024 * 1024);
    options.set_max_log_file_size(1024 * 1024);
    options.set_keep_log_file_num(2);
    options
}

fn take_lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
    let lock = lock.map_err(|error| file_error(&file, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            Kind::Busy,
            format!("the authority's store `{}` is in use", path.display()),
        )
        .with_hint(
            "one process at a time: stop the authority that runs on it, or ask that authority instead",
        )),
        Err(TryLockError::Error(error)) => Err(file_error(&file, error)),
    }
}

fn file_error(path: &Path, error: io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::new(Kind::Denied, format!("`{shown}` cannot be read and written"))
                .with_hint("give the authority a directory that its user owns")
        }
        io::ErrorKind::NotADirectory => {
            Error::new(Kind::Invalid, format!("`{shown}` is not below a directory"))
                .with_hint("the store of an authority is a directory")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(Kind::Unavailable, format!("there is no room for the authority's store in `{shown}`"))
                .with_hint("make room, then start the authority again")
        }
        _ => Error::new(Kind::Internal, format!("the authority's store `{shown}` cannot be opened: {error}")),
    }
    .with_source(error)
}

fn db_error(path: &Path, error: rocksdb::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        ErrorKind::Corruption => Error::corrupt(format_args!("RocksDB finds a fault in `{shown}`")),
        ErrorKind::NotSupported => Error::new(
            Kind::Unsupported,
            format!("the files in `{shown}` are of a RocksDB that this version does not know"),
        )
        .with_hint("a newer ockam-kms wrote them: use that version"),
        ErrorKind::IOError => {
            Error::new(Kind::Internal, format!("RocksDB cannot read or write in `{shown}`")).with_hint(
                "see that the disk has room, and that every file in it belongs to the authority's user",
            )
        }
        _ => Error::new(Kind::Internal, format!("RocksDB fails in `{shown}`")),
    }
    .with_source(error)
}

impl View for Rocks {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(|error| db_error(&self.path, error))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let mut reading = ReadOptions::default();
        let from = match after {
            // The next key there can be.
            Some(after) => [after, &[0]].concat(),
            None => prefix.to_vec(),
        };
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
            reading.set_iterate_upper_bound(end);
        }
        let entries =
            self.db.iterator_opt(IteratorMode::From(&from, Direction::Forward), reading).take(limit);
        entries
            .map(|entry| {
                let (key, value) = entry.map_err(|error| db_error(&self.path, error))?;
                Ok((key.into_vec(), value.into_vec()))
            })
            .collect()
    }
}

impl Engine for Rocks {
    fn commit(&self, batch: Batch) -> Result<()> {
        let mut writes = WriteBatch::default();
        for (key, value) in batch {
            match value {
                Some(value) => writes.put(key, value),
                None => writes.delete(key),
            }
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(writes, &synced).map_err(|error| db_error(&self.path, error))
    }
}

impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocks").field("path", &self.path).finish_non_exhaustive()
    }
}
