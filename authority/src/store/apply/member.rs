//! Members: who may add, replace and delete whom.

use std::collections::BTreeMap;

use identity::Identifier;

use crate::authz::{Action, Allowed};
use crate::member::{Member, MemberAttributes};
use crate::problem::Problem;
use crate::store::apply::{Context, log};
use crate::store::command::Applied;
use crate::store::{View, keys, query};

/// How many members one command looks at when many are to be deleted.
const CHUNK: usize = 256;

type Outcome = Result<Applied, Problem>;

fn changed(changed: u64) -> Outcome {
    Ok(Applied { changed, ..Applied::default() })
}

/// Who stands as the one who added a member.
fn added_by(context: &Context<'_, '_>, allowed: Allowed<'_>) -> Identifier {
    allowed.actor().identifier().unwrap_or(context.authority)
}

pub(super) fn load_pre_trusted(
    context: &mut Context<'_, '_>,
    allowed: Allowed<'_>,
    members: &BTreeMap<Identifier, MemberAttributes>,
) -> Outcome {
    let added_by = added_by(context, allowed);
    let mut count = 0;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let marks = context.state.scan(keys::PRE_TRUSTED, after.as_deref(), CHUNK)?;
        let Some((last, _)) = marks.last() else { break };
        after = Some(last.clone());
        for (mark, _) in &marks {
            let Some(identifier) = keys::split_identifier(mark) else { return Err(Problem::Internal) };
            if !members.contains_key(&identifier) {
                context.state.remove(keys::member(&identifier));
                context.state.remove(mark.clone());
                log::done(context, &identifier.to_string(), "no longer pre-trusted")?;
                count += 1;
            }
        }
    }
    for (identifier, attributes) in members {
        let known = query::member(&*context.state, identifier)?;
        if known.is_some_and(|known| known.pre_trusted && known.attributes == *attributes) {
            continue;
        }
        let attributes = attributes.clone();
        let names = log::names(&attributes);
        put(
            context,
            Member {
                identifier: *identifier,
                attributes,
                added_by,
                added_at: context.now(),
                pre_trusted: true,
            },
        )?;
        log::done(context, &identifier.to_string(), &names)?;
        count += 1;
    }
    changed(count)
}

pub(super) fn add(
    context: &mut Context<'_, '_>,
    allowed: Allowed<'_>,
    identifier: &Identifier,
    attributes: &MemberAttributes,
) -> Outcome {
    let known = query::member(&*context.state, identifier)?;
    let replaces_a_role = known.as_ref().is_some_and(|known| known.attributes.name_a_role());
    if attributes.name_a_role() || replaces_a_role {
        context.gate(Action::ChangeRoles)?;
    }
    let pre_trusted = known.is_some_and(|known| known.pre_trusted);
    if pre_trusted {
        context.gate(Action::ReplacePreTrusted)?;
    }
    let member = Member {
        identifier: *identifier,
        attributes: attributes.clone(),
        added_by: added_by(context, allowed),
        added_at: context.now(),
        pre_trusted,
    };
    put(context, member)?;
    log::done(context, &identifier.to_string(), &log::names(attributes))?;
    changed(1)
}

pub(super) fn put(context: &mut Context<'_, '_>, member: Member) -> Result<(), Problem> {
    if member.pre_trusted {
        context.state.mark(keys::pre_trusted(&member.identifier));
    }
    context.state.put(keys::member(&member.identifier), &member)?;
    Ok(())
}

/// Why a member may not be deleted, if so.
fn deletable(context: &Context<'_, '_>, member: &Member) -> Result<(), Problem> {
    if member.pre_trusted {
        return Err(Problem::forbidden(
            "this member is pre-trusted: only the authority's operator removes it, by its configuration",
        ));
    }
    if member.attributes.name_a_role() {
        context.gate(Action::ChangeRoles)?;
    }
    Ok(())
}

pub(super) fn delete(context: &mut Context<'_, '_>, _: Allowed<'_>, identifier: &Identifier) -> Outcome {
    let member = query::member(&*context.state, identifier)?.ok_or_else(|| no_member(identifier))?;
    deletable(context, &member)?;
    context.state.remove(keys::member(identifier));
    log::done(context, &identifier.to_string(), "")?;
    changed(1)
}

pub(super) fn delete_some(
    context: &mut Context<'_, '_>,
    allowed: Allowed<'_>,
    after: Option<&Identifier>,
) -> Outcome {
    let page = query::members(&*context.state, after, CHUNK)?;
    let mut deleted = 0;
    for member in &page.items {
        if allowed.actor().identifier() == Some(member.identifier) {
            continue;
        }
        match deletable(context, member) {
            Ok(()) => {}
            Err(fault) if fault.is_fault() => return Err(fault),
            Err(_) => continue,
        }
        context.state.remove(keys::member(&member.identifier));
        log::done_as(context, Action::DeleteMember.word(), &member.identifier.to_string(), "", "done")?;
        deleted += 1;
    }
    Ok(Applied { changed: deleted, next: page.next, ..Applied::default() })
}

pub(crate) fn no_member(identifier: &Identifier) -> Problem {
    Problem::not_found(format!("there is no member `{identifier}`"))
}
