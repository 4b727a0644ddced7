//! The checkers: what must hold of every run, each in a file of its own.
//!
//! **Invariants.** A checker sees only what the simulation observed from outside of the state
//! machines: answers, messages, what the engines hold.
//!
//! **Not here.** When they are called (`world`). What can be seen by any client (`consistency`).

pub(crate) mod membership;
pub(crate) mod raft;
pub(crate) mod replicas;
pub(crate) mod tiling;
