//! A Region that was left in a joint configuration leaves it.
//!
//! **Why it happens.** An operator was given up between its two steps, or its leader of placement was
//! replaced: the next one does not know what was meant.
//!
//! **Invariant.** A leader that ceases to vote by it hands over first.

use super::repair;
use crate::cluster::Cluster;
use crate::health::voters;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorStep};
use types::{PeerRole, StoreId};

pub(super) fn propose(cluster: &Cluster<'_>, seen: &RegionSeen) -> Option<Operator> {
    let mut steps = Vec::new();
    if seen.leader().role == PeerRole::DemotingVoter {
        let stores = voters(&seen.region).map(|peer| peer.store_id);
        let stores: Vec<StoreId> = stores.collect();
        let to = cluster.best_leader(seen, &stores)?;
        steps.push(OperatorStep::TransferLeader { to });
    }
    steps.push(OperatorStep::LeaveJoint);
    Some(repair(cluster, seen, "leave-joint", steps))
}
