//! What the answers of a store must agree with, seen from outside: keys are linearizable, timestamps and ids
//! are given out once.
//!
//! **Why a crate of its own.** The simulation and the faults on real processes see the same kind of answers;
//! they are judged by the same code.
//!
//! **Invariants.** A verdict depends on the operations and on nothing else.
//!
//! **Not here.** Who asks, and when (`sim`, `chaos`). What only the simulation can see: messages, votes, what
//! the engines hold (`sim::checker`).

mod linear;
mod operation;
mod oracle;

pub use linear::{Verdict, check, violated_at};
pub use operation::{Action, Operation};
pub use oracle::OracleChecker;
