//! The engines of a simulated store: those in memory, behind a place where the simulation can cut
//! the power in the middle of a round, and where planted bugs live.
//!
//! **Invariants.** Without a cut and without a planted bug they do what the engine does. After a cut
//! every write fails, and nothing leaves the store any more ([`Outbox`](crate::ports::Outbox)).

use crate::describe::{LogContents, Written};
use crate::planted::PlantedBug;
use crate::ports::SharedOutbox;
use bytes::Bytes;
use engine::mem::{Disk, MemBatch, MemKv, MemLog, MemSnapshot};
use engine::{Backlog, Cf, Durability, Error, KvBatch, KvEngine, RaftLog, RaftLogBatch, Result};
use metrics::Page;
use parking_lot::Mutex;
use raftstore::state::RegionRecord;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, PeerId, RegionId, keys};

/// The key-value engine's name in traces.
pub(crate) const KV: &str = "kv";

/// Every so many writes of data a store with [`PlantedBug::ForgottenWrite`] drops one.
const FORGET_EVERY: u64 = 40;

/// Every so many rounds a store with [`PlantedBug::LostWakeUp`] loses one.
const LOSE_EVERY: u64 = 5;

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
    disk: Disk,
    bug: Option<PlantedBug>,
    state: Mutex<ControlState>,
}

#[derive(Default)]
struct ControlState {
    cut: Option<Cut>,
    puts: u64,
    rounds: u64,
    is_installing: bool,
    full_tries: u64,
}

impl Control {
    pub(crate) fn new(outbox: SharedOutbox, disk: Disk, bug: Option<PlantedBug>) -> Arc<Self> {
        Arc::new(Self {
            outbox,
            disk,
            bug,
            state: Mutex::default(),
        })
    }

    /// Cuts the power at a later write.
    pub(crate) fn arm(&self, cut: Cut) {
        self.state.lock().cut = Some(cut);
    }

    /// The disk is full from now on, until so many writes have found it so.
    pub(crate) fn fill_disk(&self, tries: u64) {
        self.state.lock().full_tries = tries;
        self.disk.set_full(true);
    }

    /// Forgets about the cut.
    pub(crate) fn disarm(&self) {
        self.state.lock().cut = None;
    }

    fn write(
        &self,
        engine: &'static str,
        durability: Durability,
        contents: String,
        write: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
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
        if matches!(result, Err(Error::DiskFull { .. })) {
            self.found_full();
        }
        let written = Written {
            engine,
            durability,
            contents,
            has_succeeded: result.is_ok(),
        };
        self.outbox.lock().wrote(written, &result);
        result
    }

