//! Links: TCP connections and secure channels. Each has a number that is never used again, and knows which other links may send
//! through it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::message::Message;

/// The most links that may send through one that they were not made for.
const MAX_PARTNERS: usize = 16_384;

/// What TCP connections and secure channels have in common.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    /// There as long as the link is.
    alive: Arc<()>,
    /// Links that were put together with this one, when a message of the one was let out through the other.
    partners: Mutex<HashMap<u64, Weak<()>>>,
}

impl Link {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, alive: Arc::default(), partners: Mutex::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a message may leave through this link. Deny by default: who came in does not get out again elsewhere,
    /// unless a worker passes the message on that is there for it, or the two links were put together.
    pub(crate) fn admits(&self, message: &Message) -> bool {
        let Some(from) = message.origin().link() else { return true };
        message.is_passed_on() || from.number == self.number || self.locked().contains_key(&from.number)
    }

    /// Lets both send through each other, so that answers find the way back.
    pub(crate) fn join(&self, other: &Self) {
        for (link, partner) in [(self, other), (other, self)] {
            if !link.let_in(partner) {
                tracing::warn!(
                    link = link.number,
                    "{MAX_PARTNERS} others send through this link: no further one may"
                );
            }
        }
    }

    /// Whether there was room. Those that have ended make it.
    fn let_in(&self, partner: &Self) -> bool {
        let mut partners = self.locked();
        if partners.len() >= MAX_PARTNERS {
            partners.retain(|_, alive| alive.strong_count() > 0);
        }
        let room = partners.len() < MAX_PARTNERS || partners.contains_key(&partner.number);
        if room {
            partners.insert(partner.number, Arc::downgrade(&partner.alive));
        }
        room
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<()>>> {
        self.partners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_have_ended_make_room_for_others() {
        let link = Link::new();
        let mut others: Vec<_> = (0..MAX_PARTNERS).map(|_| Link::new()).collect();
        assert!(others.iter().all(|other| link.let_in(other)));
        let one_more = Link::new();
        assert!(!link.let_in(&one_more));
        assert!(others.first().is_some_and(|known| link.let_in(known)));
        others.pop();
        assert!(link.let_in(&one_more));
        others.clear();
        assert!((0..MAX_PARTNERS * 2).all(|_| link.let_in(&Link::new())));
    }
}
