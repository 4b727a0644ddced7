//! A slow store leads nothing, until it has been fast for a while: every write waits for its leader,
//! but not for the slowest follower.
//!
//! **Invariant.** Only a minority of stores counts as slow. If most are, leaders are as well off where
//! they are.

use super::Means;
use super::evict_leader::evict;
use crate::cluster::Cluster;
use crate::health::Health;
use crate::operator::Operator;
use types::StoreId;

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let slow = slow(&cluster.health).into_iter();
    slow.filter_map(|store| evict(cluster, means, store, "evict-slow-store"))
        .next()
}

/// The stores that are slow, or were until lately.
pub(crate) fn slow(health: &Health<'_>) -> Vec<StoreId> {
    let stores = health.stores().map(|store| store.id);
    let alive: Vec<StoreId> = stores.filter(|store| health.is_alive(*store)).collect();
    let is_slow = |store: &&StoreId| {
        health
            .observed
            .is_slow(health.now, health.settings, **store)
    };
    let slow: Vec<StoreId> = alive.iter().filter(is_slow).copied().collect();
    if slow.len() * 2 < alive.len() {
        slow
    } else {
        Vec::new()
    }
}
