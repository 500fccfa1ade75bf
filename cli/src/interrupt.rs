//! Ctrl-C, or a request to terminate: the program ends at once while it changes nothing, else as soon as what it began is
//! whole. A second one ends it at once; what is cut off then is found by whoever writes next.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::error::Error;
use crate::exit::Kind;
use crate::output::Output;
use crate::terminal;

/// How long the last words may take: whoever reads them may have stopped reading.
const LAST_WORDS: Duration = Duration::from_millis(500);

static STATE: Mutex<State> =
    Mutex::new(State { holds: 0, caught: None, left_to_server: false, ending: false });
static OUTPUT: OnceLock<Output> = OnceLock::new();

struct State {
    holds: usize,
    caught: Option<i32>,
    left_to_server: bool,
    /// It is decided: nothing is begun any more.
    ending: bool,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program and looks out for interruptions while it runs.
pub(crate) fn watched(run: impl FnOnce() -> u8) -> ExitCode {
    // Without a thread for it, an interruption ends the program as the system has it.
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
        let watch = move || {
            for signal in signals.forever() {
                caught(signal);
            }
        };
        let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(watch);
    }
    ExitCode::from(run())
}

/// How the end is told.
pub(crate) fn tell_by(output: Output) {
    let _ = OUTPUT.set(output);
}

/// While it lives, an interruption waits: what is done meanwhile is done whole.
#[derive(Debug)]
pub(crate) struct Hold(());

/// Begins something that is not to be cut off.
pub(crate) fn hold() -> Hold {
    let mut state = state();
    if state.ending {
        drop(state);
        // The process is about to end, and what would be begun now would be cut off.
        loop {
            std::thread::park();
        }
    }
    state.holds += 1;
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = state();
        state.holds = state.holds.saturating_sub(1);
        let due = state.caught.filter(|_| state.holds == 0 && !state.left_to_server);
        state.ending |= due.is_some();
        drop(state);
        if let Some(signal) = due {
            end(signal);
        }
    }
}

/// Whether the program is to end as soon as it can: for what waits for others while it holds.
pub(crate) fn requested() -> bool {
    state().caught.is_some()
}

/// The server that runs here ends in an order of its own.
pub(crate) fn leave_to_server() {
    state().left_to_server = true;
}

/// What was wanted is done and stays: from now on an interruption comes too late. `false` when one came in time.
pub(crate) fn too_late() -> bool {
    let mut state = state();
    let late = state.caught.is_none();
    state.left_to_server |= late;
    late
}

/// The command goes on with something else, which may be interrupted.
pub(crate) fn in_time_again() {
    state().left_to_server = false;
}

/// Ctrl-C as a key, where the terminal does not make a signal of it. Comes back while something is held.
pub(crate) fn pressed() {
    caught(SIGINT);
}

fn caught(signal: i32) {
    let mut state = state();
    if state.left_to_server {
        return;
    }
    let again = state.caught.replace(signal).is_some();
    let held = state.holds > 0 && !again;
    state.ending |= !held;
    drop(state);
    if !held {
        end(signal);
    }
    if let Some(output) = OUTPUT.get() {
        output.note("what was begun is finished first; once more ends it at once");
    }
}

/// Ends the process: without the handlers of its end, which would meet threads that still work.
fn end(signal: i32) -> ! {
    terminal::restore();
    let (said, saying) = channel();
    let words = move || {
        if let Some(output) = OUTPUT.get() {
            let _ = output.finish(Err(Error::new(Kind::Interrupted, "interrupted")));
        }
        let _ = said.send(());
    };
    if std::thread::Builder::new().spawn(words).is_ok() {
        let _ = saying.recv_timeout(LAST_WORDS);
    }
    low_level::exit(if signal == SIGINT { i32::from(Kind::Interrupted.code()) } else { 128 + signal })
}
