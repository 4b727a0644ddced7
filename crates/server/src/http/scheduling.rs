//! The routes by which operators look after stores, and steer what the placement driver does.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /pd/api/v1/store/{id}` | one store |
//! | `DELETE /pd/api/v1/store/{id}` | drains it |
//! | `POST /pd/api/v1/store/{id}/state?state=Up` | takes it back into service |
//! | `DELETE /pd/api/v1/stores/remove-tombstone` | forgets stores that have left |
//! | `GET /pd/api/v1/region/id/{id}` | one Region |
//! | `GET POST /pd/api/v1/operators` | those at work; begins one, of the `name` in the body |
//! | `GET /pd/api/v1/operators/records` | those that have ended lately |
//! | `GET DELETE /pd/api/v1/operators/{region}` | the one of a Region; gives it up |
//! | `GET POST /pd/api/v1/schedulers` | those that run; adds the one of the `name` in the body |
//! | `DELETE POST /pd/api/v1/schedulers/{name}` | removes it; pauses it for `delay` seconds |
//! | `GET /pd/api/v1/config/schedule` | the settings |
//! | `POST /pd/api/v1/config` | sets those in the body, all or none |
//!
//! **Not here.** What the answers are (`placement`).

use super::{Http, age_ms, region_json, store_json, unhex};
use crate::backend::Backend;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use placement::{
    Control, OperatorRecord, OperatorRequest, Request as Ask, Response as Answer, SchedulerName,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use types::{RegionId, StoreId};

pub(super) type Reply = Result<Json<Value>, Response>;

/// The routes.
pub(super) fn router<B: Backend>() -> Router<Http<B>> {
    let at = |path: &str| format!("/pd/api/v1{path}");
    Router::new()
        .route(&at("/store/{id}"), get(store::<B>).delete(drain::<B>))
        .route(&at("/store/{id}/state"), post(cancel_drain::<B>))
        .route(
            &at("/stores/remove-tombstone"),
            delete(remove_tombstones::<B>),
        )
        .route(&at("/region/id/{id}"), get(region::<B>))
        .route(&at("/operators"), get(operators::<B>).post(begin::<B>))
        .route(&at("/operators/records"), get(records::<B>))
        .route(
            &at("/operators/{region}"),
            get(operator::<B>).delete(cancel::<B>),
        )
        .route(
            &at("/schedulers"),
            get(schedulers::<B>).post(add_scheduler::<B>),
        )
        .route(
            &at("/schedulers/{name}"),
            delete(remove_scheduler::<B>).post(pause::<B>),
        )
        .route(&at("/config/schedule"), get(settings::<B>))
}

async fn remove_tombstones<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    http.act(Control::RemoveTombstones, &uri).await
}

impl<B: Backend> Http<B> {
    pub(super) async fn control(&self, control: Control, uri: &Uri) -> Result<Answer, Response> {
        self.ask(Ask::Control(Box::new(control)), uri).await
    }

    /// Does something that has no answer but that it is done.
    pub(super) async fn act(&self, control: Control, uri: &Uri) -> Reply {
        self.control(control, uri).await?;
        Ok(Json(json!({ "done": true })))
    }

    /// The settings, as `config` shows them.
    pub(super) async fn settings(&self, uri: &Uri) -> Result<Value, Response> {
        let Answer::Settings(pairs) = self.control(Control::GetSettings, uri).await? else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let values = pairs.into_iter().map(|(name, text)| {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            (name, value)
        });
        Ok(Value::Object(values.collect()))
    }
}

pub(super) fn bad(reason: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": reason }))).into_response()
}

pub(super) fn unexpected() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

async fn store<B: Backend>(http: State<Http<B>>, Path(id): Path<u64>, uri: Uri) -> Reply {
    let store_id = StoreId(id);
    match http.ask(Ask::GetStore { store_id }, &uri).await? {
        Answer::Store(view) => Ok(Json(store_json(&view))),
        _ => Err(unexpected()),
    }
}

