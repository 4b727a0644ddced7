//! What clients did and saw, by key.
//!
//! **Invariants.** Stamps are unique and grow with the order of events.
//!
//! **Not here.** What an operation is, and what must hold of them (`consistency`).

use consistency::Operation;

/// The operations of a run, by key.
#[derive(Debug)]
pub(crate) struct History {
    keys: Vec<Vec<Operation>>,
    stamp: u64,
}

impl History {
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            keys: vec![Vec::new(); keys],
            stamp: 0,
        }
    }

    /// The next moment.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(crate) fn push(&mut self, key: usize, operation: Operation) {
        self.keys[key].push(operation);
    }

    /// Each key's operations.
    pub(crate) fn keys(&self) -> &[Vec<Operation>] {
        &self.keys
    }
}
