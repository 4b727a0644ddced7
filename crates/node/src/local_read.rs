//! Reads under a leader's lease: on the thread of the asker, without a message and without the Peer.
//!
//! **The order.** [`ReadDelegates::begin`] finds the lease that the request is meant for, the asker
//! looks at the engine, [`Attempt::finish`] reads the clock and *then* looks whether that lease still
//! stands. If it does, the replica led at the moment of the look, in this shape of its Region, and nobody
//! else could have committed before. However long the thread was stopped anywhere in between, what was
//! seen is either right or thrown away, and then the Peer is asked. A time from before the request
//! would prove nothing: another leader may have acknowledged writes since. A lease that is checked before
//! the look would leave room in between for the replica to be removed, or its Region to be split.
//!
//! **What the look sees.** Every write that was acknowledged before. One of this term was acknowledged
//! after the applier wrote it to this engine; one of an earlier term is in this replica's log before the
//! entry that a leader must have applied before it has a lease.
//!
//! **A split or merge** withholds the lease from the proposal on until it is applied, and the Region's
//! other shape is another delegate: a request that is meant for the old one finds none and asks the Peer,
//! which knows the answer. The new Region's replica has a lease of its own, once it leads.
//!
//! **Data that goes.** Without a lease the look comes after the Peer's answer, and meanwhile the replica
//! could be removed with its data. [`ReadDelegates::data_goes`] is called before that: who sees that
//! it was has to ask again.
//!
//! **Cost.** A read takes the lock of one shard for reading, for the time of a look-up, and one count of
//! an `Arc`; it allocates nothing. Renewals of a lease write one number.
//!
//! **Not here.** Why a lease holds (`raftstore::op::lease`).

use crate::clock::Clock;
use crate::replies::IdHasher;
use parking_lot::RwLock;
use raftstore::op::lease::wants_renewal;
use raftstore::{LeaseChange, LeaseView, MonotonicTime, RequestContext};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use types::{Region, RegionId};

const SHARDS: usize = 64;

type Shard = RwLock<HashMap<RegionId, Arc<ReadDelegate>, BuildHasherDefault<IdHasher>>>;

/// The leases of one store's Peers, for all threads. Clones are the same.
#[derive(Clone)]
pub struct ReadDelegates(Arc<Inner>);

struct Inner {
    shards: [Shard; SHARDS],
    /// How often data of a replica was about to go.
    departures: AtomicU64,
}

/// The lease of one leader in one term and shape of its Region.
#[derive(Debug)]
struct ReadDelegate {
    view: LeaseView,
    /// Replaces the view's. Zero once the lease has ended before its time, for ever.
    until: AtomicU64,
    /// Whether somebody has asked for the renewal of this lease already.
    is_renewal_asked: AtomicBool,
}

/// A read that has found a lease.
#[derive(Debug)]
pub struct Attempt(Arc<ReadDelegate>);

/// A read that was done under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Whether the Peer should be told to renew the lease. Said to one reader only.
    pub wants_renewal: bool,
}

impl Default for ReadDelegates {
    fn default() -> Self {
        Self(Arc::new(Inner {
            shards: std::array::from_fn(|_| Shard::default()),
            departures: AtomicU64::new(0),
        }))
    }
}

impl ReadDelegates {
    fn shard(&self, region: RegionId) -> &Shard {
        &self.0.shards[region.get() as usize % SHARDS]
    }

    /// A Peer has said how its lease stands. Changes of one Region come one after the other.
    pub(crate) fn change(&self, change: LeaseChange) {
        let view = match change {
            LeaseChange::Granted(view) => view,
            LeaseChange::Ended(region) => {
                if let Some(ended) = self.shard(region).write().remove(&region) {
                    ended.end();
                }
                return;
            }
        };
        let shard = self.shard(view.region.id);
        if let Some(known) = shard.read().get(&view.region.id)
            && known.view.term == view.term
            && Arc::ptr_eq(&known.view.region, &view.region)
        {
            known.extend(view.until);
            return;
        }
        let new = Arc::new(ReadDelegate {
            until: AtomicU64::new(view.until.0),
            is_renewal_asked: AtomicBool::new(false),
            view,
        });
        let id = new.view.region.id;
        if let Some(replaced) = shard.write().insert(id, new) {
            replaced.end();
        }
    }

    /// The first step of a read: the lease that it may be done under.
    pub fn begin(&self, context: &RequestContext) -> Option<Attempt> {
        let shard = self.shard(context.region_id).read();
        let found = shard.get(&context.region_id)?;
        (found.is_open() && found.view.is_meant_by(context)).then(|| Attempt(Arc::clone(found)))
    }

    /// Data of a replica is about to be removed or replaced.
    pub fn data_goes(&self) {
        self.0.departures.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes with each [`Self::data_goes`].
    pub fn departures(&self) -> u64 {
        self.0.departures.load(Ordering::SeqCst)
    }
}

impl ReadDelegate {
    fn is_open(&self) -> bool {
        self.until.load(Ordering::SeqCst) != 0
    }

    fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    fn extend(&self, until: MonotonicTime) {
        self.until.store(until.0, Ordering::SeqCst);
        self.is_renewal_asked.store(false, Ordering::SeqCst);
    }
}

impl Attempt {
    /// The Region as it is under this lease.
    pub fn region(&self) -> &Arc<Region> {
        &self.0.view.region
    }

    /// When the lease ends.
    pub fn until(&self) -> MonotonicTime {
        MonotonicTime(self.0.until.load(Ordering::SeqCst))
    }

    /// The last step of a read, after the look: whether what was seen counts.
    pub fn finish(&self, clock: &dyn Clock) -> Option<Granted> {
        let now = clock.now();
        let until = self.until();
        if now >= until {
            return None;
        }
        let delegate = &*self.0;
        let wants_renewal = wants_renewal(now.until(until), delegate.view.length)
            && !delegate.is_renewal_asked.load(Ordering::Relaxed)
            && !delegate.is_renewal_asked.swap(true, Ordering::SeqCst);
        Some(Granted { wants_renewal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use types::{Epoch, Peer, PeerId, StoreId};

    /// A clock that a test has set.
    struct At(u64);

    impl Clock for At {
        fn now(&self) -> MonotonicTime {
            MonotonicTime(self.0)
        }
    }

    fn region(version: u64) -> Arc<Region> {
        Arc::new(Region {
            id: RegionId(2),
            epoch: Epoch {
                conf_ver: 1,
                version,
            },
            ..Region::default()
        })
    }

    fn granted(region: &Arc<Region>, term: u64, until: u64) -> LeaseChange {
        LeaseChange::Granted(LeaseView {
            region: Arc::clone(region),
            me: Peer {
                id: PeerId(21),
                store_id: StoreId(1),
                ..Peer::default()
            },
            term,
            until: MonotonicTime(until),
            length: Duration::from_nanos(40),
        })
    }

    fn context(version: u64) -> RequestContext {
        RequestContext {
            region_id: RegionId(2),
            epoch: Epoch {
                conf_ver: 0,
                version,
            },
            ..RequestContext::default()
        }
    }

    fn is_granted(attempt: &Attempt, now: u64) -> bool {
        attempt.finish(&At(now)).is_some()
    }

    #[test]
    fn a_look_counts_until_the_lease_is_over() {
        let delegates = ReadDelegates::default();
        assert!(delegates.begin(&context(1)).is_none());
        delegates.change(granted(&region(1), 6, 100));
        let attempt = delegates.begin(&context(1)).unwrap();
        assert!(is_granted(&attempt, 99));
        assert!(!is_granted(&attempt, 100));
    }

    #[test]
    fn a_lease_that_is_renewed_counts_for_those_who_have_begun() {
        let delegates = ReadDelegates::default();
        let region = region(1);
        delegates.change(granted(&region, 6, 100));
        let attempt = delegates.begin(&context(1)).unwrap();
        delegates.change(granted(&region, 6, 130));
        assert!(is_granted(&attempt, 120));
    }

    #[test]
    fn whatever_ends_or_replaces_a_lease_ends_it_for_those_who_have_begun() {
        let changes = [
            LeaseChange::Ended(RegionId(2)),
            granted(&region(2), 6, 900),
            granted(&region(1), 7, 900),
        ];
        for change in changes {
            let delegates = ReadDelegates::default();
            delegates.change(granted(&region(1), 6, 100));
            let attempt = delegates.begin(&context(1)).unwrap();
            delegates.change(change);
            assert!(!is_granted(&attempt, 50));
        }
    }

    #[test]
    fn a_request_for_another_shape_replica_store_or_term_finds_no_lease() {
        let delegates = ReadDelegates::default();
        delegates.change(granted(&region(2), 6, 100));
        let changes: [fn(&mut RequestContext); 5] = [
            |context| context.epoch.version = 1,
            |context| context.peer.id = PeerId(22),
            |context| {
                context.peer.id = PeerId(21);
                context.peer.store_id = StoreId(9);
            },
            |context| context.term = 5,
            |context| context.region_id = RegionId(2 + SHARDS as u64),
        ];
        assert!(delegates.begin(&context(2)).is_some());
        for change in changes {
            let mut other = context(2);
            change(&mut other);
            assert!(delegates.begin(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn one_reader_is_asked_to_see_to_the_renewal_of_a_lease() {
        let delegates = ReadDelegates::default();
        let region = region(1);
        delegates.change(granted(&region, 6, 100));
        let attempt = delegates.begin(&context(1)).unwrap();
        let wants = |now| attempt.finish(&At(now)).unwrap().wants_renewal;
        assert_eq!([89, 90, 95].map(wants), [false, true, false]);
        delegates.change(granted(&region, 6, 140));
        assert_eq!([129, 130, 135].map(wants), [false, true, false]);
    }

    #[test]
    fn who_looks_across_a_departure_can_tell() {
        let delegates = ReadDelegates::default();
        let before = delegates.departures();
        assert_eq!(delegates.departures(), before);
        delegates.data_goes();
        assert_ne!(delegates.departures(), before);
    }
}
