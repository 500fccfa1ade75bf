//! The audit log: one row for everything that changed something and, within a bound, for everything that was refused.
//!
//! Rows are only ever appended, in the transaction that does what they record, and each carries a hash over itself and the
//! one before: whoever holds the [`AuditHead`] of one moment can tell later whether anything up to it was edited, removed,
//! inserted or reordered. A row says who did what to what; it holds no code, no key and no attribute *value* (the
//! names of attributes are there, so that a granted role can be found).

mod row;
mod verify;

use std::sync::Arc;

pub(crate) use row::Entry;
pub use row::{AuditHead, AuditRow};
pub use verify::{AuditError, AuditProof, verify};

use crate::error::{Error, Kind, Result};
use crate::store::{Store, query};

/// The most refusals that are recorded in one hour. Those beyond it are answered all the same; the log says that there were
/// some. This keeps whoever may ask from filling the disk.
pub const MAX_REFUSALS_AN_HOUR: u64 = 1000;

/// How many rows are read at a time.
const CHUNK: usize = 256;

/// The rows of a store as JSON, one a line, from the first to the last that is durable when it gets there.
///
/// Each item is one line without its end.
pub fn export(store: Arc<dyn Store>) -> impl Iterator<Item = Result<String>> {
    let mut after = 0_u64;
    let mut chunk = Vec::new().into_iter();
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let row = match chunk.next() {
            Some(row) => row,
            None => match store.view().and_then(|view| query::audit_rows(view, after, CHUNK)) {
                Ok(rows) => {
                    chunk = rows.into_iter();
                    chunk.next()?
                }
                Err(error) => {
                    done = true;
                    return Some(Err(error));
                }
            },
        };
        let row: AuditRow = row;
        after = row.sequence;
        Some(line(&row))
    })
}

/// Where the log stands.
///
/// # Errors
/// When the store fails.
pub fn head(store: &dyn Store) -> Result<AuditHead> {
    query::audit_head(store.view()?)
}

/// A row as one line of JSON.
///
/// # Errors
/// Never for a row of a store.
pub fn line(row: &AuditRow) -> Result<String> {
    serde_json::to_string(row).map_err(|error| {
        Error::new(Kind::Internal, "an audit row cannot be written as JSON").with_source(error)
    })
}
