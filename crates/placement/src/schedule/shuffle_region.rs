//! Replicas move at random, for tests: whatever holds then holds wherever replicas are.

use super::{Means, Move, draw, relocate, replacements};
use crate::cluster::Cluster;
use crate::operator::{Operator, OperatorKind};

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let stores = cluster.up();
    let from = *means.rng.pick(&stores)?;
    let drawn = draw(cluster, means.rng, from, |load| &load.followers);
    let seen = *drawn.first()?;
    let to = *means
        .rng
        .pick(&replacements(cluster, &cluster.receivers(), seen, from))?;
    let moved = Move {
        seen,
        kind: OperatorKind::Region,
        purpose: "shuffle-region",
        from,
        to,
    };
    relocate(cluster, &mut means.ids, &moved)
}
