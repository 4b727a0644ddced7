//! Keys on disk: the order-preserving encoding of byte strings, and the spaces of the engine.
//!
//! **Memcomparable encoding.** Groups of eight bytes, each followed by a marker `0xFF - padding`;
//! the last group is padded with zeros and has a marker below `0xFF` (an exact multiple of eight
//! gets one more group that is all padding). So no encoding is a prefix of another, and encodings
//! compare as the keys do. It is the encoding that TiKV's clients use (MyRocks' record format).
//!
//! **Engine keys.** The first byte says whose key it is:
//!
//! | first bytes | what |
//! |---|---|
//! | `0x01 0x01` | the store's ident |
//! | `0x01 0x02` + Region id, 8 bytes big-endian | that Region's state |
//! | `0x01 0x03` + Region id, 8 bytes big-endian | that Region's apply state |
//! | `0x01 0x04` + Region id, 8 bytes big-endian | the mark of a snapshot that is being installed |
//! | `0x01 0x05` + Region id, 8 bytes big-endian | the epoch in which a snapshot brought the Region here |
//! | `0x01 0x06` + Region id, 8 bytes big-endian | the entry with which the Region last took a neighbour in |
//! | `0x01 0x07` + Region id, 8 bytes big-endian | why this store's replica of that Region is quarantined |
//! | `0x01 0x08` | where placement's members were when the store last knew |
//! | `p` + key | the placement Region's data |
//! | `z` + key | client data |
//!
//! **Invariants.** Within a space, engine keys sort as their keys do. A key has exactly one
//! encoding, and everything else is refused by `decode`.
//!
//! **Not here.** Which key a client's key becomes: see [`crate::api`]. Which column family a key
//! lives in: its writer knows.

use crate::error::Result;
use crate::{CodecError, RegionId};

const GROUP_BYTES: usize = 8;
const FULL_GROUP_MARKER: u8 = 0xff;

/// The key of the store's ident.
pub const STORE_IDENT_KEY: &[u8] = &[LOCAL, 0x01];

/// The key of what the store knows of placement's members.
pub const KNOWN_MEMBERS_KEY: &[u8] = &[LOCAL, 0x08];

const LOCAL: u8 = 0x01;
const REGION_STATE: u8 = 0x02;
const APPLY_STATE: u8 = 0x03;
const SNAPSHOT_MARK: u8 = 0x04;
const RESTORED_EPOCH: u8 = 0x05;
const LAST_MERGE: u8 = 0x06;
const QUARANTINE: u8 = 0x07;
/// The length of a key of one of a Region's own records.
pub const LOCAL_REGION_KEY_BYTES: usize = 10;

/// The length in bytes of the encoding of a key of `key_len_bytes`.
pub const fn encoded_len_bytes(key_len_bytes: usize) -> usize {
    (key_len_bytes / GROUP_BYTES + 1) * (GROUP_BYTES + 1)
}

/// Appends the memcomparable encoding of `key` to `out`.
pub fn encode_into(key: &[u8], out: &mut Vec<u8>) {
    out.reserve(encoded_len_bytes(key.len()));
    let groups = key.chunks_exact(GROUP_BYTES);
    let rest = groups.remainder();
    for group in groups {
        out.extend_from_slice(group);
        out.push(FULL_GROUP_MARKER);
    }
    let padding = GROUP_BYTES - rest.len();
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0; GROUP_BYTES][..padding]);
    out.push(FULL_GROUP_MARKER - padding as u8);
}

/// The memcomparable encoding of `key`.
pub fn encode(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(key, &mut out);
    out
}

/// Appends the key at the front of `encoded` to `out` and returns what follows its encoding. On an
/// error `out` is as it was.
pub fn decode_into<'a>(encoded: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8]> {
    let before = out.len();
    let result = decode_groups(encoded, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn decode_groups<'a>(mut encoded: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8]> {
    loop {
        let Some((group, rest)) = encoded.split_first_chunk::<{ GROUP_BYTES + 1 }>() else {
            return Err(CodecError::TruncatedKey {
                len_bytes: encoded.len(),
            });
        };
        encoded = rest;
        let marker = group[GROUP_BYTES];
        let padding = usize::from(FULL_GROUP_MARKER - marker);
        if padding > GROUP_BYTES {
            return Err(CodecError::BadMarker { marker });
        }
        let (bytes, zeros) = group[..GROUP_BYTES].split_at(GROUP_BYTES - padding);
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(CodecError::BadPadding);
        }
        out.extend_from_slice(bytes);
        if padding > 0 {
            return Ok(encoded);
        }
    }
}

