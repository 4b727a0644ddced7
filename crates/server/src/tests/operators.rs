//! Scheduling over a port: `pdpb`, and the routes of PD.

use super::pd::{assert_success, start};
use super::{Server, key};
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use placement::{
    Control, OperatorRequest, RegionHeartbeat, Request, Response, Store, StoreStats, Traffic,
};
use proto::pdpb::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use types::{PeerId, RegionId, StoreId};

/// The fake's Region is led, as far as the placement driver knows.
pub(super) async fn report(node: &FakeNode) {
    let heartbeat = RegionHeartbeat {
        region: node.region(),
        leader: PeerId(11),
        term: 6,
        ..Default::default()
    };
    let request = Request::RegionHeartbeat(Box::new(heartbeat));
    assert_eq!(node.place(request).await, Ok(Response::Done));
}

#[tokio::test]
async fn a_leader_that_asks_gets_ids_for_a_split_and_an_old_one_does_not() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    report(&node).await;
    let asked = |version| AskBatchSplitRequest {
        header,
        region: Some(proto::metapb::Region {
            region_epoch: Some(proto::metapb::RegionEpoch {
                conf_ver: 1,
                version,
            }),
            ..(&node.region()).into()
        }),
        split_count: 2,
    };
    let answer = client.ask_batch_split(asked(1)).await.unwrap().into_inner();
    assert_success(answer.header, header);
    assert_eq!(answer.ids.len(), 2);
    assert!(answer.ids.iter().all(|ids| ids.new_peer_ids.len() == 1));
    assert_ne!(answer.ids[0].new_region_id, answer.ids[1].new_region_id);
    let late = client.ask_batch_split(asked(0)).await;
    assert!(late.is_err() || late.unwrap().into_inner().header.unwrap().error.is_some());
}

#[tokio::test]
async fn a_split_by_request_begins_an_operator_that_can_be_asked_for() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    report(&node).await;
    let ask = GetOperatorRequest {
        header,
        region_id: 2,
    };
    let none = client.get_operator(ask).await.unwrap().into_inner();
    let error = none.header.unwrap().error.unwrap();
    assert_eq!(error.r#type, ErrorType::EntryNotFound as i32);
    let split = SplitRegionsRequest {
        header,
        split_keys: vec![key("k")],
        retry_limit: 0,
    };
    let answer = client.split_regions(split).await.unwrap().into_inner();
    assert_success(answer.header, header);
    // Nobody splits the fake's Region.
    assert_eq!((answer.finished_percentage, answer.regions_id), (0, vec![]));
    let running = client.get_operator(ask).await.unwrap().into_inner();
    assert_success(running.header, header);
    assert_eq!(running.status, OperatorStatus::Running as i32);
    assert_eq!(
        (&running.desc[..], &running.kind[..]),
        (&b"split-region"[..], &b"admin"[..])
    );
}

#[tokio::test]
async fn a_region_that_is_not_in_order_is_not_scattered() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    report(&node).await;
    let scatter = ScatterRegionRequest {
        header,
        regions_id: vec![2],
        ..Default::default()
    };
    let answer = client.scatter_region(scatter).await.unwrap().into_inner();
    assert_success(answer.header, header);
    assert_eq!(answer.finished_percentage, 0, "it has one replica of three");
}

pub(super) async fn call(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (head, body) = super::port::http(server, method, path, &body.to_string()).await;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    (status.expect("a status"), body)
}

#[tokio::test]
async fn settings_are_read_and_set_over_http_all_or_none() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    let set = json!({ "max-replicas": 5, "location-labels": "zone,host" });
    let (status, _) = call(&server, "POST", "/pd/api/v1/config", set).await;
    assert_eq!(status, 200);
    let (_, settings) = call(&server, "GET", "/pd/api/v1/config/schedule", Value::Null).await;
    assert_eq!(settings["max-replicas"], 5);
    assert_eq!(settings["location-labels"], "zone,host");
    let wrong = json!({ "max-replicas": 3, "low-space": 1 });
    let (status, error) = call(&server, "POST", "/pd/api/v1/config", wrong).await;
    assert_eq!(status, 404);
    let text = error["error"].as_str().unwrap();
    assert!(
        text.starts_with("there is no setting \"low-space\""),
        "{text}"
    );
    let (_, config) = call(&server, "GET", "/pd/api/v1/config", Value::Null).await;
    assert_eq!(config["schedule"]["max-replicas"], 5);
}

