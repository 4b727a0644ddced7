//! Checkers: whether a Region that has just reported is as it should be, and what is to be done if not.
//!
//! **Order.** A joint configuration is left first, then learners find their part, then the number and
//! places of replicas are put right, and only a Region in order is merged.
//!
//! **Invariant.** A Region in order costs a few look-ups.
//!
//! **Not here.** Balance, which looks at stores: `schedule`.

mod joint;
mod learner;
mod merge;
mod replica;

use crate::cluster::Cluster;
use crate::health::is_joint;
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind, OperatorStep};

pub(crate) use merge::request as merge_by_request;

/// The operators that belong together and are to begin for this Region; none if it is in order.
pub(crate) fn propose(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    seen: &RegionSeen,
) -> Vec<Operator> {
    if is_joint(&seen.region) {
        return joint::propose(cluster, seen).into_iter().collect();
    }
    let repair = learner::propose(cluster, seen).or_else(|| replica::propose(cluster, ids, seen));
    match repair {
        Some(repair) => vec![repair],
        None => merge::propose(cluster, ids, seen).unwrap_or_default(),
    }
}

fn repair(
    cluster: &Cluster<'_>,
    seen: &RegionSeen,
    purpose: &'static str,
    steps: Vec<OperatorStep>,
) -> Operator {
    Operator::new(
        cluster.health.now,
        seen,
        OperatorKind::Replica,
        purpose,
        steps,
    )
}
