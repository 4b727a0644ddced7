//! The engines of a simulated store: those in memory, behind a place where the simulation can cut
//! the power in the middle of a round, and where planted bugs live.
//!
//! **Invariants.** Without a cut and without a planted bug they do what the engine does. After a cut
//! every write fails, and nothing leaves the store any more ([`Outbox`](crate::ports::Outbox)).

use crate::faults::PlantedBug;
use crate::ports::SharedOutbox;
use bytes::Bytes;
use engine::mem::{MemBatch, MemKv, MemLog, MemSnapshot};
use engine::{Cf, Durability, Error, KvBatch, KvEngine, RaftLog, RaftLogBatch, Result};
use metrics::Page;
use parking_lot::Mutex;
use raftstore::state::RegionRecord;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, PeerId, RegionId};

/// Every so many writes of data a store with [`PlantedBug::ForgottenWrite`] drops one.
const FORGET_EVERY: u64 = 40;

/// A power cut that waits for its moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Writes that still succeed.
    pub(crate) writes_left: u64,
    /// Whether the write at which it happens is made.
    pub(crate) after_write: bool,
}

/// What one life of a store has its engines do.
pub(crate) struct Control {
    outbox: SharedOutbox,
    bug: Option<PlantedBug>,
    state: Mutex<ControlState>,
}

#[derive(Default)]
struct ControlState {
    cut: Option<Cut>,
    puts: u64,
    is_installing: bool,
}

impl Control {
    pub(crate) fn new(outbox: SharedOutbox, bug: Option<PlantedBug>) -> Arc<Self> {
        Arc::new(Self {
            outbox,
            bug,
            state: Mutex::default(),
        })
    }

    /// Cuts the power at a later write.
    pub(crate) fn arm(&self, cut: Cut) {
        self.state.lock().cut = Some(cut);
    }

    /// Forgets about the cut.
    pub(crate) fn disarm(&self) {
        self.state.lock().cut = None;
    }

    fn write(&self, what: &'static str, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let cut = self.state.lock().count_down();
        match cut {
            None => {}
            Some(false) => return Err(self.cut_now()),
            Some(true) => {
                // Whether it worked, nobody lives to hear.
                let _ = write();
                return Err(self.cut_now());
            }
        }
        let result = write();
        self.outbox.lock().wrote(what, &result);
        result
    }

    fn cut_now(&self) -> Error {
        self.outbox.lock().power_cut();
        Error::Stopped {
            reason: "the power was cut",
        }
    }

    /// Whether a snapshot is installed from now on.
    pub(crate) fn set_installing(&self, is_installing: bool) {
        self.state.lock().is_installing = is_installing;
    }

    fn forgets_to_clear(&self) -> bool {
        self.bug == Some(PlantedBug::MixedSnapshot) && self.state.lock().is_installing
    }

    fn forgets_tombstone(&self, record: &[u8]) -> bool {
        let is_tombstone = || {
            let record = RegionRecord::decode(Bytes::copy_from_slice(record));
            matches!(record, Ok(RegionRecord::Tombstone(_)))
        };
        self.bug == Some(PlantedBug::NoTombstone) && is_tombstone()
    }

    fn forgets_this_put(&self) -> bool {
        if self.bug != Some(PlantedBug::ForgottenWrite) {
            return false;
        }
        let mut state = self.state.lock();
        state.puts += 1;
        state.puts.is_multiple_of(FORGET_EVERY)
    }
}

impl ControlState {
    /// If the power is cut at this write: whether after it.
    fn count_down(&mut self) -> Option<bool> {
        let cut = self.cut.as_mut()?;
        if cut.writes_left > 0 {
            cut.writes_left -= 1;
            return None;
        }
        Some(cut.after_write)
    }
}

/// A key-value engine.
#[derive(Clone)]
pub(crate) struct SimKv {
    inner: MemKv,
    control: Arc<Control>,
}

/// A batch for a [`SimKv`].
pub(crate) struct SimBatch {
    inner: MemBatch,
    control: Arc<Control>,
}

impl SimKv {
    pub(crate) fn new(inner: MemKv, control: Arc<Control>) -> Self {
        Self { inner, control }
    }

