//! How often somebody may fail. Guessing is what is limited: a success costs nothing, however often.
//!
//! In no minute are there more failures than allowed, also when many attempts are made at once: those that would be too many
//! if all of them failed wait for the ones before them. Time is that of a clock that nobody sets.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::problem::Problem;

/// Over what time failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The most keys that are remembered. When more than that fail within a minute, those that failed longest ago are forgotten:
/// whoever commands so many keys has as many attempts anyway.
const CROWD: usize = 16 * 1024;

/// Failures, counted by `K`.
#[derive(Debug)]
struct Attempts<K> {
    allowed: usize,
    tries: HashMap<K, Tries>,
}

#[derive(Debug, Default)]
struct Tries {
    /// When the failures of the last minute were, the oldest first.
    failed: VecDeque<Instant>,
    /// How many attempts have not ended yet.
    at_work: usize,
}

impl Tries {
    fn forget(&mut self, now: Instant) {
        while self.failed.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.failed.pop_front();
        }
    }
}

/// Whether an attempt may be made.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It may, and counts as at work.
    Now,
    /// When one of those that are at work has ended.
    Later,
    /// Not before so much time has passed.
    Refused(Duration),
}

impl<K: Eq + Hash + Clone> Attempts<K> {
    fn new(allowed: u32) -> Self {
        Self { allowed: usize::try_from(allowed).unwrap_or(usize::MAX).max(1), tries: HashMap::new() }
    }

    /// How long to wait, when there were too many failures already.
    fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let failed = &self.tries.get(key)?.failed;
        // As soon as this one is over there is room again.
        let oldest = failed.get(failed.len().checked_sub(self.allowed)?)?;
        WINDOW.checked_sub(now.saturating_duration_since(*oldest)).filter(|left| !left.is_zero())
    }

    fn begin(&mut self, key: &K, now: Instant) -> Turn {
        if let Some(wait) = self.wait(key, now) {
            return Turn::Refused(wait);
        }
        let tries = self.tries.entry(key.clone()).or_default();
        tries.forget(now);
        if tries.failed.len().saturating_add(tries.at_work) >= self.allowed {
            return Turn::Later;
        }
        tries.at_work = tries.at_work.saturating_add(1);
        Turn::Now
    }

    fn end(&mut self, key: &K, failed: bool, now: Instant) {
        if failed && self.tries.len() >= CROWD {
            self.make_room(now);
        }
        let tries = self.tries.entry(key.clone()).or_default();
        tries.at_work = tries.at_work.saturating_sub(1);
        tries.forget(now);
        if failed {
            tries.failed.push_back(now);
        } else if tries.failed.is_empty() && tries.at_work == 0 {
            self.tries.remove(key);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.tries.retain(|_, tries| {
            tries.forget(now);
            tries.at_work > 0 || !tries.failed.is_empty()
        });
        if self.tries.len() < CROWD {
            return;
        }
        let mut last: Vec<Instant> =
            self.tries.values().filter_map(|tries| tries.failed.back().copied()).collect();
        let middle = last.len() / 2;
        if middle < last.len() {
            let (_, middle, _) = last.select_nth_unstable(middle);
            let middle = *middle;
            let mut half = CROWD / 2;
            // Of those that failed at one moment some have to go as well.
            self.tries.retain(|_, tries| {
                let old = tries.failed.back().is_some_and(|last| *last <= middle);
                if tries.at_work == 0 && old && half > 0 {
                    half -= 1;
                    return false;
                }
                true
            });
        }
    }
}

/// Keeps count of failures for many at once.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    attempts: Mutex<Attempts<K>>,
    ended: Notify,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// So many failures are allowed in a minute, and at least one.
    pub(crate) fn new(allowed: u32) -> Self {
        Self { attempts: Mutex::new(Attempts::new(allowed)), ended: Notify::new() }
    }

    /// Refuses whoever failed too often of late, before anything is done for them.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub(crate) fn check(&self, key: &K) -> Result<(), Problem> {
        match self.lock().wait(key, Instant::now()) {
            Some(retry_after) => Err(Problem::RateLimited { retry_after }),
            None => Ok(()),
        }
    }

    /// Begins an attempt, as soon as it would not be one too many if it failed.
    ///
    /// # Errors
    /// [`Problem::RateLimited`].
    pub(crate) async fn begin(&self, key: K) -> Result<Attempt<'_, K>, Problem> {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            let turn = self.lock().begin(&key, Instant::now());
            match turn {
                Turn::Now => return Ok(Attempt { limiter: self, key, failed: true }),
                Turn::Refused(retry_after) => return Err(Problem::RateLimited { retry_after }),
                Turn::Later => ended.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Attempts<K>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that is at work. It counts as a failure unless it is said that it was none: also when whoever made it goes
/// away before it ends.
#[derive(Debug)]
pub(crate) struct Attempt<'a, K: Eq + Hash + Clone> {
    limiter: &'a Limiter<K>,
    key: K,
    failed: bool,
}

