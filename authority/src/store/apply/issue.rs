//! Issuing: the intent is stored, then the key signs, then the credential is recorded. An intent that stays alone is an
//! orphan: its signature may have been made.

use crate::authz::Allowed;
use crate::problem::Problem;
use crate::store::apply::{Context, log};
use crate::store::command::{Applied, Intent, Issued};
use crate::store::record::Pending;
use crate::store::{View, keys, query};

/// How long credentials and orphans stay on record after they expired, in seconds.
const KEPT_SECONDS: u64 = 7 * 86_400;
/// How many old ones are swept with each new one.
const SWEPT: usize = 4;

type Outcome = Result<Applied, Problem>;

pub(super) fn intend(context: &mut Context<'_, '_>, allowed: Allowed<'_>, intent: &Intent) -> Outcome {
    if allowed.actor().identifier() != Some(intent.subject) {
        return Err(Problem::forbidden("a credential is issued to its subject only"));
    }
    let member = query::member(&*context.state, &intent.subject)?;
    if member.map(|member| member.attributes).unwrap_or_default() != intent.attributes {
        // Somebody changed the member since the credential was drafted: nothing is done, and it is drafted again.
        return Ok(Applied::default());
    }
    sweep(context)?;
    let issued = Issued {
        hash: intent.hash,
        subject: intent.subject,
        created_at: context.now(),
        expires_at: intent.expires_at,
    };
    // Two requests of one second draft the same bytes. Each has its share in the one intent.
    let shares = query::pending(&*context.state, &intent.hash)?.map_or(0, |pending| pending.shares);
    context.state.put(keys::intent(&intent.hash), &Pending { issued, shares: shares.saturating_add(1) })?;
    context.state.mark(keys::end(keys::ISSUED_END, intent.expires_at, &intent.hash));
    log::done(context, &hex::encode(intent.hash), "")?;
    Ok(Applied { changed: 1, ..Applied::default() })
}

pub(super) fn issued(context: &mut Context<'_, '_>, hash: &[u8; 32]) -> Outcome {
    let issued = give_back(context, hash)?;
    context.state.put(keys::issued(hash), &issued)?;
    log::done(context, &hex::encode(hash), "")?;
    Ok(Applied { changed: 1, ..Applied::default() })
}

pub(super) fn abandon(context: &mut Context<'_, '_>, hash: &[u8; 32]) -> Outcome {
    give_back(context, hash)?;
    log::done(context, &hex::encode(hash), "")?;
    Ok(Applied { changed: 1, ..Applied::default() })
}

/// Takes one share out of an intent, and the intent away with the last.
fn give_back(context: &mut Context<'_, '_>, hash: &[u8; 32]) -> Result<Issued, Problem> {
    let pending = query::pending(&*context.state, hash)?
        .ok_or_else(|| Problem::not_found("there is no intent to issue this credential"))?;
    let issued = pending.issued.clone();
    match pending.shares.saturating_sub(1) {
        0 => context.state.remove(keys::intent(hash)),
        shares => context.state.put(keys::intent(hash), &Pending { shares, ..pending })?,
    }
    Ok(issued)
}

fn sweep(context: &mut Context<'_, '_>) -> Result<(), Problem> {
    for (key, _) in context.state.scan(keys::ISSUED_END, None, SWEPT)? {
        let Some((end, hash)) = keys::split_end(&key) else { return Err(Problem::Internal) };
        if end.after(KEPT_SECONDS) > context.now() {
            break;
        }
        context.state.remove(keys::intent(&hash));
        context.state.remove(keys::issued(&hash));
        context.state.remove(key);
    }
    Ok(())
}
