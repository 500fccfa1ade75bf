//! A person at a terminal: what is shown, what is typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Kms;
use crate::ockam_kms;

/// A program at a terminal, and what it showed.
#[derive(Debug)]
pub struct Session {
    child: Child,
    terminal: File,
    shown: String,
    more: Receiver<Vec<u8>>,
    hung_up: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Session {
    /// Starts the program.
    ///
    /// # Panics
    /// When there is no terminal, or it does not start.
    #[must_use]
    pub fn start(kms: &Kms, arguments: &[&str]) -> Self {
        Self::of(&kms.command(arguments))
    }

    /// Starts a shell that runs a script, in which `$0` is the program.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shell(kms: &Kms, script: &str) -> Self {
        let with = kms.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(ockam_kms()).current_dir(with.get_current_dir().unwrap());
        for (name, value) in with.get_envs() {
            shell.env(name, value.unwrap());
        }
        Self::of(&shell)
    }

    fn of(program: &Command) -> Self {
        // Only we have its other end: when we close that, the line is cut.
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        // The terminal becomes the controlling one of a session of its own: `setsid` makes one, and opening does the rest.
        let mut command = Command::new("setsid");
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
        let hung_up = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&hung_up);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0_u8; 4096];
            // The last program at the terminal is gone when reading fails.
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                let _ = sender.send(bytes.get(..read).unwrap().to_vec());
                if ends.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        Self { child, terminal, shown: String::new(), more, hung_up, reader }
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

    /// What was shown so far, of what was waited for.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Closes the terminal under whoever is at it; how the first program ended.
    ///
    /// # Panics
    /// When that cannot be waited for.
    #[must_use]
    pub fn hang_up(mut self) -> i32 {
        self.hung_up.store(true, Ordering::SeqCst);
        // It is echoed, which wakes up who reads.
        self.type_in("\n");
        self.reader.join().unwrap();
        drop(self.terminal);
        code(self.child.wait().unwrap())
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
        let code = code(self.child.wait().unwrap());
        while let Ok(bytes) = self.more.recv_timeout(Duration::from_millis(200)) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        (self.shown.replace("\r\n", "\n"), code)
    }
}

/// An exit code as a shell has it.
fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
}
