//! Where an authority keeps its members, tickets, histories, intents and audit rows.
//!
//! A [`Store`] takes [`Command`]s. Each is decided on the state as it is at that moment, written together with its audit row,
//! and answered when it is durable. What a command means is written once, in `apply`, as a function of a view of the state;
//! a store is an ordered key-value engine below ([`rocks`], [`memory`]) and one thread that writes above.
//! Readers take a [`View`] and see what is durable, never what is still on its way.

mod apply;
mod command;
#[cfg(feature = "controls")]
pub mod controls;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod keys;
pub mod memory;
mod overlay;
pub mod query;
mod record;
#[cfg(feature = "rocks")]
pub mod rocks;
mod writer;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use identity::{Identifier, Timestamp};

pub use command::{
    Applied, Command, Conflict, Decided, Decision, Intent, Issued, KnownHistory, Operation, UnderKey,
};
pub use memory::MemoryStore;
#[cfg(feature = "rocks")]
pub use rocks::RocksStore;

use crate::error::{Error, Kind, Result};
use crate::metrics::StoreMetrics;
use crate::problem::Problem;

/// The answer of a store, when it comes.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = std::result::Result<T, Problem>> + Send + 'a>>;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The state, to be read: an ordered map of bytes. [`query`] gives it its meaning.
pub trait View: Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Up to `limit` entries whose keys start with `prefix` and come after `after`, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>>;
}

/// What a store counts: for the metrics of the authority, and for nobody else.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a>(pub(crate) &'a StoreMetrics);

/// Where an authority keeps its state.
pub trait Store: Send + Sync + fmt::Debug {
    /// The authority it belongs to.
    fn authority(&self) -> Identifier;

    /// Which kind of store it is, in a word.
    fn kind(&self) -> &'static str;

    /// Decides a command, writes it and answers when that is durable. Dropping the future abandons the answer, not the
    /// command.
    fn execute(&self, command: Command) -> Pending<'_, Applied>;

    /// What it counts.
    #[doc(hidden)]
    fn metrics(&self) -> Counted<'_>;

    /// The state, as far as it is durable.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] once a write has failed, until the store is opened again.
    fn view(&self) -> Result<&dyn View>;
}

/// Opens the store that a URL names: `rocksdb:DIRECTORY`, made when it is not there, or `memory:`.
///
/// # Errors
/// [`Kind::Invalid`] for another URL or a store of another authority; else as opening that store.
pub fn open(url: &str, authority: Identifier, now: Timestamp) -> Result<Arc<dyn Store>> {
    match url.split_once(':') {
        #[cfg(feature = "rocks")]
        Some(("rocksdb", path)) if !path.is_empty() => {
            Ok(Arc::new(RocksStore::open(std::path::Path::new(path), authority, now)?))
        }
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new(authority, now)?)),
        _ => Err(Error::new(Kind::Invalid, format!("`{}` is not the URL of a store", url.escape_debug()))
            .with_hint("use `rocksdb:DIRECTORY` or `memory:`")),
    }
}
