//! A replica of a merge's target that hears nothing of its Region from the beginning of the merge until a
//! replica leads that has joined since: the log of that one begins behind the merge, so that the one left
//! out is carried over it by a snapshot, beside a source that waits to be taken in.
//!
//! **Why.** Faults and changes that come at random bring it about once in thousands of seeds.
//!
//! **Not here.** The merge's beginning (`merges`).

use crate::operator::change;
use crate::world::World;
use raftstore::PeerChangeKind;
use raftstore::op::conf_change::is_joint;
use types::{Peer, PeerId, PeerRole, Region, RegionId, StoreId};

/// How many of the merges leave one out.
const LEFT_OUT_PPM: u64 = 300_000;
/// The longest time for it.
const PATIENCE_US: u64 = 1_000_000;

/// Whom messages of the target do not reach.
#[derive(Debug)]
pub(crate) struct LeftOut {
    target: RegionId,
    /// That of the target before the merge.
    version: u64,
    store: StoreId,
    until_us: u64,
    joined: Option<PeerId>,
}

impl World {
    /// A merge into `target` begins.
    pub(crate) fn leave_one_out(&mut self, target: &Region) {
        let leader = self.operator.leader(target.id);
        let is_follower = |peer: &&Peer| Some(peer.store_id.get() as usize - 1) != leader;
        let follower = target.peers.iter().find(is_follower);
        if let Some(peer) = follower
            && self.operator.rng.chance(LEFT_OUT_PPM)
        {
            self.note(format_args!("s{} hears no r{}", peer.store_id, target.id));
            self.operator.left_out = Some(LeftOut {
                target: target.id,
                version: target.epoch.version,
                store: peer.store_id,
                until_us: self.now_us + PATIENCE_US,
                joined: None,
            });
        }
    }

    /// Whether a message of the Region between these stores, by their positions, gets lost.
    pub(crate) fn is_left_out(&self, region: RegionId, link: (usize, usize)) -> bool {
        self.operator.left_out.as_ref().is_some_and(|out| {
            let store = out.store.get() as usize - 1;
            out.target == region && [link.0, link.1].contains(&store)
        })
    }

    /// One turn of the operator while one is left out; false if none is any more.
    pub(crate) fn go_on_without_it(&mut self) -> bool {
        let Some(mut out) = self.operator.left_out.take() else {
            return false;
        };
        if out.until_us <= self.now_us {
            return false;
        }
        self.ask_the_way();
        let groups = 0..self.clients.keys().groups();
        let mut routes = groups.map(|group| self.clients.route(group));
        let Some(region) = routes.find(|region| region.id == out.target).cloned() else {
            return false;
        };
        let leader = self.operator.leader(region.id);
        if region.epoch.version > out.version
            && let Some(leader) = leader
            && !is_joint(&region)
        {
            match out.joined.filter(|id| region.peer(*id).is_some()) {
                Some(id)
                    if region.peer(id).map(|peer| peer.store_id.get() as usize - 1)
                        == Some(leader) =>
                {
                    self.note(format_args!("s{} hears r{} again", out.store, region.id));
                    return false;
                }
                Some(id) if self.operator.has_caught_up(&region, id) => {
                    self.hand_over(leader, region.id, id);
                }
                Some(_) => {}
                None => out.joined = self.have_one_join(leader, &region),
            }
        }
        self.operator.left_out = Some(out);
        true
    }

    fn have_one_join(&mut self, leader: usize, region: &Region) -> Option<PeerId> {
        let mut stores = (1..=self.stores.len() as u64).map(StoreId);
        let store_id = stores.find(|store| region.peer_on(*store).is_none())?;
        let new = Peer {
            id: PeerId(self.operator.id()),
            store_id,
            role: PeerRole::Voter,
        };
        let changes = vec![change(PeerChangeKind::AddVoter, new)];
        self.ask_to_change(leader, region, "join behind a merge", changes);
        Some(new.id)
    }
}
