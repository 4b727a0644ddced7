//! `/console/api`: what the page asks this node, and this node asks others.
//!
//! | route | asks |
//! |---|---|
//! | `/console/api/pd/...` | placement's leader for `/pd/api/v1/...` |
//! | `GET /console/api/map?cells=` | placement's leader for `/regions/map` |
//! | `GET POST /console/api/store/{id}/...` | the status server of a store, for what is in [`OF_STORES`] |
//! | `GET /console/api/series?of=a,b` | all stores for these families of metrics |
//!
//! **Invariants.** Whom it asks is said by placement, never by whoever asks: the node is no way into its network.
//! What changes something is JSON, and passed `guard`.
//!
//! **Not here.** Answers: they are passed on as they are.

use super::super::NodeStatus;
use super::super::routes::{Flags, Shown, failure};
use super::client::{Answer, Ask, ask};
use super::series::pick;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What of a store's status server the page may ask for, and by which methods.
const OF_STORES: &[(&str, &[&str])] = &[
    ("status", &["GET"]),
    ("ready", &["GET"]),
    ("config", &["GET", "POST"]),
    ("config/items", &["GET"]),
    ("debug/actors", &["GET"]),
    ("diagnosis/log", &["GET"]),
    ("region", &["GET"]),
];

/// The routes.
pub(super) fn router() -> Router<NodeStatus> {
    Router::new()
        .route("/console/api/pd/{*path}", any(placement))
        .route("/console/api/map", get(map))
        .route("/console/api/store/{id}/{*path}", any(store))
        .route("/console/api/series", get(series))
}

async fn placement(
    State(status): Shown,
    uri: Uri,
    (method, headers): (Method, HeaderMap),
    body: Bytes,
) -> Response {
    if !is_fit(&method, &headers) {
        return unfit();
    }
    // As it was written: a key in it stays encoded.
    let below = uri.path().trim_start_matches("/console/api/pd/");
    let path = format!("/pd/api/v1/{below}{}", query(&uri));
    pass(ask(status.address(), &Ask { method, path, body }).await)
}

async fn map(State(status): Shown, uri: Uri) -> Response {
    let path = format!("/regions/map{}", query(&uri));
    pass(ask(status.address(), &Ask::get(path)).await)
}

async fn store(
    State(status): Shown,
    Path((id, path)): Path<(u64, String)>,
    uri: Uri,
    (method, headers): (Method, HeaderMap),
    body: Bytes,
) -> Response {
    if !is_fit(&method, &headers) {
        return unfit();
    }
    let is_allowed = OF_STORES.iter().any(|(known, methods)| {
        let rest = path.strip_prefix(known);
        let is_it = match *known {
            "region" => rest
                .and_then(|rest| rest.strip_prefix('/')?.parse::<u64>().ok())
                .is_some(),
            _ => rest == Some(""),
        };
        is_it && methods.contains(&method.as_str())
    });
    if !is_allowed {
        let reason = format!("the console does not {method} {path} of a store");
        return failure(StatusCode::NOT_FOUND, &reason);
    }
    let stores = match status.shared.stores.list(status.address()).await {
        Ok(stores) => stores,
        Err(reason) => return failure(StatusCode::BAD_GATEWAY, &reason),
    };
    let Some(address) = stores.get(&id) else {
        let reason = format!("placement knows no store {id} with a status server");
        return failure(StatusCode::NOT_FOUND, &reason);
    };
    let path = format!("/{path}{}", query(&uri));
    pass(ask(address, &Ask { method, path, body }).await)
}

async fn series(State(status): Shown, Query(flags): Flags) -> Response {
    let families = flags.get("of").map_or("", String::as_str);
    let families: Arc<Vec<String>> = Arc::new(families.split(',').map(str::to_owned).collect());
    let stores = match status.shared.stores.list(status.address()).await {
        Ok(stores) => stores,
        Err(reason) => return failure(StatusCode::BAD_GATEWAY, &reason),
    };
    let mut asked = JoinSet::new();
    for (id, address) in stores {
        let families = Arc::clone(&families);
        asked.spawn(async move { (id, of_store(&address, &families).await) });
    }
    let mut found: BTreeMap<u64, Value> = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        if let Ok((id, answer)) = answered {
            found.insert(
                id,
                answer.map_or_else(
                    |reason| json!({ "error": reason }),
                    |series| json!({ "series": series }),
                ),
            );
        }
    }
    let found: Map<String, Value> = found
        .into_iter()
        .map(|(id, one)| (id.to_string(), one))
        .collect();
    Json(json!({ "stores": found })).into_response()
}

async fn of_store(address: &str, families: &[String]) -> Result<Map<String, Value>, String> {
    let answer = ask(address, &Ask::get("/metrics")).await?;
    if !answer.code.is_success() {
        return Err(format!("{address} answers {}", answer.code));
    }
    let families: Vec<&str> = families.iter().map(String::as_str).collect();
    Ok(pick(&String::from_utf8_lossy(&answer.body), &families))
}

/// Whether a change that has a body says that it is JSON, which a page from elsewhere can't without being asked for.
fn is_fit(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    matches!(*method, Method::GET | Method::DELETE) || is_json
}

fn unfit() -> Response {
    let reason = "the body has to be JSON, and its type application/json";
    failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
}

fn query(uri: &Uri) -> String {
    uri.query()
        .map_or_else(String::new, |query| format!("?{query}"))
}

/// Passes an answer on.
fn pass(answered: Result<Answer, String>) -> Response {
    match answered {
        Ok(Answer {
            code, kind, body, ..
        }) => {
            let mut answer = (code, body).into_response();
            if let Some(kind) = kind {
                answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            answer
        }
        Err(reason) => failure(StatusCode::BAD_GATEWAY, &reason),
    }
}
