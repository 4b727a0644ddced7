//! The store: the one owner of which Regions live here, in which shape, and who leads them.
//!
//! Others hold versions of this metadata; none holds a lock on it.
//!
//! **Invariants.** At most one replica of a Region lives on a store.
//!
//! **Not here.** Known gap: Regions come from bootstrap or from disk only; creating a replica at a
//! message for it comes with membership changes.

use crate::effect::Leadership;
use std::collections::BTreeMap;
use types::{Region, RegionId, StoreId};

/// What can happen to a store.
#[derive(Debug)]
pub enum Input {
    /// One tick of the Raft clock has passed.
    Tick,
    /// A Raft message came for a Region that has no replica here.
    Stray,
    /// A replica's report of a change of leadership.
    Leadership(Leadership),
}

/// What a store wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Give every replica one tick.
    TickAll,
    /// Tell the placement driver about the store.
    Heartbeat(StoreSummary),
}

/// What a store knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSummary {
    /// Replicas that live here.
    pub regions: u64,
    /// Replicas that lead.
    pub leaders: u64,
    /// Messages for Regions that have no replica here, since the start.
    pub strays: u64,
}

/// One store.
#[derive(Debug)]
pub struct Store {
    id: StoreId,
    regions: BTreeMap<RegionId, Entry>,
    strays: u64,
    report_ticks: u64,
    report_due_ticks: u64,
}

#[derive(Debug)]
struct Entry {
    region: Region,
    is_leader: bool,
}

impl Store {
    /// A store with the replicas that were found on disk; reports itself at the first tick and
    /// then every `report_ticks` (zero: at every one).
    pub fn new(id: StoreId, regions: Vec<Region>, report_ticks: u64) -> Self {
        let entry = |region: Region| {
            let entry = Entry {
                region,
                is_leader: false,
            };
            (entry.region.id, entry)
        };
        Self {
            id,
            regions: regions.into_iter().map(entry).collect(),
            strays: 0,
            report_ticks,
            report_due_ticks: 0,
        }
    }

    /// The store's id.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The Regions that have a replica here.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.values().map(|entry| &entry.region)
    }

    /// The store in numbers.
    pub fn summary(&self) -> StoreSummary {
        StoreSummary {
            regions: self.regions.len() as u64,
            leaders: self
                .regions
                .values()
                .filter(|entry| entry.is_leader)
                .count() as u64,
            strays: self.strays,
        }
    }

    /// Takes in one input.
    pub fn step(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Tick => {
                out.push(Effect::TickAll);
                self.report_due_ticks = self.report_due_ticks.saturating_sub(1);
                if self.report_due_ticks == 0 {
                    self.report_due_ticks = self.report_ticks;
                    out.push(Effect::Heartbeat(self.summary()));
                }
            }
            Input::Stray => self.strays += 1,
            Input::Leadership(leadership) => {
                if let Some(entry) = self.regions.get_mut(&leadership.region_id) {
                    entry.is_leader = leadership.is_self;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    fn store() -> Store {
        let region = Region {
            id: RegionId(2),
            ..Region::default()
        };
        Store::new(StoreId(1), vec![region], 3)
    }

    fn leadership(region: u64, is_self: bool) -> Input {
        Input::Leadership(Leadership {
            region_id: RegionId(region),
            leader: None,
            is_self,
            term: 6,
            epoch: Epoch::default(),
        })
    }

    #[test]
    fn every_tick_reaches_all_replicas_and_every_third_reports() {
        let mut store = store();
        let mut reports = 0;
        for _ in 0..6 {
            let mut out = Vec::new();
            store.step(Input::Tick, &mut out);
            assert_eq!(out[0], Effect::TickAll);
            reports += out.len() - 1;
        }
        assert_eq!(reports, 2);
    }

    #[test]
    fn without_an_interval_every_tick_reports() {
        let mut store = Store::new(StoreId(1), vec![], 0);
        let mut out = Vec::new();
        store.step(Input::Tick, &mut out);
        store.step(Input::Tick, &mut out);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn the_summary_counts_leaders_of_known_regions() {
        let mut store = store();
        let mut out = Vec::new();
        store.step(leadership(2, true), &mut out);
        store.step(leadership(9, true), &mut out);
        assert_eq!(store.summary().leaders, 1);
        store.step(leadership(2, false), &mut out);
        assert_eq!(store.summary().leaders, 0);
    }
}
