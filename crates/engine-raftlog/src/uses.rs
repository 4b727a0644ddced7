//! Which logs are written to, and which are being moved.
//!
//! **Why.** Whoever moves a log reads it, and writes it to its new place: what another thread writes to its old
//! one meanwhile would be lost.
//!
//! **Invariants.**
//! - A log is being moved by one thread, and nobody writes to it meanwhile.
//! - A log that is not listed is on a shelf, or there is none.
//! - Who waits holds nothing that others wait for.
//!
//! **Not here.** What moving is: see `shelf`.

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use types::RegionId;

/// The list gives room back when it has so many times what it needs.
const SPARE_FACTOR: usize = 4;

/// The logs that are not on a shelf.
#[derive(Default)]
pub(crate) struct Uses {
    logs: Mutex<HashMap<RegionId, Use>>,
    /// Some log is no longer moved.
    moved: Condvar,
}

#[derive(Default)]
struct Use {
    writers: u32,
    is_moving: bool,
    /// It was found to be too large for a shelf, and nobody has written to it since.
    is_large: bool,
    /// Sweeps since the last writer left.
    idle_sweeps: u32,
}

/// Logs that a thread writes to until this is dropped.
pub(crate) struct Writing<'a> {
    uses: &'a Uses,
    regions: Vec<RegionId>,
    /// Those among them that were not listed, and are moved to where they are written.
    pub(crate) fresh: Vec<RegionId>,
}

impl Uses {
    /// Lists a log that is not on a shelf.
    pub(crate) fn insert(&self, region: RegionId) {
        self.logs.lock().insert(region, Use::default());
    }

    /// The calling thread is going to write to these logs; it waits while others move one of them.
    pub(crate) fn write(&self, mut regions: Vec<RegionId>) -> Writing<'_> {
        regions.sort_unstable();
        regions.dedup();
        let mut logs = self.logs.lock();
        let is_moving =
            |logs: &HashMap<_, Use>, region| logs.get(region).is_some_and(|log| log.is_moving);
        while regions.iter().any(|region| is_moving(&logs, region)) {
            self.moved.wait(&mut logs);
        }
        let mut fresh = Vec::new();
        for region in &regions {
            let log = logs.entry(*region).or_insert_with(|| {
                fresh.push(*region);
                Use {
                    is_moving: true,
                    ..Use::default()
                }
            });
            log.writers += 1;
        }
        drop(logs);
        Writing {
            uses: self,
            regions,
            fresh,
        }
    }

    /// Counts a sweep, and answers at most so many logs to which nobody has written during `sweeps` before it.
    pub(crate) fn idle(&self, sweeps: u32, max: usize) -> Vec<RegionId> {
        let mut idle = Vec::new();
        for (region, log) in self.logs.lock().iter_mut() {
            if log.idle_sweeps >= sweeps && log.may_move() && idle.len() < max {
                idle.push(*region);
            }
            log.idle_sweeps = log.idle_sweeps.saturating_add(1);
        }
        idle
    }

    /// Those of `regions` that are still idle; they are being moved until [`Self::moved`].
    pub(crate) fn begin_to_move(&self, regions: &[RegionId]) -> Vec<RegionId> {
        let mut logs = self.logs.lock();
        let begin = |region: &RegionId| {
            let log = logs.get_mut(region)?;
            let is_idle = log.idle_sweeps > 0 && log.may_move();
            log.is_moving = is_idle;
            is_idle.then_some(*region)
        };
        regions.iter().filter_map(begin).collect()
    }

    /// Those of `regions` that are not listed; they are being moved until [`Self::moved`].
    pub(crate) fn begin_to_clean(&self, regions: impl Iterator<Item = RegionId>) -> Vec<RegionId> {
        let mut logs = self.logs.lock();
        let unlisted: Vec<_> = regions
            .filter(|region| !logs.contains_key(region))
            .collect();
        for region in &unlisted {
            let is_moving = true;
            let log = Use {
                is_moving,
                ..Use::default()
            };
            logs.insert(*region, log);
        }
        unlisted
    }

    /// These are no longer being moved, and stay where they were.
    pub(crate) fn stay(&self, regions: &[RegionId]) {
        let mut logs = self.logs.lock();
        for region in regions {
            logs.insert(*region, Use::default());
        }
        self.moved.notify_all();
    }

    /// These are no longer being moved: those that are large stay where they were, and all others are on shelves.
    pub(crate) fn moved(&self, regions: &[RegionId], is_large: impl Fn(RegionId) -> bool) {
        let mut logs = self.logs.lock();
        for region in regions {
            logs.remove(region);
            if is_large(*region) {
                let is_large = true;
                let log = Use {
                    is_large,
                    ..Use::default()
                };
                logs.insert(*region, log);
            }
        }
        if logs.capacity() > SPARE_FACTOR * logs.len() {
            logs.shrink_to_fit();
        }
        self.moved.notify_all();
    }
}

