//! What heartbeats report and a new leader may forget: who leads which Region, how much each holds
//! and how busy it is, which stores are alive, and how full their disks are.
//!
//! **Why it is not persisted.** Reports come again by themselves; writing each would cost a
//! replicated write for every Region and minute.
//!
//! **Why it costs little.** A report changes the counters of its own Peers' stores and nothing else.
//! One that says the same as the last changes none.
//!
//! **Invariants.** A Region's known term never goes back while this node leads. Everything known is
//! about a Region or store that is persisted, but for reports whose write is under way, and for the
//! placement Region, whose shape nobody else keeps. `loads` is the sum of `regions`.
//!
//! **Not here.** The shapes of Regions that were promised to others: `routes`.

use crate::config::Config;
use crate::error::Result;
use crate::heartbeat::{RegionHeartbeat, StoreStats, Traffic};
use crate::load::{Heat, Part, StoreLoad, Weight};
use crate::message::{Now, RegionRoute};
use crate::settings::Settings;
use crate::state::Durable;
use crate::{Error, Liveness};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Peer, PeerId, PeerRole, Region, RegionId, StoreId};

/// An empty Region weighs so much: moving it is not for nothing.
const WEIGHT_BYTES_MIN: u64 = 1 << 20;
/// No Region has more, nor reads or writes more in a second, and a report may say anything. Of so much a
/// million Regions with five replicas each can be summed.
const WEIGHT_BYTES_MAX: u64 = 1 << 40;
/// Nothing is balanced before so many of a hundred Regions have reported to a new leader,
const PREPARED_PERCENT: usize = 80;
/// or before it has waited for them so long.
const PREPARED_MS: u64 = 300_000;

/// Replicas that are not well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ailing {
    down: Vec<PeerId>,
    pending: Vec<PeerId>,
    quarantined: Vec<PeerId>,
}

/// The last report of a Region.
#[derive(Clone, Debug)]
pub(crate) struct RegionSeen {
    pub(crate) region: Arc<Region>,
    leader: PeerId,
    term: u64,
    /// None where all are well, as most are.
    ailing: Option<Box<Ailing>>,
    /// As it was reported.
    pub(crate) size_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) weight: Weight,
    /// Reports in a row with much traffic.
    pub(crate) hot_reports: u32,
    /// When its range was first seen as it is, in milliseconds.
    pub(crate) range_since_ms: u64,
    /// Its place in the bags of its Peers' stores, Peer by Peer.
    places: Box<[u32]>,
}

impl RegionSeen {
    /// Who leads it.
    pub(crate) fn leader(&self) -> Peer {
        let leader = self.region.peer(self.leader).copied();
        leader.expect("a report names one of its own Peers as the leader")
    }

    pub(crate) fn down(&self) -> &[PeerId] {
        self.ailing.as_ref().map_or(&[], |ailing| &ailing.down)
    }

    pub(crate) fn pending(&self) -> &[PeerId] {
        self.ailing.as_ref().map_or(&[], |ailing| &ailing.pending)
    }

    pub(crate) fn quarantined(&self) -> &[PeerId] {
        self.ailing
            .as_ref()
            .map_or(&[], |ailing| &ailing.quarantined)
    }

    pub(crate) fn is_well(&self) -> bool {
        self.ailing.is_none()
    }

    /// Whether this replica is there, has caught up, and holds what it should.
    pub(crate) fn is_peer_well(&self, id: PeerId) -> bool {
        let ailing = [self.down(), self.pending(), self.quarantined()];
        !ailing.iter().any(|ids| ids.contains(&id))
    }

    fn part(&self, peer: &Peer) -> Part {
        match peer.role {
            _ if peer.id == self.leader => Part::Leader,
            PeerRole::Learner => Part::Learner,
            PeerRole::Voter | PeerRole::IncomingVoter | PeerRole::DemotingVoter => Part::Follower,
        }
    }
}

/// The last report of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreSeen {
    pub(crate) at: Now,
    pub(crate) stats: StoreStats,
    /// When it was last slow; zero if it never was.
    slow_at_ms: u64,
}

