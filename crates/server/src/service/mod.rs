//! The gRPC services, one file for each group.
//!
//! **Not here.** Sockets (`listener`), and what a node does (`node`).

pub(crate) mod answers;
pub(crate) mod batch_commands;
pub(crate) mod debug;
pub(crate) mod diagnostics;
pub(crate) mod encoded;
pub(crate) mod forward;
pub(crate) mod health;
pub(crate) mod keyspace;
pub(crate) mod pd;
pub(crate) mod raft;
pub(crate) mod raw;
mod read_pool;
pub(crate) mod slow;
pub(crate) mod snapshot;
pub(crate) mod tikv;
