//! What commands mean, written once for every store: from the state and a command to writes and an answer. Each command passes
//! the gate here, on the state that it changes.

mod history;
mod issue;
mod log;
mod member;
mod once;
mod ticket;

use identity::{Identifier, Timestamp};

use crate::audit::{AuditHead, AuditRow};
use crate::authz::{Action, Allowed, authorise};
use crate::error::{Error, Kind, Result};
use crate::problem::Problem;
use crate::store::command::{Applied, Command, Operation};
use crate::store::overlay::Transaction;
use crate::store::record::Meta;
use crate::store::writer::Engine;
use crate::store::{keys, query, record};

/// What a command is decided in.
pub(crate) struct Context<'a, 's> {
    pub(crate) state: &'a mut Transaction<'s>,
    pub(crate) authority: Identifier,
    pub(crate) command: &'a Command,
}

impl Context<'_, '_> {
    pub(crate) fn now(&self) -> Timestamp {
        self.command.at
    }

    /// Passes the gate.
    fn gate(&self, action: Action) -> std::result::Result<Allowed<'_>, Problem> {
        authorise(&*self.state, &self.command.rules, &self.command.actor, action)
    }
}

/// Decides a command. Its writes and its audit row are kept together; of one that is refused only the row about that is.
pub(crate) fn apply(
    state: &mut Transaction<'_>,
    authority: Identifier,
    command: &Command,
) -> std::result::Result<Applied, Problem> {
    let mut context = Context { state, authority, command };
    let outcome = decide(&mut context);
    match &outcome {
        Ok(_) => state.keep(),
        Err(problem) if problem.is_fault() => state.forget(),
        Err(problem) => {
            state.forget();
            log::refused(state, command, command.operation.word(), problem.code())?;
            state.keep();
        }
    }
    outcome
}

fn decide(context: &mut Context<'_, '_>) -> std::result::Result<Applied, Problem> {
    match &context.command.operation {
        Operation::Once(under) => once::decide(context, under),
        operation => decide_plain(context, operation),
    }
}

fn decide_plain(
    context: &mut Context<'_, '_>,
    operation: &Operation,
) -> std::result::Result<Applied, Problem> {
    let command = context.command;
    // Three operations say what has already happened: they ask for nothing, so there is nothing to be allowed.
    let action = match operation {
        Operation::Issued(hash) => return issue::issued(context, hash),
        Operation::Abandon(hash) => return issue::abandon(context, hash),
        Operation::Refused(action, code) => {
            log::refused(context.state, command, action.word(), code)?;
            return Ok(Applied::default());
        }
        operation => operation.action(),
    };
    let Some(action) = action else {
        return Err(Problem::Internal);
    };
    let allowed = authorise(&*context.state, &command.rules, &command.actor, action)?;
    match operation {
        Operation::LoadPreTrusted(members) => member::load_pre_trusted(context, allowed, members),
        Operation::AddMember { identifier, attributes } => {
            member::add(context, allowed, identifier, attributes)
        }
        Operation::DeleteMember(identifier) => member::delete(context, allowed, identifier),
        Operation::DeleteMembers { after } => member::delete_some(context, allowed, after.as_ref()),
        Operation::MakeTicket { lookup, ticket } => ticket::make(context, allowed, lookup, ticket),
        Operation::RevokeTicket(reference) => ticket::revoke(context, allowed, reference),
        Operation::Redeem { lookup, history } => ticket::redeem(context, allowed, lookup, history),
        Operation::KeepHistory(shown) => history::keep(context, allowed, shown),
        Operation::ResolveConflict(identifier, decision) => {
            history::resolve(context, allowed, identifier, *decision)
        }
        Operation::Intend(intent) => issue::intend(context, allowed, intent),
        Operation::ReplaceIssuer(change) => {
            log::done(context, &change.to_string(), "")?;
            Ok(Applied { changed: 1, ..Applied::default() })
        }
        Operation::Issued(_) | Operation::Abandon(_) | Operation::Refused(..) | Operation::Once(_) => {
            Err(Problem::Internal)
        }
        Operation::AcceptClock => {
            let newest = query::newest(&*context.state)?;
            log::done(context, "", &format!("instead of {newest}"))?;
            Ok(Applied { changed: 1, ..Applied::default() })
        }
    }
}

