//! Reading the state: what the bytes of a [`View`] mean. One record or one page at a time, each consistent in itself.

use identity::{Identifier, Timestamp};

use crate::audit::{AuditHead, AuditRow};
use crate::error::{Error, Result};
use crate::member::{MAX_PAGE, Member, Page};
use crate::once::Kept;
use crate::store::command::{Conflict, Issued, KnownHistory};
use crate::store::record::{self, Counter, Lookup, Pending, Record};
use crate::store::{View, keys};
use crate::ticket::{Reference, Ticket};

fn one<R: Record>(view: &dyn View, key: &[u8]) -> Result<Option<R>> {
    view.get(key)?.map(|bytes| record::decode(&bytes)).transpose()
}

fn page<R: Record, C>(
    view: &dyn View,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    cursor: impl Fn(&R) -> C,
) -> Result<Page<R, C>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let entries = view.scan(prefix, after, limit)?;
    let records = entries.iter().map(|(_, bytes)| record::decode(bytes)).collect::<Result<_>>()?;
    Ok(Page::new(records, limit, cursor))
}

/// A member.
///
/// # Errors
/// When the store fails.
pub fn member(view: &dyn View, identifier: &Identifier) -> Result<Option<Member>> {
    one(view, &keys::member(identifier))
}

/// Members, ordered by identifier: at most `limit`, and never more than [`MAX_PAGE`].
///
/// # Errors
/// When the store fails.
pub fn members(
    view: &dyn View,
    after: Option<&Identifier>,
    limit: usize,
) -> Result<Page<Member, Identifier>> {
    let after = after.map(keys::member);
    page(view, keys::MEMBER, after.as_deref(), limit, |member: &Member| member.identifier)
}

/// The ticket that is stored under this hash.
///
/// # Errors
/// When the store fails.
pub fn ticket_by_lookup(view: &dyn View, lookup: &[u8; 32]) -> Result<Option<Ticket>> {
    one(view, &keys::ticket(lookup))
}

/// The ticket of this reference.
///
/// # Errors
/// When the store fails.
pub fn ticket(view: &dyn View, reference: &Reference) -> Result<Option<Ticket>> {
    match lookup(view, reference)? {
        Some(Lookup(lookup)) => ticket_by_lookup(view, &lookup),
        None => Ok(None),
    }
}

pub(crate) fn lookup(view: &dyn View, reference: &Reference) -> Result<Option<Lookup>> {
    one(view, &keys::reference(reference))
}

/// Tickets, ordered by reference; also those that are used up or expired, for a week. At most `limit`.
///
/// # Errors
/// When the store fails.
pub fn tickets(view: &dyn View, after: Option<&Reference>, limit: usize) -> Result<Page<Ticket, Reference>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let after = after.map(keys::reference);
    let entries = view.scan(keys::REFERENCE, after.as_deref(), limit)?;
    let mut items = Vec::with_capacity(entries.len());
    let mut last = None;
    for (key, bytes) in &entries {
        let Lookup(lookup) = record::decode(bytes)?;
        last = key.get(1..).and_then(|rest| rest.try_into().ok()).map(Reference::from_bytes);
        // Between the scan and this look-up it may have been revoked: then it is simply not there.
        items.extend(ticket_by_lookup(view, &lookup)?);
    }
    Ok(Page { items, next: if entries.len() >= limit { last } else { None } })
}

/// The change history that is known of a member.
///
/// # Errors
/// When the store fails.
pub fn history(view: &dyn View, identifier: &Identifier) -> Result<Option<KnownHistory>> {
    one(view, &keys::history(identifier))
}

/// The conflict between two histories of an identity, decided or not, when there is one.
///
/// # Errors
/// When the store fails.
pub fn conflict(view: &dyn View, identifier: &Identifier) -> Result<Option<Conflict>> {
    one(view, &keys::conflict(identifier))
}

/// Conflicts, those that were decided among them, ordered by identifier. At most `limit`.
///
/// # Errors
/// When the store fails.
pub fn conflicts(
    view: &dyn View,
    after: Option<&Identifier>,
    limit: usize,
) -> Result<Page<Conflict, Identifier>> {
    let after = after.map(keys::conflict);
    page(view, keys::CONFLICT, after.as_deref(), limit, |conflict: &Conflict| conflict.identifier)
}

/// Intents to issue for which nothing was recorded: the signature may have been made. At most `limit`.
///
/// # Errors
/// When the store fails.
pub fn orphans(view: &dyn View, after: Option<&[u8; 32]>, limit: usize) -> Result<Page<Issued, [u8; 32]>> {
    let after = after.map(keys::intent);
    let page = page(view, keys::INTENT, after.as_deref(), limit, |pending: &Pending| pending.issued.hash)?;
    Ok(Page { items: page.items.into_iter().map(|pending| pending.issued).collect(), next: page.next })
}

pub(crate) fn pending(view: &dyn View, hash: &[u8; 32]) -> Result<Option<Pending>> {
    one(view, &keys::intent(hash))
}

/// The record of an issued credential, kept for a week after it expired.
///
/// # Errors
/// When the store fails.
pub fn issued(view: &dyn View, hash: &[u8; 32]) -> Result<Option<Issued>> {
    one(view, &keys::issued(hash))
}

pub(crate) fn kept(view: &dyn View, id: &[u8; 32]) -> Result<Option<Kept>> {
    one(view, &keys::receipt(id))
}

pub(crate) fn receipt_number(view: &dyn View, subject: &Identifier, number: u64) -> Result<Option<Lookup>> {
    one(view, &keys::receipt_number(subject, number))
}

pub(crate) fn receipts_made(view: &dyn View, subject: &Identifier) -> Result<u64> {
    Ok(one(view, &keys::receipts_made(subject))?.map_or(0, |Counter(made)| made))
}

/// How many receipts of idempotency keys are kept for somebody, and not yet swept.
///
/// # Errors
/// When the store fails.
pub fn receipts(view: &dyn View, subject: &Identifier) -> Result<usize> {
    let prefix = [keys::RECEIPT_NUMBER, subject.as_bytes()].concat();
    Ok(view.scan(&prefix, None, MAX_PAGE.saturating_mul(4))?.len())
}

/// Audit rows after the one of this number. At most `limit`.
///
/// # Errors
/// When the store fails.
pub fn audit_rows(view: &dyn View, after: u64, limit: usize) -> Result<Vec<AuditRow>> {
    let entries = view.scan(keys::AUDIT, Some(&keys::audit(after)), limit)?;
    entries.iter().map(|(_, bytes)| record::decode(bytes)).collect()
}

/// Where the audit log stands.
///
/// # Errors
/// When the store fails.
pub fn audit_head(view: &dyn View) -> Result<AuditHead> {
    one(view, keys::AUDIT_HEAD)?.ok_or_else(|| Error::corrupt("the head of the audit log is missing"))
}

/// The newest time that the store has seen: that of the last row of its audit log.
///
/// # Errors
/// When the store fails.
pub fn newest(view: &dyn View) -> Result<Timestamp> {
    let head = audit_head(view)?;
    let last = audit_rows(view, head.sequence.saturating_sub(1), 1)?;
    last.first().map(|row| row.at).ok_or_else(|| Error::corrupt("the last row of the audit log is missing"))
}

pub(crate) fn refusals(view: &dyn View) -> Result<record::Refusals> {
    Ok(one(view, keys::REFUSALS)?.unwrap_or_default())
}

pub(crate) fn meta(view: &dyn View) -> Result<Option<record::Meta>> {
    one(view, keys::META)
}
