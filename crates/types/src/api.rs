//! The two API versions: which key of the cluster a client's key is.
//!
//! | version, mode | the client sends | the Region's and the engine's key |
//! |---|---|---|
//! | V1 raw | user key | the same |
//! | V1 transactional | user key | memcomparable(user key) |
//! | V2 raw | `r` + keyspace id (3 bytes, big-endian) + user key | memcomparable(all of it) |
//! | V2 transactional | `x` + keyspace id + user key | memcomparable(all of it) |
//!
//! **Invariants.** The mapping keeps the order of keys and is one to one within a mode, so a range
//! of client keys is a range of Region keys. Under V2 a range never leaves its keyspace.
//!
//! **Not here.** Which keyspaces exist (the placement driver knows), limits on key sizes, and
//! whether a cluster's version matches the request's.

use crate::error::Result;
use crate::{CodecError, KeyRange, keys};
use std::fmt;

/// How clients' keys are laid out; one for a whole cluster, fixed at its bootstrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// Keys without a prefix; the cluster holds keys of one mode only.
    #[default]
    V1,
    /// Keys with a prefix that names their mode and keyspace.
    V2,
}

/// Which of the two families of requests a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// Plain gets and puts.
    Raw,
    /// Transactions.
    Txn,
}

impl KeyMode {
    /// The first byte of this mode's keys under API V2.
    pub const fn v2_byte(self) -> u8 {
        match self {
            KeyMode::Raw => b'r',
            KeyMode::Txn => b'x',
        }
    }
}

impl fmt::Display for KeyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyMode::Raw => "raw",
            KeyMode::Txn => "transactional",
        })
    }
}

/// A keyspace of API V2: a number of three bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(u32);

impl KeyspaceId {
    /// The keyspace that every cluster has, named `DEFAULT`.
    pub const DEFAULT: KeyspaceId = KeyspaceId(0);
    /// The largest id that fits into a key's prefix.
    pub const MAX: u32 = 0x00ff_ffff;

    /// From a number of at most [`Self::MAX`].
    pub const fn new(id: u32) -> Result<Self> {
        if id > Self::MAX {
            Err(CodecError::KeyspaceIdTooLarge { id })
        } else {
            Ok(Self(id))
        }
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What all client keys of this keyspace and mode start with; also the keyspace's start.
    pub const fn prefix(self, mode: KeyMode) -> [u8; PREFIX_BYTES] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [mode.v2_byte(), a, b, c]
    }

    /// The first client key after this keyspace: its prefix plus one.
    pub const fn end(self, mode: KeyMode) -> [u8; PREFIX_BYTES] {
        (u32::from_be_bytes(self.prefix(mode)) + 1).to_be_bytes()
    }
}

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Length of an API V2 key's prefix.
pub const PREFIX_BYTES: usize = 4;

/// Splits an API V2 key into its keyspace and the user's own key, which may be empty.
pub fn split_v2(mode: KeyMode, key: &[u8]) -> Result<(KeyspaceId, &[u8])> {
    let &found = key.first().ok_or(CodecError::EmptyKey)?;
    if found != mode.v2_byte() {
        return Err(CodecError::WrongPrefix {
            expected: mode,
            found,
        });
    }
    let (prefix, user_key) =
        key.split_first_chunk::<PREFIX_BYTES>()
            .ok_or(CodecError::KeyTooShort {
                len_bytes: key.len(),
            })?;
    Ok((
        KeyspaceId(u32::from_be_bytes([0, prefix[1], prefix[2], prefix[3]])),
        user_key,
    ))
}

impl ApiVersion {
    /// The number by which users and configuration name it.
    pub const fn number(self) -> u32 {
        match self {
            ApiVersion::V1 => 1,
            ApiVersion::V2 => 2,
        }
    }

