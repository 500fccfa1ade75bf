//! Idempotency keys: what is asked for again under one key is done once and answered alike, on both stores.

use std::sync::Arc;

use authority::Problem;
use authority::once::{MAX_RECEIPTS, RECEIPT_SECONDS};
use authority::service::Caller;
use authority::store::{Store, query};
use authority::ticket::{Code, NewTicket};
use identity::Identifier;

use crate::common::{Failing, Held, NOW, World, attributes, memory};

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
    what_is_asked_again_is_answered_alike_and_done_once;
    anything_else_under_a_key_is_refused;
    a_refusal_leaves_no_receipt;
    nobody_meets_the_receipts_of_another;
    whoever_may_no_longer_gets_no_earlier_answer;
    many_at_once_under_one_key_have_one_effect;
    receipts_are_bounded_in_number;
    receipts_are_bounded_in_age;
    deleting_many_is_counted_once;
}

fn under(caller: &Caller, key: &str) -> Caller {
    asking(caller, key, 1)
}

/// A caller who asks for something else with each `request`.
fn asking(caller: &Caller, key: &str, request: u8) -> Caller {
    caller.clone().once(key, [request; 32]).unwrap()
}

fn ticket() -> NewTicket {
    NewTicket::new(attributes(&[("a", "b")]), Some(60), Some(1)).unwrap()
}

fn tickets(store: &dyn Store) -> usize {
    query::tickets(store.view().unwrap(), None, 1000).unwrap().items.len()
}

