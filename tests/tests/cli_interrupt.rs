//! Ctrl-C at a hundred points of the verbs that take long: exit 130, and nothing is half-made. No unfinished file is left, no
//! key that no identity names, no rotation to be finished, no server that runs on; and the next command works.
//!
//! The control ends the same verb where it is, as a program would that leaves Ctrl-C to the system: the check has to see
//! what that leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use home::rotation;
use home::{Home, Vaults};
use ockam_kms_tests::cli::Kms;
use rustix::process::{Pid, Signal, kill_process_group};
use vault::soft::SoftBackend;
use vault::{Nobody, Registry, block_on};

/// How one run ended.
struct Ended {
    /// Whether it was interrupted, and did not get to its end before.
    hit: bool,
    /// Whether it finished something first.
    finished_first: bool,
    code: i32,
    said: String,
}

/// Runs a verb and sends a signal to its process group, as a terminal does, when the time is over.
fn interrupted(kms: &Kms, arguments: &[&str], after: Duration, signal: Signal) -> Ended {
    let mut command = kms.command(arguments);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let group = Pid::from_child(&child);
    let start = Instant::now();
    while start.elapsed() < after {
        std::thread::sleep(Duration::from_micros(200));
    }
    // It may have ended by itself.
    let _ = kill_process_group(group, signal);
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    Ended {
        hit: code == 128 + signal.as_raw(),
        finished_first: said.contains("what was begun is finished first"),
        code,
        said,
    }
}

/// What is half-made in a home.
fn half_made(path: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ahead = vec![path.to_owned()];
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            ahead.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.file_name().unwrap().to_string_lossy().starts_with(".new-") {
            wrong.push(format!("`{}` is unfinished", path.display()));
        }
    }
    if !path.join("home.json").exists() {
        return wrong;
    }
    let home = Home::open(path).unwrap();
    let vaults = Vaults::new(home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody));
    let mut named = BTreeSet::new();
    for (name, record) in home.identities().unwrap() {
        record.identity().unwrap();
        for (_, key) in record.keys() {
            match block_on(async { key.check(vaults.open(&key.vault()?).await?).await }) {
                Ok(_) => drop(named.insert((key.vault().unwrap(), key.uri().unwrap().to_string()))),
                Err(e) => wrong.push(format!("a key of `{name}` cannot be opened: {e}")),
            }
        }
    }
    for (vault, _) in home.vaults().unwrap() {
        let opened = block_on(vaults.open(&vault)).unwrap();
        for key in block_on(opened.listing().unwrap().list()).unwrap() {
            if !named.contains(&(vault.clone(), key.uri.to_string())) {
                wrong.push(format!("no identity names the key `{}`", key.uri));
            }
        }
    }
    wrong.extend(rotation::pending(&home).unwrap().iter().map(|name| format!("`{name}` is being rotated")));
    let running = home.servers().unwrap().into_iter().filter(|(.., running)| *running);
    wrong.extend(running.map(|(name, ..)| format!("the server `{name}` runs on")));
    wrong
}

/// Interrupts a verb until it was hit at so many points, spread over the time that it takes.
fn at_points(points: u32, mut run: impl FnMut(Option<Duration>) -> Ended) -> (u32, u32) {
    let (mut hits, mut finished, mut missed, mut whole) = (0, 0, 0, Duration::ZERO);
    for round in 0..6 * points {
        // Other tests come and go on the machine: how long it takes is measured again and again.
        if round % 10 == 0 {
            let start = Instant::now();
            let through = run(None);
            assert_eq!(through.code, 0, "{}", through.said);
            whole = start.elapsed();
        }
        // What came too late comes a little earlier the next time: a verb may be past interruption before it ends.
        let earlier = 0.95_f64.powi(missed);
        let ended = run(Some((whole * (hits % points) / points).mul_f64(earlier)));
        assert!(ended.hit || ended.code == 0, "exit code {}: {}", ended.code, ended.said);
        hits += u32::from(ended.hit);
        missed = if ended.hit { 0 } else { missed + 1 };
        finished += u32::from(ended.hit && ended.finished_first);
        if hits == points {
            return (hits, finished);
        }
    }
    panic!("only {hits} of {points} interruptions hit");
}

fn run(kms: &Kms, arguments: &[&str], after: Option<Duration>) -> Ended {
    match after {
        Some(after) => interrupted(kms, arguments, after, Signal::INT),
        None => {
            let ran = kms.run_apart(arguments, b"");
            Ended { hit: false, finished_first: false, code: ran.code, said: ran.stderr }
        }
    }
}

#[track_caller]
fn sound(kms: &Kms) {
    assert_eq!(half_made(&kms.home()), Vec::<String>::new());
}

