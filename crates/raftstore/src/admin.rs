//! What the cluster asks a Region to do with itself: commands in the log like a client's, but each in
//! an entry of its own, since what follows one is checked against another shape.
//!
//! ```text
//! split   := 3  count:varint  cut*          cut  := key:bytes  region_id  count:varint  peer_id*
//! compact := 4  index  term
//! prepare := 5  target:bytes            commit   := 12 source:bytes  index  term  before:(index term)
//! seal    := 6  index                   refuse   := 8  source_id
//! rollback := 9  index  unless_sealed:u8
//! hash    := 10
//! verify  := 11  index  agreed:hash  count:varint  (peer_id  hash)*          hash := u128be
//! peers   := version:u8=1  conf_ver  version  count:varint  (kind:u8  peer_id  store_id)*
//! ```
//!
//! *peers* stands in the context of Raft's own entry for a change of membership; empty changes leave a
//! joint configuration.
//!
//! **Not here.** What they do (`op`).

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::op::consistency::{Verdict, put_hash, read_hash};
use crate::state::{decode_shape, encode_shape};
use bytes::Bytes;
use types::{Epoch, PeerId, Region, RegionId, StoreId};

pub(crate) const TAG_SPLIT: u8 = 3;
const TAG_COMPACT_LOG: u8 = 4;
const TAG_PREPARE_MERGE: u8 = 5;
const TAG_SEAL_MERGE: u8 = 6;
const TAG_REFUSE_MERGE: u8 = 8;
const TAG_ROLLBACK_MERGE: u8 = 9;
const TAG_COMPUTE_HASH: u8 = 10;
const TAG_VERIFY_HASH: u8 = 11;
// 7 was a commit that did not say what is *before* it: no data of a release has one.
pub(crate) const TAG_COMMIT_MERGE: u8 = 12;
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
    /// Begin to merge into this neighbour, whose shape names the epoch in which it may take the
    /// Region in.
    PrepareMerge(Box<Region>),
    /// Every replica has the entry that began the merge. Proposed by the leader itself.
    SealMerge {
        /// That entry.
        index: u64,
    },
    /// Take a neighbour in. Proposed by the leader itself.
    CommitMerge(Box<MergeSource>),
    /// Take no neighbour in that was promised to the Region's present epoch. Proposed by the leader
    /// itself.
    RefuseMerge {
        /// Who has given up.
        source_id: RegionId,
    },
    /// Go on alone. Proposed by the leader itself.
    RollbackMerge {
        /// The entry that began the merge.
        index: u64,
        /// Whether it counts only if the merge is not sealed yet. Otherwise the target has refused.
        unless_sealed: bool,
    },
    /// Hash what the Region holds at this entry. Proposed by the leader itself, as is what follows.
    ComputeHash,
    /// The hashes at an earlier entry were compared: quarantine those that deviate.
    VerifyHash(Verdict),
}

/// A neighbour that a Region takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeSource {
    /// Its shape since it began to merge.
    pub region: Region,
    /// Its entry that began it, which all of its replicas have.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The index and the term of the entry with which the Region has last taken one in; zeros for none.
    pub before: (u64, u64),
}

