//! Who waits for an answer: requests by id, from any thread to any thread.
//!
//! **Why a table.** Messages and log entries carry plain ids, never closures; the table turns an id
//! back into whoever waits. An asker who goes away takes its entry along, so the table is as large as
//! the requests in flight.
//!
//! **Invariants.** An id is used once. The first answer counts; later ones find nobody.
//!
//! **Cost.** A request takes the lock of one shard twice: when it is registered and when it is answered.

use crate::ports::Replies;
use parking_lot::Mutex;
use raftstore::{Reply, RequestError};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use types::RequestId;

type Answer = Result<Reply, RequestError>;

const SHARDS: usize = 16;

type Shard = HashMap<u64, oneshot::Sender<Answer>, BuildHasherDefault<IdHasher>>;

/// Spreads ids, which are given out one after the other: nobody chooses them to collide.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // The fractional part of the golden ratio: neighbours end up far apart (Knuth, 6.4).
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The table of one node.
#[derive(Default)]
pub(crate) struct ReplyTable {
    last_id: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

/// An answer to come. Dropping it withdraws the wish for it, not the request.
pub(crate) struct Pending {
    table: Arc<ReplyTable>,
    id: RequestId,
    receiver: oneshot::Receiver<Answer>,
    /// Whether the table may still hold the sender.
    is_open: bool,
}

impl ReplyTable {
    /// A new request.
    pub(crate) fn register(self: &Arc<Self>) -> Pending {
        self.register_as(|id| id)
    }

    /// A new request, whose id is what is made of a new one.
    pub(crate) fn register_as(
        self: &Arc<Self>,
        made: impl FnOnce(RequestId) -> RequestId,
    ) -> Pending {
        let id = made(RequestId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1));
        let (sender, receiver) = oneshot::channel();
        self.shard(id).lock().insert(id.get(), sender);
        Pending {
            table: Arc::clone(self),
            id,
            receiver,
            is_open: true,
        }
    }

    fn shard(&self, id: RequestId) -> &Mutex<Shard> {
        &self.shards[id.get() as usize % SHARDS]
    }
}

impl Replies for ReplyTable {
    fn complete(&self, request: RequestId, result: Answer) {
        failpoint::at!("node::reply::complete");
        let sender = self.shard(request).lock().remove(&request.get());
        if let Some(sender) = sender {
            // Nobody listens any more: the asker has just gone.
            let _ = sender.send(result);
        }
    }
}

impl Pending {
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// The answer.
    pub(crate) async fn answer(mut self) -> Answer {
        let received = (&mut self.receiver).await;
        // Whoever answered took the sender out.
        self.is_open = false;
        received.unwrap_or(Err(RequestError::Stopping))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_open {
            self.table.shard(self.id).lock().remove(&self.id.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_its_asker_once() {
        let table = Arc::new(ReplyTable::default());
        let (first, second) = (table.register(), table.register());
        table.complete(second.id(), Err(RequestError::StaleCommand));
        table.complete(second.id(), Err(RequestError::DiskFull));
        table.complete(first.id(), Err(RequestError::Stopping));
        assert_eq!(second.answer().await, Err(RequestError::StaleCommand));
        assert_eq!(first.answer().await, Err(RequestError::Stopping));
        assert!(table.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn an_asker_who_goes_away_leaves_nothing_behind() {
        let table = Arc::new(ReplyTable::default());
        drop(table.register());
        assert!(table.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
