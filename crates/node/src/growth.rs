//! How large Regions are, and which of them has grown enough to be looked at.
//!
//! Appliers tell what they have written, a step at a time; a thread (`split_check`) takes the Regions
//! that have grown, measures what is worth it, and remembers the sizes for the leaders' reports.
//!
//! **Invariants.** Telling never blocks beyond a short lock. What is kept is bounded by the number of
//! Regions.
//!
//! **Not here.** Measuring.

use parking_lot::{Condvar, Mutex};
use raftstore::op::measure::Size;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::RegionId;

/// The sizes of one store's Regions. Clones are the same.
#[derive(Clone, Default)]
pub struct Growth(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    is_stopped: Condvar,
}

#[derive(Default)]
struct State {
    /// As measured last, and grown since.
    sizes: BTreeMap<RegionId, Size>,
    grown: BTreeMap<RegionId, Size>,
    /// May be smaller than is known.
    doubted: BTreeSet<RegionId>,
    stops: bool,
}

impl Growth {
    /// A Region was written so much.
    pub(crate) fn grew(&self, region: RegionId, growth: Size) {
        let mut state = self.0.state.lock();
        state.grown.entry(region).or_default().add(growth);
        if let Some(size) = state.sizes.get_mut(&region) {
            size.add(growth);
        }
    }

    /// About how large a Region is. One whose size is not known yet will be looked at.
    pub fn size_of(&self, region: RegionId) -> Option<Size> {
        let mut state = self.0.state.lock();
        let size = state.sizes.get(&region).copied();
        if size.is_none() {
            state.grown.entry(region).or_default();
        }
        size
    }

    /// Much was deleted from a Region, or it was merged: only a count of its keys tells how large it is.
    pub(crate) fn doubt(&self, region: RegionId) {
        let mut state = self.0.state.lock();
        state.doubted.insert(region);
        state.grown.entry(region).or_default();
    }

    /// Whether its size is doubted; not any more.
    pub(crate) fn take_doubt(&self, region: RegionId) -> bool {
        self.0.state.lock().doubted.remove(&region)
    }

    /// A Region was measured.
    pub(crate) fn set_size(&self, region: RegionId, size: Size) {
        self.0.state.lock().sizes.insert(region, size);
    }

    /// A Region was cut or is gone: its size is to be found anew.
    pub(crate) fn forget(&self, region: RegionId) {
        let mut state = self.0.state.lock();
        state.sizes.remove(&region);
        state.doubted.remove(&region);
    }

    /// Waits for the interval, and takes the Regions that have grown; none when it is time to stop.
    pub(crate) fn wait(&self, interval: Duration) -> Option<BTreeMap<RegionId, Size>> {
        let deadline = Instant::now() + interval;
        let mut state = self.0.state.lock();
        while !state.stops {
            if self
                .0
                .is_stopped
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return Some(std::mem::take(&mut state.grown));
            }
        }
        None
    }

    /// Nobody waits any more.
    pub(crate) fn stop(&self) {
        self.0.state.lock().stops = true;
        self.0.is_stopped.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(2);

    fn bytes(bytes: u64) -> Size {
        Size { bytes, keys: 1 }
    }

    #[test]
    fn growth_gathers_and_is_taken_once() {
        let growth = Growth::default();
        growth.grew(REGION, bytes(10));
        growth.grew(REGION, bytes(20));
        let taken = growth.wait(Duration::ZERO).unwrap();
        assert_eq!(taken[&REGION], Size { bytes: 30, keys: 2 });
        assert!(growth.wait(Duration::ZERO).unwrap().is_empty());
    }

    #[test]
    fn a_size_grows_with_the_region_until_it_is_forgotten() {
        let growth = Growth::default();
        assert_eq!(growth.size_of(REGION), None);
        assert!(growth.wait(Duration::ZERO).unwrap().contains_key(&REGION));
        growth.set_size(REGION, bytes(100));
        growth.grew(REGION, bytes(10));
        assert_eq!(growth.size_of(REGION).unwrap().bytes, 110);
        growth.forget(REGION);
        assert_eq!(growth.size_of(REGION), None);
    }

    #[test]
    fn a_region_whose_size_is_doubted_is_looked_at_and_counted_once() {
        let growth = Growth::default();
        growth.doubt(REGION);
        assert!(growth.wait(Duration::ZERO).unwrap().contains_key(&REGION));
        assert!(growth.take_doubt(REGION));
        assert!(!growth.take_doubt(REGION));
    }

    #[test]
    fn who_waits_hears_of_the_end_at_once() {
        let growth = Growth::default();
        let waiting = growth.clone();
        let waiter = std::thread::spawn(move || waiting.wait(Duration::from_secs(3_600)));
        growth.stop();
        assert!(waiter.join().unwrap().is_none());
    }
}
