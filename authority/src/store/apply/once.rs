//! Commands under an idempotency key: done once, with a receipt in the same transaction.

use crate::once::{Kept, MAX_RECEIPTS, Once, Receipt};
use crate::problem::Problem;
use crate::store::apply::{Context, decide_plain};
use crate::store::command::{Applied, UnderKey};
use crate::store::record::{Counter, Lookup};
use crate::store::{View, keys, query};

/// How many old receipts are swept with each new one: more than one, so that they never pile up.
const SWEPT: usize = 4;

pub(super) fn decide(context: &mut Context<'_, '_>, under: &UnderKey) -> Result<Applied, Problem> {
    let UnderKey { once, receipt, operation } = under;
    if context.command.actor.identifier() != Some(once.subject()) {
        return Err(Problem::Internal);
    }
    let Some(action) = operation.action() else {
        // What has already happened is recorded in any case; of two receipts the first one counts.
        let applied = decide_plain(context, operation)?;
        return match earlier(context, once)? {
            Some(receipt) => Ok(Applied { receipt: Some(receipt), ..applied }),
            None => keep(context, once, receipt.clone()).map(|()| applied),
        };
    };
    // The gate first: whoever may no longer do it gets no earlier answer either.
    context.gate(action)?;
    if let Some(receipt) = earlier(context, once)? {
        return Ok(Applied { receipt: Some(receipt), ..Applied::default() });
    }
    let applied = decide_plain(context, operation)?;
    // Of several commands that make one answer the last one leaves the receipt.
    if applied.next.is_none() {
        let receipt = match receipt {
            Receipt::Deleted(before) => Receipt::Deleted(before.saturating_add(applied.changed)),
            other => other.clone(),
        };
        keep(context, once, receipt)?;
    }
    Ok(applied)
}

/// The receipt of the same request under this key.
fn earlier(context: &mut Context<'_, '_>, once: &Once) -> Result<Option<Receipt>, Problem> {
    match query::kept(&*context.state, once.id())? {
        Some(kept) if !kept.is_over(context.now()) => kept.matching(once).map(Some),
        Some(kept) => {
            remove(context, once.id(), &kept);
            Ok(None)
        }
        None => Ok(None),
    }
}

fn keep(context: &mut Context<'_, '_>, once: &Once, receipt: Receipt) -> Result<(), Problem> {
    sweep(context)?;
    let subject = once.subject();
    let number = query::receipts_made(&*context.state, &subject)?;
    if let Some(oldest) = number.checked_sub(MAX_RECEIPTS)
        && let Some(Lookup(id)) = query::receipt_number(&*context.state, &subject, oldest)?
    {
        match query::kept(&*context.state, &id)? {
            Some(kept) => remove(context, &id, &kept),
            None => context.state.remove(keys::receipt_number(&subject, oldest)),
        }
    }
    let at = context.now();
    let kept = Kept { subject, request: once.request(), at, number, receipt };
    context.state.put(keys::receipt(once.id()), &kept)?;
    context.state.put(keys::receipt_number(&subject, number), &Lookup(*once.id()))?;
    context.state.put(keys::receipts_made(&subject), &Counter(number.saturating_add(1)))?;
    context.state.mark(keys::end(keys::RECEIPT_AT, at, once.id()));
    Ok(())
}

fn remove(context: &mut Context<'_, '_>, id: &[u8; 32], kept: &Kept) {
    context.state.remove(keys::receipt(id));
    context.state.remove(keys::receipt_number(&kept.subject, kept.number));
    context.state.remove(keys::end(keys::RECEIPT_AT, kept.at, id));
}

