//! Two nodes: the transport of one, the port of the other.

use super::{Server, key, v1};
use crate::address::Addresses;
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::transport::{GrpcTransport, TransportOptions};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use node::{DEFAULT_TOKEN, Members, Transport};
use parking_lot::Mutex;
use proto::kvrpcpb::{RawGetRequest, RawPutRequest};
use proto::tikvpb::tikv_client::TikvClient;
use raft::eraftpb::{Message, MessageType};
use raftstore::RaftMessage;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use types::{ApiVersion, Epoch, Peer, PeerId, RegionId, StoreId};

/// Says where store 1 is; the test can move it.
#[derive(Default)]
pub(super) struct Moving(pub(super) Mutex<Option<String>>);

impl Addresses for Moving {
    fn find(&self, store: StoreId, _: Option<String>) -> BoxFuture<'_, Result<String, String>> {
        let found = self.0.lock().clone().filter(|_| store == StoreId(1));
        ready(found.ok_or_else(|| "nowhere".to_owned())).boxed()
    }
}

fn message(index: u64) -> RaftMessage {
    let peer = |id| Peer {
        id: PeerId(id),
        store_id: StoreId(id),
        ..Peer::default()
    };
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppend);
    (message.from, message.to, message.term) = (2, 1, 7);
    (message.index, message.log_term) = (index, 7);
    RaftMessage {
        region_id: RegionId(2),
        from: peer(2),
        to: peer(1),
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        message,
        ..RaftMessage::default()
    }
}

pub(super) fn transport(members: &Members, addresses: Arc<Moving>) -> GrpcTransport {
    let identity = members
        .identify("n2", ApiVersion::V1, DEFAULT_TOKEN)
        .unwrap();
    GrpcTransport::new(
        identity,
        addresses,
        TransportOptions::default(),
        Handle::current(),
    )
}

fn put() -> RawPutRequest {
    RawPutRequest {
        context: v1(),
        key: key("k"),
        ..Default::default()
    }
}

fn get() -> RawGetRequest {
    RawGetRequest {
        context: v1(),
        key: key("k"),
        ..Default::default()
    }
}

async fn delivered(node: &FakeNode, count: usize) -> Vec<RaftMessage> {
    while node.delivered().len() < count {
        tokio::task::yield_now().await;
    }
    node.delivered()
}

#[tokio::test]
async fn messages_arrive_in_order_and_a_restarted_store_is_found_again() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let addresses = Arc::new(Moving::default());
    *addresses.0.lock() = Some(server.address.to_string());
    let transport = transport(&node.members(), Arc::clone(&addresses));
    let (lost, mut losses) = mpsc::unbounded_channel();
    transport.on_unreachable(Box::new(move |region, peer| {
        let _ = lost.send((region, peer));
    }));
    let sent: Vec<RaftMessage> = (1..=200).map(message).collect();
    sent.iter()
        .cloned()
        .for_each(|message| transport.send(message));
    transport.flush();
    assert_eq!(delivered(&node, 200).await, sent);

    server.stop().await;
    let again = FakeNode::v1();
    let server = Server::start(again.clone(), Limits::default()).await;
    *addresses.0.lock() = Some(server.address.to_string());
    // Raft repeats what is lost; so does this test.
    while again.delivered().is_empty() {
        transport.send(message(201));
        transport.flush();
        tokio::task::yield_now().await;
    }
    while let Ok(loss) = losses.try_recv() {
        assert_eq!(loss, (RegionId(2), PeerId(1)));
    }
}

#[tokio::test]
async fn a_store_is_let_in_when_clients_have_taken_all_places() {
    let node = FakeNode::v1();
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let server = Server::start(node.clone(), limits).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
    let addresses = Arc::new(Moving::default());
    *addresses.0.lock() = Some(server.address.to_string());
    let transport = transport(&node.members(), addresses);
    transport.send(message(1));
    transport.flush();
    assert_eq!(delivered(&node, 1).await, [message(1)]);
    client.raw_put(put()).await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_writes_under_way_end_by_messages_of_stores() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let addresses = Arc::new(Moving::default());
    *addresses.0.lock() = Some(server.address.to_string());
    let transport = transport(&node.members(), addresses);
    transport.send(message(1));
    transport.flush();
    delivered(&node, 1).await;
    let mut client = TikvClient::connect(server.url()).await.unwrap();
    client.raw_put(put()).await.unwrap();
    node.acknowledge(false);
    let mut other = client.clone();
    let write = tokio::spawn(async move { other.raw_put(put()).await });
    while node.waiting_writes() == 0 {
        tokio::task::yield_now().await;
    }
    let began = std::time::Instant::now();
    let stop = tokio::spawn(server.stop());
    // The connection refuses new requests as soon as it has heard of the stop.
    while client.raw_get(get()).await.is_ok() {}
    transport.send(message(2));
    transport.flush();
    assert_eq!(delivered(&node, 2).await, [message(1), message(2)]);
    node.acknowledge(true);
    assert!(write.await.unwrap().unwrap().into_inner().error.is_empty());
    stop.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it ends when all is done"
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_reported() {
    let node = FakeNode::v1();
    let transport = transport(&node.members(), Arc::new(Moving::default()));
    let (lost, mut losses) = mpsc::unbounded_channel();
    transport.on_unreachable(Box::new(move |region, peer| {
        let _ = lost.send((region, peer));
    }));
    transport.send(message(1));
    transport.flush();
    let loss = tokio::time::timeout(Duration::from_secs(20), losses.recv()).await;
    assert_eq!(loss.unwrap(), Some((RegionId(2), PeerId(1))));
}

#[tokio::test]
async fn a_stopped_transport_takes_nothing_and_lets_go_of_its_node() {
    let node = FakeNode::v1();
    let transport = transport(&node.members(), Arc::new(Moving::default()));
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    transport.on_unreachable(Box::new(move |_, _| {
        let _ = &alive;
    }));
    transport.send(message(1));
    transport.stop();
    assert!(held.upgrade().is_none());
    transport.send(message(2));
    transport.flush();
}

#[tokio::test]
async fn a_store_of_another_cluster_gets_nothing() {
    let node = FakeNode::v1();
    let server = Server::start(node.clone(), Limits::default()).await;
    let foreign = Members::parse("n1=127.0.0.1:7001,n2=127.0.0.1:7002").unwrap();
    let addresses = Arc::new(Moving::default());
    *addresses.0.lock() = Some(server.address.to_string());
    let transport = transport(&foreign, addresses);
    let (lost, mut losses) = mpsc::unbounded_channel();
    transport.on_unreachable(Box::new(move |region, peer| {
        let _ = lost.send((region, peer));
    }));
    // The first may be taken by the stream before it is refused; it is not delivered all the same.
    loop {
        transport.send(message(1));
        transport.flush();
        if tokio::time::timeout(Duration::from_millis(20), losses.recv())
            .await
            .is_ok()
        {
            break;
        }
    }
    assert!(node.delivered().is_empty());
}