    /// Who finds no room tries again, and nobody else runs meanwhile: the time that it takes passes
    /// afterwards.
    fn found_full(&self) {
        let mut state = self.state.lock();
        state.full_tries = state.full_tries.saturating_sub(1);
        if state.full_tries == 0 {
            self.disk.set_full(false);
            self.outbox.lock().has_stalled = true;
        }
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

    /// Whether a wake-up is lost before this round.
    pub(crate) fn loses_wake_up(&self) -> bool {
        if self.bug != Some(PlantedBug::LostWakeUp) {
            return false;
        }
        let mut state = self.state.lock();
        state.rounds += 1;
        state.rounds.is_multiple_of(LOSE_EVERY)
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
    /// With a planted bug: what is written before the rest.
    early: MemBatch,
    operations: u64,
    engine: SimKv,
}

impl SimKv {
    pub(crate) fn new(inner: MemKv, control: Arc<Control>) -> Self {
        Self { inner, control }
    }

    /// With [`PlantedBug::DamagedData`]: a pair that nobody has written, if there is a replica of the Region.
    pub(crate) fn damage(&self, region: RegionId, key: &[u8]) {
        let record = self.inner.get(Cf::Raft, &keys::region_state_key(region));
        let record = record.expect("the engine can be read");
        if record.is_none_or(|record| is_tombstone(&record)) {
            return;
        }
        let mut batch = self.inner.batch();
        batch.put(Cf::Default, key, b"damaged");
        let written = self.inner.write(&mut batch, Durability::Buffered);
        written.expect("the engine can be written");
    }

    /// Whether a key is that of a record of a Region that has no shape here yet.
    fn is_of_new_region(&self, key: &[u8]) -> bool {
        let region = keys::region_of_state_key(key).or(keys::region_of_apply_key(key));
        let Some(region) = region else {
            return false;
        };
        let shape = self.inner.get(Cf::Raft, &keys::region_state_key(region));
        matches!(shape, Ok(None))
    }

    /// The record with the change of membership that it brings counted twice.
    fn counted_twice(&self, key: &[u8], record: &[u8]) -> Vec<u8> {
        let shape_of = |record: Bytes| match RegionRecord::decode(record) {
            Ok(RegionRecord::Normal(region)) => Some(region),
            _ => None,
        };
        let is_shape = keys::region_of_state_key(key).is_some();
        let before = self.inner.get(Cf::Raft, key).ok().flatten();
        let before = before.filter(|_| is_shape);
        let (before, after) = (
            before.and_then(shape_of),
            shape_of(Bytes::copy_from_slice(record)),
        );
        match (before, after) {
            (Some(before), Some(mut after)) if before.epoch.conf_ver < after.epoch.conf_ver => {
                after.epoch.conf_ver += 1;
                RegionRecord::Normal(after).encode()
            }
            _ => record.to_vec(),
        }
    }
}

fn is_tombstone(record: &[u8]) -> bool {
    let record = RegionRecord::decode(Bytes::copy_from_slice(record));
    matches!(record, Ok(RegionRecord::Tombstone(_)))
}

impl KvEngine for SimKv {
    type Snapshot = MemSnapshot;
    type Batch = SimBatch;

    fn batch(&self) -> SimBatch {
        SimBatch {
            inner: self.inner.batch(),
            early: self.inner.batch(),
            operations: 0,
            engine: self.clone(),
        }
    }

    fn write(&self, batch: &mut SimBatch, durability: Durability) -> Result<()> {
        let durability = match self.control.bug {
            Some(PlantedBug::UnsyncedShape) => Durability::Buffered,
            _ => durability,
        };
        let operations = std::mem::take(&mut batch.operations);
        let write = |batch: &mut MemBatch| {
            let contents = format!(" {operations} operations");
            let write = || self.inner.write(batch, durability);
            self.control.write(KV, durability, contents, write)
        };
        if !batch.early.is_empty() {
            write(&mut batch.early)?;
        }
        write(&mut batch.inner)
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
        let sync = || self.inner.sync();
        self.control
            .write("kv sync", Durability::Synced, String::new(), sync)
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        self.inner.approximate_size(cf, start, end)
    }

    fn backlog(&self) -> Backlog {
        self.inner.backlog()
    }

    fn collect(&self, page: &mut Page) {
        self.inner.collect(page);
    }
}

impl KvBatch for SimBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.operations += 1;
        let control = &self.engine.control;
        if cf != Cf::Raft {
            if !control.forgets_this_put() {
                self.inner.put(cf, key, value);
            }
            return;
        }
        match control.bug {
            Some(PlantedBug::NoTombstone) if is_tombstone(value) => {}
            Some(PlantedBug::HalfSplit) if self.engine.is_of_new_region(key) => {
                self.early.put(cf, key, value);
            }
            Some(PlantedBug::ConfChangeTwice) => {
                self.inner
                    .put(cf, key, &self.engine.counted_twice(key, value));
            }
            _ => self.inner.put(cf, key, value),
        }
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.operations += 1;
        self.inner.delete(cf, key);
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        self.operations += 1;
        if !self.engine.control.forgets_to_clear() {
            self.inner.delete_range(cf, start, end);
        }
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty() && self.early.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes() + self.early.size_bytes()
    }

    fn clear(&mut self) {
        self.operations = 0;
        self.inner.clear();
        self.early.clear();
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
    contents: LogContents,
}

impl RaftLogBatch for SimLogBatch {
    fn append(&mut self, region: RegionId, entries: &[LogEntry]) {
        self.has_entries = true;
        self.contents.append(region, entries);
        self.inner.append(region, entries);
    }

    fn put_hard_state(&mut self, region: RegionId, state: &HardState) {
        self.has_vote |= state.vote != PeerId(0);
        self.contents.hard_state(region, state);
        self.inner.put_hard_state(region, state);
    }

    fn put_apply_state(&mut self, region: RegionId, state: &ApplyState) {
        self.inner.put_apply_state(region, state);
    }

    fn compact(&mut self, region: RegionId, up_to: u64) {
        self.contents
            .say(format_args!(" r{region} purged to {up_to}"));
        self.inner.compact(region, up_to);
    }

    fn remove(&mut self, region: RegionId) {
        self.contents.say(format_args!(" r{region} removed"));
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
        self.contents.take();
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
            contents: LogContents::default(),
        }
    }

    fn write(&self, batch: &mut SimLogBatch, durability: Durability) -> Result<()> {
        let has_entries = batch.has_entries;
        let is_vote = batch.has_vote && !has_entries;
        (batch.has_entries, batch.has_vote) = (false, false);
        let durability = match self.control.bug {
            Some(PlantedBug::SkippedSync) => Durability::Buffered,
            Some(PlantedBug::VoteBeforeSync) if is_vote => Durability::Buffered,
            Some(PlantedBug::AckBeforeSync) if has_entries => Durability::Buffered,
            _ => durability,
        };
        let contents = batch.contents.take();
        let write = || self.inner.write(&mut batch.inner, durability);
        self.control.write("log", durability, contents, write)
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
