//! Raft logs on the `raft-engine` crate: [`RaftLogEngine`].
//!
//! **Why this engine.** It appends every Region's entries to one file and keeps only an index in
//! memory: one write and one sync for a whole poller round, and no compaction of what is soon
//! deleted.
//!
//! **Why a verifier.** On its own, raft-engine opens a log with a broken record in the middle, or
//! with a file gone, and drops what follows without an error. A voter that forgets entries it has
//! acknowledged breaks Raft. So `verify` reads every file before raft-engine does, against a list of
//! files of our own (`manifest`), and refuses what a crash can't explain.
//!
//! **Invariants.**
//! - Only the torn end of the newest file of a queue is cut: bytes behind which no whole record
//!   follows, and which no mark (`engine::watermark`) says were synced.
//! - The list of files names the newest file before a record is written to it, and no longer names
//!   a file before it is deleted.
//! - After a sync failed nothing is written any more, and every call says so.
//!
//! **Known limits.**
//! - After a power loss the mark of what was synced may be an older one. What was synced behind it is
//!   then as in a log without marks: a damaged record that is the very last looks like a torn one and is
//!   cut, and a newest file that was cut between two records is just shorter.
//! - After a power loss the kernel may have kept a later unsynced record and lost an earlier one.
//!   That looks like damage and is refused, though nothing was promised.
//!
//! **Not here.** raft-engine's types: none is in a public signature.

mod check;
mod convert;
mod disk;
mod encode;
mod frozen;
mod items;
mod log;
#[cfg(test)]
mod log_faults;
mod manifest;
mod open;
mod options;
mod reader;
mod record;
mod shelf;
mod shelved;
mod uses;
mod verify;
mod watch;

pub use log::RaftLogEngine;
pub use options::RaftLogOptions;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