/// The key whose encoding is exactly `encoded`; bytes after it are an error.
pub fn decode(encoded: &[u8]) -> Result<Vec<u8>> {
    let mut key = Vec::with_capacity(encoded.len() / (GROUP_BYTES + 1) * GROUP_BYTES);
    let rest = decode_into(encoded, &mut key)?;
    if !rest.is_empty() {
        return Err(CodecError::TrailingBytes {
            len_bytes: rest.len(),
        });
    }
    Ok(key)
}

/// A part of the engine's key space that Regions own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// The placement Region's keys.
    Placement,
    /// What clients store.
    Data,
}

impl Space {
    /// The space in which `region` lies: a Region's range never leaves its space.
    pub fn of(region: RegionId) -> Space {
        if region == RegionId::PLACEMENT {
            Space::Placement
        } else {
            Space::Data
        }
    }

    /// The first byte of every engine key in this space.
    pub const fn prefix(self) -> u8 {
        match self {
            Space::Placement => b'p',
            Space::Data => b'z',
        }
    }

    /// Appends the engine key of `key` to `out`.
    pub fn key_into(self, key: &[u8], out: &mut Vec<u8>) {
        out.reserve(1 + key.len());
        out.push(self.prefix());
        out.extend_from_slice(key);
    }

    /// The engine key of `key`; also of a range's first key (an empty one is the space's start).
    pub fn key(self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.key_into(key, &mut out);
        out
    }

    /// Appends the engine key of a range's end to `out`. An empty `end` is the end of the space.
    pub fn end_key_into(self, end: &[u8], out: &mut Vec<u8>) {
        if end.is_empty() {
            out.push(self.prefix() + 1);
        } else {
            self.key_into(end, out);
        }
    }

    /// The engine key of a range's end. An empty `end` is the end of the space, never of the engine.
    pub fn end_key(self, end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.end_key_into(end, &mut out);
        out
    }

    /// The key within this space, or `None` for an engine key outside of it.
    pub fn strip(self, engine_key: &[u8]) -> Option<&[u8]> {
        engine_key.strip_prefix(&[self.prefix()])
    }
}

/// The key of `region`'s state (its shape and what this store's Peer in it is).
pub fn region_state_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(REGION_STATE, region)
}

/// The range `[start, end)` that holds the states of all Regions, in the order of their ids.
pub const REGION_STATE_RANGE: (&[u8], &[u8]) = (&[LOCAL, REGION_STATE], &[LOCAL, REGION_STATE + 1]);

/// The Region whose state `key` holds, or `None` for any other key.
pub fn region_of_state_key(key: &[u8]) -> Option<RegionId> {
    region_of_local_key(REGION_STATE, key)
}

/// The key of `region`'s apply state.
pub fn apply_state_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(APPLY_STATE, region)
}

/// The range `[start, end)` that holds the apply states of all Regions, in the order of their ids.
pub const APPLY_STATE_RANGE: (&[u8], &[u8]) = (&[LOCAL, APPLY_STATE], &[LOCAL, APPLY_STATE + 1]);

/// The key of the epoch in which the last snapshot brought `region` here: what it was before is not known.
pub fn restored_epoch_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(RESTORED_EPOCH, region)
}

/// The key of the index and the term of the entry with which `region` last took a neighbour in.
pub fn last_merge_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(LAST_MERGE, region)
}

/// The key of the mark that names the snapshot with which `region` is being replaced.
pub fn snapshot_mark_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(SNAPSHOT_MARK, region)
}

/// The range `[start, end)` that holds the marks of all Regions, in the order of their ids.
pub const SNAPSHOT_MARK_RANGE: (&[u8], &[u8]) =
    (&[LOCAL, SNAPSHOT_MARK], &[LOCAL, SNAPSHOT_MARK + 1]);

/// The key of the record that this store's replica of `region` is quarantined.
pub fn quarantine_key(region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    local_region_key(QUARANTINE, region)
}

/// The Region whose apply state `key` holds, or `None` for any other key.
pub fn region_of_apply_key(key: &[u8]) -> Option<RegionId> {
    region_of_local_key(APPLY_STATE, key)
}

fn local_region_key(kind: u8, region: RegionId) -> [u8; LOCAL_REGION_KEY_BYTES] {
    let mut key = [0; LOCAL_REGION_KEY_BYTES];
    key[0] = LOCAL;
    key[1] = kind;
    key[2..].copy_from_slice(&region.get().to_be_bytes());
    key
}

