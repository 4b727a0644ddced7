//! The operator: cuts and merges Regions, moves their replicas between stores, hands leaderships over
//! and has replicas compared, as a placement driver would, at random times and all over the faults.
//!
//! **Invariants.** Ids that it gives out are never given out again. After a change a Region has at least
//! three voters. A learner becomes a voter once its leader has reported it as caught up; now and then it
//! is tried sooner.
//!
//! **Not here.** Whether a change comes through: its leader may be another one by now.

use crate::left_out::LeftOut;
use crate::options::ActionKind;
use crate::planted::PlantedBug;
use crate::rng::Rng;
use crate::store::draw_bounds;
use crate::world::{Event, World};
use placement::RegionHeartbeat;
use raftstore::op::conf_change::is_joint;
use raftstore::op::consistency::Report as ConsistencyReport;
use raftstore::peer::Input;
use raftstore::{
    Admin, Command, Cut, Outcome, PeerChange, PeerChangeKind, Reply, RequestContext, RequestError,
};
use std::collections::BTreeMap;
use types::{Peer, PeerId, PeerRole, Region, RegionId, RequestId, Space, StoreId};

/// The longest time between two changes.
const GAP_US_MAX: u64 = 150_000;
/// The requests of clients have lower ids.
const FIRST_REQUEST: u64 = 1 << 40;
/// The ids of the cluster's beginning are lower.
const FIRST_ID: u64 = 1_000;
/// Voters that a Region keeps.
pub(crate) const VOTERS_MIN: usize = 3;
/// How often a change is drawn until one fits.
const DRAWS: usize = 4;
/// How often a learner is promoted that may not have caught up.
const HASTE_PPM: u64 = 100_000;

/// What the operator has asked for and given out.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Of the present turn, so that one can be left out and the others stay.
    pub(crate) rng: Rng,
    turn_rng: Rng,
    /// How many have come.
    pub(crate) turns: u64,
    /// What came of it, by name.
    pub(crate) changes: BTreeMap<&'static str, u64>,
    /// Changes of membership, and merges, without an answer.
    pub(crate) asked: BTreeMap<RequestId, &'static str>,
    /// Of each Region the last one.
    reports: BTreeMap<RegionId, RegionHeartbeat>,
    requests: u64,
    ids: u64,
    /// A replica that is to miss a merge.
    pub(crate) left_out: Option<LeftOut>,
    /// Ids that the placement driver has given, where it rules.
    pub(crate) given: Vec<u64>,
}

impl Operator {
    pub(crate) fn new(mut rng: Rng) -> Self {
        Self {
            rng: rng.fork(),
            turn_rng: rng,
            turns: 0,
            changes: BTreeMap::new(),
            asked: BTreeMap::new(),
            reports: BTreeMap::new(),
            requests: 0,
            ids: 0,
            left_out: None,
            given: Vec::new(),
        }
    }

    /// Whether an answer is for the operator.
    pub(crate) fn hears(&self, request: RequestId) -> bool {
        request.get() >= FIRST_REQUEST
    }

    pub(crate) fn count(&mut self, change: &'static str) {
        *self.changes.entry(change).or_default() += 1;
    }

    /// A leader has reported.
    pub(crate) fn learn(&mut self, heartbeat: RegionHeartbeat) {
        self.reports.insert(heartbeat.region.id, heartbeat);
    }

    /// The store whose replica has reported as the leader last.
    pub(crate) fn leader(&self, region: RegionId) -> Option<usize> {
        let report = self.reports.get(&region)?;
        let leader = report.region.peer(report.leader)?;
        Some(leader.store_id.get() as usize - 1)
    }

    pub(crate) fn has_caught_up(&self, region: &Region, peer: PeerId) -> bool {
        let report = self.reports.get(&region.id);
        report.is_some_and(|report| {
            report.region.epoch == region.epoch && !report.pending_peers.contains(&peer)
        })
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(FIRST_REQUEST + self.requests)
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.ids += 1;
        FIRST_ID + self.ids
    }
}

