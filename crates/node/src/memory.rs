//! What all replicas of a store hold in memory, and the bounds on it.
//!
//! **Why for the whole store.** A bound for each Region says nothing where there are thousands of them.
//!
//! **Invariants.** Every byte that is counted is given back: unapplied entries after the write that
//! applies them, cached ones when their Peer drops them.
//!
//! **Not here.** What waits in mailboxes (the batch system's budget), and what happens at a bound: a
//! Peer takes no more entries ([`Peer::set_apply_behind`](raftstore::Peer::set_apply_behind)), or lets
//! go of what it can read again ([`Peer::shed_cache`](raftstore::Peer::shed_cache)).

use batch_system::ByteBudget;

/// Two gauges with a limit each. Clones are the same gauges.
#[derive(Clone)]
pub struct Memory {
    /// Committed entries whose effect is not written yet.
    pub unapplied: ByteBudget,
    /// Entries in the Peers' caches.
    pub cached: ByteBudget,
}

impl Memory {
    /// Gauges at zero, with limits in bytes.
    pub fn new(unapplied_bytes_max: usize, cached_bytes_max: usize) -> Self {
        Self {
            unapplied: ByteBudget::new(unapplied_bytes_max),
            cached: ByteBudget::new(cached_bytes_max),
        }
    }
}

/// Whether more is held than should be.
pub(crate) fn is_over(gauge: &ByteBudget) -> bool {
    gauge.used_bytes() > gauge.limit_bytes()
}
