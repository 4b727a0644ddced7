//! What heartbeats report and a new leader may forget: who leads which Region, which stores are
//! alive, and how full their disks are.
//!
//! **Why it is not persisted.** Reports come again by themselves; writing each would cost a
//! replicated write for every Region and minute.
//!
//! **Invariants.** A Region's known term never goes back while this node leads. Everything known is
//! about a Region or store that is persisted, but for reports whose write is under way. `led` counts
//! `regions` by the stores of their leaders.
//!
//! **Not here.** The shapes of Regions: `routes`. How much a Region holds and how busy it is: no
//! store measures it yet.

use crate::error::Result;
use crate::message::{Now, RegionRoute, StoreView};
use crate::state::Durable;
use crate::{Config, Error, Liveness, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Peer, PeerId, Region, RegionId, StoreId};

/// A leader's report of its Region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionHeartbeat {
    /// The Region's shape.
    pub region: Region,
    /// Who reports: the Region's leader.
    pub leader: PeerId,
    /// The Raft term in which it leads.
    pub term: u64,
    /// Replicas that it has not heard of for long. Our own stores name none yet.
    pub down_peers: Vec<PeerId>,
    /// Replicas that are catching up. Our own stores name none yet.
    pub pending_peers: Vec<PeerId>,
}

/// A store's report of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Who reports.
    pub store_id: StoreId,
    /// Size of its disk.
    pub capacity_bytes: u64,
    /// What is left of it.
    pub available_bytes: u64,
    /// What the store uses of it.
    pub used_bytes: u64,
    /// Replicas on the store.
    pub region_count: u64,
    /// When its process started, in seconds since the Unix epoch.
    pub start_time_s: u64,
}

impl RegionHeartbeat {
    pub(crate) fn size_bytes(&self) -> usize {
        let range = self.region.range.start.len() + self.region.range.end.len();
        let peers = self.region.peers.len() * size_of::<Peer>();
        let lists = (self.down_peers.len() + self.pending_peers.len()) * size_of::<PeerId>();
        size_of::<Self>() + range + peers + lists
    }
}

/// The last report of a Region.
#[derive(Clone, Debug)]
struct RegionSeen {
    leader: PeerId,
    /// The leader's.
    store_id: StoreId,
    term: u64,
    down_peers: Vec<PeerId>,
    pending_peers: Vec<PeerId>,
}

/// The last report of a store.
#[derive(Clone, Copy, Debug)]
struct StoreSeen {
    at: Now,
    stats: StoreStats,
}

/// All that is known from heartbeats since this node leads.
#[derive(Debug)]
pub(crate) struct Observed {
    elected_at: Now,
    regions: BTreeMap<RegionId, RegionSeen>,
    /// How many Regions each store leads.
    led: BTreeMap<StoreId, u64>,
    stores: BTreeMap<StoreId, StoreSeen>,
}

impl Observed {
    /// Nothing is known at the time of an election.
    pub(crate) fn new(elected_at: Now) -> Self {
        Self {
            elected_at,
            regions: BTreeMap::new(),
            led: BTreeMap::new(),
            stores: BTreeMap::new(),
        }
    }

    /// Checks what a report says besides the Region's shape.
    pub(crate) fn check_region(&self, state: &Durable, heartbeat: &RegionHeartbeat) -> Result<()> {
        let region = &heartbeat.region;
        let invalid = |reason| {
            Err(Error::InvalidRegion {
                region_id: region.id,
                reason,
            })
        };
        if region.peer(heartbeat.leader).is_none() {
            return invalid("its leader is not one of its peers");
        }
        let mut listed = heartbeat.down_peers.iter().chain(&heartbeat.pending_peers);
        if listed.any(|id| region.peer(*id).is_none()) {
            return invalid("it lists a peer as down or pending that it does not have");
        }
        let lists = [&heartbeat.down_peers, &heartbeat.pending_peers];
        if lists
            .into_iter()
            .any(|list| list.len() > region.peers.len())
        {
            return invalid("it lists a peer twice");
        }
        for peer in &region.peers {
            state.stores.get(peer.store_id)?;
        }
        match self.regions.get(&region.id) {
            Some(seen) if heartbeat.term < seen.term => Err(Error::StaleTerm {
                region_id: region.id,
                reported: heartbeat.term,
                known: seen.term,
            }),
            _ => Ok(()),
        }
    }

