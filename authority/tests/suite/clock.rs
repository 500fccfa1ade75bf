//! A clock that is wrong: what expired stays expired, while the authority runs and over a restart.

use std::sync::Arc;

use authority::Problem;
use authority::authz::Actor;
use authority::service::{Authority, Settings, accept_clock, clock_is_behind};
use authority::store::{Command, KnownHistory, Operation};
use authority::ticket::NewTicket;
use identity::{ManualClock, Timestamp};

use crate::common::{NOW, World, attributes, issuer, rocks};

const HOUR: u64 = 3600;
const TEN_YEARS: u64 = 10 * 365 * 86_400;

fn a_ticket() -> NewTicket {
    NewTicket::new(attributes(&[]), None, None).unwrap()
}

fn refused<T>(answer: Result<T, Problem>) -> &'static str {
    answer.err().map_or("not refused", |problem| problem.code())
}

/// A running authority, a ticket that expired a second ago, and the clock set back.
async fn expired_ticket_after_a_step(back: u64) -> (&'static str, bool) {
    let world = World::new(rocks).await;
    let issued = world.authority.make_ticket(&world.enroller().await, a_ticket()).await.unwrap();
    let (_, stranger) = world.stranger().await;
    world.clock.set(issued.ticket.expires_at);
    assert_eq!(refused(world.authority.enrol(&stranger, &issued.code).await), "forbidden");
    world.clock.set(Timestamp(issued.ticket.expires_at.0.saturating_sub(back)));
    (refused(world.authority.enrol(&stranger, &issued.code).await), world.authority.trusts_clock())
}

#[tokio::test]
async fn a_step_back_revives_no_ticket() {
    for back in [1, 30, 60] {
        assert_eq!(expired_ticket_after_a_step(back).await, ("forbidden", true), "back by {back}");
    }
    for back in [61, HOUR, TEN_YEARS, NOW.0 + HOUR] {
        assert_eq!(expired_ticket_after_a_step(back).await, ("unavailable", false), "back by {back}");
    }
}

#[tokio::test]
async fn control_a_clock_that_is_believed_revives_a_ticket() {
    let world = World::new(rocks).await;
    let issued = world.authority.make_ticket(&world.enroller().await, a_ticket()).await.unwrap();
    let (person, _) = world.stranger().await;
    let redeem = |at| Command {
        actor: Actor::Identity(person.identity.identifier()),
        at,
        rules: Arc::default(),
        operation: Operation::Redeem {
            lookup: issued.code.lookup(&world.authority.identifier()),
            history: KnownHistory::from(&person.identity),
        },
    };
    let end = issued.ticket.expires_at;
    assert_eq!(refused(world.held.store.execute(redeem(end)).await), "forbidden");
    // The store itself believes the time that it is told: whoever told it the clock's would revive the ticket.
    assert_eq!(refused(world.held.store.execute(redeem(Timestamp(end.0 - 30))).await), "not refused");
}

#[tokio::test]
async fn what_does_not_hang_on_the_time_is_still_done() {
    let world = World::new(rocks).await;
    let (enroller, (member, caller)) = (world.enroller().await, world.member(&[]).await);
    let issued = world.authority.make_ticket(&enroller, a_ticket()).await.unwrap();
    world.clock.set(Timestamp(NOW.0 - HOUR));
    assert_eq!(refused(world.authority.credential(&caller).await), "unavailable");
    assert_eq!(refused(world.authority.make_ticket(&enroller, a_ticket()).await), "unavailable");
    assert!(!world.authority.status(&enroller).await.unwrap().clock_trusted);
    world.authority.revoke_ticket(&enroller, &issued.ticket.reference).await.unwrap();
    world.authority.delete_member(&enroller, &member.identity.identifier()).await.unwrap();
    let times: Vec<_> = world.audit_lines().iter().map(|line| at(line)).collect();
    assert!(times.is_sorted(), "the log's times do not go back: {times:?}");
    world.clock.set(NOW.after(1));
    assert_eq!(refused(world.authority.credential(&caller).await), "forbidden", "deleted, and trusted again");
}

fn at(line: &str) -> u64 {
    let (_, rest) = line.split_once("\"at\":").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn a_restart_forgets_no_time_and_an_operator_may() {
    let World { authority, held, root, credential_key, clock, vault: _vault, enroller } =
        World::new(rocks).await;
    let enrolling = authority.meet(enroller.identity.clone()).await.unwrap();
    // Somebody set the clock ahead, and something was done then.
    clock.set(NOW.after(TEN_YEARS));
    authority
        .add_member(&enrolling, enroller.identity.identifier(), crate::common::enroller())
        .await
        .unwrap();
    drop(authority);
    let clock = Arc::new(ManualClock::new(NOW));
    assert_eq!(clock_is_behind(&*held.store, &*clock).unwrap(), Some(NOW.after(TEN_YEARS)));
    let open = async || {
        let keys = issuer(&root, &credential_key, NOW).await;
        let settings = Settings::new("project-1");
        Authority::open(Arc::clone(&held.store), keys, settings, clock.clone()).await.unwrap()
    };
    let again = open().await;
    assert!(!again.trusts_clock());
    assert_eq!(again.now(), NOW.after(TEN_YEARS));
    drop(again);
    // Within the skew, and beyond it.
    clock.set(Timestamp(NOW.0 + TEN_YEARS - 60));
    assert_eq!(clock_is_behind(&*held.store, &*clock).unwrap(), None);
    clock.set(Timestamp(NOW.0 + TEN_YEARS - 61));
    assert!(clock_is_behind(&*held.store, &*clock).unwrap().is_some());
    clock.set(NOW);
    accept_clock(&*held.store, &*clock).await.unwrap();
    assert_eq!(clock_is_behind(&*held.store, &*clock).unwrap(), None);
    let again = open().await;
    assert_eq!((again.now(), again.trusts_clock()), (NOW, true));
    let line = authority::audit::export(Arc::clone(&held.store)).map(Result::unwrap);
    let line = line.filter(|line| line.contains("clock-accept")).last().unwrap();
    assert!(line.contains(&format!("instead of {}", NOW.after(TEN_YEARS))), "{line}");
}
