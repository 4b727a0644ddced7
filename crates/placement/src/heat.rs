//! How busy stores and Regions are, for people who look.
//!
//! **Not here.** What is done about it: `schedule::hot_region`.

use crate::heartbeat::Traffic;
use crate::load::StoreLoad;
use crate::observed::Observed;
use crate::state::Durable;
use std::collections::BTreeSet;
use types::{RegionId, StoreId};

/// How busy a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHeat {
    /// Which.
    pub store_id: StoreId,
    /// What it told of itself last.
    pub traffic: Traffic,
    /// Regions that it leads and that are read much, the most first.
    pub reads: Vec<RegionHeat>,
    /// Regions with a replica on it that are written much, the most first.
    pub writes: Vec<RegionHeat>,
}

/// How busy a Region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionHeat {
    /// Which.
    pub region_id: RegionId,
    /// In bytes a second.
    pub rate_bytes: u64,
    /// For how many reports in a row it has been hot.
    pub reports: u32,
    /// Whether its leader is on the store.
    pub leads: bool,
}

/// All stores that were ever heard of by this leader, by id.
pub(crate) fn list(state: &Durable, observed: &Observed) -> Vec<StoreHeat> {
    let heat = |id: StoreId| {
        let load = observed.load(id);
        let hot = |of: fn(&StoreLoad) -> &BTreeSet<(u64, RegionId)>| {
            load.map_or_else(Vec::new, |load| regions(observed, id, of(load)))
        };
        Some(StoreHeat {
            store_id: id,
            traffic: observed.store(id)?.stats.traffic,
            reads: hot(|load| &load.hot_read),
            writes: hot(|load| &load.hot_write),
        })
    };
    state
        .stores
        .iter()
        .filter_map(|store| heat(store.id))
        .collect()
}

fn regions(
    observed: &Observed,
    store: StoreId,
    hot: &BTreeSet<(u64, RegionId)>,
) -> Vec<RegionHeat> {
    let hot = hot.iter().rev();
    let heat = hot.filter_map(|(rate_bytes, id)| {
        let seen = observed.region(*id)?;
        Some(RegionHeat {
            region_id: *id,
            rate_bytes: *rate_bytes,
            reports: seen.hot_reports,
            leads: seen.leader().store_id == store,
        })
    });
    heat.collect()
}
