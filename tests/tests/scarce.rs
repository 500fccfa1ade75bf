//! Memory and threads that are not to be had: the program refuses in words or ends at once, nothing that it acknowledged is
//! lost, and it serves again when there is more, or when it is started again. Disks and descriptors are in `disk.rs`.
//!
//! An allocation that fails ends a process of ours (its caller could not go on without memory either); what it acknowledged
//! is on the disk. So that is one of two good outcomes. A process that hangs, spins or answers what is not so would be bad.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::crash::{Program, World, assert_there, make_tickets, use_of, wait_until};
use ockam_kms_tests::ockam_kms;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};

/// How soon there is full service after there is more.
const RELIEF: Duration = Duration::from_secs(5);
const MOST_USE: f64 = 0.2;
const MEBIBYTE: u64 = 1024 * 1024;

fn limit(pid: Pid, resource: Resource, to: Option<u64>) {
    prlimit(Some(pid), resource, Rlimit { current: to, maximum: None }).unwrap();
}

/// A figure of a process from /proc, in what the file says.
fn status(pid: Pid, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// What came of a server while something was short.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It answered all that it was asked, or refused it.
    Lived,
    /// It ended, and said why.
    Ended,
}

/// Connections that hold as much of the server's memory as they get: whole heads, bodies without their ends.
fn crowd(address: &str, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
        let head = "POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 65000\r\n\r\n";
        let _ = stream.write_all(&[head.as_bytes(), &[b'a'; 60_000]].concat());
        held.push(stream);
    }
    held
}

#[test]
fn an_address_space_that_is_used_up_loses_nothing() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let mut outcomes = Vec::new();
    for room in [0, 8 * MEBIBYTE, 512 * MEBIBYTE] {
        let mut world = World::new(Program::Real);
        world.start();
        let client = world.enroller();
        let mut made = make_tickets(&client, 10);
        assert_eq!(made.len(), 10);
        let pid = world.pid();
        limit(pid, Resource::As, Some(status(pid, "VmSize:") * 1024 + room));
        let held = crowd(world.url().trim_start_matches("http://"), 1_000);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) && world.ended().is_none() {
            made.extend(make_tickets(&client, 20));
        }
        drop(held);
        let outcome = match world.ended() {
            None => {
                limit(pid, Resource::As, None);
                let mut more = Vec::new();
                let relief = wait_until("no service after there is memory", || {
                    more = make_tickets(&client, 1);
                    !more.is_empty()
                });
                assert!(relief < RELIEF, "{relief:?}");
                made.extend(more);
                assert_there(&client, &made);
                world.kill();
                Outcome::Lived
            }
            Some(how) => {
                let log = world.log();
                assert_eq!(how.signal(), Some(Signal::ABORT.as_raw()), "{how}: {log}");
                assert!(log.contains("memory allocation of") || log.contains("bad_alloc"), "{log}");
                world.wait_for_its_end();
                Outcome::Ended
            }
        };
        println!("{room} bytes more than it had: {outcome:?}, {} tickets acknowledged", made.len());
        world.start();
        assert_there(&world.enroller(), &made);
        outcomes.push(outcome);
    }
    // What it has is enough for what nobody holds up.
    assert_eq!(outcomes.last(), Some(&Outcome::Lived), "{outcomes:?}");
}

/// Runs the program with a limit that a shell sets; whether it was refused in words, and what it said.
fn program_with(kms: &Kms, ulimit: &str) -> Option<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\"")])
        .arg(ockam_kms())
        .args(["identity", "create", "second", "--output", "json"])
        .env_clear()
        .env("OCKAM_KMS_HOME", kms.home())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = format!("ulimit {ulimit}: {}: {out}{err}", output.status);
    // A new thread that gets no second stack, for signals, is ended by the standard library, before anything of ours runs in it.
    let before_ours = err.contains("failed to allocate an alternative stack");
    assert!(before_ours || !err.contains("panicked"), "{said}");
    if output.status.success() {
        return None;
    }
    // Below what a process needs to start at all, the system ends it, or its loader says so.
    let by_the_system = out.is_empty()
        && (output.status.signal().is_some() || err.contains("error while loading shared libraries"));
    let by_the_program = out.contains(r#""error":{"#) || err.contains("memory allocation of");
    assert!(by_the_system || by_the_program, "{said}");
    Some(said)
}

#[test]
fn the_program_ends_in_order_whatever_memory_it_gets() {
    const COARSE: usize = 4096;
    const FINE: usize = 256;
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "first"]).code(0);
    let mut tried = |kibibytes: usize| {
        let refused = program_with(&kms, &format!("-v {kibibytes}"));
        if refused.is_none() {
            let _ = kms.run(&["identity", "delete", "second", "--yes"]).code(0);
        }
        // What was there is whole, and nothing of what was cut short is in the way.
        let _ = kms.run(&["identity", "verify", "first"]).code(0);
        refused
    };
    // As much as it needs to start and do it, and then less and less, until it does not get as far as saying anything.
    let enough = (1..1000).map(|step| step * COARSE).find(|kibibytes| tried(*kibibytes).is_none()).unwrap();
    let refused: Vec<_> = (1..=48).filter_map(|step| tried(enough - step * FINE)).collect();
    println!("{enough} KiB are enough; with less: {refused:#?}");
    assert!(refused.len() > 10, "{refused:#?}");
    kms.run(&["identity", "create", "second"]).code(0);
}