fn region_of_local_key(kind: u8, key: &[u8]) -> Option<RegionId> {
    let id = key.strip_prefix(&[LOCAL, kind])?;
    Some(RegionId(u64::from_be_bytes(id.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_those_that_clients_make() {
        assert_eq!(encode(b""), [0, 0, 0, 0, 0, 0, 0, 0, 247]);
        assert_eq!(encode(&[1, 2, 3]), [1, 2, 3, 0, 0, 0, 0, 0, 250]);
        assert_eq!(encode(&[1, 2, 3, 0]), [1, 2, 3, 0, 0, 0, 0, 0, 251]);
        assert_eq!(
            encode(&[1, 2, 3, 4, 5, 6, 7, 8]),
            [1, 2, 3, 4, 5, 6, 7, 8, 255, 0, 0, 0, 0, 0, 0, 0, 0, 247]
        );
    }

    #[test]
    fn a_cut_or_damaged_encoding_is_refused() {
        assert_eq!(decode(b""), Err(CodecError::TruncatedKey { len_bytes: 0 }));
        assert_eq!(
            decode(&[1, 2, 3, 4, 5, 6, 7, 8, 255]),
            Err(CodecError::TruncatedKey { len_bytes: 0 })
        );
        assert_eq!(
            decode(&[1, 0, 0, 0, 0, 0, 0, 0, 246]),
            Err(CodecError::BadMarker { marker: 246 })
        );
        assert_eq!(
            decode(&[1, 0, 0, 0, 0, 0, 0, 9, 248]),
            Err(CodecError::BadPadding)
        );
        let mut long = encode(b"abc");
        long.push(7);
        assert_eq!(
            decode(&long),
            Err(CodecError::TrailingBytes { len_bytes: 1 })
        );
    }

    #[test]
    fn a_failed_decode_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        let mut encoded = encode(b"more than one group");
        encoded.pop();
        assert!(decode_into(&encoded, &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn spaces_and_local_keys_do_not_overlap() {
        let region = RegionId(u64::MAX);
        let mut keys = vec![
            STORE_IDENT_KEY.to_vec(),
            region_state_key(region).to_vec(),
            apply_state_key(region).to_vec(),
            Space::Placement.key(b""),
            Space::Placement.key(&[0xff; 20]),
            Space::Placement.end_key(b""),
            Space::Data.key(b""),
            Space::Data.key(&[0xff; 20]),
            Space::Data.end_key(b""),
        ];
        let listed = keys.clone();
        keys.sort();
        assert_eq!(keys, listed);
    }

    #[test]
    fn the_end_of_a_range_stays_in_its_space() {
        assert_eq!(Space::Data.end_key(b""), b"{");
        assert_eq!(Space::Data.end_key(b"k"), b"zk");
        assert_eq!(Space::Placement.end_key(b""), b"q");
        assert_eq!(Space::Data.strip(b"pk"), None);
        assert_eq!(Space::Placement.strip(b"pk"), Some(&b"k"[..]));
        assert_eq!(Space::of(RegionId::PLACEMENT), Space::Placement);
        assert_eq!(Space::of(RegionId::FIRST_DATA), Space::Data);
    }

    #[test]
    fn local_keys_name_their_region() {
        let region = RegionId(0x0102_0304_0506_0708);
        let key = region_state_key(region);
        assert_eq!(key, [1, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(region_of_state_key(&key), Some(region));
        assert_eq!(region_of_apply_key(&key), None);
        assert_eq!(region_of_state_key(&key[..9]), None);
        assert!(key.as_slice() >= REGION_STATE_RANGE.0 && key.as_slice() < REGION_STATE_RANGE.1);
        let apply = apply_state_key(region);
        assert_eq!(region_of_apply_key(&apply), Some(region));
        assert!(apply.as_slice() >= APPLY_STATE_RANGE.0 && apply.as_slice() < APPLY_STATE_RANGE.1);
    }

    /// Keys that share prefixes and are full of the bytes that padding and markers are made of.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(0u8),
            Just(1),
            Just(247),
            Just(254),
            Just(255),
            any::<u8>()
        ];
        proptest::collection::vec(byte, 0..28)
    }

    proptest! {
        #[test]
        fn every_key_round_trips(key in key(), tail in key()) {
            let mut encoded = encode(&key);
            prop_assert_eq!(encoded.len(), encoded_len_bytes(key.len()));
            prop_assert_eq!(&decode(&encoded).unwrap(), &key);
            encoded.extend_from_slice(&tail);
            let mut decoded = Vec::new();
            let rest = decode_into(&encoded, &mut decoded).unwrap();
            prop_assert_eq!(rest, tail.as_slice());
            prop_assert_eq!(decoded, key);
        }

        #[test]
        fn encodings_sort_as_their_keys(a in key(), b in key()) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
            prop_assert_eq!(Space::Data.key(&a).cmp(&Space::Data.key(&b)), a.cmp(&b));
        }

        #[test]
        fn what_decodes_is_the_only_encoding_of_its_key(bytes in key()) {
            if let Ok(key) = decode(&bytes) {
                prop_assert_eq!(encode(&key), bytes);
            }
        }
    }
}
