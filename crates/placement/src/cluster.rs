//! What checkers and schedulers decide by: which stores may be given what, and how much each has,
//! with what operators are going to bring and take.
//!
//! **Invariant.** Nothing here looks at all Regions: scores are counters that heartbeats keep.
//!
//! **Not here.** Decisions.

use crate::config::Config;
use crate::health::{Health, is_joint};
use crate::labels;
use crate::observed::RegionSeen;
use crate::operators::Operators;
use crate::stores::{Store, StoreState};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use types::{PeerRole, RegionId, StoreId};

/// No store has a larger disk, whatever it says: the sum over all stores has to fit.
const DISK_BYTES_MAX: u64 = 1 << 50;

/// What is known at one moment, and what is under way.
#[derive(Clone, Copy)]
pub(crate) struct Cluster<'a> {
    pub(crate) health: Health<'a>,
    pub(crate) config: &'a Config,
    pub(crate) operators: &'a Operators,
    /// Stores that are to lead nothing.
    pub(crate) evicted: &'a BTreeSet<StoreId>,
}

impl<'a> Cluster<'a> {
    fn store(&self, id: StoreId) -> Option<&'a Store> {
        self.health.state.stores.get(id).ok().map(|store| &**store)
    }

    /// Whether a store takes part in balance: it is in service, and there.
    pub(crate) fn is_up(&self, store: &Store) -> bool {
        let in_service = store.state == StoreState::Up && store.is_registered();
        in_service && self.health.is_alive(store.id)
    }

    /// The stores that take part in balance.
    pub(crate) fn up(&self) -> Vec<StoreId> {
        let stores = self.health.stores().filter(|store| self.is_up(store));
        stores.map(|store| store.id).collect()
    }

    /// Whether a store may be given the leadership of a Region.
    pub(crate) fn can_lead(&self, id: StoreId) -> bool {
        let is_up = self.store(id).is_some_and(|store| self.is_up(store));
        let seen = self.health.observed.store(id);
        let is_busy = seen.is_some_and(|seen| seen.stats.is_busy);
        is_up && !is_busy && !self.evicted.contains(&id)
    }

    /// Whether a store may be given a replica.
    pub(crate) fn can_receive(&self, store: &Store) -> bool {
        let settings = self.health.settings;
        let Some(seen) = self.health.observed.store(store.id) else {
            return false;
        };
        let stats = &seen.stats;
        let snapshots = stats.sending_snapshots.max(stats.receiving_snapshots);
        let snapshots = snapshots.max(stats.applying_snapshots);
        let load = self.health.observed.load(store.id);
        let pending = load.map_or(0, |load| load.pending);
        self.is_up(store)
            && !stats.is_busy
            && !self.evicted.contains(&store.id)
            && !self.is_low_on_space(store.id)
            && snapshots < settings.max_snapshot_count
            && pending < settings.max_pending_peer_count
            && self.operators.allows_add(&self.health, store.id)
    }

    /// The stores that may be given a replica.
    pub(crate) fn receivers(&self) -> Vec<StoreId> {
        let able = self.health.stores().filter(|store| self.can_receive(store));
        able.map(|store| store.id).collect()
    }

    fn is_low_on_space(&self, id: StoreId) -> bool {
        self.health.observed.store(id).is_some_and(|seen| {
            let stats = &seen.stats;
            let used = stats.capacity_bytes.saturating_sub(stats.available_bytes);
            let limit = self.health.settings.low_space_percent;
            u128::from(used) * 100 > u128::from(stats.capacity_bytes) * u128::from(limit)
        })
    }

    /// How many bytes of replicas a store has. One whose disk is nearly full counts as having a whole
    /// disk more than it has.
    pub(crate) fn region_score(&self, id: StoreId) -> i64 {
        let load = self.health.observed.load(id);
        let bytes = load.map_or(0, |load| load.peers_bytes);
        let seen = self
            .health
            .observed
            .store(id)
            .filter(|_| self.is_low_on_space(id));
        let penalty = seen.map_or(0, |seen| seen.stats.capacity_bytes.min(DISK_BYTES_MAX));
        signed(bytes.saturating_add(penalty)) + self.operators.influence(id).peers_bytes
    }

    /// How many Regions a store leads.
    pub(crate) fn leader_score(&self, id: StoreId) -> i64 {
        let load = self.health.observed.load(id);
        let leaders = load.map_or(0, |load| load.leaders.len() as u64);
        signed(leaders) + self.operators.influence(id).leaders
    }

    /// A Region of the clients' that is as it should be, and that nobody is at work on. The placement
    /// Region is repaired, but moved for no other reason: its next leader would have to hear all reports
    /// again.
    pub(crate) fn idle(&self, id: RegionId) -> Option<&'a RegionSeen> {
        if id == RegionId::PLACEMENT {
            return None;
        }
        let seen = self.health.observed.region(id)?;
        let region = &seen.region;
        let replicas = self.health.settings.max_replicas;
        let are_voters = || region.peers.iter().all(|peer| peer.role == PeerRole::Voter);
        let is_idle = seen.is_well()
            && region.peers.len() as u64 == replicas
            && !is_joint(region)
            && are_voters()
            && self.operators.get(id).is_none();
        is_idle.then_some(seen)
    }

    /// How far a store is from the others.
    pub(crate) fn isolation(&self, store: StoreId, others: &[StoreId]) -> u64 {
        let Some(store) = self.store(store) else {
            return 0;
        };
        let others = others.iter().filter_map(|id| self.store(*id));
        labels::isolation(&self.health.settings.location_labels, store, others)
    }

    /// The best of the stores that may be given a replica of the Region, beside those that it keeps:
    /// the furthest from them, and of these the one that has least.
    pub(crate) fn best_target(&self, seen: &RegionSeen, kept: &[StoreId]) -> Option<StoreId> {
        let is_new = |store: &&&Store| seen.region.peer_on(store.id).is_none();
        let stores = self.health.stores().map(|store| &**store);
        let stores: Vec<&Store> = stores.collect();
        let able = stores
            .iter()
            .filter(is_new)
            .filter(|store| self.can_receive(store));
        let ids = able.map(|store| store.id);
        let rank = |id: &StoreId| {
            let isolation = Reverse(self.isolation(*id, kept));
            (isolation, self.region_score(*id), *id)
        };
        ids.min_by_key(rank)
    }

    /// The best of these stores to lead a Region that has a replica on each.
    pub(crate) fn best_leader(&self, seen: &RegionSeen, stores: &[StoreId]) -> Option<StoreId> {
        let is_able = |id: &StoreId| {
            let peer = seen.region.peer_on(*id);
            let is_well = peer.is_none_or(|peer| seen.is_peer_well(peer.id));
            is_well && self.can_lead(*id)
        };
        let able = stores.iter().copied().filter(is_able);
        able.min_by_key(|id| (self.leader_score(*id), *id))
    }

    /// Differences between stores that are left alone, if the stores have `total` together.
    pub(crate) fn tolerance(&self, total: i64, stores: usize) -> i64 {
        let percent = signed(self.health.settings.balance_tolerance_percent);
        total / (stores.max(1) as i64) / 100 * percent
    }
}

/// A number that fits, or the greatest that does.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number)
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4)
}
