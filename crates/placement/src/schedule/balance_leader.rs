//! Leaders are spread evenly: by their number, since each costs about the same.
//!
//! **How.** From the store that leads most, a Region's leader moves to the follower that leads least; if
//! none will do, the store that leads least takes one over.
//!
//! **Invariant.** After a move the giver still leads at least as many as the taker.

use super::{Means, draw, transfer};
use crate::cluster::Cluster;
use crate::operator::{Operator, OperatorKind};
use std::cmp::Reverse;
use types::StoreId;

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let mut stores: Vec<(i64, StoreId)> = cluster
        .up()
        .into_iter()
        .map(|store| (cluster.leader_score(store), store))
        .collect();
    let total = stores.iter().map(|(score, _)| score).sum();
    let tolerance = cluster.tolerance(total, stores.len());
    let is_worth_it = |from: i64, to: i64| from - to >= 2 + tolerance;
    stores.sort_unstable();
    let (least, most) = (stores.first()?.0, stores.last()?.0);
    if !is_worth_it(most, least) {
        return None;
    }
    let able: Vec<(i64, StoreId)> = stores
        .iter()
        .copied()
        .filter(|(_, store)| cluster.can_lead(*store))
        .collect();
    stores.sort_unstable_by_key(|(score, store)| (Reverse(*score), *store));
    let givers = stores
        .iter()
        .take_while(|(score, _)| is_worth_it(*score, least));
    for (score, giver) in givers.take(3) {
        for seen in draw(cluster, means.rng, *giver, |load| &load.leaders) {
            let has = |(_, store): &&(i64, StoreId)| seen.region.peer_on(*store).is_some();
            if let Some((to_score, to)) = able.iter().find(has)
                && is_worth_it(*score, *to_score)
            {
                let kind = OperatorKind::Leader;
                return Some(transfer(cluster, seen, kind, "balance-leader", *to));
            }
        }
    }
    let takers = able
        .iter()
        .take_while(|(score, _)| is_worth_it(most, *score));
    for (score, taker) in takers.take(3) {
        for seen in draw(cluster, means.rng, *taker, |load| &load.followers) {
            let leader = seen.leader().store_id;
            if is_worth_it(cluster.leader_score(leader), *score) {
                let kind = OperatorKind::Leader;
                return Some(transfer(cluster, seen, kind, "balance-leader", *taker));
            }
        }
    }
    None
}
