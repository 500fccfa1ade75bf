//! Starting a server in the background: another process of this program, in a session of its own, whose words go to a
//! log in the home. Comes back when it is ready, or with what it said; nothing is left running then.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use home::control::{Ask, ask};
use home::{Home, Name};
use serde_json::Value;
use signal_hook::consts::SIGINT;
use vault::{Ask as Question, Interact as _};

use super::{log_file, old_log_file};
use crate::context::Context;
use crate::error::{Error, Result, io};
use crate::exit::Kind;
use crate::interrupt;
use crate::progress;
use crate::secret_input::Source;

/// How long a server may take to become ready: a token may be slow, and a store may have a log to replay.
const READY_WAIT: Duration = Duration::from_secs(120);
/// The most of a log that is looked at when a server failed.
const MAX_TAIL: u64 = 64 * 1024;
/// What tells the server that whoever started it has seen it: without, it ends.
pub(super) const GO: &[u8] = b"go\n";

/// A server that is to be started.
pub(crate) struct Launch<'a> {
    pub(crate) name: &'a Name,
    /// What is said while it is waited for.
    pub(crate) waiting: &'static str,
    /// The arguments by which this program is the server.
    pub(crate) arguments: Vec<OsString>,
}

/// Starts it, and comes back when it is ready.
pub(crate) fn run(context: &Context, plan: &Launch<'_>) -> Result<()> {
    let home = context.home()?;
    if home.servers()?.iter().any(|(name, _, running)| *running && name == plan.name) {
        return Err(Error::new(
            Kind::AlreadyExists,
            format!("the server `{}` is already running", plan.name),
        )
        .with_hint("stop it first, or choose another name"));
    }
    // A server that is being started is ended in order, or not at all.
    let _whole = interrupt::hold();
    let log_path = log_file(home, plan.name);
    let log = open_log(home, plan, &log_path)?;
    let mut child = Started::spawn(context, plan, &log)?;
    let waiting = progress::waiting(context.output, plan.waiting);
    wait_until_ready(home, plan, &mut child, &log_path)?;
    drop(waiting);
    child.release()
}

/// A server that said why it did not start leaves no trace; a log that has to be read stays.
fn forget_log(home: &Home, plan: &Launch<'_>, log: &Path) {
    let old = old_log_file(home, plan.name);
    // A log that is left over does no harm.
    let _ = if old.exists() { std::fs::rename(old, log) } else { std::fs::remove_file(log) };
}

/// The log of this run; that of the run before is kept beside.
fn open_log(home: &Home, plan: &Launch<'_>, path: &Path) -> Result<File> {
    let directory = home.path().join("servers");
    vault::durable::create_dir(&directory).map_err(|e| io("create", &directory, e))?;
    let _ = std::fs::rename(path, old_log_file(home, plan.name));
    File::options().create(true).append(true).mode(0o600).open(path).map_err(|e| io("write", path, e))
}

/// A process that ends when it is not released.
struct Started(Option<Child>);

impl Started {
    fn spawn(context: &Context, plan: &Launch<'_>, log: &File) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|e| Error::new(Kind::Internal, "the program cannot be found again").with_source(e))?;
        let failed = |e| Error::new(Kind::Internal, "the server cannot be started").with_source(e);
        let mut command = Command::new(program);
        let mut secrets = Vec::new();
        for (what, source, ask) in [
            ("pin", &context.pin, Question::Pin { of: "the token".to_owned() }),
            ("passphrase", &context.passphrase, Question::Passphrase { of: "the vault".to_owned() }),
        ] {
            match source {
                Some(Source::File(path)) => {
                    command.arg(format!("--{what}-file")).arg(path);
                }
                Some(Source::Stdin) => {
                    command.arg(format!("--{what}=-"));
                    // Our standard input ends with us: the server gets the secret through a pipe.
                    secrets
                        .push(context.heard.take(&ask).map_or_else(|| context.interact().secret(&ask), Ok)?);
                }
                None => {}
            }
        }
        command.args(&plan.arguments);
        command
            // Whoever reads the environment of a server finds no ticket.
            .env_remove("ENROLLMENT_TICKET")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        let mut started = Self(Some(command.spawn().map_err(failed)?));
        for secret in secrets {
            started.tell(secret.expose())?;
            started.tell(b"\n")?;
        }
        Ok(started)
    }

    fn child(&mut self) -> Result<&mut Child> {
        self.0.as_mut().ok_or_else(|| Error::new(Kind::Internal, "the server is not ours any more"))
    }

    fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        let pipe = self.child()?.stdin.as_mut();
        let written = pipe.map(|pipe| pipe.write_all(bytes).and_then(|()| pipe.flush()));
        match written {
            Some(Ok(())) => Ok(()),
            // It has ended: what it said is told by whoever waits for it.
            Some(Err(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Error::new(Kind::Internal, "the server cannot be told anything")),
        }
    }

    /// Has it end, once what it is making is whole.
    fn abandon(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        // It ends when it is ready and nobody is there who waits for that.
        drop(child.stdin.take());
        let start = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && start.elapsed() < READY_WAIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.0 = Some(child);
    }

    /// Lets it live on.
    fn release(&mut self) -> Result<()> {
        self.tell(GO)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_until_ready(home: &Home, plan: &Launch<'_>, child: &mut Started, log: &Path) -> Result<()> {
    let start = Instant::now();
    let socket = home.control_socket(plan.name);
    let pid = child.child()?.id();
    loop {
        let ended = child.child()?.try_wait();
        if let Some(status) =
            ended.map_err(|e| Error::new(Kind::Internal, "the server cannot be watched").with_source(e))?
        {
            // Ctrl-C goes to both of us, and it was quicker.
            if status.signal() == Some(SIGINT) {
                forget_log(home, plan, log);
                return Err(Error::new(Kind::Interrupted, "interrupted"));
            }
            let Some(said) = what_it_said(log) else {
                return Err(Error::new(Kind::Internal, format!("the server ended at once: {status}"))
                    .with_hint(hint(log)));
            };
            forget_log(home, plan, log);
            return Err(said);
        }
        // First: what is ready and was not wanted any more is ended, too.
        if interrupt::requested() {
            child.abandon();
            return Err(Error::new(Kind::Interrupted, "interrupted"));
        }
        // Another server of this name may answer: ours has our child's number.
        let answer = socket.exists().then(|| ask(&socket, &Ask::Status).ok()).flatten();
        if let Some(status) = answer
            && status.get("pid").and_then(Value::as_u64) == Some(u64::from(pid))
            && status.get("ready").and_then(Value::as_bool) == Some(true)
            && interrupt::too_late()
        {
            return Ok(());
        }
        if start.elapsed() > READY_WAIT {
            let seconds = READY_WAIT.as_secs();
            return Err(Error::new(
                Kind::Unavailable,
                format!("the server was not ready after {seconds} seconds"),
            )
            .with_hint(hint(log)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn hint(log: &Path) -> String {
    format!("its log is `{}`; --foreground shows it while it runs", log.display())
}

/// The error that a server ended with: the last line of its log, in JSON.
fn what_it_said(log: &Path) -> Option<Error> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rev().find_map(Error::from_json)
}
