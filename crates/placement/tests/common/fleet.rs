//! A placement driver with simulated stores: Regions that report and do what they are told.
//!
//! **What it checks by itself**, at each instruction: it is for the Region as it is, no store gets two
//! replicas, and a majority of those who vote afterwards has caught up and is alive, as far as that can
//! be known.

#![allow(dead_code, reason = "each user takes a part of it")]

use placement::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::*;

pub const MIB: u64 = 1 << 20;
const TICK_MS: u64 = 50;
const REGION_HEARTBEAT_MS: u64 = 60_000;
const STORE_HEARTBEAT_MS: u64 = 10_000;
/// A store that has been dead for so long has been missed.
const SILENT_MS: u64 = 35_000;
const SLOTS: usize = (REGION_HEARTBEAT_MS / TICK_MS) as usize;

#[derive(Clone, Debug)]
pub struct SimStore {
    pub store: Store,
    pub is_alive: bool,
    /// When it died last.
    died_ms: u64,
    pub stats: StoreStats,
}

#[derive(Clone, Debug)]
pub struct SimRegion {
    pub region: Region,
    pub leader: PeerId,
    pub term: u64,
    pub size_bytes: u64,
    pub keys: u64,
    pub read_rate: u64,
    pub write_rate: u64,
    /// Replicas that are being copied, and when they are there.
    copying: Vec<(PeerId, u64)>,
    /// A replica on a store that is dead for long is reported so.
    reported_ms: u64,
}

/// What leaders were told and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub heartbeats: u64,
    pub replicas_added: u64,
    pub replicas_removed: u64,
    pub transfers: u64,
    pub merges: u64,
    pub splits: u64,
}

impl Done {
    fn changes(&self) -> Self {
        Self {
            heartbeats: 0,
            ..*self
        }
    }
}

pub struct Fleet {
    pub placement: Placement,
    config: Config,
    pub now: Now,
    term: u64,
    pub stores: BTreeMap<StoreId, SimStore>,
    pub regions: BTreeMap<RegionId, SimRegion>,
    /// How long a new replica is copied.
    pub copy_ms: u64,
    /// Whether instructions beside answers arrive.
    pub hears_at_once: bool,
    /// Replicas that their leaders report as quarantined.
    pub quarantined: BTreeSet<PeerId>,
    slots: Vec<Vec<RegionId>>,
    events: BTreeMap<u64, BTreeSet<RegionId>>,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    last_request: u64,
    pub done: Done,
    pub notices: Vec<Notice>,
}

/// The cluster to begin with.
pub struct Plan {
    pub stores: u64,
    pub regions: u64,
    /// The stores of the Region with this number; the first leads.
    pub places: fn(u64) -> Vec<u64>,
    pub size_bytes: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            stores: 3,
            regions: 1,
            places: |_| vec![1, 2, 3],
            size_bytes: 96 * MIB,
        }
    }
}

fn key(at: u64) -> Vec<u8> {
    at.to_be_bytes().to_vec()
}

pub fn first_regions(plan: &Plan) -> Vec<Region> {
    let region = |at: u64| Region {
        id: RegionId(1_000 + at),
        range: KeyRange {
            start: if at == 0 { Vec::new() } else { key(at) },
            end: if at + 1 == plan.regions {
                Vec::new()
            } else {
                key(at + 1)
            },
        },
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        peers: (plan.places)(at)
            .iter()
            .enumerate()
            .map(|(nth, store)| Peer {
                id: PeerId(10_000_000 + at * 10 + nth as u64),
                store_id: StoreId(*store),
                role: PeerRole::Voter,
            })
            .collect(),
    };
    (0..plan.regions).map(region).collect()
}

fn new_store(id: u64) -> SimStore {
    SimStore {
        store: Store {
            id: StoreId(id),
            address: format!("10.0.0.{id}:20160"),
            version: "0.1.0".to_string(),
            start_time_s: 900,
            ..Store::default()
        },
        is_alive: true,
        died_ms: 0,
        stats: StoreStats {
            store_id: StoreId(id),
            capacity_bytes: 100_000_000 * MIB,
            available_bytes: 100_000_000 * MIB,
            ..StoreStats::default()
        },
    }
}

