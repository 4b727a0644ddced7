//! What the placement driver is told at its construction: limits, and how the cluster begins.
//!
//! **Invariant.** The first stores and Regions are the same on every node of a cluster (they are
//! computed from the same list of members), so it does not matter which node writes them.
//!
//! **Not here.** Reading a configuration file.

use crate::Store;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::state::Change;
use std::collections::BTreeSet;
use std::sync::Arc;
use types::{ClusterId, Region, RegionId};

/// How a cluster begins.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The cluster's id; never zero.
    pub cluster_id: ClusterId,
    /// The first stores, none of them registered.
    pub stores: Vec<Store>,
    /// The first Regions of the client key space. The placement Region may be among them: then it reports
    /// like them, and its replicas are looked after. It is not routed to.
    pub regions: Vec<Region>,
}

/// Limits and the cluster's beginning.
#[derive(Clone, Debug)]
pub struct Config {
    /// Written to the state by the first leader that finds none.
    pub bootstrap: Bootstrap,
    /// How far ahead the bound of timestamps is persisted, in milliseconds.
    pub tso_window_ms: u64,
    /// How many ids are persisted ahead.
    pub id_step: u64,
    /// How long a request may wait for the state after an election, in milliseconds.
    pub load_wait_ms: u64,
    /// Boundaries that no merge removes: those between the first Regions, which clients of API V2
    /// rely on.
    pub kept_boundaries: BTreeSet<Vec<u8>>,
    /// About what a Region holds after stores have cut it for its size, in bytes and in keys. A merge makes
    /// none that is larger, whatever the settings say: it would be cut again, and merged again.
    pub region_split: (u64, u64),
    /// What can be changed online begins with this.
    pub settings: Settings,
    /// The most bytes of requests that wait for an answer; above it they are refused as busy.
    pub pending_bytes_max: usize,
    /// A write is closed when it has this many bytes; it must fit into one log entry.
    pub write_bytes_max: usize,
    /// The most Regions in the answer to one scan.
    pub scan_limit_max: usize,
}

impl Config {
    /// The defaults around a cluster's beginning.
    pub fn new(bootstrap: Bootstrap) -> Self {
        let starts = bootstrap.data_regions().map(|region| &region.range.start);
        Self {
            kept_boundaries: starts.filter(|start| !start.is_empty()).cloned().collect(),
            bootstrap,
            tso_window_ms: 3_000,
            id_step: 1_000,
            load_wait_ms: 1_000,
            region_split: (256 << 20, 2_560_000),
            settings: Settings::default(),
            pending_bytes_max: 16 << 20,
            write_bytes_max: 1 << 20,
            scan_limit_max: 16_384,
        }
    }

    /// Panics on values that can only be mistakes of the program.
    pub(crate) fn check(&self) {
        assert!(
            self.bootstrap.cluster_id.get() != 0,
            "a cluster id is never zero"
        );
        assert!(
            self.tso_window_ms > 0 && self.id_step > 0,
            "windows have a size"
        );
        assert!(
            !self.bootstrap.stores.iter().any(Store::is_registered),
            "a store registers itself, after the cluster's beginning"
        );
        let mut routes = Routes::default();
        for region in self.bootstrap.data_regions() {
            let changes = routes.plan(region);
            assert!(
                matches!(&changes, Ok(changes) if changes.len() == 1),
                "bad first Region {region:?}"
            );
            routes.put(Arc::new(region.clone()));
        }
    }
}

impl Bootstrap {
    pub(crate) fn data_regions(&self) -> impl Iterator<Item = &Region> {
        self.regions
            .iter()
            .filter(|region| region.id != RegionId::PLACEMENT)
    }

    /// What the first leader writes.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = vec![
            Change::Cluster(self.cluster_id),
            Change::IdLimit(self.first_free_id()),
        ];
        changes.extend(
            self.stores
                .iter()
                .map(|store| Change::Store(Arc::new(store.clone()))),
        );
        changes.extend(
            self.data_regions()
                .map(|region| Change::Region(Arc::new(region.clone()))),
        );
        changes
    }

    /// The first id above all that are in use from the beginning.
    pub(crate) fn first_free_id(&self) -> u64 {
        let stores = self.stores.iter().map(|store| store.id.get());
        let regions = self.regions.iter().map(|region| region.id.get());
        let peers = self
            .regions
            .iter()
            .flat_map(|region| &region.peers)
            .map(|peer| peer.id.get());
        let used = stores.chain(regions).chain(peers).max().unwrap_or(0);
        used.max(RegionId::FIRST_DATA.get()) + 1
    }
}
