//! A home, software vaults and tokens on disk, in which processes are started and killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use home::rotation::{Moment, Plan};
use serde_json::Value as Json;

use super::{DONE, Held, Look, Named, Place, READY, Setup, moment};
use crate::softhsm::SoftHsm;

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It does not.
    Never,
    /// At a moment of the rotation, by its own hand.
    At(Moment),
    /// This long after it said that it was ready, from outside.
    After(Duration),
}

/// What came of a process.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The last moment that it reached.
    pub last: Option<Moment>,
    /// Whether it was killed, and not through before.
    pub killed: bool,
    /// From being ready to being done, when it got there.
    pub took: Option<Duration>,
}

/// A home with two software vaults, two tokens when there have to be any, and an identity with a primary key and a
/// credential key. It can be put back to how it was.
#[derive(Debug)]
pub struct World {
    hsm: SoftHsm,
    program: PathBuf,
    // Removed when the world ends.
    _directory: tempfile::TempDir,
}

/// The parts of a world that a rotation changes.
const CHANGING: [&str; 2] = ["home", "tokens"];

impl World {
    /// Makes a world in which the identity's keys are in the first vault of a place. `program` is `rotation-crash`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(program: &str, place: Place, key_type: &str, with_tokens: bool) -> Self {
        let (directory, hsm) = SoftHsm::prepare();
        let labels = if with_tokens { &Place::Token.vaults()[..] } else { &[] };
        let tokens = labels.iter().map(|label| ((*label).to_owned(), hsm.init(label).to_string())).collect();
        let [vault, _] = place.vaults();
        let setup = Setup { tokens, vault: vault.to_owned(), key_type: key_type.to_owned() };
        let world = Self { hsm, program: program.into(), _directory: directory };
        world.through("setup", &serde_json::to_string(&setup).unwrap());
        for part in CHANGING {
            copy(&world.path(part), &world.path(&format!("{part}.before")));
        }
        world
    }

    fn path(&self, part: &str) -> PathBuf {
        self.hsm.directory().join(part)
    }

    fn journals(&self) -> PathBuf {
        self.path("home").join("rotations")
    }

    /// Loses the journals, as a power cut does with files that were never synced.
    ///
    /// # Panics
    /// When they cannot be removed.
    pub fn lose_journals(&self) {
        for name in names(&self.journals()) {
            fs::remove_file(self.journals().join(name)).unwrap();
        }
    }

    /// Puts it back to how it was when it was made.
    ///
    /// # Panics
    /// When the files cannot be copied.
    pub fn put_back(&self) {
        for part in CHANGING {
            fs::remove_dir_all(self.path(part)).unwrap();
            copy(&self.path(&format!("{part}.before")), &self.path(part));
        }
    }

    /// Starts a rotation that dies. With `destroys_first` it is one that destroys the old key before the new one is
    /// committed to.
    ///
    /// # Panics
    /// When it ends in any other way.
    #[must_use]
    pub fn rotate(&self, plan: &Plan, death: Death, destroys_first: bool) -> Run {
        let verb = if destroys_first { "rotate-destroying-first" } else { "rotate" };
        self.run(verb, &serde_json::to_string(plan).unwrap(), death)
    }

    /// Starts a recovery that dies.
    ///
    /// # Panics
    /// When it ends in any other way.
    #[must_use]
    pub fn recover(&self, death: Death) -> Run {
        self.run("recover", "null", death)
    }

    /// Recovers in a new process, and says what it could not.
    ///
    /// # Panics
    /// When the process fails.
    #[must_use]
    pub fn recovered(&self) -> Vec<String> {
        let lines = self.through("recover", "null");
        let failures = lines.iter().filter_map(|line| line.strip_prefix("failed "));
        failures.map(str::to_owned).collect()
    }

    /// Destroys the private half of a key on a token, as a process does that dies in the midst of destroying a key.
    ///
    /// # Panics
    /// When the process fails.
    pub fn halve(&self, key: &Named) {
        self.through("halve", &serde_json::to_string(key).unwrap());
    }

    /// Looks at it, in a new process and through the file system.
    ///
    /// # Panics
    /// When it cannot be looked at.
    #[must_use]
    pub fn look(&self) -> Look {
        let lines = self.through("look", "null");
        let mut look: Look = serde_json::from_str(lines.last().expect("a look is a line")).unwrap();
        for vault in Place::Soft.vaults() {
            look.held
                .insert(vault.to_owned(), files(&self.path("home").join("vaults").join(vault).join("keys")));
        }
        look.journals = names(&self.journals()).into_iter().filter(|name| name.ends_with(".json")).collect();
        look
    }

    fn command(&self, verb: &str, argument: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg(self.path("home")).arg(argument).env("SOFTHSM2_CONF", self.hsm.conf());
        command
    }

    /// Runs the program to its end and returns the lines it printed.
    fn through(&self, verb: &str, argument: &str) -> Vec<String> {
        let output = self.command(verb, argument).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{verb}: {}: {out}{err}", output.status);
        out.lines().map(str::to_owned).collect()
    }

    fn run(&self, verb: &str, argument: &str, death: Death) -> Run {
        let mut command = self.command(verb, argument);
        if let Death::At(moment) = death {
            command.arg(format!("{moment:?}"));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = Lines(BufReader::new(child.stdout.take().unwrap()));
        let mut run = Run { last: None, killed: false, took: None };
        while lines.next().unwrap_or_else(|| panic!("{verb}: died before it was ready")) != READY {}
        let start = Instant::now();
        if let Death::After(time) = death {
            sleep(time);
            child.kill().unwrap();
        }
        while let Some(line) = lines.next() {
            if line == DONE {
                run.took = Some(start.elapsed());
            }
            run.last = moment(&line).or(run.last);
        }
        let status = child.wait().unwrap();
        // Any other signal is a crash that nobody asked for.
        run.killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
        assert!(run.killed || status.success(), "{verb}: {status}");
        if let Death::At(moment) = death {
            assert!(
                run.killed && run.last == Some(moment),
                "{verb}: died at {:?}, not at {moment:?}",
                run.last
            );
        }
        run
    }
}

struct Lines(BufReader<ChildStdout>);

impl Lines {
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).unwrap();
        // Whatever a death cut off says nothing.
        (length > 0).then(|| line.trim_end().to_owned())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(e) => panic!("{}: {e}", directory.display()),
    };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The keys of a software vault, by their files.
fn files(directory: &Path) -> Held {
    let mut held = Held::default();
    for name in names(directory) {
        let read = || -> Option<String> {
            let record: Json = serde_json::from_slice(&fs::read(directory.join(&name)).ok()?).ok()?;
            record.get("public")?.as_str().map(str::to_owned)
        };
        match read().filter(|_| name.ends_with(".json")) {
            Some(public) => held.keys.push(public),
            // What a writer that died left: no vault opens it, and it is swept when it is an hour old.
            None if name.starts_with(".new-") => held.unfinished += 1,
            None => held.odd.push(format!("the file `{name}`")),
        }
    }
    held.keys.sort();
    held
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
