//! [`RocksTuner`]: what of the options can be changed while the database is open.
//!
//! **Why apart.** Who tunes must not keep the database open: a stop closes it, whoever still holds a tuner.
//!
//! **Not here.** The number of background jobs and their rate, which RocksDB's interface for C fixes when the
//! database is opened.

use crate::RocksOptions;
use crate::kv::Database;
use crate::options::level1_bytes;
use engine::{Cf, Error, Result};
use rocksdb::Cache;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Changes the tuning of a database as long as it is open.
pub struct RocksTuner {
    database: Weak<Database>,
    cache: Cache,
    sizes: Arc<Sizes>,
}

/// What the caches and buffers of a database may have, in bytes.
pub(crate) struct Sizes {
    pub(crate) cache: AtomicUsize,
    /// The write buffer of each family that is written much.
    pub(crate) buffer: AtomicUsize,
}

impl Sizes {
    pub(crate) fn of(options: &RocksOptions) -> Self {
        Self {
            cache: AtomicUsize::new(options.block_cache_bytes),
            buffer: AtomicUsize::new(options.buffer_bytes(Cf::Default)),
        }
    }
}

/// So many write buffers of a family are there at the same time, unless flushes are slow.
const BUFFERS: usize = 2;

impl RocksTuner {
    pub(crate) fn new(database: &Arc<Database>, cache: &Cache, sizes: &Arc<Sizes>) -> Self {
        Self {
            database: Arc::downgrade(database),
            cache: cache.clone(),
            sizes: Arc::clone(sizes),
        }
    }

    /// What the block cache and the memtables may still grow by. Zero once the database is closed. Bytes.
    pub fn unfilled_bytes(&self) -> usize {
        let Some(database) = self.database.upgrade() else {
            return 0;
        };
        let capacity = self.sizes.cache.load(Ordering::Relaxed);
        let cache = capacity.saturating_sub(self.cache.get_usage());
        let buffers = self.sizes.buffer.load(Ordering::Relaxed) * BUFFERS;
        let used = Cf::ALL.into_iter().map(|cf| {
            let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
            let value = database
                .db
                .property_int_value_cf(database.family(cf), property);
            value.ok().flatten().unwrap_or(0)
        });
        let used = usize::try_from(used.sum::<u64>()).unwrap_or(usize::MAX);
        cache.saturating_add(buffers.saturating_sub(used))
    }

    /// Goes by the write buffers and the block cache of `options` from now on. A cache that shrinks lets go of
    /// blocks at once.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the database is closed; otherwise what RocksDB says against it.
    pub fn apply(&self, options: &RocksOptions) -> Result<()> {
        let database = self.database.upgrade().ok_or(Error::Stopped {
            reason: "the database is closed",
        })?;
        for cf in Cf::ALL {
            let buffer = options.buffer_bytes(cf);
            let wanted = [
                ("write_buffer_size", &*buffer.to_string()),
                (
                    "max_bytes_for_level_base",
                    &*level1_bytes(buffer).to_string(),
                ),
            ];
            let changed = database.db.set_options_cf(database.family(cf), &wanted);
            changed.map_err(|error| database.translate(error, "change the options of"))?;
        }
        self.cache.clone().set_capacity(options.block_cache_bytes);
        let (cache, buffer) = (options.block_cache_bytes, options.buffer_bytes(Cf::Default));
        self.sizes.cache.store(cache, Ordering::Relaxed);
        self.sizes.buffer.store(buffer, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RocksKv;
    use engine::{Durability, KvBatch, KvEngine};

    fn put(kv: &RocksKv, from: u32, pairs: u32) {
        let mut batch = kv.batch();
        for number in from..from + pairs {
            batch.put(Cf::Default, &number.to_be_bytes(), &[7; 1_000]);
        }
        kv.write(&mut batch, Durability::Buffered).unwrap();
    }

    /// Bytes of the family's memtables, the flushed ones included that are still in memory.
    fn buffered(kv: &RocksKv) -> u64 {
        let database = kv.tuner().database.upgrade().unwrap();
        let family = database.family(Cf::Default);
        let property = rocksdb::properties::CUR_SIZE_ACTIVE_MEM_TABLE;
        let value = database.db.property_int_value_cf(family, property);
        value.unwrap().unwrap()
    }

    #[test]
    fn a_smaller_write_buffer_is_flushed_earlier_and_all_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let kv = RocksKv::open(folder.path(), &RocksOptions::default()).unwrap();
        put(&kv, 0, 4_000);
        assert!(buffered(&kv) > 3_000_000);
        let smaller = RocksOptions {
            write_buffer_bytes: 1 << 20,
            block_cache_bytes: 1 << 20,
            ..RocksOptions::default()
        };
        kv.tuner().apply(&smaller).unwrap();
        for number in 0..8 {
            put(&kv, 4_000 + number * 1_000, 1_000);
        }
        assert!(buffered(&kv) < 3_000_000);
        let snapshot = kv.snapshot();
        for number in 0_u32..12_000 {
            let value = engine::KvSnapshot::get(&snapshot, Cf::Default, &number.to_be_bytes());
            assert!(value.unwrap().is_some());
        }
    }

    #[test]
    fn what_is_cached_and_buffered_is_no_more_to_come() {
        let folder = tempfile::tempdir().unwrap();
        let options = RocksOptions {
            block_cache_bytes: 8 << 20,
            write_buffer_bytes: 4 << 20,
            ..RocksOptions::default()
        };
        let kv = RocksKv::open(folder.path(), &options).unwrap();
        let tuner = kv.tuner();
        let empty = tuner.unfilled_bytes();
        assert!((14 << 20..=16 << 20).contains(&empty), "{empty}");
        put(&kv, 0, 2_000);
        let written = tuner.unfilled_bytes();
        assert!(written + 1_900_000 < empty, "{written}");
        let smaller = RocksOptions {
            block_cache_bytes: 1 << 20,
            ..options
        };
        kv.tuner().apply(&smaller).unwrap();
        assert!(tuner.unfilled_bytes() + (6 << 20) < written);
        drop(kv);
        assert_eq!(tuner.unfilled_bytes(), 0);
    }

    #[test]
    fn a_tuner_does_not_keep_the_database_open() {
        let folder = tempfile::tempdir().unwrap();
        let kv = RocksKv::open(folder.path(), &RocksOptions::default()).unwrap();
        let tuner = kv.tuner();
        drop(kv);
        let refused = tuner.apply(&RocksOptions::default());
        assert!(matches!(refused, Err(Error::Stopped { .. })));
        RocksKv::open(folder.path(), &RocksOptions::default()).unwrap();
    }
}
