//! Stores that are wrong on purpose, for the tests that have to notice it. Only with the feature `controls`, which no product
//! turns on, and by no URL.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use identity::{Identifier, Timestamp};

use crate::error::{Error, Kind, Result};
use crate::store::command::{Applied, Command};
use crate::store::overlay::Batch;
use crate::store::rocks::{Rocks, options};
use crate::store::writer::{Engine, Writer};
use crate::store::{Counted, Entry, Pending, Store, View};

/// How long after it was answered a change is written.
const LATE: Duration = Duration::from_millis(100);

/// A store in a directory that answers, and shows to readers, what it writes only later.
///
/// # Errors
/// As [`RocksStore::open`](crate::store::RocksStore::open).
pub fn answering_first(path: &Path, authority: Identifier, now: Timestamp) -> Result<Arc<dyn Store>> {
    let rocks = Arc::new(Rocks::open(path, &options())?);
    let (late, due) = mpsc::channel::<(Instant, Batch)>();
    let below = Arc::clone(&rocks);
    std::thread::Builder::new()
        .spawn(move || {
            for (at, batch) in due {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if below.commit(batch).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| Error::new(Kind::Unavailable, "no more threads").with_source(error))?;
    let engine = Late { rocks, late: Mutex::new(late), waiting: Mutex::default() };
    Ok(Arc::new(LateStore(Writer::start(engine, authority, now)?)))
}

#[derive(Debug)]
struct LateStore(Writer<Late>);

impl Store for LateStore {
    fn authority(&self) -> Identifier {
        self.0.authority()
    }

    fn kind(&self) -> &'static str {
        "control"
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

struct Late {
    rocks: Arc<Rocks>,
    late: Mutex<mpsc::Sender<(Instant, Batch)>>,
    // What was answered and is not written. Entries stay when they are written: they say the same then.
    waiting: Mutex<Batch>,
}

impl Late {
    fn waiting(&self) -> MutexGuard<'_, Batch> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("rocks", &self.rocks).finish_non_exhaustive()
    }
}

impl View for Late {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.waiting().get(key) {
            Some(written) => Ok(written.clone()),
            None => self.rocks.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let waiting = self.waiting();
        let below = self.rocks.scan(prefix, after, limit.saturating_add(waiting.len()))?;
        let mut merged: BTreeMap<_, _> = below.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let within = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        merged.extend(waiting.iter().filter(|(key, _)| within(key)).map(|(k, v)| (k.clone(), v.clone())));
        Ok(merged.into_iter().filter_map(|(key, value)| Some((key, value?))).take(limit).collect())
    }
}

impl Engine for Late {
    fn commit(&self, batch: Batch) -> Result<()> {
        self.waiting().extend(batch.clone());
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.send((Instant::now() + LATE, batch))
            .map_err(|error| Error::new(Kind::Unavailable, "nobody writes").with_source(error))
    }

    fn reopen(&self) -> Result<()> {
        self.rocks.reopen()
    }
}
