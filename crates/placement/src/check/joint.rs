//! A Region that was left in a joint configuration leaves it.
//!
//! **Why it happens.** An operator was given up between its two steps, or its leader of placement was
//! replaced: the next one does not know what was meant.

use super::repair;
use crate::cluster::Cluster;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorStep};

pub(super) fn propose(cluster: &Cluster<'_>, seen: &RegionSeen) -> Operator {
    repair(cluster, seen, "leave-joint", vec![OperatorStep::LeaveJoint])
}
