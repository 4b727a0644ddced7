//! What comes over the network, damaged, as far as it is looked at before anybody acts on it: nothing panics
//! or allocates more than its input explains, and what is let in means the same when it is sent again.

use crate::context;
use crate::fake::FakeNode;
use crate::service::raft::{RaftReceiver, check_body, check_snapshot_body};
use crate::transport::seal;
use crate::wire::{self, instruction};
use fuzz::Target;
use node::{Identity, Members};
use prost::Message as _;
use proto::raft_serverpb::RaftMessage as Envelope;
use proto::{kvrpcpb, metapb, pdpb};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raftstore::{Extra, RaftMessage, SnapshotMeta};
use types::{ApiVersion, Epoch, Peer, PeerId, Region, RegionId, StoreId};

/// Lists of messages double while they are filled, and theirs are larger than their encoding.
const ALLOCATED_FACTOR: usize = 1_024;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name).allocates(64 << 10, ALLOCATED_FACTOR)
}

fn peer(id: u64) -> Peer {
    Peer {
        id: PeerId(id),
        store_id: StoreId(id),
        ..Peer::default()
    }
}

/// From store 2 to store 1, which the fake node is.
fn said(message: Message) -> RaftMessage {
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

fn raft(kind: MessageType) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (2, 1, 7);
    (message.index, message.log_term) = (10, 7);
    message
}

fn messages() -> Vec<RaftMessage> {
    let mut append = raft(MessageType::MsgAppend);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (11, 7);
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    entry.data = vec![0x0b; 20].into();
    append.mut_entries().push(entry);
    let mut read = raft(MessageType::MsgReadIndexResp);
    let context = Entry {
        data: vec![1; 8].into(),
        ..Entry::default()
    };
    read.mut_entries().push(context);
    let meta = SnapshotMeta {
        region: Region {
            id: RegionId(2),
            peers: vec![peer(1), peer(2)],
            ..Region::default()
        },
        index: 9,
        term: 6,
        last_merge: None,
    };
    let mut snapshot = raft(MessageType::MsgSnapshot);
    let described = snapshot.mut_snapshot();
    described.data = meta.encode().into();
    let raft_meta = described.mut_metadata();
    (raft_meta.index, raft_meta.term) = (9, 6);
    raft_meta.mut_conf_state().mut_voters().extend([1, 2]);
    let sleep = RaftMessage {
        extra: Some(Extra::HibernateRequest { index: 7 }),
        ..said(Message::default())
    };
    let kinds = [MessageType::MsgHeartbeat, MessageType::MsgRequestVote];
    let mut messages: Vec<RaftMessage> = kinds.map(raft).map(said).into();
    messages.extend([append, read, snapshot].map(said));
    messages.push(sleep);
    messages
}

#[test]
fn fuzz_raft_envelopes() {
    let node = FakeNode::v1();
    let receiver = RaftReceiver::new(node.clone(), node.book());
    let mut target = target("raft-envelopes");
    for message in messages() {
        target = target.seed(seal(&message).encode_to_vec());
    }
    target.run(|input| {
        let Ok(envelope) = Envelope::decode(input) else {
            return Vec::new();
        };
        let outcome = |check: fn(&[u8]) -> Result<(), &'static str>| {
            let opened = receiver.open(envelope.clone(), check);
            if let Ok(message) = &opened {
                let again = receiver.open(seal(message), check);
                assert_eq!(again.ok().as_ref(), Some(message));
            }
            opened
                .map(|message| message.message.get_msg_type() as i32)
                .map_err(|status| status.message().to_owned())
        };
        vec![outcome(check_body), outcome(check_snapshot_body)]
    });
}

fn region() -> metapb::Region {
    let peer = |id| metapb::Peer {
        id,
        store_id: id + 10,
        ..Default::default()
    };
    metapb::Region {
        id: 9,
        end_key: b"m".to_vec().into(),
        peers: vec![peer(4), peer(5), peer(6)],
        ..Default::default()
    }
}

