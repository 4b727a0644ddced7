//! Receives Raft messages from other stores.
//!
//! **Why so wary.** A message of another cluster, or for another store, could make a replica vote or
//! accept entries that are not its own. And what is inside the envelope is decoded by a library
//! without a limit on nesting (RUSTSEC-2024-0437), so its shape is checked before.
//!
//! **Invariants.** Nothing is handed to the node that is not for this cluster and this store. A
//! stream with a message that no store of ours would send is ended with the reason; a message for
//! another store, which a restart on the same address can cause, ends it as well.
//!
//! **Not here.** Whether the Region lives here, terms, indexes: the node and `raftstore` check them.

use crate::backend::Backend;
use crate::book::AddressBook;
use crate::listener::Place;
use crate::wire;
use futures::{Stream, StreamExt};
use proto::raft_serverpb::{Done, RaftMessage as Envelope};
use proto::walk::{self, Content};
use raftstore::{Extra, RaftMessage};
use std::pin::pin;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use types::{KeyRange, Peer, RegionId, StoreId};

/// The header of a stream between stores that names the sender's cluster.
pub(crate) const CLUSTER_HEADER: &str = "kontiki-cluster-id";
/// The header that names the sender's store.
pub(crate) const STORE_HEADER: &str = "kontiki-store-id";
/// The header that says where the sender's store is reached.
pub(crate) const ADDRESS_HEADER: &str = "kontiki-store-address";

/// Hands messages from other stores to the node.
pub(crate) struct RaftReceiver<B> {
    backend: B,
    book: AddressBook,
}

impl<B: Backend> RaftReceiver<B> {
    /// Delivers to `backend`; where senders are is kept in `book`.
    pub(crate) fn new(backend: B, book: AddressBook) -> Self {
        Self { backend, book }
    }

    /// Lets a stream of another store in, and gives its connection a store's place.
    pub(crate) fn admit<T>(&self, stream: &Request<T>) -> Result<(), Status> {
        self.check_sender(stream.metadata())?;
        self.learn_sender(stream.metadata());
        // Without a place there is no port: it comes from a test.
        let place = stream.extensions().get::<Arc<Place>>();
        if place.is_some_and(|place| !place.give_to_store()) {
            return Err(Status::resource_exhausted("too many connections of stores"));
        }
        Ok(())
    }

    /// Refuses a stream that comes from another cluster or does not say where it comes from.
    fn check_sender(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let actual = self.backend.identity().cluster_id;
        let asked = metadata
            .get(CLUSTER_HEADER)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if asked == Some(actual.get()) {
            return Ok(());
        }
        let asked = asked.map_or_else(|| "no cluster".to_owned(), |id| format!("cluster {id}"));
        tracing::warn!(%asked, %actual, "refused a Raft stream");
        Err(Status::failed_precondition(format!(
            "Raft messages of {asked} for cluster {actual}"
        )))
    }

    /// A store may have come back at another address, when nobody else can tell it yet.
    fn learn_sender(&self, metadata: &MetadataMap) {
        let header = |name| metadata.get(name)?.to_str().ok();
        let store = header(STORE_HEADER).and_then(|store| store.parse().ok());
        if let (Some(store), Some(address)) = (store, header(ADDRESS_HEADER)) {
            self.book.hear(StoreId(store), address);
        }
    }

    /// Delivers all messages of a stream.
    pub(crate) async fn receive(
        &self,
        batches: impl Stream<Item = Result<Vec<Envelope>, Status>>,
    ) -> Result<Response<Done>, Status> {
        let mut batches = pin!(batches);
        while let Some(batch) = batches.next().await {
            for envelope in batch? {
                let message = self.open(envelope, check_body).inspect_err(|status| {
                    tracing::warn!(reason = status.message(), "refused a Raft message");
                })?;
                self.deliver(message);
            }
        }
        Ok(Response::new(Done {}))
    }

    fn deliver(&self, message: RaftMessage) {
        failpoint::at!("server::raft::receive", |_| ());
        self.backend.deliver(message);
    }

