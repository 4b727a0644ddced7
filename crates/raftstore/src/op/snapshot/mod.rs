//! Snapshots: how a follower gets what the log of its leader no longer has.
//!
//! **The leader.** raft-rs asks its log for a snapshot. It is told to come back later, and the wish
//! becomes [`Effect::GenerateSnapshot`](crate::Effect). The node pins a view of the key-value engine
//! and answers with what that view holds ([`SnapshotMeta`]); at its next question raft-rs gets it, and
//! its `MsgSnapshot` becomes [`Effect::SendSnapshot`](crate::Effect): the pinned pairs as a stream,
//! the message as the stream's first part. How that ended comes back, so that raft-rs probes or tries
//! again.
//!
//! **The follower.** The message reaches its Peer once all pairs are in a file here, whole and synced.
//! From the moment at which raft-rs accepts it until it is installed the Peer is deaf: a clock that
//! stands, one answer (to heartbeats), and no other message in or out. The steps (`install`), each
//! durable before the next one begins:
//!
//! 1. the log: term and vote, so that a replica that is there has them;
//! 2. the key-value engine: a mark that names the file; then the old data goes and the new comes; then
//!    in one batch the Region's shape, `applied = truncated = index`, and the mark is gone;
//! 3. the log: all old entries go, and the hard state names the snapshot's index;
//! 4. only now the acknowledgement leaves.
//!
//! A crash before the mark: nothing has happened. With the mark: the next start goes on from the
//! file. After it: the next start does step 3 (the log holds no entry of the snapshot's index and
//! term).
//!
//! **Why data goes before the log.** A log that ends before what is committed is a log that lost
//! something: a store with one does not start. While the old entries are there, the replica has all
//! that it ever promised.
//!
//! **Invariants.** A snapshot's membership as raft-rs reads it is that of its Region. No entry is
//! appended, and nothing is promised, between steps 1 and 4.
//!
//! **Not here.** The stream's and the file's form, and all I/O (`node::snap`).

mod install;
mod send;

pub(crate) use install::{Arrived, Installing};
pub(crate) use send::Sending;

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::message::RaftMessage;
use crate::op::last_merge::{LastMerge, TakeIn};
use crate::peer::conf_state;
use crate::state::RegionRecord;
use bytes::Bytes;
use raft::eraftpb::{MessageType, Snapshot};
use std::collections::BTreeSet;
use std::fmt;
use types::{Peer, PeerId, PeerRole, Region, RegionId};

const VERSION: u8 = 2;

/// Names one snapshot on its way to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotKey {
    /// The Region.
    pub region_id: RegionId,
    /// The term of the last entry that it holds the effect of.
    pub term: u64,
    /// The index of that entry.
    pub index: u64,
    /// The replica that gets it.
    pub to: PeerId,
}

impl SnapshotKey {
    /// Of the snapshot that a message carries, if it does.
    pub fn of_message(message: &RaftMessage) -> Option<Self> {
        let raft = &message.message;
        let meta = raft.get_snapshot().get_metadata();
        (raft.get_msg_type() == MessageType::MsgSnapshot).then_some(Self {
            region_id: message.region_id,
            term: meta.term,
            index: meta.index,
            to: message.to.id,
        })
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            region_id,
            term,
            index,
            to,
        } = self;
        write!(f, "{region_id}_{term}_{index}_{to}")
    }
}

/// What a snapshot holds the effect of.
///
/// ```text
/// meta := version:u8=2  index:varint  term:varint  region:bytes  last_merge:bytes          empty for none
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The Region as it was after that entry; membership included.
    pub region: Region,
    /// The last entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// How the Region last took a neighbour in.
    pub last_merge: Option<Box<LastMerge>>,
}

impl SnapshotMeta {
    /// The name of this snapshot on its way to `to`.
    pub fn key(&self, to: PeerId) -> SnapshotKey {
        SnapshotKey {
            region_id: self.region.id,
            term: self.term,
            index: self.index,
            to,
        }
    }

    /// The replica beside that of Peer `to` of the neighbour that the Region last took in.
    pub fn take_in(&self, to: PeerId) -> Option<TakeIn> {
        let store = self.region.peer(to)?.store_id;
        self.last_merge.as_ref()?.take_in(self.region.id, store)
    }

