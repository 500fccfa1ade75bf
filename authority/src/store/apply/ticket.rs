//! Tickets: made, revoked, and spent together with what they buy.

use std::sync::LazyLock;

use identity::{Identifier, Timestamp};

use crate::authz::{Action, Allowed};
use crate::member::{Member, MemberAttributes};
use crate::problem::Problem;
use crate::store::apply::{Context, history, log, member};
use crate::store::command::{Applied, KnownHistory};
use crate::store::record::{self, Lookup};
use crate::store::{View, keys, query};
use crate::ticket::{Reference, Ticket};

/// How long tickets that are expired can still be listed, in seconds.
const KEPT_SECONDS: u64 = 7 * 86_400;
/// How many old ones are swept with each new one: more than one, so that they never pile up.
const SWEPT: usize = 4;

type Outcome = Result<Applied, Problem>;

fn changed(changed: u64) -> Outcome {
    Ok(Applied { changed, ..Applied::default() })
}

pub(super) fn make(
    context: &mut Context<'_, '_>,
    _: Allowed<'_>,
    lookup: &[u8; 32],
    ticket: &Ticket,
) -> Outcome {
    if ticket.attributes.name_a_role() {
        context.gate(Action::ChangeRoles)?;
    }
    let state = &mut *context.state;
    let taken = query::ticket_by_lookup(state, lookup)?.is_some()
        || query::lookup(state, &ticket.reference)?.is_some();
    if taken {
        // 64 and 256 random bits: this is a broken source of randomness, not a coincidence.
        return Err(Problem::Internal);
    }
    sweep(context)?;
    context.state.put(keys::ticket(lookup), ticket)?;
    context.state.put(keys::reference(&ticket.reference), &Lookup(*lookup))?;
    context.state.mark(keys::end(keys::TICKET_END, ticket.expires_at, lookup));
    log::done(context, &ticket.reference.to_string(), &log::names(&ticket.attributes))?;
    changed(1)
}

pub(super) fn revoke(context: &mut Context<'_, '_>, _: Allowed<'_>, reference: &Reference) -> Outcome {
    let none = || Problem::not_found(format!("there is no ticket `{reference}`"));
    let Lookup(lookup) = query::lookup(&*context.state, reference)?.ok_or_else(none)?;
    let ticket = query::ticket_by_lookup(&*context.state, &lookup)?.ok_or_else(none)?;
    remove(context, &lookup, &ticket);
    log::done(context, &reference.to_string(), "")?;
    changed(1)
}

pub(super) fn redeem(
    context: &mut Context<'_, '_>,
    allowed: Allowed<'_>,
    lookup: &[u8; 32],
    shown: &KnownHistory,
) -> Outcome {
    let Some(identifier) = allowed.actor().identifier() else {
        return Err(Problem::forbidden("the operator is no member: enrol an identity"));
    };
    if query::member(&*context.state, &identifier)?.is_some() {
        // The words that clients of the reference look for.
        return Err(Problem::conflict("already a member"));
    }
    history::keep_of_new_member(context, &identifier, shown)?;
    // One answer for every way in which a code can be no good: whoever guesses learns nothing.
    let ticket = match query::ticket_by_lookup(&*context.state, lookup)? {
        Some(ticket) => ticket,
        None => used_up()?,
    };
    let good = Some(ticket).filter(|ticket| ticket.is_good(context.now()));
    let mut ticket = good.ok_or_else(|| Problem::forbidden("unknown enrollment token"))?;
    ticket.uses_left = ticket.uses_left.saturating_sub(1);
    context.state.put(keys::ticket(lookup), &ticket)?;
    let names = log::names(&ticket.attributes);
    let new = Member {
        identifier,
        attributes: ticket.attributes,
        added_by: ticket.issued_by,
        added_at: context.now(),
        pre_trusted: false,
    };
    member::put(context, new)?;
    log::done(context, &ticket.reference.to_string(), &names)?;
    changed(1)
}

