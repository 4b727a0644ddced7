//! Ids that nobody has had: for stores, Regions, Peers.
//!
//! **How.** A bound is persisted some steps ahead; ids below it are given out without a write. A new
//! leader begins at the persisted bound: what its predecessor had not given out is lost, which
//! costs nothing.
//!
//! **Invariants.** `next <= persisted bound` whenever an id is given out, so two leaders never give
//! out the same id, whatever was lost in a crash.
//!
//! **Not here.** Writing the bound: the leader does when [`Ids::wants_limit`] says so.

use crate::leader::Ticket;
use std::collections::VecDeque;

/// The allocator of a leader.
#[derive(Debug)]
pub(crate) struct Ids {
    next: u64,
    waiting: VecDeque<Ticket>,
}

impl Ids {
    /// All ids from `next` on are free.
    pub(crate) fn new(next: u64) -> Self {
        assert!(next > 0, "zero is no id");
        Self {
            next,
            waiting: VecDeque::new(),
        }
    }

    /// The first id that nobody has been given. A new leader counts all below the persisted bound as
    /// given out, since its predecessor may have.
    pub(crate) fn first_free(&self) -> u64 {
        self.next
    }

    /// Queues a request.
    pub(crate) fn wait(&mut self, ticket: Ticket) {
        self.waiting.push_back(ticket);
    }

    /// The next request that can be answered, and its id.
    pub(crate) fn serve(&mut self, limit: u64) -> Option<(Ticket, u64)> {
        if self.next >= limit {
            return None;
        }
        let ticket = self.waiting.pop_front()?;
        let id = self.next;
        self.next += 1;
        Some((ticket, id))
    }

    /// The bound to persist, if the one that is persisted or on its way is too low for those that
    /// wait.
    pub(crate) fn wants_limit(&self, staged_limit: u64, step: u64) -> Option<u64> {
        let waiting = self.waiting.len() as u64;
        if waiting == 0 || self.next.saturating_add(waiting) <= staged_limit {
            return None;
        }
        Some(self.next.saturating_add(waiting.max(step))).filter(|wanted| *wanted > staged_limit)
    }

    /// Gives up on all requests.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Ticket> {
        std::mem::take(&mut self.waiting).into_iter()
    }

    /// What waits, for checks.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Ticket> {
        self.waiting.iter()
    }
}