    /// The node that messages are handed to.
    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Opens an envelope whose body passes `check`.
    pub(crate) fn open(
        &self,
        envelope: Envelope,
        check: fn(&[u8]) -> Result<(), &'static str>,
    ) -> Result<RaftMessage, Status> {
        let region_id = RegionId(envelope.region_id);
        let refuse = |reason: &str| {
            Err(Status::invalid_argument(format!(
                "Raft message for Region {region_id}: {reason}"
            )))
        };
        let (Some(from), Some(to)) = (envelope.from_peer, envelope.to_peer) else {
            return refuse("it names no sender or no receiver");
        };
        let (from, to, here) = (
            Peer::from(from),
            Peer::from(to),
            self.backend.identity().store_id,
        );
        if to.store_id != here {
            return refuse(&format!(
                "it is for store {}, this is store {here}",
                to.store_id
            ));
        }
        let extra = envelope.extra_msg.as_ref().map(wire::extra_from_wire);
        let extra = match extra.transpose() {
            Ok(extra) => extra,
            Err(reason) => return refuse(reason),
        };
        let is_of_stores = extra.is_some_and(Extra::is_of_stores);
        let is_homeless = envelope.region_id == 0 && !is_of_stores;
        if is_homeless || from.store_id.get() == 0 || from.store_id == here {
            return refuse("no Region, or a sender that can't be one");
        }
        if let Err(reason) = check(&envelope.message) {
            return refuse(reason);
        }
        let range = KeyRange {
            start: envelope.start_key.into(),
            end: envelope.end_key.into(),
        };
        if range.is_empty() {
            return refuse("its range is empty");
        }
        let opened = RaftMessage {
            region_id,
            from,
            to,
            epoch: envelope.region_epoch.map(Into::into).unwrap_or_default(),
            range: Some(range),
            is_tombstone: envelope.is_tombstone,
            extra,
            merged_into: envelope
                .merge_target
                .as_deref()
                .map(wire::merged_into_from_wire),
            ..RaftMessage::default()
        };
        opened
            .decode_body(&envelope.message)
            .or_else(|error| refuse(&error.to_string()))
    }
}

/// `eraftpb.Message.entries`.
const FIELD_ENTRIES: u32 = 7;
/// `eraftpb.Message.snapshot`.
const FIELD_SNAPSHOT: u32 = 9;
/// `eraftpb.Snapshot.metadata`.
const FIELD_METADATA: u32 = 2;

/// Walks over the fields of a Raft message without decoding it. It must have no group, at no level
/// that a decoder would enter: unknown groups nest without a limit. Snapshots travel by other means.
pub(crate) fn check_body(body: &[u8]) -> Result<(), &'static str> {
    walk::fields(body, |field, content| match (field, content) {
        (FIELD_ENTRIES, Content::Bytes(entry)) => walk::fields(entry, |_, _| Ok(())),
        (FIELD_SNAPSHOT, _) => Err("it carries a snapshot"),
        _ => Ok(()),
    })
}

/// As [`check_body`], of a message that does carry a snapshot's description.
pub(crate) fn check_snapshot_body(body: &[u8]) -> Result<(), &'static str> {
    walk::fields(body, |field, content| match (field, content) {
        (FIELD_ENTRIES, _) => Err("it carries entries"),
        (FIELD_SNAPSHOT, Content::Bytes(snapshot)) => walk::fields(snapshot, check_metadata),
        _ => Ok(()),
    })
}

