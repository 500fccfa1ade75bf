//! A TPM for each test: `swtpm` with a state directory and a pair of ports of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vault::{KeyUri, Scheme};

/// The authorization value in the file of every fixture.
pub const AUTH: &str = "7305-authorization";

/// A running TPM, ended when dropped.
#[derive(Debug)]
pub struct Swtpm {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Swtpm {
    /// Starts a new TPM that takes 32 wrong authorization values before it locks.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with_tries(32)
    }

    /// Starts a new TPM that takes so many wrong authorization values before it locks.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with_tries(tries: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("tpm").tempdir().unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        let mut tpm = Self { directory, port: 0, process: None };
        fs::write(tpm.auth_file(), format!("{AUTH}\n")).unwrap();
        // Another test may take a port between our look and the start.
        for _ in 0..50 {
            tpm.port = two_free_ports();
            if tpm.run() {
                tpm.tool(&format!("tpm2_dictionarylockout -s -n {tries} -t 1000 -l 1000"));
                return tpm;
            }
        }
        panic!("swtpm does not start");
    }

    /// Whether it came up at these ports.
    fn run(&mut self) -> bool {
        let (port, control) = (self.port, self.port + 1);
        let state = self.directory.path().join("state");
        let mut process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1")])
            .args(["--ctrl", &format!("type=tcp,port={control},bindaddr=127.0.0.1")])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            let up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            // It may have ended after another process's swtpm answered.
            if up && process.try_wait().unwrap().is_none() {
                self.process = Some(process);
                return true;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "swtpm does not listen");
            sleep(Duration::from_millis(5));
        }
    }

    /// Cuts its power.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it is running");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts it again with what it kept.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        assert!(self.process.is_none() && self.run(), "swtpm does not start again");
    }

    /// Another new TPM at the same place, instead of this one, which has to be off. What was there goes on with
    /// [`swap_back`](Self::swap_back).
    ///
    /// # Panics
    /// When it does not start.
    pub fn swap(&mut self) {
        let state = self.directory.path().join("state");
        fs::rename(&state, self.directory.path().join("put-away")).unwrap();
        fs::create_dir(state).unwrap();
        self.restart();
    }

    /// The first TPM again, instead of the other one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn swap_back(&mut self) {
        self.kill();
        let state = self.directory.path().join("state");
        fs::remove_dir_all(&state).unwrap();
        fs::rename(self.directory.path().join("put-away"), state).unwrap();
        self.restart();
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When that fails.
    pub fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it is running").id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Runs one of tpm2-tools on it, in the fixture's directory, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, line: &str) -> String {
        self.try_tool(line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// As [`tool`](Self::tool), when it may fail.
    ///
    /// # Errors
    /// With what it wrote to standard error.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_tool(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .current_dir(self.directory.path())
            .env("TPM2TOOLS_TCTI", self.tcti())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// How many transient objects and loaded sessions it holds, of all programs.
    ///
    /// # Panics
    /// When the tools fail.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let count = |what: &str| self.tool(&format!("tpm2_getcap {what}")).matches("0x").count();
        (count("handles-transient"), count("handles-loaded-session"))
    }

    /// The way to it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// A place for files of the test.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file with the authorization value.
    #[must_use]
    pub fn auth_file(&self) -> PathBuf {
        self.directory.path().join("auth")
    }

    /// The URI of a vault on it, with its blobs in a directory of this name.
    ///
    /// # Panics
    /// Never for paths that fit a URI.
    #[must_use]
    pub fn uri(&self, vault: &str) -> KeyUri {
        KeyUri::new(Scheme::Tpm)
            .with("tcti", self.tcti())
            .and_then(|uri| uri.with("path", self.directory.path().join(vault).display().to_string()))
            .and_then(|uri| uri.with("auth-source", format!("file:{}", self.auth_file().display())))
            .unwrap()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A port that is free, and the next one too: the library expects the control channel there.
fn two_free_ports() -> u16 {
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return port;
        }
    }
}
