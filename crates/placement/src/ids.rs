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
use crate::message::Request;
use std::collections::VecDeque;
use types::{Peer, PeerId, PeerRole, StoreId};

/// The allocator of a leader.
#[derive(Debug)]
pub(crate) struct Ids {
    next: u64,
    waiting: VecDeque<Waiting>,
    /// Ids that scheduling looked for and did not find.
    missing: u64,
}

/// A request that waits until there are enough ids.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    count: u64,
    /// What is asked then; nothing: an id.
    request: Option<Request>,
}

/// What a request comes to when there are enough ids.
#[derive(Debug)]
pub(crate) enum Served {
    /// The id that it asked for.
    Id(Ticket, u64),
    /// It is looked at again.
    Again(Ticket, Request),
}

/// Ids for Peers, out of those that can be given out now.
pub(crate) struct PeerIds<'a> {
    pub(crate) ids: &'a mut Ids,
    pub(crate) limit: u64,
}

impl PeerIds<'_> {
    /// A new learner on a store, if there is an id for it. Otherwise there will be, soon.
    pub(crate) fn peer_on(&mut self, store_id: StoreId) -> Option<Peer> {
        Some(Peer {
            id: PeerId(self.id()?),
            store_id,
            role: PeerRole::Learner,
        })
    }

    /// A new id, if there is one. Otherwise there will be, soon.
    pub(crate) fn id(&mut self) -> Option<u64> {
        self.has(1).then(|| {
            self.ids.next += 1;
            self.ids.next - 1
        })
    }

    /// Whether there are so many. Otherwise there will be, soon.
    pub(crate) fn has(&mut self, count: u64) -> bool {
        let has = self.ids.next.saturating_add(count) <= self.limit;
        if !has {
            self.ids.missing = self.ids.missing.max(count);
        }
        has
    }
}

impl Ids {
    /// All ids from `next` on are free.
    pub(crate) fn new(next: u64) -> Self {
        assert!(next > 0, "zero is no id");
        Self {
            next,
            waiting: VecDeque::new(),
            missing: 0,
        }
    }

    /// The first id that nobody has been given. A new leader counts all below the persisted bound as
    /// given out, since its predecessor may have.
    pub(crate) fn first_free(&self) -> u64 {
        self.next
    }

    /// Queues a request for one id.
    pub(crate) fn wait(&mut self, ticket: Ticket) {
        self.waiting.push_back(Waiting {
            ticket,
            count: 1,
            request: None,
        });
    }

    /// Queues a request that needs so many ids.
    pub(crate) fn wait_for(&mut self, ticket: Ticket, count: u64, request: Request) {
        self.waiting.push_back(Waiting {
            ticket,
            count,
            request: Some(request),
        });
    }

    /// The next request for which there are enough ids below `limit`.
    pub(crate) fn serve(&mut self, limit: u64) -> Option<Served> {
        let count = self.waiting.front()?.count;
        if self.next.saturating_add(count) > limit {
            return None;
        }
        let waiting = self.waiting.pop_front()?;
        let Some(request) = waiting.request else {
            let id = self.next;
            self.next += 1;
            return Some(Served::Id(waiting.ticket, id));
        };
        Some(Served::Again(waiting.ticket, request))
    }

    /// The bound to persist, if the one that is persisted or on its way is too low for those that
    /// wait.
    pub(crate) fn wants_limit(&mut self, staged_limit: u64, step: u64) -> Option<u64> {
        let waiting: u64 = self.waiting.iter().map(|waiting| waiting.count).sum();
        let wanted = waiting.saturating_add(std::mem::take(&mut self.missing));
        if wanted == 0 || self.next.saturating_add(wanted) <= staged_limit {
            return None;
        }
        Some(self.next.saturating_add(wanted.max(step))).filter(|wanted| *wanted > staged_limit)
    }

    /// Gives up on all requests.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Ticket> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        waiting.map(|waiting| waiting.ticket)
    }

    /// What waits, for checks.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Ticket> {
        self.waiting.iter().map(|waiting| &waiting.ticket)
    }
}