impl Operation {
    /// What it asks for, or `None` when it asks for nothing.
    fn action(&self) -> Option<Action> {
        Some(match self {
            Self::LoadPreTrusted(_) => Action::LoadPreTrusted,
            Self::AddMember { .. } => Action::AddMember,
            Self::DeleteMember(_) => Action::DeleteMember,
            Self::DeleteMembers { .. } => Action::DeleteMembers,
            Self::MakeTicket { .. } => Action::MakeTicket,
            Self::RevokeTicket(_) => Action::RevokeTicket,
            Self::Redeem { .. } => Action::Enrol,
            Self::KeepHistory(_) => Action::Meet,
            Self::ResolveConflict(..) => Action::ResolveConflict,
            Self::Intend(_) => Action::GetCredential,
            Self::ReplaceIssuer(_) => Action::ReplaceIssuer,
            Self::Once(under) => return under.operation.action(),
            Self::AcceptClock => Action::AcceptClock,
            Self::Issued(_) | Self::Abandon(_) | Self::Refused(..) => return None,
        })
    }

    /// Its word in the audit log.
    fn word(&self) -> &'static str {
        match self {
            Self::Intend(_) => "credential-intend",
            Self::Issued(_) => Action::GetCredential.word(),
            Self::Abandon(_) => "credential-abandon",
            Self::Refused(action, _) => action.word(),
            Self::Once(under) => under.operation.word(),
            other => other.action().map_or("", Action::word),
        }
    }

    /// What it is about, in the audit log. Never a secret.
    fn object(&self) -> String {
        match self {
            Self::AddMember { identifier, .. }
            | Self::DeleteMember(identifier)
            | Self::ResolveConflict(identifier, _) => identifier.to_string(),
            Self::MakeTicket { ticket, .. } => ticket.reference.to_string(),
            Self::RevokeTicket(reference) => reference.to_string(),
            Self::ReplaceIssuer(change) => change.to_string(),
            Self::Intend(intent) => hex::encode(intent.hash),
            Self::Issued(hash) | Self::Abandon(hash) => hex::encode(hash),
            Self::Once(under) => under.operation.object(),
            Self::LoadPreTrusted(_)
            | Self::DeleteMembers { .. }
            | Self::Redeem { .. }
            | Self::KeepHistory(_)
            | Self::AcceptClock
            | Self::Refused(..) => String::new(),
        }
    }
}

/// Sees to it that the engine holds a store of this authority: starts one in an engine that is empty, and checks the ends of
/// the one that is there.
pub(crate) fn prepare(engine: &dyn Engine, authority: Identifier, now: Timestamp) -> Result<()> {
    let Some(meta) = query::meta(engine)? else {
        if !engine.scan(&[], None, 1)?.is_empty() {
            return Err(Error::corrupt("it has records and no header"));
        }
        return engine.commit(first_batch(engine, authority, now)?);
    };
    check(engine, &meta, authority)
}

/// Checks a store that was opened before.
pub(crate) fn check_ends(engine: &dyn Engine, authority: Identifier) -> Result<()> {
    match query::meta(engine)? {
        Some(meta) => check(engine, &meta, authority),
        None => Err(Error::corrupt("its header is gone")),
    }
}

fn check(engine: &dyn Engine, meta: &Meta, authority: Identifier) -> Result<()> {
    if meta.authority != authority {
        return Err(Error::new(
            Kind::Invalid,
            format!("the store belongs to the authority {}", meta.authority),
        )
        .with_hint("give each authority a store of its own"));
    }
    let head = query::audit_head(engine)?;
    let ends = query::audit_rows(engine, head.sequence.saturating_sub(1), 2)?;
    match ends.as_slice() {
        [row] if row.head() == head && row.computed_hash() == row.hash => Ok(()),
        _ => Err(Error::corrupt("the audit log does not end where it says it ends")),
    }
}

fn first_batch(engine: &dyn Engine, authority: Identifier, now: Timestamp) -> Result<super::overlay::Batch> {
    let mut state = Transaction::new(engine);
    state.put(keys::META.to_vec(), &Meta { authority, created_at: now })?;
    let row = AuditRow::following(
        &AuditHead::start(),
        now,
        crate::audit::Entry {
            actor: "operator",
            action: "store-create",
            object: &authority.to_string(),
            details: &format!("format {}", record::FORMAT),
            outcome: "done",
        },
    );
    state.put(keys::AUDIT_HEAD.to_vec(), &row.head())?;
    state.put(keys::audit(row.sequence), &row)?;
    state.keep();
    Ok(state.into_batch())
}