async fn drain<B: Backend>(http: State<Http<B>>, Path(id): Path<u64>, uri: Uri) -> Reply {
    let store_id = StoreId(id);
    http.act(Control::DrainStore { store_id }, &uri).await
}

async fn cancel_drain<B: Backend>(
    http: State<Http<B>>,
    Path(id): Path<u64>,
    Query(query): Query<BTreeMap<String, String>>,
    uri: Uri,
) -> Reply {
    match query.get("state").map(String::as_str) {
        Some("Up") => {
            let store_id = StoreId(id);
            http.act(Control::CancelDrain { store_id }, &uri).await
        }
        Some("Offline") => drain(http, Path(id), uri).await,
        _ => Err(bad("state has to be Up or Offline".to_owned())),
    }
}

async fn region<B: Backend>(http: State<Http<B>>, Path(id): Path<u64>, uri: Uri) -> Reply {
    let region_id = RegionId(id);
    match http.ask(Ask::GetRegionById { region_id }, &uri).await? {
        Answer::Region(Some(route)) => Ok(Json(region_json(&route))),
        Answer::Region(None) => {
            Err(http.refusal(&placement::Error::RegionNotFound(region_id), &uri))
        }
        _ => Err(unexpected()),
    }
}

async fn list<B: Backend>(http: &Http<B>, ended: bool, uri: &Uri) -> Reply {
    match http.control(Control::ListOperators { ended }, uri).await? {
        Answer::Operators(records) => Ok(Json(records.iter().map(record_json).collect())),
        _ => Err(unexpected()),
    }
}

async fn operators<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    list(&http, false, &uri).await
}

async fn records<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    list(&http, true, &uri).await
}

async fn operator<B: Backend>(http: State<Http<B>>, Path(region): Path<u64>, uri: Uri) -> Reply {
    let region_id = RegionId(region);
    match http
        .control(Control::GetOperator { region_id }, &uri)
        .await?
    {
        Answer::Operator(record) => Ok(Json(record_json(&record))),
        _ => Err(unexpected()),
    }
}

async fn cancel<B: Backend>(http: State<Http<B>>, Path(region): Path<u64>, uri: Uri) -> Reply {
    let region_id = RegionId(region);
    http.act(Control::CancelOperator { region_id }, &uri).await
}

async fn begin<B: Backend>(http: State<Http<B>>, uri: Uri, Json(body): Json<Value>) -> Reply {
    let control = operator_from_json(&body).map_err(bad)?;
    match http.control(control, &uri).await? {
        Answer::Done => Ok(Json(json!({ "done": true }))),
        Answer::Begun { refused, .. } => match refused.first() {
            Some((_, error)) => Err(http.refusal(error, &uri)),
            None => Ok(Json(json!({ "done": true }))),
        },
        _ => Err(unexpected()),
    }
}

async fn schedulers<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    match http.control(Control::ListSchedulers, &uri).await? {
        Answer::Schedulers(views) => {
            let names = views
                .iter()
                .map(|view| json!({ "name": view.name.to_string(), "paused_ms": view.paused_ms }));
            Ok(Json(names.collect()))
        }
        _ => Err(unexpected()),
    }
}

async fn add_scheduler<B: Backend>(
    http: State<Http<B>>,
    uri: Uri,
    Json(body): Json<Value>,
) -> Reply {
    let name = body["name"]
        .as_str()
        .ok_or_else(|| bad("no name".to_owned()))?;
    let name = match body["store_id"].as_u64() {
        Some(store) => format!("{name}-{store}"),
        None => name.to_owned(),
    };
    let name = SchedulerName::parse(&name).map_err(|error| http.refusal(&error, &uri))?;
    http.act(Control::AddScheduler(name), &uri).await
}

async fn remove_scheduler<B: Backend>(
    http: State<Http<B>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    let name = SchedulerName::parse(&name).map_err(|error| http.refusal(&error, &uri))?;
    http.act(Control::RemoveScheduler(name), &uri).await
}

