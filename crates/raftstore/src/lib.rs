//! The replicated Region as pure state machines: `peer` decides over raft-rs what is proposed,
//! persisted, sent and committed; `apply` decides what a committed entry does; `store` owns the
//! metadata of all Regions on one store.
//!
//! **Why pure.** `step(input, &mut effects)` neither locks nor sends nor sleeps nor reads a clock,
//! so the same code runs under threads and under a deterministic simulation, and every behaviour
//! can be tested as a script of inputs and effects.
//!
//! **Invariants.**
//! 1. Nothing is promised to a peer before the log that backs it is synced.
//! 2. Nothing is applied before it is committed *and* persisted here.
//! 3. Every request gets exactly one answer.
//! 4. Randomness (election timeouts) comes from a seed.
//!
//! **Not here.** Threads, files, sockets, clocks (`node`); protobuf, except Raft's own messages in
//! `message` and `peer::raft`.

mod admin;
pub mod apply;
pub mod bootstrap;
mod codec;
mod command;
mod effect;
mod error;
#[cfg(test)]
mod fuzz_targets;
mod message;
pub mod op;
pub mod peer;
mod read_entry;
pub mod state;
pub mod store;

pub use admin::{Admin, Cut, MergeSource, PeerChange, PeerChangeKind};
pub use codec::DecodeError;
pub use command::{Command, Mutation, Outcome};
pub use effect::{
    ApplyEntry, ApplyTask, Contradiction, Effect, FetchEntries, Leadership, LeaseChange, LeaseView,
    LogWrite, MergeDone, Refusal, RegionHeartbeat, Reply, SplitDone,
};
pub use error::RequestError;
pub use message::{MessageError, RaftMessage};
pub use op::hibernate::Extra;
pub use op::last_merge::{LastMerge, TakeIn};
pub use op::lease::MonotonicTime;
pub use op::log_gc::LogGcOptions;
pub use op::snapshot::{GenerateSnapshot, InstallSnapshot, SnapshotKey, SnapshotMeta};
pub use peer::{Peer, RequestContext};
pub use read_entry::EntryContent;
