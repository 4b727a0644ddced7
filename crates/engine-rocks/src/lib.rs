//! RocksDB behind the traits of `engine`: [`RocksKv`] for the data, and [`RocksLog`], Raft logs in a
//! RocksDB of their own.
//!
//! **Why a database for each.** The Raft log is synced on every round and read rarely; the data is
//! written without a sync and read always. In one database each sync of the log would carry the
//! data's write-ahead log with it.
//!
//! **Invariants.**
//! - The write-ahead log is on for every write. A buffered write reaches the operating system
//!   before the call returns, so it survives a killed process; a synced one survives the machine.
//! - A torn end of the write-ahead log is dropped, as nothing in it was promised. Damage elsewhere
//!   stops [`RocksLog`] at open, by a check of our own (`wal`); [`RocksKv`] recovers up to the damage,
//!   because the Raft log can bring back what follows. Compare the applied index with the log's first
//!   index after opening. Damage to the list of tables stops both (`files`).
//! - After a write or a sync failed nothing is written any more, and every call that would says so.
//!
//! **Not here.** RocksDB's types: none is in a public signature.

mod compact;
mod crc32c;
mod error;
mod files;
mod kv;
mod log;
mod log_keys;
mod options;
mod properties;
mod size;
mod snapshot;
mod tail;
mod tuner;
mod wal;

pub use kv::{RocksBatch, RocksKv};
pub use log::RocksLog;
pub use options::RocksOptions;
pub use snapshot::{RocksIter, RocksSnapshot};
pub use tuner::RocksTuner;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
