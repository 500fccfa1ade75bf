//! At a terminal: plain text, questions whose answers are not shown, consent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its world should stop")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ockam_kms_tests::cli::Kms;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A program at a terminal, and what it showed.
struct Session {
    child: Child,
    terminal: File,
    shown: String,
    more: Receiver<Vec<u8>>,
}

impl Session {
    fn start(kms: &Kms, arguments: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        // The terminal becomes the controlling one of a session of its own: `setsid` makes one, and opening does the rest.
        let mut command = std::process::Command::new("setsid");
        let program = kms.command(arguments);
        command.arg("--ctty").arg(program.get_program()).args(program.get_args()).env_clear();
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap());
        }
        command.env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1");
        command.current_dir(program.get_current_dir().unwrap());
        command.stdin(open()).stdout(open()).stderr(open());
        let child = command.spawn().unwrap();
        drop(command);
        let terminal = File::from(controller);
        let mut reader = terminal.try_clone().unwrap();
        let (sender, more) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0_u8; 4096];
            // The last program at the terminal is gone when reading fails.
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                let _ = sender.send(bytes.get(..read).unwrap().to_vec());
            }
        });
        Self { child, terminal, shown: String::new(), more }
    }

    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match self.more.recv_timeout(Duration::from_secs(30)) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(e) => panic!("`{text}` is not shown ({e}): {}", self.shown),
            }
        }
    }

    fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Everything that was shown, and the exit code.
    fn end(mut self) -> (String, i32) {
        let status = self.child.wait().unwrap();
        // As a shell has it.
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
        while let Ok(bytes) = self.more.recv_timeout(Duration::from_millis(200)) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        (self.shown.replace("\r\n", "\n"), code)
    }
}

#[test]
fn plain_text_and_no_machine_form() {
    let mut kms = Kms::new();
    let identifier = kms.run(&["identity", "create", "alice"]).code(0).stdout;
    let (shown, code) = Session::start(&kms, &["identity", "show"]).end();
    assert_eq!(code, 0);
    assert!(shown.starts_with("name        alice (default)\n") && shown.contains(&identifier), "{shown}");
    let (shown, _) = Session::start(&kms, &["identity", "show", "--output", "json"]).end();
    assert!(shown.starts_with('{'), "{shown}");
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let kms = Kms::new();
    let mut session = Session::start(&kms, &["vault", "create", "locked", "--ask-passphrase"]);
    session.wait_for("New passphrase: ");
    session.type_in("correct hors\u{7f}se\n");
    session.wait_for("The same again: ");
    session.type_in("correct horse\n");
    let (shown, code) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("vault `locked` created") && !shown.contains("horse"), "{shown}");

    for (typed, wanted) in [("correct horse\n", 0), ("wrong horse\n", 77), ("\n", 64)] {
        let mut session = Session::start(&kms, &["key", "list"]);
        session.wait_for("Passphrase of the software vault");
        session.type_in(typed);
        let (shown, code) = session.end();
        assert_eq!(code, wanted, "{shown}");
        assert!(!shown.contains("horse"), "{shown}");
    }
    // Nobody is asked who does not want to be.
    let (shown, code) = Session::start(&kms, &["key", "list", "--no-input"]).end();
    assert_eq!(code, 75, "{shown}");
    // Ctrl-C is an end, and the terminal is as it was.
    let mut session = Session::start(&kms, &["key", "list"]);
    session.wait_for("Passphrase of");
    session.type_in("secret\u{3}");
    let (shown, code) = session.end();
    assert_eq!(code, 130, "{shown}");
}

#[test]
fn consent_is_asked_for() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    for (answer, code, left) in [("n\n", 130, 1), ("\n", 130, 1), ("y\n", 0, 0)] {
        let mut session = Session::start(&kms, &["identity", "delete", "alice"]);
        session.wait_for("[y/N]");
        session.type_in(answer);
        let (shown, ended) = session.end();
        assert_eq!(ended, code, "{shown}");
        let identities = kms.run(&["identity", "list"]).code(0).json();
        assert_eq!(identities.as_array().unwrap().len(), left);
    }
}

/// What takes long is told at a terminal, and gone when it is over; a script, and who wants quiet, hear nothing.
#[test]
fn what_is_waited_for_is_told() {
    let mut kms = Kms::new();
    kms.run(&["identity", "create", "alice"]).code(0);
    let told = "waiting for another command that writes (";
    let writer = home::Home::open(kms.home()).unwrap().write().unwrap();
    let mut session = Session::start(&kms, &["identity", "default", "alice"]);
    session.wait_for(told);
    let quiet = Session::start(&kms, &["identity", "default", "alice", "--quiet"]);
    let mut piped = kms.command(&["identity", "default", "alice"]);
    let piped =
        piped.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Longer than it takes to be told: the one that is told counts the seconds.
    session.wait_for("(1 s)");
    drop(writer);
    let (shown, code) = session.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.ends_with("the default identity is `alice`\n") && shown.contains("\r   "), "{shown:?}");
    let (shown, code) = quiet.end();
    assert!(code == 0 && !shown.contains(told), "{shown:?}");
    let output = piped.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
