//! A store that lives and dies with the process: for tests and for trying things out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use identity::{Identifier, Timestamp};

use crate::error::Result;
use crate::store::command::{Applied, Command};
use crate::store::overlay::Batch;
use crate::store::writer::{Engine, Writer};
use crate::store::{Counted, Entry, Pending, Store, View};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore(Writer<Memory>);

impl MemoryStore {
    /// An empty one.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn new(authority: Identifier, now: Timestamp) -> Result<Self> {
        Writer::start(Memory::default(), authority, now).map(Self)
    }
}

impl Store for MemoryStore {
    fn authority(&self) -> Identifier {
        self.0.authority()
    }

    fn kind(&self) -> &'static str {
        "memory"
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

#[derive(Debug, Default)]
pub(crate) struct Memory(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl View for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = map.range::<[u8], _>((start, Bound::Unbounded));
        let within = range.take_while(|(key, _)| key.starts_with(prefix));
        Ok(within.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Engine for Memory {
    fn commit(&self, batch: Batch) -> Result<()> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn reopen(&self) -> Result<()> {
        Ok(())
    }
}
