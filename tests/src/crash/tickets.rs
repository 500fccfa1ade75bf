//! Tickets as the measure of what is acknowledged and what is kept, where something is in short supply.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture that fails fails its test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use authority::client::{Client, Kind};
use authority::member::MemberAttributes;
use authority::ticket::Reference;
use rustix::process::Pid;

/// How long what can be waited for may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Makes tickets until it is refused, and at most so many.
///
/// # Panics
/// When the refusal is not that the authority is away.
#[must_use]
pub fn make_tickets(client: &Client, most: usize) -> Vec<Reference> {
    let mut made = Vec::new();
    while made.len() < most {
        match client.make_ticket(&MemberAttributes::default(), Some(3600), None) {
            Ok(ticket) => made.push(ticket.ticket.reference),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                break;
            }
        }
    }
    made
}

/// Checks that tickets that were acknowledged are listed.
///
/// # Panics
/// When one is lost.
pub fn assert_there(client: &Client, made: &[Reference]) {
    let found: BTreeSet<_> = client.tickets().unwrap().into_iter().map(|ticket| ticket.reference).collect();
    let lost: Vec<_> = made.iter().filter(|reference| !found.contains(reference)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged tickets are lost", lost.len(), made.len());
}

/// Waits for something, and tells how long it was.
///
/// # Panics
/// When it does not come.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

/// How much of one processor a process used over three seconds, while something is done.
///
/// # Panics
/// When there is no such process.
pub fn use_of(pid: Pid, mut meanwhile: impl FnMut()) -> f64 {
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // Fields 14 and 15, in hundredths of a second.
        fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap()
    };
    let (before, begun) = (used(), Instant::now());
    while begun.elapsed() < Duration::from_secs(3) {
        meanwhile();
        std::thread::sleep(Duration::from_millis(200));
    }
    f64::from(used() - before) / 100.0 / begun.elapsed().as_secs_f64()
}
