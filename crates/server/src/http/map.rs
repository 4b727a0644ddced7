//! `GET /regions/map?cells=`: the key space from one end to the other, in so many pieces at the most; not a route of
//! PD's.
//!
//! **Why.** A cluster has tens of thousands of Regions, and a picture of it a few hundred places. Neighbours
//! become one cell, of which there is what a picture shows.
//!
//! **Invariants.** Each Region is in one cell. Cells have as many Regions as each other, but for the last.
//!
//! **Not here.** The Regions of a cell: `/pd/api/v1/regions/key` lists them.

use super::regions::{expected, scan_all};
use super::scheduling::{Reply, bad};
use super::{Http, hex};
use crate::backend::Backend;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Json;
use axum::routing::get;
use placement::{RegionCheck, RegionRoute};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use types::StoreId;

/// Unless it is asked for another number; and the most.
const CELLS_DEFAULT: usize = 512;
const CELLS_MAX: usize = 4_096;

/// The route.
pub(super) fn router<B: Backend>() -> Router<Http<B>> {
    Router::new().route("/regions/map", get(map::<B>))
}

async fn map<B: Backend>(
    http: State<Http<B>>,
    Query(flags): Query<BTreeMap<String, String>>,
    uri: Uri,
) -> Reply {
    let cells = match flags.get("cells") {
        None => CELLS_DEFAULT,
        Some(text) => {
            let cells = text
                .parse()
                .ok()
                .filter(|cells| (1..=CELLS_MAX).contains(cells));
            cells.ok_or_else(|| bad(format!("cells has to be a number from 1 to {CELLS_MAX}")))?
        }
    };
    let (replicas, offline) = expected(&http, &uri).await?;
    let routes = scan_all(&http, Vec::new(), Vec::new(), usize::MAX, &uri).await?;
    let shown = routes.chunks(routes.len().div_ceil(cells).max(1));
    let shown: Vec<Value> = shown.map(cell).collect();
    Ok(Json(json!({
        "regions": routes.len(),
        "health": health(&routes, replicas, &offline),
        "cells": shown,
    })))
}

/// How many Regions are not as they should be, by what is wrong.
fn health(routes: &[RegionRoute], replicas: u64, offline: &BTreeSet<StoreId>) -> Value {
    let without_leader = routes.iter().filter(|route| route.leader.is_none()).count();
    let mut counts = Map::from_iter([("no-leader".to_owned(), json!(without_leader))]);
    for (name, check) in RegionCheck::ALL {
        let found = routes
            .iter()
            .filter(|route| check.finds(route, replicas, offline));
        counts.insert((*name).to_owned(), json!(found.count()));
    }
    Value::Object(counts)
}

/// Neighbours, of whom there is at least one.
fn cell(routes: &[RegionRoute]) -> Value {
    let mut leaders: BTreeMap<u64, usize> = BTreeMap::new();
    for leader in routes.iter().filter_map(|route| route.leader) {
        *leaders.entry(leader.store_id.get()).or_default() += 1;
    }
    let leaders = leaders.into_iter();
    let leaders: Map<String, Value> = leaders
        .map(|(store, count)| (store.to_string(), json!(count)))
        .collect();
    let sum = |of: fn(&RegionRoute) -> u64| routes.iter().map(of).sum::<u64>();
    let is_ill = |route: &&RegionRoute| {
        let ailing = [
            &route.down_peers,
            &route.pending_peers,
            &route.quarantined_peers,
        ];
        route.leader.is_none() || ailing.iter().any(|peers| !peers.is_empty())
    };
    let (first, last) = (&routes[0].region, &routes[routes.len() - 1].region);
    json!({
        "first": first.id.get(),
        "start_key": hex(&first.range.start),
        "end_key": hex(&last.range.end),
        "regions": routes.len(),
        "leaders": leaders,
        "ill": routes.iter().filter(is_ill).count(),
        "size_bytes": sum(|route| route.approximate_size_bytes),
        "keys": sum(|route| route.approximate_keys),
        "read_bytes_per_s": sum(|route| route.read_bytes_per_s),
        "written_bytes_per_s": sum(|route| route.written_bytes_per_s),
    })
}
