//! Consistency checks on a store: views that are pinned by appliers are hashed on a thread of their own,
//! and the Regions that are led here are checked one after the other.
//!
//! **Cost.** A view keeps files of the engine alive, so only a few wait at the same time; of further ones
//! the leaders hear that there is no hash. All hashing of a store shares one bound on bytes a second.
//!
//! **Invariants.** For every view that was pinned its Peer hears once how it ended, until the store stops.
//! In the background one Region of a store is checked at a time.
//!
//! **Not here.** What is hashed, and what follows (`raftstore::op::consistency`).

mod hashing;
mod rounds;

pub use hashing::{HashTask, HashWork, Hashed};

pub(crate) use hashing::{HashQueue, HashThread, Pinned, hash_is_missing};
pub(crate) use rounds::{check_in_rounds, log_difference};

use parking_lot::Mutex;
use raftstore::op::consistency::Quarantine;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use types::{PeerId, RegionId};

/// How often what is checked, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsistencyOptions {
    /// Time between two checks that the store begins by itself (`consistency-check-interval`); zero: it
    /// begins none.
    pub interval: Duration,
    /// Bytes a second that are read for all checks; zero: as fast as it goes.
    pub bytes_per_s_max: u64,
}

impl Default for ConsistencyOptions {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            bytes_per_s_max: 32 << 20,
        }
    }
}

/// The quarantined replicas of one store. Clones are the same.
#[derive(Clone, Default)]
pub struct Quarantines(Arc<Mutex<BTreeMap<RegionId, Quarantine>>>);

impl Quarantines {
    /// A replica here is quarantined, or one that is about to be made.
    pub fn insert(&self, region: RegionId, quarantine: Quarantine) {
        self.0.lock().insert(region, quarantine);
    }

    /// Why this replica of a Region is quarantined, if it is.
    pub(crate) fn of(&self, region: RegionId, peer: PeerId) -> Option<Quarantine> {
        let found = self.0.lock().get(&region).copied();
        found.filter(|quarantine| quarantine.peer_id == peer)
    }

    /// The replica is gone.
    pub(crate) fn remove(&self, region: RegionId) {
        self.0.lock().remove(&region);
    }

    /// All of them, by Region.
    pub fn list(&self) -> Vec<(RegionId, Quarantine)> {
        let all = self.0.lock();
        all.iter().map(|(region, one)| (*region, *one)).collect()
    }
}
