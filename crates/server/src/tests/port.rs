//! The port itself: both versions of HTTP, gRPC's trailers, compression, bounds, and the end.

use super::{Server, key, v1};
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use bytes::Bytes;
use futures::{StreamExt, future, stream};
use proto::healthpb::HealthCheckRequest;
use proto::healthpb::health_check_response::ServingStatus;
use proto::healthpb::health_client::HealthClient;
use proto::kvrpcpb::{RawGetRequest, RawPutRequest, RawScanRequest};
use proto::tikvpb::tikv_client::TikvClient;
use proto::tikvpb::{BatchCommandsEmptyRequest, BatchCommandsRequest, batch_commands_request};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};
use tower_service::Service as _;

fn put() -> RawPutRequest {
    RawPutRequest {
        context: v1(),
        key: key("k"),
        value: key("v"),
        ..Default::default()
    }
}

/// One HTTP/1.1 request; the status line and headers, and the body.
async fn http_get(server: &Server, path: &str) -> (String, String) {
    http(server, "GET", path, "").await
}

/// Calls with a body of JSON; answers the head and the body.
pub(super) async fn http(
    server: &Server,
    method: &str,
    path: &str,
    body: &str,
) -> (String, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("head and body");
    (head.to_owned(), body.to_owned())
}

async fn json(server: &Server, path: &str) -> Value {
    let (head, body) = http_get(server, path).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn grpc_and_http_1_share_the_port() {
    let node = FakeNode::v1();
    let server = Server::start(node, Limits::default()).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
    let get = RawGetRequest {
        context: v1(),
        key: key("k"),
        ..Default::default()
    };
    assert_eq!(client.raw_get(get).await.unwrap().into_inner().value, "v");

    let regions = json(&server, "/pd/api/v1/regions").await;
    assert_eq!(regions["count"], 1);
    assert_eq!(regions["regions"][0]["peers"][0]["store_id"], 1);
    assert_eq!(json(&server, "/pd/api/v1/stores").await["count"], 2);
    assert_eq!(
        json(&server, "/pd/api/v1/members").await["leader"]["name"],
        "n1"
    );
    assert_eq!(json(&server, "/pd/api/v1/health").await[0]["health"], true);
    assert_eq!(
        json(&server, "/pd/api/v1/config").await["storage"]["api-version"],
        1
    );
    assert_eq!(json(&server, "/health").await["health"], "true");
    let (head, _) = http_get(&server, "/nonsense").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_large_answer_arrives_whole_and_ends_well() {
    let node = FakeNode::v1();
    let value = |number: u8| vec![number; 64 << 10];
    for number in 0..9 {
        let stored = types::raw_value::encode(&value(number), None);
        node.insert(&[number], stored);
    }
    let server = Server::start(node, Limits::default()).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    // Encoded where it is made, and on a thread for large ones.
    for limit in [1, 9] {
        let scan = RawScanRequest {
            context: v1(),
            limit,
            ..Default::default()
        };
        let rows = client.raw_scan(scan).await.unwrap().into_inner().kvs;
        let read: Vec<_> = rows.iter().map(|row| row.value.to_vec()).collect();
        let expected: Vec<_> = (0..limit as u8).map(value).collect();
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn the_leaders_of_each_store_are_counted_over_http() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let region = node.region();
    let report = placement::RegionHeartbeat {
        leader: region.peers[0].id,
        region,
        term: 6,
        ..Default::default()
    };
    let report = placement::Request::RegionHeartbeat(Box::new(report));
    node.place(report).await.unwrap();
    let stores = json(&server, "/pd/api/v1/stores").await;
    let led = [0, 1].map(|at| &stores["stores"][at]["status"]["leader_count"]);
    assert_eq!(led, [1, 0]);
}

#[tokio::test]
async fn a_node_that_does_not_lead_redirects_to_the_one_that_does() {
    let node = FakeNode::v1();
    node.depose();
    let server = Server::start(node, Limits::default()).await;
    let (head, _) = http_get(&server, "/pd/api/v1/regions").await;
    assert!(head.starts_with("HTTP/1.1 307"), "{head}");
    assert!(
        head.contains("location: http://127.0.0.1:1002/pd/api/v1/regions"),
        "{head}"
    );
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let channel = tonic::transport::Endpoint::from_shared(server.url())
        .unwrap()
        .connect()
        .await;
    let channel = channel.unwrap();
    for path in [
        "/tikvpb.Tikv/KvGet",
        "/pdpb.PD/GetGCState",
        "/etcdserverpb.KV/Range",
    ] {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<RawPutRequest, RawPutRequest>::default();
        let result = grpc
            .unary(Request::new(put()), path.parse().unwrap(), codec)
            .await;
        assert_eq!(result.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn compressed_requests_are_accepted() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let client = TikvClient::connect(server.url()).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let value = vec![b'a'; 100_000].into();
    client
        .raw_put(RawPutRequest { value, ..put() })
        .await
        .unwrap();
    assert_eq!(node.rows()[b"k".as_slice()].len(), 100_001);
}

#[tokio::test]
async fn oversized_messages_and_headers_are_refused_and_others_are_served() {
    let limits = Limits {
        request_bytes_max: 10_000,
        ..Limits::default()
    };
    let server = Server::start(FakeNode::v1(), limits).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    let large = RawPutRequest {
        value: vec![0; 20_000].into(),
        ..put()
    };
    assert_eq!(
        client.raw_put(large.clone()).await.unwrap_err().code(),
        Code::OutOfRange
    );
    let mut bomb = client.clone().send_compressed(CompressionEncoding::Gzip);
    assert!(bomb.raw_put(large).await.is_err());
    let mut request = Request::new(put());
    request
        .metadata_mut()
        .insert("x-large", "x".repeat(40_000).parse().unwrap());
    assert!(client.raw_put(request).await.is_err());
    assert!(client.raw_put(put()).await.is_ok());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_live() {
    let limits = Limits {
        connections_max: 1,
        store_connections_max: 0,
        ..Limits::default()
    };
    let server = Server::start(FakeNode::v1(), limits).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    let mut rest = Vec::new();
    let end = second.read_to_end(&mut rest).await;
    assert!(end.is_err() || rest.is_empty(), "{rest:?}");
    client.raw_put(put()).await.unwrap();
}

#[tokio::test]
async fn silent_connections_give_their_places_back() {
    let limits = Limits {
        connections_max: 1,
        store_connections_max: 0,
        first_bytes_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(FakeNode::v1(), limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_not_completed_ends_its_request() {
    let limits = Limits {
        message_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::start(FakeNode::v1(), limits).await;
    let channel = tonic::transport::Endpoint::from_shared(server.url());
    let mut channel = channel.unwrap().connect().await.unwrap();
    // The header says 100 bytes; 10 come, and nothing more.
    let begin = Bytes::from([&[0, 0, 0, 0, 100][..], &[1; 10]].concat());
    let begin = stream::iter([Ok::<_, Status>(begin)]);
    let body = axum::body::Body::from_stream(begin.chain(stream::pending()));
    let request = http::Request::post(format!("{}/tikvpb.Tikv/RawPut", server.url()))
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(body))
        .unwrap();
    future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    let status = &response.headers()["grpc-status"];
    assert_eq!(Code::from_bytes(status.as_bytes()), Code::DeadlineExceeded);
}

#[tokio::test]
async fn answers_count_until_they_are_sent() {
    let limits = Limits {
        answer_bytes_max: 100_000,
        ..Limits::default()
    };
    let server = Server::start(FakeNode::v1(), limits).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    let value = Bytes::from(vec![7; 60_000]);
    let large = RawPutRequest {
        value: value.clone(),
        ..put()
    };
    client.raw_put(large).await.unwrap();
    let get = RawGetRequest {
        context: v1(),
        key: key("k"),
        ..Default::default()
    };
    for _ in 0..5 {
        assert_eq!(
            client
                .raw_get(get.clone())
                .await
                .unwrap()
                .into_inner()
                .value,
            value
        );
    }
}

#[tokio::test]
async fn nonsense_on_the_port_hurts_nobody_else() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[0xff; 4_096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&[0xff; 4_096]).await.unwrap();
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
}

#[tokio::test]
async fn health_is_serving_and_unknown_services_are_not_found() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let mut client = HealthClient::connect(server.url()).await.unwrap();
    let request = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let response = client.check(request("")).await.unwrap().into_inner();
    assert_eq!(response.status, ServingStatus::Serving as i32);
    assert!(client.check(request("tikvpb.Tikv")).await.is_ok());
    assert_eq!(
        client.check(request("nobody")).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_slow_request_does_not_hold_up_others_on_its_connection() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    let probe = BatchCommandsEmptyRequest {
        test_id: 1,
        delay_time: 10_000,
    };
    let slow = BatchCommandsRequest {
        requests: vec![batch_commands_request::Request {
            cmd: Some(batch_commands_request::request::Cmd::Empty(probe)),
        }],
        request_ids: vec![1],
    };
    let began = std::time::Instant::now();
    let commands = client.batch_commands(stream::iter([slow])).await;
    let mut commands = commands.unwrap().into_inner();
    let mut slow_answer = Box::pin(commands.message());
    let puts = (0..100).map(|_| {
        let mut client = client.clone();
        async move { client.raw_put(put()).await }
    });
    for result in futures::future::join_all(puts).await {
        result.unwrap();
    }
    assert!(futures::poll!(&mut slow_answer).is_pending());
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn a_stop_ends_streams_and_tells_those_who_watch() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let mut health = HealthClient::connect(server.url()).await.unwrap();
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);
    let mut tikv = TikvClient::connect(server.url()).await.unwrap();
    let requests = stream::pending::<BatchCommandsRequest>();
    let commands = tikv.batch_commands(requests).await.unwrap();
    let mut commands = commands.into_inner();
    // The drain is far longer than this test may take: it ends because the streams do.
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    let last = watch.message().await.unwrap().unwrap();
    assert_eq!(last.status, ServingStatus::NotServing as i32);
    assert!(commands.message().await.unwrap().is_none());
}