/// Removes some receipts whose time is over.
fn sweep(context: &mut Context<'_, '_>) -> Result<(), Problem> {
    for (key, _) in context.state.scan(keys::RECEIPT_AT, None, SWEPT)? {
        let Some((_, id)) = keys::split_end(&key) else { return Err(Problem::Internal) };
        match query::kept(&*context.state, &id)? {
            Some(kept) if !kept.is_over(context.now()) => break,
            Some(kept) => {
                remove(context, &id, &kept);
                // The last of somebody's: then nothing is left of them.
                let made = query::receipts_made(&*context.state, &kept.subject)?;
                if kept.number.checked_add(1) == Some(made) {
                    context.state.remove(keys::receipts_made(&kept.subject));
                }
            }
            None => context.state.remove(key),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use identity::{Identifier, Timestamp};

    use super::*;
    use crate::authz::{Actor, Rules};
    use crate::member::MemberAttributes;
    use crate::once::RECEIPT_SECONDS;
    use crate::store::apply::{apply, prepare};
    use crate::store::command::{Command, Intent, Operation};
    use crate::store::memory::Memory;
    use crate::store::overlay::Transaction;
    use crate::store::writer::Engine as _;

    /// Everything that stands for one request is in one batch, or nothing is.
    #[test]
    fn effect_and_receipt_and_row_are_one_batch() {
        let (authority, who) = (Identifier::from_bytes([1; 32]), Identifier::from_bytes([2; 32]));
        let engine = Memory::default();
        prepare(&engine, authority, Timestamp(7)).unwrap();
        let rules = Rules { admins: [who].into(), ..Rules::default() };
        let once = Once::new(who, "k", [0; 32]).unwrap();
        let command = |operation| Command {
            actor: Actor::Identity(who),
            at: Timestamp(7),
            rules: Arc::new(rules.clone()),
            operation: Operation::Once(Box::new(UnderKey {
                once: once.clone(),
                receipt: Receipt::Done,
                operation,
            })),
        };
        let mut state = Transaction::new(&engine);
        let attributes = MemberAttributes::default();
        let add = command(Operation::AddMember { identifier: who, attributes });
        apply(&mut state, authority, &add).unwrap();
        let batch = state.into_batch();
        for key in [keys::member(&who), keys::receipt(once.id()), keys::audit(2)] {
            assert!(batch.get(&key).is_some_and(Option::is_some), "{key:?}");
        }
        let mut state = Transaction::new(&engine);
        let refused = command(Operation::DeleteMember(authority));
        assert_eq!(apply(&mut state, authority, &refused).unwrap_err().code(), "not-found");
        assert!(!state.into_batch().contains_key(&keys::receipt(once.id())));
        // Nobody acts under another's key.
        let mut state = Transaction::new(&engine);
        let other = Command { actor: Actor::Identity(authority), ..add };
        assert_eq!(apply(&mut state, authority, &other).unwrap_err(), Problem::Internal);
        assert!(state.into_batch().is_empty());
    }

    const BEGUN: Timestamp = Timestamp(1_790_000_000);

    /// What somebody who may do everything does under a key.
    fn do_under(
        engine: &Memory,
        who: Identifier,
        (key, at): (&str, Timestamp),
        (receipt, operation): (Receipt, Operation),
    ) -> Applied {
        let once = Once::new(who, key, [0; 32]).unwrap();
        let operation = Operation::Once(Box::new(UnderKey { once, receipt, operation }));
        let rules = Arc::new(Rules { admins: [who].into(), ..Rules::default() });
        let command = Command { actor: Actor::Identity(who), at, rules, operation };
        let mut state = Transaction::new(engine);
        let applied = apply(&mut state, Identifier::from_bytes([1; 32]), &command).unwrap();
        let batch = state.into_batch();
        engine.commit(batch).unwrap();
        applied
    }

    #[test]
    fn the_count_of_somebodys_receipts_goes_with_the_last_of_them_and_not_before() {
        let (one, other) = (Identifier::from_bytes([2; 32]), Identifier::from_bytes([3; 32]));
        let engine = Memory::default();
        prepare(&engine, Identifier::from_bytes([1; 32]), BEGUN).unwrap();
        let add = |who, key, at| {
            let attributes = MemberAttributes::default();
            let operation = Operation::AddMember { identifier: Identifier::from_bytes([9; 32]), attributes };
            assert_eq!(do_under(&engine, who, (key, at), (Receipt::Done, operation)).receipt, None, "{key}");
        };
        let of_one = || {
            let made = query::receipts_made(&engine, &one).unwrap();
            (made, query::receipts(&engine, &one).unwrap())
        };
        add(one, "first", BEGUN);
        add(one, "second", BEGUN.after(1));
        assert_eq!(of_one(), (2, 2));
        // Numbered from the beginning again, the next would stand in the place of the second.
        add(other, "sweeps-the-first", BEGUN.after(RECEIPT_SECONDS));
        assert_eq!(of_one(), (2, 1));
        add(other, "sweeps-the-second", BEGUN.after(RECEIPT_SECONDS + 1));
        assert_eq!(of_one(), (0, 0));
        add(one, "third", BEGUN.after(RECEIPT_SECONDS + 2));
        assert_eq!(of_one(), (1, 1));
    }

    /// Two requests under one key, both with a signature made: both are recorded, and both are answered with the first.
    #[test]
    fn of_two_that_have_happened_under_one_key_the_first_is_the_answer() {
        let who = Identifier::from_bytes([2; 32]);
        let engine = Memory::default();
        prepare(&engine, Identifier::from_bytes([1; 32]), BEGUN).unwrap();
        let hash = |byte: u8| [byte; 32];
        let (expires_at, attributes) = (BEGUN.after(60), MemberAttributes::default());
        for byte in [1, 2] {
            let intent =
                Intent { hash: hash(byte), subject: who, attributes: attributes.clone(), expires_at };
            let rules = Arc::new(Rules { admins: [who].into(), ..Rules::default() });
            let operation = Operation::Intend(intent);
            let command = Command { actor: Actor::Identity(who), at: BEGUN, rules, operation };
            let mut state = Transaction::new(&engine);
            apply(&mut state, Identifier::from_bytes([1; 32]), &command).unwrap();
            let batch = state.into_batch();
            engine.commit(batch).unwrap();
        }
        let issued = |byte: u8| {
            let signed = (Receipt::Credential(vec![byte]), Operation::Issued(hash(byte)));
            do_under(&engine, who, ("key", BEGUN), signed)
        };
        assert_eq!(issued(1), Applied { changed: 1, ..Applied::default() });
        let first = Some(Receipt::Credential(vec![1]));
        assert_eq!(issued(2), Applied { changed: 1, receipt: first, ..Applied::default() });
        for byte in [1, 2] {
            assert!(query::issued(&engine, &hash(byte)).unwrap().is_some());
        }
    }
}
