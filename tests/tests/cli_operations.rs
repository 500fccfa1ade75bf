//! Operating an authority through the program: metrics, a log in JSON, a token that is moved away, a server that hangs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ockam_kms_tests::cli::Kms;
use ockam_kms_tests::softhsm::{MODULE, SoftHsm};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn create(kms: &mut Kms, more: &[&str]) -> Value {
    let common = ["authority", "create", "--project-identifier", "demo", "--trusted-identities", "{}"];
    let door = ["--http-address", "127.0.0.1:0", "--output", "json"];
    kms.run(&[&common[..], &door, more].concat()).code(0).json()
}

/// Asks a door, and returns status and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn metrics_have_a_door_and_the_log_is_json() {
    let mut kms = Kms::new();
    let shown = create(&mut kms, &["--metrics-address", "127.0.0.1:0", "--log-format", "json"]);
    let door = shown["http_address"].as_str().unwrap().to_owned();
    assert_eq!(get(&door, "/v1/issuer").0, 200);
    assert_eq!(get(&door, "/metrics").0, 404, "not on the members' door");
    let status = kms.run(&["authority", "show", "authority-demo", "--output", "json"]).code(0).json();
    let metrics = status["status"]["metrics_address"].as_str().unwrap();
    let (code, text) = get(metrics, "/metrics");
    assert_eq!(code, 200);
    let counted = "ockam_kms_requests_total{method=\"GET\",route=\"/v1/issuer\",outcome=\"ok\"} 1";
    assert!(text.lines().any(|line| line == counted), "{text}");
    kms.run(&["authority", "stop"]).code(0);
    let log = std::fs::read_to_string(kms.home().join("servers/authority-demo.log")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let asked = lines.iter().find(|line| line["span"]["route"] == "/v1/issuer").expect(&log);
    assert_eq!((&asked["fields"]["status"], &asked["fields"]["outcome"]), (&json!(200), &json!("ok")));
    assert!(asked["span"]["id"].as_str().is_some_and(|id| id.len() == 16), "{asked}");
    // What others could read needs a word.
    let open = ["--http-address", "127.0.0.1:0", "--metrics-address", "0.0.0.0:0"];
    let common = ["authority", "create", "--project-identifier", "x", "--trusted-identities", "{}"];
    kms.run(&[&common[..], &open].concat()).code(77);
}

#[test]
fn a_token_that_is_moved_away_is_missed() {
    let (_directory, hsm) = SoftHsm::prepare();
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    hsm.init("t");
    let pin = hsm.directory().join("t.pin");
    let pin = pin.to_str().unwrap();
    kms.run(&["vault", "create", "hsm", "--token", "t", "--module-path", MODULE, "--pin-file", pin]).code(0);
    kms.run(&["identity", "create", "issuer", "--vault", "hsm", "--key-type", "p256"]).code(0);
    let shown = create(&mut kms, &["--identity", "issuer"]);
    let door = shown["http_address"].as_str().unwrap().to_owned();
    until("ready", || (get(&door, "/readyz").0 == 200).then_some(()));

    let away = hsm.directory().join("away");
    std::fs::rename(hsm.tokens(), &away).unwrap();
    let (code, body) = until("missed", || Some(get(&door, "/readyz")).filter(|(code, _)| *code != 200));
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &problem["missing"]), (503, &json!(["vault"])), "{body}");
    assert_eq!(problem["type"], json!("urn:ockam-kms:problem:not-ready"));
    assert_eq!(get(&door, "/healthz").0, 200);

    std::fs::rename(&away, hsm.tokens()).unwrap();
    until("ready again", || (get(&door, "/readyz").0 == 200).then_some(()));
    kms.run(&["authority", "stop"]).code(0);
}

#[test]
fn a_server_that_hangs_is_killed_when_it_is_said() {
    let mut kms = Kms::new();
    create(&mut kms, &[]);
    // One that does not hang ends by itself.
    let stopped = kms.run(&["authority", "stop", "--force", "--output", "json"]).code(0).json();
    assert_eq!(stopped, json!({ "name": "authority-demo", "was_running": true, "killed": false }));

    let pid = create(&mut kms, &[])["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let begin = Instant::now();
    let killed = kms.run(&["authority", "stop", "--force", "--output", "json"]).code(0).json();
    assert_eq!(killed, json!({ "name": "authority-demo", "was_running": true, "killed": true }));
    assert!(begin.elapsed() >= Duration::from_secs(5), "it had its chance");
    // Nothing is left that a new start minds.
    create(&mut kms, &[]);
    kms.run(&["authority", "stop"]).code(0);
}