/// Who could be changed in a Region.
struct Choices {
    /// That do not lead, as far as the operator knows.
    voter: Option<Peer>,
    learner: Option<Peer>,
    /// Where it has no Peer.
    free: Option<StoreId>,
    voters: usize,
    peers: usize,
}

impl Choices {
    fn draw(region: &Region, stores: u64, leader: StoreId, rng: &mut Rng) -> Self {
        let is_voter = |peer: &&Peer| peer.role == PeerRole::Voter;
        let voters = region.peers.iter().filter(is_voter);
        let others: Vec<Peer> = voters
            .clone()
            .filter(|peer| peer.store_id != leader)
            .copied()
            .collect();
        let learners: Vec<Peer> = region
            .peers
            .iter()
            .filter(|peer| !is_voter(peer))
            .copied()
            .collect();
        let all = (1..=stores).map(StoreId);
        let free: Vec<StoreId> = all
            .filter(|store| region.peer_on(*store).is_none())
            .collect();
        Self {
            voter: one_of(&others, rng),
            learner: one_of(&learners, rng),
            free: one_of(&free, rng),
            voters: voters.count(),
            peers: region.peers.len(),
        }
    }
}

pub(crate) fn one_of<T: Copy>(some: &[T], rng: &mut Rng) -> Option<T> {
    (!some.is_empty()).then(|| some[rng.below(some.len() as u64) as usize])
}

pub(crate) fn change(kind: PeerChangeKind, peer: Peer) -> PeerChange {
    PeerChange {
        kind,
        peer_id: peer.id,
        store_id: peer.store_id,
    }
}

impl World {
    /// One change, and the next one is on its way.
    pub(crate) fn operate(&mut self) {
        if self.is_healed {
            return;
        }
        self.operator.rng = self.operator.turn_rng.fork();
        let action = match self.operator.rng.below(13) {
            0..3 => ActionKind::Split,
            3..5 => ActionKind::HandOver,
            5..7 => ActionKind::Merge,
            7..9 => ActionKind::Compare,
            9 => ActionKind::Reconfigure,
            _ => ActionKind::Move,
        };
        let gap_us = self.operator.rng.between(1_000, GAP_US_MAX);
        self.after(gap_us, Event::Operate);
        let turn = self.operator.turns;
        self.operator.turns += 1;
        let only = &self.options.only_actions;
        let is_left_out = only.as_ref().is_some_and(|only| !only.contains(&turn));
        let is_placements = matches!(action, ActionKind::Move | ActionKind::Merge);
        if is_left_out
            || self.placement_rules && is_placements
            || !self.options.actions.contains(&action)
        {
            return;
        }
        self.note(format_args!("operator's turn {turn}: {action:?}"));
        self.damage_data();
        if self.go_on_without_it() {
            return;
        }
        match action {
            ActionKind::Split => self.cut_a_region(),
            ActionKind::HandOver => self.hand_a_leadership_over(),
            ActionKind::Merge => self.merge_a_region(),
            ActionKind::Move => self.move_a_replica(),
            ActionKind::Compare => self.compare_replicas(),
            ActionKind::Obey => {}
            ActionKind::Reconfigure => self.reconfigure_a_store(),
        }
    }

    fn cut_a_region(&mut self) {
        let group = self.operator.rng.below(self.clients.keys().groups() as u64) as usize;
        let Some(key) = self.clients.keys().cut(group).cloned() else {
            return;
        };
        self.ask_the_way();
        let region = self.clients.route(group).clone();
        if region.range.start == key {
            return;
        }
        let Some(ids) = self.draw_ids(1 + region.peers.len()) else {
            return;
        };
        let cut = Cut {
            key,
            region_id: RegionId(ids[0]),
            peer_ids: ids[1..].iter().copied().map(PeerId).collect(),
        };
        let request = self.operator.request();
        let input = Input::Propose {
            request,
            context: context(&region),
            command: Command::Admin(Admin::Split(vec![cut])),
        };
        let store = self.clients.leader(group);
        self.note(format_args!("operator cuts r{}: {input:?}", region.id));
        self.hand_in(store, region.id, request, input);
    }

