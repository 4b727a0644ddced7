//! The status server: what a node is and does, for operators and their tools, on a port of its own.
//!
//! **Why a port of its own.** It answers from the first moment of a start to the last of a stop, when
//! the node's own port does not serve, and who may reach it is another question.
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | the same for people, with links |
//! | `GET /status` | version, name, ids (null until the data directory is read), address, uptime |
//! | `GET /ready` | 200 while the node serves, otherwise 503; with the stage, and with `?verbose` those before |
//! | `GET /config` | the configuration in force |
//! | `GET /config/items` | each item with its default, and whether it can be changed online |
//! | `POST /config` | changes items, by their dotted keys: all or none; `?persist=false` until the next start |
//! | `GET /metrics` | what is counted, for Prometheus |
//! | `GET /debug/actors?limit=` | the actors that stand out: slowest, longest queues, busiest, rescheduled |
//! | `GET /region/{id}` | a Region as this store knows it |
//! | `/fail` | failpoints, in builds that have them (`fail`) |
//! | `GET /diagnosis/...` | logs, machine, clock: see `diagnosis` |
//!
//! **Invariants.** Connections are bounded, each answer has to be taken within a while, and no answer waits
//! for a Peer. What looks at the node, or changes it, runs on a thread that may wait. A browser can't be made to
//! change anything by a page from elsewhere: a change is JSON and says so.
//!
//! **Not here.** Accepting connections (`serve`), TLS, and who may ask.

mod configuration;
mod diagnosis;
mod fail;
mod inspect;
mod page;
mod routes;
mod serve;

pub use configuration::{Configuration, Fault, Refused};
pub use inspect::Inspect;
pub use serve::serve_status;

use crate::VERSION;
use crate::meters::{BUILD, STAGE};
use axum::http::StatusCode;
use metrics::{Collect, Page, Process};
use node::Identity;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// All of them, in their order.
    pub const ALL: [Stage; 6] = [
        Stage::OpeningData,
        Stage::AskingMembers,
        Stage::OpeningLogs,
        Stage::StartingNode,
        Stage::Serving,
        Stage::Stopping,
    ];

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
    config: Arc<dyn Configuration>,
    since: Instant,
    current: Mutex<Current>,
    /// Held while the node is asked, so that one that was let go of is asked no more.
    attached: Mutex<Attached>,
    process: Process,
}

/// What changes.
struct Current {
    stage: Stage,
    entered: Instant,
    /// Of the stage, in words of the stage's own: so many of so many.
    progress: Option<(usize, usize)>,
    /// The stages before, and how long they took.
    passed: Vec<(Stage, Duration)>,
    identity: Option<Identity>,
}

/// What is there while the node runs.
#[derive(Default)]
pub struct Attached {
    /// Whoever counts something.
    pub collectors: Vec<Arc<dyn Collect>>,
    /// Who shows Regions and actors.
    pub inspect: Option<Arc<dyn Inspect>>,
}

