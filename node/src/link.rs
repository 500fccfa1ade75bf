//! Links: TCP connections and secure channels. Each has a number that is never used again, and knows which other links may send
//! through it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::message::Message;

/// The most links that may send through one that they were not made for.
const MAX_PARTNERS: usize = 4096;

/// What TCP connections and secure channels have in common.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    /// Links that were put together with this one, when a message of the one was let out through the other.
    partners: Mutex<HashSet<u64>>,
}

impl Link {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), partners: Mutex::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a message may leave through this link. Deny by default: who came in does not get out again elsewhere,
    /// unless a worker passes the message on that is there for it, or the two links were put together.
    pub(crate) fn admits(&self, message: &Message) -> bool {
        let Some(from) = message.origin().link() else { return true };
        message.is_passed_on() || from.number == self.number || self.locked().contains(&from.number)
    }

    /// Lets both send through each other, so that answers find the way back.
    pub(crate) fn join(&self, other: &Self) {
        for (link, partner) in [(self, other), (other, self)] {
            let mut partners = link.locked();
            if partners.len() < MAX_PARTNERS {
                partners.insert(partner.number);
            }
        }
    }

    pub(crate) fn part(&self, other: u64) {
        self.locked().remove(&other);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.partners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
