//! What a pool has done, and what it has before it.

use crate::config::LEVELS;
use std::time::Duration;

/// One level since the pool began, and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Tasks that wait for a slice at this level now.
    pub waiting: usize,
    /// Tasks in a slice of this level now.
    pub running: usize,
    /// Slices that ended.
    pub slices: u64,
    /// Time that they took.
    pub run_time: Duration,
    /// Time that tasks waited for a slice of this level, all together.
    pub wait_time: Duration,
    /// The longest that one waited for one slice.
    pub wait_max: Duration,
}

/// A pool since it began, and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By level.
    pub levels: [LevelStats; LEVELS],
    /// Tasks in the pool now, waiting and running.
    pub tasks: usize,
    /// Bytes that these were spawned with.
    pub bytes: usize,
    /// Tasks that said they were done.
    pub done: u64,
    /// Tasks that were abandoned: by a panic, or by the end of the pool.
    pub abandoned: u64,
    /// Tasks that were not accepted since a bound was reached.
    pub refused: u64,
}
