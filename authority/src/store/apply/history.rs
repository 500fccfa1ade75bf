//! Change histories that are known: newer replaces, older is refused, a contradiction is kept as evidence.

use identity::{Identifier, Relation};

use crate::authz::{Action, Allowed};
use crate::problem::{Needs, Problem};
use crate::store::apply::{Context, log};
use crate::store::command::{Applied, Conflict, Decided, Decision, KnownHistory};
use crate::store::{keys, query};

type Outcome = Result<Applied, Problem>;

/// How `shown` relates to `known`, by change hashes alone, as [`identity::Identity::compared_to`] does.
fn relation(shown: &KnownHistory, known: &KnownHistory) -> Relation {
    let same = shown.in_common(known);
    match (same == shown.changes.len(), same == known.changes.len()) {
        (true, true) => Relation::Equal,
        (false, true) => Relation::Newer,
        (true, false) => Relation::Older,
        (false, false) => Relation::Conflict,
    }
}

pub(super) fn keep(context: &mut Context<'_, '_>, allowed: Allowed<'_>, shown: &KnownHistory) -> Outcome {
    let Some(identifier) = allowed.actor().identifier() else {
        return Ok(Applied::default());
    };
    let Some(known) = query::history(&*context.state, &identifier)? else {
        // Of strangers nothing is kept: there are as many as somebody likes to make.
        if query::member(&*context.state, &identifier)?.is_none() {
            return Ok(Applied::default());
        }
        return put(context, &identifier, shown);
    };
    if query::conflict(&*context.state, &identifier)?.is_some_and(|conflict| conflict.settled_against(shown))
    {
        return Err(Problem::forbidden(
            "the authority's operator decided for another change history of this identity",
        ));
    }
    match relation(shown, &known) {
        Relation::Equal => Ok(Applied::default()),
        Relation::Newer => put(context, &identifier, shown),
        Relation::Older => Err(Problem::Unauthenticated { needs: Needs::NewerHistory }),
        Relation::Conflict => {
            let conflict =
                Conflict { identifier, known, shown: shown.clone(), at: context.now(), decided: None };
            context.state.put(keys::conflict(&identifier), &conflict)?;
            log::done_as(context, Action::Meet.word(), &identifier.to_string(), "evidence kept", "conflict")?;
            Ok(Applied { conflict: true, ..Applied::default() })
        }
    }
}

/// Keeps the history of somebody who becomes a member right now.
pub(super) fn keep_of_new_member(
    context: &mut Context<'_, '_>,
    identifier: &Identifier,
    shown: &KnownHistory,
) -> Result<(), Problem> {
    match query::history(&*context.state, identifier)?.map(|known| relation(shown, &known)) {
        None | Some(Relation::Newer) => context.state.put(keys::history(identifier), shown)?,
        Some(Relation::Equal) => {}
        // A contradiction was met, and kept, when the history was shown; this is one that another request just caused.
        Some(Relation::Older | Relation::Conflict) => {
            return Err(Problem::Unauthenticated { needs: Needs::NewerHistory });
        }
    }
    Ok(())
}

pub(super) fn resolve(
    context: &mut Context<'_, '_>,
    _: Allowed<'_>,
    identifier: &Identifier,
    decision: Decision,
) -> Outcome {
    let mut conflict = query::conflict(&*context.state, identifier)?
        .ok_or_else(|| Problem::not_found(format!("there is no conflict about `{identifier}`")))?;
    let word = match decision {
        Decision::KeepKnown => "known history kept",
        Decision::TakeShown => "shown history taken",
    };
    // What was seen since an earlier decision, of the side that is kept, is newer than the evidence.
    let (kept, _) = conflict.side(decision);
    let goes_on = query::history(&*context.state, identifier)?
        .is_some_and(|known| relation(&known, kept) == Relation::Newer);
    if !goes_on {
        context.state.put(keys::history(identifier), kept)?;
    }
    conflict.decided = Some(Decided { decision, at: context.now() });
    context.state.put(keys::conflict(identifier), &conflict)?;
    log::done(context, &identifier.to_string(), word)?;
    Ok(Applied { changed: 1, ..Applied::default() })
}

fn put(context: &mut Context<'_, '_>, identifier: &Identifier, shown: &KnownHistory) -> Outcome {
    context.state.put(keys::history(identifier), shown)?;
    log::done(context, &identifier.to_string(), &format!("changes: {}", shown.len()))?;
    Ok(Applied { changed: 1, ..Applied::default() })
}
