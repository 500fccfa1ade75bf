//! Taking turns: for modules that cannot do some things twice at a time, be it by two threads or by two processes
//! ([`crate::quirks::needs_turns`]). Threads wait for each other here. Processes of ours wait for each other by an advisory
//! lock on the module's own file, which they all have open and which needs no place to write.
//!
//! Waiting is bounded: whoever does not get a turn in time goes ahead without, since a lock that somebody else holds for
//! ever must not stop the service. Programs that are not ours take no turns.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);
/// After a lock that was not to be had, nobody waits for it for so long.
const NO_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Turns {
    file: Option<File>,
    taken: Mutex<bool>,
    free: Condvar,
    gave_up: Mutex<Option<Instant>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    /// Whether the other threads, and the other processes, really wait.
    threads: bool,
    processes: bool,
}

impl Turns {
    /// Turns at the module of this path.
    pub(crate) fn at(path: &Path) -> Arc<Self> {
        let file = File::open(path).ok();
        Arc::new(Self { file, taken: Mutex::new(false), free: Condvar::new(), gave_up: Mutex::new(None) })
    }

    /// Waits for a turn, within bounds.
    pub(crate) fn take(self: &Arc<Self>) -> Turn {
        let until = Instant::now() + PATIENCE;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Turn { turns: Arc::clone(self), threads: false, processes: false };
            }
            taken = self.free.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = true;
        drop(taken);
        Turn { turns: Arc::clone(self), threads: true, processes: self.lock_out_processes(until) }
    }

    fn lock_out_processes(&self, until: Instant) -> bool {
        let Some(file) = &self.file else { return false };
        let mut gave_up = self.gave_up.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                *gave_up = None;
                return true;
            }
            if gave_up.is_some_and(|when| when.elapsed() < NO_PATIENCE) {
                return false;
            }
            if Instant::now() >= until {
                *gave_up = Some(Instant::now());
                return false;
            }
            sleep(LOOK);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (true, Some(file)) = (self.processes, &self.turns.file) {
            let _ = flock(file, FlockOperation::Unlock);
        }
        if self.threads {
            *self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
            self.turns.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Two openings of one file lock each other out, as those of two processes do.
        let both = [Turns::at(file.path()), Turns::at(file.path())];
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (turns, inside) = (&both[thread % 2], &inside);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let _turn = turns.take();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn nobody_waits_for_ever() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let both = [Turns::at(file.path()), Turns::at(file.path())];
        let held = both[0].take();
        for turns in &both {
            let start = Instant::now();
            let _without = turns.take();
            assert!(start.elapsed() >= PATIENCE && start.elapsed() < 4 * PATIENCE);
        }
        // One wait is enough to learn that the lock is stuck.
        let start = Instant::now();
        assert!(!both[1].take().processes);
        assert!(start.elapsed() < PATIENCE);
        drop(held);
        assert!(both[1].take().processes);
    }
}
