//! The HTTP routes that operators and clients' test suites know of PD, beside gRPC on the same port.
//!
//! | route | answer |
//! |---|---|
//! | `/health` | 200 while this node serves |
//! | `/pd/api/v1/health` | each member, and whether its store is heard of |
//! | `/pd/api/v1/members` | the members and the leader |
//! | `/pd/api/v1/stores` | the stores |
//! | `/pd/api/v1/regions` | the Regions of the client key space, and how many |
//! | `/pd/api/v1/config` | what is fixed for the cluster, and what is set |
//! | `POST /region/{id}/consistency-check` | the hashes of a Region's replicas; not PD's |
//! | `/regions/map` | the key space in cells; not PD's |
//!
//! **Who answers.** What only the placement leader knows is answered elsewhere with a redirect to it.
//!
//! **Not here.** Single stores and Regions, and what changes something: `scheduling`, `regions`, `stores`. What
//! is busy: `hotspot`.

mod consistency;
mod hotspot;
mod map;
mod regions;
mod scheduling;
mod stores;

use crate::backend::{Backend, members};
use crate::book::AddressBook;
use crate::service::pd::scan;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use node::Member;
use placement::{Liveness, RegionRoute, Request as Ask, Response as Answer, StoreState, StoreView};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use types::{Peer, PeerRole};

struct Http<B> {
    backend: B,
    book: AddressBook,
}

impl<B: Clone> Clone for Http<B> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            book: self.book.clone(),
        }
    }
}

/// The routes over `backend`.
pub(crate) fn router<B: Backend>(backend: B, book: AddressBook) -> Router {
    Router::new()
        .route(
            "/health",
            get(|| async { Json(json!({ "health": "true" })) }),
        )
        .route("/pd/api/v1/health", get(health::<B>))
        .route("/pd/api/v1/members", get(list_members::<B>))
        .route("/pd/api/v1/stores", get(list_stores::<B>))
        .route("/pd/api/v1/regions", get(list_regions::<B>))
        .route(
            "/pd/api/v1/config",
            get(config::<B>).post(scheduling::set::<B>),
        )
        .route(
            "/region/{id}/consistency-check",
            post(consistency::check::<B>),
        )
        .merge(scheduling::router())
        .merge(regions::router())
        .merge(stores::router())
        .merge(hotspot::router())
        .merge(map::router())
        .with_state(Http { backend, book })
}

impl<B: Backend> Http<B> {
    async fn ask(&self, ask: Ask, uri: &Uri) -> Result<Answer, Response> {
        let placed = self.backend.place(ask).await;
        placed.map_err(|error| self.refusal(&error, uri))
    }

