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
use std::sync::{Arc, Weak};

/// Changes the tuning of a database as long as it is open.
pub struct RocksTuner {
    database: Weak<Database>,
    cache: Cache,
}

impl RocksTuner {
    pub(crate) fn new(database: &Arc<Database>, cache: &Cache) -> Self {
        Self {
            database: Arc::downgrade(database),
            cache: cache.clone(),
        }
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
