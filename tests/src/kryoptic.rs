//! A token of kryoptic, another PKCS#11 module in software (`tests/kryoptic`), for each test. As with SoftHSM
//! ([`crate::softhsm`]), one variable of the process says where the token is, so a test runs in a child process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that fails fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cryptoki::context::Pkcs11;
use vault::{KeyUri, Scheme};

/// The user PIN of every token here.
pub const PIN: &str = "7305-user";
/// The security officer's PIN of every token here.
pub const SO_PIN: &str = "7305-officer";
const LABEL: &str = "t";
/// The number of the slot.
const SLOT: &str = "42";

const DIRECTORY: &str = "OCKAM_KMS_TEST_KRYOPTIC";

/// The directory of one test's token.
#[derive(Debug)]
pub struct Kryoptic {
    directory: PathBuf,
}

impl Kryoptic {
    /// In the child: a token that is initialised. In the test itself: runs the child and checks that it passes.
    ///
    /// # Panics
    /// When the child fails, or `OCKAM_KMS_KRYOPTIC` does not name the module.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            let token = Self { directory: directory.into() };
            token.tool(&["--init-token", "--label", LABEL, "--so-pin", SO_PIN]);
            token.set_pin();
            fs::write(token.pin_file(), format!("{PIN}\n")).unwrap();
            return Some(token);
        }
        let directory = tempfile::Builder::new().prefix("kryoptic").tempdir().unwrap();
        let token = Self { directory: directory.path().to_owned() };
        let built = std::env::var_os("OCKAM_KMS_KRYOPTIC")
            .expect("`make test-kryoptic` builds the module, and names it");
        fs::copy(built, token.module()).unwrap();
        let database = directory.path().join("token.sql");
        let conf = format!("[[slots]]\nslot = {SLOT}\ndbtype = \"sqlite\"\ndbargs = {database:?}\n");
        fs::write(token.conf(), conf).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env("KRYOPTIC_CONF", token.conf())
            .env(DIRECTORY, directory.path())
            .status()
            .unwrap();
        assert!(status.success(), "`{test}` failed in its child process: {status}");
        None
    }

    /// The URI of the vault.
    ///
    /// # Panics
    /// Never for paths that fit a URI.
    #[must_use]
    pub fn uri(&self) -> KeyUri {
        KeyUri::new(Scheme::Pkcs11)
            .with("token", LABEL)
            .and_then(|uri| uri.with("module-path", self.module().as_os_str().as_encoded_bytes()))
            .and_then(|uri| uri.with("pin-source", format!("file:{}", self.pin_file().display())))
            .unwrap()
    }

    /// The file with the PIN.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.directory.join("pin")
    }

    /// The security officer sets the user's PIN, which unlocks it.
    ///
    /// # Panics
    /// When `pkcs11-tool` fails.
    pub fn set_pin(&self) {
        let officer = ["--login", "--login-type", "so", "--so-pin", SO_PIN];
        self.tool(&[&officer[..], &["--init-pin", "--pin", PIN]].concat());
    }

    /// Another program logs in with this PIN. Says whether it could.
    ///
    /// # Panics
    /// When `pkcs11-tool` cannot be run.
    #[must_use]
    pub fn log_in_elsewhere(&self, pin: &str) -> bool {
        self.run(&["--login", "--pin", pin, "--list-objects"]).status.success()
    }

    /// Ends what the module of this process knows of the token: it tells of a PIN's tries what it saw itself since it was
    /// started. A vault starts it again.
    ///
    /// # Panics
    /// When it cannot be finalised.
    pub fn start_afresh(&self) {
        Pkcs11::new(self.module()).unwrap().finalize().unwrap();
    }

    fn module(&self) -> PathBuf {
        self.directory.join("kryoptic.so")
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("kryoptic.conf")
    }

    fn tool(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(output.status.success(), "pkcs11-tool {args:?}: {output:?}");
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new("pkcs11-tool")
            .args([Path::new("--module"), &self.module(), Path::new("--slot"), Path::new(SLOT)])
            .args(args)
            .env("KRYOPTIC_CONF", self.conf())
            .output()
            .unwrap()
    }
}
