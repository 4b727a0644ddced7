//! Busy Regions are spread evenly, by the bytes that are read and written in a second.
//!
//! **How.** What is read is the leader's work: the leader moves to another replica, or its replica moves.
//! What is written is the work of all replicas: one of them moves. Moved is the busiest Region of the
//! busiest store that makes another store less busy than this one was.
//!
//! **Invariant.** After a move the taker is less busy than the giver was, by more than a fifth of what moved:
//! it never goes back at the same rates.

use super::{Means, Move, relocate, replacements, transfer};
use crate::cluster::{Cluster, signed};
use crate::load::StoreLoad;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind};
use std::collections::BTreeSet;
use types::{RegionId, StoreId};

/// How many of a store's busiest Regions are looked at.
const LOOKED_AT: usize = 32;

/// What is balanced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Read,
    Write,
}

impl Load {
    fn of_store(self, cluster: &Cluster<'_>, id: StoreId) -> i64 {
        let influence = cluster.operators.influence(id);
        let load = cluster.health.observed.load(id);
        match self {
            Load::Read => signed(load.map_or(0, |load| load.read_rate)) + influence.read_rate,
            Load::Write => signed(load.map_or(0, |load| load.write_rate)) + influence.write_rate,
        }
    }

    fn of_region(self, seen: &RegionSeen) -> i64 {
        match self {
            Load::Read => signed(seen.weight.read_rate),
            Load::Write => signed(seen.weight.write_rate),
        }
    }

    fn hottest(self, load: &StoreLoad) -> &BTreeSet<(u64, RegionId)> {
        match self {
            Load::Read => &load.hot_read,
            Load::Write => &load.hot_write,
        }
    }
}

pub(super) fn propose(cluster: &Cluster<'_>, means: &mut Means<'_>) -> Option<Operator> {
    let read = cool_down(cluster, means, Load::Read);
    read.or_else(|| cool_down(cluster, means, Load::Write))
}

fn cool_down(cluster: &Cluster<'_>, means: &mut Means<'_>, kind: Load) -> Option<Operator> {
    let stores = cluster.up().into_iter();
    let loads = stores.map(|store| (kind.of_store(cluster, store), store));
    let (from_load, from) = loads.max()?;
    let hottest = kind.hottest(cluster.health.observed.load(from)?);
    let hottest = hottest.iter().rev().take(LOOKED_AT);
    for seen in hottest.filter_map(|(_, id)| cluster.idle(*id)) {
        let moves = kind.of_region(seen);
        let is_worth_it = |to: &StoreId| {
            let after = kind.of_store(cluster, *to) + moves;
            after < from_load - moves / 5
        };
        let coolest = |stores: Vec<StoreId>| {
            let stores = stores.into_iter().filter(is_worth_it);
            stores.min_by_key(|store| (kind.of_store(cluster, *store), *store))
        };
        if kind == Load::Read {
            let peers = seen.region.peers.iter().map(|peer| peer.store_id);
            let followers = peers.filter(|store| *store != from && cluster.can_lead(*store));
            if let Some(to) = coolest(followers.collect()) {
                let kind = OperatorKind::Hot;
                return Some(transfer(cluster, seen, kind, "move-hot-read-leader", to));
            }
        }
        if kind == Load::Write
            && cluster.operators.allows_remove(&cluster.health, from)
            && let Some(to) = coolest(replacements(cluster, &cluster.receivers(), seen, from))
        {
            let moved = Move {
                seen,
                kind: OperatorKind::Hot,
                purpose: "move-hot-write-replica",
                from,
                to,
            };
            return relocate(cluster, &mut means.ids, &moved);
        }
    }
    None
}
