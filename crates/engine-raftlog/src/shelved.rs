//! A log that nobody writes to, as one value.
//!
//! **Why.** raft-engine keeps two and a half kilobytes in memory for each Region, however short its log is, and
//! most Regions of a large store are idle. A value costs a tenth of that.
//!
//! ```text
//! value:  1 | states (1) | hard state | apply state | first index (8) | entries
//! entry:  term (8) | kind (1) | length (4) | data
//! ```
//!
//! Of the states, those are there that are named. An empty value stands for a log that was taken back: a
//! removed key would not do, since raft-engine forgets that it was removed together with the file that says so.
//!
//! **Invariants.** `decode(encode(x)) == x`; decoding never panics, whatever the bytes.
//!
//! **Not here.** When a log is put on a shelf, and taken back: see `shelf`.

use engine::bounds::Bounds;
use engine::codec;
use types::{ApplyState, EntryKind, HardState, LogEntry, RegionId};

/// Shelves are raft-engine's groups with the highest ids, which no Region has.
const SHELVES: u64 = 64;
const FIRST_SHELF: u64 = u64::MAX - SHELVES + 1;
/// So that no key looks like one of raft-engine's own.
const KEY_PREFIX: u8 = b'r';

const VERSION: u8 = 1;
const HARD: u8 = 1;
const APPLY: u8 = 2;
const HARD_BYTES: usize = 25;
const APPLY_BYTES: usize = 33;

/// The group that holds the log of `region` when it is shelved.
pub(crate) fn shelf_of(region: RegionId) -> u64 {
    FIRST_SHELF + region.get() % SHELVES
}

/// All of them.
pub(crate) fn shelves() -> impl Iterator<Item = u64> {
    FIRST_SHELF..=u64::MAX
}

/// Whether a group of raft-engine's is one.
pub(crate) fn is_shelf(group: u64) -> bool {
    group >= FIRST_SHELF
}

/// The key of `region` there.
pub(crate) fn key(region: RegionId) -> Vec<u8> {
    let mut key = vec![KEY_PREFIX];
    key.extend_from_slice(&region.get().to_be_bytes());
    key
}

/// Whose key it is.
pub(crate) fn region_of(key: &[u8]) -> Option<RegionId> {
    let number = key.strip_prefix(&[KEY_PREFIX])?;
    Some(RegionId(u64::from_be_bytes(number.try_into().ok()?)))
}

/// All of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelved {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) apply_state: Option<ApplyState>,
    /// Contiguous.
    pub(crate) entries: Vec<LogEntry>,
}

impl Shelved {
    pub(crate) fn bounds(&self) -> Bounds {
        Some((self.entries.first()?.index, self.entries.last()?.index))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut states = 0;
        let mut bytes = vec![VERSION, 0];
        if let Some(state) = &self.hard_state {
            states |= HARD;
            bytes.extend(codec::encode_hard_state(state));
        }
        if let Some(state) = &self.apply_state {
            states |= APPLY;
            bytes.extend(codec::encode_apply_state(state));
        }
        bytes[1] = states;
        let first = self.bounds().map_or(0, |(first, _)| first);
        bytes.extend_from_slice(&first.to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.term.to_be_bytes());
            bytes.push(kind_number(entry.kind));
            bytes.extend_from_slice(&(entry.data.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&entry.data);
        }
        bytes.shrink_to_fit();
        bytes
    }

    /// The log in `bytes`; none if they aren't one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let [version, states] = array(rest)?;
        if version != VERSION || states & !(HARD | APPLY) != 0 {
            return None;
        }
        let mut log = Self::default();
        if states & HARD != 0 {
            log.hard_state = Some(codec::decode_hard_state(take(rest, HARD_BYTES)?)?);
        }
        if states & APPLY != 0 {
            log.apply_state = Some(codec::decode_apply_state(take(rest, APPLY_BYTES)?)?);
        }
        let first = u64::from_be_bytes(array(rest)?);
        if rest.is_empty() != (first == 0) {
            return None;
        }
        while !rest.is_empty() {
            let index = first.checked_add(log.entries.len() as u64)?;
            let term = u64::from_be_bytes(array(rest)?);
            let kind = kind(array::<1>(rest)?[0])?;
            let length = u32::from_be_bytes(array(rest)?);
            let data = take(rest, length as usize)?.to_vec().into();
            log.entries.push(LogEntry {
                index,
                term,
                kind,
                data,
            });
        }
        Some(log)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

fn kind_number(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    }
}

fn kind(number: u8) -> Option<EntryKind> {
    Some(match number {
        0 => EntryKind::Normal,
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::PeerId;

    fn log() -> Shelved {
        let entry = |index, kind, data: &'static [u8]| LogEntry {
            index,
            term: 7,
            kind,
            data: data.into(),
        };
        Shelved {
            hard_state: Some(HardState {
                term: 8,
                vote: PeerId(2),
                commit: 4,
            }),
            apply_state: Some(ApplyState {
                applied_index: 4,
                ..ApplyState::default()
            }),
            entries: vec![
                entry(4, EntryKind::Normal, b""),
                entry(5, EntryKind::ConfChangeV2, b"change"),
            ],
        }
    }

    #[test]
    fn a_log_comes_back_as_it_was_encoded() {
        let without = |what: fn(&mut Shelved)| {
            let mut log = log();
            what(&mut log);
            log
        };
        let mut last = log();
        last.entries.truncate(1);
        last.entries[0].index = u64::MAX;
        for log in [
            log(),
            without(|log| log.hard_state = None),
            without(|log| log.apply_state = None),
            without(|log| log.entries.clear()),
            last,
        ] {
            assert_eq!(Shelved::decode(&log.encode()), Some(log));
        }
    }

    #[test]
    fn other_bytes_are_no_log() {
        let bytes = log().encode();
        for length in 0..bytes.len() {
            let cut = Shelved::decode(&bytes[..length]);
            assert!(cut.is_none_or(|cut| cut.entries.len() == 1), "{length}");
        }
        let mut state = bytes.clone();
        state[1] |= 4;
        assert_eq!(Shelved::decode(&state), None);
    }

    #[test]
    fn a_key_names_its_region() {
        let region = RegionId(0x5f5f_0000_0000_0001);
        assert_eq!(region_of(&key(region)), Some(region));
        assert!(is_shelf(shelf_of(region)));
        assert_eq!(region_of(b"r1"), None);
        assert!(shelves().all(is_shelf));
    }

    #[test]
    fn fuzz_shelved() {
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "shelved")
            .seed(log().encode())
            .run(|input| {
                let log = Shelved::decode(input);
                if let Some(log) = &log {
                    assert_eq!(log.encode(), input);
                }
                log.map(|log| log.entries.len())
            });
    }
}