impl Use {
    fn may_move(&self) -> bool {
        self.writers == 0 && !self.is_moving && !self.is_large
    }
}

impl Writing<'_> {
    /// All was written: who was not listed is, from now on.
    pub(crate) fn done(mut self) {
        self.fresh.clear();
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut logs = self.uses.logs.lock();
        for region in &self.regions {
            if let Some(log) = logs.get_mut(region) {
                log.writers -= 1;
                (log.is_moving, log.is_large, log.idle_sweeps) = (false, false, 0);
            }
        }
        for region in &self.fresh {
            logs.remove(region);
        }
        self.uses.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    const A: RegionId = RegionId(1);
    const B: RegionId = RegionId(2);

    fn used(regions: &[RegionId]) -> Uses {
        let uses = Uses::default();
        for region in regions {
            uses.insert(*region);
        }
        uses
    }

    #[test]
    fn a_log_is_idle_when_so_many_sweeps_found_no_writer() {
        let uses = used(&[A]);
        assert_eq!(uses.idle(1, 9), []);
        uses.write(vec![A]).done();
        assert_eq!(uses.idle(1, 9), []);
        assert_eq!(uses.idle(1, 9), [A]);
        let writing = uses.write(vec![A]);
        assert_eq!(uses.idle(0, 9), []);
        assert_eq!(uses.begin_to_move(&[A]), []);
        drop(writing);
        // It was idle when it was looked for, and is no longer.
        assert_eq!(uses.begin_to_move(&[A]), []);
    }

    #[test]
    fn a_large_log_is_idle_again_when_it_was_written_to() {
        let uses = used(&[A, B]);
        let mut idle = uses.idle(0, 9);
        idle.sort_unstable();
        assert_eq!(uses.begin_to_move(&idle), [A, B]);
        uses.moved(&idle, |region| region == A);
        assert_eq!(uses.idle(0, 9), []);
        assert_eq!(uses.write(vec![A]).fresh, []);
        assert_eq!(uses.write(vec![B, B]).fresh, [B]);
        assert_eq!(uses.idle(0, 9), [A], "the write to B was not done");
    }

    #[test]
    fn who_wants_to_write_waits_until_the_log_was_moved() {
        let uses = used(&[A, B]);
        let idle = uses.idle(0, 9);
        assert_eq!(uses.begin_to_move(&idle).len(), 2);
        let (is_moved, written) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let writing = uses.write(vec![B, A]);
                assert!(is_moved.load(Ordering::SeqCst));
                assert_eq!(writing.fresh, [A, B]);
                written.store(true, Ordering::SeqCst);
                writing.done();
            });
            assert!(!written.load(Ordering::SeqCst));
            is_moved.store(true, Ordering::SeqCst);
            uses.moved(&idle, |_| false);
        });
        assert!(uses.write(vec![A, B]).fresh.is_empty());
    }
}
