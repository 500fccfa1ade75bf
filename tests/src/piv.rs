//! A YubiKey of its own for each test: the virtual card, in a virtual reader, under a PC/SC daemon of its own, all in
//! namespaces of their own, where nothing of the machine's is seen and every port is free.
//!
//! The PC/SC library finds the daemon through one variable of the process, so a test that uses it runs in a child
//! process, as with [`SoftHsm`](crate::softhsm::SoftHsm).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vault::{KeyUri, Scheme};

/// The PIN that a card is issued with here.
pub const PIN: &str = "730519";
/// The PUK that a card is issued with here.
pub const PUK: &str = "73051942";
/// The management key that a card is issued with here.
pub const MANAGEMENT_KEY: &str = "7305a1b2c3d4e5f60718293a4b5c6d7e8f9001122334455a";
/// The serial number of the card.
pub const SERIAL: u32 = 12_345_678;

/// Where the PC/SC library finds its daemon.
const SOCKET: &str = "PCSCLITE_CSOCK_NAME";
const DIRECTORY: &str = "OCKAM_KMS_TEST_PIV";
/// Where Debian's package `vsmartcard-vpcd` puts the driver of the virtual reader.
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// Runs in the namespaces, as their first process: they end with it. `pcscd` without systemd, polkit or D-Bus, again and
/// again, unless it was stopped; the card again and again, unless it was taken out.
const INSIDE: &str = r#"
set -eu
ip link set lo up
mkdir -p /run/pcscd
mount --bind "$DIR/run" /run/pcscd
serve() {
    while :; do
        if [ -e "$DIR/stopped" ]; then sleep 0.02; continue; fi
        pcscd --foreground --error --config "$DIR/conf" >>"$DIR/pcscd.log" 2>&1 &
        service=$!
        while kill -0 "$service" 2>/dev/null && ! [ -e "$DIR/stopped" ]; do sleep 0.05; done
        kill -KILL "$service" 2>/dev/null || :
        wait "$service" 2>/dev/null || :
        rm -f "$DIR/run/pcscd.comm" "$DIR/run/pcscd.pid"
    done
}
serve &
while :; do
    if [ -e "$DIR/card/out" ]; then sleep 0.02; continue; fi
    "$CARD" 127.0.0.1:35963 "$DIR/card" "$VERSION" "$SERIAL" "$SECRETS" >>"$DIR/card.log" 2>&1 || sleep 0.1
done
"#;

/// A running card, ended when dropped.
#[derive(Debug)]
pub struct PivCard {
    directory: PathBuf,
}

/// What a test's first process holds while its child runs.
struct Running {
    namespaces: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
    }
}

impl PivCard {
    /// In the child: the fixture, with a card of this firmware that has secrets of its own. In the test itself: starts
    /// all of it, runs the child and checks that it passes.
    ///
    /// # Panics
    /// When something does not start or the child fails.
    #[must_use]
    pub fn enter(test: &str, card: &Path, version: &str) -> Option<Self> {
        Self::enter_with(test, card, version, "issued")
    }

    /// The same with the secrets of the factory.
    ///
    /// # Panics
    /// See [`enter`](Self::enter).
    #[must_use]
    pub fn enter_as_from_the_factory(test: &str, card: &Path, version: &str) -> Option<Self> {
        Self::enter_with(test, card, version, "factory")
    }

