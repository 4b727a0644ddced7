//! The state records of a replica in the key-value engine, and their encodings.
//!
//! Two records a Region, in the raft family, written in the same batch as what they describe:
//! the *Region state* (its shape, changed by few commands) and the *apply state* (how far the log
//! has been applied, changed by every batch).
//!
//! ```text
//! region := kind:u8=1  id  start:bytes  end:bytes  conf_ver  version  count  peer*
//! peer   := id  store_id  role:u8
//! apply  := version:u8=1  applied_index  applied_term  truncated_index  truncated_term
//! ```
//!
//! In the place of a Region's shape there is a *tombstone* once its replica was removed, its data with it
//! (kind 2), or once the Region was merged into its neighbour, which has the data (kind 4):
//!
//! ```text
//! region := kind:u8=2  tombstone           region := kind:u8=4  tombstone  target_id  target_version
//! tombstone := id  conf_ver  version  peer_id
//! ```
//!
//! A Region that is about to merge has its shape and the merge (see `op::merge`):
//!
//! ```text
//! region := kind:u8=3  shape:bytes  target:bytes  index  term  is_sealed:u8
//! ```
//!
//! **Not here.** The keys of the records (`types::keys`).

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use bytes::Bytes;
use types::{ApplyState, Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId};

/// That of every record without kinds, and the kind of a shape.
const VERSION: u8 = 1;

fn open(record: Bytes, what: &'static str) -> Result<Reader, DecodeError> {
    let mut reader = Reader::new(record);
    match reader.byte()? {
        VERSION => Ok(reader),
        other => Err(DecodeError::Unknown {
            what,
            value: u64::from(other),
        }),
    }
}

const KIND_NORMAL: u8 = VERSION;
const KIND_TOMBSTONE: u8 = 2;
const KIND_MERGING: u8 = 3;
const KIND_MERGED: u8 = 4;

/// What a store keeps of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionRecord {
    /// It has a replica here.
    Normal(Region),
    /// It has a replica here, and is about to merge into a neighbour.
    Merging(Region, Merging),
    /// It had one.
    Tombstone(Tombstone),
}

/// A merge that its source has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merging {
    /// The neighbour, in the epoch in which alone it may take the source in.
    pub target: Region,
    /// The entry that began it: the last one that may change the source's data.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Whether every replica of the source has that entry, durably.
    pub is_sealed: bool,
}

/// A replica that was removed. The store never has it again; it may have later ones of the Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The Region.
    pub region_id: RegionId,
    /// Its epoch, as it was known last: without the replica.
    pub epoch: Epoch,
    /// The replica.
    pub peer_id: PeerId,
    /// Whose its Region's data is, if that was merged into a neighbour.
    pub merged_into: Option<MergedInto>,
}

/// A Region that has taken a neighbour in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedInto {
    /// The Region.
    pub region_id: RegionId,
    /// The version of its epoch then. A replica in a lower one has yet to do it.
    pub version: u64,
}

impl RegionRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            RegionRecord::Normal(region) => encode_shape(region),
            RegionRecord::Merging(region, merging) => {
                let mut out = vec![KIND_MERGING];
                put_bytes(&mut out, &encode_shape(region));
                put_bytes(&mut out, &encode_shape(&merging.target));
                put_varint(&mut out, merging.index);
                put_varint(&mut out, merging.term);
                out.push(u8::from(merging.is_sealed));
                out
            }
            RegionRecord::Tombstone(tombstone) => {
                let mut out = vec![match tombstone.merged_into {
                    Some(_) => KIND_MERGED,
                    None => KIND_TOMBSTONE,
                }];
                put_varint(&mut out, tombstone.region_id.get());
                put_varint(&mut out, tombstone.epoch.conf_ver);
                put_varint(&mut out, tombstone.epoch.version);
                put_varint(&mut out, tombstone.peer_id.get());
                if let Some(target) = tombstone.merged_into {
                    put_varint(&mut out, target.region_id.get());
                    put_varint(&mut out, target.version);
                }
                out
            }
        }
    }

    /// What [`Self::encode`] wrote.
    ///
    /// # Errors
    /// It wrote something else.
    pub fn decode(record: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record);
        let record = match reader.byte()? {
            KIND_NORMAL => RegionRecord::Normal(read_shape(&mut reader)?),
            kind @ (KIND_TOMBSTONE | KIND_MERGED) => RegionRecord::Tombstone(Tombstone {
                region_id: RegionId(reader.varint()?),
                epoch: read_epoch(&mut reader)?,
                peer_id: PeerId(reader.varint()?),
                merged_into: match kind == KIND_MERGED {
                    true => Some(MergedInto {
                        region_id: RegionId(reader.varint()?),
                        version: reader.varint()?,
                    }),
                    false => None,
                },
            }),
            KIND_MERGING => RegionRecord::Merging(
                decode_shape(reader.bytes()?)?,
                Merging {
                    target: decode_shape(reader.bytes()?)?,
                    index: reader.varint()?,
                    term: reader.varint()?,
                    is_sealed: reader.byte()? != 0,
                },
            ),
            other => {
                return Err(DecodeError::Unknown {
                    what: "kind of Region state",
                    value: u64::from(other),
                });
            }
        };
        reader.finish()?;
        Ok(record)
    }
}

fn read_epoch(reader: &mut Reader) -> Result<Epoch, DecodeError> {
    Ok(Epoch {
        conf_ver: reader.varint()?,
        version: reader.varint()?,
    })
}

