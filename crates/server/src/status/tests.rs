//! The status server over a port: what it answers, and when.

use super::serve::serve_status;
use super::*;
use node::{CompactError, Compaction};
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
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
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
        "uptime_s": null, "last_panic": null,
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
        ..Attached::default()
    });
    let (_, page) = server.ask("GET", "/metrics").await;
    assert!(page.contains("kontiki_grpc_request_seconds_count{method=\"RawGet\"} 0\n"));
    server.status.detach();
    let (_, page) = server.ask("GET", "/metrics").await;
    assert!(!page.contains("kontiki_grpc"));
}

#[tokio::test]
async fn stages_that_are_passed_are_shown_with_their_times_and_the_present_one_with_its_progress() {
    let server = Server::start().await;
    assert_eq!(
        server.status.enter(Stage::OpeningLogs).0,
        Stage::OpeningData
    );
    server.status.progress("Regions read", 3, 7);
    server.status.progress("Regions read", 2, 7);
    let (code, body) = server.get("/ready?verbose").await;
    assert_eq!(
        (code, &body["stage"]),
        (503, &"opening the Raft logs".into())
    );
    assert_eq!(body["passed"][0]["stage"], "opening the data");
    assert!(body["passed"][0]["ms"].is_u64() && body["ms"].is_u64());
    let expected = json!({ "of": "Regions read", "done": 3, "total": 7 });
    assert_eq!(body["progress"], expected);
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

    fn compact(&self, wanted: &Compaction) -> Result<Value, CompactError> {
        match wanted.range.start.is_empty() {
            true => Ok(json!({ "took_ms": 1 })),
            false => Err(CompactError::UnderWay),
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
    assert_eq!(server.post("/compact", "{}").await.0, 503);
    assert_eq!(server.get("/debug/actors").await.0, 503);
    server.status.attach(Attached {
        inspect: Some(Arc::new(OneRegion)),
        ..Attached::default()
    });
    assert_eq!(
        server.get("/region/1").await,
        (200, json!({ "region_id": 1 }))
    );
    assert_eq!(server.get("/region/2").await.0, 404);
    let (code, body) = server.get("/region/3").await;
    assert_eq!((code, &body["error"]), (500, &"the disk is gone".into()));
    assert_eq!(server.get("/region/x").await.0, 400);
    assert_eq!(
        server.post("/compact", "{}").await,
        (200, json!({ "took_ms": 1 }))
    );
    let under_way = server.post("/compact", "{\"start_key\": \"61\"}").await;
    assert_eq!(under_way.0, 409);
    assert_eq!(server.post("/compact", "{\"cf\": \"raft\"}").await.0, 400);
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
