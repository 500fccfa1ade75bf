//! SoftHSM behind another process: `p11-kit server` with its client module. A second PKCS#11 module, with fewer mechanisms
//! than SoftHSM itself, and one whose calls can be made to hang (stop the process) or fail (kill it).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vault::KeyUri;

use crate::softhsm::{MODULE, SoftHsm};

/// A running `p11-kit server`, ended when dropped.
#[derive(Debug)]
pub struct P11Kit {
    server: Child,
}

impl P11Kit {
    /// Starts a server for the tokens of this fixture, which has set the variable by which the client finds it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(hsm: &SoftHsm) -> Self {
        let socket = hsm.p11_kit_socket();
        let server = Command::new("p11-kit")
            .args(["server", "--foreground", "--provider", MODULE, "--name"])
            .arg(&socket)
            .arg("pkcs11:")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "p11-kit server does not start");
            sleep(Duration::from_millis(10));
        }
        Self { server }
    }

    /// The same vault, through the client module.
    ///
    /// # Panics
    /// When the client module is not installed.
    #[must_use]
    pub fn through(&self, uri: &KeyUri) -> KeyUri {
        let module = fs::read_dir("/usr/lib")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("pkcs11/p11-kit-client.so"))
            .find(|path: &PathBuf| path.exists())
            .expect("p11-kit-modules is installed");
        uri.clone().with("module-path", module.as_os_str().as_encoded_bytes()).unwrap()
    }

    /// Sends a signal to the processes that serve clients, by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn signal(&self, signal: &str) {
        let server = self.server.id().to_string();
        let mut reached = 0;
        for entry in fs::read_dir("/proc").unwrap() {
            let process = entry.unwrap().path();
            let Ok(status) = fs::read_to_string(process.join("status")) else { continue };
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
            if parent == Some(&server) {
                let id = process.file_name().unwrap().to_str().unwrap().to_owned();
                let sent = Command::new("kill").args(["-s", signal, &id]).status().unwrap();
                reached += usize::from(sent.success());
            }
        }
        assert!(reached > 0, "no process serves a client");
    }
}

impl Drop for P11Kit {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
