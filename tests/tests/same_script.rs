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

/// A command of a script and what came of it.
#[derive(Debug)]
struct Step {
    command: String,
    output: String,
    failed: bool,
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
                steps.push(Step { command: command.to_owned(), output: String::new(), failed: false });
            }
            (None, Some(step)) if line.starts_with("exit ") => step.failed = true,
            (None, Some(step)) => step.output.push_str(&format!("{line}\n")),
            (None, None) => panic!("{line}"),
        }
    }
    steps
}

/// Whether everything that the reference says is said. A list may have more, in another order, and an object more members.
fn says(said: &Value, wanted: &Value) -> bool {
    match (said, wanted) {
        (Value::Object(said), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            let its_own = ITS_OWN.contains(&name.as_str()) || (name == "route" && wanted.is_string());
            its_own || said.get(name).is_some_and(|said| says(said, wanted))
        }),
        (Value::Array(said), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| said.iter().any(|said| says(said, wanted)))
        }
        // What is a number and differs from run to run is one of these.
        (Value::Number(_), Value::Number(_)) => true,
        (said, wanted) => said == wanted,
    }
}

/// JSON, where numbers have been made words.
fn json(text: &str) -> Option<Value> {
    let text = [" NUMBER", ",NUMBER", ":NUMBER,", ":NUMBER}"]
        .iter()
        .fold(text.to_owned(), |text, one| text.replace(one, &one.replace("NUMBER", "0")));
    serde_json::from_str(&text).ok()
}

/// What differs between two runs, in the eyes of a script.
fn differences(found: &str, recorded: &str) -> Vec<String> {
    let (found, recorded) = (steps(found), steps(recorded));
    assert_eq!(found.len(), recorded.len());
    let mut differences = Vec::new();
    for (found, recorded) in found.iter().zip(&recorded) {
        // Sentences for people, which the reference writes to the pipe where it has nothing for scripts.
        let is_prose = recorded.output.starts_with("  ");
        let same = found.command == recorded.command
            && found.failed == recorded.failed
            && (recorded.failed
                || is_prose
                || recorded.output.is_empty()
                || match (json(&found.output), json(&recorded.output)) {
                    (Some(found), Some(recorded)) => says(&found, &recorded),
                    _ => found.output == recorded.output,
                });
        if !same {
            differences.push(format!("{recorded:#?}\n{found:#?}"));
        }
    }
    differences
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
    let of =
        |output: &str, failed: bool| format!("$ ockam x\n{output}{}", if failed { "exit 70\n" } else { "" });
    let differs = |found: &str, recorded: &str| !differences(found, recorded).is_empty();
    assert!(!differs(&of("a\n", false), &of("a\n", false)));
    assert!(differs(&of("b\n", false), &of("a\n", false)));
    assert!(differs(&of("a\n", false), &of("a\n", true)));
    assert!(!differs(&of("{\"a\":1,\"b\":2}\n", false), &of("{\n  \"a\": NUMBER\n}\n", false)));
    assert!(differs(&of("{\"b\":2}\n", false), &of("{\n  \"a\": NUMBER\n}\n", false)));
    assert!(differs(&of("[]\n", false), &of("[{\"a\":\"x\"}]\n", false)));
    assert_eq!(
        normal("127.0.0.1:4000 /service/0123456789abcdef0123456789abcdef"),
        "127.0.0.1:NUMBER /service/HEX"
    );
}