impl Fleet {
    /// A cluster whose leader is elected, and to which all have reported once.
    pub fn new(plan: &Plan) -> Self {
        Self::with(plan, |_| {})
    }

    pub fn with(plan: &Plan, configure: impl FnOnce(&mut Settings)) -> Self {
        Self::with_config(plan, |config| configure(&mut config.settings))
    }

    pub fn with_config(plan: &Plan, configure: impl FnOnce(&mut Config)) -> Self {
        let stores: BTreeMap<StoreId, SimStore> = (1..=plan.stores)
            .map(|id| (StoreId(id), new_store(id)))
            .collect();
        let unregistered = |store: &SimStore| Store {
            start_time_s: 0,
            ..store.store.clone()
        };
        let regions = first_regions(plan);
        let mut config = Config::new(Bootstrap {
            cluster_id: ClusterId(77),
            stores: stores.values().map(unregistered).collect(),
            regions: regions.clone(),
        });
        config.kept_boundaries.clear();
        config.pending_bytes_max = usize::MAX / 2;
        config.write_bytes_max = usize::MAX / 2;
        configure(&mut config);
        let mut fleet = Self {
            placement: Placement::new(config.clone()),
            config,
            now: Now {
                monotonic_ms: 1_000,
                wall_ms: 1_700_000_000_000,
            },
            term: 0,
            stores,
            regions: BTreeMap::new(),
            copy_ms: 2_000,
            hears_at_once: true,
            quarantined: BTreeSet::new(),
            slots: vec![Vec::new(); SLOTS],
            events: BTreeMap::new(),
            disk: BTreeMap::new(),
            last_request: 0,
            done: Done::default(),
            notices: Vec::new(),
        };
        for region in regions {
            let leader = region.peers[0].id;
            fleet.place(region, leader, plan.size_bytes);
        }
        fleet.elect();
        fleet
    }

    pub fn place(&mut self, region: Region, leader: PeerId, size_bytes: u64) {
        let id = region.id;
        self.slots[id.get() as usize % SLOTS].push(id);
        let region = SimRegion {
            region,
            leader,
            term: 6,
            size_bytes,
            keys: size_bytes / 1_000,
            read_rate: 0,
            write_rate: 0,
            copying: Vec::new(),
            reported_ms: self.now.monotonic_ms,
        };
        self.regions.insert(id, region);
    }

    /// Another placement leader, who knows only what is persisted; all report to it.
    pub fn elect(&mut self) {
        self.elect_silently();
        let ids: Vec<RegionId> = self.regions.keys().copied().collect();
        for id in ids {
            self.heartbeat(id);
        }
    }

    /// The same, but Regions report only when it is their time.
    pub fn elect_silently(&mut self) {
        self.placement = Placement::new(self.config.clone());
        self.term += 1;
        self.input(Input::Elected { term: self.term });
        let state = self.disk.clone().into_iter().collect();
        self.input(Input::Loaded {
            term: self.term,
            state,
        });
        let ids: Vec<StoreId> = self.stores.keys().copied().collect();
        for id in ids {
            // A tombstone is refused.
            if self.stores[&id].is_alive && self.register(id).is_ok() {
                self.store_heartbeat(id).unwrap();
            }
        }
    }

    /// A store joins.
    pub fn join(&mut self) -> StoreId {
        let Ok(Response::Id(id)) = self.ask(Request::AllocId) else {
            panic!("no id");
        };
        self.stores.insert(StoreId(id), new_store(id));
        self.register(StoreId(id)).unwrap();
        self.store_heartbeat(StoreId(id)).unwrap();
        StoreId(id)
    }

    pub fn register(&mut self, id: StoreId) -> Result<Response, Error> {
        let store = self.stores[&id].store.clone();
        self.ask(Request::PutStore(store))
    }

    pub fn store_heartbeat(&mut self, id: StoreId) -> Result<Response, Error> {
        let stats = self.stores[&id].stats;
        self.ask(Request::StoreHeartbeat(stats))
    }

