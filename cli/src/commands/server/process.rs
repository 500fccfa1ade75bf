//! The process of a server: away from the terminal, a log that does not grow for ever, and what ends it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use home::{Home, Name};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use vault::SecretBytes;

use super::background::GO;
use super::{log_file, old_log_file};
use crate::args::authority::LogFormat;
use crate::error::{Error, Result};
use crate::exit::Kind;

/// The variable that says what goes to the log, as `tracing` filters are written.
const LOG: &str = "OCKAM_KMS_LOG";
/// The most bytes of a log, beside which the one before is kept.
const MAX_LOG: u64 = 16 * 1024 * 1024;

/// How many connections a server may have that needs so many descriptors for something else: as its limit of open files allows.
pub(crate) fn connections(own: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    files.saturating_sub(own).max(1)
}

/// Begins to be a server: leaves the terminal of whoever started it, when it was started in the background, and logs to
/// standard error.
pub(crate) fn begin(home: &Home, name: &Name, format: LogFormat, detached: bool) {
    if detached {
        // Away from the terminal of whoever started us: its end is not ours.
        let _ = rustix::process::setsid();
    }
    let written = rustix::fs::fstat(io::stderr()).ok().and_then(|found| u64::try_from(found.st_size).ok());
    let log = Arc::new(Log {
        files: detached.then(|| (log_file(home, name), old_log_file(home, name))),
        written: AtomicU64::new(written.unwrap_or_default()),
        turning: Mutex::default(),
    });
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_ansi(false)
        // On a full disk a line is lost, and not the thread that wrote it.
        .log_internal_errors(false);
    // Only the first logger of a process counts, and there is no other.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// Standard error; of a server in the background a file, which is put aside when it is large.
struct Log {
    /// The file, and where it is put.
    files: Option<(PathBuf, PathBuf)>,
    written: AtomicU64,
    turning: Mutex<()>,
}

impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > MAX_LOG && self.files.is_some() {
            self.turn(length)?;
        }
        io::stderr().lock().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn turn(&self, length: u64) -> io::Result<()> {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((path, old)) = &self.files else { return Ok(()) };
        if self.written.load(Ordering::Relaxed) <= MAX_LOG {
            // Another thread was quicker.
            return Ok(());
        }
        std::fs::rename(path, old)?;
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        // What is written beside the log, by a panic or a library, goes there too.
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
        self.written.store(length, Ordering::Relaxed);
        Ok(())
    }
}

/// The signals that end a server in order.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn watch() -> Result<Self> {
        let watch = |kind| {
            signal(kind)
                .map_err(|e| Error::new(Kind::Internal, "signals cannot be waited for").with_source(e))
        };
        Ok(Self { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? })
    }
}

/// Waits until the server is told to end; who told it.
pub(crate) async fn until_told(stopping: &mut watch::Receiver<bool>, mut signals: Signals) -> &'static str {
    tokio::select! {
        _ = signals.terminate.recv() => "told by a signal",
        _ = signals.interrupt.recv() => "interrupted",
        _ = stopping.wait_for(|stop| *stop) => "told through the control socket",
    }
}

/// Ends when whoever started us has gone away before it saw that we are ready.
pub(crate) fn end_with_starter(stop: watch::Sender<bool>) {
    end_with_input(stop, Some(GO), "whoever started this server has gone away");
}

/// Ends when standard input does.
pub(crate) fn end_with_eof(stop: watch::Sender<bool>) {
    end_with_input(stop, None, "standard input has ended");
}

/// Ends with standard input, unless this comes before its end.
fn end_with_input(stop: watch::Sender<bool>, unless: Option<&'static [u8]>, why: &'static str) {
    let watcher = move || {
        let mut seen = Vec::new();
        // Secrets that nobody asked for stand before the word.
        let mut byte = [0_u8; 1];
        let mut input = match crate::secret_input::stdin() {
            Ok(input) => input,
            Err(_) => return,
        };
        while let Ok(1) = input.read(&mut byte) {
            if let Some(unless) = unless {
                seen.extend_from_slice(&byte);
                if seen.ends_with(unless) {
                    return;
                }
            }
        }
        drop(SecretBytes::new(seen));
        tracing::warn!("{why}");
        let _ = stop.send(true);
    };
    if let Err(error) = std::thread::Builder::new().name("starter".to_owned()).spawn(watcher) {
        tracing::warn!(%error, "standard input cannot be watched");
    }
}
