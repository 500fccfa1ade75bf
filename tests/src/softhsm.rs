//! A SoftHSM token directory of its own for each test.
//!
//! SoftHSM finds its tokens through one variable of the process, so a test that uses it runs in a child process:
//!
//! ```ignore
//! #[test]
//! fn a_token_signs() {
//!     let Some(hsm) = SoftHsm::enter("a_token_signs") else { return };
//!     hsm.init("t");
//!     // …
//! }
//! ```
//!
//! The first call starts the same test again, with the variable set, waits for it and returns `None`; in the child it
//! returns the fixture.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vault::{KeyUri, Scheme};

/// The module, where Debian's package `softhsm2` puts it.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The user PIN of every token here.
pub const PIN: &str = "7305-user";
/// The security officer's PIN of every token here.
pub const SO_PIN: &str = "7305-officer";

const DIRECTORY: &str = "OCKAM_KMS_TEST_SOFTHSM";
const PART: &str = "OCKAM_KMS_TEST_PART";

/// The directory of one test's tokens.
#[derive(Debug)]
pub struct SoftHsm {
    directory: PathBuf,
}

/// Where a test that is done in parts stands.
#[derive(Debug)]
pub enum Part {
    /// In a child: the fixture, and which part to do.
    One(SoftHsm, usize),
    /// In the test itself: what the parts reported.
    All(Vec<String>),
}

impl SoftHsm {
    /// In the child: the fixture. In the test itself: runs the child and checks that it passes.
    ///
    /// # Panics
    /// When the child fails.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return Some(Self { directory: directory.into() });
        }
        let (directory, hsm) = Self::prepare();
        let status = hsm.child(test).status().unwrap();
        assert!(status.success(), "`{test}` failed in its child process: {status}");
        drop(directory);
        None
    }

    /// As [`enter`](Self::enter), for a test that is done in parts, at the same time, each in a child process and with tokens
    /// of its own.
    ///
    /// # Panics
    /// When a child fails.
    #[must_use]
    pub fn enter_part(test: &str, parts: usize) -> Part {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            let part = std::env::var(PART).unwrap().parse().unwrap();
            return Part::One(Self { directory: directory.into() }, part);
        }
        let prepared: Vec<_> = (0..parts).map(|_| Self::prepare()).collect();
        let children: Vec<_> = prepared
            .iter()
            .enumerate()
            .map(|(part, (_, hsm))| hsm.child(test).env(PART, part.to_string()).spawn().unwrap())
            .collect();
        let ended: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap()).collect();
        for (part, status) in ended.into_iter().enumerate() {
            assert!(status.success(), "part {part} of `{test}` failed in its child process: {status}");
        }
        Part::All(prepared.iter().map(|(_, hsm)| fs::read_to_string(hsm.reported()).unwrap()).collect())
    }

    /// In a part: what the whole test gets to see of it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn report(&self, text: &str) {
        fs::write(self.reported(), text).unwrap();
    }

    fn reported(&self) -> PathBuf {
        self.directory.join("report")
    }

    /// The same test once more, with these tokens.
    fn child(&self, test: &str) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args([test, "--exact", "--nocapture"])
            .env("SOFTHSM2_CONF", self.conf())
            .env(DIRECTORY, &self.directory)
            .env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", self.p11_kit_socket().display()))
            .env("CHAOS_MODULE", MODULE)
            .env("CHAOS_SCRIPT", self.chaos_script());
        child
    }

    /// A directory for tokens whose `SOFTHSM2_CONF` the caller hands to the programs it starts.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn prepare() -> (tempfile::TempDir, Self) {
        // In memory where that can be: SoftHSM rewrites a file for each attribute of an object and waits for the disk.
        let memory = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        let directory = match builder.prefix("hsm").tempdir_in(memory) {
            Ok(directory) => directory,
            Err(_) => builder.tempdir().unwrap(),
        };
        let hsm = Self { directory: directory.path().to_owned() };
        fs::create_dir(hsm.tokens()).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n\
             library.reset_on_fork = true\n",
            hsm.tokens().display()
        );
        fs::write(hsm.conf(), conf).unwrap();
        (directory, hsm)
    }

    /// A place for files of the test.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the tokens are.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// What `SOFTHSM2_CONF` has to say.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.directory.join("softhsm2.conf")
    }

    /// Where `p11-kit server` listens ([`crate::p11kit`]).
    #[must_use]
    pub fn p11_kit_socket(&self) -> PathBuf {
        self.directory.join("p11.sock")
    }

    /// Where the chaos module looks for its script ([`crate::chaos`]).
    #[must_use]
    pub fn chaos_script(&self) -> PathBuf {
        self.directory.join("chaos")
    }

    /// Makes a token and a file with its PIN, and returns the URI of a vault on it.
    ///
    /// # Panics
    /// When `softhsm2-util` fails.
    pub fn init(&self, label: &str) -> KeyUri {
        self.util(&["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN]);
        let pin_file = self.directory.join(format!("{label}.pin"));
        fs::write(&pin_file, format!("{PIN}\n")).unwrap();
        self.uri(label, &pin_file)
    }

    /// Initialises a token again: its keys are gone, its label and serial number stay.
    ///
    /// # Panics
    /// When `softhsm2-util` fails.
    pub fn init_again(&self, label: &str) {
        self.util(&[
            "--init-token",
            "--token",
            label,
            "--label",
            label,
            "--so-pin",
            SO_PIN,
            "--pin",
            PIN,
            "--force",
        ]);
    }

    /// Deletes a token.
    ///
    /// # Panics
    /// When `softhsm2-util` fails.
    pub fn delete(&self, label: &str) {
        self.util(&["--delete-token", "--token", label]);
    }

    /// The URI of a vault on a token, with this file for its PIN.
    ///
    /// # Panics
    /// Never for labels and paths that fit a URI.
    #[must_use]
    pub fn uri(&self, label: &str, pin_file: &Path) -> KeyUri {
        KeyUri::new(Scheme::Pkcs11)
            .with("token", label)
            .and_then(|uri| uri.with("module-path", MODULE))
            .and_then(|uri| uri.with("pin-source", format!("file:{}", pin_file.display())))
            .unwrap()
    }

    /// Runs `softhsm2-util` on these tokens.
    ///
    /// # Panics
    /// When it fails.
    pub fn util(&self, args: &[&str]) -> Output {
        let output =
            Command::new("softhsm2-util").args(args).env("SOFTHSM2_CONF", self.conf()).output().unwrap();
        assert!(output.status.success(), "softhsm2-util {args:?}: {output:?}");
        output
    }

    /// The directories of the tokens.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn token_directories(&self) -> Vec<PathBuf> {
        fs::read_dir(self.tokens()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}
