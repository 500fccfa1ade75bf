//! Requests are good once. The nonces of those that verified are remembered as long as their signatures live.

use std::collections::{BTreeMap, HashSet};

use identity::{Identifier, Timestamp};

use super::signature::Nonce;

/// The most nonces that are remembered. They are about 100 bytes each, and live for two minutes at most.
const CAPACITY: usize = 1 << 20;

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new, and from now on remembered.
    Never,
    /// It was there already, or it may have been: its time is over here.
    Before,
    /// There is no room to remember it, so it cannot be taken.
    Unknown,
}

/// The nonces that were seen.
#[derive(Debug)]
pub(crate) struct Replays {
    // By the last second of the signature's life, so that forgetting is cheap. Lives end at most two minutes from now, so
    // there are at most so many sets to look at.
    seen: BTreeMap<Timestamp, HashSet<(Identifier, Nonce)>>,
    count: usize,
    capacity: usize,
    // Signatures whose lives ended by then may have been forgotten. Keeps replays out even when the clock is set back.
    forgotten: Timestamp,
}

impl Default for Replays {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), count: 0, capacity: CAPACITY, forgotten: Timestamp(0) }
    }
}

impl Replays {
    /// Remembers the nonce of a signature of `identifier` that verified and is good until `expires`.
    pub(crate) fn remember(
        &mut self,
        identifier: Identifier,
        nonce: Nonce,
        expires: Timestamp,
        now: Timestamp,
    ) -> Seen {
        self.forget(now);
        let key = (identifier, nonce);
        if expires <= self.forgotten || self.seen.values().any(|set| set.contains(&key)) {
            return Seen::Before;
        }
        if self.count >= self.capacity {
            return Seen::Unknown;
        }
        self.count += 1;
        self.seen.entry(expires).or_default().insert(key);
        Seen::Never
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.seen.first_entry() {
            if *first.key() >= now {
                return;
            }
            let (expires, set) = first.remove_entry();
            self.count = self.count.saturating_sub(set.len());
            self.forgotten = self.forgotten.max(expires);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u8) -> Identifier {
        Identifier::from_bytes([n; 32])
    }

    fn nonce(n: u8) -> Nonce {
        Nonce::from_bytes([n; 16])
    }

    #[test]
    fn a_nonce_is_good_once_for_each_identity() {
        let mut replays = Replays::default();
        let mut remember =
            |of, n, expires, now| replays.remember(who(of), nonce(n), Timestamp(expires), Timestamp(now));
        assert_eq!(remember(1, 1, 60, 0), Seen::Never);
        assert_eq!(remember(1, 1, 60, 0), Seen::Before);
        assert_eq!(remember(1, 1, 61, 1), Seen::Before, "signed anew with the same nonce");
        assert_eq!(remember(2, 1, 60, 0), Seen::Never);
        assert_eq!(remember(1, 2, 60, 60), Seen::Never);
        assert_eq!(remember(1, 1, 60, 60), Seen::Before, "its last second is still its life");
        assert_eq!(remember(1, 1, 121, 61), Seen::Never, "its life is over");
    }

    #[test]
    fn setting_the_clock_back_revives_nothing() {
        let mut replays = Replays::default();
        assert_eq!(replays.remember(who(1), nonce(1), Timestamp(60), Timestamp(0)), Seen::Never);
        assert_eq!(replays.remember(who(1), nonce(2), Timestamp(160), Timestamp(100)), Seen::Never);
        assert_eq!(replays.count, 1);
        assert_eq!(replays.remember(who(1), nonce(1), Timestamp(60), Timestamp(30)), Seen::Before);
        assert_eq!(replays.remember(who(1), nonce(3), Timestamp(61), Timestamp(30)), Seen::Never);
    }

    #[test]
    fn when_there_is_no_room_nothing_is_forgotten_early() {
        let mut replays = Replays { capacity: 2, ..Replays::default() };
        assert_eq!(replays.remember(who(1), nonce(1), Timestamp(60), Timestamp(0)), Seen::Never);
        assert_eq!(replays.remember(who(1), nonce(2), Timestamp(61), Timestamp(0)), Seen::Never);
        assert_eq!(replays.remember(who(1), nonce(3), Timestamp(62), Timestamp(0)), Seen::Unknown);
        assert_eq!(replays.remember(who(1), nonce(1), Timestamp(60), Timestamp(0)), Seen::Before);
        assert_eq!(replays.remember(who(1), nonce(3), Timestamp(62), Timestamp(61)), Seen::Never);
    }
}