/// All that is known from heartbeats since this node leads.
#[derive(Debug)]
pub(crate) struct Observed {
    elected_at: Now,
    regions: BTreeMap<RegionId, RegionSeen>,
    loads: BTreeMap<StoreId, StoreLoad>,
    stores: BTreeMap<StoreId, StoreSeen>,
    /// Reports heard: of stores, and of Regions.
    heard: (u64, u64),
}

impl Observed {
    /// Nothing is known at the time of an election.
    pub(crate) fn new(elected_at: Now) -> Self {
        Self {
            elected_at,
            regions: BTreeMap::new(),
            loads: BTreeMap::new(),
            stores: BTreeMap::new(),
            heard: (0, 0),
        }
    }

    /// How many reports were heard of stores and of Regions, and how many Regions have reported.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let (stores, regions) = self.heard;
        (stores, regions, self.regions.len() as u64)
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
        let lists = [
            &heartbeat.down_peers,
            &heartbeat.pending_peers,
            &heartbeat.quarantined_peers,
        ];
        let mut listed = lists.into_iter().flatten();
        if listed.any(|id| region.peer(*id).is_none()) {
            return invalid(
                "it lists a peer as down, pending or quarantined that it does not have",
            );
        }
        if lists.iter().any(|list| list.len() > region.peers.len()) {
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

    /// Remembers a report that was checked; `region` is its shape.
    pub(crate) fn record_region(
        &mut self,
        now: Now,
        settings: &Settings,
        heartbeat: &RegionHeartbeat,
        region: Arc<Region>,
    ) {
        self.heard.1 += 1;
        let before = self.regions.remove(&region.id);
        let mut seen = seen_now(now, settings, heartbeat, region, before.as_ref());
        match before {
            Some(before)
                if before.leader == seen.leader && Arc::ptr_eq(&before.region, &seen.region) =>
            {
                seen.places = before.places.clone();
                self.reweigh(&before, &seen, settings);
            }
            before => {
                if let Some(before) = before {
                    self.unseat(&before);
                }
                self.seat(&mut seen, settings);
            }
        }
        self.regions.insert(seen.region.id, seen);
    }

    /// The Region has the same places as before, but perhaps another weight.
    fn reweigh(&mut self, before: &RegionSeen, seen: &RegionSeen, settings: &Settings) {
        let heat = heat(seen, settings);
        let is_same = before.weight == seen.weight && before.ailing == seen.ailing;
        if is_same && heat == self::heat(before, settings) {
            return;
        }
        for peer in &seen.region.peers {
            let part = seen.part(peer);
            let load = self.loads.entry(peer.store_id).or_default();
            load.subtract(seen.region.id, part, before.weight);
            load.add(seen.region.id, part, seen.weight, heat);
            load.pending -= u64::from(before.pending().contains(&peer.id));
            load.pending += u64::from(seen.pending().contains(&peer.id));
        }
    }

    fn seat(&mut self, seen: &mut RegionSeen, settings: &Settings) {
        let heat = heat(seen, settings);
        let mut places = Vec::with_capacity(seen.region.peers.len());
        for peer in &seen.region.peers {
            let part = seen.part(peer);
            let load = self.loads.entry(peer.store_id).or_default();
            load.add(seen.region.id, part, seen.weight, heat);
            load.pending += u64::from(seen.pending().contains(&peer.id));
            let bag = load.bag_mut(part);
            places.push(u32::try_from(bag.len()).expect("a store has fewer than 2^32 Regions"));
            bag.push(seen.region.id);
        }
        seen.places = places.into();
    }

    fn unseat(&mut self, seen: &RegionSeen) {
        for (peer, place) in seen.region.peers.iter().zip(&seen.places) {
            let part = seen.part(peer);
            let load = self.loads.entry(peer.store_id).or_default();
            load.subtract(seen.region.id, part, seen.weight);
            load.pending -= u64::from(seen.pending().contains(&peer.id));
            let bag = load.bag_mut(part);
            bag.swap_remove(*place as usize);
            let Some(moved) = bag.get(*place as usize) else {
                continue;
            };
            let moved = self
                .regions
                .get_mut(moved)
                .expect("a bag holds what was seen");
            let mut peers = moved.region.peers.iter();
            let at = peers.position(|other| other.store_id == peer.store_id);
            moved.places[at.expect("it has a Peer on the store")] = *place;
        }
    }

    /// Forgets a Region that is gone.
    pub(crate) fn forget_region(&mut self, id: RegionId) {
        if let Some(seen) = self.regions.remove(&id) {
            self.unseat(&seen);
        }
    }

    /// Forgets reports of Regions that did not come to be; returns which.
    pub(crate) fn keep_regions_of(&mut self, state: &Durable) -> Vec<RegionId> {
        let ids = self.regions.keys().copied();
        let is_gone =
            |id: &RegionId| *id != RegionId::PLACEMENT && state.routes.by_id(*id).is_none();
        let gone: Vec<RegionId> = ids.filter(is_gone).collect();
        for id in &gone {
            self.forget_region(*id);
        }
        gone
    }

    /// Remembers a store's report.
    pub(crate) fn record_store(&mut self, now: Now, settings: &Settings, stats: StoreStats) {
        self.heard.0 += 1;
        let before = self.stores.get(&stats.store_id);
        let slow_at_ms = if stats.slow_score >= settings.slow_store_score {
            now.monotonic_ms.max(1)
        } else {
            before.map_or(0, |before| before.slow_at_ms)
        };
        let mut stats = stats;
        if let Some(before) = before.filter(|_| stats.traffic.interval_s == 0) {
            stats.traffic = before.stats.traffic;
        }
        let seen = StoreSeen {
            at: now,
            stats,
            slow_at_ms,
        };
        self.stores.insert(stats.store_id, seen);
    }

    /// Forgets a store that is gone.
    pub(crate) fn forget_store(&mut self, id: StoreId) {
        self.stores.remove(&id);
    }

    /// The last report of a Region.
    pub(crate) fn region(&self, id: RegionId) -> Option<&RegionSeen> {
        self.regions.get(&id)
    }

    /// The stores with a replica of the placement Region; none as long as that is not known. A driver whose
    /// own state is kept elsewhere has none.
    pub(crate) fn placement_stores(&self, config: &Config) -> Option<Vec<StoreId>> {
        let first = &config.bootstrap.regions;
        match self.regions.get(&RegionId::PLACEMENT) {
            Some(seen) => Some(seen.region.peers.iter().map(|peer| peer.store_id).collect()),
            None if first.iter().any(|region| region.id == RegionId::PLACEMENT) => None,
            None => Some(Vec::new()),
        }
    }

    /// What a store carries, if any Region on it has reported.
    pub(crate) fn load(&self, id: StoreId) -> Option<&StoreLoad> {
        self.loads.get(&id)
    }

    /// The last report of a store.
    pub(crate) fn store(&self, id: StoreId) -> Option<&StoreSeen> {
        self.stores.get(&id)
    }

    /// Whether enough is known to balance, of so many Regions.
    pub(crate) fn is_prepared(&self, now: Now, regions: usize) -> bool {
        let waited_ms = now
            .monotonic_ms
            .saturating_sub(self.elected_at.monotonic_ms);
        self.regions.len() * 100 >= regions * PREPARED_PERCENT || waited_ms >= PREPARED_MS
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
            down_peers: seen.map_or_else(Vec::new, |seen| known(seen.down())),
            pending_peers: seen.map_or_else(Vec::new, |seen| known(seen.pending())),
            quarantined_peers: seen.map_or_else(Vec::new, |seen| known(seen.quarantined())),
            approximate_size_bytes: seen.map_or(0, |seen| seen.size_bytes),
            approximate_keys: seen.map_or(0, |seen| seen.keys),
        }
    }

