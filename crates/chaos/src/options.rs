//! What a run is told.
//!
//! **Not here.** The command line (`main`).

use crate::schedule::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// A run on one Raft log engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// What happens, in this order: by default a [`schedule`](crate::schedule()).
    pub faults: Vec<Fault>,
    /// The load is drawn from it.
    pub seed: u64,
    /// Whether Raft logs are in the log engine, or else in RocksDB.
    pub raft_engine: bool,
    /// Clients that go where they are sent.
    pub guided: usize,
    /// Clients of each node that only ask there. Every second one only reads.
    pub stubborn: usize,
    /// The kontiki program.
    pub program: PathBuf,
    /// The folder that everything is written below.
    pub dir: PathBuf,
    /// The tick of the first node, if it is not that of the others. One whose tick is longer trusts its lease
    /// for longer than the others wait before they elect somebody else: a defect that has to be found.
    pub first_tick: Option<Duration>,
    /// The longest that a Region may be without service where a majority is left, and after a heal.
    pub patience: Duration,
}

impl Options {
    /// The name of the log engine.
    pub fn engine(&self) -> &'static str {
        match self.raft_engine {
            true => "raft-log",
            false => "rocksdb",
        }
    }
}