/// A ticket that buys nothing, decoded in place of one that is not there: so the time of an answer does not tell whether it is.
fn used_up() -> Result<Ticket, Problem> {
    static ENCODED: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
        let ticket = Ticket {
            reference: Reference::from_bytes([0; 8]),
            attributes: MemberAttributes::of([("role", "member")]).ok()?,
            issued_by: Identifier::from_bytes([0; 32]),
            created_at: Timestamp(0),
            expires_at: Timestamp(0),
            uses_left: 0,
        };
        record::encode(&ticket).ok()
    });
    // As a store gives it: a copy.
    let encoded = ENCODED.clone().ok_or(Problem::Internal)?;
    Ok(record::decode(&encoded)?)
}

fn remove(context: &mut Context<'_, '_>, lookup: &[u8; 32], ticket: &Ticket) {
    context.state.remove(keys::ticket(lookup));
    context.state.remove(keys::reference(&ticket.reference));
    context.state.remove(keys::end(keys::TICKET_END, ticket.expires_at, lookup));
}

/// Removes some tickets that expired long ago.
fn sweep(context: &mut Context<'_, '_>) -> Result<(), Problem> {
    for (key, _) in context.state.scan(keys::TICKET_END, None, SWEPT)? {
        let Some((end, lookup)) = keys::split_end(&key) else { return Err(Problem::Internal) };
        if end.after(KEPT_SECONDS) > context.now() {
            break;
        }
        match query::ticket_by_lookup(&*context.state, &lookup)? {
            Some(ticket) => remove(context, &lookup, &ticket),
            None => context.state.remove(key),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use identity::ChangeHash;

    use super::*;
    use crate::authz::Actor;
    use crate::error::Result;
    use crate::store::Entry;
    use crate::store::apply::apply;
    use crate::store::command::{Command, Operation};
    use crate::store::memory::Memory;
    use crate::store::overlay::Transaction;
    use crate::store::writer::Engine as _;

    const NOW: Timestamp = Timestamp(1_790_000_000);

    /// A state that keeps count of what it is asked; one that leaks asks once more about what it has.
    struct Watched {
        state: Memory,
        asked: Mutex<Vec<String>>,
        leaks: bool,
    }

    impl View for Watched {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.asked.lock().unwrap().push(format!("get {} of {} bytes", char::from(key[0]), key.len()));
            let found = self.state.get(key)?;
            if self.leaks && key.starts_with(keys::TICKET) && found.is_some() {
                self.asked.lock().unwrap().push("once more".to_owned());
            }
            Ok(found)
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
            self.asked.lock().unwrap().push(format!("scan {} for {limit}", char::from(prefix[0])));
            self.state.scan(prefix, after, limit)
        }
    }

    fn id(byte: u8) -> Identifier {
        Identifier::from_bytes([byte; 32])
    }

    fn ticket(byte: u8, expires_at: Timestamp, uses_left: u32) -> Operation {
        Operation::MakeTicket {
            lookup: [byte; 32],
            ticket: Ticket {
                reference: Reference::from_bytes([byte; 8]),
                attributes: MemberAttributes::of([("role", "member")]).unwrap(),
                issued_by: id(9),
                created_at: NOW,
                expires_at,
                uses_left,
            },
        }
    }

    fn redeem(lookup: [u8; 32]) -> Operation {
        let changes = vec![ChangeHash::of(b"a change")];
        Operation::Redeem { lookup, history: KnownHistory { bytes: vec![0x81, 0x80], changes } }
    }

    /// Decides a command; what it came to, what the state was asked, how many records were decoded, and what
    /// is written, values by their length.
    fn decide(state: &Watched, actor: Actor, operation: Operation) -> (Outcome, Vec<String>) {
        let mut transaction = Transaction::new(state);
        let command = Command { actor, at: NOW, rules: Arc::default(), operation };
        let before = record::DECODED.get();
        let outcome = apply(&mut transaction, id(1), &command);
        let decoded = record::DECODED.get() - before;
        let batch = transaction.into_batch();
        let mut work = std::mem::take(&mut *state.asked.lock().unwrap());
        work.push(format!("decoded {decoded} records"));
        work.extend(batch.iter().map(|(key, value)| {
            let length = value.as_ref().map_or(0, Vec::len);
            format!("put {} of {} bytes: {length} bytes", char::from(key[0]), key.len())
        }));
        state.state.commit(batch).unwrap();
        (outcome, work)
    }

    /// The work for a code that is unknown, wrong in one bit, expired, used up and revoked.
    fn work_of_useless_codes(leaks: bool) -> Vec<Vec<String>> {
        let state = Watched { state: Memory::default(), asked: Mutex::default(), leaks };
        crate::store::apply::prepare(&state.state, id(1), NOW).unwrap();
        let (good, expired, used, revoked) = (1, 2, 3, 4);
        for (byte, end, uses) in [
            (good, NOW.after(60), 2),
            (expired, NOW, 1),
            (used, NOW.after(60), 0),
            (revoked, NOW.after(60), 1),
        ] {
            decide(&state, Actor::Operator, ticket(byte, end, uses)).0.unwrap();
        }
        let revoke = Operation::RevokeTicket(Reference::from_bytes([revoked; 8]));
        decide(&state, Actor::Operator, revoke).0.unwrap();
        let mut wrong = [good; 32];
        wrong[31] ^= 1;
        // The first refusal of an hour is less work, whatever it is about.
        decide(&state, Actor::Identity(id(7)), redeem([0xdd; 32])).0.unwrap_err();
        let mut all = Vec::new();
        for lookup in [[0xee; 32], wrong, [expired; 32], [used; 32], [revoked; 32]] {
            let (outcome, work) = decide(&state, Actor::Identity(id(7)), redeem(lookup));
            assert_eq!(outcome.unwrap_err(), Problem::forbidden("unknown enrollment token"));
            assert!(work.iter().any(|step| step.starts_with("get t")), "{work:?}");
            all.push(work);
        }
        // What goes well is more work, and shows that the measure sees any.
        let (outcome, work) = decide(&state, Actor::Identity(id(7)), redeem([good; 32]));
        outcome.unwrap();
        assert!(work.len() > all[0].len(), "{work:?}");
        all
    }

    #[test]
    fn a_useless_code_is_the_same_work_whatever_makes_it_useless() {
        let mut all = work_of_useless_codes(false);
        println!("{:#?}", all[0]);
        all.dedup();
        assert_eq!(all.len(), 1, "{all:#?}");
    }

    #[test]
    fn neither_a_code_nor_a_reference_is_given_twice() {
        let state = Watched { state: Memory::default(), asked: Mutex::default(), leaks: false };
        crate::store::apply::prepare(&state.state, id(1), NOW).unwrap();
        let make = |code: u8, reference: u8| {
            let Operation::MakeTicket { ticket, .. } = ticket(reference, NOW.after(60), 1) else {
                unreachable!()
            };
            decide(&state, Actor::Operator, Operation::MakeTicket { lookup: [code; 32], ticket }).0
        };
        assert_eq!(make(1, 1).unwrap().changed, 1);
        assert_eq!(make(1, 2).unwrap_err(), Problem::Internal);
        assert_eq!(make(2, 1).unwrap_err(), Problem::Internal);
        assert_eq!(make(2, 2).unwrap().changed, 1);
    }

    #[test]
    fn control_work_that_depends_on_the_code_is_noticed() {
        let all = work_of_useless_codes(true);
        let differ: Vec<_> = all.iter().map(|work| *work != all[0]).collect();
        assert_eq!(differ, [false, false, true, true, false]);
    }
}
