//! The way from the replicas that a Region has to those that it is to have.
//!
//! **How.** New replicas are learners first, until they have caught up. Then those that are to vote and
//! those that are to go change their parts at once, in a joint configuration: at no time has the Region
//! fewer voters than before. A leader that is to go hands over first: to a voter that stays, or else to a
//! new one. It can't do so in between, since leaders leave a joint configuration at once.
//!
//! **Invariant.** The last step leaves a Region with a voter on each wanted store and no other replica.
//!
//! **Not here.** Which stores are wanted.

use crate::cluster::Cluster;
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::OperatorStep;
use types::{Peer, PeerRole, StoreId};

/// The steps to voters on exactly these stores. None if there is no way now.
pub(crate) fn steps(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    seen: &RegionSeen,
    wanted: &[StoreId],
) -> Option<Vec<OperatorStep>> {
    let region = &seen.region;
    let is_wanted = |peer: &&Peer| wanted.contains(&peer.store_id);
    let new = wanted
        .iter()
        .filter(|store| region.peer_on(**store).is_none());
    let new = new.map(|store| ids.peer_on(*store));
    let new: Vec<Peer> = new.collect::<Option<_>>()?;
    let (kept, gone): (Vec<Peer>, Vec<Peer>) = region.peers.iter().partition(is_wanted);
    let is_learner = |peer: &&Peer| peer.role == PeerRole::Learner;
    let mut promote: Vec<Peer> = kept
        .iter()
        .filter(is_learner)
        .chain(&new)
        .copied()
        .collect();
    let stay = kept.iter().filter(|peer| !is_learner(peer));
    let stay: Vec<StoreId> = stay.map(|peer| peer.store_id).collect();
    let demote: Vec<Peer> = gone
        .iter()
        .filter(|peer| !is_learner(peer))
        .copied()
        .collect();

    let mut steps: Vec<OperatorStep> = new.into_iter().map(OperatorStep::AddLearner).collect();
    if !wanted.contains(&seen.leader().store_id) {
        let to = match cluster.best_leader(seen, &stay) {
            Some(to) => to,
            // It will catch up.
            None if stay.iter().any(|store| cluster.can_lead(*store)) => return None,
            None if promote.is_empty() => return None,
            None => {
                let first = promote.remove(0);
                steps.push(OperatorStep::PromoteLearner(first));
                first.store_id
            }
        };
        steps.push(OperatorStep::TransferLeader { to });
    }
    let is_joint = !promote.is_empty() && promote.len() + demote.len() > 1;
    if is_joint && cluster.health.settings.enable_joint_consensus {
        steps.push(OperatorStep::EnterJoint { promote, demote });
        steps.push(OperatorStep::LeaveJoint);
        steps.extend(gone.into_iter().map(OperatorStep::RemovePeer));
    } else {
        let mut gone = gone.into_iter().map(OperatorStep::RemovePeer);
        for peer in promote {
            steps.push(OperatorStep::PromoteLearner(peer));
            steps.extend(gone.next());
        }
        steps.extend(gone);
    }
    Some(steps)
}

/// The stores of a Region's replicas, with one of them exchanged for another.
pub(crate) fn exchanged(seen: &RegionSeen, from: StoreId, to: StoreId) -> Vec<StoreId> {
    let stores = seen.region.peers.iter().map(|peer| peer.store_id);
    stores
        .map(|store| if store == from { to } else { store })
        .collect()
}