    /// The version with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(ApiVersion::V1),
            2 => Some(ApiVersion::V2),
            _ => None,
        }
    }

    /// Whether Region keys are the memcomparable form of client keys.
    pub const fn is_encoded(self, mode: KeyMode) -> bool {
        !matches!((self, mode), (ApiVersion::V1, KeyMode::Raw))
    }

    /// Checks a single key as a client sent it: not empty, and under V2 of the right mode. Returns
    /// its keyspace, which is `None` under V1.
    pub fn check_key(self, mode: KeyMode, key: &[u8]) -> Result<Option<KeyspaceId>> {
        let (keyspace, user_key) = match self {
            ApiVersion::V1 => (None, key),
            ApiVersion::V2 => {
                let (keyspace, user_key) = split_v2(mode, key)?;
                (Some(keyspace), user_key)
            }
        };
        if user_key.is_empty() {
            Err(CodecError::EmptyKey)
        } else {
            Ok(keyspace)
        }
    }

    /// Checks a single key as [`Self::check_key`] does, and under V2 that it is in `keyspace`.
    pub fn check_key_in(self, mode: KeyMode, key: &[u8], keyspace: KeyspaceId) -> Result<()> {
        match self.check_key(mode, key)? {
            Some(found) if found != keyspace => Err(CodecError::WrongKeyspace {
                expected: keyspace,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// Appends the Region key of a client's key to `out`. On an error `out` is as it was.
    pub fn region_key_into(self, mode: KeyMode, key: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.check_key(mode, key)?;
        self.append(mode, key, out);
        Ok(())
    }

    /// The Region key of a client's key.
    pub fn region_key(self, mode: KeyMode, key: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.region_key_into(mode, key, &mut out)?;
        Ok(out)
    }

    /// Appends to `out` the client's key of a Region key: what [`Self::region_key`] was given. On an
    /// error `out` is as it was.
    pub fn client_key_into(
        self,
        mode: KeyMode,
        region_key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if !self.is_encoded(mode) {
            self.check_key(mode, region_key)?;
            out.extend_from_slice(region_key);
            return Ok(());
        }
        let before = out.len();
        let rest = keys::decode_into(region_key, out)?;
        let result = match rest {
            [] => self.check_key(mode, &out[before..]).map(|_| ()),
            _ => Err(CodecError::TrailingBytes {
                len_bytes: rest.len(),
            }),
        };
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// The client's key of a Region key: what [`Self::region_key`] was given.
    pub fn client_key(self, mode: KeyMode, region_key: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.client_key_into(mode, region_key, &mut out)?;
        Ok(out)
    }

    /// The range of Region keys of a client's range `[start, end)`.
    ///
    /// Empty bounds mean "unbounded": under V1 they stay empty, under V2 they become the bounds of
    /// the keyspace that the other bound names. An equal start and end give an empty range.
    ///
    /// # Errors
    ///
    /// An inverted range; under V2 a range without any bound, a bound of the wrong mode, and bounds
    /// in two keyspaces (the keyspace's own end, its prefix plus one, counts as inside).
    pub fn region_range(self, mode: KeyMode, start: &[u8], end: &[u8]) -> Result<KeyRange> {
        let (start, end) = match self {
            ApiVersion::V1 => (start.to_vec(), end.to_vec()),
            ApiVersion::V2 => v2_bounds(mode, start, end)?,
        };
        if !end.is_empty() && start > end {
            return Err(CodecError::InvertedRange);
        }
        let bound = |key: Vec<u8>| {
            if key.is_empty() || !self.is_encoded(mode) {
                key
            } else {
                keys::encode(&key)
            }
        };
        Ok(KeyRange {
            start: bound(start),
            end: bound(end),
        })
    }

    fn append(self, mode: KeyMode, key: &[u8], out: &mut Vec<u8>) {
        if self.is_encoded(mode) {
            keys::encode_into(key, out);
        } else {
            out.extend_from_slice(key);
        }
    }
}

/// Both bounds of a V2 range as full client keys, in one keyspace.
fn v2_bounds(mode: KeyMode, start: &[u8], end: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    if start.is_empty() {
        let keyspace = keyspace_of_end(mode, end)?;
        return Ok((keyspace.prefix(mode).to_vec(), end.to_vec()));
    }
    let (keyspace, _) = split_v2(mode, start)?;
    if end.is_empty() {
        return Ok((start.to_vec(), keyspace.end(mode).to_vec()));
    }
    if end != keyspace.end(mode) {
        let (found, _) = split_v2(mode, end)?;
        if found < keyspace {
            return Err(CodecError::InvertedRange);
        }
        if found != keyspace {
            return Err(CodecError::WrongKeyspace {
                expected: keyspace,
                found,
            });
        }
    }
    Ok((start.to_vec(), end.to_vec()))
}

/// The keyspace of an end bound that stands alone. A bare prefix ends the keyspace before it, since
/// nothing in its own keyspace lies below it.
fn keyspace_of_end(mode: KeyMode, end: &[u8]) -> Result<KeyspaceId> {
    let last = KeyspaceId(KeyspaceId::MAX);
    if end == last.end(mode) {
        return Ok(last);
    }
    let (keyspace, user_key) = split_v2(mode, end)?;
    if user_key.is_empty() && keyspace.0 > 0 {
        return Ok(KeyspaceId(keyspace.0 - 1));
    }
    Ok(keyspace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RAW: KeyMode = KeyMode::Raw;
    const ALL: [(ApiVersion, KeyMode); 4] = [
        (ApiVersion::V1, KeyMode::Raw),
        (ApiVersion::V1, KeyMode::Txn),
        (ApiVersion::V2, KeyMode::Raw),
        (ApiVersion::V2, KeyMode::Txn),
    ];

    #[test]
    fn the_four_modes_map_keys_as_clients_expect() {
        assert_eq!(ApiVersion::V1.region_key(RAW, b"k").unwrap(), b"k");
        assert_eq!(
            ApiVersion::V1.region_key(KeyMode::Txn, b"k").unwrap(),
            keys::encode(b"k")
        );
        assert_eq!(
            ApiVersion::V2.region_key(RAW, b"r\0\0\x01k").unwrap(),
            keys::encode(b"r\0\0\x01k")
        );
        assert_eq!(
            ApiVersion::V2
                .region_key(KeyMode::Txn, b"x\0\0\x01k")
                .unwrap(),
            keys::encode(b"x\0\0\x01k")
        );
    }

    #[test]
    fn keys_of_another_mode_or_version_are_refused() {
        let v2 = ApiVersion::V2;
        assert_eq!(
            v2.region_key(RAW, b"x\0\0\0k"),
            Err(CodecError::WrongPrefix {
                expected: RAW,
                found: b'x'
            })
        );
        assert_eq!(
            v2.region_key(RAW, b"r\0\0"),
            Err(CodecError::KeyTooShort { len_bytes: 3 })
        );
        assert_eq!(v2.region_key(RAW, b"r\0\0\0"), Err(CodecError::EmptyKey));
        assert_eq!(v2.region_key(RAW, b""), Err(CodecError::EmptyKey));
        assert_eq!(
            ApiVersion::V1.region_key(RAW, b""),
            Err(CodecError::EmptyKey)
        );
        assert_eq!(
            v2.check_key_in(RAW, b"r\0\0\x05k", KeyspaceId::DEFAULT),
            Err(CodecError::WrongKeyspace {
                expected: KeyspaceId::DEFAULT,
                found: KeyspaceId(5)
            })
        );
        assert_eq!(
            ApiVersion::V1.check_key_in(RAW, b"k", KeyspaceId::DEFAULT),
            Ok(())
        );
    }

    #[test]
    fn errors_say_what_was_expected() {
        let error = ApiVersion::V2.region_key(RAW, b"key").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a raw key starts with 'r' under API V2, this one with 0x6b"
        );
    }

    #[test]
    fn the_last_keyspace_ends_at_the_next_mode_byte() {
        let last = KeyspaceId::new(KeyspaceId::MAX).unwrap();
        assert_eq!(last.prefix(RAW), *b"r\xff\xff\xff");
        assert_eq!(last.end(RAW), *b"s\0\0\0");
        assert_eq!(KeyspaceId::DEFAULT.end(RAW), *b"r\0\0\x01");
        let id = KeyspaceId::MAX + 1;
        assert_eq!(
            KeyspaceId::new(id),
            Err(CodecError::KeyspaceIdTooLarge { id })
        );
    }

    #[test]
    fn unbounded_v1_ends_stay_empty() {
        let range =
            |start: &[u8], end: &[u8]| ApiVersion::V1.region_range(RAW, start, end).unwrap();
        assert_eq!(range(b"", b""), KeyRange::default());
        assert_eq!(
            range(b"a", b""),
            KeyRange {
                start: b"a".to_vec(),
                end: vec![]
            }
        );
        let txn = ApiVersion::V1
            .region_range(KeyMode::Txn, b"", b"k")
            .unwrap();
        assert_eq!(
            txn,
            KeyRange {
                start: vec![],
                end: keys::encode(b"k")
            }
        );
        assert_eq!(
            ApiVersion::V1.region_range(RAW, b"b", b"a"),
            Err(CodecError::InvertedRange)
        );
        assert!(range(b"a", b"a").is_empty());
    }

    #[test]
    fn unbounded_v2_ends_become_those_of_the_keyspace() {
        let range = |start: &[u8], end: &[u8]| {
            let range = ApiVersion::V2.region_range(RAW, start, end)?;
            Ok((
                keys::decode(&range.start).unwrap(),
                keys::decode(&range.end).unwrap(),
            ))
        };
        let both = |start: &[u8], end: &[u8]| Ok((start.to_vec(), end.to_vec()));
        assert_eq!(range(b"r\0\0\0a", b""), both(b"r\0\0\0a", b"r\0\0\x01"));
        assert_eq!(range(b"", b"r\0\0\0b"), both(b"r\0\0\0", b"r\0\0\0b"));
        assert_eq!(range(b"", b"r\0\0\x01"), both(b"r\0\0\0", b"r\0\0\x01"));
        assert_eq!(range(b"", b"s\0\0\0"), both(b"r\xff\xff\xff", b"s\0\0\0"));
        assert_eq!(
            range(b"r\0\0\0", b"r\0\0\x01"),
            both(b"r\0\0\0", b"r\0\0\x01")
        );
        assert_eq!(range(b"", b""), Err(CodecError::EmptyKey));
        assert_eq!(
            range(b"r\0\0\x01a", b"r\0\0\0b"),
            Err(CodecError::InvertedRange)
        );
        assert_eq!(
            range(b"r\0\0\0b", b"r\0\0\0a"),
            Err(CodecError::InvertedRange)
        );
        assert_eq!(
            range(b"r\0\0\0a", b"r\0\0\x01b"),
            Err(CodecError::WrongKeyspace {
                expected: KeyspaceId(0),
                found: KeyspaceId(1)
            })
        );
        assert_eq!(
            range(b"r\0\0\0a", b"z"),
            Err(CodecError::WrongPrefix {
                expected: RAW,
                found: b'z'
            })
        );
    }

    #[test]
    fn a_region_key_of_another_mode_has_no_client_key() {
        let mut out = b"before".to_vec();
        let foreign = keys::encode(b"x\0\0\0k");
        assert!(
            ApiVersion::V2
                .client_key_into(RAW, &foreign, &mut out)
                .is_err()
        );
        let mut long = keys::encode(b"r\0\0\0k");
        long.push(1);
        assert!(
            ApiVersion::V2
                .client_key_into(RAW, &long, &mut out)
                .is_err()
        );
        assert_eq!(out, b"before");
    }

    fn client_key(version: ApiVersion, mode: KeyMode, keyspace: u32, user: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        if version == ApiVersion::V2 {
            key.extend_from_slice(&KeyspaceId(keyspace).prefix(mode));
        }
        key.extend_from_slice(user);
        key
    }

    proptest! {
        #[test]
        fn keys_round_trip_and_keep_their_order(
            which in 0usize..4,
            a in proptest::collection::vec(any::<u8>(), 1..20),
            b in proptest::collection::vec(any::<u8>(), 1..20),
            keyspaces in (0u32..3, 0u32..3),
        ) {
            let (version, mode) = ALL[which];
            let a = client_key(version, mode, keyspaces.0, &a);
            let b = client_key(version, mode, keyspaces.1, &b);
            let (a2, b2) = (version.region_key(mode, &a).unwrap(), version.region_key(mode, &b).unwrap());
            prop_assert_eq!(a.cmp(&b), a2.cmp(&b2));
            prop_assert_eq!(version.client_key(mode, &a2).unwrap(), a);
        }

        #[test]
        fn a_range_holds_the_region_keys_of_its_client_keys(
            which in 0usize..4,
            start in proptest::collection::vec(0u8..3, 0..4),
            end in proptest::collection::vec(0u8..3, 1..4),
            key in proptest::collection::vec(0u8..3, 1..4),
            unbounded in any::<bool>(),
        ) {
            let (version, mode) = ALL[which];
            let start = client_key(version, mode, 1, &start);
            let end = if unbounded { vec![] } else { client_key(version, mode, 1, &end) };
            let key = client_key(version, mode, 1, &key);
            let asked = KeyRange { start: start.clone(), end: end.clone() };
            match version.region_range(mode, &start, &end) {
                Ok(range) => {
                    let region_key = version.region_key(mode, &key).unwrap();
                    prop_assert_eq!(range.contains(&region_key), asked.contains(&key));
                }
                Err(error) => {
                    prop_assert_eq!(error, CodecError::InvertedRange);
                    prop_assert!(start > end);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            which in 0usize..4,
            head in prop_oneof![Just(&b"r"[..]), Just(&b"x\0"[..]), Just(&b"r\0\0\x01"[..]), Just(&b""[..])],
            tail in any::<Vec<u8>>(),
            end in any::<Vec<u8>>(),
        ) {
            let (version, mode) = ALL[which];
            let key = [head, &tail].concat();
            if let Ok(region_key) = version.region_key(mode, &key) {
                prop_assert_eq!(version.client_key(mode, &region_key).unwrap(), key.clone());
            }
            let _ = version.client_key(mode, &key);
            let _ = version.region_range(mode, &key, &end);
            let _ = version.region_range(mode, &end, &key);
            let _ = split_v2(mode, &key);
        }
    }
}
