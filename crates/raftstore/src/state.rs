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
//! In the place of a Region's shape there is a *tombstone* once its replica was removed, its data with it:
//!
//! ```text
//! region := kind:u8=2  id  conf_ver  version  peer_id
//! ```
//!
//! **Not here.** The keys of the records (`types::keys`).

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use bytes::Bytes;
use types::{ApplyState, Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId};

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

const KIND_NORMAL: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;

/// What a store keeps of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionRecord {
    /// It has a replica here.
    Normal(Region),
    /// It had one.
    Tombstone(Tombstone),
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
}

impl RegionRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            RegionRecord::Normal(region) => encode_shape(region),
            RegionRecord::Tombstone(tombstone) => {
                let mut out = vec![KIND_TOMBSTONE];
                put_varint(&mut out, tombstone.region_id.get());
                put_varint(&mut out, tombstone.epoch.conf_ver);
                put_varint(&mut out, tombstone.epoch.version);
                put_varint(&mut out, tombstone.peer_id.get());
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
            KIND_TOMBSTONE => RegionRecord::Tombstone(Tombstone {
                region_id: RegionId(reader.varint()?),
                epoch: read_epoch(&mut reader)?,
                peer_id: PeerId(reader.varint()?),
            }),
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

fn encode_shape(region: &Region) -> Vec<u8> {
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
        for state in [
            RegionRecord::Normal(region),
            RegionRecord::Tombstone(Tombstone {
                region_id: RegionId(7),
                epoch: Epoch {
                    conf_ver: 300,
                    version: 9,
                },
                peer_id: PeerId(70),
            }),
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
        fn arbitrary_records_never_panic(record: Vec<u8>) {
            let record = Bytes::from(record);
            let _ = RegionRecord::decode(record.clone());
            let _ = decode_apply_state(record);
        }
    }
}
