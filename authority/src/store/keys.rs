//! Where things stand in the ordered map. One byte says what it is; numbers are big-endian, so that order is order.

use identity::{Identifier, Timestamp};

use crate::ticket::Reference;

/// What the store is: format, and the authority it belongs to.
pub(crate) const META: &[u8] = b"!";
/// Members, by identifier.
pub(crate) const MEMBER: &[u8] = b"m";
/// Marks of those members who are pre-trusted, by identifier.
pub(crate) const PRE_TRUSTED: &[u8] = b"p";
/// Tickets, by the hash that the code is looked up by.
pub(crate) const TICKET: &[u8] = b"t";
/// From references to those hashes.
pub(crate) const REFERENCE: &[u8] = b"r";
/// From the times at which tickets expire to those hashes.
pub(crate) const TICKET_END: &[u8] = b"e";
/// Change histories, by identifier.
pub(crate) const HISTORY: &[u8] = b"h";
/// Conflicts, by identifier.
pub(crate) const CONFLICT: &[u8] = b"c";
/// Intents that nothing was recorded for, by hash.
pub(crate) const INTENT: &[u8] = b"i";
/// Issued credentials, by hash.
pub(crate) const ISSUED: &[u8] = b"d";
/// From the times at which intents and credentials expire to their hashes.
pub(crate) const ISSUED_END: &[u8] = b"f";
/// Audit rows, by number.
pub(crate) const AUDIT: &[u8] = b"a";
/// Where the audit log stands.
pub(crate) const AUDIT_HEAD: &[u8] = b"H";
/// How many refusals were recorded in this hour.
pub(crate) const REFUSALS: &[u8] = b"R";
/// Receipts, by what an idempotency key of somebody is stored under.
pub(crate) const RECEIPT: &[u8] = b"k";
/// From identifiers and numbers to those receipts, in the order in which they were made.
pub(crate) const RECEIPT_NUMBER: &[u8] = b"q";
/// How many receipts somebody was given, by identifier.
pub(crate) const RECEIPTS_MADE: &[u8] = b"n";
/// From the times at which receipts were made to them.
pub(crate) const RECEIPT_AT: &[u8] = b"g";

fn key(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

pub(crate) fn member(identifier: &Identifier) -> Vec<u8> {
    key(MEMBER, identifier.as_bytes())
}

pub(crate) fn pre_trusted(identifier: &Identifier) -> Vec<u8> {
    key(PRE_TRUSTED, identifier.as_bytes())
}

/// The identifier behind one byte of prefix.
pub(crate) fn split_identifier(key: &[u8]) -> Option<Identifier> {
    key.get(1..)?.try_into().ok().map(Identifier::from_bytes)
}

pub(crate) fn ticket(lookup: &[u8; 32]) -> Vec<u8> {
    key(TICKET, lookup)
}

pub(crate) fn reference(reference: &Reference) -> Vec<u8> {
    key(REFERENCE, reference.as_bytes())
}

pub(crate) fn history(identifier: &Identifier) -> Vec<u8> {
    key(HISTORY, identifier.as_bytes())
}

pub(crate) fn conflict(identifier: &Identifier) -> Vec<u8> {
    key(CONFLICT, identifier.as_bytes())
}

pub(crate) fn intent(hash: &[u8; 32]) -> Vec<u8> {
    key(INTENT, hash)
}

pub(crate) fn issued(hash: &[u8; 32]) -> Vec<u8> {
    key(ISSUED, hash)
}

pub(crate) fn receipt(id: &[u8; 32]) -> Vec<u8> {
    key(RECEIPT, id)
}

pub(crate) fn receipt_number(subject: &Identifier, number: u64) -> Vec<u8> {
    [RECEIPT_NUMBER, subject.as_bytes(), &number.to_be_bytes()].concat()
}

pub(crate) fn receipts_made(subject: &Identifier) -> Vec<u8> {
    key(RECEIPTS_MADE, subject.as_bytes())
}

pub(crate) fn audit(sequence: u64) -> Vec<u8> {
    key(AUDIT, &sequence.to_be_bytes())
}

/// An entry in one of the indexes by time.
pub(crate) fn end(prefix: &[u8], at: Timestamp, of: &[u8; 32]) -> Vec<u8> {
    [prefix, &at.0.to_be_bytes(), of].concat()
}

/// What [`end`] put together.
pub(crate) fn split_end(key: &[u8]) -> Option<(Timestamp, [u8; 32])> {
    let (at, of) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Timestamp(u64::from_be_bytes(*at)), of.try_into().ok()?))
}
