//! A consistent view of one Region, in client keys.
//!
//! **Invariants.** What lies outside of the Region's range is not seen through this view.

use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator, KvSnapshot, Result};
use std::sync::Arc;
use types::{Region, Space};

/// A view of one Region at one moment.
pub struct RegionSnapshot<K: KvEngine> {
    region: Arc<Region>,
    space: Space,
    snapshot: K::Snapshot,
}

impl<K: KvEngine> RegionSnapshot<K> {
    pub(crate) fn new(region: Arc<Region>, snapshot: K::Snapshot) -> Self {
        Self {
            space: Space::of(region.id),
            region,
            snapshot,
        }
    }

    /// The Region as it was when the read was allowed.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The value of a key; none for a key outside of the Region.
    ///
    /// # Errors
    /// The engine can't be read.
    pub fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        match self.region.range.contains(key) {
            true => self.snapshot.get(cf, &self.space.key(key)),
            false => Ok(None),
        }
    }

    /// An iterator over the Region's keys in `[start, end)`; an empty `end` means "to the end".
    ///
    /// # Errors
    /// The engine can't be read.
    pub fn iter(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<RegionIter<'_, K>> {
        let range = &self.region.range;
        let start = start.max(range.start.as_slice());
        let end = match (end.is_empty(), range.end.is_empty()) {
            (true, _) => range.end.as_slice(),
            (false, true) => end,
            (false, false) => end.min(range.end.as_slice()),
        };
        let (lower, upper) = (self.space.key(start), self.space.end_key(end));
        let inner = self.snapshot.iter(cf, &lower, &upper)?;
        Ok(RegionIter {
            inner,
            space: self.space,
        })
    }
}

/// A cursor over a Region's keys; see [`KvIterator`] for its moves.
pub struct RegionIter<'a, K: KvEngine> {
    inner: <K::Snapshot as KvSnapshot>::Iter<'a>,
    space: Space,
}

impl<K: KvEngine> KvIterator for RegionIter<'_, K> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.inner.seek(&self.space.key(key))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.inner.seek_for_prev(&self.space.key(key))
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        self.inner.seek_to_first()
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.inner.seek_to_last()
    }

    fn next(&mut self) -> Result<bool> {
        self.inner.next()
    }

    fn prev(&mut self) -> Result<bool> {
        self.inner.prev()
    }

    fn valid(&self) -> bool {
        self.inner.valid()
    }

    fn key(&self) -> &[u8] {
        self.space
            .strip(self.inner.key())
            .expect("the bounds lie within the space")
    }

    fn value(&self) -> &[u8] {
        self.inner.value()
    }
}