fn check_metadata(field: u32, content: Content<'_>) -> Result<(), &'static str> {
    match (field, content) {
        // The metadata's messages are the members of the Region, which hold numbers only.
        (FIELD_METADATA, Content::Bytes(metadata)) => {
            walk::fields(metadata, |_, content| match content {
                Content::Bytes(members) => walk::fields(members, |_, _| Ok(())),
                Content::Number => Ok(()),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeNode;
    use crate::transport::seal;
    use bytes::Bytes;
    use proto::metapb;
    use raft::eraftpb::{Entry, Message, MessageType};
    use types::{Epoch, PeerId};

    fn message() -> RaftMessage {
        let peer = |id| Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            ..Peer::default()
        };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term) = (2, 1, 7);
        (message.index, message.log_term) = (10, 7);
        let mut entry = Entry::default();
        (entry.index, entry.term) = (11, 7);
        entry.data = vec![0x0b; 100].into();
        message.mut_entries().push(entry);
        let epoch = Epoch {
            conf_ver: 1,
            version: 1,
        };
        RaftMessage {
            region_id: RegionId(2),
            from: peer(2),
            to: peer(1),
            epoch,
            message,
            ..RaftMessage::default()
        }
    }

    #[tokio::test]
    async fn what_is_said_beside_raft_arrives_and_what_is_not_known_is_refused() {
        let node = FakeNode::v1();
        let receiver = RaftReceiver::new(node.clone(), node.book());
        let beside = |extra| RaftMessage {
            message: Message::default(),
            extra: Some(extra),
            ..message()
        };
        let stores = |extra| {
            let of = |store| Peer {
                store_id: StoreId(store),
                ..Peer::default()
            };
            RaftMessage {
                from: of(2),
                to: of(1),
                extra: Some(extra),
                ..RaftMessage::default()
            }
        };
        let said = vec![
            beside(Extra::HibernateRequest { index: 7 }),
            beside(Extra::HibernateResponse { index: 8 }),
            beside(Extra::WakeUp),
            stores(Extra::StorePing),
            stores(Extra::StorePong),
        ];
        let batch = said.iter().map(seal).collect();
        let received = receiver.receive(futures::stream::iter([Ok(batch)])).await;
        received.unwrap();
        assert_eq!(node.delivered(), said);
        let mut unknown = seal(&said[0]);
        unknown.extra_msg.as_mut().unwrap().r#type = 99;
        let homeless = Envelope {
            region_id: 0,
            ..seal(&said[0])
        };
        for wrong in [unknown, homeless] {
            let batch = futures::stream::iter([Ok(vec![wrong])]);
            assert!(receiver.receive(batch).await.is_err());
        }
    }

    fn envelope(message: &RaftMessage) -> Envelope {
        Envelope {
            region_id: message.region_id.get(),
            from_peer: Some(message.from.into()),
            to_peer: Some(message.to.into()),
            message: message.encode_body().into(),
            region_epoch: Some(message.epoch.into()),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn messages_for_this_store_are_delivered_in_order() {
        let node = FakeNode::v1();
        let receiver = RaftReceiver::new(node.clone(), node.book());
        let batch = vec![envelope(&message()), envelope(&message())];
        receiver
            .receive(futures::stream::iter([Ok(batch)]))
            .await
            .unwrap();
        assert_eq!(node.delivered(), vec![message(), message()]);
    }

    #[tokio::test]
    async fn what_is_not_for_this_store_is_refused_and_not_delivered() {
        let good = || envelope(&message());
        let other_store = metapb::Peer {
            id: 1,
            store_id: 9,
            ..Default::default()
        };
        let from_here = metapb::Peer {
            id: 2,
            store_id: 1,
            ..Default::default()
        };
        let cases = [
            Envelope {
                to_peer: Some(other_store),
                ..good()
            },
            Envelope {
                from_peer: Some(from_here),
                ..good()
            },
            Envelope {
                from_peer: None,
                ..good()
            },
            Envelope {
                to_peer: None,
                ..good()
            },
            Envelope {
                region_id: 0,
                ..good()
            },
            Envelope {
                message: Bytes::from_static(&[0xff; 3]),
                ..good()
            },
            Envelope {
                from_peer: good().to_peer.map(|to| metapb::Peer { store_id: 2, ..to }),
                ..good()
            },
        ];
        for case in cases {
            let node = FakeNode::v1();
            let receiver = RaftReceiver::new(node.clone(), node.book());
            let result = receiver
                .receive(futures::stream::iter([Ok(vec![case.clone()])]))
                .await;
            assert_eq!(
                result.unwrap_err().code(),
                tonic::Code::InvalidArgument,
                "{case:?}"
            );
            assert!(node.delivered().is_empty());
        }
    }

    #[tokio::test]
    async fn a_stream_must_name_our_cluster() {
        let node = FakeNode::v1();
        let receiver = RaftReceiver::new(node.clone(), node.book());
        let mut metadata = MetadataMap::new();
        assert!(receiver.check_sender(&metadata).is_err());
        metadata.insert(CLUSTER_HEADER, "999".parse().unwrap());
        assert!(receiver.check_sender(&metadata).is_err());
        let ours = node.identity().cluster_id.get();
        metadata.insert(CLUSTER_HEADER, ours.to_string().parse().unwrap());
        assert!(receiver.check_sender(&metadata).is_ok());
    }

    #[tokio::test]
    async fn a_store_that_opens_a_stream_is_where_it_says_and_one_of_another_cluster_is_not() {
        let node = FakeNode::v1();
        let book = node.book();
        let receiver = RaftReceiver::new(node.clone(), book.clone());
        let mut stream = Request::new(());
        let header = stream.metadata_mut();
        header.insert(CLUSTER_HEADER, node.identity().cluster_id.get().into());
        header.insert(STORE_HEADER, 2.into());
        header.insert(ADDRESS_HEADER, "moved:2".parse().unwrap());
        receiver.admit(&stream).unwrap();
        assert_eq!(book.address(StoreId(2)).as_deref(), Some("moved:2"));
        let header = stream.metadata_mut();
        header.insert(CLUSTER_HEADER, 1.into());
        header.insert(ADDRESS_HEADER, "elsewhere:2".parse().unwrap());
        assert!(receiver.admit(&stream).is_err());
        assert_eq!(book.address(StoreId(2)).as_deref(), Some("moved:2"));
    }

    #[test]
    fn nested_groups_never_reach_the_decoder() {
        let groups = vec![0x0b; 100_000];
        assert!(check_body(&groups).is_err());
        let mut inside_an_entry = vec![0x3a, 0x03];
        inside_an_entry.extend([0x0b, 0x0b, 0x0b]);
        assert!(check_body(&inside_an_entry).is_err());
        assert!(check_body(&[0x4a, 0x00]).is_err(), "a snapshot");
        // A decoder that cuts the tag to 32 bits would see entries, and a group in them.
        let hidden = [0xba, 0x80, 0x80, 0x80, 0x10, 0x01, 0x0b];
        assert!(check_body(&hidden).is_err(), "a tag of more than 32 bits");
        assert!(check_body(&message().encode_body()).is_ok());
    }

    #[test]
    fn a_cut_message_is_refused_at_every_length() {
        let body = message().encode_body();
        let refused = (1..body.len())
            .filter(|len| check_body(&body[..*len]).is_err())
            .count();
        // A cut between two fields leaves a correct message.
        assert!(refused > 100, "{refused} of {}", body.len());
    }
}
