//! [`RaftLog`] in memory, on persistent maps.
//!
//! **Invariants.** The entries of a Region are contiguous: [`State::check`] refuses a write that
//! would leave a hole before anything of it is applied.
//!
//! **Not here.** Durability: see `journal`.

use super::journal::{Journal, State};
use crate::log_batch::{LogBatch, LogOperation};
use crate::meter::Meter;
use crate::{Durability, RaftLog, RaftLogBatch, Result, bounds, entry_bytes};
use metrics::{Page, Stopwatch};
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, RegionId};

#[derive(Clone, Default)]
struct RegionLog {
    entries: RedBlackTreeMapSync<u64, LogEntry>,
    hard_state: Option<HardState>,
    apply_state: Option<ApplyState>,
}

impl RegionLog {
    fn bounds(&self) -> Option<(u64, u64)> {
        let (first, _) = self.entries.first()?;
        let (last, _) = self.entries.last()?;
        Some((*first, *last))
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none() && self.apply_state.is_none()
    }

    fn append(&mut self, entries: &[LogEntry]) {
        let Some(head) = entries.first() else { return };
        self.drop_entries(head.index, u64::MAX);
        for entry in entries {
            self.entries.insert_mut(entry.index, entry.clone());
        }
    }

    fn drop_entries(&mut self, low: u64, high: u64) {
        let indexes: Vec<u64> = self
            .entries
            .range(low..high)
            .map(|(index, _)| *index)
            .collect();
        for index in indexes {
            self.entries.remove_mut(&index);
        }
    }
}

/// The logs of all Regions; none of them is empty.
#[derive(Clone, Default)]
pub(super) struct LogState {
    regions: RedBlackTreeMapSync<RegionId, RegionLog>,
}

impl LogState {
    fn change(&mut self, region: RegionId, change: impl FnOnce(&mut RegionLog)) {
        let mut log = self.regions.get(&region).cloned().unwrap_or_default();
        change(&mut log);
        if log.is_empty() {
            self.regions.remove_mut(&region);
        } else {
            self.regions.insert_mut(region, log);
        }
    }

    fn bounds(&self, region: RegionId) -> Option<(u64, u64)> {
        self.regions.get(&region)?.bounds()
    }
}

impl State for LogState {
    type Write = Arc<LogBatch>;

    fn check(&self, write: &Self::Write) -> Result<()> {
        let walked = write.walk(|region| self.bounds(region), |_, _, _| Ok(()));
        walked.map(drop)
    }

    fn apply(&mut self, write: &Self::Write) {
        for operation in write.operations() {
            match operation {
                LogOperation::Append(region, entries) => {
                    self.change(region, |log| log.append(entries));
                }
                LogOperation::HardState(region, state) => {
                    self.change(region, |log| log.hard_state = Some(state));
                }
                LogOperation::ApplyState(region, state) => {
                    self.change(region, |log| log.apply_state = Some(state));
                }
                LogOperation::Compact(region, up_to) => {
                    self.change(region, |log| log.drop_entries(0, up_to));
                }
                LogOperation::Remove(region) => {
                    self.regions.remove_mut(&region);
                }
            }
        }
    }
}

/// A Raft log in memory; see [`super::Disk::open_log`].
#[derive(Clone)]
pub struct MemLog {
    journal: Arc<Journal<LogState>>,
    meter: Arc<Meter>,
    _lock: Arc<()>,
}

impl MemLog {
    pub(super) fn new(journal: Arc<Journal<LogState>>, lock: Arc<()>) -> Self {
        Self {
            journal,
            meter: Arc::default(),
            _lock: lock,
        }
    }
}

impl RaftLog for MemLog {
    type Batch = LogBatch;

    fn batch(&self) -> LogBatch {
        LogBatch::default()
    }

    fn write(&self, batch: &mut LogBatch, durability: Durability) -> Result<()> {
        let write = (!batch.is_empty()).then(|| Arc::new(batch.clone()));
        let since = Stopwatch::start();
        self.journal.write(write, durability)?;
        self.meter.wrote(&since, batch.size_bytes());
        if durability == Durability::Synced {
            self.meter.synced(&since);
        }
        batch.clear();
        Ok(())
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        Ok(self.journal.current()?.regions.keys().copied().collect())
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        Ok(self.journal.current()?.bounds(region))
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        let state = self.journal.current()?;
        let log = state.regions.get(&region);
        Ok(log.and_then(|log| log.entries.get(&index)).cloned())
    }

    fn fetch(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        let state = self.journal.current()?;
        bounds::check_fetch(region, state.bounds(region), low, high)?;
        let mut entries = Vec::new();
        if low >= high {
            return Ok(entries);
        }
        let mut bytes = 0;
        for (_, entry) in state.regions[&region].entries.range(low..high) {
            bytes += entry_bytes(entry);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>> {
        let state = self.journal.current()?;
        Ok(state.regions.get(&region).and_then(|log| log.hard_state))
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        let state = self.journal.current()?;
        Ok(state.regions.get(&region).and_then(|log| log.apply_state))
    }

    fn sync(&self) -> Result<()> {
        let since = Stopwatch::start();
        self.journal.sync()?;
        self.meter.synced(&since);
        Ok(())
    }

    fn purge(&self) -> Result<()> {
        // Memory is given back as entries go; only the health of the engine is left to report.
        self.journal.check_running()
    }

    fn collect(&self, page: &mut Page) {
        self.meter.collect_log(page);
    }
}
