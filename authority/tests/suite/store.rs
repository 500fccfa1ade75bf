//! What every store promises, on each of them.

use std::sync::Arc;

use crate::common::{Held, NOW, Person, attributes, enroller, person, rotated};
use authority::Problem;
use authority::audit;
use authority::authz::{Action, Actor, Rules};
use authority::member::MAX_PAGE;
use authority::store::{
    Applied, Command, Conflict, Decided, Decision, Intent, KnownHistory, Operation, Store, query,
};
use authority::ticket::{Code, Reference, Ticket};
use identity::{Identifier, Identity, Timestamp};
use vault::Vault;
use vault::soft::SoftVault;

const DAY: u64 = 86_400;

struct Fixture {
    vault: Arc<dyn Vault>,
    root: Person,
    held: Held,
    rules: Arc<Rules>,
}

impl Fixture {
    async fn new(held: fn(Identifier) -> Held) -> Self {
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let root = person(&vault).await;
        let held = held(root.identity.identifier());
        Self { vault, root, held, rules: Arc::default() }
    }

    fn store(&self) -> &dyn Store {
        &*self.held.store
    }

    async fn run_at(&self, at: Timestamp, actor: Actor, operation: Operation) -> Result<Applied, Problem> {
        self.store().execute(Command { actor, at, rules: Arc::clone(&self.rules), operation }).await
    }

    async fn run(&self, actor: Actor, operation: Operation) -> Result<Applied, Problem> {
        self.run_at(NOW, actor, operation).await
    }

    async fn add(&self, identifier: Identifier, pairs: &[(&str, &str)]) {
        let add = Operation::AddMember { identifier, attributes: attributes(pairs) };
        self.run(Actor::Operator, add).await.unwrap();
    }

    async fn ticket(&self, at: Timestamp, seconds: u64, uses: u32) -> (Code, Reference) {
        let code = Code::generate().unwrap();
        let reference: Reference = format!("{:016x}", rand()).parse().unwrap();
        let ticket = Ticket {
            reference: reference.clone(),
            attributes: attributes(&[("a", "b")]),
            issued_by: self.root.identity.identifier(),
            created_at: at,
            expires_at: at.after(seconds),
            uses_left: uses,
        };
        let lookup = code.lookup(&self.store().authority());
        self.run_at(at, Actor::Operator, Operation::MakeTicket { lookup, ticket }).await.unwrap();
        (code, reference)
    }

    async fn redeem(&self, at: Timestamp, person: &Person, code: &Code) -> Result<Applied, Problem> {
        let lookup = code.lookup(&self.store().authority());
        let history = KnownHistory::from(&person.identity);
        let actor = Actor::Identity(person.identity.identifier());
        self.run_at(at, actor, Operation::Redeem { lookup, history }).await
    }

    fn lines(&self) -> Vec<String> {
        audit::export(Arc::clone(&self.held.store)).map(Result::unwrap).collect()
    }
}

fn rand() -> u64 {
    let bytes = vault::SecretBytes::random(8).unwrap();
    u64::from_be_bytes(*bytes.expose_array().unwrap())
}

fn id(n: u64) -> Identifier {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Identifier::from_bytes(bytes)
}

macro_rules! on_every_store {
    ($($name:ident;)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::common::memory).await; })*
        }
        mod on_disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::common::rocks).await; })*
        }
    };
}

on_every_store! {
    what_was_answered_can_be_read;
    pages_cover_everything_once;
    many_writers_at_once_lose_nothing;
    a_refused_command_changes_nothing_but_the_log;
    a_ticket_is_good_until_its_end_and_not_at_it;
    no_good_codes_are_answered_alike;
    a_member_spends_no_ticket;
    a_revoked_ticket_is_gone;
    old_tickets_are_swept;
    newer_histories_replace_and_older_are_refused;
    a_contradiction_is_kept_and_blocks_until_it_is_decided;
    an_intent_stays_an_orphan_until_it_is_recorded;
    intents_about_what_has_changed_are_not_kept;
    pre_trusted_members_are_replaced_as_a_whole;
    everything_deletable_is_deleted;
    refusals_are_recorded_within_a_bound;
    a_ticket_of_another_authority_is_worth_nothing;
}