    fn enter_with(test: &str, card: &Path, version: &str, secrets: &str) -> Option<Self> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return Some(Self { directory: directory.into() });
        }
        assert!(Path::new(DRIVER).exists(), "vsmartcard-vpcd is installed: scripts/setup");
        // A short path: that of a socket has at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("piv").tempdir_in("/tmp").unwrap();
        let fixture = Self { directory: directory.path().to_owned() };
        let _running = fixture.start(card, version, secrets);
        let status = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(SOCKET, fixture.socket())
            .env(DIRECTORY, &fixture.directory)
            .status()
            .unwrap();
        let said = |file: &str| fs::read_to_string(fixture.directory.join(file)).unwrap_or_default();
        assert!(
            status.success(),
            "`{test}` failed in its child process: {status}\npcscd: {}\ncard: {}",
            said("pcscd.log"),
            said("card.log")
        );
        None
    }

    fn start(&self, card: &Path, version: &str, secrets: &str) -> Running {
        for name in ["run", "conf", "card"] {
            fs::create_dir(self.directory.join(name)).unwrap();
        }
        // The address is not used: with a number alone the driver listens there, inside.
        let conf = format!(
            "FRIENDLYNAME \"Yubico YubiKey OTP+FIDO+CCID\"\nDEVICENAME /dev/null:0x8C7B\nLIBPATH {DRIVER}\nCHANNELID 0x8C7B\n"
        );
        fs::write(self.directory.join("conf/vpcd"), conf).unwrap();
        for (file, secret) in [("pin", PIN), ("puk", PUK), ("management", MANAGEMENT_KEY)] {
            fs::write(self.directory.join(file), format!("{secret}\n")).unwrap();
        }
        let namespaces = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", INSIDE])
            .env("DIR", &self.directory)
            .env("CARD", card)
            .env("VERSION", version)
            .env("SERIAL", SERIAL.to_string())
            .env("SECRETS", secrets)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running { namespaces };
        wait_until("pcscd listens", || self.socket().exists());
        wait_until("the card has a memory", || self.file("state.json").exists());
        wait_until("the card is in the reader", || self.is_in());
        running
    }

    /// Whether the reader sees it.
    fn is_in(&self) -> bool {
        let listed = Command::new("opensc-tool").arg("--list-readers").env(SOCKET, self.socket()).output();
        String::from_utf8_lossy(&listed.unwrap().stdout).contains("Yes")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("run/pcscd.comm")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join("card").join(name)
    }

    /// A place for files of the test.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The URI of a vault on it, with files for PIN and management key.
    ///
    /// # Panics
    /// Never for paths that fit a URI.
    #[must_use]
    pub fn uri(&self) -> KeyUri {
        let file = |name: &str| format!("file:{}", self.directory.join(name).display());
        KeyUri::new(Scheme::YubiKey)
            .with("serial", SERIAL.to_string())
            .and_then(|uri| uri.with("pin-source", file("pin")))
            .and_then(|uri| uri.with("management-key-source", file("management")))
            .unwrap()
    }

    /// Takes the card out of the reader.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn pull(&self) {
        fs::write(self.file("out"), "").unwrap();
    }

    /// Puts it back.
    ///
    /// # Panics
    /// When it was not out.
    pub fn insert(&self) {
        fs::remove_file(self.file("out")).unwrap();
    }

    /// Puts it back, and waits until the reader sees it.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn insert_and_wait(&self) {
        // Whoever is fast would see the card from before.
        wait_until("the card is out of the reader", || !self.is_in());
        self.insert();
        wait_until("the card is in the reader", || self.is_in());
    }

    /// Waits until the card is out, after a fault that pulls it.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_until_out(&self) {
        wait_until("the card is out", || self.file("out").exists());
    }

    /// Changes what it remembers while it is out: somebody else had it.
    ///
    /// # Panics
    /// When nothing of that name is in its memory.
    pub fn tamper(&self, pointer: &str, value: impl Into<serde_json::Value>) {
        self.pull();
        wait_until("the card is out of the reader", || !self.is_in());
        let mut memory = self.memory();
        *memory.pointer_mut(pointer).expect("it remembers that") = value.into();
        fs::write(self.file("state.json"), memory.to_string()).unwrap();
        self.insert_and_wait();
    }

    /// Kills the PC/SC daemon.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn stop_service(&self) {
        fs::write(self.directory.join("stopped"), "").unwrap();
        wait_until("pcscd is gone", || !self.socket().exists());
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it was not stopped, or does not start.
    pub fn start_service(&self) {
        fs::remove_file(self.directory.join("stopped")).unwrap();
        wait_until("pcscd listens", || self.socket().exists());
    }

    /// Makes the card fail, once: see `tests/src/bin/virtual-piv-card/faults.rs`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn fault(&self, fault: &str) {
        let next = self.file("fault.next");
        fs::write(&next, fault).unwrap();
        fs::rename(next, self.file("fault")).unwrap();
    }

    /// Ends a hang.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn go_on(&self) {
        fs::write(self.file("go"), "").unwrap();
    }

    /// Waits until the card waits for a touch.
    ///
    /// # Panics
    /// When it does not wait.
    pub fn wait_for_touch(&self) {
        wait_until("the card waits for a touch", || self.file("waits").exists());
    }

    /// Waits until the card waits for a touch, and touches it.
    ///
    /// # Panics
    /// When it does not wait.
    pub fn touch(&self) {
        self.wait_for_touch();
        fs::write(self.file("touch"), "").unwrap();
    }

    /// The card's memory.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn memory(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.file("state.json")).unwrap()).unwrap()
    }

    /// How many tries the PIN has left.
    ///
    /// # Panics
    /// See [`memory`](Self::memory).
    #[must_use]
    pub fn pin_tries(&self) -> u64 {
        self.memory()
            .pointer("/pin/left")
            .and_then(serde_json::Value::as_u64)
            .expect("the card's memory has a count")
    }
}

/// Waits for a condition.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(LOOK);
    }
}
