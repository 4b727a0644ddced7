//! A consistent view of one Region, in client keys.
//!
//! **Invariants.** What lies outside of the Region's range is not seen through this view. What is seen is
//! counted as traffic: keys at once, rows when their iterator is let go.

use crate::flow::Quotas;
use crate::traffic::{Counts, Keys, Traffic};
use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator, KvSnapshot, Result};
use raftstore::op::measure::Size;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use types::{Region, RegionId, Space};

/// A view of one Region at one moment.
pub struct RegionSnapshot<K: KvEngine> {
    region: Arc<Region>,
    space: Space,
    snapshot: K::Snapshot,
    meter: Option<Meter>,
}

/// Counts what one request sees.
pub(crate) struct Meter {
    traffic: Traffic,
    quotas: Quotas,
    region: RegionId,
    leads: bool,
    /// The request itself is counted once.
    is_counted: AtomicBool,
}

impl Meter {
    pub(crate) fn new((traffic, quotas): (Traffic, Quotas), region: RegionId, leads: bool) -> Self {
        Self {
            traffic,
            quotas,
            region,
            leads,
            is_counted: AtomicBool::new(false),
        }
    }

    fn count(&self, read: Size, begun: Instant, keys: Keys<'_>) {
        self.quotas.has_read(read.bytes);
        let counts = Counts {
            read,
            reads: u64::from(!self.is_counted.swap(true, Ordering::Relaxed)),
            busy: begun.elapsed(),
            ..Counts::default()
        };
        match self.leads {
            true => self.traffic.count_led(self.region, &counts, Some(keys)),
            false => self.traffic.count(self.region, &counts),
        }
    }
}

impl<K: KvEngine> RegionSnapshot<K> {
    /// Without a meter nothing is counted.
    pub(crate) fn new(region: Arc<Region>, snapshot: K::Snapshot, meter: Option<Meter>) -> Self {
        Self {
            space: Space::of(region.id),
            region,
            snapshot,
            meter,
        }
    }

    /// A view that counts nothing as traffic.
    pub fn uncounted(region: Arc<Region>, snapshot: K::Snapshot) -> Self {
        Self::new(region, snapshot, None)
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
        if !self.region.range.contains(key) {
            return Ok(None);
        }
        let begun = Instant::now();
        let found = self.snapshot.get(cf, &self.space.key(key))?;
        if let Some(meter) = &self.meter {
            let bytes = key.len() + found.as_ref().map_or(0, Bytes::len);
            let bytes = bytes as u64;
            meter.count(Size { bytes, keys: 1 }, begun, (key, key));
        }
        Ok(found)
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
            meter: self.meter.as_ref(),
            begun: Instant::now(),
            seen: Size::default(),
            bounds: (lower, upper),
            is_reverse: false,
        })
    }
}

/// A cursor over a Region's keys; see [`KvIterator`] for its moves.
pub struct RegionIter<'a, K: KvEngine> {
    inner: <K::Snapshot as KvSnapshot>::Iter<'a>,
    space: Space,
    meter: Option<&'a Meter>,
    begun: Instant,
    /// What it has stood on.
    seen: Size,
    /// As the engine has them.
    bounds: (Vec<u8>, Vec<u8>),
    is_reverse: bool,
}

impl<K: KvEngine> RegionIter<'_, K> {
    fn stands(&mut self, stands: bool) -> bool {
        if stands {
            let bytes = (self.key().len() + self.value().len()) as u64;
            self.seen.add(Size { bytes, keys: 1 });
        }
        stands
    }
}

impl<K: KvEngine> Drop for RegionIter<'_, K> {
    fn drop(&mut self) {
        let Some(meter) = self.meter else {
            return;
        };
        // What lies beyond the row that it stands on was not asked for.
        let (lower, upper) = (&self.bounds.0[..], &self.bounds.1[..]);
        let (first, last) = match self.inner.valid() {
            false => (lower, upper),
            true if self.is_reverse => (self.inner.key(), upper),
            true => (lower, self.inner.key()),
        };
        // The end of the space is no key of it.
        let key = |key| self.space.strip(key).unwrap_or_default();
        meter.count(self.seen, self.begun, (key(first), key(last)));
    }
}

impl<K: KvEngine> KvIterator for RegionIter<'_, K> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        let stands = self.inner.seek(&self.space.key(key))?;
        Ok(self.stands(stands))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        let stands = self.inner.seek_for_prev(&self.space.key(key))?;
        Ok(self.stands(stands))
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        let stands = self.inner.seek_to_first()?;
        Ok(self.stands(stands))
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.is_reverse = true;
        let stands = self.inner.seek_to_last()?;
        Ok(self.stands(stands))
    }

    fn next(&mut self) -> Result<bool> {
        let stands = self.inner.next()?;
        Ok(self.stands(stands))
    }

    fn prev(&mut self) -> Result<bool> {
        self.is_reverse = true;
        let stands = self.inner.prev()?;
        Ok(self.stands(stands))
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
