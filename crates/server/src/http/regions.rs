//! The routes that look for Regions: by key, by range, and those that are not as they should be.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /pd/api/v1/region/key/{key}` | the Region that owns a key |
//! | `GET /pd/api/v1/regions/key?key=&end_key=&limit=` | those that own keys of `[key, end_key)`, in order |
//! | `GET /pd/api/v1/regions/check/{kind}` | those with, say, a `down-peer` ([`RegionCheck`]) |
//! | `POST /pd/api/v1/regions/scatter` | spreads `regions_id`, evenly for each `group` |
//!
//! **Keys** are as Regions' boundaries are: text, or with `format=hex` hexadecimal.
//!
//! **Not here.** A Region by its id, and operators: `scheduling`.

use super::scheduling::{Reply, bad, unexpected};
use super::unhex;
use super::{Http, region_json};
use crate::backend::Backend;
use crate::service::pd::scan;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use placement::{
    Control, RegionCheck, RegionRoute, Request as Ask, Response as Answer, Settings, StoreState,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use types::{RegionId, StoreId};

/// Regions of one answer, unless `limit` says otherwise. PD's value.
const LIMIT_DEFAULT: usize = 16;
/// The most that `limit` may say.
const LIMIT_MAX: usize = 10_240;
/// Regions that placement scatters at once.
const SCATTER_MAX: usize = 256;

type Flags = Query<BTreeMap<String, String>>;

/// The routes.
pub(super) fn router<B: Backend>() -> Router<Http<B>> {
    Router::new()
        .route("/pd/api/v1/region/key/{key}", get(by_key::<B>))
        .route("/pd/api/v1/regions/key", get(by_range::<B>))
        .route("/pd/api/v1/regions/check/{kind}", get(check::<B>))
        .route("/pd/api/v1/regions/scatter", post(scatter::<B>))
}

async fn by_key<B: Backend>(
    http: State<Http<B>>,
    Path(key): Path<String>,
    flags: Flags,
    uri: Uri,
) -> Reply {
    let key = key_of(&key, &flags).map_err(bad)?;
    match http.ask(Ask::GetRegion { key }, &uri).await? {
        Answer::Region(Some(route)) => Ok(Json(region_json(&route))),
        Answer::Region(None) => {
            let error = Json(json!({ "error": "no region is known for this key" }));
            Err((StatusCode::NOT_FOUND, error).into_response())
        }
        _ => Err(unexpected()),
    }
}

async fn by_range<B: Backend>(http: State<Http<B>>, flags: Flags, uri: Uri) -> Reply {
    let flag = |name| flags.get(name).map_or("", String::as_str);
    let start = key_of(flag("key"), &flags).map_err(bad)?;
    let end = key_of(flag("end_key"), &flags).map_err(bad)?;
    let limit = match flag("limit") {
        "" => LIMIT_DEFAULT,
        text => text
            .parse()
            .map_err(|_| bad("limit has to be a number".to_owned()))?,
    };
    let routes = scan_all(&http, start, end, limit.min(LIMIT_MAX), &uri).await?;
    Ok(list(routes.iter()))
}

async fn check<B: Backend>(http: State<Http<B>>, Path(kind): Path<String>, uri: Uri) -> Reply {
    let check = RegionCheck::parse(&kind)
        .ok_or_else(|| bad(format!("there is no check {kind:?} of Regions")))?;
    let (replicas, offline) = expected(&http, &uri).await?;
    let routes = scan_all(&http, Vec::new(), Vec::new(), usize::MAX, &uri).await?;
    let found = routes
        .iter()
        .filter(|route| check.finds(route, replicas, &offline));
    Ok(list(found))
}

/// How many voters a Region should have, and the stores that are not in service.
pub(super) async fn expected<B: Backend>(
    http: &Http<B>,
    uri: &Uri,
) -> Result<(u64, BTreeSet<StoreId>), Response> {
    let settings = http.settings(uri).await?;
    let replicas = settings["max-replicas"].as_u64();
    let replicas = replicas.unwrap_or(Settings::default().max_replicas);
    let views = http.store_views(uri).await?;
    let offline = views
        .iter()
        .filter(|view| view.store.state != StoreState::Up)
        .map(|view| view.store.id);
    Ok((replicas, offline.collect()))
}

async fn scatter<B: Backend>(http: State<Http<B>>, uri: Uri, Json(body): Json<Value>) -> Reply {
    let ids = body["regions_id"].as_array().map(Vec::as_slice);
    let ids: Option<Vec<RegionId>> = ids
        .unwrap_or_default()
        .iter()
        .map(|id| id.as_u64().map(RegionId))
        .collect();
    let ids = ids.filter(|ids| !ids.is_empty());
    let ids = ids.ok_or_else(|| bad("regions_id has to be a list of ids".to_owned()))?;
    let group = body["group"].as_str().unwrap_or_default();
    let (mut begun, mut refused) = (0, Vec::new());
    for some in ids.chunks(SCATTER_MAX) {
        let control = Control::ScatterRegions {
            region_ids: some.to_vec(),
            group: group.to_owned(),
        };
        let Answer::Begun {
            begun: done,
            refused: failed,
        } = http.control(control, &uri).await?
        else {
            return Err(unexpected());
        };
        begun += done.len();
        refused.extend(failed);
    }
    let done = begun * 100 / ids.len();
    let failure = |(id, error): &(RegionId, placement::Error)| json!({ "region_id": id.get(), "error": error.to_string() });
    Ok(Json(json!({
        "processed-percentage": done,
        "failures": refused.iter().map(failure).collect::<Vec<_>>(),
    })))
}

/// Regions that own keys of this range, in order.
pub(super) async fn scan_all<B: Backend>(
    http: &Http<B>,
    start: Vec<u8>,
    end: Vec<u8>,
    limit: usize,
    uri: &Uri,
) -> Result<Vec<RegionRoute>, Response> {
    match scan(&http.backend, start, end, limit).await {
        Ok(Answer::Regions(routes)) => Ok(routes),
        Ok(_) => Err(unexpected()),
        Err(error) => Err(http.refusal(&error, uri)),
    }
}

fn list<'a>(routes: impl Iterator<Item = &'a RegionRoute>) -> Json<Value> {
    let list: Vec<Value> = routes.map(region_json).collect();
    Json(json!({ "count": list.len(), "regions": list }))
}

/// The key, or what is wrong with it.
fn key_of(text: &str, flags: &Flags) -> Result<Vec<u8>, String> {
    match flags.get("format").map(String::as_str) {
        None | Some("" | "raw") => Ok(text.as_bytes().to_vec()),
        Some("hex") => unhex(text).ok_or_else(|| format!("{text:?} is no key in hexadecimal")),
        Some(other) => Err(format!("there is no format {other:?} of keys")),
    }
}
