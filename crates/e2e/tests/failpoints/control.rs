//! Setting failpoints over HTTP and gRPC, and what those do that return something.

use crate::world::World;
use crate::{ALONE, KEY, Who};
use e2e::kontiki_binary;
use failpoint::{Kind, POINTS};
use proto::debugpb::debug_client::DebugClient;
use proto::debugpb::{InjectFailPointRequest, ListFailPointsRequest, RecoverFailPointRequest};
use std::process::Command;
use std::time::Duration;
use tonic::Code;

const POINT: &str = "node::apply::answered";

fn hits(world: &World, node: usize, name: &str) -> u64 {
    let (code, body) = world.ask(node, "GET", "/fail", "").unwrap();
    assert_eq!(code, 200, "{body}");
    let all: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    let point = all.iter().find(|point| point["name"] == name).unwrap();
    point["hits"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_set_and_removed_over_http_and_grpc_while_a_node_runs() {
    let _alone = ALONE.lock().await;
    let mut world = World::start(&[]).await;
    let node = world.find(Who::Leader, KEY).await;
    let path = format!("/fail/{POINT}");
    let put = |actions: &str| world.ask(node, "PUT", &path, actions).unwrap().0;
    assert_eq!(
        [put("sleep(1)"), put("explode"), put("return")],
        [200, 400, 400]
    );
    let unknown = world.ask(node, "PUT", "/fail/nobody", "off").unwrap();
    assert_eq!(unknown.0, 404);
    let endpoint = format!("http://{}", world.cluster.endpoints()[node]);
    let mut debug = DebugClient::connect(endpoint).await.unwrap();
    let listed = debug.list_fail_points(ListFailPointsRequest {}).await;
    let listed = listed.unwrap().into_inner().entries;
    let ours = listed.iter().find(|entry| entry.name == POINT).unwrap();
    assert_eq!(ours.actions, "sleep(1)");
    let recover = |name: &str| RecoverFailPointRequest {
        name: name.to_owned(),
    };
    debug.recover_fail_point(recover(POINT)).await.unwrap();
    let unknown = debug.recover_fail_point(recover("nobody")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let inject = InjectFailPointRequest {
        name: POINT.to_owned(),
        actions: "2*off".to_owned(),
    };
    debug.inject_fail_point(inject).await.unwrap();
    let before = hits(&world, node, POINT);
    world.progress(100).await;
    assert!(hits(&world, node, POINT) > before);
    assert_eq!(world.ask(node, "DELETE", &path, "").unwrap().0, 200);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_points_drop_are_made_up_for() {
    let _alone = ALONE.lock().await;
    let world = World::start(&[]).await;
    let can_drop = POINTS.iter().filter(|point| point.kind == Kind::Message);
    let can_drop: Vec<_> = can_drop.filter(|point| point.returns.is_some()).collect();
    assert!(!can_drop.is_empty());
    for point in can_drop {
        let path = format!("/fail/{}", point.name);
        for node in 0..4 {
            let set = world.ask(node, "PUT", &path, "20%return").unwrap();
            assert_eq!(set.0, 200, "{}", set.1);
        }
        world.progress(100).await;
        for node in 0..4 {
            world.ask(node, "DELETE", &path, "").unwrap();
        }
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_stops_the_node_and_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut world = World::start(&[]).await;
    for name in ["engine_raftlog::sync::begin", "engine_rocks::change::begin"] {
        let node = world.find(Who::Follower, KEY).await;
        let set = world.ask(node, "PUT", &format!("/fail/{name}"), "return");
        assert!(set.is_none_or(|(code, _)| code == 200));
        let process = world.cluster.node(node).unwrap();
        let ended = process.wait(Duration::from_secs(30)).unwrap();
        let output = process.output();
        assert!(!ended.success(), "{name}");
        assert!(output.contains("the store stops"), "{name}: {output}");
        world.cluster.kill_node(node);
        world.come_back(node, &[]).await;
    }
    world.verify().await;
}

#[test]
fn the_reference_is_printed() {
    let mut command = Command::new(kontiki_binary().unwrap());
    let output = command.args(["failpoints", "docs"]).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        failpoint::reference()
    );
}
