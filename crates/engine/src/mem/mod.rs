//! Engines in memory, on a [`Disk`] that can lose what was not synced.
//!
//! **Why.** The deterministic simulation crashes stores thousands of times; what survives has to be
//! an input. A [`Disk`] outlives the engines opened from it, as a real one outlives a process:
//! dropping an engine keeps all writes (the process died), [`Disk::crash`] loses a suffix of the
//! unsynced ones (the machine died).
//!
//! **Invariants.**
//! - After a crash an engine holds a prefix of its writes, in order, with at least everything that
//!   was synced. Writes are never torn: a batch is there or it isn't.
//! - Iteration order is key order, and nothing depends on addresses or hashes: the same calls give
//!   the same answers.
//! - Snapshots share structure with the engine (persistent maps): taking one costs no copy.
//!
//! **Not here.** A bound on memory (unsynced writes are kept until a sync), and damage to what was
//! synced: the engines on real files detect that, each in its own way.

mod disk;
mod journal;
mod kv;
mod log;

pub use disk::Disk;
pub use kv::{MemBatch, MemIter, MemKv, MemSnapshot};
pub use log::MemLog;
