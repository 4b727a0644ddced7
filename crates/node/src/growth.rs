//! How large Regions are, and which of them has grown enough to be looked at.
//!
//! Appliers tell what they have written, a step at a time; a thread (`split_check`) takes the Regions
//! that have grown, measures what is worth it, and remembers the sizes for the leaders' reports.
//!
//! **Invariants.** Telling never blocks beyond a short lock. What is kept is bounded by the number of
//! Regions.
//!
//! **Not here.** Measuring.

use crate::split_check::SplitOptions;
use parking_lot::{Condvar, Mutex};
use raftstore::op::measure::{Size, SplitLimits};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use types::RegionId;

/// The sizes of one store's Regions. Clones are the same.
#[derive(Clone, Default)]
pub struct Growth(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// It stops, or goes by other options.
    is_changed: Condvar,
    /// The step, for appliers.
    step_bytes: AtomicU64,
    step_keys: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        let state = State::default();
        let step = state.options.step;
        Self {
            state: Mutex::new(state),
            is_changed: Condvar::new(),
            step_bytes: AtomicU64::new(step.bytes),
            step_keys: AtomicU64::new(step.keys),
        }
    }
}

#[derive(Default)]
struct State {
    /// As measured last, and grown since.
    sizes: BTreeMap<RegionId, Size>,
    grown: BTreeMap<RegionId, Size>,
    /// May be smaller than is known.
    doubted: BTreeSet<RegionId>,
    stops: bool,
    options: SplitOptions,
}

impl Growth {
    /// Goes by these options.
    pub(crate) fn with(options: SplitOptions) -> Self {
        let growth = Self::default();
        growth.set_options(options);
        growth
    }

    /// Goes by these options from now on, also who waits.
    pub(crate) fn set_options(&self, options: SplitOptions) {
        self.0.state.lock().options = options;
        let shared = &self.0;
        shared
            .step_bytes
            .store(options.step.bytes, Ordering::Relaxed);
        shared.step_keys.store(options.step.keys, Ordering::Relaxed);
        shared.is_changed.notify_all();
    }

    /// How large Regions may get.
    pub(crate) fn limits(&self) -> SplitLimits {
        self.0.state.lock().options.limits
    }

    /// How much appliers tell at once.
    pub(crate) fn step(&self) -> Size {
        Size {
            bytes: self.0.step_bytes.load(Ordering::Relaxed),
            keys: self.0.step_keys.load(Ordering::Relaxed),
        }
    }

    /// A Region was written so much.
    pub(crate) fn grew(&self, region: RegionId, growth: Size) {
        let mut state = self.0.state.lock();
        state.grown.entry(region).or_default().add(growth);
        if let Some(size) = state.sizes.get_mut(&region) {
            size.add(growth);
        }
    }

    /// About how large a Region is. One whose size is not known yet, or doubted, will be looked at: it may have been led
    /// elsewhere when that was due.
    pub fn size_of(&self, region: RegionId) -> Option<Size> {
        let mut state = self.0.state.lock();
        let size = state.sizes.get(&region).copied();
        if size.is_none() || state.doubted.contains(&region) {
            state.grown.entry(region).or_default();
        }
        size
    }

    /// About how large a Region is, if that is known.
    pub(crate) fn known_size(&self, region: RegionId) -> Option<Size> {
        self.0.state.lock().sizes.get(&region).copied()
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
    pub(crate) fn wait(&self) -> Option<BTreeMap<RegionId, Size>> {
        let begun = Instant::now();
        let mut state = self.0.state.lock();
        while !state.stops {
            // Another one may have been set.
            let deadline = begun + state.options.interval;
            if Instant::now() >= deadline {
                return Some(std::mem::take(&mut state.grown));
            }
            self.0.is_changed.wait_until(&mut state, deadline);
        }
        None
    }

    /// Nobody waits any more.
    pub(crate) fn stop(&self) {
        self.0.state.lock().stops = true;
        self.0.is_changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const REGION: RegionId = RegionId(2);

    /// Whoever waits waits for so long.
    fn every(interval: Duration) -> Growth {
        Growth::with(SplitOptions::new(SplitLimits::default(), interval))
    }

    fn bytes(bytes: u64) -> Size {
        Size { bytes, keys: 1 }
    }

    #[test]
    fn growth_gathers_and_is_taken_once() {
        let growth = every(Duration::ZERO);
        growth.grew(REGION, bytes(10));
        growth.grew(REGION, bytes(20));
        let taken = growth.wait().unwrap();
        assert_eq!(taken[&REGION], Size { bytes: 30, keys: 2 });
        assert!(growth.wait().unwrap().is_empty());
    }

    #[test]
    fn a_size_grows_with_the_region_until_it_is_forgotten() {
        let growth = every(Duration::ZERO);
        assert_eq!(growth.size_of(REGION), None);
        assert!(growth.wait().unwrap().contains_key(&REGION));
        growth.set_size(REGION, bytes(100));
        growth.grew(REGION, bytes(10));
        assert_eq!(growth.size_of(REGION).unwrap().bytes, 110);
        growth.forget(REGION);
        assert_eq!(growth.size_of(REGION), None);
    }

    #[test]
    fn a_region_whose_size_is_doubted_is_looked_at_and_counted_once() {
        let growth = every(Duration::ZERO);
        growth.doubt(REGION);
        assert!(growth.wait().unwrap().contains_key(&REGION));
        assert!(growth.take_doubt(REGION));
        assert!(!growth.take_doubt(REGION));
    }

    #[test]
    fn a_doubt_from_before_it_was_led_here_is_remembered_at_its_first_report() {
        let growth = every(Duration::ZERO);
        growth.set_size(REGION, bytes(100));
        growth.doubt(REGION);
        assert!(growth.wait().unwrap().contains_key(&REGION));
        assert_eq!(growth.size_of(REGION).unwrap().bytes, 100);
        assert!(growth.wait().unwrap().contains_key(&REGION));
        assert!(growth.take_doubt(REGION));
        growth.size_of(REGION);
        assert!(growth.wait().unwrap().is_empty());
    }

    #[test]
    fn who_waits_hears_of_the_end_at_once() {
        let growth = every(Duration::from_secs(3_600));
        let waiting = growth.clone();
        let waiter = std::thread::spawn(move || waiting.wait());
        growth.stop();
        assert!(waiter.join().unwrap().is_none());
    }

    #[test]
    fn who_waits_goes_by_a_shorter_interval_at_once() {
        let growth = every(Duration::from_secs(3_600));
        let waiting = growth.clone();
        let waiter = std::thread::spawn(move || waiting.wait());
        let limits = SplitLimits {
            split_bytes: 16_000,
            ..SplitLimits::default()
        };
        growth.set_options(SplitOptions::new(limits, Duration::ZERO));
        assert!(waiter.join().unwrap().is_some());
        assert_eq!((growth.step().bytes, growth.limits()), (1_000, limits));
    }
}