impl<K: Eq + Hash + Clone> Attempt<'_, K> {
    /// It was no failure.
    pub(crate) fn went_well(mut self) {
        self.failed = false;
    }
}

impl<K: Eq + Hash + Clone> Drop for Attempt<'_, K> {
    fn drop(&mut self) {
        self.limiter.lock().end(&self.key, self.failed, Instant::now());
        self.limiter.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Source;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn fail(attempts: &mut Attempts<&'static str>, key: &'static str, now: Instant) {
        assert_eq!(attempts.begin(&key, now), Turn::Now);
        attempts.end(&key, true, now);
    }

    #[test]
    fn in_no_minute_are_more_failures_than_allowed() {
        let (mut attempts, start) = (Attempts::new(3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // One early and two late: a minute that began with the first would let in three more at its end.
        fail(&mut attempts, "a", at(0));
        fail(&mut attempts, "a", at(58));
        fail(&mut attempts, "a", at(59));
        assert_eq!(attempts.begin(&"a", at(59)), Turn::Refused(Duration::from_secs(1)));
        fail(&mut attempts, "b", at(59));
        fail(&mut attempts, "a", at(60));
        assert_eq!(attempts.begin(&"a", at(61)), Turn::Refused(Duration::from_secs(57)));
        assert_eq!(attempts.wait(&"a", at(118)), None);
        fail(&mut attempts, "a", at(118));
    }

    #[test]
    fn successes_cost_nothing_and_leave_nothing() {
        let (mut attempts, now) = (Attempts::new(3), Instant::now());
        for _ in 0..1000 {
            assert_eq!(attempts.begin(&"a", now), Turn::Now);
            attempts.end(&"a", false, now);
        }
        assert!(attempts.tries.is_empty());
    }

    #[test]
    fn a_clock_that_jumps_is_survived() {
        let (mut attempts, start) = (Attempts::new(1), Instant::now());
        let late = start + Duration::from_secs(10 * 365 * 86_400);
        fail(&mut attempts, "a", late);
        // Back again: it is as if no time had passed, never as if it had run the other way.
        assert_eq!(attempts.begin(&"a", start), Turn::Refused(WINDOW));
        assert_eq!(attempts.wait(&"a", late + WINDOW), None);
    }

    #[test]
    fn a_site_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert!(source("127.0.0.9").is_loopback() && source("::1").is_loopback());
        assert!(!source("192.0.2.1").is_loopback() && !source("2001:db8::1").is_loopback());
    }

    #[test]
    fn a_crowd_does_not_grow_without_end() {
        let (mut attempts, start) = (Attempts::new(1), Instant::now());
        for n in 0..5 * CROWD {
            attempts.end(&n, true, start);
            assert!(attempts.tries.len() <= CROWD);
        }
        let later = start + Duration::from_secs(1);
        attempts.end(&0, true, later);
        for n in 1..CROWD {
            attempts.end(&(n + 5 * CROWD), true, later - Duration::from_millis(1));
        }
        assert!(attempts.wait(&0, later).is_some(), "those that failed last are remembered");
        attempts.end(&0, true, start + 2 * WINDOW);
        assert!(attempts.tries.len() <= CROWD);
        attempts.make_room(start + 4 * WINDOW);
        assert!(attempts.tries.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_fail_no_more_often_and_all_that_go_well_go() {
        let limiter = Arc::new(Limiter::new(10));
        let (failed, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200 {
            let (limiter, failed, refused) =
                (Arc::clone(&limiter), Arc::clone(&failed), Arc::clone(&refused));
            tasks.spawn(async move {
                match limiter.begin("a").await {
                    Ok(attempt) => {
                        tokio::task::yield_now().await;
                        if n < 100 {
                            attempt.went_well();
                        } else {
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Err(_) if n < 100 => panic!("refused before anybody failed"),
                    Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
                }
            });
            // Those that go well come first.
            if n == 99 {
                while tasks.join_next().await.is_some() {}
            }
        }
        tasks.join_all().await;
        assert_eq!((failed.load(Ordering::SeqCst), refused.load(Ordering::SeqCst)), (10, 90));
        assert!(limiter.check(&"a").is_err() && limiter.check(&"b").is_ok());
    }

    #[tokio::test]
    async fn what_is_abandoned_counts() {
        let limiter = Arc::new(Limiter::new(1));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move {
                let _attempt = limiter.begin("a").await.unwrap();
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
            }
        });
        has_begun.await.unwrap();
        assert!(limiter.check(&"a").is_ok());
        task.abort();
        assert!(task.await.is_err());
        assert!(limiter.check(&"a").is_err());
    }
}
