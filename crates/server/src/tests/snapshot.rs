//! A snapshot from the transport of one node to the port of another.

use super::Server;
use super::transport::{Moving, transport};
use crate::fake::{FRAME_BYTES_MAX, FakeNode, LAST_FRAME};
use crate::limits::Limits;
use bytes::Bytes;
use node::Transport;
use node::snap::{OutgoingSnapshot, SendTicket, SentListener};
use proto::raft_serverpb::SnapshotChunk;
use proto::tikvpb::tikv_client::TikvClient;
use raft::eraftpb::{Message, MessageType, Snapshot};
use raftstore::{RaftMessage, SnapshotMeta};
use std::sync::Arc;
use tokio::sync::mpsc;
use types::{Epoch, Peer, PeerId, Region, RegionId, StoreId};

fn peer(id: u64) -> Peer {
    Peer {
        id: PeerId(id),
        store_id: StoreId(id),
        ..Peer::default()
    }
}

fn message() -> RaftMessage {
    let meta = SnapshotMeta {
        last_merge: None,
        region: Region {
            id: RegionId(2),
            epoch: Epoch {
                conf_ver: 1,
                version: 1,
            },
            peers: vec![peer(1), peer(2)],
            ..Region::default()
        },
        index: 90,
        term: 6,
    };
    let mut snapshot = Snapshot {
        data: meta.encode().into(),
        ..Snapshot::default()
    };
    let described = snapshot.mut_metadata();
    (described.index, described.term) = (meta.index, meta.term);
    described.mut_conf_state().set_voters(vec![1, 2]);
    let mut message = Message {
        msg_type: MessageType::MsgSnapshot,
        from: 2,
        to: 1,
        term: 7,
        ..Message::default()
    };
    message.set_snapshot(snapshot);
    RaftMessage {
        region_id: RegionId(2),
        from: peer(2),
        to: peer(1),
        epoch: meta.region.epoch,
        message,
        ..RaftMessage::default()
    }
}

struct Heard(mpsc::UnboundedSender<bool>);

impl SentListener for Heard {
    fn sent(&self, is_ok: bool) {
        let _ = self.0.send(is_ok);
    }
}

/// Sends a snapshot to a node; returns what the sender heard.
async fn send(node: &FakeNode, message: RaftMessage, frames: Vec<Bytes>) -> bool {
    let server = Server::start(node.clone(), Limits::default()).await;
    let addresses = Arc::new(Moving::default());
    *addresses.0.lock() = Some(server.address.to_string());
    let transport = transport(&node.members(), addresses);
    let (hear, mut heard) = mpsc::unbounded_channel();
    transport.send_snapshot(OutgoingSnapshot {
        message,
        frames: Box::new(frames.into_iter().map(Ok)),
        ticket: SendTicket::new(Box::new(Heard(hear))),
    });
    let is_ok = heard.recv().await.unwrap();
    assert_eq!(heard.recv().await, None, "it hears once");
    is_ok
}

#[tokio::test]
async fn a_snapshot_arrives_frame_by_frame_and_its_sender_hears_of_it() {
    let node = FakeNode::v1();
    let mut frames: Vec<Bytes> = (0..200u8).map(|n| vec![n; 100_000].into()).collect();
    frames.push(LAST_FRAME.into());
    assert!(send(&node, message(), frames.clone()).await);
    let received = node.snapshots();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].0, message());
    assert_eq!(received[0].1, frames);
    assert!(
        node.delivered().is_empty(),
        "the node hands it on by itself"
    );
}

#[tokio::test]
async fn a_snapshot_that_is_refused_leaves_nothing_and_its_sender_hears_of_it() {
    let for_another = RaftMessage {
        to: Peer {
            store_id: StoreId(9),
            ..peer(1)
        },
        ..message()
    };
    let cases = [
        (message(), vec![Bytes::from_static(b"cut")]),
        (message(), vec![vec![0; FRAME_BYTES_MAX + 1].into()]),
        (for_another, vec![LAST_FRAME.into()]),
    ];
    for (message, frames) in cases {
        let node = FakeNode::v1();
        assert!(!send(&node, message, frames).await);
        assert!(node.snapshots().is_empty());
    }
}

#[tokio::test]
async fn a_snapshot_to_nowhere_or_whose_view_can_not_be_read_is_reported() {
    let node = FakeNode::v1();
    let transport = transport(&node.members(), Arc::new(Moving::default()));
    let (hear, mut heard) = mpsc::unbounded_channel();
    let ticket = || SendTicket::new(Box::new(Heard(hear.clone())));
    transport.send_snapshot(OutgoingSnapshot {
        message: message(),
        frames: Box::new(std::iter::empty()),
        ticket: ticket(),
    });
    assert_eq!(heard.recv().await, Some(false));
    transport.stop();
    transport.send_snapshot(OutgoingSnapshot {
        message: message(),
        frames: Box::new(std::iter::empty()),
        ticket: ticket(),
    });
    assert_eq!(heard.recv().await, Some(false));
}

#[tokio::test]
async fn a_stream_without_its_message_or_of_another_cluster_is_refused() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    let chunk = SnapshotChunk {
        data: LAST_FRAME.into(),
        ..SnapshotChunk::default()
    };
    let stream = |chunk: &SnapshotChunk| futures::stream::iter([chunk.clone()]);
    let refused = client.snapshot(stream(&chunk)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let mut request = tonic::Request::new(stream(&chunk));
    let cluster = crate::backend::Backend::identity(&node).cluster_id.get();
    let header = request.metadata_mut();
    header.insert(crate::service::raft::CLUSTER_HEADER, cluster.into());
    let refused = client.snapshot(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(node.snapshots().is_empty());
}
