//! A script that was written for `ockam` runs with `ockam-kms` in its place: it goes on where it went on, fails where it failed, and
//! reads the same from the pipe. What the real program printed is recorded in `golden/same-script`; where `OCKAM_KMS_REAL_OCKAM` says
//! where that program is (`make test-real-ockam`), the record is compared with it too, or written anew with `UPDATE_GOLDEN=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use ockam_kms_tests::ockam_kms;
use serde_json::Value;

/// Says where the real program is.
const REAL: &str = "OCKAM_KMS_REAL_OCKAM";

/// Members of the reference's JSON that name its inner parts, or things that nodes of ours do not have (docs/nodes.md).
const ITS_OWN: [&str; 14] = [
    "authorized_identifiers",
    "flow_control_id",
    "forwarding_route",
    "inlets",
    "last_failure",
    "outlets",
    "processor_address",
    "relay_route",
    "secure_channel_listeners",
    "services",
    "status_endpoint_address",
    "vault_type",
    "worker_addr",
    "worker_address",
];

/// Beginnings of commands of which the reference prints nothing into a pipe, and ours what scripts may want (docs/nodes.md).
const SILENT_THERE: [&str; 9] = [
    "ockam policy create --at n1 --resource-type echoer --allow role=member --output json",
    "ockam relay delete later --at n1 --yes --output json",
    "ockam secure-channel-listener list --at n2 --output json",
    "ockam secure-channel-listener show other --at n2 --output json",
    "ockam service start hop ",
    "ockam tcp-connection list --at n3 --output json",
    "ockam tcp-connection show 127.0.0.1:NUMBER --at n3 --output json",
    "ockam tcp-listener create 127.0.0.1:NUMBER --at n1 --output json",
    "ockam tcp-listener list --at n1 --output json",
];

/// The exit code of a wrong option or value.
const USAGE: u8 = 64;

/// Stands for a number that differs from run to run: whatever has three digits is such a one (`normal`).
const SOME_NUMBER: u8 = 100;

/// A command of a script and what came of it.
#[derive(Debug)]
struct Step {
    command: String,
    output: String,
    exit: u8,
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the script in a home of its own; what it printed, without what differs from run to run.
fn transcript(program: &Path) -> String {
    let directory = tempfile::Builder::new().prefix("same").tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let errors = directory.path().join("errors");
    let output = Command::new("bash")
        .arg(manifest().join("scripts/nodes.sh"))
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", directory.path())
        .env("OCKAM", program)
        .env("PORT", port.to_string())
        .env("ERRORS", &errors)
        .env("OCKAM_HOME", directory.path().join("home"))
        .env("OCKAM_OPENTELEMETRY_EXPORT", "false")
        .env("OCKAM_DISABLE_UPGRADE_CHECK", "true")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("$ ockam reset --yes"),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed.lines().map(|line| normal(line) + "\n").collect()
}

/// A line without addresses, keys, ports, processes, times and paths.
fn normal(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length.max(first.len_utf8()));
        let hex = word.strip_prefix('I').filter(|hex| hex.len() == 64).unwrap_or(word);
        let is_hex = hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_digit()) && word != "127";
        words.push_str(match () {
            () if is_hex && hex != word => "IDENTIFIER",
            () if is_hex => "HEX",
            () if is_number => "NUMBER",
            () => word,
        });
        rest = after;
    }
    words.replace("/dnsaddr/localhost/", "/ip4/127.0.0.1/").trim_end().to_owned()
}

fn steps(transcript: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in transcript.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), output: String::new(), exit: 0 });
            }
            (None, Some(step)) => match line.strip_prefix("exit ") {
                // Of three digits is only that of a signal.
                Some(exit) => step.exit = exit.parse().unwrap_or(u8::MAX),
                None => step.output.push_str(&format!("{line}\n")),
            },
            (None, None) => panic!("{line}"),
        }
    }
    steps
}

