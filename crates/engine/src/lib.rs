//! What the rest of the store asks of a disk: [`KvEngine`] for the data and [`RaftLog`] for the
//! Raft logs; [`mem`], an implementation of both that can lose what was not synced; and
//! [`switch`], which moves logs from one engine to another.
//!
//! **Why traits.** The state machines run on RocksDB and raft-engine in production and on `mem` in
//! the deterministic simulation. A fake that behaves differently from the real engine makes the
//! simulation lie, so one suite (`conformance`, behind the feature of that name) runs on all of
//! them.
//!
//! **Invariants.**
//! - A batch is atomic, over column families and over Regions: after a crash all of it is there or
//!   nothing.
//! - Writes survive a crash in the order in which they were made: if one is there, so is every
//!   earlier one of the same engine.
//! - What was written with [`Durability::Synced`], or before a `sync` that returned, survives any
//!   crash.
//! - An [`Error`] says who has to act ([`Action`]): after [`Action::Crash`] the store must stop;
//!   nothing may be acknowledged and the operation must not be tried again.
//!
//! **Not here.** The meaning of keys and values, multi-version reads, and any order between the two
//! engines: syncing one before the other is the caller's duty.

pub mod bounds;
pub mod chain;
pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod file;
mod kv;
pub mod log_batch;
pub mod mem;
pub mod meter;
mod raft_log;
pub mod switch;
pub mod watermark;

pub use error::{Action, Error, REMEDY, Result};
pub use kv::{Backlog, Cf, Durability, Files, KvBatch, KvEngine, KvIterator, KvSnapshot};
pub use raft_log::{ENTRY_OVERHEAD_BYTES, RaftLog, RaftLogBatch, entry_bytes};

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
