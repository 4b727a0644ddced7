//! How large the cluster is, and which keys there are.
//!
//! **Slots and generations.** At any moment the load works on [`SLOTS`] keys. A slot that has seen
//! [`OPERATIONS_PER_KEY`] operations goes on with a new key, its next generation: the search for an order of
//! operations grows with those that are open, of which every fault leaves some. Keys of the past are read once
//! more at the end.
//!
//! **Invariants.** All keys of a slot are in one Region, from the start of the run to its end.
//!
//! **Not here.** Which operation comes next (`load`).

use std::ops::Range;

/// Nodes of the cluster, each with a replica of each Region.
pub const NODES: usize = 3;
/// Keys that are worked on at the same time.
pub const SLOTS: usize = 8;
/// Regions that the keys are spread over.
pub const GROUPS: usize = 4;
/// Operations on a key, as many more as there are clients at the most.
pub const OPERATIONS_PER_KEY: u64 = 400;

/// A key: which slot it is in, and the how manyth of that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Which of those that are worked on side by side, from zero.
    pub slot: usize,
    /// From one.
    pub generation: u64,
}

impl Key {
    /// The key itself.
    pub fn bytes(self) -> Vec<u8> {
        format!("chaos/{:02}/{:08}", self.slot, self.generation).into_bytes()
    }

    /// The key that these bytes are.
    pub fn parse(bytes: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(bytes).ok()?.strip_prefix("chaos/")?;
        let (slot, generation) = text.split_once('/')?;
        Some(Key {
            slot: slot.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }
}

/// All keys of a slot.
pub fn slot_range(slot: usize) -> Range<Vec<u8>> {
    let bound = |slot: usize| format!("chaos/{slot:02}/").into_bytes();
    bound(slot)..bound(slot + 1)
}

/// The keys at which the key space is cut, so that each group is a Region.
pub fn cuts() -> Vec<Vec<u8>> {
    let group = SLOTS / GROUPS;
    (1..GROUPS).map(|at| slot_range(at * group).start).collect()
}

/// A key of this group's Region that the load does not use.
pub fn probe_key(group: usize) -> Vec<u8> {
    let mut key = slot_range(group * SLOTS / GROUPS).start;
    key.extend(b"probe");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_bytes_and_others_are_not_taken_for_one() {
        let key = Key {
            slot: 3,
            generation: 17,
        };
        assert_eq!(Key::parse(&key.bytes()), Some(key));
        assert!(slot_range(3).contains(&key.bytes()));
        assert_eq!(Key::parse(&probe_key(1)), None);
        assert_eq!(Key::parse(b"another"), None);
    }

    #[test]
    fn each_group_has_its_slots_and_its_probe_in_one_region() {
        let region = |key: &[u8]| cuts().iter().filter(|cut| key >= &cut[..]).count();
        for slot in 0..SLOTS {
            let group = slot / (SLOTS / GROUPS);
            let key = Key {
                slot,
                generation: 1,
            };
            assert_eq!(region(&key.bytes()), group);
        }
        for group in 0..GROUPS {
            assert_eq!(region(&probe_key(group)), group);
        }
    }
}