    fn refusal(&self, error: &placement::Error, uri: &Uri) -> Response {
        let body = Json(json!({ "error": error.to_string() }));
        let leader = match error {
            placement::Error::NotLeader { leader } => leader.and_then(|id| self.book.address(id)),
            _ => None,
        };
        if let Some(leader) = leader {
            let location = format!("http://{leader}{}", path(uri));
            let headers = [(header::LOCATION, location)];
            return (StatusCode::TEMPORARY_REDIRECT, headers, body).into_response();
        }
        use placement::Error as E;
        let status = match error {
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            E::StateUnusable { .. } | E::TimestampsExhausted | E::ForeignCluster { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            E::StoreNotFound(_)
            | E::RegionNotFound(_)
            | E::OperatorNotFound(_)
            | E::UnknownSetting { .. }
            | E::UnknownScheduler { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, body).into_response()
    }

    async fn store_views(&self, uri: &Uri) -> Result<Vec<StoreView>, Response> {
        match self.ask(Ask::GetAllStores, uri).await? {
            Answer::Stores(views) => Ok(views),
            _ => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        }
    }
}

async fn list_regions<B: Backend>(
    State(http): State<Http<B>>,
    uri: Uri,
) -> Result<Json<Value>, Response> {
    let all = scan(&http.backend, Vec::new(), Vec::new(), usize::MAX).await;
    let Answer::Regions(routes) = all.map_err(|error| http.refusal(&error, &uri))? else {
        return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    let list: Vec<Value> = routes.iter().map(region_json).collect();
    Ok(Json(json!({ "count": list.len(), "regions": list })))
}

async fn list_stores<B: Backend>(
    State(http): State<Http<B>>,
    uri: Uri,
) -> Result<Json<Value>, Response> {
    let views = http.store_views(&uri).await?;
    let list: Vec<Value> = views.iter().map(store_json).collect();
    Ok(Json(json!({ "count": list.len(), "stores": list })))
}

async fn health<B: Backend>(
    State(http): State<Http<B>>,
    uri: Uri,
) -> Result<Json<Value>, Response> {
    let views = http.store_views(&uri).await?;
    let members = members(&http.backend, &http.book).await;
    let list = members.iter().map(|member| {
        let view = views.iter().find(|view| view.store.id == member.store_id);
        let healthy = view.is_some_and(|view| view.liveness == Liveness::Connected);
        json!({
            "name": member.name,
            "member_id": member.store_id.get(),
            "client_urls": [format!("http://{}", member.address)],
            "health": healthy,
        })
    });
    Ok(Json(list.collect()))
}

async fn list_members<B: Backend>(State(http): State<Http<B>>) -> Json<Value> {
    let describe = |member: &Member| {
        let url = format!("http://{}", member.address);
        json!({
            "name": member.name,
            "member_id": member.store_id.get(),
            "peer_urls": [url],
            "client_urls": [url],
            "binary_version": crate::VERSION,
        })
    };
    let members = members(&http.backend, &http.book).await;
    let leader = http.backend.placement_leader();
    let leader = leader.and_then(|leader| members.on(leader)).map(describe);
    Json(json!({
        "header": { "cluster_id": http.backend.identity().cluster_id.get() },
        "members": members.iter().map(describe).collect::<Vec<_>>(),
        "leader": leader,
        "etcd_leader": leader,
    }))
}

async fn config<B: Backend>(
    State(http): State<Http<B>>,
    uri: Uri,
) -> Result<Json<Value>, Response> {
    let identity = http.backend.identity();
    Ok(Json(json!({
        "schedule": http.settings(&uri).await?,
        "cluster-id": identity.cluster_id.get(),
        "cluster-version": crate::VERSION,
        "storage": { "api-version": identity.api_version.number() },
    })))
}

pub(crate) fn peer_json(peer: &Peer) -> Value {
    let role = match peer.role {
        PeerRole::Voter => "Voter",
        PeerRole::Learner => "Learner",
        PeerRole::IncomingVoter => "IncomingVoter",
        PeerRole::DemotingVoter => "DemotingVoter",
    };
    json!({ "id": peer.id.get(), "store_id": peer.store_id.get(), "role_name": role })
}

fn region_json(route: &RegionRoute) -> Value {
    let region = &route.region;
    json!({
        "id": region.id.get(),
        "start_key": hex(&region.range.start),
        "end_key": hex(&region.range.end),
        "epoch": { "conf_ver": region.epoch.conf_ver, "version": region.epoch.version },
        "peers": region.peers.iter().map(peer_json).collect::<Vec<_>>(),
        "leader": route.leader.as_ref().map(peer_json),
        "down_peers": route.down_peers.iter().map(peer_json).collect::<Vec<_>>(),
        "pending_peers": route.pending_peers.iter().map(peer_json).collect::<Vec<_>>(),
        "quarantined_peers": route.quarantined_peers.iter().map(peer_json).collect::<Vec<_>>(),
        "approximate_size_bytes": route.approximate_size_bytes,
        "approximate_keys": route.approximate_keys,
        "read_bytes_per_s": route.read_bytes_per_s,
        "written_bytes_per_s": route.written_bytes_per_s,
    })
}

fn store_json(view: &StoreView) -> Value {
    let store = &view.store;
    let state_name = match (store.state, view.liveness) {
        (StoreState::Tombstone, _) => "Tombstone",
        (StoreState::Offline, _) => "Offline",
        (StoreState::Up, Liveness::Connected) => "Up",
        (StoreState::Up, Liveness::Disconnected) => "Disconnected",
        (StoreState::Up, Liveness::Down) => "Down",
    };
    let label = |(key, value): &(String, String)| json!({ "key": key, "value": value });
    let stats = view.stats.unwrap_or_default();
    json!({
        "store": {
            "id": store.id.get(),
            "address": store.address,
            "status_address": store.status_address,
            "version": store.version,
            "labels": store.labels.iter().map(label).collect::<Vec<_>>(),
            "start_timestamp": store.start_time_s,
            "state_name": state_name,
        },
        "status": {
            "capacity_bytes": stats.capacity_bytes,
            "available_bytes": stats.available_bytes,
            "used_bytes": stats.used_bytes,
            "region_count": view.peer_count,
            "leader_count": view.leader_count,
            "region_size_bytes": view.region_bytes,
            "is_slow": view.is_slow,
            "slow_score": stats.slow_score,
            "is_busy": stats.is_busy,
            "last_heartbeat_ms": view.last_heartbeat_wall_ms,
            "last_heartbeat_age_ms": view.last_heartbeat_wall_ms.map(age_ms),
        },
    })
}

/// How long ago that was, by this node's clock: the asker's may be another.
fn age_ms(wall_ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    now_ms.saturating_sub(wall_ms)
}

/// What is asked for, below the host.
fn path(uri: &Uri) -> &str {
    uri.path_and_query()
        .map_or(uri.path(), |path| path.as_str())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
}

/// The bytes of a key in hexadecimal.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