    /// With [`PlantedBug::DamagedData`]: a pair that nobody has written.
    pub(crate) fn damage(&self, key: &[u8]) {
        let mut batch = self.inner.batch();
        batch.put(Cf::Default, key, b"damaged");
        let written = self.inner.write(&mut batch, Durability::Buffered);
        written.expect("the engine can be written");
    }
}

impl KvEngine for SimKv {
    type Snapshot = MemSnapshot;
    type Batch = SimBatch;

    fn batch(&self) -> SimBatch {
        SimBatch {
            inner: self.inner.batch(),
            control: Arc::clone(&self.control),
        }
    }

    fn write(&self, batch: &mut SimBatch, durability: Durability) -> Result<()> {
        let durability = match self.control.bug {
            Some(PlantedBug::UnsyncedShape) => Durability::Buffered,
            _ => durability,
        };
        self.control
            .write("kv", || self.inner.write(&mut batch.inner, durability))
    }

    fn snapshot(&self) -> MemSnapshot {
        self.inner.snapshot()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        self.inner.get(cf, key)
    }

    fn sync(&self) -> Result<()> {
        if self.control.bug == Some(PlantedBug::UnsyncedCut) {
            return Ok(());
        }
        self.control.write("kv sync", || self.inner.sync())
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        self.inner.approximate_size(cf, start, end)
    }

    fn collect(&self, page: &mut Page) {
        self.inner.collect(page);
    }
}

impl KvBatch for SimBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        let is_forgotten = match cf {
            Cf::Raft => self.control.forgets_tombstone(value),
            _ => self.control.forgets_this_put(),
        };
        if !is_forgotten {
            self.inner.put(cf, key, value);
        }
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.inner.delete(cf, key);
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        if !self.control.forgets_to_clear() {
            self.inner.delete_range(cf, start, end);
        }
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes()
    }

    fn clear(&mut self) {
        self.inner.clear();
    }
}

/// A Raft log.
#[derive(Clone)]
pub(crate) struct SimLog {
    inner: MemLog,
    control: Arc<Control>,
}

impl SimLog {
    pub(crate) fn new(inner: MemLog, control: Arc<Control>) -> Self {
        Self { inner, control }
    }
}

/// A batch for a [`SimLog`].
pub(crate) struct SimLogBatch {
    inner: <MemLog as RaftLog>::Batch,
    has_entries: bool,
    has_vote: bool,
}

impl RaftLogBatch for SimLogBatch {
    fn append(&mut self, region: RegionId, entries: &[LogEntry]) {
        self.has_entries = true;
        self.inner.append(region, entries);
    }

    fn put_hard_state(&mut self, region: RegionId, state: &HardState) {
        self.has_vote |= state.vote != PeerId(0);
        self.inner.put_hard_state(region, state);
    }

    fn put_apply_state(&mut self, region: RegionId, state: &ApplyState) {
        self.inner.put_apply_state(region, state);
    }

    fn compact(&mut self, region: RegionId, up_to: u64) {
        self.inner.compact(region, up_to);
    }

    fn remove(&mut self, region: RegionId) {
        self.inner.remove(region);
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes()
    }

    fn clear(&mut self) {
        (self.has_entries, self.has_vote) = (false, false);
        self.inner.clear();
    }
}

impl RaftLog for SimLog {
    type Batch = SimLogBatch;

    fn batch(&self) -> SimLogBatch {
        SimLogBatch {
            inner: self.inner.batch(),
            has_entries: false,
            has_vote: false,
        }
    }

    fn write(&self, batch: &mut SimLogBatch, durability: Durability) -> Result<()> {
        let is_vote = batch.has_vote && !batch.has_entries;
        (batch.has_entries, batch.has_vote) = (false, false);
        let durability = match self.control.bug {
            Some(PlantedBug::SkippedSync) => Durability::Buffered,
            Some(PlantedBug::VoteBeforeSync) if is_vote => Durability::Buffered,
            _ => durability,
        };
        self.control
            .write("log", || self.inner.write(&mut batch.inner, durability))
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        self.inner.regions()
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        self.inner.bounds(region)
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        self.inner.entry(region, index)
    }

    fn fetch(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        self.inner.fetch(region, low, high, max_bytes)
    }

    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>> {
        self.inner.hard_state(region)
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        self.inner.apply_state(region)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn purge(&self) -> Result<()> {
        self.inner.purge()
    }

    fn collect(&self, page: &mut Page) {
        self.inner.collect(page);
    }
}