    /// Remembers a report that was checked.
    pub(crate) fn record_region(&mut self, heartbeat: &RegionHeartbeat) {
        let region = &heartbeat.region;
        let Some(leader) = region.peer(heartbeat.leader) else {
            return;
        };
        self.forget_region(region.id);
        *self.led.entry(leader.store_id).or_default() += 1;
        let seen = RegionSeen {
            leader: leader.id,
            store_id: leader.store_id,
            term: heartbeat.term,
            down_peers: heartbeat.down_peers.clone(),
            pending_peers: heartbeat.pending_peers.clone(),
        };
        self.regions.insert(region.id, seen);
    }

    /// Forgets a Region that is gone.
    pub(crate) fn forget_region(&mut self, id: RegionId) {
        if let Some(seen) = self.regions.remove(&id)
            && let Some(led) = self.led.get_mut(&seen.store_id)
        {
            *led -= 1;
        }
    }

    /// Forgets reports of Regions that did not come to be.
    pub(crate) fn keep_regions_of(&mut self, state: &Durable) {
        let ids = self.regions.keys().copied();
        let gone: Vec<RegionId> = ids.filter(|id| state.routes.by_id(*id).is_none()).collect();
        for id in gone {
            self.forget_region(id);
        }
    }

    /// Remembers a store's report.
    pub(crate) fn record_store(&mut self, now: Now, stats: StoreStats) {
        self.stores
            .insert(stats.store_id, StoreSeen { at: now, stats });
    }

    /// A Region with what is known about it. What names a Peer that the shape does not have (yet) is
    /// left out.
    pub(crate) fn route(&self, region: &Arc<Region>) -> RegionRoute {
        let seen = self.regions.get(&region.id);
        let known = |peers: &[PeerId]| -> Vec<Peer> {
            peers
                .iter()
                .filter_map(|id| region.peer(*id))
                .copied()
                .collect()
        };
        RegionRoute {
            region: region.clone(),
            leader: seen.and_then(|seen| region.peer(seen.leader)).copied(),
            down_peers: seen.map_or_else(Vec::new, |seen| known(&seen.down_peers)),
            pending_peers: seen.map_or_else(Vec::new, |seen| known(&seen.pending_peers)),
        }
    }

    /// A store with what is known about it.
    pub(crate) fn store(&self, now: Now, config: &Config, store: &Store) -> StoreView {
        let seen = self.stores.get(&store.id);
        let last_ms = seen.map_or(self.elected_at, |seen| seen.at).monotonic_ms;
        let silent_ms = now.monotonic_ms.saturating_sub(last_ms);
        let liveness = if silent_ms >= config.store_down_ms {
            Liveness::Down
        } else if silent_ms >= config.store_disconnected_ms {
            Liveness::Disconnected
        } else {
            Liveness::Connected
        };
        StoreView {
            store: store.clone(),
            liveness,
            last_heartbeat_wall_ms: seen.map(|seen| seen.at.wall_ms),
            stats: seen.map(|seen| seen.stats),
            leader_count: self.led.get(&store.id).copied().unwrap_or(0),
        }
    }

    /// Checks the count of leaders.
    pub(crate) fn check_invariants(&self) {
        let mut led = self.led.clone();
        for seen in self.regions.values() {
            *led.get_mut(&seen.store_id).expect("a leader is counted") -= 1;
        }
        assert!(
            led.values().all(|left| *left == 0),
            "too many leaders: {led:?}"
        );
    }
}
