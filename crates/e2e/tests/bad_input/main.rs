//! Requests that no good client makes: each gets its typed error, changes nothing, and harms nobody.
//! Here those about keys, values and ranges.

mod addressed;
mod protocol;
mod world;

use bytes::Bytes;
use proto::kvrpcpb;
use tonic::Code;
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_key_is_refused_by_every_operation_that_takes_one() {
    let mut world = World::start().await;
    let answer = world.put(Vec::new(), b"v".to_vec()).await.unwrap();
    assert!(!answer.error.is_empty());
    let context = Some(world.context);
    let get = kvrpcpb::RawGetRequest {
        context,
        ..Default::default()
    };
    assert!(
        !world
            .store
            .raw_get(get)
            .await
            .unwrap()
            .get_ref()
            .error
            .is_empty()
    );
    let delete = kvrpcpb::RawDeleteRequest {
        context,
        ..Default::default()
    };
    assert!(
        !world
            .store
            .raw_delete(delete)
            .await
            .unwrap()
            .get_ref()
            .error
            .is_empty()
    );
    let swap = kvrpcpb::RawCasRequest {
        context,
        ..Default::default()
    };
    let answer = world.store.raw_compare_and_swap(swap).await.unwrap();
    assert!(!answer.get_ref().error.is_empty());
    let pair = |key: &'static str| kvrpcpb::KvPair {
        key: key.into(),
        ..Default::default()
    };
    let pairs = vec![pair("good"), pair("")];
    let batch = kvrpcpb::RawBatchPutRequest {
        context,
        pairs,
        ..Default::default()
    };
    assert!(
        !world
            .store
            .raw_batch_put(batch)
            .await
            .unwrap()
            .get_ref()
            .error
            .is_empty()
    );
    assert_eq!(
        world.client.get(b"good").await.unwrap(),
        None,
        "nothing of the batch was written"
    );
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_above_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut world = World::start().await;
    let at = world.put(vec![b'k'; 8 << 10], b"v".to_vec()).await.unwrap();
    assert_eq!((at.region_error, at.error.as_str()), (None, ""));
    let above = world
        .put(vec![b'k'; (8 << 10) + 1], b"v".to_vec())
        .await
        .unwrap();
    assert!(above.error.contains("too large"), "{:?}", above.error);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_into_a_raft_entry_is_refused_by_name() {
    let mut world = World::start().await;
    let answer = world.put(b"k".to_vec(), vec![0; 9 << 20]).await.unwrap();
    let error = answer.region_error.expect("a Raft entry takes 8 MiB");
    assert!(error.raft_entry_too_large.is_some(), "{error:?}");
    let fits = world.put(b"k".to_vec(), vec![0; 7 << 20]).await.unwrap();
    assert_eq!((fits.region_error, fits.error.as_str()), (None, ""));
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_of_requests_is_refused_before_it_is_read() {
    let mut world = World::start().await;
    let status = world
        .put(b"k".to_vec(), vec![0; 17 << 20])
        .await
        .unwrap_err();
    let expected = [
        Code::OutOfRange,
        Code::ResourceExhausted,
        Code::InvalidArgument,
    ];
    assert!(expected.contains(&status.code()), "{status:?}");
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inverted_range_is_refused_and_deletes_nothing() {
    let mut world = World::start().await;
    world.client.put(b"m", "kept".into()).await.unwrap();
    let context = Some(world.context);
    let (start_key, end_key) = (Bytes::from_static(b"z"), Bytes::from_static(b"a"));
    let delete = kvrpcpb::RawDeleteRangeRequest {
        context,
        start_key: start_key.clone(),
        end_key: end_key.clone(),
        ..Default::default()
    };
    let answer = world
        .store
        .raw_delete_range(delete)
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.error.is_empty());
    let scan = kvrpcpb::RawScanRequest {
        context,
        start_key,
        end_key,
        limit: 10,
        ..Default::default()
    };
    let answer = world.store.raw_scan(scan).await.unwrap().into_inner();
    assert!(
        answer.region_error.is_some() && answer.kvs.is_empty(),
        "{answer:?}"
    );
    assert_eq!(world.client.get(b"m").await.unwrap(), Some("kept".into()));
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_limit_costs_no_more_than_what_there_is() {
    let mut world = World::start().await;
    world.client.put(b"only", "one".into()).await.unwrap();
    let context = Some(world.context);
    let start_key = Bytes::from_static(b"o");
    let scan = kvrpcpb::RawScanRequest {
        context,
        start_key,
        limit: u32::MAX,
        ..Default::default()
    };
    let answer = world.store.raw_scan(scan).await.unwrap().into_inner();
    assert_eq!((answer.region_error, answer.kvs.len()), (None, 1));
    world.still_serves().await;
}
