//! [`LogBatch`]: the batch of every [`crate::RaftLog`] here, a list of operations.
//!
//! **Why one for all.** An engine has to know a log's bounds to turn an append into its own
//! operations (which old suffix goes?), and it knows them only when it writes. So a batch keeps what
//! is meant, and every engine translates it on a [`LogBatch::walk`] that tells it the bounds.
//!
//! **Invariants.** Entries share their data with the caller's; a batch that is written and filled again
//! allocates nothing, once it has its size.
//!
//! **Not here.** How an operation is stored.

use crate::bounds::{self, Bounds};
use crate::{ENTRY_OVERHEAD_BYTES, RaftLogBatch, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use types::{ApplyState, HardState, LogEntry, RegionId};

/// What an operation counts beyond its entries.
const OPERATION_BYTES: usize = 32;

/// One change of one Region's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOperation<'a> {
    /// Appends entries, of which there is at least one, and drops any older suffix.
    Append(RegionId, &'a [LogEntry]),
    /// Replaces the hard state.
    HardState(RegionId, HardState),
    /// Replaces the apply state.
    ApplyState(RegionId, ApplyState),
    /// Drops the entries before the index.
    Compact(RegionId, u64),
    /// Drops everything.
    Remove(RegionId),
}

/// A [`LogOperation`], with its entries among those of the batch.
#[derive(Clone, Debug)]
enum Kept {
    Append(RegionId, Range<usize>),
    HardState(RegionId, HardState),
    ApplyState(RegionId, ApplyState),
    Compact(RegionId, u64),
    Remove(RegionId),
}

/// Changes of many Regions' logs, in order.
#[derive(Clone, Debug, Default)]
pub struct LogBatch {
    operations: Vec<Kept>,
    entries: Vec<LogEntry>,
    size_bytes: usize,
}

/// The bounds of the logs that a batch changes, after it.
pub type BoundsAfter = BTreeMap<RegionId, Bounds>;

impl LogOperation<'_> {
    /// Whose log it changes.
    pub fn region(&self) -> RegionId {
        match self {
            Self::Append(region, _)
            | Self::HardState(region, _)
            | Self::ApplyState(region, _)
            | Self::Compact(region, _)
            | Self::Remove(region) => *region,
        }
    }
}

impl LogBatch {
    /// The operations, in order.
    pub fn operations(&self) -> impl Iterator<Item = LogOperation<'_>> {
        self.operations.iter().map(|operation| match operation {
            Kept::Append(region, range) => {
                LogOperation::Append(*region, &self.entries[range.clone()])
            }
            Kept::HardState(region, state) => LogOperation::HardState(*region, *state),
            Kept::ApplyState(region, state) => LogOperation::ApplyState(*region, *state),
            Kept::Compact(region, up_to) => LogOperation::Compact(*region, *up_to),
            Kept::Remove(region) => LogOperation::Remove(*region),
        })
    }

    /// Visits the operations in order, each with the bounds of its log before and after it (those of
    /// a state are not looked up, and none), and answers the bounds of every log that changed;
    /// `current` tells a log's bounds before the first.
    ///
    /// An engine writes nothing before the walk is over: it may end with an error at the last
    /// operation.
    ///
    /// # Errors
    /// [`crate::Error::Hole`] and [`crate::Error::Compacted`], as [`crate::RaftLog::write`] promises;
    /// those of `visit`.
    pub fn walk<'a>(
        &'a self,
        mut current: impl FnMut(RegionId) -> Bounds,
        mut visit: impl FnMut(LogOperation<'a>, Bounds, Bounds) -> Result<()>,
    ) -> Result<BoundsAfter> {
        let mut changed = BoundsAfter::new();
        for operation in self.operations() {
            let (region, after): (_, &dyn Fn(Bounds) -> Result<Bounds>) = match operation {
                LogOperation::Append(region, entries) => (region, &move |before| {
                    bounds::after_append(region, before, entries)
                }),
                LogOperation::Compact(region, up_to) => (region, &move |before| {
                    Ok(bounds::after_compact(before, up_to))
                }),
                LogOperation::Remove(region) => (region, &|_| Ok(None)),
                LogOperation::HardState(..) | LogOperation::ApplyState(..) => {
                    visit(operation, None, None)?;
                    continue;
                }
            };
            let bounds = changed.entry(region).or_insert_with(|| current(region));
            let before = *bounds;
            *bounds = after(before)?;
            visit(operation, before, *bounds)?;
        }
        Ok(changed)
    }

    fn push(&mut self, operation: Kept, bytes: usize) {
        self.operations.push(operation);
        self.size_bytes += bytes + OPERATION_BYTES;
    }
}

impl RaftLogBatch for LogBatch {
    fn append(&mut self, region: RegionId, entries: &[LogEntry]) {
        if entries.is_empty() {
            return;
        }
        let data: usize = entries.iter().map(|entry| entry.data.len()).sum();
        let overhead = entries.len() * ENTRY_OVERHEAD_BYTES as usize;
        let start = self.entries.len();
        self.entries.extend_from_slice(entries);
        self.push(
            Kept::Append(region, start..self.entries.len()),
            data + overhead,
        );
    }

    fn put_hard_state(&mut self, region: RegionId, state: &HardState) {
        self.push(Kept::HardState(region, *state), 0);
    }

    fn put_apply_state(&mut self, region: RegionId, state: &ApplyState) {
        self.push(Kept::ApplyState(region, *state), 0);
    }

    fn compact(&mut self, region: RegionId, up_to: u64) {
        self.push(Kept::Compact(region, up_to), 0);
    }

    fn remove(&mut self, region: RegionId) {
        self.push(Kept::Remove(region), 0);
    }

    fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.entries.clear();
        self.size_bytes = 0;
    }
}
