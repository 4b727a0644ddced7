//! Taking stores out of service: draining, coming back, and leaving for good.
//!
//! **The way out.** A store that is drained stays, and serves, while its replicas are replaced one by one,
//! that of the placement Region as well. When no Region has a replica on it, it becomes a tombstone, and whoever comes under its id is refused.
//! Tombstones stay in the list until somebody has them removed.
//!
//! **Invariants.** No store is drained if too few would be left for the replicas of a Region, or for the
//! placement driver's own majority. No store with a replica becomes a tombstone; as long as the Regions
//! that are known leave a part of the key space out, or the placement Region's own are not known, none
//! does.
//!
//! **Not here.** Moving replicas: `check::replica`.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::health::Health;
use crate::state::{Change, Durable};
use crate::stores::{Store, StoreState};
use std::sync::Arc;
use types::{RegionId, StoreId};

/// What draining a store changes. `health` is of the staged state.
pub(crate) fn plan_drain(
    health: &Health<'_>,
    config: &Config,
    id: StoreId,
) -> Result<Option<Change>> {
    let store = health.state.stores.get(id)?;
    match store.state {
        StoreState::Tombstone => return Err(Error::StoreTombstone(id)),
        StoreState::Offline => return Ok(None),
        StoreState::Up => {}
    }
    let refused = |reason: String| {
        Err(Error::StoreRefused {
            store_id: id,
            reason: format!("can't be drained: {reason}"),
        })
    };
    let stays = |store: StoreId| {
        store != id && health.store_state(store) == StoreState::Up && health.is_alive(store)
    };
    let left = health.stores().filter(|store| stays(store.id)).count() as u64;
    let replicas = health.settings.max_replicas;
    if left < replicas {
        return refused(format!(
            "too few stores would be left: {left} for {replicas} replicas of each region"
        ));
    }
    let members = health.observed.placement_stores(config);
    let members = members.unwrap_or_else(|| first_members(config));
    let left = members.iter().filter(|store| stays(**store)).count();
    if members.contains(&id) && left * 2 <= members.len() {
        return refused(format!(
            "{left} of {} members of placement would be left, which is no majority",
            members.len()
        ));
    }
    Ok(Some(with_state(store, StoreState::Offline)))
}

/// The placement Region's first stores: the best guess until it has reported.
fn first_members(config: &Config) -> Vec<StoreId> {
    let mut regions = config.bootstrap.regions.iter();
    let own = regions.find(|region| region.id == RegionId::PLACEMENT);
    let peers = own.into_iter().flat_map(|region| &region.peers);
    peers.map(|peer| peer.store_id).collect()
}

/// What taking a store back into service changes.
pub(crate) fn plan_cancel_drain(state: &Durable, id: StoreId) -> Result<Option<Change>> {
    let store = state.stores.get(id)?;
    match store.state {
        StoreState::Tombstone => Err(Error::StoreTombstone(id)),
        StoreState::Up => Ok(None),
        StoreState::Offline => Ok(Some(with_state(store, StoreState::Up))),
    }
}

/// The drained stores that leave now. `members` are those with a replica of the placement Region, if they
/// are known.
pub(crate) fn plan_bury(state: &Durable, members: Option<&[StoreId]>) -> Vec<Change> {
    let Some(members) = members else {
        return Vec::new();
    };
    let is_empty = |store: &&Arc<Store>| {
        let is_offline = store.state == StoreState::Offline;
        is_offline && state.routes.peers_on(store.id) == 0 && !members.contains(&store.id)
    };
    let empty: Vec<&Arc<Store>> = state.stores.iter().filter(is_empty).collect();
    if empty.is_empty() || state.routes.has_gap() {
        return Vec::new();
    }
    let buried = empty.into_iter();
    buried
        .map(|store| with_state(store, StoreState::Tombstone))
        .collect()
}

/// What forgetting all tombstones changes.
pub(crate) fn plan_remove_tombstones(state: &Durable) -> Vec<Change> {
    let tombstones = state
        .stores
        .iter()
        .filter(|store| store.state == StoreState::Tombstone);
    let free = tombstones.filter(|store| state.routes.peers_on(store.id) == 0);
    free.map(|store| Change::RemoveStore(store.id)).collect()
}

fn with_state(store: &Store, state: StoreState) -> Change {
    Change::Store(Arc::new(Store {
        state,
        ..store.clone()
    }))
}
