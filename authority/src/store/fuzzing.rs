//! See [`crate::fuzzing`].

use crate::audit::{AuditHead, AuditRow};
use crate::member::Member;
use crate::once::Kept;
use crate::store::command::{Conflict, Issued, KnownHistory};
use crate::store::record::{Counter, Lookup, Meta, Pending, Record, Refusals, decode, encode};
use crate::ticket::Ticket;

/// How many kinds of records there are, as [`record`] numbers them.
pub const RECORDS: usize = DECODERS.len();

type Decoder = fn(&[u8]) -> Option<Vec<u8>>;

const DECODERS: [Decoder; 13] = [
    again::<Meta>,
    again::<Member>,
    again::<Ticket>,
    again::<Lookup>,
    again::<Counter>,
    again::<Kept>,
    again::<KnownHistory>,
    again::<Conflict>,
    again::<Issued>,
    again::<AuditRow>,
    again::<AuditHead>,
    again::<Refusals>,
    again::<Pending>,
];

/// A value of the store.
#[must_use]
pub fn record(kind: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    DECODERS.get(kind)?(bytes)
}

fn again<R: Record>(bytes: &[u8]) -> Option<Vec<u8>> {
    encode(&decode::<R>(bytes).ok()?).ok()
}