#[tokio::test]
async fn schedulers_and_operators_are_steered_over_http() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    report(&node).await;
    let evict = json!({ "name": "evict-leader-scheduler", "store_id": 1 });
    let (status, _) = call(&server, "POST", "/pd/api/v1/schedulers", evict).await;
    assert_eq!(status, 200);
    let path = "/pd/api/v1/schedulers/evict-leader-scheduler-1";
    let (status, _) = call(&server, "POST", path, json!({ "delay": 30 })).await;
    assert_eq!(status, 200);
    let (_, listed) = call(&server, "GET", "/pd/api/v1/schedulers", Value::Null).await;
    assert_eq!(listed[4]["paused_ms"], 30_000);
    let (status, _) = call(&server, "DELETE", path, Value::Null).await;
    assert_eq!(status, 200);
    let split = json!({ "name": "split-region", "region_id": 2, "keys": ["6B"] });
    let (status, _) = call(&server, "POST", "/pd/api/v1/operators", split).await;
    assert_eq!(status, 200);
    let (_, listed) = call(&server, "GET", "/pd/api/v1/operators", Value::Null).await;
    assert_eq!(listed[0]["steps"], json!(["split at 1 keys"]));
    let (status, _) = call(&server, "DELETE", "/pd/api/v1/operators/2", Value::Null).await;
    assert_eq!(status, 200);
    let (_, ended) = call(&server, "GET", "/pd/api/v1/operators/records", Value::Null).await;
    assert_eq!(ended[0]["region_id"], 2);
    let nonsense = json!({ "name": "move-everything" });
    let (status, _) = call(&server, "POST", "/pd/api/v1/operators", nonsense).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_is_busy_is_shown_over_http() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let traffic = Traffic {
        interval_s: 10,
        read_bytes: 100 << 20,
        written_bytes: 20 << 20,
        read_requests: 50,
        ..Traffic::default()
    };
    for _ in 0..3 {
        let heartbeat = RegionHeartbeat {
            region: node.region(),
            leader: PeerId(11),
            term: 6,
            traffic,
            ..Default::default()
        };
        let request = Request::RegionHeartbeat(Box::new(heartbeat));
        assert_eq!(node.place(request).await, Ok(Response::Done));
    }
    let store = Store {
        id: StoreId(1),
        address: "127.0.0.1:1001".to_owned(),
        ..Default::default()
    };
    let registered = node.place(Request::PutStore(store)).await;
    assert_eq!(registered, Ok(Response::Done));
    let stats = StoreStats {
        store_id: StoreId(1),
        traffic,
        ..Default::default()
    };
    let told = node.place(Request::StoreHeartbeat(stats)).await;
    assert_eq!(told, Ok(Response::Done));
    let at = |path: &str| format!("/pd/api/v1/hotspot{path}");
    let (_, stores) = call(&server, "GET", &at("/stores"), Value::Null).await;
    assert_eq!(stores["bytes-read-rate"], json!({ "1": 10 << 20 }));
    assert_eq!(stores["query-read-rate"]["1"], 5);
    // Three times half the way from nothing to what was reported.
    for (path, rate) in [("/regions/read", 35 << 18), ("/regions/write", 7 << 18)] {
        let (_, hot) = call(&server, "GET", &at(path), Value::Null).await;
        let led = &hot["as_leader"]["1"];
        assert_eq!(led["statistics"][0]["region_id"], 2);
        assert_eq!(led["total_flow_bytes"], rate);
        assert_eq!(hot["as_peer"]["1"], *led, "it has one replica");
    }
}

#[tokio::test]
async fn a_drain_that_can_not_be_is_refused_over_http_with_the_reason() {
    let server = Server::start(FakeNode::v1(), Limits::default()).await;
    // No store has reported to this leader yet.
    let (status, error) = call(&server, "DELETE", "/pd/api/v1/store/2", Value::Null).await;
    assert_eq!(status, 400);
    let text = error["error"].as_str().unwrap();
    assert!(
        text.starts_with("store 2 can't be drained: too few stores would be left: 0 for 3"),
        "{text}"
    );
    let (status, store) = call(&server, "GET", "/pd/api/v1/store/2", Value::Null).await;
    assert_eq!((status, &store["store"]["state_name"]), (200, &json!("Up")));
    let (status, _) = call(&server, "GET", "/pd/api/v1/store/9", Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn what_the_driver_wants_between_two_reports_goes_out_on_the_stream_of_the_leader_s_store() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let region = node.region();
    let report = RegionHeartbeatRequest {
        header,
        region: Some((&region).into()),
        leader: Some(region.peers[0].into()),
        term: 6,
        ..Default::default()
    };
    let (sender, reports) = mpsc::channel(4);
    sender.send(report.clone()).await.unwrap();
    let next = |mut reports: mpsc::Receiver<_>| async { Some((reports.recv().await?, reports)) };
    let reports = futures::stream::unfold(reports, next);
    let mut answers = client.region_heartbeat(reports).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!((first.region_id, first.split_region), (2, None));
    let split = Control::AddOperator(OperatorRequest::Split {
        region_id: RegionId(2),
        keys: Vec::new(),
    });
    let begun = node.place(Request::Control(Box::new(split))).await;
    assert_eq!(begun, Ok(Response::Done));
    let told = answers.message().await.unwrap().unwrap();
    assert_eq!(told.target_peer.unwrap().store_id, 1);
    let split = told.split_region.unwrap();
    assert_eq!(split.policy, CheckPolicy::Scan as i32);
    sender.send(report).await.unwrap();
    let again = answers.message().await.unwrap().unwrap();
    assert_eq!(again.split_region, Some(split), "the answer says it again");
}

#[tokio::test]
async fn the_replicas_of_a_region_are_compared_over_http_by_its_leader_alone() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let at = |id: u64| format!("/region/{id}/consistency-check");
    let (status, report) = call(&server, "POST", &at(2), Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&report["region_id"], &report["index"]),
        (&2.into(), &9.into())
    );
    assert_eq!(report["differs"], false);
    assert_eq!(report["quarantined"], json!([]));
    let hash = "00000000000000000000000000000007";
    assert_eq!(report["agreed_hash"], hash);
    assert_eq!(report["replicas"][0]["hash"], hash);
    let (status, _) = call(&server, "POST", &at(77), Value::Null).await;
    assert_eq!(status, 404, "placement knows no such Region either");
    let (status, _) = call(&server, "GET", &at(2), Value::Null).await;
    assert_eq!(status, 405);
}