/// Whether everything that the reference says is said. A list may be in another order, and an object have more members.
fn says(said: &Value, wanted: &Value) -> bool {
    match (said, wanted) {
        (Value::Object(said), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            let its_own = ITS_OWN.contains(&name.as_str()) || (name == "route" && wanted.is_string());
            its_own || said.get(name).is_some_and(|said| says(said, wanted))
        }),
        (Value::Array(said), Value::Array(wanted)) => {
            let mut left: Vec<_> = said.iter().collect();
            let is_said = |wanted: &Value| {
                left.iter().position(|said| says(said, wanted)).map(|at| left.swap_remove(at)).is_some()
            };
            said.len() == wanted.len() && wanted.iter().all(is_said)
        }
        (Value::Number(_), Value::Number(wanted)) if *wanted == SOME_NUMBER.into() => true,
        (said, wanted) => said == wanted,
    }
}

/// JSON, where numbers have been made words.
fn json(text: &str) -> Option<Value> {
    let some = SOME_NUMBER.to_string();
    let text = [" NUMBER", ",NUMBER", ":NUMBER,", ":NUMBER}"]
        .iter()
        .fold(text.to_owned(), |text, one| text.replace(one, &one.replace("NUMBER", &some)));
    serde_json::from_str(&text).ok()
}

/// Whether a script finds what it found when it was recorded.
fn is_same(found: &Step, recorded: &Step) -> bool {
    let is_as_bad = match recorded.exit {
        0 | USAGE => found.exit == recorded.exit,
        _ => found.exit != 0,
    };
    if found.command != recorded.command || !is_as_bad {
        return false;
    }
    if found.output == recorded.output {
        return true;
    }
    let wants_json = found.command.contains("--output json");
    if recorded.exit != 0 {
        // Why it failed goes to standard error here, also where the reference explains it in the pipe.
        let is_why = || json(&found.output).is_some_and(|why| why.is_object());
        return found.output.is_empty() || (wants_json && is_why());
    }
    if recorded.output.is_empty() {
        return SILENT_THERE.iter().any(|command| found.command.starts_with(command))
            && (!wants_json || json(&found.output).is_some());
    }
    // Sentences for people, which the reference writes to the pipe where it has nothing for scripts.
    if recorded.output.starts_with("  ") {
        return !found.output.is_empty();
    }
    match (json(&found.output), json(&recorded.output)) {
        (Some(found), Some(recorded)) => says(&found, &recorded),
        _ => false,
    }
}

/// What differs between two runs, in the eyes of a script.
fn differences(found: &str, recorded: &str) -> Vec<String> {
    let (found, recorded) = (steps(found), steps(recorded));
    assert_eq!(found.len(), recorded.len());
    let pairs = found.iter().zip(&recorded);
    pairs
        .filter(|(found, recorded)| !is_same(found, recorded))
        .map(|(found, recorded)| format!("{recorded:#?}\n{found:#?}"))
        .collect()
}

fn record() -> PathBuf {
    manifest().join("golden/same-script/nodes.txt")
}

#[test]
fn a_script_for_ockam_runs_with_ockam_kms() {
    let recorded = std::fs::read_to_string(record()).unwrap();
    let differences = differences(&transcript(&ockam_kms()), &recorded);
    assert!(differences.is_empty(), "recorded, found:\n{}", differences.join("\n"));
}

#[test]
fn the_record_is_what_the_real_program_prints() {
    let Some(real) = std::env::var_os(REAL).filter(|path| !path.is_empty()) else {
        println!(
            "not compared with the real `ockam`: {REAL} does not say where it is (`make test-real-ockam`)"
        );
        return;
    };
    let found = transcript(Path::new(&real));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(record(), &found).unwrap();
    }
    let differences = differences(&found, &std::fs::read_to_string(record()).unwrap());
    assert!(differences.is_empty(), "recorded, found:\n{}", differences.join("\n"));
}

#[test]
fn nodes_and_authorities_of_both_programs_work_with_each_other() {
    let Some(real) = std::env::var_os(REAL).filter(|path| !path.is_empty()) else {
        println!("not tried with the real `ockam`: {REAL} does not say where it is (`make test-real-ockam`)");
        return;
    };
    let directory = tempfile::Builder::new().prefix("both").tempdir().unwrap();
    let mut command = Command::new("bash");
    command
        .arg(manifest().join("scripts/with_each_other.sh"))
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", directory.path())
        .env("OCKAM", real)
        .env("KMS", ockam_kms())
        .env("OCKAM_HOME", directory.path().join("theirs"))
        .env("OCKAM_KMS_HOME", directory.path().join("ours"))
        .env("OCKAM_OPENTELEMETRY_EXPORT", "false")
        .env("OCKAM_DISABLE_UPGRADE_CHECK", "true")
        .env("NO_INPUT", "true");
    // Taken at once, so that they are four.
    let taken = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    for (listener, name) in taken.iter().zip(["PORT1", "PORT2", "PORT3", "PORT4"]) {
        command.env(name, listener.local_addr().unwrap().port().to_string());
    }
    drop(taken);
    let output = command.output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("all of it"), "{printed}\n{errors}");
}