async fn what_was_answered_can_be_read(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    for n in 0..20 {
        f.add(id(n), &[("n", &n.to_string())]).await;
        let member = query::member(f.store().view().unwrap(), &id(n)).unwrap().unwrap();
        assert_eq!(member.attributes.get("n"), Some(n.to_string().as_str()));
        assert_eq!((member.added_at, member.pre_trusted), (NOW, false));
        assert_eq!(member.added_by, f.root.identity.identifier());
    }
    f.add(id(3), &[("n", "other")]).await;
    let member = query::member(f.store().view().unwrap(), &id(3)).unwrap().unwrap();
    assert_eq!(member.attributes, attributes(&[("n", "other")]));
    f.run(Actor::Operator, Operation::DeleteMember(id(3))).await.unwrap();
    assert!(query::member(f.store().view().unwrap(), &id(3)).unwrap().is_none());
    let gone = f.run(Actor::Operator, Operation::DeleteMember(id(3))).await.unwrap_err();
    assert_eq!(gone.code(), "not-found");
    audit::verify(f.lines(), Some(&audit::head(f.store()).unwrap())).unwrap();
}

async fn pages_cover_everything_once(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    for n in (0..25).rev() {
        f.add(id(n), &[]).await;
    }
    for limit in [1, 7, 25, 26, MAX_PAGE + 1, 0] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = query::members(f.store().view().unwrap(), after.as_ref(), limit).unwrap();
            assert!(page.items.len() <= limit.max(1));
            seen.extend(page.items.into_iter().map(|member| member.identifier));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).map(id).collect::<Vec<_>>(), "in pages of {limit}");
    }
}

