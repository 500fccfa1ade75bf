//! Where secrets are not: a whole life of an authority and of nodes, at the most talkative level, with a token and a TPM, with
//! locks that change, with mistakes; then every secret that there was is looked for, in every form, at rest and in all that was said.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set up its world should stop"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ockam_kms_tests::cli::{Kms, Ran};
use ockam_kms_tests::secrets::{Needles, Secrets, files, of_vault};
use ockam_kms_tests::softhsm::{MODULE, SO_PIN, SoftHsm};
use ockam_kms_tests::swtpm::{AUTH, Swtpm};
use serde_json::json;

/// What the world around the program could see: arguments and environments of processes, while they lived.
struct Watcher {
    end: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    /// Watches every process that has to do with a directory.
    fn start(directory: &Path) -> Self {
        let (end, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let about = directory.to_str().unwrap().as_bytes().to_vec();
        let own = std::process::id().to_string();
        let thread = std::thread::spawn({
            let (end, seen) = (Arc::clone(&end), Arc::clone(&seen));
            move || {
                while !end.load(Ordering::Relaxed) {
                    for process in std::fs::read_dir("/proc").unwrap().flatten() {
                        let name = process.file_name();
                        if name == *own || !name.to_string_lossy().bytes().all(|c| c.is_ascii_digit()) {
                            continue;
                        }
                        // What may not be read is what others may not read either.
                        let read = |file| std::fs::read(process.path().join(file)).unwrap_or_default();
                        let found = [read("environ"), b"\0\0".to_vec(), read("cmdline")].concat();
                        if found.windows(about.len()).any(|window| window == about) {
                            seen.lock().unwrap().insert(found);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { end, seen, thread: Some(thread) }
    }

    fn stop(mut self) -> Vec<Vec<u8>> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let seen = self.seen.lock().unwrap();
        seen.iter().cloned().collect()
    }
}

/// A world with what was said in it, by what said it.
struct World {
    kms: Kms,
    said: Vec<(String, Vec<u8>)>,
    secrets: Secrets,
}

impl World {
    /// Runs a command and keeps what it said.
    fn run(&mut self, at: &str, arguments: &[&str], input: &str, code: i32) -> Ran {
        let ran = self.told(at, arguments, input, code);
        self.said.push((format!("{arguments:?}"), [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat()));
        ran
    }

    /// As [`run`](Self::run), of a command whose answer is a secret.
    fn told(&mut self, at: &str, arguments: &[&str], input: &str, code: i32) -> Ran {
        self.kms.at(at).run_apart(arguments, input.as_bytes()).code(code)
    }

    /// Opens the vaults of a home by what is known, and keeps what is in them.
    fn gather(&mut self, home: &str, vaults: &[&str]) {
        for vault in vaults {
            of_vault(&self.kms.path(home).join(vault), &mut self.secrets);
        }
    }

    /// Sends bytes to a server as they are, and keeps the answer, which begins like this.
    fn send(&mut self, address: &str, request: &str, wanted: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {wanted}")), "{text}");
        self.said.push(("an answer over HTTP".to_owned(), answer));
        text
    }

    /// Reads what a server says at one of its doors.
    fn get(&mut self, address: &str, path: &str) -> String {
        self.send(
            address,
            &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
            "200",
        )
    }
}

const OLD: &str = "correct horse battery staple 4711";
const NEW: &str = "an even longer passphrase 0815";
const WRONG: &str = "what somebody typed by mistake 99";
const PIN: &str = "pin-3f9a01c7e2b8";
const WRONG_PIN: &str = "pin-000000000000";
const WRONG_AUTH: &str = "auth-00000000000";

/// Vaults and identities of an enroller, whose vault gets a lock after the other.
fn enroller(world: &mut World) -> String {
    let at = "enroller";
    world.run(at, &["vault", "create", "own"], "", 0);
    let id = world.run(at, &["identity", "create", "enroller"], "", 0).stdout;
    world.run(at, &["key", "generate", "x", "--key-type", "x25519"], "", 0);
    world.gather(at, &["vaults/own"]);
    world.run(at, &["vault", "rekey", "own", "--new-passphrase", "-"], &format!("{OLD}\n"), 0);
    let both = format!("{OLD}\n{NEW}\n");
    world.run(at, &["vault", "rekey", "own", "--passphrase", "-", "--new-passphrase", "-"], &both, 0);
    world.run(at, &["key", "list", "--passphrase", "-"], &format!("{WRONG}\n"), 77);
    world.run(at, &["key", "list", "--passphrase", "-", "--output", "json"], &format!("{OLD}\n"), 77);
    world.run(at, &["key", "list", "--passphrase", "-"], &format!("{NEW}\n"), 0);
    id
}

/// A server whose keys are in a vault that another one locks, and on a token: where it is asked, and where measured.
fn authority(world: &mut World, hsm: &SoftHsm, trusted: &str) -> (String, String) {
    let at = "authority";
    let pin_file = hsm.directory().join("t.pin");
    let pin = pin_file.to_str().unwrap();
    let token = ["vault", "create", "hsm", "--token", "t", "--module-path", MODULE];
    world.run(at, &["vault", "create", "locks"], "", 0);
    world.run(at, &["vault", "create", "main", "--kek", "vault=locks"], "", 0);
    world.run(at, &["vault", "default", "main"], "", 0);
    world.run(at, &[&token[..], &["--pin", "-"]].concat(), &format!("{WRONG_PIN}\n"), 77);
    world.run(at, &[&token[..], &["--pin-file", pin]].concat(), "", 0);
    let create = [
        "authority",
        "create",
        "--project-identifier",
        "demo",
        "--trusted-identities",
        trusted,
        "--http-address",
        "127.0.0.1:0",
        "--metrics-address",
        "127.0.0.1:0",
    ];
    world.run(at, &create, "", 0);
    world.gather(at, &["vaults/locks", "vaults/main"]);
    let shown = world.run(at, &["authority", "show", "--output", "json"], "", 0).json();
    let [door, metrics] = [&shown["http_address"], &shown["status"]["metrics_address"]];
    (door.as_str().unwrap().to_owned(), metrics.as_str().unwrap().to_owned())
}

/// A ticket, whose code is kept under this name.
fn ticket(world: &mut World, address: &str, name: &str) -> String {
    let history =
        world.run("authority", &["identity", "show", "authority-demo", "--full", "--encoding", "hex"], "", 0);
    let url = format!("http://{address}");
    let route = ["--authority-route", &url, "--authority-identity", &history.stdout];
    let arguments = [&["project", "ticket", "-a", "role=member", "--passphrase", "-"], &route[..]].concat();
    let ticket = world.told("enroller", &arguments, &format!("{NEW}\n"), 0).stdout;
    let code = ticket.split(',').nth(3).unwrap();
    world.secrets.insert(name.to_owned(), hex::decode(code).unwrap());
    ticket
}

/// A node that takes a passphrase as it starts, one that takes a ticket, one whose key is in a TPM, and channels between them.
fn nodes(world: &mut World, address: &str, tpm: &Swtpm) {
    let create = ["node", "create", "n1", "--identity", "enroller", "--passphrase", "-"];
    world.run("enroller", &create, &format!("{WRONG}\n"), 77);
    // For the key of the channels, which is made here, and for the server.
    world.run("enroller", &create, &format!("{NEW}\n"), 0);
    let ticket = ticket(world, address, "ticket code of a node");
    let create = ["node", "create", "n1", "--status-endpoint", "127.0.0.1:0", "--enrollment-ticket", "-"];
    world.run("edge", &create, &ticket, 0);

    let uri = tpm.uri("secrets").without("path").to_string();
    world.run("chip", &["vault", "create", "tpm", "--uri", &uri], "", 0);
    world.run("chip", &["identity", "create", "tpm", "--vault", "tpm"], "", 0);
    let issue = ["credential", "issue", "--as", "tpm", "--for", "tpm"];
    std::fs::write(tpm.auth_file(), format!("{WRONG_AUTH}\n")).unwrap();
    world.run("chip", &issue, "", 77);
    std::fs::write(tpm.auth_file(), format!("{AUTH}\n")).unwrap();
    world.run("chip", &issue, "", 0);
    world.run("chip", &["node", "create", "n1", "--identity", "tpm"], "", 0);

    let shown =
        |world: &mut World, at: &str| world.run(at, &["node", "show", "--output", "json"], "", 0).json();
    for (from, to) in [("edge", "enroller"), ("chip", "edge"), ("enroller", "chip")] {
        let listens = shown(world, to)["tcp_address"].as_str().unwrap().to_owned();
        let to = format!("/ip4/127.0.0.1/tcp/{}/service/api", listens.rsplit(':').next().unwrap());
        let open = ["secure-channel", "create", "--from", "n1", "--to", &to, "--timeout", "60s"];
        let channel = world.run(from, &open, "", 0).stdout;
        let service = format!("{channel}/service/uppercase");
        let send = ["message", "send", "hello", "--from", "n1", "--to", &service, "--timeout", "60s"];
        assert_eq!(world.run(from, &send, "", 0).stdout, "HELLO");
        world.run(from, &["secure-channel", "show", &channel, "--at", "n1", "--output", "json"], "", 0);
    }
    let status = shown(world, "edge")["status_endpoint_address"].as_str().unwrap().to_owned();
    world.get(&status, "/show");
    world.gather("enroller", &["vaults/own"]);
    world.gather("edge", &["vaults/default", "request-keys/vault"]);
    for home in ["enroller", "edge", "chip"] {
        world.run(home, &["node", "stop", "n1"], "", 0);
    }
}

/// Everything that there is to do, and some of what can go wrong.
fn live(world: &mut World, hsm: &SoftHsm, tpm: &Swtpm) {
    let id = enroller(world);
    let trusted = world.kms.file("trusted.json", json!({ id: { "ockam-role": "enroller" } }).to_string());
    let (address, metrics) = authority(world, hsm, trusted.to_str().unwrap());
    let ticket = ticket(world, &address, "ticket code");
    let code = hex::encode(&world.secrets["ticket code"]);
    for (body, path) in [
        (json!({ "code": code }).to_string(), "/v1/enrol"),
        (format!("{{\"code\": \"{code}\", broken"), "/v1/enrol"),
        (format!("{{\"{code}\": 1}}"), "/v1/tickets"),
        (String::new(), &*format!("/v1/tickets/{code}")),
        (String::new(), &*format!("/nowhere?code={code}")),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             x-code: {code}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        world.send(&address, &request, "4");
    }
    world.send(&address, &format!("{code} nonsense\r\n\r\n"), "4");
    world.run("member", &["project", "enroll", "-", "--output", "json"], &ticket, 0);
    world.run("member", &["project", "enroll", "--output", "json"], "", 0);
    world.gather("member", &["vaults/default", "request-keys/vault"]);
    world.gather("enroller", &["vaults/own", "request-keys/vault"]);
    world.run("late", &["project", "enroll", "-"], &ticket, 77);
    world.run("late", &["project", "enroll", "-"], &ticket.replace(&code, &code[2..]), 64);
    world.gather("late", &["vaults/default", "request-keys/vault"]);
    nodes(world, &address, tpm);
    let at = "authority";
    world.run(at, &["identity", "rotate", "authority-demo", "--key-type", "p256"], "", 0);
    world.gather(at, &["vaults/main"]);
    world.run(at, &["vault", "rekey", "main", "--kek", "vault=hsm"], "", 0);
    world.run(at, &["vault", "rekey", "main", "--own-key-file"], "", 0);
    world.gather(at, &["vaults/main"]);
    world.run(at, &["vault", "rekey", "main", "--kek", "vault=locks"], "", 0);
    world.gather(at, &["vaults/locks", "vaults/main"]);
    world.run(at, &["identity", "rotate", "authority-demo", "--to-vault", "hsm"], "", 0);
    world.run("member", &["project", "enroll"], "", 0);
    world.run(at, &["audit", "export"], "", 0);
    let measured = world.get(&metrics, "/metrics");
    assert!(measured.contains("\nockam_kms_requests_total{") && measured.contains("/v1/enrol"), "{measured}");
    // It ends without a word: what is in its log and its store stays, and no core is dumped.
    let pid = world.run(at, &["authority", "show", "--output", "json"], "", 0).json()["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-s", "ABRT", &pid]).status().unwrap().success());
    let start = Instant::now();
    while Path::new("/proc").join(&pid).join("exe").exists() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_secret_is_anywhere_but_in_its_place() {
    let (_tokens, hsm) = SoftHsm::prepare();
    let tpm = Swtpm::start();
    hsm.util(&["--init-token", "--free", "--label", "t", "--so-pin", SO_PIN, "--pin", PIN]);
    std::fs::write(hsm.directory().join("t.pin"), format!("{PIN}\n")).unwrap();
    let mut kms = Kms::new();
    kms.set("SOFTHSM2_CONF", hsm.conf());
    kms.set("OCKAM_KMS_LOG", "trace");
    kms.set("RUST_BACKTRACE", "full");
    let passphrases = [("old", OLD), ("new", NEW), ("wrong", WRONG)];
    let devices = [("PIN", PIN), ("wrong PIN", WRONG_PIN), ("TPM", AUTH), ("wrong TPM", WRONG_AUTH)];
    let secrets = passphrases
        .into_iter()
        .chain(devices)
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
        .collect();
    let directory = kms.path("");
    let mut world = World { kms, said: Vec::new(), secrets };
    let watcher = Watcher::start(&directory);
    live(&mut world, &hsm, &tpm);
    let processes = watcher.stop();
    // The short-lived ones are seen by chance, the server for certain.
    let server = |seen: &Vec<u8>| seen.windows(12).any(|window| window == b"--foreground");
    assert!(processes.len() >= 3 && processes.iter().any(server), "{}", processes.len());

    let World { said, secrets, kms } = world;
    let of = |kind: &str| secrets.keys().filter(|name| name.starts_with(kind)).count();
    assert!(of("key/") >= 12 && of("data key/") >= 7 && of("kek/") >= 6, "{:?}", secrets.keys());
    let needles = Needles::of(&secrets);
    let mut places = Vec::new();
    for path in files(&directory) {
        let name = path.strip_prefix(&directory).unwrap().display().to_string();
        assert!(!name.contains("core"), "{name}");
        places.push((name, std::fs::read(&path).unwrap()));
    }
    let log = places.iter().find(|(name, _)| name.ends_with("servers/authority-demo.log")).unwrap();
    assert!(String::from_utf8_lossy(&log.1).contains("the authority is ready"));
    for home in ["enroller", "edge", "chip"] {
        let log = places.iter().find(|(name, _)| *name == format!("{home}/servers/n1.log"));
        let log = String::from_utf8_lossy(&log.unwrap().1);
        // Not only what is worth a line anyhow.
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "{home}: {log}");
    }
    let store = places.iter().filter(|(name, _)| name.contains("authority-demo.db/")).count();
    assert!(store > 3, "{:?}", places.iter().map(|(name, _)| name).collect::<Vec<_>>());
    places.extend(said);
    places.extend(processes.into_iter().map(|seen| ("a process".to_owned(), seen)));
    let found: Vec<_> = places
        .iter()
        .flat_map(|(name, bytes)| needles.found_in(bytes).into_iter().map(move |what| (name, what)))
        // A key file holds its key, in hex, and nothing else.
        .filter(|(name, what)| !(name.ends_with("/kek") && what.starts_with("kek/")))
        .collect();
    assert!(found.is_empty(), "{found:?}");
    // The control: the same search over the same places, with one secret more in one of them.
    for (name, secret) in &secrets {
        let (_, place) = &mut places[0];
        let length = place.len();
        place.extend_from_slice(hex::encode(secret).as_bytes());
        assert!(needles.found_in(place).iter().any(|what| what.starts_with(name.as_str())), "{name}");
        place.truncate(length);
    }
    drop(kms);
}
