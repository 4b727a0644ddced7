//! About how many bytes a range of keys takes.
//!
//! **Why not RocksDB's own estimate.** The binding doesn't have it. The list of table files with
//! their first and last keys is there; a file that a bound cuts counts by where the bound lies
//! between its keys, read as numbers. What is in memory counts as one more file.
//!
//! **Why cached.** The list is long in a large database and changes only with a flush or a
//! compaction; RocksDB counts these.
//!
//! **Not here.** Exactness: deleted data counts until it is compacted, and skewed keys within one
//! file mislead.

use crate::kv::Database;
use engine::{Cf, Result};
use parking_lot::Mutex;
use rocksdb::{ReadOptions, ReadTier};
use std::sync::Arc;

const VERSION: &str = "rocksdb.current-super-version-number";
const MEMORY: &str = "rocksdb.cur-size-all-mem-tables";

/// A run of keys and its size.
#[derive(Clone, Debug)]
struct Extent {
    first: Vec<u8>,
    last: Vec<u8>,
    bytes: u64,
}

/// The files of one family, as of a version of it.
#[derive(Clone, Default)]
struct Files {
    version: Option<u64>,
    extents: Arc<Vec<Extent>>,
}

/// Estimates sizes in one database.
#[derive(Default)]
pub(crate) struct SizeEstimator {
    families: [Mutex<Files>; Cf::ALL.len()],
}

impl SizeEstimator {
    pub(crate) fn estimate(
        &self,
        database: &Database,
        cf: Cf,
        start: &[u8],
        end: &[u8],
    ) -> Result<u64> {
        if !end.is_empty() && start >= end {
            return Ok(0);
        }
        let files = self.files(database, cf)?;
        let memory = memory(database, cf)?;
        let share = |extent: &Extent| (extent.bytes as f64 * extent.share(start, end)) as u64;
        Ok(files.iter().chain(&memory).map(share).sum())
    }

    fn files(&self, database: &Database, cf: Cf) -> Result<Arc<Vec<Extent>>> {
        let version = property(database, cf, VERSION)?;
        let mut files = self.families[cf.position()].lock();
        if version.is_none() || files.version != version {
            let live = database.db.live_files();
            let live = live.map_err(|error| database.translate(error, "list files"))?;
            let extents = live
                .into_iter()
                .filter(|file| file.column_family_name == cf.name())
                .map(|file| Extent {
                    first: file.start_key.unwrap_or_default(),
                    last: file.end_key.unwrap_or_default(),
                    bytes: file.size as u64,
                });
            files.extents = Arc::new(extents.collect());
            files.version = version;
        }
        Ok(files.extents.clone())
    }
}

fn property(database: &Database, cf: Cf, name: &str) -> Result<Option<u64>> {
    let value = database.db.property_int_value_cf(database.family(cf), name);
    value.map_err(|error| database.translate(error, "read a property"))
}

/// What is in memory, if anything is.
fn memory(database: &Database, cf: Cf) -> Result<Option<Extent>> {
    let mut options = ReadOptions::default();
    options.set_read_tier(ReadTier::Memtable);
    let mut iter = database
        .db
        .raw_iterator_cf_opt(database.family(cf), options);
    iter.seek_to_first();
    let Some(first) = iter.key().map(<[u8]>::to_vec) else {
        let status = iter.status();
        return match status {
            Ok(()) => Ok(None),
            Err(error) => Err(database.translate(error, "iterate")),
        };
    };
    iter.seek_to_last();
    let last = iter.key().map_or_else(|| first.clone(), <[u8]>::to_vec);
    let bytes = property(database, cf, MEMORY)?.unwrap_or_default();
    Ok(Some(Extent { first, last, bytes }))
}

impl Extent {
    /// The part of the extent that `[start, end)` holds, between zero and one.
    fn share(&self, start: &[u8], end: &[u8]) -> f64 {
        let before_all = !end.is_empty() && end <= self.first.as_slice();
        if before_all || start > self.last.as_slice() {
            return 0.0;
        }
        let from = if start <= self.first.as_slice() {
            0.0
        } else {
            self.position(start)
        };
        let to = if end.is_empty() || end > self.last.as_slice() {
            1.0
        } else {
            self.position(end)
        };
        (to - from).clamp(0.0, 1.0)
    }

    /// Where `key`, which lies between the first and the last, lies between them.
    fn position(&self, key: &[u8]) -> f64 {
        let common = self
            .first
            .iter()
            .zip(&self.last)
            .take_while(|(a, b)| a == b)
            .count();
        let number = |key: &[u8]| {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(key.iter().skip(common)) {
                *to = *from;
            }
            u64::from_be_bytes(bytes) as f64
        };
        let (first, last) = (number(&self.first), number(&self.last));
        if last <= first {
            return 0.5;
        }
        ((number(key) - first) / (last - first)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first: &[u8], last: &[u8]) -> Extent {
        Extent {
            first: first.to_vec(),
            last: last.to_vec(),
            bytes: 100,
        }
    }

    #[test]
    fn a_range_outside_of_an_extent_has_no_share_and_one_around_it_has_all() {
        let extent = extent(b"b", b"d");
        assert_eq!(extent.share(b"", b"b"), 0.0);
        assert_eq!(extent.share(b"e", b""), 0.0);
        assert_eq!(extent.share(b"", b""), 1.0);
        assert_eq!(extent.share(b"b", b"e"), 1.0);
    }

    #[test]
    fn a_bound_within_an_extent_counts_by_its_place_behind_the_common_prefix() {
        let extent = extent(b"prefix\x00", b"prefix\x80");
        let half = extent.share(b"", b"prefix\x40");
        assert!((half - 0.5).abs() < 0.01, "{half}");
        let quarter = extent.share(b"prefix\x60", b"");
        assert!((quarter - 0.25).abs() < 0.01, "{quarter}");
    }

    #[test]
    fn keys_that_differ_late_share_halves() {
        let extent = extent(b"k\0\0\0\0\0\0\0\0a", b"k\0\0\0\0\0\0\0\0a\0");
        assert!(extent.share(b"k\0\0\0\0\0\0\0\0a", b"").is_finite());
    }
}
