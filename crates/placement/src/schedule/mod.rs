//! Schedulers: each looks for one thing to improve between stores, draws Regions at random from those
//! of a few stores, and proposes operators.
//!
//! **Why at random.** Looking at all Regions of a store costs more than the move is worth; of a store
//! that has too much, most Regions will do.
//!
//! **Invariant.** A scheduler proposes only what makes the difference between two stores smaller, or
//! what somebody asked for. So balance comes to rest.
//!
//! **Not here.** When each runs: `scheduling`. Single Regions that are not in order: `check`.

mod balance_leader;
mod balance_region;
mod evict_leader;
mod hot_region;
mod scatter;
mod shuffle_leader;
mod shuffle_region;

use crate::cluster::Cluster;
use crate::ids::PeerIds;
use crate::load::{Bag, StoreLoad};
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind, OperatorStep};
use crate::plan;
use crate::rng::Rng;
use crate::schedulers::SchedulerName;
use types::StoreId;

pub(crate) mod evict_slow_store;
pub(crate) use scatter::{Groups, scatter};

/// How many Regions are drawn from a store before another one is looked at.
const DRAWS: usize = 5;

/// What a scheduler draws from.
pub(crate) struct Means<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) ids: PeerIds<'a>,
}

/// What this scheduler finds to do, if anything.
pub(crate) fn propose(
    name: SchedulerName,
    cluster: &Cluster<'_>,
    means: &mut Means<'_>,
) -> Option<Operator> {
    match name {
        SchedulerName::BalanceLeader => balance_leader::propose(cluster, means),
        SchedulerName::BalanceRegion => balance_region::propose(cluster, means),
        SchedulerName::HotRegion => hot_region::propose(cluster, means),
        SchedulerName::EvictLeader(store) => evict_leader::propose(cluster, means, store),
        SchedulerName::EvictSlowStore => evict_slow_store::propose(cluster, means),
        SchedulerName::ShuffleLeader => shuffle_leader::propose(cluster, means),
        SchedulerName::ShuffleRegion => shuffle_region::propose(cluster, means),
    }
}

/// The kind of this scheduler's operators.
pub(crate) fn kind(name: SchedulerName) -> OperatorKind {
    match name {
        SchedulerName::BalanceLeader
        | SchedulerName::EvictLeader(_)
        | SchedulerName::EvictSlowStore
        | SchedulerName::ShuffleLeader => OperatorKind::Leader,
        SchedulerName::BalanceRegion | SchedulerName::ShuffleRegion => OperatorKind::Region,
        SchedulerName::HotRegion => OperatorKind::Hot,
    }
}

/// Regions in order, drawn from a bag of a store.
fn draw<'a>(
    cluster: &Cluster<'a>,
    rng: &mut Rng,
    store: StoreId,
    bag: impl Fn(&'a StoreLoad) -> &'a Bag,
) -> Vec<&'a RegionSeen> {
    let Some(load) = cluster.health.observed.load(store) else {
        return Vec::new();
    };
    let draws = (0..DRAWS).filter_map(|_| rng.pick(bag(load)));
    draws.filter_map(|id| cluster.idle(*id)).collect()
}

/// An operator that hands a Region's leadership over.
fn transfer(
    cluster: &Cluster<'_>,
    seen: &RegionSeen,
    kind: OperatorKind,
    purpose: &'static str,
    to: StoreId,
) -> Operator {
    let steps = vec![OperatorStep::TransferLeader { to }];
    Operator::new(cluster.health.now, seen, kind, purpose, steps)
}

/// What moves where.
struct Move<'a> {
    seen: &'a RegionSeen,
    kind: OperatorKind,
    purpose: &'static str,
    from: StoreId,
    to: StoreId,
}

/// An operator that moves a replica to another store.
fn relocate(cluster: &Cluster<'_>, ids: &mut PeerIds<'_>, moved: &Move<'_>) -> Option<Operator> {
    let wanted = plan::exchanged(moved.seen, moved.from, moved.to);
    let steps = plan::steps(cluster, ids, moved.seen, &wanted)?;
    let now = cluster.health.now;
    Some(Operator::new(
        now,
        moved.seen,
        moved.kind,
        moved.purpose,
        steps,
    ))
}

/// Those of the stores that `receive` that may take a replica's place, and leave the Region's as far
/// apart as they are.
fn replacements(
    cluster: &Cluster<'_>,
    receive: &[StoreId],
    seen: &RegionSeen,
    from: StoreId,
) -> Vec<StoreId> {
    let peers = seen.region.peers.iter().map(|peer| peer.store_id);
    let kept: Vec<StoreId> = peers.filter(|store| *store != from).collect();
    let isolation = cluster.isolation(from, &kept);
    let new = receive.iter().copied();
    let new = new.filter(|store| seen.region.peer_on(*store).is_none());
    new.filter(|store| cluster.isolation(*store, &kept) >= isolation)
        .collect()
}
