//! Requests for somebody else: another cluster, store, epoch, API version, key mode or keyspace.

use crate::world::World;
use bytes::Bytes;
use proto::{kvrpcpb, metapb, pdpb};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_cluster_is_refused_by_stores_and_by_placement() {
    let mut world = World::start().await;
    let foreign = world.context.cluster_id + 1;
    let context = kvrpcpb::Context {
        cluster_id: foreign,
        ..world.context
    };
    let answer = world.get(context).await;
    assert!(answer.error.contains("cluster"), "{answer:?}");

    let endpoint = format!("http://{}", world.cluster.endpoints()[0]);
    let mut pd = pdpb::pd_client::PdClient::connect(endpoint).await.unwrap();
    let header = Some(pdpb::RequestHeader {
        cluster_id: foreign,
        sender_id: 0,
    });
    let request = pdpb::GetStoreRequest {
        header,
        store_id: 1,
    };
    let refused = match pd.get_store(request).await {
        Ok(answer) => answer
            .get_ref()
            .header
            .as_ref()
            .is_some_and(|h| h.error.is_some()),
        Err(status) => matches!(
            status.code(),
            Code::FailedPrecondition | Code::InvalidArgument
        ),
    };
    assert!(refused, "placement answered a foreign cluster's client");
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_epoch_is_answered_with_the_current_regions_and_their_peers() {
    let mut world = World::start().await;
    let region_epoch = Some(metapb::RegionEpoch {
        conf_ver: 0,
        version: 0,
    });
    let context = kvrpcpb::Context {
        region_epoch,
        ..world.context
    };
    let error = world
        .get(context)
        .await
        .region_error
        .expect("the epoch is stale");
    let current = error
        .epoch_not_match
        .expect("the error says so")
        .current_regions;
    assert_eq!(current[0].id, world.context.region_id);
    assert_eq!(current[0].region_epoch, world.context.region_epoch);
    assert_eq!(current[0].peers.len(), 1);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_store_peer_or_region_is_told_so() {
    let mut world = World::start().await;
    let right = world.context;
    let peer = |id, store_id| {
        Some(metapb::Peer {
            id,
            store_id,
            ..Default::default()
        })
    };
    let own = right.peer.unwrap();

    let context = kvrpcpb::Context {
        peer: peer(own.id, own.store_id + 9),
        ..right
    };
    let error = world.get(context).await.region_error.unwrap();
    let mismatch = error.store_not_match.unwrap();
    assert_eq!(
        (mismatch.request_store_id, mismatch.actual_store_id),
        (own.store_id + 9, own.store_id)
    );

    let context = kvrpcpb::Context {
        peer: peer(own.id + 9, own.store_id),
        ..right
    };
    let error = world.get(context).await.region_error.unwrap();
    assert!(error.mismatch_peer_id.is_some(), "{error:?}");

    // Region 1 is placement's own and no business of clients.
    for region_id in [0, 1, 999] {
        let context = kvrpcpb::Context { region_id, ..right };
        let error = world.get(context).await.region_error.unwrap();
        assert!(
            error.region_not_found.is_some(),
            "Region {region_id}: {error:?}"
        );
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_any_context_is_refused() {
    let mut world = World::start().await;
    let get = kvrpcpb::RawGetRequest {
        key: Bytes::from_static(b"k"),
        ..Default::default()
    };
    let answer = world.store.raw_get(get).await.unwrap().into_inner();
    assert!(answer.region_error.is_some() || !answer.error.is_empty());
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_api_version_is_refused_with_the_name_of_the_setting() {
    let mut world = World::start().await;
    let api_version = kvrpcpb::ApiVersion::V2.into();
    let context = kvrpcpb::Context {
        api_version,
        ..world.context
    };
    let answer = world.get(context).await;
    assert!(answer.error.contains("storage.api-version"), "{answer:?}");
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_v2_a_request_for_v1_is_refused_with_the_name_of_the_setting() {
    let mut world = World::start_v2().await;
    let api_version = kvrpcpb::ApiVersion::V1.into();
    let context = kvrpcpb::Context {
        api_version,
        ..world.context
    };
    let answer = world.get(context).await;
    assert!(answer.error.contains("storage.api-version"), "{answer:?}");
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_v2_a_key_of_another_mode_or_keyspace_is_refused_and_not_written() {
    let mut world = World::start_v2().await;
    for (key, complaint) in [
        (b"x\0\0\0key".as_slice(), "a raw key starts with 'r'"),
        (b"key", "a raw key starts with 'r'"),
        (b"r\0", "4 bytes of mode and keyspace"),
    ] {
        let answer = world.put(key.to_vec(), b"v".to_vec()).await.unwrap();
        assert!(answer.error.contains(complaint), "{key:?}: {answer:?}");
    }
    let right = world.context;
    world.context.keyspace_id = 7;
    let key = b"r\0\0\0key".to_vec();
    let answer = world.put(key, b"v".to_vec()).await.unwrap();
    world.context = right;
    let complaint = "the key is in keyspace 0, the request in keyspace 7";
    assert!(answer.error.contains(complaint), "{answer:?}");
    let pairs = world.client.scan(b"", b"", 10).await.unwrap();
    assert!(pairs.iter().all(|(key, _)| &key[..] != b"key"), "{pairs:?}");
    world.still_serves().await;
}
