//! The number and the places of a Region's voters: those on lost stores are replaced, then those that are
//! quarantined, then those on stores that are drained; missing ones are added, surplus ones removed; and if
//! stores could be further apart, one moves.
//!
//! **Invariant.** Nothing is removed that is needed: see `operator`.

use super::repair;
use crate::cluster::Cluster;
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind};
use crate::plan;
use crate::stores::StoreState;
use std::cmp::Reverse;
use types::{Peer, StoreId};

pub(super) fn propose(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    seen: &RegionSeen,
) -> Option<Operator> {
    let health = &cluster.health;
    let operators = cluster.operators;
    let replicas = usize::try_from(health.settings.max_replicas).unwrap_or(usize::MAX);
    let peers = &seen.region.peers;
    let stores: Vec<StoreId> = peers.iter().map(|peer| peer.store_id).collect();
    let lost = stores.iter().find(|store| health.is_lost(**store));
    let is_draining = |store: &&StoreId| {
        let is_offline = health.store_state(**store) == StoreState::Offline;
        is_offline && operators.allows_remove(health, **store)
    };
    let (wanted, purpose) = if let Some(lost) = lost {
        (
            without(cluster, seen, *lost, replicas)?,
            "replace-lost-replica",
        )
    } else if let Some(quarantined) = quarantined(seen) {
        replace_quarantined(cluster, seen, quarantined, replicas)?
    } else if let Some(draining) = stores.iter().find(is_draining) {
        let wanted = without(cluster, seen, *draining, replicas)?;
        (wanted, "replace-drained-replica")
    } else if stores.len() < replicas {
        let target = cluster.best_target(seen, &stores)?;
        ([&stores[..], &[target]].concat(), "add-missing-replica")
    } else if stores.len() > replicas {
        let wanted = others(&stores, surplus(cluster, seen, &stores)?);
        (wanted, "remove-surplus-replica")
    } else {
        (
            further_apart(cluster, seen, &stores)?,
            "move-replica-further-apart",
        )
    };
    if !operators.allows(health.settings, OperatorKind::Replica, 1) {
        return None;
    }
    let steps = plan::steps(cluster, ids, seen, &wanted)?;
    Some(repair(cluster, seen, purpose, steps))
}

fn others(stores: &[StoreId], without: StoreId) -> Vec<StoreId> {
    let others = stores.iter().filter(|store| **store != without);
    others.copied().collect()
}

/// A store whose replica holds what it should not.
fn quarantined(seen: &RegionSeen) -> Option<StoreId> {
    let peers = seen.region.peers.iter();
    let mut bad = peers.filter(|peer| seen.quarantined().contains(&peer.id));
    bad.next().map(|peer| peer.store_id)
}

/// By one on another store. Where no other store can take one, it goes first if most others are well and
/// its own store can take a new one: until then it is a voter that may be needed.
fn replace_quarantined(
    cluster: &Cluster<'_>,
    seen: &RegionSeen,
    store: StoreId,
    replicas: usize,
) -> Option<(Vec<StoreId>, &'static str)> {
    if let Some(wanted) = without(cluster, seen, store, replicas) {
        return Some((wanted, "replace-quarantined-replica"));
    }
    let is_well =
        |peer: &&Peer| seen.is_peer_well(peer.id) && cluster.health.is_alive(peer.store_id);
    let well = seen.region.peers.iter().filter(is_well);
    let stores: Vec<StoreId> = seen.region.peers.iter().map(|peer| peer.store_id).collect();
    let mut all = cluster.health.stores();
    let is_open = all.any(|it| it.id == store && cluster.can_receive(it));
    let is_safe = is_open && well.count() > replicas / 2;
    is_safe.then(|| (others(&stores, store), "remove-quarantined-replica"))
}

/// The stores without one whose replica is to be replaced, and with another if it is needed.
fn without(
    cluster: &Cluster<'_>,
    seen: &RegionSeen,
    store: StoreId,
    replicas: usize,
) -> Option<Vec<StoreId>> {
    let stores: Vec<StoreId> = seen.region.peers.iter().map(|peer| peer.store_id).collect();
    let mut wanted = others(&stores, store);
    if wanted.len() < replicas {
        wanted.push(cluster.best_target(seen, &wanted)?);
    }
    Some(wanted)
}

/// The store whose replica is missed least: one that is not well, then the one nearest to others, then
/// the one on the fullest store; rather not the leader's.
fn surplus(cluster: &Cluster<'_>, seen: &RegionSeen, stores: &[StoreId]) -> Option<StoreId> {
    let leader = seen.leader().store_id;
    let rank = |peer: &&Peer| {
        let store = peer.store_id;
        let is_well = seen.is_peer_well(peer.id) && cluster.health.is_alive(store);
        let isolation = cluster.isolation(store, &others(stores, store));
        let score = Reverse(cluster.region_score(store));
        (is_well, isolation, store == leader, score, store)
    };
    seen.region
        .peers
        .iter()
        .min_by_key(rank)
        .map(|peer| peer.store_id)
}

/// The stores, with the one nearest to the others exchanged for one that is further away.
fn further_apart(
    cluster: &Cluster<'_>,
    seen: &RegionSeen,
    stores: &[StoreId],
) -> Option<Vec<StoreId>> {
    if cluster.health.settings.location_labels.is_empty() || !seen.is_well() {
        return None;
    }
    let isolation = |store: &StoreId| cluster.isolation(*store, &others(stores, *store));
    let nearest = *stores
        .iter()
        .min_by_key(|store| (isolation(store), **store))?;
    let kept = others(stores, nearest);
    let target = cluster.best_target(seen, &kept)?;
    let is_better = cluster.isolation(target, &kept) > isolation(&nearest);
    is_better.then(|| plan::exchanged(seen, nearest, target))
}
