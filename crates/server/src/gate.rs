//! Whether clients are served: an operator can hold them off while the node runs.
//!
//! **Why.** A node that is looked at, or whose disk is being moved, should not be asked for data, and yet go on
//! to replicate: its Regions keep their quorum.
//!
//! **Invariants.** While it is paused, whoever asks for data is told that the server is busy, which clients try
//! again elsewhere or later. Raft, placement and the status server go on. A request costs one atomic load.
//!
//! **Not here.** Moving leaders away: that is `store drain`'s, and a stop's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Open at the beginning. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// From now on clients' requests for data are refused as busy, or no more. Returns whether that is news.
    pub fn pause(&self, is_paused: bool) -> bool {
        self.0.swap(is_paused, Ordering::AcqRel) != is_paused
    }

    /// Whether they are.
    pub fn is_paused(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
