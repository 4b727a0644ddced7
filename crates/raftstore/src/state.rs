//! The state records of a replica in the key-value engine, and their encodings.
//!
//! Two records a Region, in the raft family, written in the same batch as what they describe:
//! the *Region state* (its shape, changed by few commands) and the *apply state* (how far the log
//! has been applied, changed by every batch).
//!
//! ```text
//! region := version:u8=1  id  start:bytes  end:bytes  conf_ver  version  count  peer*
//! peer   := id  store_id  role:u8
//! apply  := version:u8=1  applied_index  applied_term  truncated_index  truncated_term
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

/// Encodes a Region's shape.
pub fn encode_region(region: &Region) -> Vec<u8> {
    let mut out = vec![VERSION];
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

/// Decodes what [`encode_region`] wrote.
pub fn decode_region(record: Bytes) -> Result<Region, DecodeError> {
    let mut reader = open(record, "Region state version")?;
    let id = RegionId(reader.varint()?);
    let range = KeyRange {
        start: reader.bytes()?.to_vec(),
        end: reader.bytes()?.to_vec(),
    };
    let epoch = Epoch {
        conf_ver: reader.varint()?,
        version: reader.varint()?,
    };
    let count = reader.varint()?;
    let mut peers = Vec::new();
    for _ in 0..count {
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
    reader.finish()?;
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
        let record = Bytes::from(encode_region(&region));
        assert_eq!(decode_region(record.clone()), Ok(region));
        for len in 0..record.len() {
            assert!(decode_region(record.slice(..len)).is_err(), "cut at {len}");
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
            let _ = decode_region(record.clone());
            let _ = decode_apply_state(record);
        }
    }
}