/// A user of whom nothing else runs. Root is not held by the limit of threads.
const SOMEBODY: &str = "65533";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The words that run a command as somebody whom the limit of threads holds.
fn as_somebody(words: &[&str]) -> Vec<String> {
    let before = ["setpriv", "--reuid", SOMEBODY, "--regid", SOMEBODY, "--clear-groups"];
    let before = if is_root() { &before[..] } else { &[] };
    before.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

/// Gives the directory of an authority to somebody, with the program in it.
fn give_to_somebody(world: &World) -> PathBuf {
    let directory = world.home().path().parent().unwrap().to_owned();
    let program = directory.join("ockam-kms");
    std::fs::copy(ockam_kms(), &program).unwrap();
    if is_root() {
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let owner = format!("{SOMEBODY}:{SOMEBODY}");
        assert!(Command::new("chown").args(["-R", &owner]).arg(&directory).status().unwrap().success());
    }
    program
}

/// Starts the authority as somebody, with at most so many threads of that user.
fn with_threads(world: &World, program: &Path, most: Option<u64>) -> Program {
    let limit = most.map(|most| format!("--nproc={most}:"));
    let mut words = vec![program.to_str().unwrap()];
    if let Some(limit) = &limit {
        words.splice(0..0, ["prlimit", limit]);
    }
    let mut words = as_somebody(&words);
    words.extend(world.arguments());
    let first = words.remove(0);
    Program::Scripted(first.into(), words)
}

/// How many threads somebody has.
fn threads_of_somebody() -> u64 {
    let id = if is_root() { SOMEBODY.to_owned() } else { rustix::process::getuid().as_raw().to_string() };
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let statuses = processes.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next().map(str::to_owned))
    };
    let theirs = statuses.filter(|status| field(status, "Uid:").as_ref() == Some(&id));
    theirs.filter_map(|status| field(&status, "Threads:")?.parse::<u64>().ok()).sum()
}

/// Limits the threads of a process of somebody: as that user, since root may not have the right to.
fn limit_threads(pid: Pid, to: &str) {
    let words =
        as_somebody(&["prlimit", "--pid", &pid.as_raw_nonzero().to_string(), &format!("--nproc={to}:")]);
    assert!(Command::new(&words[0]).args(&words[1..]).status().unwrap().success(), "{words:?}");
}

#[test]
fn a_server_that_gets_no_more_threads_serves_with_those_that_it_has() {
    let mut world = World::new(Program::Real);
    world.start();
    world.kill();
    let program = give_to_somebody(&world);
    world.set_program(with_threads(&world, &program, None));
    world.start();
    let client = world.enroller();
    let mut made = make_tickets(&client, 10);
    let pid = world.pid();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max processes")).unwrap();
    let before = limit.split_whitespace().nth(2).unwrap().to_owned();
    let threads = status(pid, "Threads:");
    // Fewer than there are: not one more can be started.
    limit_threads(pid, "1");
    let held = crowd(world.url().trim_start_matches("http://"), 50);
    for _ in 0..10 {
        let more = make_tickets(&client, 5);
        assert_eq!(more.len(), 5, "refused although it needs no more: {}", world.log());
        made.extend(more);
        client.endpoint().alive().unwrap();
    }
    let used = use_of(pid, || client.endpoint().alive().unwrap());
    println!("{threads} threads and not one more: {} tickets, {used:.3} of a processor", made.len());
    assert!(used < MOST_USE, "{used} of a processor");
    assert!(status(pid, "Threads:") <= threads && world.ended().is_none(), "{}", world.log());
    drop(held);
    limit_threads(pid, &before);
    made.extend(make_tickets(&client, 1));
    assert_there(&client, &made);
    let log = world.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Starts the server with one thread, with two, and so on: one that starts all the same serves; one that does not says so.
#[test]
fn a_start_with_too_few_threads_is_refused_or_serves() {
    let mut world = World::new(Program::Real);
    world.start();
    let mut made = make_tickets(&world.enroller(), 5);
    world.kill();
    let program = give_to_somebody(&world);
    let (mut refused, mut served) = (0, 0);
    for more in 1..=40 {
        world.set_program(with_threads(&world, &program, Some(threads_of_somebody() + more)));
        match world.start_or_end() {
            None => {
                served += 1;
                made.extend(make_tickets(&world.enroller(), 2));
                assert_there(&world.enroller(), &made);
                world.kill();
            }
            Some((how, said)) => {
                println!("{more}: {how}: {}", said.lines().next().unwrap_or_default());
                refused += 1;
                assert!(said.contains(r#""error":{"#), "{more} threads: {how}: {said}");
                assert!(matches!(how.code(), Some(69 | 75)), "{more} threads: {how}: {said}");
            }
        }
    }
    println!("{refused} starts refused, {served} served");
    assert!(refused > 1 && served > 1);
    world.set_program(with_threads(&world, &program, None));
    world.start();
    assert_there(&world.enroller(), &made);
}
