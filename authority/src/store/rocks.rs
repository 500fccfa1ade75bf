//! A store on disk, in RocksDB. A batch goes to the write-ahead log and is synced before it is answered; RocksDB shows it to
//! readers only after that.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use identity::{Identifier, Timestamp};
use rocksdb::{
    BlockBasedOptions, DB, DBRecoveryMode, Direction, ErrorKind, IteratorMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};
use vault::durable;

use crate::error::{Error, Kind, Result};
use crate::store::command::{Applied, Command};
use crate::store::overlay::Batch;
use crate::store::writer::{Engine, Writer};
use crate::store::{Counted, Entry, Pending, Store, View};
use crate::threads;

/// The file whose lock says that somebody has the store open. RocksDB has one of its own, but says so only in words.
const LOCK: &str = "IN-USE";

/// How much of the memory of what was written last may tell what is not in it, and how many bits of each key in a file.
const FILTER_IN_MEMORY: f64 = 0.05;
const FILTER_BITS: f64 = 10.0;

/// How many threads RocksDB starts when it opens a store: for flushes, for compaction, for what it does from time to time, and up
/// to 15 that open files. Then there is our own.
const THREADS: usize = 19;

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
        let engine = Rocks::open(path, &options())?;
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

    fn metrics(&self) -> Counted<'_> {
        Counted(self.0.metrics())
    }

    fn view(&self) -> Result<&dyn View> {
        self.0.view()
    }
}

pub(crate) struct Rocks {
    // INVARIANT: closed before the lock is given back, so it stands first. Absent while it could not be opened again.
    db: RwLock<Option<DB>>,
    path: PathBuf,
    _lock: File,
}

impl Rocks {
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self> {
        durable::create_dir(path).map_err(|error| file_error(path, error))?;
        let lock = take_lock(path)?;
        // RocksDB has no error for a thread that it does not get: it throws, and the process would end without a word of ours.
        threads::ensure(THREADS)?;
        let db = open_db(path, options)?;
        Ok(Self { db: RwLock::new(Some(db)), path: path.to_owned(), _lock: lock })
    }

    fn with<T>(&self, ask: impl FnOnce(&DB) -> std::result::Result<T, rocksdb::Error>) -> Result<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db =
            db.as_ref().ok_or_else(|| Error::new(Kind::Unavailable, "the authority's store is closed"))?;
        ask(db).map_err(|error| db_error(&self.path, error))
    }
}

fn open_db(path: &Path, options: &Options) -> Result<DB> {
    let db = DB::open(options, path).map_err(|error| db_error(path, error))?;
    // RocksDB syncs what is in its directory, and not the directory's own name. Also done when the directory was
    // there: whoever made it may have died before it got to this.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for dir in [path, parent] {
        durable::sync_dir(dir).map_err(|error| file_error(dir, error))?;
    }
    Ok(db)
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    // A record cut off at the very end is what a crash leaves and was never answered. Any other damage to the log is
    // reported: the default would silently drop everything behind it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(16 * 1024 * 1024);
    // Most of what is asked is whether something is not there yet: filters say so without searching memory and files.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(FILTER_IN_MEMORY);
    let mut files = BlockBasedOptions::default();
    files.set_bloom_filter(FILTER_BITS, false);
    options.set_block_based_table_factory(&files);
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
        self.with(|db| db.get(key))
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
        self.with(|db| {
            let entries = db.iterator_opt(IteratorMode::From(&from, Direction::Forward), reading).take(limit);
            entries.map(|entry| entry.map(|(key, value)| (key.into_vec(), value.into_vec()))).collect()
        })
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
        self.with(|db| db.write_opt(writes, &synced))
    }

    /// What RocksDB recovers from its log it writes anew, and syncs, before it is open: nothing hangs any more on what a
    /// failed sync may have lost.
    fn reopen(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: RocksDB lets nobody in twice.
        drop(db.take());
        let mut options = options();
        options.create_if_missing(false);
        *db = Some(open_db(&self.path, &options)?);
        Ok(())
    }
}

impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocks").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rocksdb::statistics::Ticker;

    use super::*;
    use crate::authz::{Actor, Rules};
    use crate::member::MemberAttributes;
    use crate::store::command::Operation;
    use crate::store::{keys, query};

    fn open(path: &Path) -> Result<RocksStore> {
        RocksStore::open(path, Identifier::from_bytes([1; 32]), Timestamp(7))
    }

    fn refused(path: &Path) -> Error {
        let error = open(path).map(drop).unwrap_err();
        assert!(error.hint().is_some(), "{error} says what to do");
        error
    }

    fn adding(n: u8) -> Command {
        let (identifier, attributes) = (Identifier::from_bytes([n; 32]), MemberAttributes::default());
        Command {
            actor: Actor::Operator,
            at: Timestamp(7),
            rules: Arc::new(Rules::default()),
            operation: Operation::AddMember { identifier, attributes },
        }
    }

    fn add(store: &RocksStore, n: u8) {
        vault::block_on(store.execute(adding(n))).unwrap();
    }

    fn edit(path: &Path, edit: impl FnOnce(&DB)) {
        let db = DB::open(&options(), path).unwrap();
        edit(&db);
    }

    #[test]
    fn one_at_a_time_and_privately() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/store");
        let store = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(refused(&path).kind(), Kind::Busy);
        add(&store, 1);
        drop(store);
        let again = open(&path).unwrap();
        assert_eq!(query::members(again.view().unwrap(), None, 9).unwrap().items.len(), 1);
    }

    #[test]
    fn what_is_in_the_store_survives_being_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Rocks::open(dir.path(), &options()).unwrap();
        engine.commit(Batch::from([(b"k".to_vec(), Some(b"v".to_vec()))])).unwrap();
        engine.reopen().unwrap();
        assert_eq!(engine.get(b"k").unwrap(), Some(b"v".to_vec()));
        // While the disk is away, nothing is answered from memory.
        std::fs::rename(dir.path().join("CURRENT"), dir.path().join("CURRENT.away")).unwrap();
        engine.reopen().unwrap_err();
        assert_eq!(engine.get(b"k").unwrap_err().kind(), Kind::Unavailable);
        std::fs::rename(dir.path().join("CURRENT.away"), dir.path().join("CURRENT")).unwrap();
        engine.reopen().unwrap();
        assert_eq!(engine.get(b"k").unwrap(), Some(b"v".to_vec()));
    }

    /// An engine that writes without a sync, as RocksDB does when it is not told: the control.
    #[derive(Debug)]
    struct Unsynced(Rocks);

    impl View for Unsynced {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.0.get(key)
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
            self.0.scan(prefix, after, limit)
        }
    }

    impl Engine for Unsynced {
        fn commit(&self, batch: Batch) -> Result<()> {
            let mut writes = WriteBatch::default();
            for (key, value) in batch {
                writes.put(key, value.unwrap_or_default());
            }
            self.0.with(|db| db.write(writes))
        }

        fn reopen(&self) -> Result<()> {
            self.0.reopen()
        }
    }

    /// How many of nine commands were answered before the log was synced.
    fn answered_before_a_sync<E: Engine>(engine: impl FnOnce(Rocks) -> E) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options();
        options.enable_statistics();
        let rocks = Rocks::open(dir.path(), &options).unwrap();
        let writer = Writer::start(engine(rocks), Identifier::from_bytes([1; 32]), Timestamp(7)).unwrap();
        let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
        (1..10)
            .filter(|n| {
                let before = syncs();
                vault::block_on(writer.execute(adding(*n))).unwrap();
                syncs() == before
            })
            .count()
    }

    #[test]
    fn every_answer_comes_after_a_sync() {
        assert_eq!(answered_before_a_sync(|rocks| rocks), 0);
    }

    #[test]
    fn control_a_store_that_does_not_sync_is_noticed() {
        assert_eq!(answered_before_a_sync(Unsynced), 9);
    }

    #[test]
    fn a_store_is_of_one_authority() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let other = RocksStore::open(dir.path(), Identifier::from_bytes([2; 32]), Timestamp(7)).map(drop);
        assert_eq!(other.unwrap_err().kind(), Kind::Invalid);
        open(dir.path()).unwrap();
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        edit(dir.path(), |db| {
            let mut meta = db.get(keys::META).unwrap().unwrap();
            meta[0] = 9;
            db.put(keys::META, meta).unwrap();
        });
        let error = refused(dir.path());
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("format 9"), "{error}");
    }

    #[test]
    fn a_damaged_store_is_not_opened() {
        let damages: [fn(&DB); 6] = [
            |db| db.delete(keys::META).unwrap(),
            |db| db.put(keys::META, b"").unwrap(),
            |db| db.put(keys::META, b"\x01junk").unwrap(),
            |db| db.delete(keys::AUDIT_HEAD).unwrap(),
            |db| db.delete(keys::audit(2)).unwrap(),
            // A row behind the end: the head was rolled back.
            |db| db.put(keys::audit(3), db.get(keys::audit(2)).unwrap().unwrap()).unwrap(),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path()).unwrap();
            add(&store, 1);
            drop(store);
            edit(dir.path(), damage);
            assert_eq!(refused(dir.path()).kind(), Kind::Corrupt, "damage {number}");
        }
    }

    #[test]
    fn a_damaged_record_fails_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        add(&store, 1);
        add(&store, 2);
        drop(store);
        edit(dir.path(), |db| {
            db.put(keys::member(&Identifier::from_bytes([1; 32])), b"\x01\x80\x80").unwrap();
        });
        let store = open(dir.path()).unwrap();
        let view = store.view().unwrap();
        let error = query::member(view, &Identifier::from_bytes([1; 32])).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(query::member(view, &Identifier::from_bytes([2; 32])).unwrap().is_some());
    }

    #[test]
    fn damaged_files_are_reported_and_not_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        for n in 1..50 {
            add(&store, n);
        }
        drop(store);
        // In the middle of the write-ahead log: what stands behind it was acknowledged.
        let log = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let log = log.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let log = log.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = std::fs::read(&log).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&log, bytes).unwrap();
        assert_eq!(refused(dir.path()).kind(), Kind::Corrupt);
    }

    #[test]
    fn a_torn_end_of_the_log_is_what_a_crash_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        for n in 1..10 {
            add(&store, n);
        }
        drop(store);
        let log = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let log = log.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let log = log.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
        let store = open(dir.path()).unwrap();
        assert_eq!(query::members(store.view().unwrap(), None, 99).unwrap().items.len(), 8);
        add(&store, 99);
    }

    #[test]
    fn where_no_store_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for path in [file.join("store"), file] {
            assert_eq!(refused(&path).kind(), Kind::Invalid, "{}", path.display());
        }
    }

    #[test]
    fn what_the_file_system_says_is_said_in_our_words() {
        let says = |kind: io::ErrorKind| file_error(Path::new("here"), kind.into());
        assert_eq!(says(io::ErrorKind::PermissionDenied).kind(), Kind::Denied);
        assert_eq!(says(io::ErrorKind::ReadOnlyFilesystem).kind(), Kind::Denied);
        assert_eq!(says(io::ErrorKind::StorageFull).kind(), Kind::Unavailable);
        assert_eq!(says(io::ErrorKind::Other).kind(), Kind::Internal);
        assert!(says(io::ErrorKind::PermissionDenied).to_string().contains("`here`"));
    }

    #[test]
    fn a_directory_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("closed");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
        // Root may do everything: then it opens, and anything else is a fault.
        let writable = std::fs::write(path.join("probe"), "").is_ok();
        match open(&path) {
            Ok(_) => assert!(writable),
            Err(error) => {
                assert!(!writable);
                assert_eq!(error.kind(), Kind::Denied);
            }
        }
    }
}
