//! Places for connections: so many for clients, and some that are kept for other stores.
//!
//! **Why.** A crowd of clients must not lock other stores out: without their messages this node
//! could not lead, nor follow. Nobody knows who is calling before the first request, so when all
//! places of clients are taken, a connection borrows one of the stores'. It has to show soon that it
//! is a store, by a stream of Raft messages.
//!
//! **Invariants.** A connection holds one place, and gives it back when it ends. That of a store is
//! not counted among the clients, so that a server that stops can wait for clients alone.
//!
//! **Not here.** A defence against somebody who claims to be a store: the header of a Raft stream
//! is no secret. And no bound for each address: many clients may share one.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places of a server.
pub(crate) struct Places {
    clients: Arc<Semaphore>,
    clients_max: usize,
    stores: Arc<Semaphore>,
}

/// The place of one connection.
pub(crate) struct Place {
    stores: Arc<Semaphore>,
    held: Mutex<Held>,
}

struct Held {
    holder: Holder,
    permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Client,
    /// Nobody knows yet, and only a store may stay.
    Stranger,
    Store,
}

impl Places {
    /// With so many for clients, and so many for stores.
    pub(crate) fn new(clients_max: usize, stores_max: usize) -> Self {
        Self {
            clients: Arc::new(Semaphore::new(clients_max)),
            clients_max,
            stores: Arc::new(Semaphore::new(stores_max)),
        }
    }

    /// A place for a new connection; `None` when there is none.
    pub(crate) fn take(&self) -> Option<Place> {
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_owned().ok();
        let client = take(&self.clients).map(|permit| (Holder::Client, permit));
        let (holder, permit) =
            client.or_else(|| take(&self.stores).map(|permit| (Holder::Stranger, permit)))?;
        Some(Place {
            stores: Arc::clone(&self.stores),
            held: Mutex::new(Held { holder, permit }),
        })
    }

    /// Ready when no connection is a client's.
    pub(crate) async fn without_clients(&self) {
        let all = u32::try_from(self.clients_max).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.clients.acquire_many(all).await;
    }
}

impl Place {
    /// The connection has turned out to be a store's. `false` if there is no place for one.
    pub(crate) fn give_to_store(&self) -> bool {
        let mut held = self.held.lock();
        if held.holder == Holder::Client {
            let Ok(permit) = Arc::clone(&self.stores).try_acquire_owned() else {
                return false;
            };
            held.permit = permit;
        }
        held.holder = Holder::Store;
        true
    }

    /// Whether the connection may stay only if it is a store's, and has not shown that yet.
    pub(crate) fn is_strangers(&self) -> bool {
        self.held.lock().holder == Holder::Stranger
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, poll};

    #[tokio::test]
    async fn a_store_finds_a_place_when_clients_have_taken_all_of_theirs() {
        let places = Places::new(1, 1);
        let client = places.take().unwrap();
        assert!(!client.is_strangers());
        let stranger = places.take().unwrap();
        assert!(stranger.is_strangers() && places.take().is_none());
        assert!(stranger.give_to_store() && !stranger.is_strangers());
        assert!(!client.give_to_store(), "the place for a store is taken");
        drop(stranger);
        assert!(client.give_to_store());
        assert!(!places.take().unwrap().is_strangers());
    }

    #[tokio::test]
    async fn stores_are_not_waited_for() {
        let places = Places::new(2, 1);
        let (client, store) = (places.take().unwrap(), places.take().unwrap());
        let mut gone = Box::pin(places.without_clients());
        assert!(poll!(&mut gone).is_pending());
        assert!(store.give_to_store());
        assert!(poll!(&mut gone).is_pending());
        drop(client);
        assert!(gone.now_or_never().is_some());
    }
}
