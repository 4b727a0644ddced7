//! Small Regions merge into a neighbour, so that emptied ranges do not cost what full ones do.
//!
//! **How.** The smaller one moves to the stores of its neighbour, then it merges into it. Both have an
//! operator for as long as that takes, so that nothing else moves either of them.
//!
//! **Invariants.** A Region merges only if both are in order, neither has changed its range lately, and
//! the result is not so large that it would be split again.
//!
//! **Not here.** The merge itself, which is the two Regions' own.

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind, OperatorStep};
use crate::plan;
use types::{RegionId, StoreId};

/// No Region is small that has more than this part of what one holds after it was cut.
const SMALL_PART: u64 = 4;

/// The two operators of a merge, if this Region is to be merged.
pub(super) fn propose(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    seen: &RegionSeen,
) -> Option<Vec<Operator>> {
    let settings = cluster.health.settings;
    let (split_bytes, split_keys) = cluster.config.region_split;
    let is_small = seen.size_bytes > 0
        && seen.size_bytes <= (settings.max_merge_region_mib << 20).min(split_bytes / SMALL_PART)
        && seen.keys <= settings.max_merge_region_keys.min(split_keys / SMALL_PART);
    let has_room = cluster.operators.allows(settings, OperatorKind::Merge, 2);
    if !is_small || !has_room || !is_settled(cluster, seen) {
        return None;
    }
    let neighbours = cluster.health.state.routes.neighbours(&seen.region);
    let neighbours = neighbours.into_iter().flatten();
    let fits = |target: &&RegionSeen| {
        if !may_merge(cluster, seen, target) {
            return false;
        }
        let merged_bytes = target.size_bytes.saturating_add(seen.size_bytes);
        target.size_bytes > 0
            && merged_bytes <= (settings.max_merged_region_mib << 20).min(split_bytes)
            && target.keys.saturating_add(seen.keys) <= split_keys
            && is_settled(cluster, target)
    };
    let fitting = neighbours
        .filter_map(|region| cluster.idle(region.id))
        .filter(fits);
    let target = fitting.min_by_key(|target| (target.size_bytes, target.region.id))?;
    operators(cluster, ids, seen, target, OperatorKind::Merge)
}

/// The two operators of a merge that somebody asks for.
pub(crate) fn request(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    source: RegionId,
    target: RegionId,
) -> Result<Vec<Operator>> {
    let refused = |reason| Error::OperatorRefused {
        region_id: source,
        reason,
    };
    let known = |id| {
        cluster
            .idle(id)
            .ok_or_else(|| refused("both have to be in order and idle"))
    };
    let (source, target) = (known(source)?, known(target)?);
    if !may_merge(cluster, source, target) {
        return Err(refused(
            "the Regions do not touch each other, or have to stay apart",
        ));
    }
    let operators = operators(cluster, ids, source, target, OperatorKind::Admin);
    operators.ok_or_else(|| refused("there is no way to the other Region's stores now"))
}

/// Whether nothing is between the Regions, not even a boundary that is to stay.
fn may_merge(cluster: &Cluster<'_>, one: &RegionSeen, other: &RegionSeen) -> bool {
    let (a, b) = (&one.region.range, &other.region.range);
    let boundary = if a.end == b.start { &a.end } else { &b.end };
    let touches = a.end == b.start || b.end == a.start;
    touches && !boundary.is_empty() && !cluster.config.kept_boundaries.contains(boundary)
}

fn is_settled(cluster: &Cluster<'_>, seen: &RegionSeen) -> bool {
    let health = &cluster.health;
    let age_ms = health.now.monotonic_ms.saturating_sub(seen.range_since_ms);
    let mut stores = seen.region.peers.iter().map(|peer| peer.store_id);
    age_ms >= health.settings.split_merge_interval_ms
        && cluster.idle(seen.region.id).is_some()
        && stores.all(|store| health.is_alive(store))
}

fn operators(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    source: &RegionSeen,
    target: &RegionSeen,
    kind: OperatorKind,
) -> Option<Vec<Operator>> {
    let (from, to) = (source.region.id, target.region.id);
    let stores: Vec<StoreId> = target
        .region
        .peers
        .iter()
        .map(|peer| peer.store_id)
        .collect();
    let is_open = |store: &&StoreId| {
        let is_there = source.region.peer_on(**store).is_some();
        is_there || cluster.operators.allows_add(&cluster.health, **store)
    };
    if !stores.iter().all(|store| is_open(&store)) {
        return None;
    }
    let mut steps = plan::steps(cluster, ids, source, &stores)?;
    steps.push(OperatorStep::Merge { target: to });
    let await_merge = vec![OperatorStep::AwaitMerge { source: from }];
    let now = cluster.health.now;
    let mut merges = Operator::new(now, source, kind, "merge-region", steps);
    let mut awaits = Operator::new(now, target, kind, "merge-region", await_merge);
    merges.partner = Some(to);
    awaits.partner = Some(from);
    Some(vec![merges, awaits])
}
