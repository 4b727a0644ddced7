//! Routes that change a running node in one respect, under the names that TiKV's operators know.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /engine_type` | `raft-kv`: the layout of data that tools ask for |
//! | `PUT /log-level` | logs what is at least as severe as `log_level` in the body, until the next start |
//! | `PUT /config/reload` | takes up what has changed in the configuration file |
//! | `PUT /pause_grpc`, `/resume_grpc` | refuses clients' requests for data as busy, or no more |
//!
//! **Not here.** Changes of any item: `POST /config`.

use super::routes::{Shown, failure, waiting};
use super::{Configuration, NodeStatus, Refused};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The routes.
pub(super) fn router() -> Router<NodeStatus> {
    Router::new()
        .route("/engine_type", get(|| async { "raft-kv" }))
        .route("/log-level", put(log_level))
        .route("/config/reload", put(reload))
        .route("/pause_grpc", put(pause))
        .route("/resume_grpc", put(resume))
}

/// Changes the configuration where that may wait for the disk.
pub(super) async fn change(
    status: &NodeStatus,
    work: impl FnOnce(&dyn Configuration) -> Result<Value, Refused> + Send + 'static,
) -> Response {
    let config: Arc<dyn Configuration> = Arc::clone(&status.shared.config);
    let (code, body) = match waiting(move || work(&*config)).await {
        Ok(body) => (StatusCode::OK, body),
        Err(refused) => refused.answer(),
    };
    (code, Json(body)).into_response()
}

async fn log_level(State(status): Shown, Json(body): Json<Map<String, Value>>) -> Response {
    let level = body.get("log_level").or_else(|| body.get("log-level"));
    let Some(level) = level else {
        let reason = "the body has to be {\"log_level\": \"debug\"}, or another level";
        return failure(StatusCode::BAD_REQUEST, reason);
    };
    let items = Map::from_iter([("log.level".to_owned(), level.clone())]);
    change(&status, move |config| config.change(items, false)).await
}

async fn reload(State(status): Shown) -> Response {
    change(&status, |config| config.reload()).await
}

async fn pause(State(status): Shown) -> Response {
    switch(status, true).await
}

async fn resume(State(status): Shown) -> Response {
    switch(status, false).await
}

async fn switch(status: NodeStatus, is_paused: bool) -> Response {
    let Some(gate) = waiting(move || status.gate()).await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the node does not run");
    };
    if gate.pause(is_paused) {
        tracing::warn!(is_paused, "an operator holds clients off, or no more");
    }
    Json(json!({ "paused": is_paused })).into_response()
}
