//! The routes that look for Regions, and that set what holds for stores.

use super::Server;
use super::operators::{call, report};
use crate::fake::FakeNode;
use crate::limits::Limits;
use serde_json::{Value, json};

async fn get(server: &Server, path: &str) -> (u16, Value) {
    call(server, "GET", &format!("/pd/api/v1{path}"), Value::Null).await
}

async fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    call(server, "POST", &format!("/pd/api/v1{path}"), body).await
}

async fn start() -> Server {
    let node = FakeNode::v1();
    report(&node).await;
    Server::start(node, Limits::default()).await
}

#[tokio::test]
async fn regions_are_found_by_key_and_by_range() {
    let server = start().await;
    for path in ["/region/key/k", "/region/key/6B?format=hex"] {
        let (status, region) = get(&server, path).await;
        assert_eq!((status, &region["id"]), (200, &json!(2)), "{path}");
    }
    let (_, all) = get(&server, "/regions/key?key=&end_key=&format=hex&limit=8").await;
    assert_eq!(
        (&all["count"], &all["regions"][0]["id"]),
        (&json!(1), &json!(2))
    );
    for path in [
        "/region/key/6?format=hex",
        "/region/key/%2B1?format=hex",
        "/region/key/k?format=base64",
        "/regions/key?limit=some",
    ] {
        assert_eq!(get(&server, path).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn regions_with_too_few_replicas_are_listed_by_the_check_for_that() {
    let server = start().await;
    let count = async |kind: &str| {
        let (status, found) = get(&server, &format!("/regions/check/{kind}")).await;
        (status, found["count"].clone())
    };
    assert_eq!(count("miss-peer").await, (200, json!(1)));
    assert_eq!(count("extra-peer").await, (200, json!(0)));
    assert_eq!(count("lost-peer").await.0, 400);
    let one = json!({ "max-replicas": 1 });
    assert_eq!(post(&server, "/config", one).await.0, 200);
    assert_eq!(count("miss-peer").await, (200, json!(0)));
}

#[tokio::test]
async fn the_key_space_is_shown_in_cells_with_what_is_wrong_in_it() {
    let server = start().await;
    let (status, map) = call(&server, "GET", "/regions/map?cells=4", Value::Null).await;
    assert_eq!((status, &map["regions"]), (200, &json!(1)));
    let cell = &map["cells"][0];
    assert_eq!(
        (&cell["first"], &cell["leaders"], &cell["ill"]),
        (&json!(2), &json!({ "1": 1 }), &json!(0))
    );
    assert_eq!(
        (&cell["start_key"], &cell["end_key"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(map["health"]["miss-peer"], 1);
    assert_eq!(map["health"]["no-leader"], 0);
    for wrong in ["0", "x", "9999"] {
        let path = format!("/regions/map?cells={wrong}");
        assert_eq!(call(&server, "GET", &path, Value::Null).await.0, 400);
    }
}

#[tokio::test]
async fn a_region_that_can_not_be_scattered_is_named_with_the_reason() {
    let server = start().await;
    let (status, answer) = post(&server, "/regions/scatter", json!({ "regions_id": [2] })).await;
    assert_eq!((status, &answer["processed-percentage"]), (200, &json!(0)));
    let failure = &answer["failures"][0];
    assert_eq!(failure["region_id"], 2);
    let reason = failure["error"].as_str().unwrap();
    assert!(reason.starts_with("no operator for region 2"), "{reason}");
    for wrong in [json!({}), json!({ "regions_id": ["2"] })] {
        assert_eq!(post(&server, "/regions/scatter", wrong).await.0, 400);
    }
}

#[tokio::test]
async fn labels_are_set_over_http() {
    let server = start().await;
    let set = json!({ "zone": "a", "rack": "r1" });
    assert_eq!(post(&server, "/store/2/label", set).await.0, 200);
    assert_eq!(
        post(&server, "/store/2/label", json!({ "rack": "" }))
            .await
            .0,
        200
    );
    let (_, store) = get(&server, "/store/2").await;
    let zone = json!([{ "key": "zone", "value": "a" }]);
    assert_eq!(store["store"]["labels"], zone);
    assert_eq!(
        post(&server, "/store/2/label", json!({ "zone": 1 }))
            .await
            .0,
        400
    );
    assert_eq!(
        post(&server, "/store/9/label", json!({ "zone": "a" }))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn limits_of_stores_are_set_by_kind_or_both() {
    let server = start().await;
    let limit = json!({ "rate": 20, "type": "add-peer" });
    assert_eq!(post(&server, "/stores/limit", limit).await.0, 200);
    let (_, limits) = get(&server, "/stores/limit").await;
    assert_eq!(limits["2"], json!({ "add-peer": 20, "remove-peer": 15 }));
    assert_eq!(
        post(&server, "/stores/limit", json!({ "rate": 9 })).await.0,
        200
    );
    let (_, limits) = get(&server, "/stores/limit").await;
    assert_eq!(limits["1"], json!({ "add-peer": 9, "remove-peer": 9 }));
    for wrong in [
        json!({ "rate": 9, "type": "both" }),
        json!({ "rate": 0 }),
        json!({}),
    ] {
        assert_eq!(post(&server, "/stores/limit", wrong).await.0, 400);
    }
}
