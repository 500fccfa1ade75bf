//! A transaction: the state below, what the commands before it in the same group wrote, and what this command writes. One
//! group becomes one batch of the engine, so that what is not durable yet is seen by the commands behind it and by nobody
//! else.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::error::Result;
use crate::store::record::{self, Record};
use crate::store::{Entry, View};

/// What is to be written: values, or `None` for what is to be removed.
pub(crate) type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(crate) struct Transaction<'a> {
    base: &'a dyn View,
    group: Batch,
    own: Batch,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(base: &'a dyn View) -> Self {
        Self { base, group: Batch::new(), own: Batch::new() }
    }

    pub(crate) fn put<R: Record>(&mut self, key: Vec<u8>, record: &R) -> Result<()> {
        self.own.insert(key, Some(record::encode(record)?));
        Ok(())
    }

    /// Puts an entry that says all it has to say by being there.
    pub(crate) fn mark(&mut self, key: Vec<u8>) {
        self.own.insert(key, Some(vec![record::FORMAT]));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.own.insert(key, None);
    }

    /// This command's writes are to be done.
    pub(crate) fn keep(&mut self) {
        // One by one: `append` builds the whole map anew, and a group has many commands.
        self.group.extend(std::mem::take(&mut self.own));
    }

    /// This command's writes are not to be done.
    pub(crate) fn forget(&mut self) {
        self.own.clear();
    }

    /// What the group wrote.
    pub(crate) fn into_batch(self) -> Batch {
        self.group
    }
}

impl View for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.own.get(key).or_else(|| self.group.get(key)) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        // Of the group as much as fills the answer, also when this command removed some of it again.
        let mut left = limit.saturating_add(self.own.len());
        let mut written = BTreeMap::new();
        for (layer, is_bounded) in [(&self.group, true), (&self.own, false)] {
            let range = layer.range::<[u8], _>((start, Bound::Unbounded));
            for (key, value) in range.take_while(|(key, _)| key.starts_with(prefix)) {
                if is_bounded && value.is_some() {
                    let Some(less) = left.checked_sub(1) else { break };
                    left = less;
                }
                written.insert(key, value);
            }
        }
        // As many more from below as may turn out to be removed.
        let removed = written.values().filter(|value| value.is_none()).count();
        let below = self.base.scan(prefix, after, limit.saturating_add(removed))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = below.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => {
                    merged.insert(key.clone(), value.clone());
                }
                None => {
                    merged.remove(key);
                }
            }
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl View for Batch {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            Ok(self.get(key).cloned().flatten())
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
            let all = self.iter().filter(|(key, _)| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after)
            });
            Ok(all.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).take(limit).collect())
        }
    }

    type Writes = Vec<(u8, u8, Option<u8>)>;

    fn layer(writes: &Writes) -> Batch {
        writes.iter().map(|(a, b, value)| (vec![*a, *b], value.map(|value| vec![value]))).collect()
    }

    proptest! {
        // Against the naive way: write everything into one map, then look.
        #[test]
        fn a_transaction_sees_what_one_map_would_hold(
            below in proptest::collection::vec((0..3_u8, 0..12_u8, proptest::option::of(0..9_u8)), 0..40),
            group in proptest::collection::vec((0..3_u8, 0..12_u8, proptest::option::of(0..9_u8)), 0..20),
            own in proptest::collection::vec((0..3_u8, 0..12_u8, proptest::option::of(0..9_u8)), 0..20),
            prefix in 0..3_u8,
            after in proptest::option::of(0..12_u8),
            limit in 0..20_usize,
        ) {
            let below: Batch = layer(&below).into_iter().filter(|(_, value)| value.is_some()).collect();
            let mut naive = below.clone();
            naive.extend(layer(&group));
            naive.extend(layer(&own));
            naive.retain(|_, value| value.is_some());
            let transaction = Transaction { base: &below, group: layer(&group), own: layer(&own) };
            let after = after.map(|after| vec![prefix, after]);
            prop_assert_eq!(
                transaction.scan(&[prefix], after.as_deref(), limit).unwrap(),
                View::scan(&naive, &[prefix], after.as_deref(), limit).unwrap()
            );
            for key in below.keys().chain(transaction.group.keys()).chain(transaction.own.keys()) {
                prop_assert_eq!(transaction.get(key).unwrap(), View::get(&naive, key).unwrap());
            }
        }
    }
}
