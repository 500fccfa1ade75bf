//! The authority's process and the people who ask it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails fails its test"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authority::audit::AuditHead;
use authority::client::{Client, Endpoint};
use home::{Home, Name};
use identity::{
    Clock, Identifier, Identity, REQUEST_KEY_SECONDS, RequestKeyAttestation, SystemClock, Validity,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vault::soft::SoftVault;
use vault::{KeyName, KeySpec, Signer, Vault, block_on};

use super::{Dice, Facts, Journal};
use crate::ockam_kms;

/// The server's name, and that of its identity.
pub const NAME: &str = "authority-demo";
/// Its project.
pub const PROJECT: &str = "demo";
/// How long a start may take before it counts as failed.
const START: Duration = Duration::from_secs(50);

/// What is started.
#[derive(Clone, Debug)]
pub enum Program {
    /// `ockam-kms authority create --foreground`.
    Real,
    /// The same, with this before it: the words of a command that starts another one.
    Under(Vec<String>),
    /// `crash-authority`, in one of its ways, for what it is and for what it does wrong.
    Scripted(PathBuf, Vec<String>),
}

/// Somebody who asks.
#[derive(Debug)]
pub struct Person {
    /// Who it is.
    pub identity: Identity,
    request_key: Signer,
    attestation: RequestKeyAttestation,
}

impl Person {
    /// Somebody new, whose keys are in memory.
    ///
    /// # Panics
    /// When no keys can be made.
    #[must_use]
    pub fn new(vault: &Arc<dyn Vault>) -> Self {
        let now = SystemClock.now();
        let (primary, request_key) = (signer(vault), signer(vault));
        block_on(async {
            let identity = Identity::create(&primary, Validity::of_primary_key(now)).await.unwrap();
            let valid = Validity::starting(now, REQUEST_KEY_SECONDS);
            let attestation = RequestKeyAttestation::attest(&identity, &primary, request_key.public(), valid)
                .await
                .unwrap();
            Self { identity, request_key, attestation }
        })
    }

    /// The person's way to an authority.
    ///
    /// # Panics
    /// When the URL is none.
    #[must_use]
    pub fn client(&self, url: &str, authority: Identifier, clock: Arc<dyn Clock>) -> Client {
        let endpoint = Endpoint::new(url).unwrap();
        Client::new(
            endpoint,
            authority,
            self.identity.clone(),
            self.request_key.clone(),
            &self.attestation,
            clock,
        )
        .unwrap()
    }
}

fn signer(vault: &Arc<dyn Vault>) -> Signer {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = KeyName::new(&format!("k{}", COUNT.fetch_add(1, Ordering::Relaxed))).unwrap();
    let key = block_on(vault.signing().unwrap().generate(&KeySpec::ed25519(name))).unwrap();
    Signer::bind(Arc::clone(vault), key).unwrap()
}

/// A running server.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    // The server's own number: there may be something before it.
    pid: Pid,
    pub(super) url: String,
    pub(super) authority: Identifier,
}

impl Running {
    /// One that says that it is ready.
    fn of(child: Child, ready: &Value) -> Self {
        let address = ready["http_address"].as_str().unwrap_or_else(|| panic!("{ready}"));
        let pid = ready["pid"].as_i64().unwrap_or_else(|| i64::from(child.id()));
        Self {
            child,
            pid: Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            url: format!("http://{address}"),
            authority: ready["identifier"].as_str().unwrap().parse().unwrap(),
        }
    }
}

/// An authority in a home of its own, those who ask it, and what they know.
#[derive(Debug)]
pub struct World {
    pub(super) directory: tempfile::TempDir,
    program: Program,
    pub(super) vault: Arc<dyn Vault>,
    /// Who may make tickets.
    pub enroller: Person,
    pub(super) members: Mutex<Vec<Arc<Person>>>,
    pub(super) facts: Mutex<Facts>,
    pub(super) journal: Mutex<Journal>,
    pub(super) running: Option<Running>,
    pub(super) head: Option<AuditHead>,
    pub(super) exports: u64,
    /// What the environment of the server is to hold.
    pub variables: Vec<(String, String)>,
    /// How long each start took, until the server said that it was ready.
    pub starts: Vec<Duration>,
    /// How many processes were killed.
    pub kills: usize,
}

