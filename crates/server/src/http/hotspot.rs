//! The routes that show what is busy, as `pd-ctl hot` asks for it.
//!
//! | route | what it shows |
//! |---|---|
//! | `GET /pd/api/v1/hotspot/stores` | bytes, keys and requests a second of each store |
//! | `GET /pd/api/v1/hotspot/regions/read` | Regions that are read much, by the store that leads them |
//! | `GET /pd/api/v1/hotspot/regions/write` | Regions that are written much, by the stores of their replicas |
//!
//! **Not here.** When a Region counts as hot (the settings `hot-region-...` of the placement driver).

use super::Http;
use crate::backend::Backend;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use placement::{Control, RegionHeat, Response as Answer, StoreHeat, Traffic};
use serde_json::{Map, Value, json};

type Reply = Result<Json<Value>, Response>;

/// The routes.
pub(super) fn router<B: Backend>() -> Router<Http<B>> {
    let at = |path: &str| format!("/pd/api/v1/hotspot{path}");
    Router::new()
        .route(&at("/stores"), get(stores::<B>))
        .route(&at("/regions/read"), get(reads::<B>))
        .route(&at("/regions/write"), get(writes::<B>))
}

impl<B: Backend> Http<B> {
    async fn heat(&self, uri: &Uri) -> Result<Vec<StoreHeat>, Response> {
        match self.control(Control::ListHot, uri).await? {
            Answer::Hot(stores) => Ok(stores),
            _ => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        }
    }
}

async fn stores<B: Backend>(State(http): State<Http<B>>, uri: Uri) -> Reply {
    let heat = http.heat(&uri).await?;
    let by_store = |count: fn(&Traffic) -> u64| {
        let rates = heat.iter().map(|store| {
            let rate = count(&store.traffic).checked_div(store.traffic.interval_s);
            (store.store_id.to_string(), json!(rate.unwrap_or(0)))
        });
        Value::Object(rates.collect())
    };
    Ok(Json(json!({
        "bytes-write-rate": by_store(|traffic| traffic.written_bytes),
        "bytes-read-rate": by_store(|traffic| traffic.read_bytes),
        "keys-write-rate": by_store(|traffic| traffic.written_keys),
        "keys-read-rate": by_store(|traffic| traffic.read_keys),
        "query-write-rate": by_store(|traffic| traffic.write_requests),
        "query-read-rate": by_store(|traffic| traffic.read_requests),
    })))
}

async fn reads<B: Backend>(State(http): State<Http<B>>, uri: Uri) -> Reply {
    let heat = http.heat(&uri).await?;
    Ok(Json(regions(&heat, |store| &store.reads)))
}

async fn writes<B: Backend>(State(http): State<Http<B>>, uri: Uri) -> Reply {
    let heat = http.heat(&uri).await?;
    Ok(Json(regions(&heat, |store| &store.writes)))
}

/// The hot Regions of each store: those that it leads, and all of which it has a replica.
fn regions(heat: &[StoreHeat], list: fn(&StoreHeat) -> &Vec<RegionHeat>) -> Value {
    let by_store = |is_shown: fn(&RegionHeat) -> bool| {
        let stores = heat.iter().map(|store| {
            let shown = list(store).iter().filter(|region| is_shown(region));
            let shown: Vec<&RegionHeat> = shown.collect();
            let sum = shown.iter().map(|region| region.rate_bytes).sum::<u64>();
            let value = json!({
                "total_flow_bytes": sum,
                "regions_count": shown.len(),
                "statistics": shown.iter().map(|region| json!({
                    "store_id": store.store_id.get(),
                    "region_id": region.region_id.get(),
                    "hot_degree": region.reports,
                    "flow_bytes": region.rate_bytes,
                })).collect::<Vec<_>>(),
            });
            (store.store_id.to_string(), value)
        });
        stores.collect::<Map<_, _>>()
    };
    json!({
        "as_leader": by_store(|region| region.leads),
        "as_peer": by_store(|_| true),
    })
}
