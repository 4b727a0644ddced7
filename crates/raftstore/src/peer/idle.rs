//! What an idle replica gives back.
//!
//! **Why.** A store has a hundred thousand replicas, and most of them do nothing. What a busy one reserves
//! for its queues is many times as much as what an idle one knows.
//!
//! **Invariants.** Only what is empty is given back, and only at a tick: a busy replica reserves each
//! buffer anew once a second at the most.
//!
//! **Not here.** What a busy replica lets go of (`LogCache`, `Memory` of the node).

use super::Peer;
use std::collections::VecDeque;

impl Peer {
    /// Gives back the buffers that nothing is in, once followers have acknowledged what was in them.
    pub(super) fn give_back_buffers(&mut self) {
        self.evict_applied();
        let raft = &mut self.raw.raft;
        // Room for the most messages that may be under way to one follower.
        raft.maybe_free_inflight_buffers();
        give_back(&mut raft.raft_log.unstable.entries);
        let reads = &mut raft.read_only;
        if reads.pending_read_index.is_empty() {
            reads.pending_read_index.shrink_to_fit();
        }
        give_back_queue(&mut reads.read_index_queue);
        self.raw.mut_store().give_back_buffers();
        self.proposals.give_back_buffers();
        self.reads.give_back_buffers();
        give_back_queue(&mut self.unpersisted);
        self.consistency.give_back();
    }
}

/// Frees an empty vector's buffer.
pub(super) fn give_back<T>(buffer: &mut Vec<T>) {
    if buffer.is_empty() {
        buffer.shrink_to_fit();
    }
}

/// Frees an empty queue's buffer.
pub(super) fn give_back_queue<T>(buffer: &mut VecDeque<T>) {
    if buffer.is_empty() {
        buffer.shrink_to_fit();
    }
}