#[test]
fn creating_an_identity() {
    let mut kms = Kms::new();
    let mut number = 0;
    let (hits, finished) = at_points(50, |after| {
        // In a home that is new each time, so that home, vault, key, record and default are all made.
        number += 1;
        kms.at(&format!("home{number}"));
        let ended = run(&kms, &["identity", "create", "alice"], after);
        sound(&kms);
        ended
    });
    assert!(finished > 0, "of {hits} interruptions none came while something was being made");
    let _ = kms.run(&["identity", "create", "alice"]).code(0);
    let _ = kms.run(&["identity", "verify", "alice"]).code(0);
}

#[test]
fn rotating_an_identity() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    let (hits, finished) = at_points(25, |after| {
        let ended = run(&kms, &["identity", "rotate", "alice"], after);
        sound(&kms);
        ended
    });
    assert!(finished > 0, "of {hits} interruptions none came while something was being made");
    let _ = kms.run(&["identity", "rotate", "alice"]).code(0);
    let _ = kms.run(&["identity", "verify", "alice"]).code(0);
}

#[test]
fn enrolling() {
    let mut kms = Kms::new();
    let enroller = kms.at("enroller").run(&["identity", "create", "enroller"]).code(0).stdout;
    kms.file("trusted.json", format!(r#"{{"{enroller}": {{"ockam-role": "enroller"}}}}"#));
    let at = ["--trusted-identities", "trusted.json", "--http-address", "127.0.0.1:0", "--output", "json"];
    let create = [&["authority", "create", "--project-identifier", "demo"], &at[..]].concat();
    let created = kms.at("authority").run(&create).code(0).json();
    let history = ["identity", "show", "authority-demo", "--full", "--encoding", "hex"];
    let history = kms.run(&history).code(0).stdout;
    let route = created["authority_route"].as_str().unwrap();
    let ticket =
        ["project", "ticket", "-a", "role=member", "--usage-count", "1000", "--authority-route", route];
    let ticket =
        kms.at("enroller").run(&[&ticket[..], &["--authority-identity", &history]].concat()).code(0).stdout;
    kms.file("ticket", ticket);
    let mut number = 0;
    at_points(15, |after| {
        number += 1;
        kms.at(&format!("member{number}"));
        let ended = run(&kms, &["project", "enroll", "ticket"], after);
        sound(&kms);
        ended
    });
    // Member or not yet, the same command gets there.
    let _ = kms.run(&["project", "enroll", "ticket"]).code(0);
}

#[test]
fn starting_an_authority() {
    let mut kms = Kms::new();
    let at = ["--trusted-identities", "{}", "--http-address", "127.0.0.1:0"];
    let create = [&["authority", "create", "--project-identifier", "demo"], &at[..]].concat();
    let mut number = 0;
    at_points(10, |after| {
        number += 1;
        kms.at(&format!("home{number}"));
        let ended = run(&kms, &create, after);
        if !ended.hit {
            assert_eq!(ended.code, 0, "{}", ended.said);
            let _ = kms.run(&["authority", "stop"]).code(0);
        }
        sound(&kms);
        ended
    });
    let _ = kms.run(&create).code(0);
    let _ = kms.run(&["authority", "stop"]).code(0);
}

#[test]
fn starting_a_node() {
    let mut kms = Kms::new();
    let mut number = 0;
    at_points(10, |after| {
        number += 1;
        kms.at(&format!("home{number}"));
        let ended = run(&kms, &["node", "create", "n1"], after);
        if !ended.hit {
            assert_eq!(ended.code, 0, "{}", ended.said);
            let _ = kms.run(&["node", "stop", "n1"]).code(0);
        }
        sound(&kms);
        ended
    });
    let _ = kms.run(&["node", "create", "n1"]).code(0);
    let _ = kms.run(&["node", "stop", "n1"]).code(0);
}

/// Ended where it is, the same verb leaves what the check sees.
#[test]
fn the_check_fails_a_program_that_just_ends() {
    let mut kms = Kms::new();
    let mut left = BTreeSet::new();
    let start = Instant::now();
    let _ = kms.run(&["identity", "create", "alice"]).code(0);
    let whole = start.elapsed();
    for number in 0..300_u32 {
        kms.at(&format!("home{number}"));
        let _ = interrupted(&kms, &["identity", "create", "alice"], whole * (number % 50) / 50, Signal::KILL);
        let wrong = half_made(&kms.home());
        left.extend(wrong.iter().filter_map(|wrong| wrong.split('`').next().map(str::to_owned)));
        if left.contains("no identity names the key ") {
            return;
        }
    }
    panic!("what 300 sudden ends left behind was not seen: {left:?}");
}
