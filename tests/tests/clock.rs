//! The real authority under a clock that jumps, stands still, goes back and starts in 1970 (libfaketime). Nothing that had
//! expired comes back, nothing panics, no timer sticks, and the authority says that it does not trust its clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use authority::client::{Client, Endpoint, Enrolled, Kind};
use authority::member::MemberAttributes;
use authority::ticket::Code;
use identity::{Clock, SystemClock, Timestamp};
use ockam_kms_tests::crash::{Person, Program, World};
use ockam_kms_tests::ockam_kms;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 86_400;
/// How long what can be waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock beside the right one.
#[derive(Debug, Default)]
struct Shifted(AtomicI64);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add_signed(self.0.load(Ordering::SeqCst)))
    }
}

/// An authority whose clock, and that of everybody who asks it, is set by the test.
struct Times {
    world: World,
    file: PathBuf,
    clock: Arc<Shifted>,
    ends_credential_key: bool,
}

impl Times {
    fn new() -> Self {
        let mut world = World::new(Program::Real);
        let file = world.home().path().join("../clock");
        let variables = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        assert!(std::path::Path::new(LIBRARY).exists(), "scripts/setup installs libfaketime");
        world.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let times = Self { world, file, clock: Arc::default(), ends_credential_key: false };
        times.shift(0);
        times
    }

    /// Sets every clock this many seconds beside the right one.
    fn shift(&self, seconds: i64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
        self.write(&format!("{seconds:+}"));
    }

    /// Replaced whole, so that the server never reads half a line.
    fn write(&self, line: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{line}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    fn client(&self, of: &Person) -> Client {
        self.world.client_by(of, self.clock.clone())
    }

    fn enroller(&self) -> Client {
        self.client(&self.world.enroller)
    }

    fn missing(&self) -> Vec<String> {
        Endpoint::new(self.world.url()).unwrap().missing().unwrap()
    }

    /// Waits until this is what is missing. A credential key that a jump of years has ended may be missing too: it is made anew
    /// within half a minute.
    fn wait_until_missing(&self, wanted: &[&str]) {
        let begun = Instant::now();
        let missing = || -> Vec<_> {
            let ended = |missing: &String| self.ends_credential_key && missing == "credential-key";
            self.missing().into_iter().filter(|missing| !ended(missing)).collect()
        };
        while missing() != wanted {
            assert!(begun.elapsed() < PATIENCE, "{:?} and not {wanted:?}: {}", missing(), self.world.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn check_log(&self) {
        let log = self.world.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn refused(by: &Client, code: &Code) -> Kind {
    match by.enrol(code) {
        Ok(_) => panic!("a ticket that is over was taken"),
        Err(error) => error.kind(),
    }
}

fn jump(jump: i64, when_over: Kind) -> (Times, Code, Arc<Person>, Arc<Person>) {
    let mut times = Times::new();
    times.ends_credential_key = jump >= TEN_YEARS;
    times.world.start();
    let (early, late) = (times.world.person(), times.world.person());
    let (enroller, member, stranger) = (times.enroller(), times.client(&early), times.client(&late));
    let ticket = enroller.make_ticket(&MemberAttributes::default(), Some(3600), Some(9)).unwrap();
    assert_eq!(member.enrol(&ticket.code).unwrap(), Enrolled::Now);
    let _ = member.credential().unwrap();
    // Back, and right again: nothing is taken meanwhile, and nothing is lost by it.
    times.shift(-jump);
    times.wait_until_missing(&["clock"]);
    assert_eq!(refused(&stranger, &ticket.code), Kind::Unavailable);
    times.shift(1);
    times.wait_until_missing(&[]);
    let _ = member.credential().unwrap();
    // Ahead, and everybody with it: the ticket is over.
    times.shift(jump + 1);
    times.wait_until_missing(&[]);
    assert_eq!(refused(&stranger, &ticket.code), when_over);
    // Back, while it runs: neither the ticket nor a credential.
    times.shift(0);
    times.wait_until_missing(&["clock"]);
    assert_eq!(refused(&stranger, &ticket.code), Kind::Unavailable);
    assert_eq!(member.credential().unwrap_err().kind(), Kind::Unavailable);
    let more = enroller.make_ticket(&MemberAttributes::default(), None, None);
    assert_eq!(more.unwrap_err().kind(), Kind::Unavailable);
    assert!(times.world.log().contains("the clock is not trusted"));
    times.check_log();
    (times, ticket.code, early, late)
}

#[test]
fn an_hour_revives_nothing() {
    let (mut times, code, early, late) = jump(HOUR, Kind::Forbidden);
    // Over a restart, for the refusal is on record: it says why, and does not start.
    times.world.kill();
    let said = times.world.refused_to_start();
    assert!(said.contains("the clock is not trusted") && said.contains("--accept-clock"), "{said}");
    // The time comes: it starts, and the ticket is still over.
    times.shift(HOUR + 2);
    times.world.start();
    times.wait_until_missing(&[]);
    assert_eq!(refused(&times.client(&late), &code), Kind::Forbidden);
    let _ = times.client(&early).credential().unwrap();
    times.check_log();
}

#[test]
fn ten_years_revive_nothing() {
    // By then nobody's request key is good any more.
    jump(TEN_YEARS, Kind::Unauthenticated);
}

#[test]
fn a_small_step_back_revives_nothing_and_stops_nothing() {
    let mut times = Times::new();
    times.world.start();
    let (early, late) = (times.world.person(), times.world.person());
    let (enroller, member, stranger) = (times.enroller(), times.client(&early), times.client(&late));
    let ticket = enroller.make_ticket(&MemberAttributes::default(), Some(30), Some(9)).unwrap();
    assert_eq!(member.enrol(&ticket.code).unwrap(), Enrolled::Now);
    times.shift(31);
    assert_eq!(refused(&stranger, &ticket.code), Kind::Forbidden);
    times.shift(0);
    assert_eq!(times.missing(), Vec::<String>::new());
    assert_eq!(refused(&stranger, &ticket.code), Kind::Forbidden);
    let _ = member.credential().unwrap();
    times.check_log();
}

#[test]
fn a_start_in_1970_is_refused() {
    let mut times = Times::new();
    times.world.start();
    times.world.kill();
    times.write("@1970-01-01 00:00:10");
    let said = times.world.refused_to_start();
    assert!(said.contains("the clock is not trusted") && said.contains("1970-01-01"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    times.shift(0);
    times.world.start();
    times.wait_until_missing(&[]);
    // A step back to 1970 while it runs.
    times.write("@1970-01-01 00:00:10");
    times.wait_until_missing(&["clock"]);
    times.shift(0);
    times.wait_until_missing(&[]);
    times.enroller().make_ticket(&MemberAttributes::default(), None, None).unwrap();
    times.check_log();
}

#[test]
fn no_timer_sticks_while_the_clock_stands_still() {
    let mut times = Times::new();
    times.world.start();
    times.write("2026-01-02 03:04:05");
    // Ten seconds without a request are the most that a connection may be idle.
    let begun = Instant::now();
    let mut idle = TcpStream::connect(times.world.url().trim_start_matches("http://")).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    let _ = idle.read_to_end(&mut said);
    let took = begun.elapsed();
    println!("an idle connection is closed after {took:?}, nominally 10 s");
    assert!(took < Duration::from_secs(20), "{took:?}");
    times.wait_until_missing(&["clock"]);
    times.shift(0);
    times.wait_until_missing(&[]);
    let stopped = Instant::now();
    times.world.command(ockam_kms(), &["authority", "stop"]).output().unwrap();
    times.world.wait_for_its_end();
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    times.check_log();
}