async fn pause<B: Backend>(
    http: State<Http<B>>,
    Path(name): Path<String>,
    uri: Uri,
    Json(body): Json<Value>,
) -> Reply {
    let name = SchedulerName::parse(&name).map_err(|error| http.refusal(&error, &uri))?;
    let delay_s = number(&body, "delay").map_err(bad)?;
    let pause_ms = delay_s.saturating_mul(1_000);
    let control = Control::PauseScheduler { name, pause_ms };
    http.act(control, &uri).await
}

async fn settings<B: Backend>(http: State<Http<B>>, uri: Uri) -> Reply {
    http.settings(&uri).await.map(Json)
}

pub(super) async fn set<B: Backend>(
    http: State<Http<B>>,
    uri: Uri,
    Json(body): Json<Map<String, Value>>,
) -> Reply {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let pairs = body.into_iter().map(|(name, value)| (name, text(value)));
    http.act(Control::SetSettings(pairs.collect()), &uri).await
}

pub(super) fn number(body: &Value, name: &str) -> Result<u64, String> {
    let number = body[name].as_u64();
    number.ok_or_else(|| format!("{name} has to be a number"))
}

/// The operator that a body asks for, in the words of `pd-ctl`.
fn operator_from_json(body: &Value) -> Result<Control, String> {
    let number = |name| number(body, name);
    let region = |name| number(name).map(RegionId);
    let store = |name| number(name).map(StoreId);
    let name = body["name"].as_str().ok_or("an operator has a name")?;
    Ok(Control::AddOperator(match name {
        "transfer-leader" => OperatorRequest::TransferLeader {
            region_id: region("region_id")?,
            to: store("to_store_id")?,
        },
        "add-peer" => OperatorRequest::AddPeer {
            region_id: region("region_id")?,
            store_id: store("store_id")?,
        },
        "remove-peer" => OperatorRequest::RemovePeer {
            region_id: region("region_id")?,
            store_id: store("store_id")?,
        },
        "transfer-peer" => OperatorRequest::TransferPeer {
            region_id: region("region_id")?,
            from: store("from_store_id")?,
            to: store("to_store_id")?,
        },
        "merge-region" => OperatorRequest::Merge {
            source: region("source_region_id")?,
            target: region("target_region_id")?,
        },
        "split-region" => OperatorRequest::Split {
            region_id: region("region_id")?,
            keys: keys(&body["keys"])?,
        },
        "scatter-region" => {
            return Ok(Control::ScatterRegions {
                region_ids: vec![region("region_id")?],
                group: body["group"].as_str().unwrap_or_default().to_owned(),
            });
        }
        other => return Err(format!("there is no operator {other:?}")),
    }))
}

/// Keys in hexadecimal, as Regions show theirs.
fn keys(list: &Value) -> Result<Vec<Vec<u8>>, String> {
    let Some(list) = list.as_array() else {
        return Ok(Vec::new());
    };
    let key = |key: &Value| {
        let bytes = key.as_str().and_then(unhex);
        bytes.ok_or_else(|| format!("{key} is no key in hexadecimal"))
    };
    list.iter().map(key).collect()
}

fn record_json(record: &OperatorRecord) -> Value {
    let operator = &record.operator;
    let steps = operator.steps.iter().map(ToString::to_string);
    let (began_ms, ended_ms) = (
        operator.began.wall_ms,
        record.ended.map(|ended| ended.wall_ms),
    );
    let elapsed_ms = ended_ms.map_or_else(
        || age_ms(began_ms),
        |ended_ms| ended_ms.saturating_sub(began_ms),
    );
    json!({
        "region_id": operator.region_id.get(),
        "kind": format!("{:?}", operator.kind),
        "desc": operator.purpose,
        "steps": steps.collect::<Vec<_>>(),
        "steps_done": operator.steps_done,
        "status": format!("{:?}", record.status),
        "began_ms": began_ms,
        "ended_ms": ended_ms,
        "elapsed_ms": elapsed_ms,
    })
}
