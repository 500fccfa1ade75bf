//! Memory that is not written to swap: where keys live while they are used.
//!
//! Locking counts by pages and is not counted twice, so each value that is kept here has pages of its own: what one lets
//! go of never unlocks another. Where the limit for locked memory (`RLIMIT_MEMLOCK`) allows no more, values are kept all
//! the same; [`can_lock`] tells a program beforehand.

use std::fmt;
use std::ops::Deref;

use region::LockGuard;

use crate::error::{Error, Kind, Result};

/// Room for sixteen values, more keys than a server opens. The system's own default is hundreds of times that.
const ROOM: usize = 16 * 4096;

/// Whether memory can be locked now: tries it with 64 KiB.
///
/// # Errors
/// [`Kind::Exhausted`] when the system says no.
pub fn can_lock() -> Result<()> {
    let pages = Box::new(Pages([0_u8; ROOM]));
    lock(&pages).map(drop).map_err(|e| {
        Error::new(Kind::Exhausted, "the system does not lock 64 KiB of memory for this process")
            .with_hint("raise the limit for locked memory: `ulimit -l`, or LimitMEMLOCK= of a systemd unit")
            .with_source(e.to_string())
    })
}

/// Starts at a page, and so also fills its last one: 4096 bytes are the page of every system we run on, or a part of it.
#[repr(align(4096))]
struct Pages<T>(T);

fn lock<T>(pages: &Pages<T>) -> std::result::Result<LockGuard, region::Error> {
    region::lock(std::ptr::from_ref(pages), size_of::<Pages<T>>())
}

/// A value in pages of its own, locked when that is allowed.
pub(crate) struct Locked<T> {
    // INVARIANT: dropped before the pages go back to the allocator, which could give them to another one of these.
    _guard: Option<LockGuard>,
    pages: Box<Pages<T>>,
}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        let pages = Box::new(Pages(value));
        Self { _guard: lock(&pages).ok(), pages }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.pages.0
    }
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locked memory of this process, in KiB.
    fn locked() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn values_have_locked_pages_of_their_own() {
        can_lock().unwrap();
        let before = locked();
        let one = Locked::new([1_u8; 32]);
        let two = Locked::new([2_u8; 5000]);
        assert_eq!(locked(), before + 4 + 8);
        drop(one);
        assert_eq!(locked(), before + 8, "the other is still locked");
        assert_eq!(two[4999], 2);
        assert_eq!(format!("{two:?}"), "Locked(..)");
        drop(two);
        assert_eq!(locked(), before);
    }
}