#[test]
fn fuzz_region_heartbeats() {
    let region = region();
    let heartbeat = pdpb::RegionHeartbeatRequest {
        leader: Some(region.peers[0]),
        down_peers: vec![pdpb::PeerStats {
            peer: Some(region.peers[1]),
            down_seconds: u64::MAX,
        }],
        pending_peers: vec![region.peers[2]],
        region: Some(region),
        interval: Some(pdpb::TimeInterval {
            start_timestamp: 10,
            end_timestamp: 70,
        }),
        approximate_size: 7,
        ..Default::default()
    };
    target("region-heartbeats")
        .seed(heartbeat.encode_to_vec())
        .run(|input| {
            let heartbeat = pdpb::RegionHeartbeatRequest::decode(input).ok()?;
            let read = wire::heartbeat_from_wire(heartbeat);
            if let Ok(heartbeat) = &read {
                let again = wire::heartbeat_to_wire(pdpb::RequestHeader::default(), heartbeat);
                assert_eq!(wire::heartbeat_from_wire(again).as_ref(), Ok(heartbeat));
            }
            Some(read.map(|heartbeat| heartbeat.region.peers.len()))
        });
}

#[test]
fn fuzz_stores_and_their_figures() {
    let label = metapb::StoreLabel {
        key: "zone".to_owned(),
        value: "a".to_owned(),
    };
    let store = metapb::Store {
        id: 3,
        address: "h:1".to_owned(),
        labels: vec![label],
        ..Default::default()
    };
    target("stores")
        .seed(store.encode_to_vec())
        .seed(pdpb::StoreStats::default().encode_to_vec())
        .run(|input| {
            let store = metapb::Store::decode(input).ok().map(wire::store_from_wire);
            if let Some(store) = &store {
                let again = wire::store_from_wire(wire::registration(store));
                assert_eq!(again, *store);
            }
            let stats = pdpb::StoreStats::decode(input).ok();
            let stats = stats.map(|stats| wire::stats_from_wire(&stats));
            if let Some(stats) = &stats {
                assert_eq!(wire::stats_from_wire(&wire::stats_to_wire(stats)), *stats);
            }
            (store.map(|store| store.labels.len()), stats.is_some())
        });
}

#[test]
fn fuzz_instructions() {
    let change = |change_type| pdpb::ChangePeer {
        peer: Some(region().peers[0]),
        change_type,
    };
    let told = pdpb::RegionHeartbeatResponse {
        region_id: 9,
        region_epoch: Some(metapb::RegionEpoch::default()),
        target_peer: Some(region().peers[0]),
        ..Default::default()
    };
    let changes = pdpb::RegionHeartbeatResponse {
        change_peer_v2: Some(pdpb::ChangePeerV2 {
            changes: vec![change(0), change(1)],
        }),
        ..told.clone()
    };
    let merge = pdpb::RegionHeartbeatResponse {
        merge: Some(pdpb::Merge {
            target: Some(region()),
        }),
        ..told.clone()
    };
    let split = pdpb::RegionHeartbeatResponse {
        split_region: Some(pdpb::SplitRegion {
            keys: vec![b"k".to_vec().into()],
            ..Default::default()
        }),
        ..told
    };
    let mut target = target("instructions");
    for seed in [changes, merge, split] {
        target = target.seed(seed.encode_to_vec());
    }
    target.run(|input| {
        let response = pdpb::RegionHeartbeatResponse::decode(input).ok()?;
        let read = instruction::from_wire(response);
        if let Ok(Some(told)) = &read {
            let again = instruction::from_wire(instruction::to_wire(None, told));
            assert_eq!(again, Ok(Some(told.clone())));
        }
        Some(read.map(|told| told.map(|told| std::mem::discriminant(&told.instruction))))
    });
}

#[test]
fn fuzz_contexts() {
    let members = Members::parse("a=h:1,b=h:2").unwrap();
    let identity = |version| -> Identity { members.identify("a", version, "t").unwrap() };
    let nodes = [ApiVersion::V1, ApiVersion::V2].map(identity);
    let right = kvrpcpb::Context {
        region_id: 2,
        peer: Some(peer(1).into()),
        keyspace_id: 7,
        ..Default::default()
    };
    target("contexts").seed(right.encode_to_vec()).run(|input| {
        let context = kvrpcpb::Context::decode(input).ok()?;
        let check = |node| context::check(node, Some(context)).map(|checked| checked.keyspace);
        Some(nodes.each_ref().map(|node| match check(node) {
            Ok(keyspace) => Ok(keyspace.is_some()),
            Err(failure) => Err(std::mem::discriminant(&failure)),
        }))
    });
}