async fn many_writers_at_once_lose_nothing(held: fn(Identifier) -> Held) {
    let f = Arc::new(Fixture::new(held).await);
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let f = Arc::clone(&f);
            tokio::spawn(async move { f.add(id(n), &[("n", &n.to_string())]).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let page = query::members(f.store().view().unwrap(), None, MAX_PAGE).unwrap();
    assert_eq!(page.items.len(), 400);
    let proof = audit::verify(f.lines(), None).unwrap();
    assert_eq!(proof.rows(), 401);
    assert_eq!(*proof.head(), audit::head(f.store()).unwrap());
}

async fn a_refused_command_changes_nothing_but_the_log(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    f.add(id(1), &[]).await;
    let before = f.lines().len();
    let add = Operation::AddMember { identifier: id(2), attributes: attributes(&[]) };
    for actor in [id(1), id(9)] {
        assert_eq!(f.run(Actor::Identity(actor), add.clone()).await.unwrap_err().code(), "forbidden");
    }
    assert!(query::member(f.store().view().unwrap(), &id(2)).unwrap().is_none());
    let lines = f.lines();
    assert_eq!(lines.len(), before + 2);
    assert!(lines[before].contains(&id(2).to_string()) && lines[before].contains(r#""outcome":"forbidden""#));
}

async fn a_ticket_is_good_until_its_end_and_not_at_it(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let (code, reference) = f.ticket(NOW, 600, 5).await;
    let (one, two) = (person(&f.vault).await, person(&f.vault).await);
    f.redeem(NOW.after(599), &one, &code).await.unwrap();
    assert_eq!(f.redeem(NOW.after(600), &two, &code).await.unwrap_err().code(), "forbidden");
    assert_eq!(query::ticket(f.store().view().unwrap(), &reference).unwrap().unwrap().uses_left, 4);
    let view = f.store().view().unwrap();
    let member = query::member(view, &one.identity.identifier()).unwrap().unwrap();
    assert_eq!(
        (member.attributes, member.added_by),
        (attributes(&[("a", "b")]), f.root.identity.identifier())
    );
    let known = query::history(view, &one.identity.identifier()).unwrap().unwrap();
    assert_eq!(known.as_bytes(), one.identity.as_bytes());
}

async fn no_good_codes_are_answered_alike(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let (used, _) = f.ticket(NOW, 600, 1).await;
    f.redeem(NOW, &person(&f.vault).await, &used).await.unwrap();
    let (expired, _) = f.ticket(NOW, 1, 1).await;
    let (revoked, reference) = f.ticket(NOW, 600, 1).await;
    f.run(Actor::Operator, Operation::RevokeTicket(reference)).await.unwrap();
    let mut answers = Vec::new();
    for code in [&used, &expired, &revoked, &Code::generate().unwrap()] {
        answers.push(f.redeem(NOW.after(60), &person(&f.vault).await, code).await.unwrap_err());
    }
    assert!(answers.iter().all(|answer| *answer == Problem::Forbidden("unknown enrollment token".into())));
    // No code has come into the log.
    let log = f.lines().join("\n");
    for code in [&used, &expired, &revoked] {
        assert!(!log.contains(code.expose_hex().as_str()));
        assert!(!log.contains(&hex::encode(code.lookup(&f.store().authority()))));
    }
}

async fn a_member_spends_no_ticket(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let (code, reference) = f.ticket(NOW, 600, 2).await;
    let one = person(&f.vault).await;
    f.redeem(NOW, &one, &code).await.unwrap();
    for code in [&code, &Code::generate().unwrap()] {
        let problem = f.redeem(NOW, &one, code).await.unwrap_err();
        assert_eq!(problem, Problem::Conflict("already a member".into()));
    }
    assert_eq!(query::ticket(f.store().view().unwrap(), &reference).unwrap().unwrap().uses_left, 1);
}

async fn a_revoked_ticket_is_gone(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let (_, one) = f.ticket(NOW, 600, 1).await;
    let (_, two) = f.ticket(NOW, 600, 1).await;
    f.run(Actor::Operator, Operation::RevokeTicket(one.clone())).await.unwrap();
    let page = query::tickets(f.store().view().unwrap(), None, 10).unwrap();
    assert_eq!(page.items.iter().map(|ticket| &ticket.reference).collect::<Vec<_>>(), [&two]);
    assert_eq!(f.run(Actor::Operator, Operation::RevokeTicket(one)).await.unwrap_err().code(), "not-found");
}

async fn old_tickets_are_swept(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    for _ in 0..6 {
        f.ticket(NOW, 600, 1).await;
    }
    let count = || query::tickets(f.store().view().unwrap(), None, 100).unwrap().items.len();
    f.ticket(NOW.after(7 * DAY + 599), 600, 1).await;
    assert_eq!(count(), 7, "for a week they are still listed");
    f.ticket(NOW.after(7 * DAY + 600), 600, 1).await;
    f.ticket(NOW.after(7 * DAY + 600), 600, 1).await;
    assert_eq!(count(), 3);
}

async fn newer_histories_replace_and_older_are_refused(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let old = person(&f.vault).await;
    let identifier = old.identity.identifier();
    let actor = Actor::Identity(identifier);
    let new = rotated(&old, &f.vault, NOW.after(10)).await;
    let show = |identity: &Identity| Operation::KeepHistory(KnownHistory::from(identity));
    let known = || query::history(f.store().view().unwrap(), &identifier).unwrap();

    assert_eq!(f.run(actor, show(&old.identity)).await.unwrap(), Applied::default());
    assert!(known().is_none(), "of strangers nothing is kept");
    f.add(identifier, &[]).await;
    assert_eq!(f.run(actor, show(&old.identity)).await.unwrap().changed, 1);
    assert_eq!(f.run(actor, show(&old.identity)).await.unwrap().changed, 0);
    assert_eq!(f.run(actor, show(&new.identity)).await.unwrap().changed, 1);
    assert_eq!(f.run(actor, show(&old.identity)).await.unwrap_err().code(), "unauthenticated");
    assert_eq!(known().unwrap().as_bytes(), new.identity.as_bytes());
    assert_eq!((known().unwrap().len(), known().unwrap().is_empty()), (2, false));
    // Being deleted does not make an old key good again.
    f.run(Actor::Operator, Operation::DeleteMember(identifier)).await.unwrap();
    assert_eq!(f.run(actor, show(&old.identity)).await.unwrap_err().code(), "unauthenticated");
    let (code, _) = f.ticket(NOW, 600, 1).await;
    assert_eq!(f.redeem(NOW, &old, &code).await.unwrap_err().code(), "unauthenticated");
    f.redeem(NOW, &new, &code).await.unwrap();
}

async fn a_contradiction_is_kept_and_blocks_until_it_is_decided(held: fn(Identifier) -> Held) {
    for decision in [Decision::KeepKnown, Decision::TakeShown] {
        let f = Fixture::new(held).await;
        let first = person(&f.vault).await;
        let identifier = first.identity.identifier();
        let actor = Actor::Identity(identifier);
        let (one, two) = (rotated(&first, &f.vault, NOW).await, rotated(&first, &f.vault, NOW).await);
        let show = |person: &Person| Operation::KeepHistory(KnownHistory::from(&person.identity));
        let decide = |decision| Operation::ResolveConflict(identifier, decision);
        let known = || query::history(f.store().view().unwrap(), &identifier).unwrap().unwrap();
        let conflict = || query::conflict(f.store().view().unwrap(), &identifier).unwrap().unwrap();
        f.add(identifier, &[]).await;
        let none = f.run(Actor::Operator, decide(decision)).await;
        assert_eq!(none.unwrap_err().code(), "not-found");
        f.run(actor, show(&one)).await.unwrap();
        assert!(f.run(actor, show(&two)).await.unwrap().conflict);
        let evidence = conflict();
        assert_eq!(evidence.known.as_bytes(), one.identity.as_bytes());
        assert_eq!(evidence.shown.as_bytes(), two.identity.as_bytes());
        assert_eq!((evidence.at, evidence.decided), (NOW, None));
        let listed = query::conflicts(f.store().view().unwrap(), None, 9).unwrap().items;
        assert_eq!(listed, std::slice::from_ref(&evidence));
        for person in [&one, &two] {
            assert_eq!(f.run(actor, show(person)).await.unwrap_err().code(), "forbidden");
        }

        let applied = f.run(Actor::Operator, decide(decision)).await.unwrap();
        assert_eq!(applied, Applied { changed: 1, ..Applied::default() });
        let (good, bad) = match decision {
            Decision::KeepKnown => (&one, &two),
            Decision::TakeShown => (&two, &one),
        };
        f.run(actor, show(good)).await.unwrap();
        assert_eq!(known().as_bytes(), good.identity.as_bytes());
        // The evidence stays.
        assert_eq!(conflict(), Conflict { decided: Some(Decided { decision, at: NOW }), ..evidence.clone() });
        // What was decided against, what goes on from it, and whatever else the old key signs: all of it is refused, and
        // none of it blocks whoever goes on from the other.
        let (further, more) = (rotated(bad, &f.vault, NOW).await, rotated(&first, &f.vault, NOW).await);
        for person in [bad, &further, &more] {
            assert_eq!(f.run(actor, show(person)).await.unwrap_err().code(), "forbidden");
            f.run(actor, show(good)).await.unwrap();
        }
        let next = rotated(good, &f.vault, NOW).await;
        f.run(actor, show(&next)).await.unwrap();
        // What both go on from is older, and no other way.
        for older in [good, &first] {
            assert_eq!(f.run(actor, show(older)).await.unwrap_err().code(), "unauthenticated", "older");
        }
        // The same decision once more goes back to nothing older.
        f.run(Actor::Operator, decide(decision)).await.unwrap();
        assert_eq!(known().as_bytes(), next.identity.as_bytes());
        // A decision can be changed.
        let other = match decision {
            Decision::KeepKnown => Decision::TakeShown,
            Decision::TakeShown => Decision::KeepKnown,
        };
        f.run(Actor::Operator, decide(other)).await.unwrap();
        assert_eq!(known().as_bytes(), bad.identity.as_bytes());
        f.run(actor, show(&further)).await.unwrap();
        assert_eq!(f.run(actor, show(&next)).await.unwrap_err().code(), "forbidden");
        // A fork after what was decided is another conflict.
        let (a, b) = (rotated(&further, &f.vault, NOW).await, rotated(&further, &f.vault, NOW).await);
        f.run(actor, show(&a)).await.unwrap();
        assert!(f.run(actor, show(&b)).await.unwrap().conflict);
        assert_eq!(conflict().decided, None);
        assert_eq!(f.run(actor, show(&a)).await.unwrap_err().code(), "forbidden");
        assert!(f.lines().iter().any(|line| line.contains(r#""outcome":"conflict""#)));
    }
}

fn intent(subject: Identifier, hash: u8, expires_at: Timestamp) -> Intent {
    Intent { hash: [hash; 32], subject, attributes: attributes(&[]), expires_at }
}

async fn an_intent_stays_an_orphan_until_it_is_recorded(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    f.add(id(1), &[]).await;
    let actor = Actor::Identity(id(1));
    let orphans = || {
        let page = query::orphans(f.store().view().unwrap(), None, 9).unwrap();
        page.items.into_iter().map(|orphan| orphan.hash[0]).collect::<Vec<_>>()
    };
    // The first is asked for twice, as two requests of one second do.
    for hash in [1, 1, 2, 3] {
        f.run(actor, Operation::Intend(intent(id(1), hash, NOW.after(60)))).await.unwrap();
    }
    assert_eq!(orphans(), [1, 2, 3]);
    let one = Applied { changed: 1, ..Applied::default() };
    assert_eq!(f.run(actor, Operation::Issued([1; 32])).await.unwrap(), one);
    f.run(actor, Operation::Issued([2; 32])).await.unwrap();
    assert_eq!(orphans(), [1, 3]);
    assert_eq!(f.run(actor, Operation::Abandon([1; 32])).await.unwrap(), one);
    assert_eq!(orphans(), [3]);
    assert!(query::issued(f.store().view().unwrap(), &[1; 32]).unwrap().is_some());
    assert!(query::issued(f.store().view().unwrap(), &[3; 32]).unwrap().is_none());
    for operation in [Operation::Issued([9; 32]), Operation::Abandon([2; 32])] {
        assert_eq!(f.run(actor, operation).await.unwrap_err().code(), "not-found");
    }
    // A week after they expired they are swept, with the next one.
    let late = NOW.after(60 + 7 * DAY);
    let before = Timestamp(late.0 - 1);
    f.run_at(before, actor, Operation::Intend(intent(id(1), 4, late.after(60)))).await.unwrap();
    assert_eq!(orphans(), [3, 4]);
    assert!(query::issued(f.store().view().unwrap(), &[1; 32]).unwrap().is_some());
    f.run_at(late, actor, Operation::Intend(intent(id(1), 5, late.after(60)))).await.unwrap();
    assert_eq!(orphans(), [4, 5]);
    assert!(query::issued(f.store().view().unwrap(), &[1; 32]).unwrap().is_none());
    audit::verify(f.lines(), None).unwrap();
}

async fn intents_about_what_has_changed_are_not_kept(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    f.add(id(1), &[("a", "now")]).await;
    let mut wrong = intent(id(1), 1, NOW.after(60));
    let actor = Actor::Identity(id(1));
    assert_eq!(f.run(actor, Operation::Intend(wrong.clone())).await.unwrap().changed, 0);
    wrong.attributes = attributes(&[("a", "now")]);
    assert_eq!(f.run(actor, Operation::Intend(wrong.clone())).await.unwrap().changed, 1);
    // Nobody has a credential made about somebody else.
    f.add(id(2), &[("a", "now")]).await;
    let other = f.run(Actor::Identity(id(2)), Operation::Intend(wrong)).await.unwrap_err();
    assert_eq!(other.code(), "forbidden");
    let stranger = f.run(Actor::Identity(id(3)), Operation::Intend(intent(id(3), 2, NOW))).await.unwrap_err();
    assert_eq!(stranger, Problem::Forbidden("unauthorized member".into()));
}

async fn pre_trusted_members_are_replaced_as_a_whole(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    f.add(id(2), &[("was", "added")]).await;
    let load = |ids: &[u64]| Operation::LoadPreTrusted(ids.iter().map(|n| (id(*n), enroller())).collect());
    let present = || {
        let page = query::members(f.store().view().unwrap(), None, MAX_PAGE).unwrap();
        page.items.into_iter().map(|member| (member.identifier, member.pre_trusted)).collect::<Vec<_>>()
    };
    let many: Vec<u64> = (1000..1600).collect();
    f.run(Actor::Operator, load(&many)).await.unwrap();
    assert_eq!(f.run(Actor::Operator, load(&[1, 2])).await.unwrap().changed, 602);
    assert_eq!(present(), [(id(1), true), (id(2), true)]);
    assert_eq!(f.run(Actor::Operator, load(&[1, 2])).await.unwrap().changed, 0);
    // Neither the operator nor anybody else deletes one; replacing leaves it pre-trusted.
    assert_eq!(f.run(Actor::Operator, Operation::DeleteMember(id(1))).await.unwrap_err().code(), "forbidden");
    f.add(id(1), &[]).await;
    assert_eq!(present(), [(id(1), true), (id(2), true)]);
    // The next start puts back what it gives them, and takes in whoever has the same from elsewhere.
    f.add(id(3), &[("ockam-role", "enroller")]).await;
    assert_eq!(f.run(Actor::Operator, load(&[1, 2, 3])).await.unwrap().changed, 2);
    assert_eq!(present(), [(id(1), true), (id(2), true), (id(3), true)]);
    let member = query::member(f.store().view().unwrap(), &id(1)).unwrap().unwrap();
    assert_eq!(member.attributes, enroller());
    assert_eq!(f.run(Actor::Identity(id(2)), load(&[])).await.unwrap_err().code(), "forbidden");
    f.run(Actor::Operator, load(&[])).await.unwrap();
    assert_eq!(present(), []);
}

async fn everything_deletable_is_deleted(held: fn(Identifier) -> Held) {
    let mut f = Fixture::new(held).await;
    f.rules = Arc::new(Rules { enforce_admin: true, ..Rules::default() });
    f.run(Actor::Operator, Operation::LoadPreTrusted([(id(0), attributes(&[]))].into())).await.unwrap();
    f.add(id(1), &[("ockam-role", "enroller")]).await;
    f.add(id(2), &[("ockam-role", "enroller")]).await;
    for n in 3..600 {
        f.add(id(n), &[]).await;
    }
    let (mut deleted, mut after, mut turns) = (0, None, 0);
    loop {
        let applied = f.run(Actor::Identity(id(1)), Operation::DeleteMembers { after }).await.unwrap();
        (deleted, after, turns) = (deleted + applied.changed, applied.next, turns + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((deleted, turns), (597, 3));
    let left = query::members(f.store().view().unwrap(), None, MAX_PAGE).unwrap().items;
    assert_eq!(left.iter().map(|member| member.identifier).collect::<Vec<_>>(), [id(0), id(1), id(2)]);
}

async fn refusals_are_recorded_within_a_bound(held: fn(Identifier) -> Held) {
    let f = Fixture::new(held).await;
    let before = f.lines().len();
    let refused = Operation::Refused(Action::ListMembers, "forbidden");
    let bound = usize::try_from(audit::MAX_REFUSALS_AN_HOUR).unwrap();
    // From the first second of an hour to the last: the hour counts, however they are spread over it.
    let hour = Timestamp((NOW.0 / 3600 + 1) * 3600);
    for n in 0..bound as u64 + 50 {
        f.run_at(hour.after(n.min(3599)), Actor::Identity(id(1)), refused.clone()).await.unwrap();
    }
    f.run_at(hour.after(3599), Actor::Identity(id(1)), refused.clone()).await.unwrap();
    let lines = f.lines();
    assert_eq!(lines.len(), before + bound + 1);
    assert!(lines.last().unwrap().contains("further refusals"));
    // What is done is recorded all the same, and the next hour begins anew.
    let add = Operation::AddMember { identifier: id(1), attributes: attributes(&[]) };
    f.run_at(hour.after(3599), Actor::Operator, add).await.unwrap();
    f.run_at(hour.after(3600), Actor::Identity(id(1)), refused).await.unwrap();
    assert_eq!(f.lines().len(), before + bound + 3);
    audit::verify(f.lines(), None).unwrap();
}

async fn a_ticket_of_another_authority_is_worth_nothing(held: fn(Identifier) -> Held) {
    let (here, there) = (Fixture::new(held).await, Fixture::new(held).await);
    let (code, _) = here.ticket(NOW, 600, 1).await;
    let somebody = person(&here.vault).await;
    assert_eq!(there.redeem(NOW, &somebody, &code).await.unwrap_err().code(), "forbidden");
    here.redeem(NOW, &somebody, &code).await.unwrap();
}
