//! Tickets: made, revoked, and spent together with what they buy.

use crate::authz::{Action, Allowed};
use crate::member::Member;
use crate::problem::Problem;
use crate::store::apply::{Context, history, log, member};
use crate::store::command::{Applied, KnownHistory};
use crate::store::record::Lookup;
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
    let ticket = query::ticket_by_lookup(&*context.state, lookup)?;
    let good = ticket.filter(|ticket| ticket.is_good(context.now()));
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
