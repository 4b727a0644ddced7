//! What the cluster asks a Region to do with itself: commands in the log like a client's, but each in
//! an entry of its own, since what follows one is checked against another shape.
//!
//! ```text
//! split   := 3  count:varint  cut*          cut  := key:bytes  region_id  count:varint  peer_id*
//! compact := 4  index  term
//! peers   := version:u8=1  conf_ver  version  count:varint  (kind:u8  peer_id  store_id)*
//! ```
//!
//! *peers* stands in the context of Raft's own entry for a change of membership; empty changes leave a
//! joint configuration.
//!
//! **Not here.** What they do (`op`).

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use bytes::Bytes;
use types::{Epoch, PeerId, RegionId, StoreId};

pub(crate) const TAG_SPLIT: u8 = 3;
const TAG_COMPACT_LOG: u8 = 4;
const PEERS_VERSION: u8 = 1;

/// A command about the Region, not about its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Cut the Region at each of these keys, in their order. Each new Region takes what lies before
    /// its key; the Region itself keeps the rest.
    Split(Vec<Cut>),
    /// Let the log begin behind this entry.
    CompactLog {
        /// Its index: that of an entry before this command's own.
        index: u64,
        /// Its term.
        term: u64,
    },
}

/// One cut of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first key behind the new Region, as Regions hold keys.
    pub key: Bytes,
    /// The new Region's id; never used before.
    pub region_id: RegionId,
    /// The ids of its Peers, in the order of the Region's.
    pub peer_ids: Vec<PeerId>,
}

/// What happens to one Peer in a change of membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChangeKind {
    /// It is, or becomes, a voter.
    AddVoter,
    /// It is, or becomes, a learner.
    AddLearner,
    /// It goes.
    Remove,
}

/// A change of one Peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// What happens.
    pub kind: PeerChangeKind,
    /// To whom.
    pub peer_id: PeerId,
    /// Where it lives.
    pub store_id: StoreId,
}

/// A change of membership as its entry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerChanges {
    /// The epoch it was proposed in.
    pub(crate) epoch: Epoch,
    /// Empty: the joint configuration is left.
    pub(crate) changes: Vec<PeerChange>,
}

impl Admin {
    pub(crate) fn size_bytes(&self) -> usize {
        const CUT_OVERHEAD: usize = 32;
        const PEER_BYTES: usize = 10;
        const NUMBER_BYTES: usize = 10;
        match self {
            Admin::Split(cuts) => cuts
                .iter()
                .map(|cut| CUT_OVERHEAD + cut.key.len() + PEER_BYTES * cut.peer_ids.len())
                .sum(),
            Admin::CompactLog { .. } => 2 * NUMBER_BYTES,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Admin::Split(cuts) => {
                out.push(TAG_SPLIT);
                put_varint(out, cuts.len() as u64);
                for cut in cuts {
                    put_bytes(out, &cut.key);
                    put_varint(out, cut.region_id.get());
                    put_varint(out, cut.peer_ids.len() as u64);
                    for id in &cut.peer_ids {
                        put_varint(out, id.get());
                    }
                }
            }
            Admin::CompactLog { index, term } => {
                out.push(TAG_COMPACT_LOG);
                put_varint(out, *index);
                put_varint(out, *term);
            }
        }
    }

    /// Reads what follows `tag`; none if it is no tag of these.
    pub(crate) fn read(tag: u8, reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        match tag {
            TAG_SPLIT => {
                let mut cuts = Vec::new();
                for _ in 0..reader.varint()? {
                    cuts.push(read_cut(reader)?);
                }
                Ok(Some(Admin::Split(cuts)))
            }
            TAG_COMPACT_LOG => Ok(Some(Admin::CompactLog {
                index: reader.varint()?,
                term: reader.varint()?,
            })),
            _ => Ok(None),
        }
    }
}