    /// Whether a store has been heard of lately.
    pub(crate) fn liveness(&self, now: Now, settings: &Settings, id: StoreId) -> Liveness {
        let seen = self.stores.get(&id);
        let last_ms = seen.map_or(self.elected_at, |seen| seen.at).monotonic_ms;
        let silent_ms = now.monotonic_ms.saturating_sub(last_ms);
        if silent_ms >= settings.store_down_ms {
            Liveness::Down
        } else if silent_ms >= settings.store_disconnected_ms {
            Liveness::Disconnected
        } else {
            Liveness::Connected
        }
    }

    /// Whether a store is slow, or was until lately.
    pub(crate) fn is_slow(&self, now: Now, settings: &Settings, id: StoreId) -> bool {
        self.stores.get(&id).is_some_and(|seen| {
            let since_ms = now.monotonic_ms.saturating_sub(seen.slow_at_ms);
            let is_slow = seen.stats.slow_score >= settings.slow_store_score;
            is_slow || (seen.slow_at_ms > 0 && since_ms < settings.slow_store_recovery_ms)
        })
    }

    /// Checks that the loads are the sum of the Regions.
    pub(crate) fn check_invariants(&self) {
        let mut peers: BTreeMap<StoreId, (usize, u64, u64, u64)> = BTreeMap::new();
        for (id, seen) in &self.regions {
            assert_eq!(*id, seen.region.id);
            for (peer, place) in seen.region.peers.iter().zip(&seen.places) {
                let bag = self.loads[&peer.store_id].bag(seen.part(peer));
                assert_eq!(bag[*place as usize], *id);
                let sum = peers.entry(peer.store_id).or_default();
                sum.0 += 1;
                sum.1 += seen.weight.size_bytes;
                sum.2 += seen.weight.write_rate;
                sum.3 += u64::from(seen.pending().contains(&peer.id));
            }
        }
        for (store, load) in &self.loads {
            let found = (
                load.peers(),
                load.peers_bytes,
                load.write_rate,
                load.pending,
            );
            let sum = peers.get(store).copied().unwrap_or_default();
            assert_eq!(
                found, sum,
                "the load of store {store} is not what it carries"
            );
        }
    }
}

