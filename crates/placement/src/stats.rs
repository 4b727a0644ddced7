//! What a leader would tell whoever watches the cluster: plain numbers.
//!
//! **Invariants.** What has ended or was heard only grows while this node leads.
//!
//! **Not here.** Single stores, Regions and operators: there are requests for them.

use crate::health::Health;
use crate::operator::{OperatorKind, OperatorStatus};
use crate::stores::{Liveness, Store, StoreState};
use std::collections::BTreeMap;

/// A name, and how many there are of it.
pub type Counts = BTreeMap<&'static str, u64>;

/// The numbers of one leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementStats {
    /// Stores by state: `up`, `disconnected`, `down`, `offline`, `tombstone`.
    pub stores: Counts,
    /// Regions that have reported to this leader.
    pub regions: u64,
    /// Operators at work, by kind.
    pub running: Counts,
    /// Operators that have ended, by kind and result.
    pub ended: BTreeMap<(&'static str, &'static str), u64>,
    /// Reports of stores.
    pub store_heartbeats: u64,
    /// Reports of Regions.
    pub region_heartbeats: u64,
}

/// All kinds of operators.
const KINDS: [OperatorKind; 6] = [
    OperatorKind::Leader,
    OperatorKind::Region,
    OperatorKind::Replica,
    OperatorKind::Merge,
    OperatorKind::Hot,
    OperatorKind::Admin,
];

/// None of any kind.
pub(crate) fn no_operators() -> Counts {
    KINDS.iter().map(|kind| (kind_name(*kind), 0)).collect()
}

pub(crate) fn kind_name(kind: OperatorKind) -> &'static str {
    match kind {
        OperatorKind::Leader => "leader",
        OperatorKind::Region => "region",
        OperatorKind::Replica => "replica",
        OperatorKind::Merge => "merge",
        OperatorKind::Hot => "hot",
        OperatorKind::Admin => "admin",
    }
}

/// How an operator ended.
pub(crate) fn result_name(status: OperatorStatus) -> &'static str {
    match status {
        OperatorStatus::Running => "running",
        OperatorStatus::Finished => "finished",
        OperatorStatus::TimedOut => "timed-out",
        OperatorStatus::Cancelled(_) => "cancelled",
    }
}

/// The stores by state.
pub(crate) fn count_stores(health: &Health<'_>) -> Counts {
    let names = ["up", "disconnected", "down", "offline", "tombstone"];
    let mut counts: Counts = names.into_iter().map(|name| (name, 0)).collect();
    for store in health.stores() {
        *counts.entry(state_name(health, store)).or_default() += 1;
    }
    counts
}

fn state_name(health: &Health<'_>, store: &Store) -> &'static str {
    match (store.state, health.liveness(store.id)) {
        (StoreState::Tombstone, _) => "tombstone",
        (StoreState::Offline, _) => "offline",
        (StoreState::Up, Liveness::Connected) => "up",
        (StoreState::Up, Liveness::Disconnected) => "disconnected",
        (StoreState::Up, Liveness::Down) => "down",
    }
}
