//! The routes of the status server.
//!
//! **Not here.** What they show (`NodeStatus`).

use super::guard::guard;
use super::{Inspect, NodeStatus, compact, console, control, diagnosis, fail, page, profile};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use metrics::Page;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Actors of one list, unless `limit` says otherwise; and the most.
const ACTORS_DEFAULT: usize = 20;
const ACTORS_MAX: usize = 1_000;

pub(super) type Shown = State<NodeStatus>;
pub(super) type Flags = Query<BTreeMap<String, String>>;

/// All of them.
pub(super) fn router(status: NodeStatus) -> Router {
    Router::new()
        .route(
            "/",
            get(|State(status): Shown| async move { Html(page::page(&status)) }),
        )
        .route(
            "/status",
            get(|State(status): Shown| async move { Json(status.status()) }),
        )
        .route("/ready", get(ready))
        .route("/config", get(config).post(change))
        .route("/config/items", get(items))
        .route("/metrics", get(metrics))
        .route("/debug/actors", get(actors))
        .route("/region/{id}", get(region))
        .merge(compact::router())
        .merge(fail::router())
        .merge(diagnosis::router())
        .merge(control::router())
        .merge(profile::router())
        .merge(console::router())
        .fallback(nothing_there)
        .layer(from_fn_with_state(status.clone(), guard))
        .with_state(status)
}

async fn nothing_there(uri: Uri) -> Response {
    let reason = format!("there is no {}: / lists what there is", uri.path());
    failure(StatusCode::NOT_FOUND, &reason)
}

async fn ready(State(status): Shown, Query(flags): Flags) -> (StatusCode, Json<Value>) {
    let is_verbose = flags.get("verbose").is_some_and(|value| value != "false");
    let (code, body) = status.ready(is_verbose);
    (code, Json(body))
}

async fn config(State(status): Shown) -> Response {
    // A change under way, which may wait for the disk, is waited for.
    control::change(&status, |config| Ok(config.show())).await
}

async fn items(State(status): Shown) -> Response {
    control::change(&status, |config| Ok(config.items())).await
}

async fn change(
    State(status): Shown,
    Query(flags): Flags,
    Json(items): Json<Map<String, Value>>,
) -> Response {
    let is_remembered = flags.get("persist").is_none_or(|value| value != "false");
    control::change(&status, move |config| config.change(items, is_remembered)).await
}

async fn metrics(State(status): Shown) -> impl IntoResponse {
    let page = waiting(move || status.metrics()).await;
    ([(header::CONTENT_TYPE, Page::CONTENT_TYPE)], page)
}

async fn actors(State(status): Shown, Query(flags): Flags) -> Response {
    let limit = flags.get("limit").and_then(|limit| limit.parse().ok());
    let limit = limit.unwrap_or(ACTORS_DEFAULT).min(ACTORS_MAX);
    let find = move |node: &dyn Inspect| Ok(Some(node.actors(limit)));
    show(waiting(move || status.with_node(find)).await)
}

async fn region(State(status): Shown, Path(id): Path<u64>) -> Response {
    let find = move |node: &dyn Inspect| node.region(id);
    show(waiting(move || status.with_node(find)).await)
}

/// Does what may take a while where that keeps nobody waiting.
pub(super) async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// An error, in JSON.
pub(super) fn failure(code: StatusCode, reason: &str) -> Response {
    (code, Json(json!({ "error": reason }))).into_response()
}

/// What was found with the node; the outer none: it does not run.
fn show(found: Option<Result<Option<Value>, String>>) -> Response {
    match found {
        Some(Ok(Some(found))) => Json(found).into_response(),
        Some(Ok(None)) => failure(StatusCode::NOT_FOUND, "it was never on this store"),
        Some(Err(reason)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        None => failure(StatusCode::SERVICE_UNAVAILABLE, "the node does not run"),
    }
}