    fn reconfigure_a_store(&mut self) {
        let store = self.operator.rng.below(self.stores.len() as u64) as usize;
        let bounds = [(); 2].map(|()| draw_bounds(&mut self.operator.rng));
        if let Some(life) = &self.stores[store].life {
            self.operator.count("other bounds");
            life.reconfigure(&bounds);
        }
    }

    /// Ids for a new Region: the operator's, or those that the placement driver has given.
    fn draw_ids(&mut self, count: usize) -> Option<Vec<u64>> {
        if !self.placement_rules {
            return Some((0..count).map(|_| self.operator.id()).collect());
        }
        let given = &mut self.operator.given;
        (given.len() >= count).then(|| given.drain(..count).collect())
    }

    fn hand_a_leadership_over(&mut self) {
        let group = self.operator.rng.below(self.clients.keys().groups() as u64) as usize;
        let region = self.clients.route(group).clone();
        let to = region.peers[self.operator.rng.below(region.peers.len() as u64) as usize];
        let store = self.clients.leader(group);
        self.hand_over(store, region.id, to.id);
    }

    pub(crate) fn hand_over(&mut self, store: usize, region: RegionId, to: PeerId) {
        let Some(life) = &self.stores[store].life else {
            return;
        };
        let input = node::PeerMessage(Input::TransferLeader { to });
        let _ = life.router.send(region.get(), input);
        self.note(format_args!("operator hands r{region} over to {to:?}"));
        self.operator.count("handover");
        self.wake(store);
    }

    fn compare_replicas(&mut self) {
        let group = self.operator.rng.below(self.clients.keys().groups() as u64) as usize;
        let region = self.clients.route(group).clone();
        let store = self.clients.leader(group);
        let request = self.operator.request();
        self.note(format_args!(
            "operator compares the replicas of r{}",
            region.id
        ));
        let context = context(&region);
        let input = Input::CheckConsistency { request, context };
        self.hand_in(store, region.id, request, input);
    }

    /// With a planted bug: a pair on one store that nobody has written.
    fn damage_data(&mut self) {
        const PLANTED: PlantedBug = PlantedBug::DamagedData;
        if self.options.planted_bug != Some(PLANTED) {
            return;
        }
        let mut stores = 0..self.stores.len();
        let Some(store) = stores.find(|store| PLANTED.is_in(*store)) else {
            return;
        };
        let group = self.operator.rng.below(self.clients.keys().groups() as u64) as usize;
        let (region, keys) = (self.clients.route(group).id, self.clients.keys());
        // Behind all that clients read.
        let mut key = Space::of(region).key(keys.key(keys.of(group).end - 1));
        key.push(0xff);
        if let Some(life) = &self.stores[store].life {
            life.kv.damage(region, &key);
        }
    }

    /// All replicas are equal at an equal index, whatever has happened.
    fn hear_of_comparison(&mut self, report: &ConsistencyReport) {
        self.operator.count("comparison");
        if report.hashes.iter().all(|(_, hash)| hash.is_some()) {
            self.operator.count("comparison of all replicas");
        }
        if report.differs() {
            self.violate(format_args!("replicas differ: {report:?}"));
        }
    }

    fn move_a_replica(&mut self) {
        let group = self.operator.rng.below(self.clients.keys().groups() as u64) as usize;
        self.ask_the_way();
        let region = self.clients.route(group).clone();
        if is_joint(&region) {
            return;
        }
        let store = self.leading_store(group);
        let mut draws = (0..DRAWS).map(|_| self.draw_changes(&region, store));
        if let Some((name, changes)) = draws.find_map(|drawn| drawn) {
            self.ask_to_change(store, &region, name, changes);
        }
    }

    /// The store that seems to lead the Region of a group.
    pub(crate) fn leading_store(&self, group: usize) -> usize {
        let leader = self.operator.leader(self.clients.route(group).id);
        leader.unwrap_or(self.clients.leader(group))
    }

