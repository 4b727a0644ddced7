//! Keys and entry values of [`crate::RocksLog`].
//!
//! ```text
//! key:   region id (8, big-endian) | kind (1) | index (8, big-endian; entries only)
//! entry: version (1) | kind (1) | term (8, big-endian) | data
//! ```
//!
//! **Invariants.** Keys of a Region are neighbours, its entries in order of their indexes; decoding
//! never panics, whatever the bytes.
//!
//! **Not here.** Hard state and apply state: `engine::codec` has them.

use bytes::Bytes;
use types::{EntryKind, LogEntry, RegionId};

const HARD_STATE: u8 = 1;
const APPLY_STATE: u8 = 2;
const ENTRY: u8 = 3;
/// Behind every kind.
const END: u8 = 0xff;

const VERSION: u8 = 1;
const ENTRY_HEADER_BYTES: usize = 10;

/// A key without an index.
type RegionKey = [u8; 9];
/// The key of an entry.
type EntryKey = [u8; 17];

fn region_key(region: RegionId, kind: u8) -> RegionKey {
    let mut key = [kind; 9];
    key[..8].copy_from_slice(&region.get().to_be_bytes());
    key
}

pub(crate) fn hard_state_key(region: RegionId) -> RegionKey {
    region_key(region, HARD_STATE)
}

pub(crate) fn apply_state_key(region: RegionId) -> RegionKey {
    region_key(region, APPLY_STATE)
}

pub(crate) fn entry_key(region: RegionId, index: u64) -> EntryKey {
    let mut key = [0; 17];
    key[..9].copy_from_slice(&region_key(region, ENTRY));
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Before every key of the Region.
pub(crate) fn first_key(region: RegionId) -> RegionKey {
    region_key(region, 0)
}

/// Behind every key of the Region, before those of the next.
pub(crate) fn end_key(region: RegionId) -> RegionKey {
    region_key(region, END)
}

/// The Region of any key.
pub(crate) fn decode_region(key: &[u8]) -> Option<RegionId> {
    let id = key.first_chunk::<8>()?;
    Some(RegionId(u64::from_be_bytes(*id)))
}

/// The index in an entry's key; none for other keys.
pub(crate) fn decode_index(key: &[u8]) -> Option<u64> {
    let (head, index) = key.split_last_chunk::<8>()?;
    (head.len() == 9 && head[8] == ENTRY).then(|| u64::from_be_bytes(*index))
}

/// Replaces what is in `value` by the encoding of `entry`.
pub(crate) fn encode_entry(entry: &LogEntry, value: &mut Vec<u8>) {
    let kind = match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    };
    value.clear();
    value.reserve(ENTRY_HEADER_BYTES + entry.data.len());
    value.extend_from_slice(&[VERSION, kind]);
    value.extend_from_slice(&entry.term.to_be_bytes());
    value.extend_from_slice(&entry.data);
}

pub(crate) fn decode_entry(index: u64, value: &[u8]) -> Option<LogEntry> {
    let (header, data) = value.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
    let kind = match header[..2] {
        [VERSION, 0] => EntryKind::Normal,
        [VERSION, 1] => EntryKind::ConfChange,
        [VERSION, 2] => EntryKind::ConfChangeV2,
        _ => return None,
    };
    Some(LogEntry {
        index,
        term: u64::from_be_bytes(*header.last_chunk()?),
        kind,
        data: Bytes::copy_from_slice(data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_region_lie_between_its_first_and_its_end() {
        for region in [
            RegionId(1),
            RegionId(255),
            RegionId(256),
            RegionId(u64::MAX),
        ] {
            let keys = [
                &first_key(region)[..],
                &hard_state_key(region),
                &apply_state_key(region),
                &entry_key(region, 0),
                &entry_key(region, 255),
                &entry_key(region, 256),
                &entry_key(region, u64::MAX),
                &end_key(region),
            ];
            assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
            assert!(keys.iter().all(|key| decode_region(key) == Some(region)));
        }
        assert!(end_key(RegionId(1)) < first_key(RegionId(2)));
    }

    #[test]
    fn only_an_entry_key_has_an_index() {
        assert_eq!(decode_index(&entry_key(RegionId(9), 77)), Some(77));
        assert_eq!(decode_index(&hard_state_key(RegionId(9))), None);
        assert_eq!(decode_index(b""), None);
        assert_eq!(decode_region(b"short"), None);
    }

    #[test]
    fn fuzz_entries_and_their_keys() {
        let entry = LogEntry {
            term: 7,
            data: Bytes::from_static(b"data"),
            ..LogEntry::default()
        };
        let mut value = Vec::new();
        encode_entry(&entry, &mut value);
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "entries")
            .seed(value)
            .seed(entry_key(RegionId(2), 9))
            .run(|input| {
                let entry = decode_entry(5, input);
                if let Some(entry) = &entry {
                    let mut again = Vec::new();
                    encode_entry(entry, &mut again);
                    assert_eq!(again, input);
                }
                let (region, index) = (decode_region(input), decode_index(input));
                if let (Some(region), Some(index)) = (region, index) {
                    assert_eq!(entry_key(region, index), input);
                }
                (
                    entry.map(|entry| entry.data.len()),
                    region.is_some(),
                    index.is_some(),
                )
            });
    }

    #[test]
    fn an_entry_comes_back_and_foreign_bytes_do_not() {
        let entry = LogEntry {
            index: 5,
            term: u64::MAX,
            kind: EntryKind::ConfChangeV2,
            data: Bytes::from_static(b"data"),
        };
        let mut value = b"of another entry".to_vec();
        encode_entry(&entry, &mut value);
        assert_eq!(decode_entry(5, &value), Some(entry));
        assert_eq!(decode_entry(5, &value[..9]), None);
        let mut other = value.clone();
        other[0] = 9;
        assert_eq!(decode_entry(5, &other), None);
    }
}