fn heat(seen: &RegionSeen, settings: &Settings) -> Heat {
    let is_lasting = u64::from(seen.hot_reports) >= settings.hot_region_reports;
    let is_much = |rate: u64| is_lasting && rate >= settings.hot_region_rate_bytes;
    Heat {
        is_read: is_much(seen.weight.read_rate),
        is_written: is_much(seen.weight.write_rate),
    }
}

fn seen_now(
    now: Now,
    settings: &Settings,
    heartbeat: &RegionHeartbeat,
    region: Arc<Region>,
    before: Option<&RegionSeen>,
) -> RegionSeen {
    let same_range = before.filter(|before| before.region.epoch.version == region.epoch.version);
    let traffic = &heartbeat.traffic;
    let old = before.map_or_else(Weight::default, |before| before.weight);
    let size_bytes = heartbeat.approximate_size_bytes.min(WEIGHT_BYTES_MAX);
    let weight = Weight {
        size_bytes: size_bytes.max(WEIGHT_BYTES_MIN),
        read_rate: rate(old.read_rate, traffic, traffic.read_bytes),
        write_rate: rate(old.write_rate, traffic, traffic.written_bytes),
    };
    let is_busy = weight.read_rate.max(weight.write_rate) >= settings.hot_region_rate_bytes;
    let ailing = Ailing {
        down: heartbeat.down_peers.clone(),
        pending: heartbeat.pending_peers.clone(),
        quarantined: heartbeat.quarantined_peers.clone(),
    };
    RegionSeen {
        region,
        leader: heartbeat.leader,
        term: heartbeat.term,
        ailing: (ailing != Ailing::default()).then(|| Box::new(ailing)),
        size_bytes,
        keys: heartbeat.approximate_keys,
        weight,
        hot_reports: match before {
            // One that measured nothing says as little of how long that has lasted.
            Some(before) if is_busy => {
                let more = u32::from(traffic.interval_s > 0);
                before.hot_reports.saturating_add(more)
            }
            _ => u32::from(is_busy),
        },
        range_since_ms: same_range.map_or(now.monotonic_ms, |before| before.range_since_ms),
        places: Box::default(),
    }
}

/// A rate in bytes a second: half of what it was and half of what is reported. A report without an
/// interval says nothing about it.
fn rate(before: u64, traffic: &Traffic, bytes: u64) -> u64 {
    match bytes.checked_div(traffic.interval_s) {
        Some(rate) => before / 2 + rate.min(WEIGHT_BYTES_MAX) / 2,
        None => before,
    }
}
