//! What is no request of the protocol at all, and messages that only stores send.

use crate::world::World;
use bytes::{Buf, BufMut, Bytes};
use e2e::Cluster;
use proto::{kvrpcpb, metapb, raft_serverpb, tikvpb};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

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

/// A well-formed heartbeat of term 1,000 (`eraftpb.Message`), from a replica that the Region does not
/// have: whoever believes it steps down.
fn heartbeat(world: &World) -> raft_serverpb::RaftMessage {
    let to = u8::try_from(world.context.peer.unwrap().id).expect("the first ids are small");
    let thousand = [0xe8, 0x07];
    let (msg_type, to) = ([0x08, 8], [0x10, to]);
    let (from, term) = (
        [0x18, thousand[0], thousand[1]],
        [0x20, thousand[0], thousand[1]],
    );
    stray(world, &[&msg_type[..], &to, &from, &term].concat())
}

/// The code with which a stream of this one message ends, sent by a store of `cluster`.
async fn sent(world: &World, cluster: Option<u64>, message: raft_serverpb::RaftMessage) -> Code {
    let msgs = vec![message];
    let batch = tikvpb::BatchRaftMessage { msgs };
    let mut request = Request::new(tokio_stream::iter([batch]));
    if let Some(id) = cluster {
        let header = id.to_string().parse().unwrap();
        request.metadata_mut().insert("kontiki-cluster-id", header);
    }
    match world.store.clone().batch_raft(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

fn peer(id: u64) -> Option<metapb::Peer> {
    Some(metapb::Peer {
        id,
        store_id: id,
        ..Default::default()
    })
}

/// From a replica that the Region does not have.
fn stray(world: &World, message: &[u8]) -> raft_serverpb::RaftMessage {
    raft_serverpb::RaftMessage {
        region_id: world.context.region_id,
        from_peer: peer(1_000),
        to_peer: world.context.peer,
        region_epoch: world.context.region_epoch,
        message: message.to_vec().into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_messages_of_another_cluster_or_for_another_store_end_their_stream() {
    let mut world = World::start().await;
    let own = Some(world.context.cluster_id);
    let heartbeat = heartbeat(&world);
    for cluster in [None, Some(world.context.cluster_id + 1)] {
        let code = sent(&world, cluster, heartbeat.clone()).await;
        assert_eq!(code, Code::FailedPrecondition, "{cluster:?}");
    }
    let to_peer = peer(999);
    let elsewhere = raft_serverpb::RaftMessage {
        to_peer,
        ..heartbeat.clone()
    };
    let nowhere = raft_serverpb::RaftMessage {
        region_id: 0,
        ..heartbeat
    };
    for message in [elsewhere, nowhere] {
        let code = sent(&world, own, message).await;
        assert_eq!(code, Code::InvalidArgument);
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_raft_messages_end_their_stream() {
    let mut world = World::start().await;
    let own = Some(world.context.cluster_id);
    // Nested groups: a decoder that recurses without a bound would run out of stack.
    for body in [vec![0xff; 100], vec![0x0b; 100_000], vec![0x08]] {
        let code = sent(&world, own, stray(&world, &body)).await;
        assert_eq!(code, Code::InvalidArgument, "{:?}", &body[..1]);
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_messages_of_strangers_or_of_a_stale_epoch_depose_nobody() {
    let mut world = World::start().await;
    let own = Some(world.context.cluster_id);
    let heartbeat = heartbeat(&world);
    let region_epoch = Some(metapb::RegionEpoch::default());
    let stale = raft_serverpb::RaftMessage {
        region_epoch,
        ..heartbeat.clone()
    };
    let unknown = raft_serverpb::RaftMessage {
        region_id: 999,
        ..heartbeat.clone()
    };
    for message in [heartbeat, stale, unknown] {
        assert_eq!(sent(&world, own, message).await, Code::Ok);
        world.still_serves().await;
    }
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