    /// A store's process ends. Others lead its Regions, where enough are left.
    pub fn kill(&mut self, id: StoreId) {
        let store = self.stores.get_mut(&id).unwrap();
        store.is_alive = false;
        store.died_ms = self.now.monotonic_ms;
        let led: Vec<RegionId> = self
            .regions
            .values()
            .filter(|region| region.leader_store() == id)
            .map(|region| region.region.id)
            .collect();
        for region_id in led {
            let region = &self.regions[&region_id];
            let voters = region.voters();
            let alive: Vec<&Peer> = voters
                .iter()
                .filter(|peer| self.stores[&peer.store_id].is_alive)
                .collect();
            if alive.len() * 2 > voters.len() {
                let leader = alive[region_id.get() as usize % alive.len()].id;
                let region = self.regions.get_mut(&region_id).unwrap();
                region.leader = leader;
                region.term += 1;
                self.report_in(region_id, 10_000);
            }
        }
    }

    fn report_in(&mut self, id: RegionId, after_ms: u64) {
        let at = self.now.monotonic_ms + after_ms;
        self.events.entry(at).or_default().insert(id);
    }

    /// Asks, and answers everything that the driver asks of its host.
    pub fn ask(&mut self, request: Request) -> Result<Response, Error> {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let reply = self.input(Input::Request { id, request });
        reply.expect("everything is answered at once here")
    }

    pub fn control(&mut self, control: Control) -> Result<Response, Error> {
        self.ask(Request::Control(Box::new(control)))
    }