fn read_cut(reader: &mut Reader) -> Result<Cut, DecodeError> {
    let key = reader.bytes()?;
    let region_id = RegionId(reader.varint()?);
    let mut peer_ids = Vec::new();
    for _ in 0..reader.varint()? {
        peer_ids.push(PeerId(reader.varint()?));
    }
    Ok(Cut {
        key,
        region_id,
        peer_ids,
    })
}

impl PeerChanges {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![PEERS_VERSION];
        put_varint(&mut out, self.epoch.conf_ver);
        put_varint(&mut out, self.epoch.version);
        put_varint(&mut out, self.changes.len() as u64);
        for change in &self.changes {
            out.push(match change.kind {
                PeerChangeKind::AddVoter => 0,
                PeerChangeKind::AddLearner => 1,
                PeerChangeKind::Remove => 2,
            });
            put_varint(&mut out, change.peer_id.get());
            put_varint(&mut out, change.store_id.get());
        }
        out
    }

    pub(crate) fn decode(record: Bytes) -> Result<Self, DecodeError> {
        let unknown = |what, value: u8| DecodeError::Unknown {
            what,
            value: u64::from(value),
        };
        let mut reader = Reader::new(record);
        match reader.byte()? {
            PEERS_VERSION => {}
            other => return Err(unknown("membership version", other)),
        }
        let epoch = Epoch {
            conf_ver: reader.varint()?,
            version: reader.varint()?,
        };
        let mut changes = Vec::new();
        for _ in 0..reader.varint()? {
            changes.push(PeerChange {
                kind: match reader.byte()? {
                    0 => PeerChangeKind::AddVoter,
                    1 => PeerChangeKind::AddLearner,
                    2 => PeerChangeKind::Remove,
                    other => return Err(unknown("change of a Peer", other)),
                },
                peer_id: PeerId(reader.varint()?),
                store_id: StoreId(reader.varint()?),
            });
        }
        reader.finish()?;
        Ok(Self { epoch, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut() -> impl Strategy<Value = Cut> {
        let key = proptest::collection::vec(any::<u8>(), 0..20);
        let ids = proptest::collection::vec(any::<u64>(), 0..4);
        (key, any::<u64>(), ids).prop_map(|(key, region, ids)| Cut {
            key: key.into(),
            region_id: RegionId(region),
            peer_ids: ids.into_iter().map(PeerId).collect(),
        })
    }

    fn admin() -> impl Strategy<Value = Admin> {
        let split = proptest::collection::vec(cut(), 0..4).prop_map(Admin::Split);
        let numbers = (any::<u64>(), any::<u64>());
        let compact = numbers.prop_map(|(index, term)| Admin::CompactLog { index, term });
        prop_oneof![split, compact]
    }

    fn change() -> impl Strategy<Value = PeerChange> {
        let kind = prop_oneof![
            Just(PeerChangeKind::AddVoter),
            Just(PeerChangeKind::AddLearner),
            Just(PeerChangeKind::Remove),
        ];
        (kind, any::<u64>(), any::<u64>()).prop_map(|(kind, peer, store)| PeerChange {
            kind,
            peer_id: PeerId(peer),
            store_id: StoreId(store),
        })
    }

    proptest! {
        #[test]
        fn an_admin_command_reads_back_as_it_was_written(admin in admin()) {
            let mut out = Vec::new();
            admin.put(&mut out);
            let mut reader = Reader::new(out.into());
            let tag = reader.byte().unwrap();
            prop_assert_eq!(Admin::read(tag, &mut reader), Ok(Some(admin)));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn a_change_of_membership_reads_back_and_each_cut_of_it_is_refused(
            changes in proptest::collection::vec(change(), 0..4), conf_ver: u64, version: u64,
        ) {
            let changes = PeerChanges { epoch: Epoch { conf_ver, version }, changes };
            let record = Bytes::from(changes.encode());
            for len in 0..record.len() {
                prop_assert!(PeerChanges::decode(record.slice(..len)).is_err());
            }
            prop_assert_eq!(PeerChanges::decode(record), Ok(changes));
        }
    }
}
