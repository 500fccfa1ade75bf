//! The real authority, killed with SIGKILL at uniform random moments from 0 to 400 ms after it is ready, while people enrol,
//! get credentials, make and revoke tickets, and its identity is rotated. After every start everything that was
//! acknowledged is there: no ticket is redeemed above its uses, no credential is outside the record, no start fails.
//!
//! 300 kills here; `make torture` makes them 1,000 (`OCKAM_KMS_KILLS`, for each test) and holds the time of a start against
//! its bound. The control answers what is not on the disk yet, and has to fail.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::path::PathBuf;
use std::time::Duration;

use ockam_kms_tests::crash::{Dice, Program, World};
use serde_json::Value;

/// How many kills each of the three tests does, in how many worlds at a time.
const KILLS: usize = 100;
const WORLDS: usize = 5;
/// How long a process may live after it is ready.
const LIFE: Duration = Duration::from_millis(400);
/// After how many kills the audit log is read too.
const LOG_AFTER: usize = 5;
/// How often an authority dies while it signs.
const DEATHS: usize = 8;
/// The bound of the 99th of a hundred starts, held in the long form only: it is a matter of the machine.
const START: Duration = Duration::from_secs(2);

fn long_form() -> Option<usize> {
    std::env::var("OCKAM_KMS_KILLS").ok().map(|kills| kills.parse::<usize>().unwrap().div_ceil(3))
}

/// Kills a world so many times, and says what was wrong.
fn torture(program: Program, kills: usize) -> (World, Vec<String>) {
    let (mut world, mut dice, mut wrong) = (World::new(program), Dice::new(), Vec::new());
    for round in 0..kills {
        world.start();
        wrong.extend(world.reconcile(round % LOG_AFTER == 0));
        world.live_and_die(&mut dice, LIFE);
    }
    // One life is long enough for a rotation, however busy the machine is.
    world.start();
    wrong.extend(world.reconcile(true));
    if !world.rotate() {
        wrong.push("a rotation that nobody disturbed was not acknowledged".into());
    }
    world.kill();
    world.start();
    wrong.extend(world.reconcile(true));
    world.kill();
    wrong.sort();
    wrong.dedup();
    (world, wrong)
}

fn in_many_worlds(kills: usize) {
    let worlds: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORLDS)
            .map(|_| scope.spawn(move || torture(Program::Real, kills.div_ceil(WORLDS))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut starts: Vec<_> = worlds.iter().flat_map(|(world, _)| world.starts.clone()).collect();
    starts.sort();
    let [half, most] = [50, 99].map(|percent| starts[(starts.len() * percent).div_ceil(100) - 1]);
    let killed: usize = worlds.iter().map(|(world, _)| world.kills).sum();
    let mut answers = std::collections::BTreeMap::new();
    for (world, _) in &worlds {
        for (what, count) in world.answers() {
            *answers.entry(what).or_insert(0) += count;
        }
    }
    println!("{killed} kills; acknowledged: {answers:?}; start to ready: median {half:?}, p99 {most:?}");
    let wrong: Vec<_> = worlds.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert_eq!(wrong, Vec::<String>::new());
    for what in ["credentials", "enrolments", "tickets", "revocations", "rotations"] {
        assert!(answers.get(what).is_some_and(|count| *count > 0), "no {what}: {answers:?}");
    }
    assert!(long_form().is_none() || most <= START, "{most:?} from start to ready");
}

#[test]
fn nothing_acknowledged_is_lost_1() {
    in_many_worlds(long_form().unwrap_or(KILLS));
}

#[test]
fn nothing_acknowledged_is_lost_2() {
    in_many_worlds(long_form().unwrap_or(KILLS));
}

#[test]
fn nothing_acknowledged_is_lost_3() {
    in_many_worlds(long_form().unwrap_or(KILLS));
}

fn scripted(ways: &[&str]) -> Program {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_crash-authority"));
    Program::Scripted(program, ways.iter().map(|way| (*way).to_owned()).collect())
}

#[test]
fn control_an_authority_that_answers_first_is_noticed() {
    let wrong: Vec<_> = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| torture(scripted(&["answers-first"]), 6).1));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for what in ["the ticket ", "the credential "] {
        assert!(wrong.iter().any(|found| found.starts_with(what)), "{what}: {wrong:?}");
    }
}

/// Lets an authority die while it signs, again and again; says how many intents an operator finds in the end.
fn deaths_in_sign(ways: &[&str], deaths: usize) -> usize {
    let mut world = World::new(Program::Real);
    world.start();
    let person = world.person();
    let made = world.enroller().make_ticket(&Default::default(), None, None).unwrap();
    world.client(&person).enrol(&made.code).unwrap();
    world.kill();
    world.set_program(scripted(ways));
    world.start();
    for _ in 0..deaths {
        // Later than the last one: two credentials of one second are the same.
        assert!(world.client(&person).credential().is_err());
        world.wait_for_its_end();
        world.start();
    }
    world.kill();
    let found = world.ask_program(&["audit", "orphans"]);
    let subject = Value::String(person.identity.identifier().to_string());
    let orphans = found["items"].as_array().unwrap();
    assert!(orphans.iter().all(|orphan| orphan["subject"] == subject), "{found}");
    orphans.len()
}

#[test]
fn a_signature_that_nobody_recorded_is_listed() {
    let deaths = long_form().map_or(DEATHS, |_| 67);
    let found: usize = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| deaths_in_sign(&["dies-in-sign"], deaths)));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{} deaths within a signature, {found} intents listed", 3 * deaths);
    assert_eq!(found, 3 * deaths);
}

#[test]
fn control_an_intent_that_is_not_synced_is_missed() {
    assert!(deaths_in_sign(&["dies-in-sign", "answers-first"], 2) < 2);
}
