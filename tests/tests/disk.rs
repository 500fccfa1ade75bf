//! A disk that fails, is full or loses what was not synced, and a process without descriptors: what the real authority and
//! the real program make of it.
//!
//! `strace` counts system calls and has them fail. Its `retval=0` makes a sync do nothing and say that it was done: that is a
//! writer that does not sync, or that goes on after a failed sync, and so the control of each of these checks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::crash::{Program, World, assert_there, make_tickets, use_of, wait_until};
use ockam_kms_tests::ockam_kms;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// How soon there is full service after the disk has room again.
const RELIEF: Duration = Duration::from_secs(5);

/// The words that start a program under `strace`, which writes to a file.
fn strace(to: &Path, inject: &[&str]) -> Vec<String> {
    let calls = "trace=write,writev,sendto,sendmsg,fdatasync,fsync";
    let before = ["strace", "-f", "-qq", "-yy", "-s", "14", "-o", to.to_str().unwrap(), "-e", calls];
    let inject = inject.iter().flat_map(|inject| ["-e", inject]);
    before.into_iter().chain(inject).map(str::to_owned).collect()
}

/// What a trace says: how many answers of success there were, how many of them before what they are about was synced, and
/// how many after the first call that was made to fail or to do nothing.
#[derive(Debug, Default)]
struct Traced {
    answers: usize,
    unsynced: usize,
    after_injection: usize,
    injected: usize,
}

fn read_trace(path: &Path) -> Traced {
    let text = std::fs::read_to_string(path).unwrap();
    let mut traced = Traced::default();
    // Writes to the log so far, how many of them the last finished sync covers, and how many it covered at the last answer.
    let (mut written, mut synced, mut answered) = (0_u64, 0_u64, 0_u64);
    // The call that each thread is in: whether it is a sync of the log, and what it covers.
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let (call, injected) = (call.trim_start(), line.ends_with("(INJECTED)"));
        traced.injected += usize::from(injected);
        let is_log = call.contains(".log>") && !call.contains("server.log>");
        let done = |covers: u64, synced: &mut u64| {
            if line.contains("= 0") && !injected {
                *synced = covers.max(*synced);
            }
        };
        if call.starts_with("write(") && is_log {
            written += 1;
        } else if call.starts_with("fdatasync(") && is_log {
            if call.contains("<unfinished") {
                begun.insert(thread, written);
            } else {
                done(written, &mut synced);
            }
        } else if call.starts_with("<... fdatasync resumed") {
            if let Some(covers) = begun.remove(thread) {
                done(covers, &mut synced);
            }
        } else if call.contains("\"HTTP/1.1 2") {
            traced.answers += 1;
            traced.unsynced += usize::from(synced < written || synced == answered);
            traced.after_injection += usize::from(traced.injected > 0);
            answered = synced;
        }
    }
    traced
}

/// Has tickets made, one after the other, and reads the trace.
fn trace_of_tickets(count: usize, inject: &[&str]) -> Traced {
    let mut world = World::new(Program::Real);
    let trace = world.home().path().join("../trace");
    world.set_program(Program::Under(strace(&trace, inject)));
    world.start();
    assert_eq!(make_tickets(&world.enroller(), count).len(), count);
    world.kill();
    read_trace(&trace)
}

#[test]
fn every_answer_comes_after_the_log_is_synced() {
    let traced = trace_of_tickets(20, &[]);
    println!("{traced:?}");
    assert_eq!((traced.answers, traced.unsynced), (20, 0), "{traced:?}");
}

#[test]
fn control_syncs_that_do_nothing_are_noticed() {
    let traced = trace_of_tickets(20, &["inject=fdatasync,fsync:retval=0"]);
    assert_eq!((traced.answers, traced.unsynced), (20, 20), "{traced:?}");
}

