//! `pdpb.PD` and `keyspacepb.Keyspace` over a port, with the real placement driver behind them.

use super::{Server, key};
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use futures::stream;
use proto::keyspacepb::LoadKeyspaceRequest;
use proto::keyspacepb::keyspace_client::KeyspaceClient;
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::*;
use tonic::Code;
use tonic::transport::Channel;

pub(super) async fn start(node: &FakeNode) -> (Server, PdClient<Channel>, Option<RequestHeader>) {
    let server = Server::start(node.clone(), Limits::default()).await;
    let client = PdClient::connect(server.url()).await.unwrap();
    let cluster_id = node.identity().cluster_id.get();
    (
        server,
        client,
        Some(RequestHeader {
            cluster_id,
            sender_id: 0,
        }),
    )
}

pub(super) fn assert_success(header: Option<ResponseHeader>, expected: Option<RequestHeader>) {
    let header = header.expect("a header on every response");
    assert_eq!(header.cluster_id, expected.unwrap().cluster_id);
    assert_eq!(
        header.error, None,
        "a present error means failure, whatever its type"
    );
}

#[tokio::test]
async fn members_and_leader_are_dialable_and_have_ids() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let response = client
        .get_members(GetMembersRequest { header })
        .await
        .unwrap()
        .into_inner();
    assert_success(response.header, header);
    assert_eq!(response.members.len(), 2);
    let leader = response.leader.unwrap();
    assert_eq!((leader.name.as_str(), leader.member_id), ("n1", 1));
    assert_eq!(leader.client_urls, ["http://127.0.0.1:1001"]);
    assert_eq!(response.etcd_leader.unwrap().member_id, 1);
    let info = client
        .get_cluster_info(GetClusterInfoRequest::default())
        .await
        .unwrap();
    assert_eq!(
        info.into_inner().service_modes,
        [ServiceMode::PdSvcMode as i32]
    );
}

#[tokio::test]
async fn stores_are_found_and_an_unknown_one_is_a_text_that_clients_know() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let get = |store_id| GetStoreRequest { header, store_id };
    let response = client.get_store(get(2)).await.unwrap().into_inner();
    assert_success(response.header, header);
    assert_eq!(response.store.unwrap().address, "127.0.0.1:1002");
    let unknown = client.get_store(get(9)).await.unwrap().into_inner();
    let text = unknown.header.unwrap().error.unwrap().message;
    assert!(
        text.contains("invalid store ID") && text.contains("not found"),
        "{text}"
    );
    let all = GetAllStoresRequest {
        header,
        exclude_tombstone_stores: true,
    };
    assert_eq!(
        client
            .get_all_stores(all)
            .await
            .unwrap()
            .into_inner()
            .stores
            .len(),
        2
    );
}

#[tokio::test]
async fn a_store_that_never_registered_is_told_from_one_that_did() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let get = GetStoreRequest {
        header,
        store_id: 2,
    };
    let listed = client.get_store(get).await.unwrap().into_inner();
    let listed = listed.store.unwrap();
    assert_eq!((listed.start_timestamp, listed.last_heartbeat), (0, 0));
    let put = PutStoreRequest {
        header,
        store: Some(listed),
    };
    let response = client.put_store(put).await.unwrap().into_inner();
    assert_success(response.header, header);
    node.depose();
    node.elect(7);
    let all = GetAllStoresRequest {
        header,
        exclude_tombstone_stores: false,
    };
    let all = client.get_all_stores(all).await.unwrap().into_inner();
    let started: Vec<_> = all
        .stores
        .iter()
        .map(|store| store.start_timestamp)
        .collect();
    assert!(started[0] == 0 && started[1] > 0, "{started:?}");
}

/// Replaces the one Region by so many others.
async fn split_into(node: &FakeNode, regions: u32) {
    for at in 0..regions {
        let range = types::KeyRange {
            start: at.to_be_bytes().to_vec(),
            end: (at + 1).to_be_bytes().to_vec(),
        };
        let region = types::Region {
            id: types::RegionId(u64::from(at) + 100),
            range,
            epoch: types::Epoch {
                conf_ver: 1,
                version: 2,
            },
            peers: node.region().peers,
        };
        let report = placement::RegionHeartbeat {
            leader: region.peers[0].id,
            region,
            term: 6,
            ..Default::default()
        };
        let report = placement::Request::RegionHeartbeat(Box::new(report));
        assert_eq!(node.place(report).await, Ok(placement::Response::Done));
    }
}

