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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::authz::{Actor, Rules};
    use crate::member::MemberAttributes;
    use crate::once::{Once, Receipt};
    use crate::store::command::{Intent, KnownHistory, UnderKey};
    use crate::store::memory::Memory;
    use crate::store::{Entry, View};
    use crate::ticket::{Reference, Ticket};

    const NOW: Timestamp = Timestamp(1_790_000_000);

    fn id(byte: u8) -> Identifier {
        Identifier::from_bytes([byte; 32])
    }

    fn command(actor: Actor, operation: Operation) -> Command {
        let rules = Arc::new(Rules { enforce_admin: true, ..Rules::default() });
        Command { actor, at: NOW, rules, operation }
    }

    fn add(byte: u8, pairs: &[(&str, &str)]) -> Operation {
        let attributes = MemberAttributes::of(pairs.iter().copied()).unwrap();
        Operation::AddMember { identifier: id(byte), attributes }
    }

    /// The store of authority 1, with what its operator did.
    fn store(done: impl IntoIterator<Item = Operation>) -> Memory {
        let engine = Memory::default();
        prepare(&engine, id(1), NOW).unwrap();
        for operation in done {
            let mut state = Transaction::new(&engine);
            apply(&mut state, id(1), &command(Actor::Operator, operation)).unwrap();
            let batch = state.into_batch();
            engine.commit(batch).unwrap();
        }
        engine
    }

    /// A store whose log has two rows, edited as a damaged disk edits it, or somebody with access to it.
    fn edited(edit: impl FnOnce(&mut Transaction<'_>, AuditRow)) -> Memory {
        let engine = store([add(2, &[])]);
        let last = query::audit_rows(&engine, 1, 2).unwrap().remove(0);
        let mut state = Transaction::new(&engine);
        edit(&mut state, last);
        state.keep();
        let batch = state.into_batch();
        engine.commit(batch).unwrap();
        engine
    }

    #[test]
    fn a_store_is_opened_by_its_own_authority() {
        let engine = store([]);
        prepare(&engine, id(1), NOW.after(9)).unwrap();
        assert_eq!(query::meta(&engine).unwrap().unwrap().created_at, NOW, "it is not begun anew");
        let other = prepare(&engine, id(9), NOW).unwrap_err();
        assert_eq!(other.kind(), Kind::Invalid);
        assert!(other.to_string().contains(&id(1).to_string()), "{other}");
        assert_eq!(check_ends(&engine, id(9)).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(check_ends(&Memory::default(), id(1)).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn what_only_leaves_a_row_in_the_log_counts_as_a_change() {
        let change = identity::ChangeHash::of(b"a change");
        for operation in [Operation::ReplaceIssuer(change), Operation::AcceptClock] {
            let (engine, command) = (store([]), command(Actor::Operator, operation));
            let mut state = Transaction::new(&engine);
            let applied = apply(&mut state, id(1), &command).unwrap();
            assert_eq!(applied, Applied { changed: 1, ..Applied::default() });
            assert!(state.into_batch().contains_key(&keys::audit(2)));
        }
    }

    /// One row to each way in which the end of the log can be wrong.
    #[test]
    fn a_store_is_opened_when_its_log_ends_where_it_says() {
        let good = edited(|_, _| ());
        assert!(prepare(&good, id(1), NOW).is_ok() && check_ends(&good, id(1)).is_ok());
        let head = || keys::AUDIT_HEAD.to_vec();
        let table = [
            ("no header", edited(|state, _| state.remove(keys::META.to_vec()))),
            ("no head", edited(|state, _| state.remove(head()))),
            ("the last row is gone", edited(|state, last| state.remove(keys::audit(last.sequence)))),
            ("the head is that of the row before", {
                edited(|state, last| {
                    let before = AuditHead { sequence: last.sequence - 1, hash: last.previous };
                    state.put(head(), &before).unwrap();
                })
            }),
            ("the head is of no row", {
                edited(|state, last| {
                    let none = AuditHead { sequence: last.sequence, ..AuditHead::start() };
                    state.put(head(), &none).unwrap();
                })
            }),
            ("the last row says something else", {
                edited(|state, last| {
                    let row = AuditRow { actor: id(9).to_string(), ..last };
                    state.put(keys::audit(row.sequence), &row).unwrap();
                })
            }),
            ("and has the hash of that", {
                edited(|state, last| {
                    let mut row = AuditRow { actor: id(9).to_string(), ..last };
                    row.hash = row.computed_hash();
                    state.put(keys::audit(row.sequence), &row).unwrap();
                })
            }),
        ];
        for (name, engine) in &table {
            assert_eq!(prepare(engine, id(1), NOW).unwrap_err().kind(), Kind::Corrupt, "{name}");
            assert_eq!(check_ends(engine, id(1)).unwrap_err().kind(), Kind::Corrupt, "{name}");
        }
    }

    /// A state of which only so many reads succeed.
    struct Failing {
        state: Memory,
        good: usize,
        asked: AtomicUsize,
    }

    impl Failing {
        fn read(&self) -> Result<()> {
            if self.asked.fetch_add(1, Ordering::SeqCst) < self.good {
                return Ok(());
            }
            Err(Error::new(Kind::Unavailable, "the disk is away"))
        }

        fn has_failed(&self) -> bool {
            self.asked.load(Ordering::SeqCst) > self.good
        }
    }

    impl View for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.read()?;
            self.state.get(key)
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
            self.read()?;
            self.state.scan(prefix, after, limit)
        }
    }

    /// Nobody is told that it was done, or that they may not, when it is the disk that failed; and nothing of it is written.
    #[test]
    fn a_read_that_fails_is_a_fault_wherever_it_fails() {
        let ticket = |byte: u8| Operation::MakeTicket {
            lookup: [byte; 32],
            ticket: Ticket {
                reference: Reference::from_bytes([byte; 8]),
                attributes: MemberAttributes::default(),
                issued_by: id(2),
                created_at: NOW,
                expires_at: NOW.after(60),
                uses_left: 1,
            },
        };
        let enroller = [("ockam-role", "enroller")];
        // Two who enrol: neither may delete the other, so that deleting everybody asks the gate for one of them.
        let state = store([add(2, &enroller), add(3, &enroller), add(4, &[]), ticket(5)]);
        let mut state = Failing { state, good: 0, asked: AtomicUsize::new(0) };
        let history =
            || KnownHistory { bytes: vec![0x80], changes: vec![identity::ChangeHash::of(b"a change")] };
        let intent = Intent {
            hash: [6; 32],
            subject: id(4),
            attributes: MemberAttributes::default(),
            expires_at: NOW.after(60),
        };
        let under_a_key = UnderKey {
            once: Once::new(id(2), "key", [0; 32]).unwrap(),
            receipt: Receipt::Done,
            operation: add(7, &[]),
        };
        for (actor, operation) in [
            (2, add(4, &[("a", "b")])),
            (2, Operation::DeleteMember(id(4))),
            (2, Operation::DeleteMembers { after: None }),
            (2, ticket(6)),
            (2, Operation::RevokeTicket(Reference::from_bytes([5; 8]))),
            (7, Operation::Redeem { lookup: [5; 32], history: history() }),
            (4, Operation::KeepHistory(history())),
            (4, Operation::Intend(intent)),
            (2, Operation::Once(Box::new(under_a_key))),
        ] {
            let command = command(Actor::Identity(id(actor)), operation);
            for reads in 0.. {
                (state.good, state.asked) = (reads, AtomicUsize::new(0));
                let mut transaction = Transaction::new(&state);
                let outcome = apply(&mut transaction, id(1), &command);
                let written = transaction.into_batch();
                let what = format!("{:?} after {reads} reads", command.operation);
                if !state.has_failed() {
                    assert!(outcome.is_ok() && !written.is_empty(), "{what}: {outcome:?}");
                    assert!(reads > 2, "{what}");
                    break;
                }
                assert!(outcome.as_ref().is_err_and(Problem::is_fault), "{what}: {outcome:?}");
                assert!(written.is_empty(), "{what}");
            }
        }
    }
}
