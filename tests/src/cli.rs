//! Running `ockam-kms` as a person or a script does, in a home of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails fails its test"
)]

mod redact;
pub mod session;
pub mod transcript;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::ockam_kms;
use redact::Redactor;

/// What a run of the program came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, wanted, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

/// A directory with homes in it.
#[derive(Debug)]
pub struct Kms {
    directory: tempfile::TempDir,
    home: String,
    variables: Vec<(String, String)>,
    redactor: Redactor,
}

impl Kms {
    /// A fresh one. Its home is the directory `home` in it, which does not exist yet.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kms").tempdir().unwrap();
        let redactor = Redactor::new(directory.path());
        Self { directory, home: "home".to_owned(), variables: Vec::new(), redactor }
    }

    /// Sets a variable for every run from now on.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.variables.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
    }

    /// Uses another home from now on.
    pub fn at(&mut self, home: &str) -> &mut Self {
        home.clone_into(&mut self.home);
        self
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path(&self.home)
    }

    /// Writes a file into the directory.
    ///
    /// # Panics
    /// When that fails.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with arguments, as every run starts it: nothing of this process's environment but what is needed.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ockam_kms());
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.directory.path())
            .env("OCKAM_KMS_HOME", self.home());
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs the program with nothing on its standard input.
    ///
    /// # Panics
    /// When it cannot be started or writes something that is not text.
    pub fn run(&mut self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// As [`run`](Self::run), with something on its standard input.
    ///
    /// # Panics
    /// As `run`.
    pub fn run_with(&mut self, arguments: &[&str], input: &[u8]) -> Ran {
        self.run_apart(arguments, input)
    }

    /// As [`run_with`](Self::run_with); may be called by several threads at once.
    ///
    /// # Panics
    /// As `run`.
    #[must_use]
    pub fn run_apart(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A hash over the home: every file's name, mode and content, but for locks (which are empty and stay) and what is
    /// different each time it is looked at.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn state(&self) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let mut hash = Sha256::new();
        let mut ahead = vec![self.home()];
        while let Some(path) = ahead.pop() {
            let Ok(found) = path.symlink_metadata() else { continue };
            let name = path.strip_prefix(self.directory.path()).unwrap().display().to_string();
            if name.ends_with("lock") {
                continue;
            }
            hash.update(format!("{name}\0{:o}\0", found.mode()));
            if found.is_dir() {
                let mut inside: Vec<_> =
                    std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
                inside.sort();
                ahead.extend(inside);
            } else if found.is_file() && !name.ends_with(".log") {
                // A server that runs writes to its log, and its store to its own, when it likes.
                hash.update(std::fs::read(&path).unwrap());
            }
        }
        hex::encode(hash.finalize())
    }
}

/// No server outlives its test.
impl Drop for Kms {
    fn drop(&mut self) {
        for home in std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
            let records = std::fs::read_dir(home.path().join("servers")).into_iter().flatten().flatten();
            for record in records.filter_map(|file| file.file_name().into_string().ok()) {
                if let Some(name) = record.strip_suffix(".json") {
                    let mut stop = self.command(&["node", "stop", name]);
                    let _ = stop.env("OCKAM_KMS_HOME", home.path()).output();
                }
            }
        }
    }
}

impl Default for Kms {
    fn default() -> Self {
        Self::new()
    }
}

/// The first lines that differ.
fn difference(recorded: &str, found: &str) -> String {
    let (mut recorded, mut found) = (recorded.lines(), found.lines());
    for number in 1.. {
        match (recorded.next(), found.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let (one, other) = (one.unwrap_or("(the end)"), other.unwrap_or("(the end)"));
                return format!("line {number}\nrecorded: {one}\nfound:    {other}");
            }
        }
    }
    "only in their ends of lines".to_owned()
}
