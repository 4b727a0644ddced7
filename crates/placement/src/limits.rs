//! How many replicas a store is given, and how many are taken from it, in a minute.
//!
//! **Invariant.** In no minute are there more than the setting says.
//!
//! **Not here.** How many operators there are of a kind: `operators`.

use std::collections::{BTreeMap, VecDeque};
use types::StoreId;

const WINDOW_MS: u64 = 60_000;

/// What happens to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    Add,
    Remove,
}

/// When what happened to each store, in the last minute.
#[derive(Debug, Default)]
pub(crate) struct StoreLimits(BTreeMap<(StoreId, Change), VecDeque<u64>>);

impl StoreLimits {
    /// Whether another change is within `limit`.
    pub(crate) fn allows(&self, now_ms: u64, store: StoreId, change: Change, limit: u64) -> bool {
        let Some(times) = self.0.get(&(store, change)) else {
            return true;
        };
        let passed = times.partition_point(|at_ms| at_ms + WINDOW_MS <= now_ms);
        ((times.len() - passed) as u64) < limit
    }

    /// A change is made.
    pub(crate) fn take(&mut self, now_ms: u64, store: StoreId, change: Change) {
        let times = self.0.entry((store, change)).or_default();
        while times
            .front()
            .is_some_and(|at_ms| at_ms + WINDOW_MS <= now_ms)
        {
            times.pop_front();
        }
        times.push_back(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_changes_than_the_limit() {
        let mut limits = StoreLimits::default();
        let store = StoreId(3);
        let mut made = Vec::new();
        for now_ms in (0..300_000).step_by(700) {
            if limits.allows(now_ms, store, Change::Add, 15) {
                limits.take(now_ms, store, Change::Add);
                made.push(now_ms);
            }
        }
        assert!(made.windows(16).all(|some| some[15] - some[0] >= 60_000));
        assert!(made.len() >= 15 * 5, "the limit is used: {}", made.len());
        assert!(limits.allows(0, store, Change::Remove, 1));
        assert!(limits.allows(0, StoreId(4), Change::Add, 1));
    }
}
