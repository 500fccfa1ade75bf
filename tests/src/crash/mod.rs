//! An authority that is killed at random moments while people enrol, get credentials, make and revoke tickets, and its
//! identity is rotated; and a check, after each start, that everything it acknowledged is there.
//!
//! [`World`] starts and kills the process, `drive` asks it for things from several threads and keeps a
//! journal of what was asked and answered, which is synced, and [`reconcile`](World::reconcile) compares the journal with
//! what the authority shows.

mod driver;
mod facts;
mod reconcile;
mod tickets;
mod world;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

pub use facts::{Facts, Journal};
pub use tickets::{assert_there, make_tickets, use_of, wait_until};
pub use world::{NAME, PROJECT, Person, Program, World};

/// Random numbers (SplitMix64) from a seed that differs in every run.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Fresh ones.
    #[must_use]
    pub fn new() -> Self {
        Self(RandomState::new().hash_one("a seed"))
    }

    /// A number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another one.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// A time from nothing to `whole`.
    pub fn time_within(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(f64::from(u32::try_from(self.roll() >> 32).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
