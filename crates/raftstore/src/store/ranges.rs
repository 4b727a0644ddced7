//! Which ranges the replicas of a store hold, or claim: an uninitialised one claims the range that its
//! first message named.
//!
//! **Invariants.** The ranges of initialised replicas are apart; a claim was free when it was made.
//!
//! **Not here.** The placement Region: it lies in a space of its own, and its range overlaps none.

use std::collections::BTreeMap;
use types::{KeyRange, RegionId};

/// Ranges, by their first key.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    by_start: BTreeMap<(Vec<u8>, RegionId), Vec<u8>>,
    starts: BTreeMap<RegionId, Vec<u8>>,
}

impl Ranges {
    /// The replica holds this range from now on.
    pub(super) fn set(&mut self, id: RegionId, range: &KeyRange) {
        if id == RegionId::PLACEMENT {
            return;
        }
        self.remove(id);
        self.starts.insert(id, range.start.clone());
        self.by_start
            .insert((range.start.clone(), id), range.end.clone());
    }

    /// The replica is gone.
    pub(super) fn remove(&mut self, id: RegionId) {
        if let Some(start) = self.starts.remove(&id) {
            self.by_start.remove(&(start, id));
        }
    }

    /// Whether no replica but these holds a part of the range.
    pub(super) fn is_free(&self, ids: &[RegionId], range: &KeyRange) -> bool {
        if ids.contains(&RegionId::PLACEMENT) {
            return true;
        }
        let from = (range.start.clone(), RegionId(0));
        let is_other = |((_, other), _): &(&(Vec<u8>, RegionId), &Vec<u8>)| !ids.contains(other);
        let before = self.by_start.range(..from.clone()).rev().find(is_other);
        let reaches_in = |end: &Vec<u8>| end.is_empty() || *end > range.start;
        let behind = self.by_start.range(from..).find(is_other);
        let begins_in = |start: &Vec<u8>| range.end.is_empty() || *start < range.end;
        !before.is_some_and(|(_, end)| reaches_in(end))
            && !behind.is_some_and(|((start, _), _)| begins_in(start))
    }
}

/// Whether two ranges have a key in common.
pub(super) fn overlap(a: &KeyRange, b: &KeyRange) -> bool {
    let begins_before = |start: &[u8], end: &[u8]| end.is_empty() || start < end;
    begins_before(&a.start, &b.end) && begins_before(&b.start, &a.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange {
            start: start.into(),
            end: end.into(),
        }
    }

    #[test]
    fn what_touches_is_free_and_what_overlaps_is_not() {
        let mut ranges = Ranges::default();
        ranges.set(RegionId(2), &range("b", "d"));
        ranges.set(RegionId(3), &range("m", ""));
        let is_free = |start, end| ranges.is_free(&[RegionId(9)], &range(start, end));
        assert!(ranges.is_free(&[RegionId(9), RegionId(2)], &range("", "m")));
        assert!(!ranges.is_free(&[RegionId(9), RegionId(2)], &range("", "")));
        for (start, end) in [("", "b"), ("d", "m"), ("e", "f")] {
            assert!(is_free(start, end), "{start}..{end}");
        }
        for (start, end) in [
            ("", "c"),
            ("b", "d"),
            ("c", "e"),
            ("a", "z"),
            ("z", ""),
            ("", ""),
        ] {
            assert!(!is_free(start, end), "{start}..{end}");
        }
    }

    #[test]
    fn a_range_that_was_cut_or_removed_is_free_again() {
        let mut ranges = Ranges::default();
        ranges.set(RegionId(2), &range("", ""));
        ranges.set(RegionId::PLACEMENT, &range("", ""));
        ranges.set(RegionId(2), &range("m", ""));
        assert!(ranges.is_free(&[RegionId(9)], &range("", "m")));
        ranges.remove(RegionId(2));
        assert!(ranges.is_free(&[RegionId(9)], &range("", "")));
        assert!(ranges.is_free(&[RegionId::PLACEMENT], &range("", "")));
    }
}