#[test]
fn a_difference_is_seen() {
    let exits = |command: &str, output: &str, exit: u8| {
        let exit = if exit == 0 { String::new() } else { format!("exit {exit}\n") };
        format!("$ ockam {command}\n{output}{exit}")
    };
    let of = |output: &str| exits("x", output, 0);
    let differs = |found: &str, recorded: &str| !differences(found, recorded).is_empty();
    assert!(!differs(&of("a\n"), &of("a\n")));
    assert!(differs(&of("b\n"), &of("a\n")));
    assert!(!differs(&of("{\"a\":1,\"b\":2}\n"), &of("{\n  \"a\": NUMBER\n}\n")));
    assert!(differs(&of("{\"b\":2}\n"), &of("{\n  \"a\": NUMBER\n}\n")));
    assert!(differs(&of("{\"a\":\"x\"}\n"), &of("{\n  \"a\": NUMBER\n}\n")));
    // A number that is no other from run to run.
    assert!(differs(&of("{\"a\":1}\n"), &of("{\"a\": 2}\n")));
    assert!(differs(&of("2\n"), &of("3\n")));
    // A list has so many, in any order.
    assert!(differs(&of("[]\n"), &of("[{\"a\":\"x\"}]\n")));
    assert!(differs(&of("[{\"a\":\"x\"}]\n"), &of("[]\n")));
    assert!(differs(&of("[\"x\",\"x\"]\n"), &of("[\"x\"]\n")));
    assert!(differs(&of("[\"x\",\"x\"]\n"), &of("[\"x\",\"y\"]\n")));
    assert!(!differs(&of("[\"y\",\"x\"]\n"), &of("[\"x\",\"y\"]\n")));
    assert!(!differs(&of("{\"outlets\":[1]}\n"), &of("{\"outlets\":[]}\n")));
    // Where nothing was printed nothing is, and where a sentence was something is.
    assert!(differs(&of("a\n"), &of("")));
    assert!(differs(&of(""), &of("a\n")));
    assert!(differs(&of(""), &of("  a sentence\n")));
    assert!(!differs(&of("a\n"), &of("  a sentence\n")));
    let silent = |more: &str, output: &str| exits(&format!("service start hop {more}"), output, 0);
    assert!(!differs(&silent("x", "a\n"), &silent("x", "")));
    assert!(!differs(&silent("--output json", "[]\n"), &silent("--output json", "")));
    assert!(differs(&silent("--output json", "a\n"), &silent("--output json", "")));
    // What fails, fails, with 64 if it was used wrongly, and says why elsewhere.
    let fails = |output: &str, exit: u8| exits("x", output, exit);
    assert!(differs(&of("a\n"), &fails("a\n", 70)));
    assert!(differs(&fails("", 70), &of("")));
    assert!(!differs(&fails("", 66), &fails("", 70)));
    assert!(!differs(&fails("", 64), &fails("error: x\n", 64)));
    assert!(differs(&fails("", 66), &fails("error: x\n", 64)));
    assert!(differs(&fails("", 66), &fails("", 64)));
    assert!(differs(&fails("a\n", 66), &fails("", 70)));
    assert!(differs(&fails("{}\n", 66), &fails("", 70)));
    let in_json = |output: &str, exit: u8| exits("x --output json", output, exit);
    assert!(!differs(&in_json("{\"error\":\"x\"}\n", 66), &in_json("", 70)));
    assert!(differs(&in_json("x\n", 66), &in_json("", 70)));
    assert_eq!(
        normal("127.0.0.1:4000 /service/0123456789abcdef0123456789abcdef"),
        "127.0.0.1:NUMBER /service/HEX"
    );
}
