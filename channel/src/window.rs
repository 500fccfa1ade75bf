//! Which counters are taken: each once, at most [`WINDOW`] ahead of the highest one or behind it.

/// How far ahead and how far behind.
pub(crate) const WINDOW: u64 = 32;

/// The counters that were taken, as far back as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    highest: u64,
    // Bit n: the counter `highest - n` was taken. At the start none was, and the highest is 0 all the same.
    taken: u64,
}

// INVARIANT: what is compared fits the bits that are kept.
const _: () = assert!(WINDOW < u64::BITS as u64);

impl Window {
    pub(crate) fn highest(self) -> u64 {
        self.highest
    }

    /// The window after this counter, or `None` when it may not be taken. Nothing is changed: that waits until the record
    /// has proven to be the peer's.
    pub(crate) fn take(self, counter: u64) -> Option<Self> {
        if let Some(behind) = self.highest.checked_sub(counter) {
            let bit = 1_u64.checked_shl(u32::try_from(behind).ok()?).filter(|_| behind <= WINDOW)?;
            return (self.taken & bit == 0).then_some(Self { taken: self.taken | bit, ..self });
        }
        let ahead = counter - self.highest;
        let moved = self.taken.checked_shl(u32::try_from(ahead).ok()?).filter(|_| ahead <= WINDOW)?;
        Some(Self { highest: counter, taken: moved | 1 })
    }

    #[cfg(test)]
    pub(crate) fn at(highest: u64) -> Self {
        Self { highest, taken: u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::Naive;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn takes_what_the_naive_model_takes(steps in prop::collection::vec(-70_i64..70, 1..300)) {
            let (mut window, mut naive) = (Window::default(), Naive::default());
            for step in steps {
                let counter = naive.highest.saturating_add_signed(step);
                let next = window.take(counter);
                prop_assert_eq!(next.is_some(), naive.take(counter), "counter {}", counter);
                window = next.unwrap_or(window);
                prop_assert_eq!(window.highest(), naive.highest);
            }
        }
    }

    #[test]
    fn the_edges_are_those_of_the_reference() {
        let start = Window::default();
        assert!(start.take(32).is_some() && start.take(33).is_none());
        let at = start.take(32).unwrap();
        assert!(at.take(0).is_some());
        let at = at.take(64).unwrap();
        assert!(at.take(31).is_none() && at.take(33).is_some() && at.take(32).is_none());
        assert!(start.take(u64::MAX).is_none());
        assert!(Window::at(u64::MAX).take(u64::MAX - 32).is_none());
    }
}
