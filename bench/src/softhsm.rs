//! A SoftHSM token that lives as long as the run.
//!
//! SoftHSM reads where its tokens are from a variable when it is loaded, and a process cannot set its own variables
//! safely. So the program starts itself once more, with the variable set: that is the process in which everything is
//! measured.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use vault::{KeyUri, Scheme};

use crate::Result;

/// Where Debian's package `softhsm2` puts the module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The label of the token.
pub const LABEL: &str = "bench";

const PIN: &str = "4711-user";
const OFFICER_PIN: &str = "4711-officer";
const DIRECTORY: &str = "OCKAM_KMS_BENCH_SOFTHSM";

/// The token, in the process that has it.
#[derive(Clone, Debug)]
pub struct Token {
    directory: PathBuf,
}

/// Which process this is.
#[derive(Debug)]
pub enum Process {
    /// The first one: it has run the second, which ended like this.
    Done(ExitStatus),
    /// The second one, with a token or the reason why there is none.
    Inside(std::result::Result<Token, String>),
}

impl Token {
    /// In the first process: makes a token, runs this program again with the same arguments, and removes the token.
    ///
    /// # Errors
    /// When the program cannot be started again.
    pub fn enter() -> Result<Process> {
        if let Some(directory) = env::var_os(DIRECTORY) {
            let token = Self { directory: directory.into() };
            let missing = token.directory.join("missing");
            return Ok(Process::Inside(fs::read_to_string(missing).map_or(Ok(token), Err)));
        }
        let directory = tempfile::Builder::new().prefix("bench").tempdir()?;
        if let Err(reason) = make(directory.path()) {
            fs::write(directory.path().join("missing"), reason.to_string())?;
        }
        let status = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env("SOFTHSM2_CONF", directory.path().join("softhsm2.conf"))
            .env(DIRECTORY, directory.path())
            .status()?;
        Ok(Process::Done(status))
    }

    /// The URI of a vault on it.
    ///
    /// # Errors
    /// When the path of the temporary directory does not fit a URI.
    pub fn uri(&self) -> Result<KeyUri> {
        let pin_file = self.directory.join("pin");
        Ok(KeyUri::new(Scheme::Pkcs11)
            .with("token", LABEL)?
            .with("module-path", MODULE)?
            .with("pin-source", format!("file:{}", pin_file.display()))?)
    }
}

fn make(directory: &Path) -> Result<()> {
    let tokens = directory.join("tokens");
    fs::create_dir(&tokens)?;
    let conf = directory.join("softhsm2.conf");
    fs::write(
        &conf,
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        ),
    )?;
    fs::write(directory.join("pin"), format!("{PIN}\n"))?;
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", OFFICER_PIN, "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .map_err(|e| format!("softhsm2-util does not start: {e}"))?;
    if !made.status.success() {
        return Err(format!("softhsm2-util failed: {}", String::from_utf8_lossy(&made.stderr).trim()).into());
    }
    Ok(())
}
