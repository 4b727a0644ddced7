//! Operators that somebody asks for.
//!
//! **Invariant.** What is asked is checked against the Region as it was reported last; the rules of all
//! operators hold for these as well, but no limits.
//!
//! **Not here.** Splits and scattering of many Regions: `split`, `schedule::scatter`.

use crate::check;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind, OperatorStep};
use crate::plan;
use crate::stores::StoreState;
use types::{RegionId, StoreId};

/// An operator that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorRequest {
    /// Another replica leads.
    TransferLeader {
        /// The Region.
        region_id: RegionId,
        /// The replica's store.
        to: StoreId,
    },
    /// Another store has a replica.
    AddPeer {
        /// The Region.
        region_id: RegionId,
        /// The store.
        store_id: StoreId,
    },
    /// A store has no replica any more.
    RemovePeer {
        /// The Region.
        region_id: RegionId,
        /// The store.
        store_id: StoreId,
    },
    /// A replica moves.
    TransferPeer {
        /// The Region.
        region_id: RegionId,
        /// From this store.
        from: StoreId,
        /// To this one.
        to: StoreId,
    },
    /// A Region merges into a neighbour.
    Merge {
        /// The Region.
        source: RegionId,
        /// The neighbour.
        target: RegionId,
    },
    /// A Region splits.
    Split {
        /// The Region.
        region_id: RegionId,
        /// At these keys; none: in the middle.
        keys: Vec<Vec<u8>>,
    },
}

/// A Region, the stores that it is to be on, and what that is called.
type Membership<'a> = (&'a RegionSeen, Vec<StoreId>, &'static str);

fn refused(region_id: RegionId, reason: &'static str) -> Error {
    Error::OperatorRefused { region_id, reason }
}

/// The operators that do what is asked.
pub(crate) fn operators(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    request: OperatorRequest,
) -> Result<Vec<Operator>> {
    let one = |seen, purpose, steps| {
        let now = cluster.health.now;
        Ok(vec![Operator::new(
            now,
            seen,
            OperatorKind::Admin,
            purpose,
            steps,
        )])
    };
    let (seen, wanted, purpose) = match request {
        OperatorRequest::TransferLeader { region_id, to } => {
            let seen = find(cluster, region_id)?;
            check_has(seen, to)?;
            let steps = vec![OperatorStep::TransferLeader { to }];
            return one(seen, "admin-transfer-leader", steps);
        }
        OperatorRequest::Split { region_id, keys } => {
            let seen = find(cluster, region_id)?;
            if region_id == RegionId::PLACEMENT {
                return Err(refused(region_id, "the placement region is never split"));
            }
            let range = &seen.region.range;
            let is_inside = |key: &Vec<u8>| range.contains(key) && *key != range.start;
            if !keys.iter().all(is_inside) {
                return Err(refused(region_id, "a key is not inside of the region"));
            }
            return one(
                seen,
                "admin-split-region",
                vec![OperatorStep::Split { keys }],
            );
        }
        OperatorRequest::Merge { source, target } => {
            return check::merge_by_request(cluster, ids, source, target);
        }
        OperatorRequest::AddPeer {
            region_id,
            store_id,
        } => add_peer(cluster, region_id, store_id)?,
        OperatorRequest::RemovePeer {
            region_id,
            store_id,
        } => remove_peer(cluster, region_id, store_id)?,
        OperatorRequest::TransferPeer {
            region_id,
            from,
            to,
        } => {
            let seen = find(cluster, region_id)?;
            check_has(seen, from)?;
            check_target(cluster, seen, to)?;
            (seen, plan::exchanged(seen, from, to), "admin-transfer-peer")
        }
    };
    let steps = plan::steps(cluster, ids, seen, &wanted);
    let steps =
        steps.ok_or_else(|| refused(seen.region.id, "no other replica can lead the region"))?;
    one(seen, purpose, steps)
}

fn add_peer<'a>(cluster: &Cluster<'a>, id: RegionId, store: StoreId) -> Result<Membership<'a>> {
    let seen = find(cluster, id)?;
    check_target(cluster, seen, store)?;
    let mut wanted = stores(seen);
    wanted.push(store);
    Ok((seen, wanted, "admin-add-peer"))
}

fn remove_peer<'a>(cluster: &Cluster<'a>, id: RegionId, store: StoreId) -> Result<Membership<'a>> {
    let seen = find(cluster, id)?;
    check_has(seen, store)?;
    let mut wanted = stores(seen);
    wanted.retain(|other| *other != store);
    Ok((seen, wanted, "admin-remove-peer"))
}

fn find<'a>(cluster: &Cluster<'a>, id: RegionId) -> Result<&'a RegionSeen> {
    let seen = cluster.health.observed.region(id);
    seen.ok_or(Error::RegionNotFound(id))
}

fn stores(seen: &RegionSeen) -> Vec<StoreId> {
    seen.region.peers.iter().map(|peer| peer.store_id).collect()
}

fn check_has(seen: &RegionSeen, store: StoreId) -> Result<()> {
    let has = seen.region.peer_on(store).is_some();
    has.then_some(())
        .ok_or_else(|| refused(seen.region.id, "the store has no replica"))
}

fn check_target(cluster: &Cluster<'_>, seen: &RegionSeen, store: StoreId) -> Result<()> {
    cluster.health.state.stores.get(store)?;
    if seen.region.peer_on(store).is_some() {
        return Err(refused(seen.region.id, "the store has a replica already"));
    }
    if cluster.health.store_state(store) != StoreState::Up {
        return Err(refused(seen.region.id, "the store is not in service"));
    }
    Ok(())
}
