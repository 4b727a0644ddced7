//! The status server: what a node is and does, for operators and their tools, on a port of its own.
//!
//! **Why a port of its own.** It answers from the first moment of a start to the last of a stop, when
//! the node's own port does not serve, and who may reach it is another question.
//!
//! | route | answer |
//! |---|---|
//! | `GET /status` | version, name, ids (null until the data directory is read), address, uptime |
//! | `GET /ready` | 200 while the node serves, otherwise 503; with the stage |
//! | `GET /config` | the configuration in force |
//!
//! **Invariants.** Connections are bounded, and no answer waits for the node.
//!
//! **Not here.** Anything that changes something, and metrics.

use crate::VERSION;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use node::Identity;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

/// The most connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// A connection that asks nothing for so long is closed.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error that is not one connection's fault (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a node is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The data directory is locked and the key-value engine opened.
    OpeningData,
    /// The cluster is asked whether this store is new to it, if its directory is, or joins it.
    AskingMembers,
    /// The Raft logs are opened, and moved from the other engine if they are there.
    OpeningLogs,
    /// The replicas are read and the threads started.
    StartingNode,
    /// Requests are answered.
    Serving,
    /// Requests under way end, and then the node.
    Stopping,
}

impl Stage {
    /// Its name, as `/ready` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::OpeningData => "opening the data",
            Stage::AskingMembers => "asking the other members",
            Stage::OpeningLogs => "opening the Raft logs",
            Stage::StartingNode => "starting the node",
            Stage::Serving => "serving",
            Stage::Stopping => "stopping",
        }
    }
}

/// What is shown of a node; clones show the same.
#[derive(Clone)]
pub struct NodeStatus {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    address: String,
    config: Value,
    since: Instant,
    current: Mutex<Current>,
}

/// What changes.
struct Current {
    stage: Stage,
    identity: Option<Identity>,
}

impl NodeStatus {
    /// Of the node with this name and address, which begins its start now.
    pub fn new(name: String, address: String, config: Value) -> Self {
        let current = Current {
            stage: Stage::OpeningData,
            identity: None,
        };
        let shared = Shared {
            name,
            address,
            config,
            since: Instant::now(),
            current: Mutex::new(current),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The node has come to this stage.
    pub fn enter(&self, stage: Stage) {
        self.shared.current.lock().stage = stage;
    }

    /// The directory has said whose it is.
    pub fn identify(&self, identity: &Identity) {
        self.shared.current.lock().identity = Some(identity.clone());
    }

    fn status(&self) -> Value {
        let shared = &self.shared;
        let current = shared.current.lock();
        let identity = current.identity.as_ref();
        json!({
            "version": VERSION,
            "name": shared.name,
            "store_id": identity.map(|identity| identity.store_id.get()),
            "cluster_id": identity.map(|identity| identity.cluster_id.get()),
            "address": shared.address,
            "uptime_s": shared.since.elapsed().as_secs(),
        })
    }

    fn ready(&self) -> (StatusCode, Value) {
        let stage = self.shared.current.lock().stage;
        let code = match stage {
            Stage::Serving => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, json!({ "stage": stage.name() }))
    }
}

fn router(status: NodeStatus) -> Router {
    type Shown = State<NodeStatus>;
    let ready = |State(status): Shown| async move {
        let (code, body) = status.ready();
        (code, Json(body))
    };
    let config = |State(status): Shown| async move { Json(status.shared.config.clone()) };
    Router::new()
        .route(
            "/status",
            get(|State(status): Shown| async move { Json(status.status()) }),
        )
        .route("/ready", get(ready))
        .route("/config", get(config))
        .with_state(status)
}

/// Shows the status of a node on a bound port, for as long as it is polled.
pub async fn serve_status(listener: TcpListener, status: NodeStatus) {
    let router = router(status);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    answer(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the status server could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let service = service_fn(move |request| router.clone().call(request));
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = answered {
        // A client that goes away in the middle is no event.
        tracing::debug!(%error, "a connection to the status server ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use types::{ApiVersion, ClusterId, StoreId};

    struct Server {
        status: NodeStatus,
        address: std::net::SocketAddr,
        _task: JoinSet<()>,
    }

    impl Server {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let config = json!({ "server": { "addr": "h:1" } });
            let status = NodeStatus::new("n1".to_owned(), "h:1".to_owned(), config);
            let mut task = JoinSet::new();
            task.spawn(serve_status(listener, status.clone()));
            Self {
                status,
                address,
                _task: task,
            }
        }

        /// The code and the body.
        async fn ask(&self, method: &str, path: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let code = answer["HTTP/1.1 ".len()..][..3].parse().unwrap();
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            (code, body.to_owned())
        }

        async fn get(&self, path: &str) -> (u16, Value) {
            let (code, body) = self.ask("GET", path).await;
            (code, serde_json::from_str(&body).unwrap_or_default())
        }
    }

    #[tokio::test]
    async fn a_node_is_ready_while_it_serves_and_names_its_stage_otherwise() {
        let server = Server::start().await;
        for (stage, code) in [
            (Stage::OpeningData, 503),
            (Stage::StartingNode, 503),
            (Stage::Serving, 200),
            (Stage::Stopping, 503),
        ] {
            server.status.enter(stage);
            let (found, body) = server.get("/ready").await;
            assert_eq!((found, &body["stage"]), (code, &stage.name().into()));
        }
    }

    #[tokio::test]
    async fn the_status_has_ids_once_the_directory_has_given_them() {
        let server = Server::start().await;
        let (code, body) = server.get("/status").await;
        assert_eq!((code, &body["store_id"]), (200, &Value::Null));
        server.status.identify(&Identity {
            cluster_id: ClusterId(7),
            store_id: StoreId(2),
            api_version: ApiVersion::V1,
            name: "n1".to_owned(),
            address: "h:1".to_owned(),
        });
        let (_, mut body) = server.get("/status").await;
        assert!(body["uptime_s"].take().is_u64());
        let expected = json!({
            "version": VERSION, "name": "n1", "store_id": 2, "cluster_id": 7, "address": "h:1",
            "uptime_s": null,
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn the_configuration_is_shown_and_nothing_else_is_there() {
        let server = Server::start().await;
        let (code, body) = server.get("/config").await;
        assert_eq!((code, &body["server"]["addr"]), (200, &"h:1".into()));
        for path in ["/", "/metrics", "/status/", "/../config"] {
            assert_eq!(server.ask("GET", path).await.0, 404, "{path}");
        }
        assert_eq!(server.ask("POST", "/config").await.0, 405);
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_keeps_nobody_from_an_answer() {
        let server = Server::start().await;
        let _silent = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(server.get("/status").await.0, 200);
    }
}
