//! A person at a terminal: what is shown, what is typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Kms;

/// A program at a terminal, and what it showed.
#[derive(Debug)]
pub struct Session {
    child: Child,
    terminal: File,
    shown: String,
    more: Receiver<Vec<u8>>,
}

impl Session {
    /// Starts the program.
    ///
    /// # Panics
    /// When there is no terminal, or it does not start.
    #[must_use]
    pub fn start(kms: &Kms, arguments: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        // The terminal becomes the controlling one of a session of its own: `setsid` makes one, and opening does the rest.
        let mut command = Command::new("setsid");
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

    /// Waits until this was shown.
    ///
    /// # Panics
    /// When it is not shown.
    pub fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match self.more.recv_timeout(Duration::from_secs(30)) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(e) => panic!("`{text}` is not shown ({e}): {}", self.shown),
            }
        }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Everything that was shown, and the exit code.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn end(mut self) -> (String, i32) {
        let status = self.child.wait().unwrap();
        // As a shell has it.
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
        while let Ok(bytes) = self.more.recv_timeout(Duration::from_millis(200)) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        (self.shown.replace("\r\n", "\n"), code)
    }
}