fn done(world: &World, action: &str) -> usize {
    let action = format!(r#""action":"{action}""#);
    let lines = world.audit_lines();
    lines.iter().filter(|line| line.contains(&action) && line.contains(r#""outcome":"done""#)).count()
}

async fn what_is_asked_again_is_answered_alike_and_done_once(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let enroller = world.enroller().await;
    let authority = &world.authority;
    let made = authority.make_ticket(&under(&enroller, "ticket"), ticket()).await.unwrap();
    world.clock.set(NOW.after(5));
    let again = authority.make_ticket(&under(&enroller, "ticket"), ticket()).await.unwrap();
    assert_eq!(made.ticket, again.ticket);
    assert_eq!(*made.code.expose_hex(), *again.code.expose_hex());
    assert_eq!(tickets(&*world.held.store), 1);

    let (_, stranger) = world.stranger().await;
    for _ in 0..3 {
        authority.enrol(&under(&stranger, "enrol"), &made.code).await.unwrap();
    }
    let other = authority.enrol(&under(&stranger, "another"), &made.code).await.unwrap_err();
    assert_eq!(other, Problem::Conflict("already a member".into()));

    let first = authority.credential(&under(&stranger, "credential")).await.unwrap();
    world.clock.set(NOW.after(100));
    let second = authority.credential(&under(&stranger, "credential")).await.unwrap();
    assert_eq!(first.encode().unwrap(), second.encode().unwrap());
    let fresh = authority.credential(&under(&stranger, "fresh")).await.unwrap();
    assert_ne!(first.encode().unwrap(), fresh.encode().unwrap());

    let member = stranger.identifier();
    for _ in 0..2 {
        authority.delete_member(&under(&enroller, "delete"), &member).await.unwrap();
        authority.revoke_ticket(&under(&enroller, "revoke"), &made.ticket.reference).await.unwrap();
    }
    let gone = authority.delete_member(&under(&enroller, "anew"), &member).await.unwrap_err();
    assert_eq!(gone.code(), "not-found");
    for (action, times) in [
        ("ticket-make", 1),
        ("enrol", 1),
        ("credential-issue", 2),
        ("member-delete", 1),
        ("ticket-revoke", 1),
    ] {
        assert_eq!(done(&world, action), times, "{action}");
    }
    // Neither the code nor the key is in what is stored: with the salt alone nobody makes the code.
    let log = world.audit_lines().join("\n");
    assert!(!log.contains(made.code.expose_hex().as_str()));
}

async fn anything_else_under_a_key_is_refused(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let enroller = world.enroller().await;
    let authority = &world.authority;
    let id = Identifier::from_bytes([7; 32]);
    authority.add_member(&asking(&enroller, "k", 1), id, attributes(&[])).await.unwrap();
    let refused = authority.add_member(&asking(&enroller, "k", 2), id, attributes(&[("a", "b")])).await;
    assert_eq!(refused.unwrap_err(), Problem::KeyReused);
    let refused = authority.make_ticket(&asking(&enroller, "k", 3), ticket()).await;
    assert_eq!(refused.unwrap_err(), Problem::KeyReused);
    let refused = authority.credential(&asking(&enroller, "k", 4)).await;
    assert_eq!(refused.unwrap_err(), Problem::KeyReused);
    let member = query::member(world.held.store.view().unwrap(), &id).unwrap().unwrap();
    assert_eq!(member.attributes, attributes(&[]));
    assert_eq!(tickets(&*world.held.store), 0);
    let log = world.audit_lines();
    assert_eq!(log.iter().filter(|line| line.contains(r#""outcome":"conflict""#)).count(), 3);
}

async fn a_refusal_leaves_no_receipt(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let (_, stranger) = world.stranger().await;
    let authority = &world.authority;
    let refused = authority.enrol(&asking(&stranger, "k", 1), &Code::generate().unwrap()).await;
    assert_eq!(refused.unwrap_err().code(), "forbidden");
    assert_eq!(query::receipts(world.held.store.view().unwrap(), &stranger.identifier()).unwrap(), 0);
    let made = authority.make_ticket(&world.enroller().await, ticket()).await.unwrap();
    authority.enrol(&asking(&stranger, "k", 2), &made.code).await.unwrap();
    assert_eq!(query::receipts(world.held.store.view().unwrap(), &stranger.identifier()).unwrap(), 1);
}

async fn nobody_meets_the_receipts_of_another(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let authority = &world.authority;
    let ((_, one), (_, two)) = (world.member(&[("n", "1")]).await, world.member(&[("n", "2")]).await);
    for caller in [&one, &two] {
        let credential = authority.credential(&under(caller, "same")).await.unwrap();
        let bundle = authority.issuer_bundle();
        let rule = identity::Rule::default();
        identity::verify(&credential, &bundle, Some(&caller.identifier()), NOW, rule).unwrap();
    }
}

async fn whoever_may_no_longer_gets_no_earlier_answer(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let (_, member) = world.member(&[("ockam-role", "enroller")]).await;
    let authority = &world.authority;
    authority.make_ticket(&under(&member, "k"), ticket()).await.unwrap();
    authority.credential(&under(&member, "c")).await.unwrap();
    authority.delete_member(&world.enroller().await, &member.identifier()).await.unwrap();
    let refused = authority.make_ticket(&under(&member, "k"), ticket()).await.unwrap_err();
    assert_eq!(refused.code(), "forbidden");
    assert_eq!(authority.credential(&under(&member, "c")).await.unwrap_err().code(), "forbidden");
}

async fn many_at_once_under_one_key_have_one_effect(held: fn(Identifier) -> Held) {
    let world = Arc::new(World::new(held).await);
    let enroller = world.enroller().await;
    let many = |caller: Caller| {
        (0..16).map(move |_| caller.clone()).map({
            let world = Arc::clone(&world);
            move |caller| (Arc::clone(&world), caller)
        })
    };
    let mut making = tokio::task::JoinSet::new();
    for (world, caller) in many(under(&enroller, "k")) {
        making.spawn(async move {
            world.authority.make_ticket(&caller, ticket()).await.unwrap().code.expose_hex().to_string()
        });
    }
    let mut codes = making.join_all().await;
    codes.dedup();
    assert_eq!((codes.len(), tickets(&*world.held.store)), (1, 1));

    let (_, stranger) = world.stranger().await;
    let code = Arc::new(Code::from_hex(&codes[0]).unwrap());
    let mut enrolling = tokio::task::JoinSet::new();
    for (world, caller) in many(under(&stranger, "k")) {
        let code = Arc::clone(&code);
        enrolling.spawn(async move { world.authority.enrol(&caller, &code).await });
    }
    assert!(enrolling.join_all().await.iter().all(Result::is_ok));

    let mut issuing = tokio::task::JoinSet::new();
    for (world, caller) in many(under(&stranger, "c")) {
        issuing.spawn(async move { world.authority.credential(&caller).await.unwrap().encode().unwrap() });
    }
    let mut credentials = issuing.join_all().await;
    credentials.dedup();
    assert_eq!(credentials.len(), 1);
    for action in ["ticket-make", "enrol", "credential-issue", "credential-intend"] {
        assert_eq!(done(&world, action), 1, "{action}");
    }
}

async fn receipts_are_bounded_in_number(held: fn(Identifier) -> Held) {
    let world = Arc::new(World::new(held).await);
    let enroller = world.enroller().await;
    let id = Identifier::from_bytes([7; 32]);
    let add = |n: u64| {
        let (world, caller) = (Arc::clone(&world), under(&enroller, &format!("k{n}")));
        async move { world.authority.add_member(&caller, id, attributes(&[])).await.unwrap() }
    };
    add(0).await;
    let mut adding = tokio::task::JoinSet::new();
    (1..MAX_RECEIPTS).for_each(|n| drop(adding.spawn(add(n))));
    adding.join_all().await;
    let kept = || query::receipts(world.held.store.view().unwrap(), &enroller.identifier()).unwrap();
    assert_eq!(kept() as u64, MAX_RECEIPTS);
    let before = done(&world, "member-add");
    add(0).await;
    assert_eq!(done(&world, "member-add"), before, "the oldest is still there");
    add(MAX_RECEIPTS).await;
    assert_eq!(kept() as u64, MAX_RECEIPTS);
    add(0).await;
    assert_eq!(done(&world, "member-add"), before + 2, "the oldest made room");
    add(MAX_RECEIPTS).await;
    assert_eq!(done(&world, "member-add"), before + 2);
}

async fn receipts_are_bounded_in_age(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let enroller = world.enroller().await;
    let (_, member) = world.member(&[]).await;
    let id = Identifier::from_bytes([7; 32]);
    let add = async |key: &str| {
        world.authority.add_member(&under(&enroller, key), id, attributes(&[])).await.unwrap();
        done(&world, "member-add")
    };
    let kept = |of: &Caller| query::receipts(world.held.store.view().unwrap(), &of.identifier()).unwrap();
    world.authority.credential(&under(&member, "c")).await.unwrap();
    let first = add("a").await;
    world.clock.set(NOW.after(RECEIPT_SECONDS - 1));
    assert_eq!(add("a").await, first);
    world.clock.set(NOW.after(RECEIPT_SECONDS));
    assert_eq!(add("a").await, first + 1, "its time is over");
    assert_eq!((kept(&enroller), kept(&member)), (1, 0), "what is over is swept, whoever's it was");
    // A clock that goes back revives nothing and breaks nothing.
    world.clock.set(NOW);
    assert_eq!(add("a").await, first + 1);
    assert_eq!(add("b").await, first + 2);
}

async fn deleting_many_is_counted_once(held: fn(Identifier) -> Held) {
    let world = World::new(held).await;
    let enroller = world.enroller().await;
    for n in 0..300_u64 {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        world.authority.add_member(&enroller, Identifier::from_bytes(id), attributes(&[])).await.unwrap();
    }
    let delete = async |key| world.authority.delete_members(&under(&enroller, key)).await.unwrap();
    assert_eq!(delete("k").await, 300);
    world.authority.add_member(&enroller, Identifier::from_bytes([7; 32]), attributes(&[])).await.unwrap();
    assert_eq!(delete("k").await, 300);
    assert_eq!(delete("another").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_again_waits_for_the_first_even_when_that_one_went_away() {
    let failing = Failing::new();
    let world = Arc::new(World::with(memory, failing.clone(), |_| {}).await);
    let (_, member) = world.member(&[]).await;
    let gate = failing.hold();
    let ask = |request| {
        let (world, caller) = (Arc::clone(&world), asking(&member, "k", request));
        tokio::spawn(async move { world.authority.credential(&caller).await })
    };
    let first = ask(1);
    while done(&world, "credential-intend") == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let (second, other) = (ask(1), ask(2));
    gate.add_permits(100);
    second.await.unwrap().unwrap();
    assert_eq!(other.await.unwrap().unwrap_err(), Problem::KeyReused);
    assert_eq!((done(&world, "credential-intend"), done(&world, "credential-issue")), (1, 1));
}