    pub(crate) fn ask_to_change(
        &mut self,
        store: usize,
        region: &Region,
        name: &'static str,
        changes: Vec<PeerChange>,
    ) {
        let request = self.operator.request();
        self.operator.asked.insert(request, name);
        self.note(format_args!(
            "operator asks r{} to {name}: {changes:?}",
            region.id
        ));
        let input = Input::ChangePeers {
            request,
            context: context(region),
            changes,
        };
        self.hand_in(store, region.id, request, input);
    }

    /// A change that fits the Region, and its name.
    fn draw_changes(
        &mut self,
        region: &Region,
        leader: usize,
    ) -> Option<(&'static str, Vec<PeerChange>)> {
        use PeerChangeKind::{AddLearner, AddVoter, Remove};
        let leader = StoreId(leader as u64 + 1);
        let Choices {
            voter,
            learner,
            free,
            voters,
            peers,
        } = Choices::draw(
            region,
            self.stores.len() as u64,
            leader,
            &mut self.operator.rng,
        );
        let is_hasty = self.operator.rng.chance(HASTE_PPM);
        let promoted =
            learner.filter(|peer| is_hasty || self.operator.has_caught_up(region, peer.id));
        let new = free.map(|store_id| Peer {
            id: PeerId(self.operator.id()),
            store_id,
            role: PeerRole::Learner,
        });
        let has_room = peers <= VOTERS_MIN;
        let has_spare = voters > VOTERS_MIN;
        let one = |kind, peer| vec![change(kind, peer)];
        match self.operator.rng.below(8) {
            0 | 1 => Some(("add learner", one(AddLearner, new.filter(|_| has_room)?))),
            2 => Some(("promote", one(AddVoter, promoted?))),
            3 => Some(("add voter", one(AddVoter, new.filter(|_| has_room)?))),
            4 if has_spare => Some(("demote", one(AddLearner, voter?))),
            5 if has_spare => Some(("remove voter", one(Remove, voter?))),
            4 | 5 => Some(("remove learner", one(Remove, learner?))),
            6 => {
                let changes = vec![change(AddVoter, promoted?), change(AddLearner, voter?)];
                Some(("swap", changes))
            }
            _ => {
                let new = new.filter(|_| has_room)?;
                let changes = vec![change(AddVoter, new), change(AddLearner, voter?)];
                Some(("replace", changes))
            }
        }
    }

    /// A store has answered the operator.
    pub(crate) fn operator_hears(
        &mut self,
        request: RequestId,
        result: &Result<Reply, RequestError>,
    ) {
        let asked = self.operator.asked.remove(&request);
        match (result, asked) {
            (Ok(Reply::Command(Outcome::Split(parts))), None) => {
                self.operator.count("split");
                self.clients.learn(parts);
            }
            // Where it is now it serves nobody.
            (Ok(Reply::Command(Outcome::Changed(_))), Some(name @ "merge begun")) => {
                self.operator.count(name);
            }
            (Ok(Reply::Command(Outcome::Changed(region))), Some(name)) => {
                self.operator.count(name);
                self.clients.learn(std::slice::from_ref(region));
            }
            (Ok(Reply::Checked(report)), None) => self.hear_of_comparison(report),
            (Ok(other), _) => {
                let other = format!("{other:?}");
                self.violate(format_args!("the operator hears {other} for {request}"));
            }
            (Err(RequestError::InvalidChange { reason, .. }), Some(_)) => {
                let reason = *reason;
                self.note(format_args!("{request}: {reason}"));
                self.operator.count("refused change");
            }
            (Err(_), _) => {}
        }
    }

    /// Whoever looks for a Region learns of all that any store has.
    pub(crate) fn ask_the_way(&mut self) {
        for store in 0..self.stores.len() {
            let regions = match &self.stores[store].life {
                Some(life) => life.regions(),
                None => continue,
            };
            match regions {
                Ok(regions) => self.clients.learn(&regions),
                Err(what) => self.violate(format_args!("store {}: {what}", store + 1)),
            }
        }
    }
}

pub(crate) fn context(region: &Region) -> RequestContext {
    RequestContext {
        region_id: region.id,
        epoch: region.epoch,
        ..RequestContext::default()
    }
}