#[tokio::test]
async fn a_scan_without_a_limit_answers_all_regions_or_says_that_they_are_too_many() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let scan = |limit| ScanRegionsRequest {
        header,
        limit,
        ..Default::default()
    };
    let batch_scan = |limit| BatchScanRegionsRequest {
        header,
        ranges: vec![KeyRange::default()],
        limit,
        ..Default::default()
    };
    split_into(&node, 20_000).await;
    for (limit, found) in [(0, 20_000), (-1, 20_000), (17_000, 17_000), (3, 3)] {
        let scanned = client.scan_regions(scan(limit)).await.unwrap().into_inner();
        assert_eq!(scanned.regions.len(), found);
        let scanned = client.batch_scan_regions(batch_scan(limit)).await;
        assert_eq!(scanned.unwrap().into_inner().regions.len(), found);
    }
    split_into(&node, 65_537).await;
    for limit in [0, 70_000] {
        let refused = client.scan_regions(scan(limit)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let refused = client.batch_scan_regions(batch_scan(limit)).await;
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn regions_come_with_peers_and_a_leader() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let request = GetRegionRequest {
        header,
        region_key: key("k"),
        need_buckets: false,
    };
    let response = client.get_region(request).await.unwrap().into_inner();
    assert_success(response.header, header);
    assert_eq!(response.region.unwrap().peers.len(), 1);
    assert_eq!(response.leader.unwrap().store_id, 1);
    let by_id = GetRegionByIdRequest {
        header,
        region_id: 99,
        need_buckets: false,
    };
    let none = client.get_region_by_id(by_id).await.unwrap().into_inner();
    assert_success(none.header, header);
    assert_eq!(none.region, None);
    let scan = ScanRegionsRequest {
        header,
        limit: -1,
        ..Default::default()
    };
    let scanned = client.scan_regions(scan).await.unwrap().into_inner();
    assert_eq!(
        (
            scanned.regions.len(),
            scanned.region_metas.len(),
            scanned.leaders.len()
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn query_region_answers_in_the_order_of_its_keys() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let request = QueryRegionRequest {
        header,
        ids: vec![2, 77],
        keys: vec![key("a"), key("z")],
        prev_keys: vec![key("m")],
        need_buckets: false,
    };
    let mut responses = client
        .query_region(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let response = responses.message().await.unwrap().unwrap();
    assert_success(response.header, header);
    assert_eq!(response.key_id_map, [2, 2]);
    assert_eq!(response.prev_key_id_map, [0]);
    assert_eq!(response.regions_by_id.keys().collect::<Vec<_>>(), [&2]);
    assert!(response.regions_by_id[&2].leader.is_some());
    assert!(responses.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_batch_scan_names_each_region_once() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let range = |start: &str, end: &str| KeyRange {
        start_key: key(start),
        end_key: key(end),
    };
    let request = BatchScanRegionsRequest {
        header,
        ranges: vec![range("a", "c"), range("m", "z")],
        limit: 10,
        contain_all_key_range: true,
        ..Default::default()
    };
    let response = client
        .batch_scan_regions(request)
        .await
        .unwrap()
        .into_inner();
    assert_success(response.header, header);
    assert_eq!(response.regions.len(), 1);
}

#[tokio::test]
async fn timestamps_come_in_order_and_never_twice() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let counts: Vec<u32> = (1..=50).collect();
    let request = move |count| TsoRequest {
        header,
        count,
        dc_location: String::new(),
    };
    let requests = stream::iter(counts.clone().into_iter().map(request));
    let mut responses = client.tso(requests).await.unwrap().into_inner();
    let mut last = 0;
    for count in counts {
        let response = responses.message().await.unwrap().unwrap();
        assert_success(response.header, header);
        assert_eq!(response.count, count);
        let timestamp = response.timestamp.unwrap();
        // The last of the batch: the first one is still above all before.
        let number = (timestamp.physical << 18) + timestamp.logical;
        assert!(number - i64::from(count) >= last, "{number} after {last}");
        last = number;
    }
    assert!(responses.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_node_that_does_not_lead_says_so_in_words_that_clients_look_for() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    node.depose();
    let status = client
        .alloc_id(AllocIdRequest { header })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("not leader"),
        "{}",
        status.message()
    );
    let requests = stream::iter([TsoRequest {
        header,
        count: 1,
        dc_location: String::new(),
    }]);
    let mut responses = client.tso(requests).await.unwrap().into_inner();
    assert!(
        responses
            .message()
            .await
            .unwrap_err()
            .message()
            .contains("not leader")
    );
    let members = client
        .get_members(GetMembersRequest { header })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(members.leader.unwrap().member_id, 2);
}

#[tokio::test]
async fn a_request_for_another_cluster_is_refused() {
    let node = FakeNode::v1();
    let (_server, mut client, _) = start(&node).await;
    for header in [
        None,
        Some(RequestHeader {
            cluster_id: 4,
            sender_id: 0,
        }),
    ] {
        let status = client
            .alloc_id(AllocIdRequest { header })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("mismatch cluster id"));
    }
}

#[tokio::test]
async fn ids_differ_and_the_safe_point_is_echoed() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let first = client
        .alloc_id(AllocIdRequest { header })
        .await
        .unwrap()
        .into_inner();
    let second = client
        .alloc_id(AllocIdRequest { header })
        .await
        .unwrap()
        .into_inner();
    assert!(first.id != 0 && second.id > first.id);
    let request = UpdateGcSafePointRequest {
        header,
        safe_point: 42,
    };
    let response = client
        .update_gc_safe_point(request)
        .await
        .unwrap()
        .into_inner();
    assert_success(response.header, header);
    assert_eq!(response.new_safe_point, 42);
    let request = GetGcSafePointRequest { header };
    assert_eq!(
        client
            .get_gc_safe_point(request)
            .await
            .unwrap()
            .into_inner()
            .safe_point,
        42
    );
}

#[tokio::test]
async fn a_cluster_bootstraps_itself() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let response = client
        .is_bootstrapped(IsBootstrappedRequest { header })
        .await
        .unwrap();
    assert!(response.into_inner().bootstrapped);
    let again = BootstrapRequest {
        header,
        ..Default::default()
    };
    let error = client
        .bootstrap(again)
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .error
        .unwrap();
    assert_eq!(error.r#type, ErrorType::AlreadyBootstrapped as i32);
}

#[tokio::test]
async fn region_heartbeats_are_heard_and_bad_ones_answered_with_the_reason() {
    let node = FakeNode::v1();
    let (_server, mut client, header) = start(&node).await;
    let region = node.region();
    let good = RegionHeartbeatRequest {
        header,
        region: Some((&region).into()),
        leader: Some(region.peers[0].into()),
        term: 6,
        ..Default::default()
    };
    let stale = RegionHeartbeatRequest {
        term: 5,
        ..good.clone()
    };
    let mut responses = client
        .region_heartbeat(stream::iter([good, stale]))
        .await
        .unwrap()
        .into_inner();
    let heard = responses.message().await.unwrap().unwrap();
    assert_success(heard.header, header);
    assert_eq!(heard.region_id, 2);
    let refused = responses.message().await.unwrap().unwrap();
    assert!(
        refused
            .header
            .unwrap()
            .error
            .unwrap()
            .message
            .contains("term")
    );
}

#[tokio::test]
async fn the_default_keyspace_is_found_and_others_are_not() {
    let node = FakeNode::v2();
    let (server, _, _) = start(&node).await;
    let header = Some(RequestHeader {
        cluster_id: node.identity().cluster_id.get(),
        sender_id: 0,
    });
    let mut client = KeyspaceClient::connect(server.url()).await.unwrap();
    let request = |name: &str| LoadKeyspaceRequest {
        header,
        name: name.to_owned(),
    };
    let found = client
        .load_keyspace(request("DEFAULT"))
        .await
        .unwrap()
        .into_inner();
    assert_success(found.header, header);
    assert_eq!(found.keyspace.unwrap().id, 0);
    let none = client
        .load_keyspace(request("other"))
        .await
        .unwrap()
        .into_inner();
    assert!(none.keyspace.is_none() && none.header.unwrap().error.is_some());
}