impl MergeSource {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &encode_shape(&self.region));
        for number in [self.index, self.term, self.before.0, self.before.1] {
            put_varint(out, number);
        }
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            region: decode_shape(reader.bytes()?)?,
            index: reader.varint()?,
            term: reader.varint()?,
            before: (reader.varint()?, reader.varint()?),
        })
    }
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
            Admin::PrepareMerge(region) => encode_shape(region).len() + NUMBER_BYTES,
            Admin::CommitMerge(source) => encode_shape(&source.region).len() + 5 * NUMBER_BYTES,
            Admin::SealMerge { .. } | Admin::RefuseMerge { .. } | Admin::RollbackMerge { .. } => {
                NUMBER_BYTES
            }
            Admin::ComputeHash => 0,
            Admin::VerifyHash(verdict) => {
                let one = PEER_BYTES + size_of::<u128>();
                2 * NUMBER_BYTES + (verdict.deviating.len() + 1) * one
            }
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
            Admin::PrepareMerge(target) => {
                out.push(TAG_PREPARE_MERGE);
                put_bytes(out, &encode_shape(target));
            }
            Admin::SealMerge { index } => put_number(out, TAG_SEAL_MERGE, *index),
            Admin::CommitMerge(source) => {
                out.push(TAG_COMMIT_MERGE);
                source.put(out);
            }
            Admin::RefuseMerge { source_id } => {
                put_number(out, TAG_REFUSE_MERGE, source_id.get());
            }
            Admin::RollbackMerge {
                index,
                unless_sealed,
            } => {
                put_number(out, TAG_ROLLBACK_MERGE, *index);
                out.push(u8::from(*unless_sealed));
            }
            Admin::ComputeHash => out.push(TAG_COMPUTE_HASH),
            Admin::VerifyHash(verdict) => {
                out.push(TAG_VERIFY_HASH);
                put_varint(out, verdict.index);
                put_hash(out, verdict.agreed);
                put_varint(out, verdict.deviating.len() as u64);
                for (peer, hash) in &verdict.deviating {
                    put_varint(out, peer.get());
                    put_hash(out, *hash);
                }
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
            TAG_PREPARE_MERGE => {
                let target = Box::new(decode_shape(reader.bytes()?)?);
                Ok(Some(Admin::PrepareMerge(target)))
            }
            TAG_SEAL_MERGE => Ok(Some(Admin::SealMerge {
                index: reader.varint()?,
            })),
            TAG_COMMIT_MERGE => {
                let source = MergeSource::read(reader)?;
                Ok(Some(Admin::CommitMerge(Box::new(source))))
            }
            TAG_REFUSE_MERGE => Ok(Some(Admin::RefuseMerge {
                source_id: RegionId(reader.varint()?),
            })),
            TAG_ROLLBACK_MERGE => Ok(Some(Admin::RollbackMerge {
                index: reader.varint()?,
                unless_sealed: reader.byte()? != 0,
            })),
            TAG_COMPUTE_HASH => Ok(Some(Admin::ComputeHash)),
            TAG_VERIFY_HASH => Ok(Some(Admin::VerifyHash(read_verdict(reader)?))),
            _ => Ok(None),
        }
    }
}

fn put_number(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag);
    put_varint(out, number);
}

fn read_verdict(reader: &mut Reader) -> Result<Verdict, DecodeError> {
    let (index, agreed) = (reader.varint()?, read_hash(reader)?);
    let mut deviating = Vec::new();
    for _ in 0..reader.varint()? {
        deviating.push((PeerId(reader.varint()?), read_hash(reader)?));
    }
    Ok(Verdict {
        index,
        agreed,
        deviating,
    })
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
    use crate::op::consistency::Hash;
    use proptest::prelude::*;
    use types::{KeyRange, Peer};

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
        let prepare = region().prop_map(|target| Admin::PrepareMerge(Box::new(target)));
        let seal = any::<u64>().prop_map(|index| Admin::SealMerge { index });
        let source = (region(), any::<[u64; 4]>());
        let commit = source.prop_map(|(region, [index, term, before, before_term])| {
            Admin::CommitMerge(Box::new(MergeSource {
                region,
                index,
                term,
                before: (before, before_term),
            }))
        });
        let refuse = any::<u64>().prop_map(|id| Admin::RefuseMerge {
            source_id: RegionId(id),
        });
        let rollback =
            (any::<u64>(), any::<bool>()).prop_map(|(index, unless_sealed)| Admin::RollbackMerge {
                index,
                unless_sealed,
            });
        let merges = prop_oneof![prepare, seal, commit, refuse, rollback];
        let compute = Just(Admin::ComputeHash);
        prop_oneof![split, compact, merges, compute, verify()]
    }

    fn verify() -> impl Strategy<Value = Admin> {
        let deviating = proptest::collection::vec((any::<u64>(), any::<u128>()), 0..4);
        (any::<u64>(), any::<u128>(), deviating).prop_map(|(index, agreed, named)| {
            let named = named.into_iter();
            Admin::VerifyHash(Verdict {
                index,
                agreed: Hash(agreed),
                deviating: named.map(|(id, hash)| (PeerId(id), Hash(hash))).collect(),
            })
        })
    }

    fn region() -> impl Strategy<Value = Region> {
        let key = || proptest::collection::vec(any::<u8>(), 0..20);
        (any::<u64>(), key(), key(), any::<u64>()).prop_map(|(id, start, end, version)| Region {
            id: RegionId(id),
            range: KeyRange { start, end },
            epoch: Epoch {
                conf_ver: 1,
                version,
            },
            peers: vec![Peer::default()],
        })
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
