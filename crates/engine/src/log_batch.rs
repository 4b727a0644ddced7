//! [`LogBatch`]: the batch of every [`crate::RaftLog`] here, a list of operations.
//!
//! **Why one for all.** An engine has to know a log's bounds to turn an append into its own
//! operations (which old suffix goes?), and it knows them only when it writes. So a batch keeps what
//! is meant, and every engine translates it; entries are shared, not copied.
//!
//! **Not here.** How an operation is stored.

use crate::bounds::{self, Bounds};
use crate::{ENTRY_OVERHEAD_BYTES, RaftLogBatch, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, RegionId};

/// What an operation counts beyond its entries.
const OPERATION_BYTES: usize = 32;

/// One change of one Region's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOperation {
    /// Appends entries, of which there is at least one, and drops any older suffix.
    Append(RegionId, Arc<[LogEntry]>),
    /// Replaces the hard state.
    HardState(RegionId, HardState),
    /// Replaces the apply state.
    ApplyState(RegionId, ApplyState),
    /// Drops the entries before the index.
    Compact(RegionId, u64),
    /// Drops everything.
    Remove(RegionId),
}

/// Changes of many Regions' logs, in order.
#[derive(Clone, Debug, Default)]
pub struct LogBatch {
    operations: Vec<LogOperation>,
    size_bytes: usize,
}

/// The bounds of the logs that a batch changes, after it.
pub type BoundsAfter = BTreeMap<RegionId, Bounds>;

impl LogBatch {
    /// The operations, in order.
    pub fn operations(&self) -> &[LogOperation] {
        &self.operations
    }

    fn push(&mut self, operation: LogOperation, bytes: usize) {
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
        self.push(
            LogOperation::Append(region, entries.into()),
            data + overhead,
        );
    }

    fn put_hard_state(&mut self, region: RegionId, state: &HardState) {
        self.push(LogOperation::HardState(region, *state), 0);
    }

    fn put_apply_state(&mut self, region: RegionId, state: &ApplyState) {
        self.push(LogOperation::ApplyState(region, *state), 0);
    }

    fn compact(&mut self, region: RegionId, up_to: u64) {
        self.push(LogOperation::Compact(region, up_to), 0);
    }

    fn remove(&mut self, region: RegionId) {
        self.push(LogOperation::Remove(region), 0);
    }

    fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.size_bytes = 0;
    }
}

/// The bounds of every log that `operations` change, after all of them; `current` tells a log's
/// bounds before the first. Engines call it before they write anything.
///
/// # Errors
/// [`crate::Error::Hole`] and [`crate::Error::Compacted`], as [`crate::RaftLog::write`] promises.
pub fn bounds_after(
    operations: &[LogOperation],
    mut current: impl FnMut(RegionId) -> Bounds,
) -> Result<BoundsAfter> {
    let mut changed = BoundsAfter::new();
    for operation in operations {
        match operation {
            LogOperation::Append(region, entries) => {
                let after = changed.entry(*region).or_insert_with(|| current(*region));
                *after = bounds::after_append(*region, *after, entries)?;
            }
            LogOperation::Compact(region, up_to) => {
                let after = changed.entry(*region).or_insert_with(|| current(*region));
                *after = bounds::after_compact(*after, *up_to);
            }
            LogOperation::Remove(region) => {
                changed.insert(*region, None);
            }
            LogOperation::HardState(..) | LogOperation::ApplyState(..) => {}
        }
    }
    Ok(changed)
}
