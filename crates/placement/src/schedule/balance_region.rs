//! Replicas are spread evenly: by how much they hold.
//!
//! **How.** From the store that holds most, a Region's replica moves to the store that holds least of
//! those that leave its replicas as far apart; rather a follower's than a leader's.
//!
//! **Invariant.** After a move the giver still holds at least as much as the taker.

use super::{Means, Move, draw, relocate, replacements};
use crate::cluster::{Cluster, signed};
use crate::operator::{Operator, OperatorKind};
use std::cmp::Reverse;
use types::StoreId;

/// How many stores are looked at.
const GIVERS: usize = 4;

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let up = cluster.up().into_iter();
    let mut stores: Vec<(i64, StoreId)> = up
        .map(|store| (cluster.region_score(store), store))
        .collect();
    let total = stores.iter().map(|(score, _)| score).sum();
    let tolerance = cluster.tolerance(total, stores.len());
    stores.sort_unstable_by_key(|(score, store)| (Reverse(*score), *store));
    // In the order of what they hold, so that the first that will do is the best.
    let receivers = cluster.receivers().into_iter();
    let mut receivers: Vec<(i64, StoreId)> = receivers
        .map(|store| (cluster.region_score(store), store))
        .collect();
    receivers.sort_unstable();
    let least = receivers.first()?.0;
    let receivers: Vec<StoreId> = receivers.into_iter().map(|(_, store)| store).collect();
    let givers = stores.iter().copied();
    let givers = givers.take_while(|(score, _)| *score - least > tolerance);
    let givers = givers.filter(|(_, id)| cluster.operators.allows_remove(&cluster.health, *id));
    for (score, from) in givers.take(GIVERS) {
        let mut drawn = draw(cluster, means.rng, from, |load| &load.followers);
        drawn.extend(draw(cluster, means.rng, from, |load| &load.leaders));
        for seen in drawn {
            let size = signed(seen.weight.size_bytes);
            let is_worth_it =
                |to: &StoreId| score - cluster.region_score(*to) >= 2 * size + tolerance;
            let mut targets = replacements(cluster, &receivers, seen, from).into_iter();
            let Some(to) = targets.next().filter(is_worth_it) else {
                continue;
            };
            let moved = Move {
                seen,
                kind: OperatorKind::Region,
                purpose: "balance-region",
                from,
                to,
            };
            return relocate(cluster, &mut means.ids, &moved);
        }
    }
    None
}
