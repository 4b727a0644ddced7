//! Replicas are equal wherever they have applied equally far.
//!
//! **Invariants.** The first replica that comes to an index says what the Region holds there; every
//! other one, and the same one after a crash, must agree.

use crate::trace::digest;
use engine::{Cf, KvEngine, KvIterator, KvSnapshot, Result};
use std::collections::BTreeMap;
use types::{Region, RegionId, Space};

/// The families that hold a Region's data.
const FAMILIES: [Cf; 3] = [Cf::Default, Cf::Lock, Cf::Write];

/// What each Region held at each index, as a digest.
#[derive(Debug, Default)]
pub(crate) struct ReplicaChecker {
    contents: BTreeMap<(RegionId, u64), u64>,
}

impl ReplicaChecker {
    /// A replica holds this at that index.
    pub(crate) fn observe(
        &mut self,
        region: RegionId,
        applied_index: u64,
        contents: u64,
    ) -> std::result::Result<(), String> {
        let known = *self
            .contents
            .entry((region, applied_index))
            .or_insert(contents);
        match known == contents {
            true => Ok(()),
            false => Err(format!(
                "replicas of Region {region} differ at applied index {applied_index}"
            )),
        }
    }
}

/// A digest of all that the Region holds.
pub(crate) fn contents<K: KvEngine>(kv: &K, region: &Region) -> Result<u64> {
    let space = Space::of(region.id);
    let lower = space.key(&region.range.start);
    let upper = space.end_key(&region.range.end);
    let snapshot = kv.snapshot();
    let mut hash = 0;
    for (number, cf) in (1u8..).zip(FAMILIES) {
        hash = digest(hash, &[number]);
        let mut iter = snapshot.iter(cf, &lower, &upper)?;
        let mut valid = iter.seek_to_first()?;
        while valid {
            for part in [iter.key(), iter.value()] {
                hash = digest(hash, &(part.len() as u64).to_be_bytes());
                hash = digest(hash, part);
            }
            valid = iter.next()?;
        }
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::Disk;
    use engine::{Durability, KvBatch};

    #[test]
    fn contents_are_those_of_the_range_and_differences_are_found() {
        let region = Region {
            id: RegionId(2),
            range: types::KeyRange {
                start: b"b".to_vec(),
                end: b"d".to_vec(),
            },
            ..Region::default()
        };
        let kv = Disk::new().open_kv("kv").unwrap();
        let mut digests = vec![contents(&kv, &region).unwrap()];
        for key in [b"za", b"zb", b"zd", b"zc"] {
            let mut batch = kv.batch();
            batch.put(Cf::Default, key, b"v");
            kv.write(&mut batch, Durability::Buffered).unwrap();
            digests.push(contents(&kv, &region).unwrap());
        }
        assert_eq!(digests[0], digests[1], "before the range");
        assert_ne!(digests[1], digests[2]);
        assert_eq!(digests[2], digests[3], "behind the range");
        assert_ne!(digests[3], digests[4]);

        let mut checker = ReplicaChecker::default();
        assert!(checker.observe(RegionId(2), 7, digests[0]).is_ok());
        assert!(checker.observe(RegionId(3), 7, digests[2]).is_ok());
        assert!(checker.observe(RegionId(2), 7, digests[0]).is_ok());
        assert!(checker.observe(RegionId(2), 7, digests[2]).is_err());
    }
}
