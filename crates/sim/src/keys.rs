//! The keys that clients use, in *groups*: in every group a few single ones and a pair. A Region has one
//! group or several in a row, and is cut between groups only.
//!
//! **Invariants.** Keys are numbered; a group's keys lie in one Region at any time, and nothing lies
//! between the two keys of a pair.

use bytes::Bytes;
use raftstore::bootstrap::first_regions;
use types::{ApiVersion, Region, RegionId, Space, keys, raw_value};

const SINGLES: usize = 4;
const PAIR: usize = 2;
const PER_GROUP: usize = SINGLES + PAIR;
/// Groups of each first data Region.
const GROUPS: usize = 3;
/// The most that all first Regions have: one of placement, and two of data with API V2.
pub(crate) const GROUPS_MAX: usize = 1 + 2 * GROUPS;

/// The keys of a cluster, by number.
#[derive(Debug)]
pub(crate) struct Keys {
    groups: Vec<Group>,
    keys: Vec<Vec<u8>>,
    singles: Vec<Vec<usize>>,
}

/// Keys that stay together.
#[derive(Debug)]
struct Group {
    /// The Region that has them at the beginning.
    home: Region,
    /// Where the home may be cut so that the group begins a Region; none for its first one.
    cut: Option<Bytes>,
}

impl Keys {
    /// The keys of a cluster with so many first members.
    pub(crate) fn new(members: usize, api: ApiVersion) -> Self {
        let (mut groups, mut all, mut singles) = (Vec::new(), Vec::new(), Vec::new());
        for home in first_regions(members, api) {
            let count = match home.id == RegionId::PLACEMENT {
                true => 1,
                false => GROUPS,
            };
            for group in 0..count {
                singles.push((all.len()..all.len() + SINGLES).collect());
                all.extend(
                    (0..PER_GROUP).map(|number| key(&home, api, group, &format!("k{number}"))),
                );
                let cut = (group > 0).then(|| key(&home, api, group, "").into());
                groups.push(Group {
                    home: home.clone(),
                    cut,
                });
            }
        }
        Self {
            groups,
            keys: all,
            singles,
        }
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The Region that has a group at the beginning.
    pub(crate) fn home(&self, group: usize) -> &Region {
        &self.groups[group].home
    }

    /// Where a Region may be cut before a group.
    pub(crate) fn cut(&self, group: usize) -> Option<&Bytes> {
        self.groups[group].cut.as_ref()
    }

    /// Whether a Region has a group's keys.
    pub(crate) fn is_in(&self, group: usize, region: &Region) -> bool {
        let is_same_space = Space::of(region.id) == Space::of(self.home(group).id);
        is_same_space && region.range.contains(self.key(self.of(group).start))
    }

    pub(crate) fn key(&self, number: usize) -> &[u8] {
        &self.keys[number]
    }

    /// The numbers of all keys of a group.
    pub(crate) fn of(&self, group: usize) -> std::ops::Range<usize> {
        group * PER_GROUP..(group + 1) * PER_GROUP
    }

    /// The number of a key of a group.
    pub(crate) fn find(&self, group: usize, key: &[u8]) -> Option<usize> {
        self.of(group).find(|number| self.key(*number) == key)
    }

    /// The keys of a group that are written alone.
    pub(crate) fn singles(&self, group: usize) -> &[usize] {
        &self.singles[group]
    }

    /// The keys of a group that are written together.
    pub(crate) fn pair(&self, group: usize) -> [usize; PAIR] {
        let first = group * PER_GROUP + SINGLES;
        [first, first + 1]
    }

    /// The end of a range that begins with the first key of the pair and holds the pair alone.
    pub(crate) fn pair_end(&self, group: usize) -> Bytes {
        let [_, second] = self.pair(group);
        let mut end = self.keys[second].clone();
        end.push(0);
        Bytes::from(end)
    }

    /// A value as it is stored.
    pub(crate) fn encode_value(value: u64, expires_at_s: Option<u64>) -> Bytes {
        Bytes::from(raw_value::encode(&value.to_be_bytes(), expires_at_s))
    }

    /// The value from what is stored; none if it has expired by then.
    pub(crate) fn decode_value(stored: &Bytes, now_s: u64) -> Result<Option<u64>, String> {
        let decoded = types::RawValueRef::decode(stored).map_err(|error| error.to_string())?;
        if decoded.is_expired(now_s) {
            return Ok(None);
        }
        let value = decoded.user_value.try_into();
        let value = value.map_err(|_| format!("not a value of ours: {stored:02x?}"))?;
        Ok(Some(u64::from_be_bytes(value)))
    }
}

fn key(region: &Region, api: ApiVersion, group: usize, name: &str) -> Vec<u8> {
    let plain = format!("g{group}{name}").into_bytes();
    let key = match (api, region.id) {
        (ApiVersion::V1, _) | (_, RegionId::PLACEMENT) => plain,
        (ApiVersion::V2, id) => {
            let prefix: &[u8] = match id == RegionId::FIRST_DATA {
                true => b"r\0\0\0",
                false => b"x\0\0\0",
            };
            keys::encode(&[prefix, &plain].concat())
        }
    };
    assert!(region.range.contains(&key), "a key of its Region");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_its_groups_and_no_key_is_there_twice() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let keys = Keys::new(3, api);
            let mut seen = std::collections::BTreeSet::new();
            for group in 0..keys.groups() {
                let home = keys.home(group);
                for key in keys.of(group) {
                    assert!(seen.insert((Space::of(home.id).prefix(), keys.key(key))));
                }
                let [first, second] = keys.pair(group);
                assert!(keys.key(first) < keys.key(second));
                assert!(keys.pair_end(group).as_ref() > keys.key(second));
                assert!(keys.is_in(group, home));
            }
        }
    }

    #[test]
    fn a_cut_lies_between_groups() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let keys = Keys::new(3, api);
            let cuts = (0..keys.groups()).filter_map(|group| Some((group, keys.cut(group)?)));
            for (group, cut) in cuts {
                assert!(keys.of(group).all(|key| keys.key(key) >= &cut[..]));
                assert!(keys.of(group - 1).all(|key| keys.key(key) < &cut[..]));
            }
        }
    }

    #[test]
    fn a_value_reads_back_until_it_expires() {
        let stored = Keys::encode_value(7, Some(10));
        assert_eq!(Keys::decode_value(&stored, 9), Ok(Some(7)));
        assert_eq!(Keys::decode_value(&stored, 10), Ok(None));
        assert!(Keys::decode_value(&Bytes::from_static(b"\0short"), 0).is_err());
    }
}
