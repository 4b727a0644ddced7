//! Requests that no good client makes: each gets its typed error, changes nothing, and harms nobody.

use bytes::{Buf, BufMut, Bytes};
use client::{Client, Config};
use e2e::{Cluster, Options, own_client, store_client};
use proto::tikvpb::tikv_client::TikvClient;
use proto::{kvrpcpb, metapb, pdpb, raft_serverpb, tikvpb};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// One store, and what a correct request to it looks like.
struct World {
    cluster: Cluster,
    client: Client,
    store: TikvClient<Channel>,
    context: kvrpcpb::Context,
}

impl World {
    async fn start() -> World {
        let cluster = Cluster::start(1, Options::default()).unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        let region = client.regions().await.unwrap().remove(0).region;
        let context = kvrpcpb::Context {
            region_id: region.id.get(),
            region_epoch: Some(region.epoch.into()),
            peer: Some(region.peers[0].into()),
            cluster_id: client.cluster_id().get(),
            ..Default::default()
        };
        let store = store_client(&cluster.endpoints()[0]);
        World {
            cluster,
            client,
            store,
            context,
        }
    }

    async fn get(&mut self, context: kvrpcpb::Context) -> kvrpcpb::RawGetResponse {
        let key = Bytes::from_static(b"k");
        let get = kvrpcpb::RawGetRequest {
            context: Some(context),
            key,
            ..Default::default()
        };
        self.store.raw_get(get).await.unwrap().into_inner()
    }

    async fn put(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<kvrpcpb::RawPutResponse, Status> {
        let context = Some(self.context);
        let (key, value) = (key.into(), value.into());
        let put = kvrpcpb::RawPutRequest {
            context,
            key,
            value,
            ..Default::default()
        };
        Ok(self.store.raw_put(put).await?.into_inner())
    }

    async fn still_serves(&mut self) {
        let answer = self
            .put(b"still".to_vec(), b"serving".to_vec())
            .await
            .unwrap();
        assert_eq!((answer.region_error, answer.error.as_str()), (None, ""));
        let node = self.cluster.node(0).unwrap();
        assert!(node.ended().is_none());
        assert!(!node.output().contains("panicked"), "{}", node.output());
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_protobuf_and_what_is_no_method_end_with_a_status() {
    let mut world = World::start().await;
    let garbage = call(&world.cluster, "/tikvpb.Tikv/RawPut", vec![0xff; 300])
        .await
        .unwrap_err();
    assert!(
        !matches!(garbage.code(), Code::Ok | Code::Unavailable),
        "{garbage:?}"
    );
    let unknown = call(&world.cluster, "/tikvpb.Tikv/KvPrewrite", Vec::new())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_messages_from_strangers_are_dropped() {
    let mut world = World::start().await;
    let peer = |id| {
        Some(metapb::Peer {
            id,
            store_id: id,
            ..Default::default()
        })
    };
    let message = |region_id, message: Vec<u8>| raft_serverpb::RaftMessage {
        region_id,
        from_peer: peer(1_000),
        to_peer: world.context.peer,
        region_epoch: world.context.region_epoch,
        message: message.into(),
        ..Default::default()
    };
    let msgs = vec![
        message(world.context.region_id, vec![0xff; 100]),
        message(world.context.region_id, Vec::new()),
        // Nested groups: a decoder that recurses without a bound would run out of stack.
        message(world.context.region_id, vec![0x0b; 100_000]),
        message(999, Vec::new()),
        message(0, Vec::new()),
    ];
    let batch = tikvpb::BatchRaftMessage { msgs };
    // Whether the stream is closed with an error or just drained is the server's choice.
    let _ = world.store.batch_raft(tokio_stream::iter([batch])).await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_commands_with_an_empty_one_answers_the_others() {
    let mut world = World::start().await;
    let get = kvrpcpb::RawGetRequest {
        context: Some(world.context),
        key: Bytes::from_static(b"k"),
        ..Default::default()
    };
    let command = tikvpb::batch_commands_request::request::Cmd::RawGet(get);
    let request = |cmd| tikvpb::batch_commands_request::Request { cmd };
    let requests = vec![request(None), request(Some(command))];
    let batch = tikvpb::BatchCommandsRequest {
        requests,
        request_ids: vec![7, 8],
    };
    let answers = world
        .store
        .batch_commands(tokio_stream::iter([batch]))
        .await
        .unwrap();
    let mut answers = answers.into_inner();
    let mut answered = Vec::new();
    while let Some(batch) = answers.message().await.unwrap() {
        assert_eq!(batch.responses.len(), batch.request_ids.len());
        answered.extend(batch.request_ids);
    }
    answered.sort_unstable();
    assert_eq!(answered, [7, 8]);
    world.still_serves().await;
}

/// A unary call with these bytes as its message, whatever they are.
async fn call(cluster: &Cluster, path: &'static str, message: Vec<u8>) -> Result<(), Status> {
    let endpoint = format!("http://{}", cluster.endpoints()[0]);
    let channel = Channel::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(tonic::Request::new(message), path, RawBytes)
        .await
        .map(|_| ())
}

#[derive(Clone, Copy, Default)]
struct RawBytes;

impl Codec for RawBytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = RawBytes;
    type Decoder = RawBytes;

    fn encoder(&mut self) -> RawBytes {
        RawBytes
    }

    fn decoder(&mut self) -> RawBytes {
        RawBytes
    }
}

impl Encoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}