    fn input(&mut self, input: Input) -> Option<Result<Response, Error>> {
        let mut inputs = VecDeque::from([input]);
        let mut reply = None;
        let mut effects = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.placement.step(self.now, input, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Persist { write, puts } => {
                        for (key, value) in puts {
                            match value {
                                Some(value) => self.disk.insert(key, value),
                                None => self.disk.remove(&key),
                            };
                        }
                        let result = Ok(());
                        inputs.push_back(Input::Persisted { write, result });
                    }
                    Effect::Confirm { confirm } => {
                        let leads = true;
                        inputs.push_back(Input::Confirmed { confirm, leads });
                    }
                    Effect::Reply { result, .. } => {
                        assert!(reply.is_none(), "one request, one answer");
                        reply = Some(result);
                    }
                    Effect::Notice(notice) => self.notices.push(notice),
                    Effect::Instruct(told) if self.hears_at_once => self.perform(&told),
                    Effect::Instruct(_) => {}
                }
            }
        }
        reply
    }

    /// A Region reports, if its leader is there, and does what it is told.
    pub fn heartbeat(&mut self, id: RegionId) {
        let now_ms = self.now.monotonic_ms;
        let Some(region) = self.regions.get_mut(&id) else {
            return;
        };
        if !self.stores[&region.leader_store()].is_alive {
            return;
        }
        region.copying.retain(|(_, until_ms)| *until_ms > now_ms);
        let interval_s = (now_ms - region.reported_ms) / 1_000;
        region.reported_ms += interval_s * 1_000;
        let heartbeat = RegionHeartbeat {
            region: region.region.clone(),
            leader: region.leader,
            term: region.term,
            pending_peers: region.copying.iter().map(|(id, _)| *id).collect(),
            quarantined_peers: region
                .region
                .peers
                .iter()
                .map(|peer| peer.id)
                .filter(|id| self.quarantined.contains(id))
                .collect(),
            approximate_size_bytes: region.size_bytes,
            approximate_keys: region.keys,
            traffic: Traffic {
                interval_s,
                written_bytes: region.write_rate * interval_s,
                read_bytes: region.read_rate * interval_s,
                ..Traffic::default()
            },
            ..RegionHeartbeat::default()
        };
        self.done.heartbeats += 1;
        match self.ask(Request::RegionHeartbeat(Box::new(heartbeat))) {
            Ok(Response::Instruction(told)) => self.perform(&told),
            Ok(Response::Done) => {}
            // What the other half of a merge or split has reported first.
            Err(Error::StaleRegion { .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The followers of a Region miss so much that it takes them a while to catch up; it reports.
    pub fn fall_behind(&mut self, id: RegionId, for_ms: u64) {
        let until_ms = self.now.monotonic_ms + for_ms;
        let region = self.regions.get_mut(&id).unwrap();
        let leader = region.leader;
        let followers = region.region.peers.iter().filter(|peer| peer.id != leader);
        let copying: Vec<_> = followers.map(|peer| (peer.id, until_ms)).collect();
        region.copying = copying;
        self.heartbeat(id);
    }

    /// What the leader of a Region does with an instruction.
    fn perform(&mut self, told: &RegionInstruction) {
        let Some(region) = self.regions.get_mut(&told.region_id) else {
            return;
        };
        if region.region.epoch != told.epoch || region.leader != told.leader.id {
            return;
        }
        let voters = region.voters();
        let alive = voters
            .iter()
            .filter(|peer| self.stores[&peer.store_id].is_alive);
        if alive.count() * 2 <= voters.len() {
            // Nothing is committed.
            return;
        }
        match &told.instruction {
            Instruction::ChangePeers(changes) => self.change_peers(told.region_id, changes),
            Instruction::TransferLeader { to } => {
                let there = region.region.peer(to.id).expect("it has a replica there");
                assert_ne!(there.role, PeerRole::Learner, "a learner can't lead");
                if region.leader != to.id && self.stores[&to.store_id].is_alive {
                    region.leader = to.id;
                    region.term += 1;
                    self.done.transfers += 1;
                }
            }
            Instruction::Merge { target } => self.merge(told.region_id, target),
            Instruction::Split { keys } => self.split(told.region_id, keys),
        }
        self.report_in(told.region_id, TICK_MS);
    }

    fn change_peers(&mut self, id: RegionId, changes: &[PeerChange]) {
        let until_ms = self.now.monotonic_ms + self.copy_ms;
        let region = self.regions.get_mut(&id).unwrap();
        let joint = changes.len() > 1;
        if changes.is_empty() {
            let leader = region.region.peer(region.leader).unwrap();
            assert_ne!(leader.role, PeerRole::DemotingVoter, "it leads and can't");
            region.leave_joint();
        }
        for change in changes {
            let peers = &mut region.region.peers;
            let at = peers.iter().position(|peer| peer.id == change.peer.id);
            match (change.kind, at) {
                (PeerChangeKind::Remove, Some(at)) => {
                    assert_ne!(
                        region.leader, change.peer.id,
                        "a leader can't remove itself"
                    );
                    peers.remove(at);
                    region.copying.retain(|(id, _)| *id != change.peer.id);
                    self.done.replicas_removed += 1;
                }
                (PeerChangeKind::Remove, None) => panic!("{change:?} of {region:?}"),
                (PeerChangeKind::AddLearner, None) => {
                    peers.push(change.peer);
                    region.copying.push((change.peer.id, until_ms));
                    self.done.replicas_added += 1;
                }
                (PeerChangeKind::AddVoter, None) => panic!("a voter that was no learner"),
                (PeerChangeKind::AddVoter, Some(at)) => {
                    assert_eq!(peers[at].role, PeerRole::Learner);
                    peers[at].role = if joint {
                        PeerRole::IncomingVoter
                    } else {
                        PeerRole::Voter
                    };
                }
                (PeerChangeKind::AddLearner, Some(at)) => {
                    assert!(joint, "a voter is demoted in a joint configuration only");
                    assert_ne!(
                        region.leader, change.peer.id,
                        "a leader can't demote itself"
                    );
                    peers[at].role = PeerRole::DemotingVoter;
                }
            }
            region.region.epoch.conf_ver += 1;
        }
        self.check_shape(id, changes);
        if changes
            .iter()
            .any(|change| change.kind == PeerChangeKind::AddLearner)
        {
            self.report_in(id, self.copy_ms);
        }
    }

    fn check_shape(&self, id: RegionId, changes: &[PeerChange]) {
        let region = &self.regions[&id];
        let stores: BTreeSet<StoreId> = region.region.peers.iter().map(|p| p.store_id).collect();
        assert_eq!(
            stores.len(),
            region.region.peers.len(),
            "two replicas on a store"
        );
        let voters = region.voters();
        let is_well = |peer: &&Peer| {
            let is_copied = region.copying.iter().all(|(id, _)| *id != peer.id);
            let store = &self.stores[&peer.store_id];
            is_copied && (store.is_alive || self.now.monotonic_ms - store.died_ms < SILENT_MS)
        };
        let well = voters.iter().filter(is_well).count();
        let takes_votes = changes
            .iter()
            .any(|change| change.kind != PeerChangeKind::AddLearner);
        assert!(
            !takes_votes || well * 2 > voters.len(),
            "{region:?} has no majority after {changes:?}"
        );
    }

    fn merge(&mut self, id: RegionId, target: &Region) {
        let source = self.regions[&id].clone();
        let Some(into) = self.regions.get_mut(&target.id) else {
            return;
        };
        if into.region.epoch != target.epoch {
            return;
        }
        let stores = |region: &Region| -> BTreeSet<StoreId> {
            region.peers.iter().map(|peer| peer.store_id).collect()
        };
        assert_eq!(stores(&source.region), stores(&into.region), "other stores");
        let (from, to) = (&source.region.range, &mut into.region.range);
        if from.end == to.start {
            to.start = from.start.clone();
        } else {
            assert_eq!(to.end, from.start, "they do not touch");
            to.end = from.end.clone();
        }
        let version = into.region.epoch.version.max(source.region.epoch.version);
        into.region.epoch.version = version + 1;
        into.size_bytes += source.size_bytes;
        into.keys += source.keys;
        self.regions.remove(&id);
        self.done.merges += 1;
        self.report_in(target.id, TICK_MS);
    }

    /// Whether the placement driver knows the Region as it is.
    pub fn is_reported(&mut self, region_id: RegionId) -> bool {
        match self.ask(Request::GetRegionById { region_id }) {
            Ok(Response::Region(Some(route))) => {
                route.region.epoch == self.regions[&region_id].region.epoch
            }
            _ => false,
        }
    }

    /// Splits a Region; the right half keeps its id.
    pub fn split(&mut self, id: RegionId, keys: &[Vec<u8>]) {
        let region = self.regions[&id].region.clone();
        let asked = Control::AskBatchSplit {
            region: region.clone(),
            parts: keys.len() as u32,
        };
        let Ok(Response::SplitIds(ids)) = self.control(asked) else {
            panic!("no ids for a split");
        };
        let mut start = region.range.start.clone();
        let version = region.epoch.version + keys.len() as u64;
        let old = self.regions.get_mut(&id).unwrap();
        let size_bytes = old.size_bytes / (keys.len() as u64 + 1);
        let leader_at = region.peers.iter().position(|peer| peer.id == old.leader);
        old.size_bytes = size_bytes;
        old.region.epoch.version = version;
        old.region.range.start = keys.last().unwrap().clone();
        for (key, new) in keys.iter().zip(ids) {
            let mut part = region.clone();
            part.id = new.region_id;
            part.range = KeyRange {
                start: std::mem::replace(&mut start, key.clone()),
                end: key.clone(),
            };
            part.epoch.version = version;
            for (peer, id) in part.peers.iter_mut().zip(new.peer_ids) {
                peer.id = id;
            }
            let leader = part.peers[leader_at.unwrap()].id;
            self.place(part, leader, size_bytes);
            self.report_in(new.region_id, TICK_MS);
            self.done.splits += 1;
        }
        self.report_in(id, TICK_MS);
    }

    /// Time passes, and everybody reports.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.now.monotonic_ms += TICK_MS;
            self.now.wall_ms += TICK_MS;
            let now_ms = self.now.monotonic_ms;
            self.input(Input::Tick);
            if now_ms.is_multiple_of(STORE_HEARTBEAT_MS) {
                let alive = self.stores.iter().filter(|(_, store)| store.is_alive);
                let alive: Vec<StoreId> = alive.map(|(id, _)| *id).collect();
                for id in alive {
                    // A tombstone is refused, and may be.
                    let _ = self.store_heartbeat(id);
                }
            }
            let slot = (now_ms / TICK_MS) as usize % SLOTS;
            for at in 0..self.slots[slot].len() {
                self.heartbeat(self.slots[slot][at]);
            }
            while let Some(entry) = self.events.first_entry()
                && *entry.key() <= now_ms
            {
                for id in entry.remove() {
                    self.heartbeat(id);
                }
            }
        }
    }

    /// Runs until nothing has been done for `quiet_ms`; returns how long it was until the last.
    pub fn settle(&mut self, quiet_ms: u64, at_most_ms: u64) -> u64 {
        let began_ms = self.now.monotonic_ms;
        let mut last_ms = began_ms;
        while self.now.monotonic_ms - last_ms < quiet_ms {
            let before = self.done.changes();
            self.run(1_000);
            if !self.operators().is_empty() || self.done.changes() != before {
                last_ms = self.now.monotonic_ms;
            }
            let took_ms = self.now.monotonic_ms - began_ms;
            assert!(
                took_ms < at_most_ms,
                "it does not come to rest: {:?}",
                self.operators()
            );
        }
        last_ms - began_ms
    }

    pub fn operators(&mut self) -> Vec<OperatorRecord> {
        match self.control(Control::ListOperators { ended: false }) {
            Ok(Response::Operators(records)) => records,
            other => panic!("{other:?}"),
        }
    }

    pub fn ended(&mut self) -> Vec<OperatorRecord> {
        match self.control(Control::ListOperators { ended: true }) {
            Ok(Response::Operators(records)) => records,
            other => panic!("{other:?}"),
        }
    }

    pub fn view(&mut self, store_id: StoreId) -> Result<StoreView, Error> {
        match self.ask(Request::GetStore { store_id })? {
            Response::Store(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    pub fn set(&mut self, name: &str, text: &str) {
        let pairs = vec![(name.to_owned(), text.to_owned())];
        self.control(Control::SetSettings(pairs)).unwrap();
    }

    /// Replicas of each store.
    pub fn replicas(&self) -> BTreeMap<StoreId, u64> {
        let mut counts: BTreeMap<StoreId, u64> = self.stores.keys().map(|id| (*id, 0)).collect();
        for peer in self
            .regions
            .values()
            .flat_map(|region| &region.region.peers)
        {
            *counts.get_mut(&peer.store_id).unwrap() += 1;
        }
        counts
    }

    /// Leaders of each store.
    pub fn leaders(&self) -> BTreeMap<StoreId, u64> {
        let mut counts: BTreeMap<StoreId, u64> = self.stores.keys().map(|id| (*id, 0)).collect();
        for region in self.regions.values() {
            *counts.get_mut(&region.leader_store()).unwrap() += 1;
        }
        counts
    }

    /// Every Region has so many voters, no learner, and all are alive.
    pub fn assert_replicated(&self, replicas: usize) {
        for region in self.regions.values() {
            assert_eq!(region.voters().len(), replicas, "{region:?}");
            assert_eq!(region.region.peers.len(), replicas, "{region:?}");
            let mut peers = region.region.peers.iter();
            assert!(peers.all(|peer| self.stores[&peer.store_id].is_alive));
        }
    }
}

impl SimRegion {
    pub fn leader_store(&self) -> StoreId {
        self.region.peer(self.leader).unwrap().store_id
    }

    pub fn stores(&self) -> Vec<u64> {
        let mut stores: Vec<u64> = self.region.peers.iter().map(|p| p.store_id.get()).collect();
        stores.sort_unstable();
        stores
    }

    fn voters(&self) -> Vec<Peer> {
        let votes = |peer: &&Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
        self.region.peers.iter().filter(votes).copied().collect()
    }

    fn leave_joint(&mut self) {
        for peer in &mut self.region.peers {
            peer.role = match peer.role {
                PeerRole::IncomingVoter | PeerRole::Voter => PeerRole::Voter,
                PeerRole::DemotingVoter | PeerRole::Learner => PeerRole::Learner,
            };
        }
        self.region.epoch.conf_ver += 1;
    }
}

/// The least and the most, over these stores.
pub fn spread(counts: &BTreeMap<StoreId, u64>, of: impl Fn(StoreId) -> bool) -> (u64, u64) {
    let counts = counts
        .iter()
        .filter(|(id, _)| of(**id))
        .map(|(_, count)| *count);
    let counts: Vec<u64> = counts.collect();
    (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
}
