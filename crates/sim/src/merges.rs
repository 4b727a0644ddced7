//! The operator's merges: a Region's replicas go where its neighbour's are, one change after the other,
//! and then it is asked to merge.
//!
//! **Not here.** Whether it comes to that: others change the two Regions meanwhile, and the neighbour
//! decides.

use crate::operator::{VOTERS_MIN, change, context, one_of};
use crate::planted::PlantedBug;
use crate::store::SimStore;
use crate::world::World;
use node::ApplyMessage;
use raftstore::op::conf_change::is_joint;
use raftstore::op::merge::{ReadySource, SourceWish};
use raftstore::peer::Input;
use raftstore::{Admin, Command, PeerChange, PeerChangeKind};
use types::{Peer, PeerId, PeerRole, Region, StoreId};

/// What brings a Region nearer to the stores of its neighbour.
enum Step {
    Merge,
    Change(&'static str, PeerChange),
    /// A voter that is too many leads.
    HandOver(PeerId),
    Wait,
}

impl World {
    /// One step towards the merge of two neighbours.
    pub(crate) fn merge_a_region(&mut self) {
        let groups = self.clients.keys().groups();
        let group = self.operator.rng.below(groups as u64) as usize;
        self.ask_the_way();
        let source = self.clients.route(group).clone();
        let routes = (0..groups).map(|group| self.clients.route(group));
        let neighbours: Vec<&Region> = routes.filter(|other| touch(&source, other)).collect();
        let Some(target) = one_of(&neighbours, &mut self.operator.rng).cloned() else {
            return;
        };
        if is_joint(&source) || is_joint(&target) {
            return;
        }
        let store = self.leading_store(group);
        match self.next_step(&source, &target, StoreId(store as u64 + 1)) {
            Step::Wait => {}
            Step::Change(name, change) => self.ask_to_change(store, &source, name, vec![change]),
            Step::HandOver(to) => self.hand_over(store, source.id, to),
            Step::Merge => {
                let request = self.operator.request();
                self.operator.asked.insert(request, "merge begun");
                self.note(format_args!(
                    "operator merges r{} into r{}: {request}",
                    source.id, target.id
                ));
                self.leave_one_out(&target);
                let input = Input::Propose {
                    request,
                    context: context(&source),
                    command: Command::Admin(Admin::PrepareMerge(Box::new(target))),
                };
                self.hand_in(store, source.id, request, input);
            }
        }
    }

    fn next_step(&mut self, source: &Region, target: &Region, leader: StoreId) -> Step {
        use PeerChangeKind::{AddVoter, Remove};
        let is_voter = |peer: &&Peer| peer.role == PeerRole::Voter;
        let voters = source.peers.iter().filter(is_voter).count();
        let is_too_many = |peer: &&Peer| target.peer_on(peer.store_id).is_none();
        let may_go = |peer: &&Peer| !is_voter(peer) || voters > VOTERS_MIN;
        let mut too_many = source.peers.iter().filter(is_too_many).copied();
        let missing = target.peers.iter().map(|peer| peer.store_id);
        let missing: Vec<StoreId> = missing
            .filter(|store| source.peer_on(*store).is_none())
            .collect();
        let learner = source.peers.iter().find(|peer| !is_voter(peer));
        let learner = learner.filter(|peer| self.operator.has_caught_up(source, peer.id));
        if let Some(peer) = too_many.clone().find(|peer| may_go(&peer)) {
            if peer.store_id == leader {
                let stays = |it: &&Peer| is_voter(it) && it.id != peer.id;
                let to = source.peers.iter().find(stays);
                return to.map_or(Step::Wait, |to| Step::HandOver(to.id));
            }
            return Step::Change("make room", change(Remove, peer));
        }
        if let Some(store_id) = one_of(&missing, &mut self.operator.rng)
            && source.peers.len() <= VOTERS_MIN
        {
            let new = Peer {
                id: PeerId(self.operator.id()),
                store_id,
                role: PeerRole::Voter,
            };
            return Step::Change("follow", change(AddVoter, new));
        }
        match (too_many.next(), missing.is_empty(), learner) {
            (None, true, _) => Step::Merge,
            (_, _, Some(learner)) => Step::Change("promote", change(AddVoter, *learner)),
            _ => Step::Wait,
        }
    }
}

impl World {
    /// With [`PlantedBug::MergeWithoutCatchUp`] each target on this store hears that the source which it
    /// waits for has come as far as it has to, whether it has or not.
    pub(crate) fn hurry_merges(&self, store: usize) {
        if self.options.planted_bug != Some(PlantedBug::MergeWithoutCatchUp) {
            return;
        }
        let wishes = |store: &SimStore| {
            let life = store.life.as_ref();
            life.and_then(|life| life.merge_wishes().ok())
        };
        let wishes: Vec<SourceWish> = self.stores.iter().filter_map(wishes).flatten().collect();
        let Some(life) = &self.stores[store].life else {
            return;
        };
        for wish in wishes {
            let is_ready = ApplyMessage::SourceReady(ReadySource {
                wish,
                quarantine: None,
            });
            let target = wish.target_id.get();
            let _ = life.ports.appliers.force_send(target, is_ready);
        }
    }
}

fn touch(a: &Region, b: &Region) -> bool {
    let meets = |end: &[u8], start: &[u8]| !end.is_empty() && end == start;
    meets(&a.range.end, &b.range.start) || meets(&b.range.end, &a.range.start)
}