/// The sync from which on they fail: after the start, and before forty tickets are made.
const FAILING: usize = 45;

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let mut world = World::new(Program::Real);
    let trace = world.home().path().join("../trace");
    let inject = format!("inject=fdatasync,fsync:error=EIO:when={FAILING}+");
    world.set_program(Program::Under(strace(&trace, &[&inject])));
    world.start();
    let client = world.enroller();
    let made = make_tickets(&client, 100);
    assert!((1..100).contains(&made.len()), "{} tickets before the sync that failed", made.len());
    // Also later, when it has tried to open the store again: the disk is as it was.
    for _ in 0..10 {
        assert_eq!(make_tickets(&client, 1), []);
        assert_eq!(client.endpoint().missing().unwrap(), ["store"]);
        std::thread::sleep(Duration::from_millis(250));
    }
    let log = world.log();
    assert!(log.contains("a write to the store failed") && log.contains("Input/output error"), "{log}");
    assert!(log.contains("the store cannot be opened again"), "{log}");
    world.kill();
    let traced = read_trace(&trace);
    assert_eq!((traced.unsynced, traced.after_injection), (0, 0), "{traced:?}");
    world.set_program(Program::Real);
    world.start();
    assert_there(&world.enroller(), &made);
    println!("{} tickets acknowledged before the sync that failed, all there: {traced:?}", made.len());
}

#[test]
fn after_one_failed_sync_the_store_opens_itself_again() {
    let mut world = World::new(Program::Real);
    let trace = world.home().path().join("../trace");
    let inject = format!("inject=fdatasync,fsync:error=EIO:when={FAILING}");
    world.set_program(Program::Under(strace(&trace, &[&inject])));
    world.start();
    let client = world.enroller();
    let mut made = make_tickets(&client, 100);
    assert!((1..100).contains(&made.len()), "{} tickets before the sync that failed", made.len());
    wait_until("the store does not open itself again", || client.endpoint().missing().unwrap().is_empty());
    assert_there(&client, &made);
    made.extend(make_tickets(&client, 5));
    world.kill();
    world.set_program(Program::Real);
    world.start();
    assert_there(&world.enroller(), &made);
}

#[test]
fn control_a_server_that_goes_on_after_a_failed_sync_is_noticed() {
    let traced = trace_of_tickets(80, &[&format!("inject=fdatasync,fsync:retval=0:when={FAILING}+")]);
    assert!(traced.after_injection > 0 && traced.unsynced > 0, "{traced:?}");
}

