//! AWS KMS, played by `kms_emulator.py` beside this file: each test has one of its own, on a port of its own.
//!
//! Credentials come from the standard chain of AWS, which means from the environment of a process, so a test that uses it runs in a
//! child process, as with [`crate::softhsm`]:
//!
//! ```ignore
//! #[test]
//! fn a_key_signs() {
//!     let Some(kms) = Emulator::enter("a_key_signs") else { return };
//!     let uri = kms.uri();
//!     // …
//! }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use vault::{KeyUri, Scheme};

const DIRECTORY: &str = "OCKAM_KMS_TEST_AWSKMS";
/// The region of every vault here.
pub const REGION: &str = "eu-west-1";
const ACCESS_KEY: &str = "AKIDOFATEST";
const SECRET: &str = "the-secret-of-a-test";

/// A running emulator, ended when dropped.
#[derive(Debug)]
pub struct Emulator {
    process: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    port: u64,
    directory: PathBuf,
    tls: bool,
    /// Kept where this process made it.
    _own: Option<tempfile::TempDir>,
}

impl Emulator {
    /// In the child: a running emulator. In the test itself: runs the child and checks that it passes.
    ///
    /// # Panics
    /// When the child fails.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        Self::enter_with(test, false)
    }

    /// The same, over TLS, with a CA of the test's own that `AWS_CA_BUNDLE` names.
    ///
    /// # Panics
    /// When the child fails.
    #[must_use]
    pub fn enter_tls(test: &str) -> Option<Self> {
        Self::enter_with(test, true)
    }

    fn enter_with(test: &str, tls: bool) -> Option<Self> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return Some(Self::start_in(directory.into(), tls, None));
        }
        let directory = tempfile::tempdir().unwrap();
        if tls {
            certificates(directory.path());
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(DIRECTORY, directory.path());
        command.envs(variables(directory.path()));
        if tls {
            command.env("AWS_CA_BUNDLE", directory.path().join("ca.pem"));
        }
        let status = command.status().unwrap();
        assert!(status.success(), "`{test}` failed in its child process: {status}");
        None
    }

    /// An emulator for programs that the test starts with these [`variables`](Self::variables).
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let own = tempfile::tempdir().unwrap();
        Self::start_in(own.path().to_owned(), false, Some(own))
    }

    fn start_in(directory: PathBuf, tls: bool, own: Option<tempfile::TempDir>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kms_emulator.py");
        let mut command = Command::new(python());
        command.arg(script).args(["--access-key", ACCESS_KEY, "--secret", SECRET]);
        if tls {
            command.arg("--certificate").arg(directory.join("server.pem"));
            command.arg("--private-key").arg(directory.join("server.key"));
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the emulator says its port");
        let port = said.get("port").and_then(Value::as_u64).expect("a port");
        Self { process, talk: Mutex::new((orders, answers)), port, directory, tls, _own: own }
    }

    /// The variables by which a program gets credentials that the emulator takes, and looks for none elsewhere.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        variables(&self.directory)
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// The URI of a vault in it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn uri(&self) -> KeyUri {
        let uri = KeyUri::new(Scheme::AwsKms).with("region", REGION);
        uri.and_then(|uri| uri.with("endpoint", self.endpoint())).unwrap()
    }

    /// Gives it an order and returns its answer.
    ///
    /// # Panics
    /// When it is gone, or does not know the order.
    pub fn order(&self, order: &Value) -> Value {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (orders, answers) = &mut *talk;
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{order}: {e}: {line}"));
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer
    }

    /// From now on, this goes wrong. Fields as in the emulator: `call`, `kind`, `times` and what the kind needs.
    pub fn fault(&self, mut fault: Value) {
        if let Some(fields) = fault.as_object_mut() {
            fields.insert("do".to_owned(), json!("fault"));
        }
        self.order(&fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.order(&json!({ "do": "clear" }));
    }

    /// Nobody listens any more, and no connection is left.
    pub fn down(&self) {
        self.order(&json!({ "do": "down" }));
    }

    /// It listens again, on the same port, with the keys that it had.
    pub fn up(&self) {
        self.order(&json!({ "do": "up" }));
    }

    /// How often a call was carried out.
    #[must_use]
    pub fn calls(&self, call: &str) -> u64 {
        self.order(&json!({ "do": "calls" })).get(call).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Every key of the account: `id`, `state`, `spec`, `aliases`, `tags`.
    ///
    /// # Panics
    /// When the emulator answers something else.
    #[must_use]
    pub fn keys(&self) -> Vec<Value> {
        self.order(&json!({ "do": "keys" })).as_array().expect("a list").clone()
    }

    /// Changes what the service knows of a key, behind everybody's back.
    pub fn set(&self, key_id: &str, field: &str, value: &Value) {
        self.order(&json!({ "do": "set", "id": key_id, "field": field, "value": value }));
    }

    /// Points an alias at a key, behind everybody's back.
    pub fn point(&self, alias: &str, key_id: &str) {
        self.order(&json!({ "do": "point", "alias": alias, "id": key_id }));
    }

    /// Stops the process, or lets it go on: a network that swallows everything.
    ///
    /// # Panics
    /// When `kill` cannot be run.
    pub fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python of the environment that `scripts/setup` makes.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn python() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = set("OCKAM_KMS_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("ockam-kms")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/ockam-kms")))
        .expect("a home directory");
    let python = cache.join("kms-emulator/bin/python");
    assert!(python.exists(), "there is no emulator of KMS in {}: run scripts/setup", cache.display());
    python
}

fn variables(directory: &Path) -> Vec<(&'static str, String)> {
    let nothing = directory.join("nothing").display().to_string();
    vec![
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", nothing.clone()),
        ("AWS_SHARED_CREDENTIALS_FILE", nothing),
    ]
}

/// A CA, `ca.pem`, and a certificate for this machine.
fn certificates(directory: &Path) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a CA of the test's own");
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let ca = Issuer::new(params, key);
    let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec!["127.0.0.1".to_owned()]));
    write("server.pem", params.unwrap().signed_by(&key, &ca).unwrap().pem());
    write("server.key", key.serialize_pem());
}
