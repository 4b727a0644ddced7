//! The keys that clients use: in every Region a few single ones and a pair.
//!
//! **Invariants.** Keys are numbered; a Region's keys lie in its range, and nothing lies between the
//! two keys of a pair.

use bytes::Bytes;
use raftstore::bootstrap::first_regions;
use types::{ApiVersion, Region, RegionId, keys, raw_value};

const SINGLES: usize = 4;
const PAIR: usize = 2;
const PER_REGION: usize = SINGLES + PAIR;

/// The keys of a cluster, by number.
#[derive(Debug)]
pub(crate) struct Keys {
    regions: Vec<Region>,
    keys: Vec<Vec<u8>>,
    singles: Vec<Vec<usize>>,
}

impl Keys {
    /// The keys of a cluster with so many first members.
    pub(crate) fn new(members: usize, api: ApiVersion) -> Self {
        let regions = first_regions(members, api);
        let mut all = Vec::new();
        let mut singles = Vec::new();
        for region in &regions {
            singles.push((all.len()..all.len() + SINGLES).collect());
            all.extend((0..PER_REGION).map(|number| key(region, api, number)));
        }
        Self {
            regions,
            keys: all,
            singles,
        }
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    pub(crate) fn key(&self, number: usize) -> &[u8] {
        &self.keys[number]
    }

    /// The numbers of all keys of a Region.
    pub(crate) fn of(&self, region: usize) -> std::ops::Range<usize> {
        region * PER_REGION..(region + 1) * PER_REGION
    }

    /// The keys of a Region that are written alone.
    pub(crate) fn singles(&self, region: usize) -> &[usize] {
        &self.singles[region]
    }

    /// The keys of a Region that are written together.
    pub(crate) fn pair(&self, region: usize) -> [usize; PAIR] {
        let first = region * PER_REGION + SINGLES;
        [first, first + 1]
    }

    /// The end of a range that begins with the first key of the pair and holds the pair alone.
    pub(crate) fn pair_end(&self, region: usize) -> Bytes {
        let [_, second] = self.pair(region);
        let mut end = self.keys[second].clone();
        end.push(0);
        Bytes::from(end)
    }

    /// A value as it is stored.
    pub(crate) fn encode_value(value: u64) -> Bytes {
        Bytes::from(raw_value::encode(&value.to_be_bytes(), None))
    }

    /// The value from what is stored.
    pub(crate) fn decode_value(stored: &Bytes) -> Result<u64, String> {
        let decoded = types::RawValueRef::decode(stored).map_err(|error| error.to_string())?;
        let value = decoded.user_value.try_into();
        let value = value.map_err(|_| format!("not a value of ours: {stored:02x?}"))?;
        Ok(u64::from_be_bytes(value))
    }
}

fn key(region: &Region, api: ApiVersion, number: usize) -> Vec<u8> {
    let plain = format!("k{number}").into_bytes();
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
    fn every_key_is_its_regions_and_no_key_is_there_twice() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let keys = Keys::new(3, api);
            let mut seen = std::collections::BTreeSet::new();
            for (number, region) in keys.regions().iter().enumerate() {
                for key in keys.of(number) {
                    assert!(seen.insert((types::Space::of(region.id).prefix(), keys.key(key))));
                }
                let [first, second] = keys.pair(number);
                assert!(keys.key(first) < keys.key(second));
                assert!(keys.pair_end(number).as_ref() > keys.key(second));
            }
        }
    }

    #[test]
    fn a_value_reads_back() {
        assert_eq!(Keys::decode_value(&Keys::encode_value(7)), Ok(7));
        assert!(Keys::decode_value(&Bytes::from_static(b"\0short")).is_err());
    }
}
