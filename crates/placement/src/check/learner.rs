//! A learner that nobody is at work on votes, if a voter is missing, or goes.
//!
//! **Invariant.** A learner that has not caught up does not vote.

use super::repair;
use crate::cluster::Cluster;
use crate::health::voters;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorStep};
use crate::stores::StoreState;
use types::PeerRole;

pub(super) fn propose(cluster: &Cluster<'_>, seen: &RegionSeen) -> Option<Operator> {
    let region = &seen.region;
    let mut peers = region.peers.iter();
    let learner = *peers.find(|peer| peer.role == PeerRole::Learner)?;
    let health = &cluster.health;
    let missing = (voters(region).count() as u64) < health.settings.max_replicas;
    let in_service = health.store_state(learner.store_id) == StoreState::Up;
    if !missing || !in_service || health.is_lost(learner.store_id) {
        let steps = vec![OperatorStep::RemovePeer(learner)];
        return Some(repair(cluster, seen, "remove-learner", steps));
    }
    if !seen.is_peer_well(learner.id) {
        return None;
    }
    let steps = vec![OperatorStep::PromoteLearner(learner)];
    Some(repair(cluster, seen, "promote-learner", steps))
}
