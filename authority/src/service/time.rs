//! What time it is for an authority, and whether the machine's clock can be believed.
//!
//! Time never goes back here, also not over a restart: what has expired stays expired, and a request that was seen is never
//! taken again. When the clock is set back by less than the skew, time stands still until the clock has caught up. When it is
//! set back by more, or stands still for longer (a timer that nobody sets tells), the clock is not trusted: nothing that hangs
//! on the time is done until the clock is right again, or an operator says that it is. A clock that jumps ahead cannot be told
//! from a machine that slept: what should have expired has, and the way back is the operator's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use identity::{Clock, SKEW_SECONDS, Timestamp};

use crate::authz::{Actor, Rules};
use crate::error::{Error, Kind, Result};
use crate::problem::Problem;
use crate::store::{Command, Operation, Store, query};

/// How far the clock may be behind the newest time that is known, and for how long it may stand still.
const SKEW: Duration = Duration::from_secs(SKEW_SECONDS);

/// The newest time in a store, when a clock is behind it by more than the skew: then nothing is to be made by that clock.
///
/// # Errors
/// When the store fails.
pub fn clock_is_behind(store: &dyn Store, clock: &dyn Clock) -> Result<Option<Timestamp>> {
    let (says, newest) = (clock.now(), query::newest(store.view()?)?);
    Ok(Some(newest).filter(|newest| newest.since(says) > SKEW_SECONDS))
}

/// Takes a clock for right, whatever the store has seen. What expired in between is good again: only for when the newest
/// record was made by a wrong clock. It is in the audit log.
///
/// # Errors
/// [`Kind::Unavailable`] when the store fails.
pub async fn accept_clock(store: &dyn Store, clock: &dyn Clock) -> Result<()> {
    let command = Command {
        actor: Actor::Operator,
        at: clock.now(),
        rules: Arc::new(Rules::default()),
        operation: Operation::AcceptClock,
    };
    store.execute(command).await.map(drop).map_err(|problem| {
        Error::new(Kind::Unavailable, "the store did not take the record about the clock")
            .with_source(problem)
    })
}

/// The time of one authority.
#[derive(Debug)]
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    newest: Mutex<Newest>,
    // Only so that the log has one line about it, and not one for each request.
    trusted: AtomicBool,
}

impl Time {
    /// Starts from the newest time that is known.
    pub(super) fn new(clock: Arc<dyn Clock>, known: Timestamp) -> Self {
        let newest = Newest { at: known, since: Instant::now() };
        Self { clock, newest: Mutex::new(newest), trusted: AtomicBool::new(true) }
    }

    /// Now: what the clock says, and never less than before.
    pub(super) fn now(&self) -> Timestamp {
        self.look().0
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.look().1
    }

    /// # Errors
    /// [`Problem::Unavailable`] while the clock is not trusted.
    pub(super) fn check(&self) -> std::result::Result<(), Problem> {
        if self.is_trusted() { Ok(()) } else { Err(Problem::unavailable()) }
    }

    fn look(&self) -> (Timestamp, bool) {
        let (now, says, trusted) = {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            // Read under the lock, so that no later reading is taken for an earlier one.
            let (says, timer) = (self.clock.now(), Instant::now());
            let trusted = newest.take(says, timer);
            (newest.at, says, trusted)
        };
        if self.trusted.swap(trusted, Ordering::SeqCst) != trusted {
            if trusted {
                tracing::warn!(%now, "the clock is trusted again");
            } else {
                tracing::error!(%says, newest = %now, "the clock is not trusted: nothing is issued until it is right");
            }
        }
        (now, trusted)
    }
}

/// The newest time that is known, and when a timer said that it became known.
#[derive(Debug)]
struct Newest {
    at: Timestamp,
    since: Instant,
}

impl Newest {
    /// Takes what the clock says at a moment of the timer, and says whether it can be believed.
    fn take(&mut self, says: Timestamp, timer: Instant) -> bool {
        if says > self.at {
            *self = Self { at: says, since: timer };
            return true;
        }
        self.at.since(says) <= SKEW_SECONDS && timer.saturating_duration_since(self.since) <= SKEW
    }
}

#[cfg(test)]
mod tests {
    use identity::ManualClock;

    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000);

    #[test]
    fn time_never_goes_back() {
        let clock = Arc::new(ManualClock::new(NOW));
        let time = Time::new(clock.clone(), Timestamp(NOW.0 - 5));
        assert_eq!(time.now(), NOW);
        for (back, trusted) in [(1, true), (60, true), (61, false), (3600, false), (NOW.0, false)] {
            clock.set(Timestamp(NOW.0 - back));
            assert_eq!((time.now(), time.is_trusted()), (NOW, trusted), "back by {back}");
            assert_eq!(time.check().is_ok(), trusted);
        }
        clock.set(NOW.after(1));
        assert_eq!((time.now(), time.is_trusted()), (NOW.after(1), true));
    }

    #[test]
    fn what_the_store_has_seen_counts() {
        let clock = Arc::new(ManualClock::new(NOW));
        let time = Time::new(clock.clone(), NOW.after(61));
        assert_eq!((time.now(), time.is_trusted()), (NOW.after(61), false));
        clock.set(NOW.after(1));
        assert!(time.is_trusted());
    }

    #[test]
    fn a_clock_that_stands_still_is_noticed() {
        let start = Instant::now();
        let mut newest = Newest { at: Timestamp(0), since: start };
        let second = |seconds| start + Duration::from_secs(seconds);
        assert!(newest.take(NOW, start));
        assert!(newest.take(NOW, second(60)));
        assert!(!newest.take(NOW, second(61)));
        // It goes on, from where it stood: nobody can tell how long that was.
        assert!(newest.take(NOW.after(1), second(62)));
        assert!(newest.take(NOW.after(1), second(122)));
        assert!(!newest.take(NOW.after(1), second(123)));
        // Set back for a while: not while time stands still for longer than the skew.
        assert!(newest.take(NOW.after(9), second(200)));
        assert!(newest.take(NOW, second(210)));
        assert!(!newest.take(NOW.after(5), second(261)));
        // A jump ahead is taken, and the way back is not.
        assert!(newest.take(NOW.after(86_400), second(262)));
        assert!(!newest.take(NOW.after(300), second(263)));
    }
}
