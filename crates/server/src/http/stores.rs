//! The routes that set what holds for stores: their labels, and how fast replicas come and go.
//!
//! | route | what it does |
//! |---|---|
//! | `POST /pd/api/v1/store/{id}/label` | sets the labels in the body; an empty value removes one |
//! | `GET /pd/api/v1/stores/limit` | replicas that each store is given, and loses, in a minute |
//! | `POST /pd/api/v1/stores/limit` | sets that to `rate`: for `type`, `add-peer` or `remove-peer`, or both |
//!
//! **Limits.** They are two settings for all stores; PD's routes show them store by store.
//!
//! **Not here.** Draining, and a store's state: `scheduling`.

use super::Http;
use super::scheduling::{Reply, bad, number};
use crate::backend::Backend;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Json;
use axum::routing::{get, post};
use placement::Control;
use serde_json::{Map, Value};
use types::StoreId;

/// Kinds of limits, and the settings that they are.
const LIMITS: [(&str, &str); 2] = [
    ("add-peer", "store-limit-add-peer"),
    ("remove-peer", "store-limit-remove-peer"),
];

/// The routes.
pub(super) fn router<B: Backend>() -> Router<Http<B>> {
    Router::new()
        .route("/pd/api/v1/store/{id}/label", post(label::<B>))
        .route(
            "/pd/api/v1/stores/limit",
            get(limits::<B>).post(set_limit::<B>),
        )
}

async fn label<B: Backend>(
    http: State<Http<B>>,
    Path(id): Path<u64>,
    uri: Uri,
    Json(body): Json<Map<String, Value>>,
) -> Reply {
    let label = |(name, value): (String, Value)| match value {
        Value::String(value) => Ok((name, value)),
        other => Err(format!("label {name}: {other} is no text")),
    };
    let labels = body
        .into_iter()
        .map(label)
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    let store_id = StoreId(id);
    http.act(Control::LabelStore { store_id, labels }, &uri)
        .await
}

async fn limits<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    let settings = http.settings(&uri).await?;
    let limits = LIMITS.map(|(kind, setting)| (kind.to_owned(), settings[setting].clone()));
    let limits = Value::Object(limits.into_iter().collect());
    let views = http.store_views(&uri).await?;
    let each = views
        .iter()
        .map(|view| (view.store.id.to_string(), limits.clone()));
    Ok(Json(Value::Object(each.collect())))
}

async fn set_limit<B: Backend>(http: State<Http<B>>, uri: Uri, Json(body): Json<Value>) -> Reply {
    let rate = number(&body, "rate").map_err(bad)?;
    let kind = &body["type"];
    let meant = LIMITS
        .iter()
        .filter(|(name, _)| kind.is_null() || kind == name);
    let pairs: Vec<(String, String)> = meant
        .map(|(_, setting)| ((*setting).to_owned(), rate.to_string()))
        .collect();
    if pairs.is_empty() {
        return Err(bad(format!(
            "type {kind} is neither add-peer nor remove-peer"
        )));
    }
    http.act(Control::SetSettings(pairs), &uri).await
}
