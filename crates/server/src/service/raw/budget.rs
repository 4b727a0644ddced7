//! What one read of many rows may cost.
//!
//! **Invariants.** A read that runs out of it is an error and never a shorter answer: clients take a
//! page shorter than their limit for the end of the data. Time is looked at often enough whatever
//! the read is busy with: rows that are skipped, keys without a value, ranges without a row.
//!
//! **Not here.** What all answers together may take (`answers`): it is asked, and that may end a read as well.

use crate::error::Failure;
use crate::service::answers::{Gathering, Held};
use proto::kvrpcpb::KvPair;
use std::time::{Duration, Instant};

/// The clock is read once in so many rows.
const ROWS_PER_CLOCK_READ: u32 = 256;
/// What a row costs in memory besides its key and value, in bytes: its place in a list that doubles
/// when it is full, and two allocations.
pub(crate) const ROW_OVERHEAD_BYTES: usize = 2 * size_of::<KvPair>() + 32;

/// What is left for one request.
pub(super) struct Budget {
    bytes_left: usize,
    rows: u32,
    deadline: Instant,
    gathering: Gathering,
}

impl Budget {
    pub(super) fn new(bytes_max: usize, time_max: Duration, gathering: Gathering) -> Self {
        Self {
            gathering,
            bytes_left: bytes_max,
            rows: 0,
            deadline: Instant::now() + time_max,
        }
    }

    /// Until when the read may wait and run.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A row, of which so many bytes go into the answer.
    pub(super) fn take_bytes(&mut self, key_and_value: usize) -> Result<(), Failure> {
        let bytes = key_and_value + ROW_OVERHEAD_BYTES;
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(Failure::OverBudget("the limit in bytes"))?;
        self.gathering.take(bytes)
    }

    /// Gathers into this from now on.
    pub(super) fn gather(&mut self, gathering: Gathering) {
        self.gathering = gathering;
    }

    /// What was gathered, as it is counted.
    pub(super) fn end(self) -> Held {
        self.gathering.end()
    }

    /// A row or key was looked at.
    pub(super) fn take_row(&mut self) -> Result<(), Failure> {
        self.rows = self.rows.wrapping_add(1);
        if self.rows.is_multiple_of(ROWS_PER_CLOCK_READ) {
            self.check_time()?;
        }
        Ok(())
    }

    /// To be called for each range and each slice: to begin one takes longer than to look at the clock.
    pub(super) fn check_time(&self) -> Result<(), Failure> {
        if Instant::now() > self.deadline {
            return Err(Failure::OverBudget("the limit in time"));
        }
        Ok(())
    }
}
