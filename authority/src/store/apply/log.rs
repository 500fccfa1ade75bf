//! Audit rows, written in the transaction of what they record.

use crate::audit::{AuditRow, Entry, MAX_REFUSALS_AN_HOUR};
use crate::error::Result;
use crate::member::MemberAttributes;
use crate::store::apply::Context;
use crate::store::command::Command;
use crate::store::overlay::Transaction;
use crate::store::record::Refusals;
use crate::store::{keys, query};

/// The most names of attributes in a row, and the most characters of each.
const MAX_NAMES: usize = 16;
const MAX_NAME: usize = 40;

/// Records that the command was done, to what it is about.
pub(super) fn done(context: &mut Context<'_, '_>, object: &str, details: &str) -> Result<()> {
    done_as(context, context.command.operation.word(), object, details, "done")
}

/// Records something that the command did.
pub(super) fn done_as(
    context: &mut Context<'_, '_>,
    action: &str,
    object: &str,
    details: &str,
    outcome: &str,
) -> Result<()> {
    let actor = context.command.actor.to_string();
    append(context.state, context.command, Entry { actor: &actor, action, object, details, outcome })
}

/// Records that the command was refused, unless too many were in this hour.
pub(super) fn refused(
    state: &mut Transaction<'_>,
    command: &Command,
    action: &str,
    code: &str,
) -> Result<()> {
    let hour = command.at.0 / 3600;
    let mut refusals = query::refusals(state)?;
    if refusals.hour != hour {
        refusals = Refusals { hour, count: 0 };
    }
    if refusals.count > MAX_REFUSALS_AN_HOUR {
        return Ok(());
    }
    let (actor, object) = (command.actor.to_string(), command.operation.object());
    let last = refusals.count == MAX_REFUSALS_AN_HOUR;
    let entry = if last {
        let details = "further refusals of this hour are not recorded";
        Entry { actor: "operator", action: "refusals", object: "", details, outcome: "done" }
    } else {
        Entry { actor: &actor, action, object: &object, details: "", outcome: code }
    };
    refusals.count += 1;
    state.put(keys::REFUSALS.to_vec(), &refusals)?;
    append(state, command, entry)
}

fn append(state: &mut Transaction<'_>, command: &Command, entry: Entry<'_>) -> Result<()> {
    let row = AuditRow::following(&query::audit_head(state)?, command.at, entry);
    state.put(keys::AUDIT_HEAD.to_vec(), &row.head())?;
    state.put(keys::audit(row.sequence), &row)
}

/// The names of attributes, as far as a row has room for them. A name has no white space, so a space divides them; the one
/// that gives a role is always there.
pub(super) fn names(attributes: &MemberAttributes) -> String {
    let mut names: Vec<&str> = attributes.iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| *name != crate::member::ROLE_ATTRIBUTE);
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut shown: Vec<String> =
        names.into_iter().take(MAX_NAMES).map(|name| name.chars().take(MAX_NAME).collect()).collect();
    if more > 0 {
        shown.push(format!("(and {more} more)"));
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_far_as_there_is_room_and_a_role_before_all_others() {
        let shown = |others: usize| {
            let pairs = (0..others).map(|n| (format!("a{n:02}"), "value".to_owned()));
            let role = ("ockam-role".to_owned(), "enroller".to_owned());
            names(&MemberAttributes::new(pairs.chain([role]).collect()).unwrap())
        };
        assert_eq!(shown(0), "ockam-role");
        assert_eq!(shown(2), "ockam-role a00 a01");
        let all = (0..15).fold("ockam-role".to_owned(), |all, n| format!("{all} a{n:02}"));
        assert_eq!(shown(15), all, "sixteen have room");
        assert_eq!(shown(16), format!("{all} (and 1 more)"));
        assert_eq!(shown(20), format!("{all} (and 5 more)"));
        let (fits, long) = ("x".repeat(40), "y".repeat(41));
        let attributes = MemberAttributes::of([(&*fits, ""), (&*long, "")]).unwrap();
        assert_eq!(names(&attributes), format!("{fits} {}", &long[..40]));
    }
}
