//! [`RaftLog`]: the logs of all Regions of a store, with each Region's hard state and apply state.
//!
//! **Why all Regions in one.** A poller round ends with one write and one sync for every Region in
//! it; that is what makes thousands of Raft groups affordable on one disk.
//!
//! **Invariants.**
//! - A Region's log is contiguous: [`RaftLog::bounds`] names its first and last entry, and every
//!   one between is there.
//! - One writer a Region at a time: batches that touch the same Region are not written
//!   concurrently. Batches of different Regions may be.
//! - Reads and [`RaftLog::purge`] may run beside any write. A read answers from the log before the
//!   write or after it; entries that a compaction drops meanwhile are [`crate::Error::Compacted`] or
//!   [`crate::Error::Missing`] (or none, for a single one), and nothing worse. What it answers need
//!   not be durable yet.
//!
//! **Faults**, the same for every engine, so that the simulation's fake doesn't lie:
//! - [`crate::Error::DiskFull`] always means that nothing was changed. An engine that can't tell
//!   answers [`crate::Error::Sync`], and [`RaftLog::sync`] never answers `DiskFull`.
//! - After a sync failed, in whichever call, every write, sync and purge answers an error that stops
//!   the store. Reads go on, and show what may not be durable.
//!
//! **Not here.** Raft's rules (terms, commit), the snapshot's index and term (the caller keeps them
//! in its [`ApplyState`]), and caching.

use crate::{Durability, Result};
use metrics::Page;
use types::{ApplyState, HardState, LogEntry, RegionId};

/// What an entry counts in [`RaftLog::fetch`] beyond its data.
pub const ENTRY_OVERHEAD_BYTES: u64 = 16;

/// What `entry` counts against the byte limit of [`RaftLog::fetch`], the same in every engine.
pub fn entry_bytes(entry: &LogEntry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// The Raft logs of a store. Clones are handles of the same engine; the last one that goes closes
/// it, without a sync.
pub trait RaftLog: Clone + Send + Sync + 'static {
    /// Writes to be applied together.
    type Batch: RaftLogBatch;

    /// A new, empty batch.
    fn batch(&self) -> Self::Batch;

    /// Applies `batch` atomically over all its Regions, in the order of its operations, with at
    /// most one sync, and leaves it empty. An empty batch writes nothing but still syncs if asked
    /// to.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`], [`crate::Error::Hole`] and [`crate::Error::Compacted`] (an
    /// append that would overwrite what is compacted) leave the engine and the batch as they were.
    /// After any other error the store must stop.
    fn write(&self, batch: &mut Self::Batch, durability: Durability) -> Result<()>;

    /// Every Region that has entries, a hard state or an apply state, in order.
    ///
    /// # Errors
    /// Damaged or unreadable files; so for every read.
    fn regions(&self) -> Result<Vec<RegionId>>;

    /// The first and the last index of the log, both inclusive; none if it holds no entries.
    ///
    /// # Errors
    /// As [`Self::regions`].
    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>>;

    /// The entry at `index`, if the log holds it.
    ///
    /// # Errors
    /// As [`Self::regions`].
    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>>;

    /// The entries of `[low, high)`, contiguous from `low`, until their [`entry_bytes`] would exceed
    /// `max_bytes`; at least one if the range holds one.
    ///
    /// # Errors
    /// [`crate::Error::Compacted`] if `low` is before the log's first entry,
    /// [`crate::Error::Missing`] if a non-empty range reaches behind its last or the log is empty.
    fn fetch(&self, region: RegionId, low: u64, high: u64, max_bytes: u64)
    -> Result<Vec<LogEntry>>;

    /// The Region's hard state, if one was put.
    ///
    /// # Errors
    /// As [`Self::regions`].
    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>>;

    /// The Region's apply state, if one was put.
    ///
    /// # Errors
    /// As [`Self::regions`].
    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>>;

    /// Makes everything that has been written so far durable.
    ///
    /// # Errors
    /// Any error means that the store must stop: it isn't known what is durable.
    fn sync(&self) -> Result<()>;

    /// Gives back the space of compacted entries and removed Regions where that pays. May take
    /// seconds; call it away from the write path, and once at a time.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] if that is possible later; after any other the store must stop.
    fn purge(&self) -> Result<()>;

    /// Adds what the log has counted to a page ([`crate::meter`]).
    fn collect(&self, page: &mut Page);
}

/// Changes of many Regions' logs, applied together and in order.
pub trait RaftLogBatch: Send {
    /// Appends `entries`, which must be contiguous, and drops every older entry from
    /// `entries[0].index` on. The log may not be left with a hole; a log without entries starts
    /// anywhere.
    fn append(&mut self, region: RegionId, entries: &[LogEntry]);
    /// Replaces the Region's hard state.
    fn put_hard_state(&mut self, region: RegionId, state: &HardState);
    /// Replaces the Region's apply state.
    fn put_apply_state(&mut self, region: RegionId, state: &ApplyState);
    /// Drops the entries before `up_to` (which stays). Beyond the end of the log it drops them all.
    fn compact(&mut self, region: RegionId, up_to: u64);
    /// Drops the Region's entries and states. What follows in the batch starts it afresh.
    fn remove(&mut self, region: RegionId);
    /// Whether there is nothing to write.
    fn is_empty(&self) -> bool;
    /// About how many bytes the batch takes in memory and on disk.
    fn size_bytes(&self) -> usize;
    /// Forgets all operations, keeps the memory.
    fn clear(&mut self);
}