impl NodeStatus {
    /// Of the node with this name and address, which begins its start now.
    pub fn new(name: String, address: String, config: Arc<dyn Configuration>) -> Self {
        let since = Instant::now();
        let current = Current {
            stage: Stage::OpeningData,
            entered: since,
            progress: None,
            passed: Vec::new(),
            identity: None,
        };
        let shared = Shared {
            name,
            address,
            config,
            since,
            current: Mutex::new(current),
            attached: Mutex::default(),
            process: Process::begin(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The node has come to this stage. Returns the one before, and how long it took.
    pub fn enter(&self, stage: Stage) -> (Stage, Duration) {
        let mut current = self.shared.current.lock();
        let before = (current.stage, current.entered.elapsed());
        if before.0 != stage {
            current.passed.push(before);
            current.stage = stage;
            current.entered = Instant::now();
            current.progress = None;
        }
        before
    }

    /// So much of the stage is done, of so much.
    pub fn progress(&self, done: usize, total: usize) {
        self.shared.current.lock().progress = Some((done, total));
    }

    /// The directory has said whose it is.
    pub fn identify(&self, identity: &Identity) {
        self.shared.current.lock().identity = Some(identity.clone());
    }

    /// The node runs: this is to be shown of it.
    pub fn attach(&self, node: Attached) {
        *self.shared.attached.lock() = node;
    }

    /// Lets go of the node. What is said of the process stays.
    pub fn detach(&self) {
        let node = std::mem::take(&mut *self.shared.attached.lock());
        drop(node);
    }

    fn stage(&self) -> Stage {
        self.shared.current.lock().stage
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        let stage = self.stage();
        page.gauge(&BUILD, &[VERSION], 1);
        for one in Stage::ALL {
            page.gauge(&STAGE, &[one.name()], u64::from(one == stage));
        }
        self.shared.process.collect(&mut page);
        logs::Lost.collect(&mut page);
        for collector in &self.shared.attached.lock().collectors {
            collector.collect(&mut page);
        }
        page.render()
    }

    /// What is to be found out with the node; none while it does not run.
    fn with_node<T>(&self, find: impl FnOnce(&dyn Inspect) -> T) -> Option<T> {
        let attached = self.shared.attached.lock();
        attached.inspect.as_deref().map(find)
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

    fn ready(&self, is_verbose: bool) -> (StatusCode, Value) {
        let current = self.shared.current.lock();
        let code = match current.stage {
            Stage::Serving => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut body = json!({ "stage": current.stage.name() });
        if is_verbose {
            let ms = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let passed = current.passed.iter();
            let passed =
                passed.map(|(stage, took)| json!({ "stage": stage.name(), "ms": ms(*took) }));
            body["passed"] = passed.collect();
            body["ms"] = ms(current.entered.elapsed()).into();
            body["progress"] = current.progress.map_or(
                Value::Null,
                |(done, total)| json!({ "done": done, "total": total }),
            );
        }
        (code, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;
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
            let status = NodeStatus::new("n1".to_owned(), "h:1".to_owned(), Arc::new(config));
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

        async fn post(&self, path: &str, body: &str) -> (u16, Value) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let code = answer["HTTP/1.1 ".len()..][..3].parse().unwrap();
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            (code, serde_json::from_str(body).unwrap_or_default())
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
        for path in ["/metric", "/status/", "/../config"] {
            assert_eq!(server.ask("GET", path).await.0, 404, "{path}");
        }
        assert_eq!(server.ask("POST", "/status").await.0, 405);
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_keeps_nobody_from_an_answer() {
        let server = Server::start().await;
        let _silent = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(server.get("/status").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_shown_from_the_start_and_those_of_the_node_once_it_is_there() {
        let server = Server::start().await;
        let (code, page) = server.ask("GET", "/metrics").await;
        assert_eq!(code, 200);
        assert!(page.contains("kontiki_stage{stage=\"opening the data\"} 1\n"));
        assert!(page.contains("\nprocess_threads "));
        assert!(!page.contains("kontiki_grpc"));
        server.status.attach(Attached {
            collectors: vec![Arc::new(crate::ServiceMeters::default())],
            inspect: None,
        });
        let (_, page) = server.ask("GET", "/metrics").await;
        assert!(page.contains("kontiki_grpc_request_seconds_count{method=\"RawGet\"} 0\n"));
        server.status.detach();
        let (_, page) = server.ask("GET", "/metrics").await;
        assert!(!page.contains("kontiki_grpc"));
    }

    #[tokio::test]
    async fn stages_that_are_passed_are_shown_with_their_times_and_the_present_one_with_its_progress()
     {
        let server = Server::start().await;
        assert_eq!(
            server.status.enter(Stage::OpeningLogs).0,
            Stage::OpeningData
        );
        server.status.progress(3, 7);
        let (code, body) = server.get("/ready?verbose").await;
        assert_eq!(
            (code, &body["stage"]),
            (503, &"opening the Raft logs".into())
        );
        assert_eq!(body["passed"][0]["stage"], "opening the data");
        assert!(body["passed"][0]["ms"].is_u64() && body["ms"].is_u64());
        assert_eq!(body["progress"], json!({ "done": 3, "total": 7 }));
        server.status.enter(Stage::Serving);
        let (_, body) = server.get("/ready?verbose").await;
        assert_eq!(
            (&body["progress"], body["passed"].as_array().unwrap().len()),
            (&Value::Null, 2)
        );
        assert_eq!(server.get("/ready").await.1, json!({ "stage": "serving" }));
    }

    struct OneRegion;

    impl Inspect for OneRegion {
        fn region(&self, id: u64) -> Result<Option<Value>, String> {
            match id {
                1 => Ok(Some(json!({ "region_id": 1 }))),
                2 => Ok(None),
                _ => Err("the disk is gone".to_owned()),
            }
        }

        fn actors(&self, count: usize) -> Value {
            json!({ "peer": count })
        }
    }

    #[tokio::test]
    async fn regions_and_actors_are_shown_while_the_node_runs() {
        let server = Server::start().await;
        assert_eq!(server.get("/region/1").await.0, 503);
        assert_eq!(server.get("/debug/actors").await.0, 503);
        server.status.attach(Attached {
            collectors: Vec::new(),
            inspect: Some(Arc::new(OneRegion)),
        });
        assert_eq!(
            server.get("/region/1").await,
            (200, json!({ "region_id": 1 }))
        );
        assert_eq!(server.get("/region/2").await.0, 404);
        let (code, body) = server.get("/region/3").await;
        assert_eq!((code, &body["error"]), (500, &"the disk is gone".into()));
        assert_eq!(server.get("/region/x").await.0, 400);
        assert_eq!(server.get("/debug/actors").await.1, json!({ "peer": 20 }));
        assert_eq!(
            server.get("/debug/actors?limit=3").await.1,
            json!({ "peer": 3 })
        );
    }

    #[tokio::test]
    async fn a_change_is_json_and_says_so_and_what_is_wrong_with_it_is_told() {
        let server = Server::start().await;
        assert_eq!(server.ask("POST", "/config").await.0, 415);
        let (code, body) = server.post("/config", "{\"a.b\": 1}").await;
        assert_eq!(code, 400);
        assert_eq!(body["problems"][0], "nothing can be changed online");
        assert_eq!(server.post("/config", "[]").await.0, 422);
    }

    #[tokio::test]
    async fn a_browser_finds_a_page_with_links() {
        let server = Server::start().await;
        let (code, page) = server.ask("GET", "/").await;
        assert_eq!(code, 200);
        assert!(page.contains("<title>Kontiki n1</title>") && page.contains("href=\"/metrics\""));
    }
}
