//! Where Regions are once nothing happens any more: on the stores that their newest shapes name, complete
//! and equally far; nothing of them is anywhere else.
//!
//! **Invariants.** The newest shape of a Region is the one with the highest epoch that any store has.
//!
//! **Not here.** A store whose replica was removed while nobody who knows of it could be asked: its
//! peers of that time were removed, too. It is told by nobody, keeps what it has and is tolerated
//! ([`has_nobody_to_ask`]). What a store may have at any other time (`tiling`, `replicas`).

use super::tiling;
use crate::store::{Found, Life};
use std::collections::BTreeMap;
use types::{Region, RegionId, StoreId};

/// Checks all stores; they are numbered from 1 on.
pub(crate) fn check(lives: &[&Life]) -> Result<(), String> {
    let found: Result<Vec<Found>, String> = lives.iter().map(|life| life.found()).collect();
    let found = found?;
    let newest = newest(&found);
    let mut shapes: Vec<Region> = newest
        .values()
        .map(|region| Region::clone(region))
        .collect();
    shapes.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    tiling::check(&shapes)?;
    for region in &shapes {
        check_members(region, &found)?;
    }
    for (number, store) in (1..).zip(&found) {
        check_strays(StoreId(number), store, &newest)?;
    }
    Ok(())
}

fn newest(found: &[Found]) -> BTreeMap<RegionId, &Region> {
    let mut newest: BTreeMap<RegionId, &Region> = BTreeMap::new();
    for (region, _) in found.iter().flat_map(|store| &store.regions) {
        let known = newest.entry(region.id).or_insert(region);
        let age = |region: &Region| (region.epoch.version, region.epoch.conf_ver);
        if age(region) > age(known) {
            *known = region;
        }
    }
    newest
}

fn check_members(region: &Region, found: &[Found]) -> Result<(), String> {
    if raftstore::op::conf_change::is_joint(region) {
        return Err(format!(
            "a joint configuration is left half done: {region:?}"
        ));
    }
    let mut indexes = Vec::new();
    for peer in &region.peers {
        let store = &found[peer.store_id.get() as usize - 1];
        let here = store.regions.iter().find(|(here, _)| here.id == region.id);
        match here {
            Some((shape, index)) if shape == region => indexes.push(*index),
            _ => {
                let here = here.map(|(shape, _)| shape);
                return Err(format!(
                    "store {} has {here:?} where its newest shape is {region:?}",
                    peer.store_id
                ));
            }
        }
    }
    match indexes.windows(2).all(|pair| pair[0] == pair[1]) {
        true => Ok(()),
        false => Err(format!(
            "replicas of Region {} have applied differently far: {indexes:?}",
            region.id
        )),
    }
}

fn check_strays(
    id: StoreId,
    store: &Found,
    newest: &BTreeMap<RegionId, &Region>,
) -> Result<(), String> {
    let mut is_excused = false;
    for (shape, _) in &store.regions {
        let region = newest[&shape.id];
        if region.peer_on(id).is_some() {
            continue;
        }
        if !has_nobody_to_ask(id, shape, region) {
            return Err(format!(
                "store {id} still has {shape:?}, which is {region:?}"
            ));
        }
        is_excused = true;
    }
    let has_replica = |id: &RegionId| store.regions.iter().any(|(region, _)| region.id == *id);
    if let Some(log) = store.logs.iter().find(|log| !has_replica(log)) {
        return Err(format!(
            "store {id} has a log of Region {log} and no replica"
        ));
    }
    match store.stray_keys {
        0 => Ok(()),
        _ if is_excused => Ok(()),
        count => Err(format!(
            "store {id} holds {count} keys of no Region of its own"
        )),
    }
}

/// Whether all the others that a removed replica knows were removed as well.
fn has_nobody_to_ask(id: StoreId, shape: &Region, newest: &Region) -> bool {
    let mut others = shape.peers.iter().filter(|peer| peer.store_id != id);
    others.all(|peer| newest.peer(peer.id).is_none())
}