/// Runs a verb again and again in homes alike, each time with another one of its syncs failing, and says for how many of
/// them it did as if nothing had happened, and how many there were.
fn verb_without_a_sync(verb: &[&str], inject: &str) -> (usize, usize) {
    let mut careless = 0;
    for number in 1_usize.. {
        let mut kms = Kms::new();
        kms.run(&["identity", "create", "first"]).code(0);
        let trace = kms.path("trace");
        let inject = format!("inject=fsync,fdatasync:{inject}:when={number}");
        let mut command = Command::new("strace");
        command.args(&strace(&trace, &[&inject])[1..]).arg(ockam_kms()).args(verb);
        command.env_clear().env("OCKAM_KMS_HOME", kms.home()).current_dir(kms.path(""));
        let output = command.output().unwrap();
        if read_trace(&trace).injected == 0 {
            assert!(output.status.success());
            return (careless, number - 1);
        }
        careless += usize::from(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        // What was there is whole, and what was asked for can be had: it is there, or is made now.
        let again = kms.run(verb);
        assert!([0, 73].contains(&again.code), "sync {number} of {verb:?}: {said}; then {again:?}");
        let _ = kms.run(&["identity", "verify", "first"]).code(0);
    }
    unreachable!("numbers end nowhere")
}

fn acknowledges_nothing(verb: &[&str], error: &str) {
    let (careless, syncs) = verb_without_a_sync(verb, &format!("error={error}"));
    println!("{verb:?}: {syncs} syncs, each failed with {error}; {careless} failures passed over");
    assert!(syncs > 0);
    assert_eq!(careless, 0, "{verb:?} with {error}");
}

const CREATE: &[&str] = &["identity", "create", "second"];

#[test]
fn a_home_acknowledges_nothing_that_was_not_synced() {
    acknowledges_nothing(CREATE, "EIO");
    acknowledges_nothing(&["vault", "create", "second"], "ENOSPC");
}

#[test]
fn a_rotation_acknowledges_nothing_that_was_not_synced() {
    acknowledges_nothing(&["identity", "rotate", "first"], "EIO");
}

#[test]
fn control_a_home_that_passes_over_a_failed_sync_is_noticed() {
    let (careless, syncs) = verb_without_a_sync(CREATE, "retval=0");
    assert!(syncs > 0);
    assert_eq!(careless, syncs);
}

/// Starts a program with a limit of descriptors, and without dying of a file that grows above a limit.
fn limited(descriptors: &str) -> Vec<String> {
    let script = format!("trap '' XFSZ; ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    ["sh", "-c", &script].map(str::to_owned).to_vec()
}

const MOST_USE: f64 = 0.2;

#[test]
fn a_full_disk_is_survived() {
    let mut world = World::new(Program::Under(limited("1024")));
    world.start();
    let client = world.enroller();
    let made = make_tickets(&client, 10);
    // No file grows any more: neither the store's nor the log that the server writes to.
    let grow =
        |to| prlimit(Some(world.pid()), Resource::Fsize, Rlimit { current: to, maximum: None }).unwrap();
    grow(Some(1));
    assert_eq!(make_tickets(&client, 1), [], "the disk is full");
    let used = use_of(world.pid(), || {
        client.endpoint().alive().unwrap();
        assert_eq!(make_tickets(&client, 1), []);
        assert_eq!(client.endpoint().missing().unwrap(), ["store"]);
    });
    assert!(used < MOST_USE, "{used} of a processor");
    grow(None);
    let mut more = Vec::new();
    let relief = wait_until("no service after the disk has room", || {
        more = make_tickets(&client, 1);
        !more.is_empty()
    });
    println!("disk full: {used:.3} of a processor; full service {relief:?} after there is room");
    assert!(relief < RELIEF, "{relief:?}");
    assert_there(&client, &[made.clone(), more.clone()].concat());
    world.kill();
    world.set_program(Program::Real);
    world.start();
    assert_there(&world.enroller(), &[made, more].concat());
}

#[test]
fn more_connections_than_descriptors_are_survived() {
    let mut world = World::new(Program::Under(limited("64")));
    world.start();
    let client = world.enroller();
    let made = make_tickets(&client, 10);
    let address = world.url().trim_start_matches("http://").to_owned();
    let held: Vec<_> = (0..120).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let used = use_of(world.pid(), || {
        // Whoever runs it is answered all the same.
        assert!(world.ask_program(&["authority", "show"])["status"]["ready"].as_bool().unwrap());
    });
    assert!(used < MOST_USE, "{used} of a processor");
    drop(held);
    let mut more = Vec::new();
    let relief = wait_until("no service after the connections have gone", || {
        more = make_tickets(&client, 1);
        !more.is_empty()
    });
    println!("120 connections and 64 descriptors: {used:.3} of a processor; full service {relief:?} later");
    assert!(relief < RELIEF, "{relief:?}");
    assert_there(&client, &[made, more].concat());
    for word in ["a write to the store failed", "Too many open files"] {
        assert!(!world.log().contains(word), "{}", world.log());
    }
}

/// Starts a server in the background that may have so many descriptors; how it is shown.
fn start_with(kms: &Kms, descriptors: u64, arguments: &[&str]) -> serde_json::Value {
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(ockam_kms())
        .args(arguments)
        .args(["--output", "json"])
        .env_clear()
        .env("OCKAM_KMS_HOME", kms.home())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// More silent connections than descriptors, and somebody who has something to say.
fn crowd_the_nodes_door(kms: &Kms, server: &serde_json::Value, descriptors: u64, service: &str) {
    let pid = server["pid"].as_u64().unwrap();
    let address = server["tcp_address"].as_str().unwrap();
    let held: Vec<_> = (0..descriptors + 50).map(|_| TcpStream::connect(address).unwrap()).collect();
    let to = format!("/ip4/127.0.0.1/tcp/{}{service}", address.rsplit_once(':').unwrap().1);
    let send = ["message", "send", "hello", "--timeout", "60s", "--to", &to];
    assert_eq!(kms.run_apart(&send, b"").code(0).stdout, "hello", "{server}");
    drop(held);
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "it has ended: {server}");
}

#[test]
fn a_node_has_no_more_connections_than_descriptors() {
    const FEW: u64 = 200;
    let kms = Kms::new();
    let node = start_with(&kms, FEW, &["node", "create", "n1"]);
    crowd_the_nodes_door(&kms, &node, FEW, "/service/echo");
    let log = || {
        let path = kms.run_apart(&["node", "logs", "n1"], b"").code(0).stdout;
        std::fs::read_to_string(path.trim()).unwrap()
    };
    assert!(!log().contains("no TCP connection can be taken"), "{}", log());
    // When there are fewer than it was promised, connections make room for each other all the same.
    let pid = Pid::from_raw(node["pid"].as_i64().unwrap().try_into().unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(64), maximum: Some(FEW) }).unwrap();
    crowd_the_nodes_door(&kms, &node, FEW, "/service/echo");
    assert!(log().contains("no TCP connection can be taken"), "{}", log());
}

#[test]
fn one_door_of_an_authority_leaves_descriptors_to_the_other() {
    const FEW: u64 = 200;
    let kms = Kms::new();
    let create = ["authority", "create", "--project-identifier", "demo", "--trusted-identities", "{}"];
    let doors = ["--http-address", "127.0.0.1:0", "--tcp-listener-address", "127.0.0.1:0"];
    let authority = start_with(&kms, FEW, &[&create[..], &doors].concat());
    let (http, tcp) =
        (authority["http_address"].as_str().unwrap(), authority["tcp_address"].as_str().unwrap());
    let held: Vec<_> = (0..FEW + 50).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", authority["pid"])).unwrap().count();
    // Those of the other door, and what it has for itself.
    wait_until("its half is not full", || open() > 76);
    assert!(open() < 150, "{} descriptors", open());
    let mut honest = TcpStream::connect(http).unwrap();
    std::io::Write::write_all(&mut honest, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut honest, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
    crowd_the_nodes_door(&kms, &authority, FEW, "/secure/api/service/echo");
}

#[test]
fn control_a_process_that_spins_is_noticed() {
    let mut spinning = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = Pid::from_child(&spinning);
    // On a busy machine it may have to wait for its turn.
    let noticed = (0..10).any(|_| use_of(pid, || {}) > MOST_USE);
    spinning.kill().unwrap();
    spinning.wait().unwrap();
    assert!(noticed);
}

#[test]
fn the_program_says_that_it_has_no_descriptors() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "first"]).code(0);
    let mut refused = 0;
    for descriptors in 3..12 {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(ockam_kms())
            .args(["identity", "create", "second", "--output", "json"])
            .env_clear()
            .env("OCKAM_KMS_HOME", kms.home())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Below what a process needs to start at all, the system says so itself.
        if output.status.success() || out.is_empty() && err.contains("error while loading shared libraries") {
            continue;
        }
        refused += 1;
        let error: serde_json::Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{descriptors}: {e}: {out}{err}"));
        assert_eq!(error["error"]["message"].as_str().map(str::is_empty), Some(false), "{out}");
        assert!(!err.contains("panicked"), "{err}");
    }
    assert!(refused > 0, "it was never short of descriptors");
    let _ = kms.run(&["identity", "verify", "first"]).code(0);
    let _: PathBuf = kms.home();
}
