//! Answers to questions: what is visible, together with what heartbeats have reported.
//!
//! **Not here.** Anything that changes.

use crate::config::Config;
use crate::error::Result;
use crate::health::voters;
use crate::leader::Step;
use crate::message::{Now, Response};
use crate::observed::Observed;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::state::Durable;
use crate::{Store, StoreView};
use std::sync::Arc;
use types::{KeyRange, Region, RegionId, StoreId};

/// What a leader knows at one moment.
pub(crate) struct View<'a> {
    now: Now,
    config: &'a Config,
    state: &'a Durable,
    observed: &'a Observed,
    settings: &'a Settings,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        step: &Step<'a>,
        state: &'a Durable,
        observed: &'a Observed,
        settings: &'a Settings,
    ) -> Self {
        Self {
            now: step.now,
            config: step.config,
            state,
            observed,
            settings,
        }
    }

    pub(crate) fn store(&self, id: StoreId) -> Result<Response> {
        let store = self.state.stores.get(id)?;
        Ok(Response::Store(Box::new(self.store_view(store))))
    }

    pub(crate) fn members(&self) -> Response {
        let own = self.observed.region(RegionId::PLACEMENT);
        let voters = own.into_iter().flat_map(|seen| voters(&seen.region));
        let mut stores: Vec<StoreId> = voters.map(|peer| peer.store_id).collect();
        stores.sort_unstable();
        Response::Members(stores)
    }

    pub(crate) fn stores(&self) -> Response {
        let views = self.state.stores.iter().map(|store| self.store_view(store));
        Response::Stores(views.collect())
    }

    fn store_view(&self, store: &Store) -> StoreView {
        let seen = self.observed.store(store.id);
        let load = self.observed.load(store.id);
        // As with replicas, placement's own Region is not among those counted.
        let own = self.observed.region(RegionId::PLACEMENT);
        let leads_own = own.is_some_and(|seen| seen.leader().store_id == store.id);
        let leaders = load.map_or(0, |load| load.leaders.len() as u64);
        StoreView {
            store: store.clone(),
            liveness: self.observed.liveness(self.now, self.settings, store.id),
            last_heartbeat_wall_ms: seen.map(|seen| seen.at.wall_ms),
            stats: seen.map(|seen| seen.stats),
            leader_count: leaders.saturating_sub(leads_own.into()),
            peer_count: self.state.routes.peers_on(store.id),
            region_bytes: load.map_or(0, |load| load.peers_bytes),
            is_slow: self.observed.is_slow(self.now, self.settings, store.id),
        }
    }

    /// The Region that `find` finds.
    pub(crate) fn region(&self, find: impl Fn(&'a Routes) -> Option<&'a Arc<Region>>) -> Response {
        Response::Region(find(&self.state.routes).map(|region| self.observed.route(region)))
    }

    pub(crate) fn scan(&self, range: KeyRange, limit: usize) -> Response {
        let limit_max = self.config.scan_limit_max;
        let limit = if limit == 0 {
            limit_max
        } else {
            limit.min(limit_max)
        };
        let regions = self.state.routes.scan(&range).take(limit);
        Response::Regions(regions.map(|region| self.observed.route(region)).collect())
    }

    pub(crate) fn safe_point(&self) -> Response {
        Response::GcSafePoint(self.state.safe_point)
    }
}
