//! Whether the system gives threads, asked before those start some who have no error for it.

use std::sync::Mutex;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// How often, and after what time each, it is looked whether the threads that were tried are gone.
const LOOKS: usize = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Sees to it that the system gives so many threads: starts them all at once, and ends them again.
///
/// # Errors
/// [`Kind::Unavailable`] when it does not.
pub fn ensure(count: usize) -> Result<()> {
    let before = present();
    let gate = Mutex::new(());
    let closed = gate.lock();
    std::thread::scope(|scope| {
        // Opened before the threads are waited for, whatever comes of them.
        let _closed = closed;
        for _ in 0..count {
            std::thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map_err(|error| {
                Error::new(Kind::Unavailable, "the system gives no more threads")
                    .with_hint("raise the limit of this user (`ulimit -u`) or of the service (`TasksMax`)")
                    .with_source(error)
            })?;
        }
        Ok::<(), Error>(())
    })?;
    // The system counts a thread for some time after it was waited for.
    for _ in 0..LOOKS {
        if present() <= before {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// How many threads this process has.
fn present() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_given_back() {
        // Other tests of this process come and go, so it is not counted here: many more than a limit would be are.
        for _ in 0..10 {
            ensure(50).unwrap();
        }
        ensure(0).unwrap();
    }
}
