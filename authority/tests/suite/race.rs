//! Many redeem one ticket at once: it is spent exactly as often as it may be, on every store. The control, which looks first
//! and deletes later, spends more and so fails the same check.

use std::sync::Arc;

use crate::common::{Held, NOW, World, attributes};
use authority::authz::{Actor, Rules};
use authority::service::Caller;
use authority::store::{Command, Operation, Store, query};
use authority::ticket::{Code, NewTicket, Reference};
use identity::Identifier;
use tokio::sync::Barrier;

const TICKETS: usize = 300;
const REDEEMERS: usize = 8;

/// A ticket, how often it may be used, and who tries to.
struct Contest {
    code: Code,
    reference: Reference,
    uses: u32,
    callers: Vec<Caller>,
}

async fn contests(world: &World, uses: impl Fn(usize) -> u32) -> Vec<Contest> {
    let enroller = world.enroller().await;
    let mut contests = Vec::with_capacity(TICKETS);
    for number in 0..TICKETS {
        let uses = uses(number);
        let new = NewTicket::new(attributes(&[("n", &number.to_string())]), None, Some(uses)).unwrap();
        let made = world.authority.make_ticket(&enroller, new).await.unwrap();
        let mut callers = Vec::with_capacity(REDEEMERS);
        for _ in 0..REDEEMERS {
            callers.push(world.stranger().await.1);
        }
        contests.push(Contest { code: made.code, reference: made.ticket.reference, uses, callers });
    }
    contests
}

/// How often each ticket was redeemed, beside how often it might have been.
type Results = Vec<(u32, u32)>;

fn spent_exactly(results: &Results) -> bool {
    results.iter().all(|(uses, spent)| uses == spent)
}

async fn race<F, R>(world: &Arc<World>, contests: Vec<Contest>, redeem: F) -> Results
where
    F: Fn(Arc<World>, Arc<Contest>, Caller) -> R + Copy + Send + 'static,
    R: Future<Output = bool> + Send,
{
    let mut tasks = Vec::new();
    for contest in contests {
        let contest = Arc::new(contest);
        let barrier = Arc::new(Barrier::new(REDEEMERS));
        let racers = contest.callers.iter().map(|caller| {
            let (world, contest, barrier) = (Arc::clone(world), Arc::clone(&contest), Arc::clone(&barrier));
            let caller = caller.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                redeem(world, contest, caller).await
            })
        });
        tasks.push((contest.uses, racers.collect::<Vec<_>>()));
    }
    let mut results = Vec::new();
    for (uses, racers) in tasks {
        let mut spent = 0;
        for racer in racers {
            spent += u32::from(racer.await.unwrap());
        }
        results.push((uses, spent));
    }
    results
}

async fn each_ticket_is_spent_exactly(held: fn(Identifier) -> Held) {
    let world = Arc::new(World::new(held).await);
    let contests = contests(&world, |number| 1 + u32::try_from(number % 3).unwrap()).await;
    let references: Vec<_> = contests.iter().map(|contest| contest.reference.clone()).collect();
    let allowed: u32 = contests.iter().map(|contest| contest.uses).sum();
    let results = race(&world, contests, |world, contest, caller| async move {
        match world.authority.enrol(&caller, &contest.code).await {
            Ok(()) => true,
            Err(problem) => {
                assert_eq!(problem.to_string(), "unknown enrollment token");
                false
            }
        }
    })
    .await;
    assert!(spent_exactly(&results), "{results:?}");

    // What the state says agrees with what was answered.
    let view = world.held.store.view().unwrap();
    for reference in &references {
        assert_eq!(query::ticket(view, reference).unwrap().unwrap().uses_left, 0);
    }
    let (mut members, mut after) = (0, None);
    loop {
        let page = query::members(view, after.as_ref(), 1000).unwrap();
        members += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(members, usize::try_from(allowed).unwrap() + 1, "and the enroller");
    let lines = world.audit_lines();
    let enrolled = lines
        .iter()
        .filter(|line| line.contains(r#""action":"enrol""#) && line.contains(r#""outcome":"done""#));
    assert_eq!(enrolled.count(), usize::try_from(allowed).unwrap());
    authority::audit::verify(&lines, None).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_ticket_is_spent_exactly_in_memory() {
    each_ticket_is_spent_exactly(crate::common::memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_ticket_is_spent_exactly_on_disk() {
    each_ticket_is_spent_exactly(crate::common::rocks).await;
}

/// The broken way: look whether there is a ticket, add the member, delete the ticket.
async fn select_then_delete(store: &dyn Store, reference: &Reference, redeemer: Identifier) -> bool {
    let found = query::ticket(store.view().unwrap(), reference).unwrap();
    let Some(ticket) = found else { return false };
    let command =
        |operation| Command { actor: Actor::Operator, at: NOW, rules: Arc::new(Rules::default()), operation };
    let add = Operation::AddMember { identifier: redeemer, attributes: ticket.attributes };
    store.execute(command(add)).await.unwrap();
    // Whether somebody else deleted it first is not looked at: that is what is broken.
    let _ = store.execute(command(Operation::RevokeTicket(reference.clone()))).await;
    true
}

async fn the_control_overspends(held: fn(Identifier) -> Held) {
    let world = Arc::new(World::new(held).await);
    let contests = contests(&world, |_| 1).await;
    let results = race(&world, contests, |world, contest, caller| async move {
        select_then_delete(&*world.held.store, &contest.reference, caller.identifier()).await
    })
    .await;
    assert!(!spent_exactly(&results), "the check does not notice a ticket that is spent twice");
    assert!(results.iter().all(|(_, spent)| *spent >= 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_control_overspends_in_memory() {
    the_control_overspends(crate::common::memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_control_overspends_on_disk() {
    the_control_overspends(crate::common::rocks).await;
}
