//! Where Regions are once nothing happens any more: on the stores that their newest shapes name, complete
//! and equally far; nothing of them, or of Regions that were merged, is anywhere else.
//!
//! **Invariants.** The newest shape of a Region is the one with the highest epoch that any store has. A
//! Region was merged if any store has a tombstone that says so.
//!
//! **Not here.** A store whose replica was removed while nobody who knows of it could be asked: its
//! peers of that time were removed, too. It is told by nobody, keeps what it has and is tolerated
//! ([`has_nobody_to_ask`]), and with it what it has yet to take in. What a store may have at any other
//! time (`tiling`, `replicas`).

use super::tiling;
use crate::store::{Found, Life};
use raftstore::state::MergedInto;
use std::collections::BTreeMap;
use types::{Region, RegionId, StoreId};

/// Checks all stores; they are numbered from 1 on.
pub(crate) fn check(lives: &[&Life]) -> Result<(), String> {
    let found: Result<Vec<Found>, String> = lives.iter().map(|life| life.found()).collect();
    let found = found?;
    let newest = newest(&found);
    let merged: BTreeMap<RegionId, MergedInto> = found
        .iter()
        .flat_map(|store| store.merged.clone())
        .collect();
    let alive = newest.values().filter(|it| !merged.contains_key(&it.id));
    let mut shapes: Vec<Region> = alive.map(|region| Region::clone(region)).collect();
    shapes.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    tiling::check(&shapes)?;
    for region in &shapes {
        check_members(region, &found)?;
    }
    for (number, store) in (1..).zip(&found) {
        check_strays(StoreId(number), store, &newest, &found)?;
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
    found: &[Found],
) -> Result<(), String> {
    let strays = strays(id, store, newest, found);
    for (shape, standing) in &strays {
        if let Standing::Lost(why) = standing {
            return Err(format!("store {id} still has {shape:?}, which {why}"));
        }
    }
    let is_excused = !strays.is_empty();
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

/// What a replica is that should not be there.
enum Standing {
    /// Somebody can tell it, and nobody has.
    Lost(String),
    /// Nobody can, or it is needed by one that nobody can tell.
    Excused,
}

fn strays<'a>(
    id: StoreId,
    store: &'a Found,
    newest: &BTreeMap<RegionId, &Region>,
    found: &[Found],
) -> Vec<(&'a Region, Standing)> {
    let mut strays = Vec::new();
    for (shape, _) in &store.regions {
        let region = newest[&shape.id];
        let knows = |store: &&Found| store.merged.contains_key(&shape.id);
        let is_merged = found.iter().any(|store| knows(&store));
        if !is_merged && region.peer_on(id).is_some() {
            continue;
        }
        let others = shape.peers.iter().map(|peer| peer.store_id);
        let mut others = others.filter(|store| *store != id);
        let is_told = match is_merged {
            true => others.any(|other| knows(&&found[other.get() as usize - 1])),
            false => !has_nobody_to_ask(id, shape, region),
        };
        let standing = match is_told {
            true if is_merged => Standing::Lost("was merged".to_owned()),
            true => Standing::Lost(format!("is {region:?}")),
            false => Standing::Excused,
        };
        strays.push((shape, standing));
    }
    excuse_needed(&mut strays, found);
    strays
}

/// A replica that is to be taken in stays as long as the one that is to take it in.
fn excuse_needed(strays: &mut [(&Region, Standing)], found: &[Found]) {
    loop {
        let excused: Vec<(RegionId, u64)> = strays
            .iter()
            .filter(|(_, standing)| matches!(standing, Standing::Excused))
            .map(|(shape, _)| (shape.id, shape.epoch.version))
            .collect();
        let is_needed = |source: RegionId| {
            let mut targets = found.iter().filter_map(|store| store.merged.get(&source));
            targets.any(|into| {
                let mut excused = excused.iter();
                excused.any(|(id, version)| *id == into.region_id && *version < into.version)
            })
        };
        let lost = |(_, standing): &&mut (&Region, Standing)| matches!(standing, Standing::Lost(_));
        let needed = strays.iter_mut().filter(lost);
        let mut has_changed = false;
        for (_, standing) in needed.filter(|(shape, _)| is_needed(shape.id)) {
            *standing = Standing::Excused;
            has_changed = true;
        }
        if !has_changed {
            return;
        }
    }
}

/// Whether all the others that a removed replica knows were removed as well.
fn has_nobody_to_ask(id: StoreId, shape: &Region, newest: &Region) -> bool {
    let mut others = shape.peers.iter().filter(|peer| peer.store_id != id);
    others.all(|peer| newest.peer(peer.id).is_none())
}
