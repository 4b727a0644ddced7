//! Leaders move at random, for tests: whatever holds then holds wherever leaders are.

use super::{Means, draw, transfer};
use crate::cluster::Cluster;
use crate::operator::{Operator, OperatorKind};

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let mut stores = cluster.up();
    stores.retain(|store| cluster.can_lead(*store));
    let to = *means.rng.pick(&stores)?;
    let drawn = draw(cluster, means.rng, to, |load| &load.followers);
    let seen = drawn.first()?;
    Some(transfer(
        cluster,
        seen,
        OperatorKind::Leader,
        "shuffle-leader",
        to,
    ))
}
