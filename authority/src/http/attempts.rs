//! How often somebody may fail. Guessing is what is limited: a success costs nothing, however often.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is counted by: an IPv4 address, or the 64 bits of an IPv6 address that its owner cannot choose (a site has all
/// addresses under them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets.iter_mut().skip(8).for_each(|octet| *octet = 0);
                IpAddr::V6(octets.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Source {
    /// Whether it is this machine.
    pub(crate) fn is_loopback(self) -> bool {
        self.0.is_loopback() || self.0 == Self::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)).0
    }
}

/// Over what time failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How many keys are kept at least before those whose windows are over are dropped.
const CROWD: usize = 16 * 1024;

/// Failures, counted by `K`.
#[derive(Debug)]
pub(crate) struct Attempts<K> {
    allowed: u32,
    failed: HashMap<K, (Instant, u32)>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Attempts<K> {
    /// So many failures are allowed in a minute.
    pub(crate) fn new(allowed: u32) -> Self {
        Self { allowed, failed: HashMap::new(), sweep_at: CROWD }
    }

    /// How long to wait, when there were too many failures already.
    pub(crate) fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let (since, count) = self.failed.get(key)?;
        let left =
            WINDOW.checked_sub(now.saturating_duration_since(*since)).filter(|left| !left.is_zero())?;
        (*count >= self.allowed).then_some(left)
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, key: K, now: Instant) {
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.failed.len() >= self.sweep_at {
            self.failed.retain(|_, (since, _)| !over(*since));
            self.sweep_at = CROWD.max(self.failed.len().saturating_mul(2));
        }
        let (since, count) = self.failed.entry(key).or_insert((now, 0));
        if over(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn failures_are_counted_for_a_minute() {
        let (mut attempts, start) = (Attempts::new(3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for seconds in 0..3 {
            assert_eq!(attempts.wait(&"a", at(seconds)), None);
            attempts.fail("a", at(seconds));
        }
        assert_eq!(attempts.wait(&"a", at(20)), Some(Duration::from_secs(40)));
        assert_eq!(attempts.wait(&"b", at(20)), None);
        assert_eq!(attempts.wait(&"a", at(60)), None);
        attempts.fail("a", at(60));
        assert_eq!(attempts.wait(&"a", at(61)), None);
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
    fn a_crowd_that_is_gone_is_dropped() {
        let (mut attempts, start) = (Attempts::new(1), Instant::now());
        for n in 0..CROWD {
            attempts.fail(n, start);
        }
        attempts.fail(CROWD, start + WINDOW);
        assert_eq!(attempts.failed.len(), 1);
    }
}
