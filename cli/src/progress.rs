//! What is being waited for, told at a terminal when it takes long; to nobody else, and not with `--quiet`. Not for what may ask
//! a person something: question and progress would be written over each other.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::output::Output;

/// What takes less is not worth a word.
const PATIENCE: Duration = Duration::from_millis(500);

/// Tells how long it lives.
#[derive(Debug)]
pub(crate) struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

/// Begins to wait for something.
pub(crate) fn waiting(output: Output, what: &'static str) -> Waiting {
    if output.quiet || output.json || !stderr().is_terminal() {
        return Waiting(None);
    }
    let (done, ended) = channel::<()>();
    let tell = move || {
        let start = Instant::now();
        let mut shown = 0;
        while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let line = format!("{what} ({} s)", start.elapsed().as_secs());
            shown = line.chars().count();
            let _ = write!(stderr(), "\r{line}");
        }
        // Whatever is told next begins on an empty line, without a word to the terminal but spaces.
        if shown > 0 {
            let _ = write!(stderr(), "\r{:shown$}\r", "");
        }
    };
    Waiting(std::thread::Builder::new().spawn(tell).ok().map(|thread| (done, thread)))
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            let _ = thread.join();
        }
    }
}