    /// As it stands in a snapshot's message and in a file's header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.index);
        put_varint(&mut out, self.term);
        let region = RegionRecord::Normal(self.region.clone());
        put_bytes(&mut out, &region.encode());
        let last_merge = self.last_merge.as_ref().map(|merge| merge.encode());
        put_bytes(&mut out, &last_merge.unwrap_or_default());
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => {
                return Err(DecodeError::Unknown {
                    what: "snapshot version",
                    value: u64::from(other),
                });
            }
        }
        let (index, term) = (reader.varint()?, reader.varint()?);
        let RegionRecord::Normal(region) = RegionRecord::decode(reader.bytes()?)? else {
            return Err(DecodeError::Unknown {
                what: "snapshot of a tombstone",
                value: 0,
            });
        };
        let last_merge = Some(reader.bytes()?).filter(|record| !record.is_empty());
        let last_merge = last_merge.map(LastMerge::decode).transpose()?;
        reader.finish()?;
        Ok(Self {
            last_merge: last_merge.map(Box::new),
            region,
            index,
            term,
        })
    }

    /// Of a `MsgSnapshot`, if it says about its snapshot what a correct leader says.
    ///
    /// # Errors
    /// What is wrong with it: raft-rs must not see it.
    pub fn of_message(message: &RaftMessage) -> Result<Self, &'static str> {
        let snapshot = message.message.get_snapshot();
        let raft = snapshot.get_metadata();
        let meta = Self::decode(snapshot.data.clone()).map_err(|_| "its description is damaged")?;
        if (meta.index, meta.term) != (raft.index, raft.term) || meta.index == 0 || meta.term == 0 {
            return Err("its description is that of another snapshot");
        }
        meta.check_last_merge()?;
        if meta.term > message.message.term {
            return Err("it is of a term to come");
        }
        meta.check_region(message)?;
        if *raft.get_conf_state() != conf_state(&meta.region) {
            return Err("its membership is not that of its Region");
        }
        Ok(meta)
    }

    fn check_last_merge(&self) -> Result<(), &'static str> {
        let Some(merge) = &self.last_merge else {
            return Ok(());
        };
        let (place, before) = (merge.place, merge.source.before);
        if place.0 > self.index || place.1 > self.term || merge.version > self.region.epoch.version
        {
            return Err("it has the effect of a merge to come");
        }
        match merge.source.region.id != self.region.id && before.0 < place.0 && before.1 <= place.1
        {
            true => Ok(()),
            false => Err("its last merge is none"),
        }
    }

    fn check_region(&self, message: &RaftMessage) -> Result<(), &'static str> {
        let region = &self.region;
        if region.id != message.region_id {
            return Err("it is of another Region");
        }
        if region.range.is_empty() {
            return Err("its Region holds no key");
        }
        let is_member = |peer: &Peer| {
            let found = region.peer(peer.id);
            found.is_some_and(|found| found.store_id == peer.store_id)
        };
        if !is_member(&message.to) || !is_member(&message.from) {
            return Err("its sender or its receiver is no member of its Region");
        }
        let ids: BTreeSet<_> = region.peers.iter().map(|peer| peer.id).collect();
        let stores: BTreeSet<_> = region.peers.iter().map(|peer| peer.store_id).collect();
        if ids.len() < region.peers.len() || stores.len() < region.peers.len() {
            return Err("its Region has a member twice");
        }
        let votes = |peer: &Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
        match region.peers.iter().any(votes) {
            true => Ok(()),
            false => Err("its Region has no voter"),
        }
    }

    /// As raft-rs sends it.
    pub(crate) fn to_raft(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            data: self.encode().into(),
            ..Snapshot::default()
        };
        let raft = snapshot.mut_metadata();
        raft.set_conf_state(conf_state(&self.region));
        (raft.index, raft.term) = (self.index, self.term);
        snapshot
    }
}

/// A view of the Region for one of its replicas is wanted; answered with
/// `Input::SnapshotGenerated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerateSnapshot {
    /// The Region.
    pub region_id: RegionId,
    /// For whom.
    pub to: Peer,
}

/// A received snapshot is to replace what the Region holds here; answered with
/// `Input::SnapshotInstalled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallSnapshot {
    /// Which one.
    pub key: SnapshotKey,
    /// What it holds.
    pub meta: SnapshotMeta,
    /// The neighbour's replica here that goes with what the Region holds, if the snapshot carries this one
    /// over a merge. Nothing begins before that has come to its last entry.
    pub takes_in: Option<TakeIn>,
}
