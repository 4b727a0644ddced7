//! What a store carries: which Regions it leads and follows, how much they hold, and how busy they
//! are; counted as heartbeats come.
//!
//! **Why bags.** Schedulers look for a Region to move by drawing some at random from one store's. A
//! [`Bag`] gives a random one, takes one in and lets one go in constant time; a Region remembers its
//! place in each.
//!
//! **Invariant.** Each Region has one place on each store of its Peers, in the bag of its part there.
//!
//! **Not here.** Who keeps the places: `observed`.

use std::collections::BTreeSet;
use types::RegionId;

/// Regions in no order.
pub(crate) type Bag = Vec<RegionId>;

/// Which of a store's bags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Leader,
    Follower,
    Learner,
}

/// What a Region weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) size_bytes: u64,
    /// Read by the leader, in bytes a second.
    pub(crate) read_rate: u64,
    /// Written by every replica, in bytes a second.
    pub(crate) write_rate: u64,
}

/// What a Region is asked for much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heat {
    pub(crate) is_read: bool,
    pub(crate) is_written: bool,
}

/// A store's share.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreLoad {
    pub(crate) leaders: Bag,
    pub(crate) followers: Bag,
    pub(crate) learners: Bag,
    /// Of all its replicas.
    pub(crate) peers_bytes: u64,
    /// Replicas that are catching up.
    pub(crate) pending: u64,
    /// Of the Regions that it leads.
    pub(crate) read_rate: u64,
    /// Of all its replicas.
    pub(crate) write_rate: u64,
    /// Regions that it leads and that are read much, by their rate.
    pub(crate) hot_read: BTreeSet<(u64, RegionId)>,
    /// Replicas that are written much, by their rate.
    pub(crate) hot_write: BTreeSet<(u64, RegionId)>,
}

impl StoreLoad {
    pub(crate) fn bag(&self, part: Part) -> &Bag {
        match part {
            Part::Leader => &self.leaders,
            Part::Follower => &self.followers,
            Part::Learner => &self.learners,
        }
    }

    pub(crate) fn bag_mut(&mut self, part: Part) -> &mut Bag {
        match part {
            Part::Leader => &mut self.leaders,
            Part::Follower => &mut self.followers,
            Part::Learner => &mut self.learners,
        }
    }

    /// Replicas on the store.
    pub(crate) fn peers(&self) -> usize {
        self.leaders.len() + self.followers.len() + self.learners.len()
    }

    /// Takes a Region's weight on.
    pub(crate) fn add(&mut self, id: RegionId, part: Part, weight: Weight, heat: Heat) {
        self.peers_bytes += weight.size_bytes;
        self.write_rate += weight.write_rate;
        if heat.is_written {
            self.hot_write.insert((weight.write_rate, id));
        }
        if part == Part::Leader {
            self.read_rate += weight.read_rate;
            if heat.is_read {
                self.hot_read.insert((weight.read_rate, id));
            }
        }
    }

    /// Takes it off again.
    pub(crate) fn subtract(&mut self, id: RegionId, part: Part, weight: Weight) {
        self.peers_bytes -= weight.size_bytes;
        self.write_rate -= weight.write_rate;
        self.hot_write.remove(&(weight.write_rate, id));
        if part == Part::Leader {
            self.read_rate -= weight.read_rate;
            self.hot_read.remove(&(weight.read_rate, id));
        }
    }
}