impl World {
    /// An authority that was started once, by the real program, and stopped.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(program: Program) -> Self {
        let directory = tempfile::Builder::new().prefix("crash").tempdir().unwrap();
        let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let enroller = Person::new(&vault);
        let journal = Mutex::new(Journal::new(&directory.path().join("journal.jsonl")));
        let mut world = Self {
            directory,
            program: Program::Real,
            vault,
            enroller,
            members: Mutex::default(),
            facts: Mutex::default(),
            journal,
            running: None,
            head: None,
            exports: 0,
            variables: Vec::new(),
            starts: Vec::new(),
            kills: 0,
        };
        if !matches!(program, Program::Real) {
            world.start();
            world.kill();
            (world.starts, world.kills) = (Vec::new(), 0);
            world.program = program;
        }
        world
    }

    /// The home of the authority.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn home(&self) -> Home {
        Home::open(self.directory.path().join("home")).unwrap()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.home().control_socket(&Name::new(NAME).unwrap())
    }

    /// The program with arguments, in this world's home.
    #[must_use]
    pub fn command(&self, program: PathBuf, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("OCKAM_KMS_HOME", self.directory.path().join("home"));
        command
    }

    /// The real program's answer, as JSON.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask_program(&self, arguments: &[&str]) -> Value {
        let output = self.command(ockam_kms(), arguments).args(["--output", "json"]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }

    /// The arguments that start the authority in the foreground.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let enroller = self.enroller.identity.identifier().to_string();
        let trusted = json!({ enroller: { "ockam-role": "enroller" } }).to_string();
        ["authority", "create", "--foreground", "--project-identifier", PROJECT]
            .into_iter()
            .chain(["--http-address", "127.0.0.1:0", "--output", "json", "--trusted-identities", &trusted])
            .map(str::to_owned)
            .collect()
    }

    /// Starts the authority and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not: a failed open.
    pub fn start(&mut self) {
        let begun = Instant::now();
        let (mut child, log) = self.spawn();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let took = begun.elapsed();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("start {}: {line}{}", self.starts.len(), said()));
        assert!(took < START, "start {} took {took:?}", self.starts.len());
        self.starts.push(took);
        self.running = Some(Running::of(child, &ready));
    }

    /// Starts the process, whose errors and log go to a file.
    fn spawn(&self) -> (Child, PathBuf) {
        let log = self.directory.path().join("server.log");
        let mut command = match &self.program {
            Program::Real => {
                let arguments = self.arguments();
                self.command(ockam_kms(), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Program::Under(before) => {
                let [first, rest @ ..] = before.as_slice() else { panic!("a command") };
                let mut command = self.command(first.into(), &[]);
                command.args(rest).arg(ockam_kms()).args(self.arguments());
                command
            }
            Program::Scripted(program, ways) => {
                self.command(program.clone(), &ways.iter().map(String::as_str).collect::<Vec<_>>())
            }
        };
        let child = command
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        (child, log)
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it had ended before by itself.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("a running server");
        assert!(running.child.try_wait().unwrap().is_none(), "it ended by itself: {}", self.log());
        kill_process(running.pid, Signal::KILL).unwrap();
        running.child.wait().unwrap();
        self.kills += 1;
    }

    /// The server's process.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.running.as_ref().expect("a running server").pid
    }

    /// Where the server answers.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.running.as_ref().expect("a running server").url
    }

    /// Starts another program from now on.
    pub fn set_program(&mut self, program: Program) {
        self.program = program;
    }

    /// Starts the authority; when it ends before it is ready, how it did, and what it said.
    ///
    /// # Panics
    /// When it does neither.
    pub fn start_or_end(&mut self) -> Option<(ExitStatus, String)> {
        let (mut child, log) = self.spawn();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match serde_json::from_str::<Value>(&line) {
            Ok(ready) if ready["http_address"].is_string() => {
                self.running = Some(Running::of(child, &ready));
                None
            }
            _ => Some((child.wait().unwrap(), line + &std::fs::read_to_string(log).unwrap_or_default())),
        }
    }

    /// How it ended, when it did so by itself.
    ///
    /// # Panics
    /// When none was started.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().expect("a running server").child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_its_end(&mut self) {
        let mut running = self.running.take().expect("a running server");
        let begun = Instant::now();
        while running.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < START, "it lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kills += 1;
    }

    /// What it said so far.
    ///
    /// # Panics
    /// When that cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap()
    }

    /// How many acknowledgements there were, of each kind.
    ///
    /// # Panics
    /// When a thread that asked had panicked.
    #[must_use]
    pub fn answers(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.facts.lock().unwrap().answers.clone()
    }

    /// Somebody new.
    #[must_use]
    pub fn person(&self) -> Arc<Person> {
        Arc::new(Person::new(&self.vault))
    }

    /// A client of somebody, to the server that runs.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn client(&self, of: &Person) -> Client {
        self.client_by(of, Arc::new(SystemClock))
    }

    /// A client of somebody who has a clock of their own.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn client_by(&self, of: &Person, clock: Arc<dyn Clock>) -> Client {
        let running = self.running.as_ref().expect("a running server");
        of.client(&running.url, running.authority, clock)
    }

    /// Starts the program and has it end by itself; what it said then.
    ///
    /// # Panics
    /// When it starts.
    #[must_use]
    pub fn refused_to_start(&self) -> String {
        let arguments = self.arguments();
        let mut command =
            self.command(ockam_kms(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let output = command.envs(self.variables.iter().cloned()).output().unwrap();
        let said =
            [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat();
        assert!(!output.status.success(), "{said}");
        said
    }

    /// A client of the enroller.
    #[must_use]
    pub fn enroller(&self) -> Client {
        self.client(&self.enroller)
    }

    /// Lives for a random time up to `life` while it is asked for everything, and is killed then.
    pub fn live_and_die(&mut self, dice: &mut Dice, life: Duration) {
        let until = Instant::now() + dice.time_within(life);
        let seeds = [dice.roll(), dice.roll(), dice.roll(), dice.roll()];
        std::thread::scope(|scope| {
            let world = &*self;
            let threads = seeds.map(|seed| scope.spawn(move || world.drive(Dice(seed), seed == seeds[0])));
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            kill_process(world.pid(), Signal::KILL).unwrap();
            for thread in threads {
                thread.join().unwrap();
            }
        });
        self.wait_for_its_end();
    }
}

/// No server outlives its test.
impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = kill_process(running.pid, Signal::KILL);
            let _ = running.child.wait();
        }
    }
}
