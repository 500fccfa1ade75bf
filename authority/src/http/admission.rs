//! Who is served when there are more connections than places.
//!
//! While there are places everybody gets one. When they are all taken, whoever comes gets the place of a connection that
//! waits for its client: first of one that never sent a whole request, of the source that has the most connections, the
//! oldest of them. A client that sends what it has to say is never the oldest for long, so that connections that say
//! nothing, or say it slowly, cannot hold every place, however many they are. A connection whose request is being answered
//! is left alone.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::Source;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::metrics::ConnectionMetrics;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Admission {
    places: usize,
    a_source: usize,
    table: Mutex<Table>,
    metrics: ConnectionMetrics,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    held: HashMap<u64, Held>,
    sources: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Held {
    source: Source,
    /// Since when it waits for its client; not while a request of it is being answered.
    waiting: Option<Instant>,
    /// Whether a request of it was answered.
    served: bool,
    taken_away: Arc<Notify>,
}

impl Admission {
    /// So many places, of which one source gets so many.
    pub(super) fn new(places: usize, a_source: usize, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), a_source: a_source.max(1), table: Mutex::default(), metrics })
    }

    /// A place for a connection, if need be that of another one; none when everybody else is being answered.
    pub(super) fn admit(self: &Arc<Self>, source: Source, is_limited: bool) -> Option<Place> {
        let mut table = self.table();
        let over_its_share =
            is_limited && table.sources.get(&source).is_some_and(|held| *held >= self.a_source);
        if over_its_share || table.held.len() >= self.places {
            let victim = table.victim(over_its_share.then_some(source));
            let Some(victim) = victim else {
                self.metrics.turned_away.inc();
                return None;
            };
            table.take_away(victim);
            self.metrics.evicted.inc();
        }
        let (id, taken_away) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        let held = Held {
            source,
            waiting: Some(Instant::now()),
            served: false,
            taken_away: Arc::clone(&taken_away),
        };
        table.held.insert(id, held);
        *table.sources.entry(source).or_default() += 1;
        drop(table);
        self.metrics.open.inc();
        Some(Place { id, source, taken_away, admission: Arc::clone(self) })
    }

    /// Ends a connection that waits for its client, when the system gives no more descriptors.
    pub(super) fn make_room(&self) {
        let mut table = self.table();
        if let Some(victim) = table.victim(None) {
            table.take_away(victim);
            self.metrics.evicted.inc();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn victim(&self, of: Option<Source>) -> Option<u64> {
        let waiting = self.held.iter().filter(|(_, held)| of.is_none_or(|source| held.source == source));
        let ranked = waiting.filter_map(|(id, held)| {
            let crowd = self.sources.get(&held.source).copied().unwrap_or_default();
            Some(((held.served, Reverse(crowd), held.waiting?, *id), *id))
        });
        ranked.min().map(|(_, id)| id)
    }

    fn take_away(&mut self, id: u64) {
        if let Some(held) = self.remove(id) {
            held.taken_away.notify_one();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        if let Some(count) = self.sources.get_mut(&held.source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&held.source);
            }
        }
        Some(held)
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    source: Source,
    taken_away: Arc<Notify>,
    admission: Arc<Admission>,
}

impl Place {
    /// Who has it.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// A whole request came: from now on it is us who keep the client waiting.
    pub(crate) fn request_came(&self) {
        if let Some(held) = self.admission.table().held.get_mut(&self.id) {
            held.waiting = None;
        }
    }

    /// It is answered.
    pub(super) fn answered(&self) {
        if let Some(held) = self.admission.table().held.get_mut(&self.id) {
            (held.waiting, held.served) = (Some(Instant::now()), true);
        }
    }

    /// Comes back when another connection gets this place.
    pub(super) async fn taken_away(&self) {
        self.taken_away.notified().await;
    }

    /// Comes back when the client was waited for longer than this.
    pub(super) async fn overdue(&self, longest: Duration) {
        loop {
            let waiting = self.admission.table().held.get(&self.id).and_then(|held| held.waiting);
            let now = Instant::now();
            let until = waiting.unwrap_or(now) + longest;
            if until <= now {
                return;
            }
            sleep_until(until.into()).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.table().remove(self.id);
        self.admission.metrics.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(n: u8) -> Source {
        IpAddr::from([192, 0, 2, n]).into()
    }

    async fn is_gone(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(20), place.taken_away()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_that_says_nothing_makes_room() {
        let admission = Admission::new(3, 3, ConnectionMetrics::default());
        let admit = |n| admission.admit(source(n), true);
        let (a, b, c) = (admit(1).unwrap(), admit(2).unwrap(), admit(3).unwrap());
        a.request_came();
        let d = admit(4).unwrap();
        assert!(is_gone(&b).await && !is_gone(&a).await && !is_gone(&c).await);
        // One that was answered waits for its client again, and is taken after those that never said anything.
        a.answered();
        let e = admit(5).unwrap();
        assert!(is_gone(&c).await && !is_gone(&a).await && !is_gone(&d).await);
        for place in [&d, &e] {
            place.request_came();
        }
        let f = admit(6).unwrap();
        assert!(is_gone(&a).await);
        f.request_came();
        assert!(admit(7).is_none(), "everybody is being answered");
        let counts = &admission.metrics;
        assert_eq!((counts.evicted.get(), counts.turned_away.get()), (3, 1));
        drop(f);
        assert!(admit(7).is_some());
    }

    #[tokio::test]
    async fn a_crowd_makes_room_before_somebody_alone() {
        let admission = Admission::new(3, 3, ConnectionMetrics::default());
        let admit = |n| admission.admit(source(n), true).unwrap();
        let (alone, first, second) = (admit(1), admit(2), admit(2));
        let _next = admit(3);
        assert!(is_gone(&first).await && !is_gone(&alone).await && !is_gone(&second).await);
    }

    #[tokio::test]
    async fn a_source_has_its_share_and_no_more() {
        let admission = Admission::new(10, 2, ConnectionMetrics::default());
        let (a, b) = (admission.admit(source(1), true).unwrap(), admission.admit(source(1), true).unwrap());
        let c = admission.admit(source(1), true).unwrap();
        assert!(is_gone(&a).await);
        for place in [&b, &c] {
            place.request_came();
        }
        assert!(admission.admit(source(1), true).is_none());
        assert!(admission.admit(source(1), false).is_some(), "who is not limited");
        assert!(admission.admit(source(2), true).is_some());
    }

    #[tokio::test]
    async fn whoever_keeps_us_waiting_is_overdue() {
        let admission = Admission::new(1, 1, ConnectionMetrics::default());
        let place = admission.admit(source(1), true).unwrap();
        let long = Duration::from_millis(200);
        place.request_came();
        assert!(tokio::time::timeout(long * 2, place.overdue(long)).await.is_err());
        let begin = Instant::now();
        place.answered();
        place.overdue(long).await;
        assert!(begin.elapsed() >= long);
    }
}