/// Encodes the epoch in which a snapshot brought a Region here.
pub fn encode_epoch(epoch: Epoch) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, epoch.conf_ver);
    put_varint(&mut out, epoch.version);
    out
}

/// Decodes what [`encode_epoch`] wrote.
pub fn decode_epoch(record: Bytes) -> Result<Epoch, DecodeError> {
    let mut reader = open(record, "version of an epoch")?;
    let epoch = read_epoch(&mut reader)?;
    reader.finish()?;
    Ok(epoch)
}

/// A Region's shape, by itself.
pub(crate) fn decode_shape(record: Bytes) -> Result<Region, DecodeError> {
    let mut reader = open(record, "kind of a shape")?;
    let region = read_shape(&mut reader)?;
    reader.finish()?;
    Ok(region)
}

pub(crate) fn encode_shape(region: &Region) -> Vec<u8> {
    let mut out = vec![KIND_NORMAL];
    put_varint(&mut out, region.id.get());
    put_bytes(&mut out, &region.range.start);
    put_bytes(&mut out, &region.range.end);
    put_varint(&mut out, region.epoch.conf_ver);
    put_varint(&mut out, region.epoch.version);
    put_varint(&mut out, region.peers.len() as u64);
    for peer in &region.peers {
        put_varint(&mut out, peer.id.get());
        put_varint(&mut out, peer.store_id.get());
        out.push(match peer.role {
            PeerRole::Voter => 0,
            PeerRole::Learner => 1,
            PeerRole::IncomingVoter => 2,
            PeerRole::DemotingVoter => 3,
        });
    }
    out
}

fn read_shape(reader: &mut Reader) -> Result<Region, DecodeError> {
    let id = RegionId(reader.varint()?);
    let range = KeyRange {
        start: reader.bytes()?.to_vec(),
        end: reader.bytes()?.to_vec(),
    };
    let epoch = read_epoch(reader)?;
    let mut peers = Vec::new();
    for _ in 0..reader.varint()? {
        peers.push(Peer {
            id: PeerId(reader.varint()?),
            store_id: StoreId(reader.varint()?),
            role: match reader.byte()? {
                0 => PeerRole::Voter,
                1 => PeerRole::Learner,
                2 => PeerRole::IncomingVoter,
                3 => PeerRole::DemotingVoter,
                other => {
                    return Err(DecodeError::Unknown {
                        what: "Peer role",
                        value: u64::from(other),
                    });
                }
            },
        });
    }
    Ok(Region {
        id,
        range,
        epoch,
        peers,
    })
}

/// Encodes how far a log has been applied.
pub fn encode_apply_state(state: &ApplyState) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.push(VERSION);
    put_varint(&mut out, state.applied_index);
    put_varint(&mut out, state.applied_term);
    put_varint(&mut out, state.truncated_index);
    put_varint(&mut out, state.truncated_term);
    out
}

/// Decodes what [`encode_apply_state`] wrote.
pub fn decode_apply_state(record: Bytes) -> Result<ApplyState, DecodeError> {
    let mut reader = open(record, "apply state version")?;
    let state = ApplyState {
        applied_index: reader.varint()?,
        applied_term: reader.varint()?,
        truncated_index: reader.varint()?,
        truncated_term: reader.varint()?,
    };
    reader.finish()?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_region_reads_back_as_it_was_written() {
        let role = |n| match n {
            0 => PeerRole::Voter,
            1 => PeerRole::Learner,
            2 => PeerRole::IncomingVoter,
            _ => PeerRole::DemotingVoter,
        };
        let region = Region {
            id: RegionId(7),
            range: KeyRange {
                start: b"a".to_vec(),
                end: vec![],
            },
            epoch: Epoch {
                conf_ver: 3,
                version: 900,
            },
            peers: (0..4)
                .map(|n| Peer {
                    id: PeerId(n + 1),
                    store_id: StoreId(n * 500),
                    role: role(n),
                })
                .collect(),
        };
        let tombstone = |merged_into| {
            RegionRecord::Tombstone(Tombstone {
                region_id: RegionId(7),
                epoch: Epoch {
                    conf_ver: 300,
                    version: 9,
                },
                peer_id: PeerId(70),
                merged_into,
            })
        };
        let into = MergedInto {
            region_id: RegionId(8),
            version: 10,
        };
        let merging = Merging {
            target: region.clone(),
            index: 900,
            term: 8,
            is_sealed: true,
        };
        for state in [
            RegionRecord::Normal(region.clone()),
            RegionRecord::Merging(region, merging),
            tombstone(None),
            tombstone(Some(into)),
        ] {
            let record = Bytes::from(state.encode());
            assert_eq!(RegionRecord::decode(record.clone()), Ok(state));
            for len in 0..record.len() {
                let cut = RegionRecord::decode(record.slice(..len));
                assert!(cut.is_err(), "cut at {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_apply_state_reads_back(a: u64, b: u64, c: u64, d: u64) {
            let state = ApplyState {
                applied_index: a, applied_term: b, truncated_index: c, truncated_term: d,
            };
            prop_assert_eq!(decode_apply_state(encode_apply_state(&state).into()), Ok(state));
        }

        #[test]
        fn an_epoch_reads_back(conf_ver: u64, version: u64) {
            let epoch = Epoch { conf_ver, version };
            prop_assert_eq!(decode_epoch(encode_epoch(epoch).into()), Ok(epoch));
        }

        #[test]
        fn arbitrary_records_never_panic(record: Vec<u8>) {
            let record = Bytes::from(record);
            let _ = RegionRecord::decode(record.clone());
            let _ = decode_apply_state(record);
        }
    }
}
