//! SoftHSM behind the chaos module (`tests/chaos-module`): a token that fails, hangs and lies by a script.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that fails fails its test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use vault::KeyUri;

use crate::softhsm::SoftHsm;

/// The module of one test, and its script.
#[derive(Debug)]
pub struct Chaos {
    module: PathBuf,
    script: PathBuf,
    scripts: AtomicU32,
}

impl Chaos {
    /// Puts the module in front of these tokens, in the child process of a test. Without a script it does nothing.
    ///
    /// # Panics
    /// When the module is not built.
    #[must_use]
    pub fn around(hsm: &SoftHsm) -> Self {
        // target/debug/deps/TEST
        let test = std::env::current_exe().unwrap();
        let built = test.parent().unwrap().parent().unwrap().join("libchaos_module.so");
        let module = hsm.directory().join("chaos.so");
        // A file of its own: processes take turns at the file of a module.
        if let Err(e) = fs::copy(&built, &module) {
            panic!(
                "`{}`: {e}: `cargo build -p ockam-kms-chaos-module`, or `make test`, builds it",
                built.display()
            );
        }
        let chaos = Self { module, script: hsm.chaos_script(), scripts: AtomicU32::new(0) };
        chaos.clear();
        chaos
    }

    /// The same vault, through the module.
    ///
    /// # Panics
    /// Never for paths that fit a URI.
    #[must_use]
    pub fn through(&self, uri: &KeyUri) -> KeyUri {
        uri.clone().with("module-path", self.module.as_os_str().as_encoded_bytes()).unwrap()
    }

    /// From now on these rules are followed. Calls are counted anew.
    ///
    /// # Panics
    /// When the script cannot be written.
    pub fn script(&self, rules: &str) {
        // No two scripts are alike, so that the module sees that this is another.
        let number = self.scripts.fetch_add(1, Ordering::SeqCst);
        let new = self.script.with_extension("new");
        fs::write(&new, format!("# {number}\n{rules}\n")).unwrap();
        fs::write(self.calls_file(), "").unwrap();
        fs::rename(new, &self.script).unwrap();
    }

    /// From now on nothing goes wrong, and what hangs goes on.
    pub fn clear(&self) {
        self.script("");
    }

    /// How often each function was called since the script was written.
    ///
    /// # Panics
    /// When the module wrote nothing.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for name in fs::read_to_string(self.calls_file()).unwrap().lines() {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
        calls
    }

    fn calls_file(&self) -> PathBuf {
        self.script.with_extension("calls")
    }
}
