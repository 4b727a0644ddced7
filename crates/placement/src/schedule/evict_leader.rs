//! A store leads nothing: somebody asked for it, before a restart for instance.
//!
//! **Not here.** That nobody gives it leaders meanwhile: `cluster` knows the evicted stores.

use super::{Means, draw, transfer};
use crate::cluster::Cluster;
use crate::operator::{Operator, OperatorKind};
use types::StoreId;

pub(super) fn propose(
    cluster: &Cluster<'_>,
    means: &mut Means<'_>,
    store: StoreId,
) -> Option<Operator> {
    evict(cluster, means, store, "evict-leader")
}

/// Moves one of a store's leaders away.
pub(super) fn evict(
    cluster: &Cluster<'_>,
    means: &mut Means<'_>,
    store: StoreId,
    purpose: &'static str,
) -> Option<Operator> {
    let drawn = draw(cluster, means.rng, store, |load| &load.leaders);
    drawn.into_iter().find_map(|seen| {
        let peers = seen.region.peers.iter().map(|peer| peer.store_id);
        let others: Vec<StoreId> = peers.filter(|other| *other != store).collect();
        let to = cluster.best_leader(seen, &others)?;
        Some(transfer(cluster, seen, OperatorKind::Leader, purpose, to))
    })
}
