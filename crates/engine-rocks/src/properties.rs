//! What RocksDB says of itself, read when somebody asks.
//!
//! **Cost.** Each property is a number that RocksDB keeps; none of these goes through files.
//!
//! **Not here.** RocksDB's statistics (cache hits, bytes by cause): they cost every operation something, and
//! are off.

use engine::Backlog;
use engine::meter::*;
use metrics::{Desc, Kind, Page};
use rocksdb::properties::{self, PropName};
use rocksdb::{ColumnFamily, DB};

/// Of each column family.
static OF_FAMILIES: &[(&Desc, &PropName)] = &[
    (&MEMTABLE_BYTES, properties::CUR_SIZE_ALL_MEM_TABLES),
    (
        &PENDING_COMPACTION_BYTES,
        properties::ESTIMATE_PENDING_COMPACTION_BYTES,
    ),
    (&SST_BYTES, properties::LIVE_SST_FILES_SIZE),
    (&KEYS, properties::ESTIMATE_NUM_KEYS),
    (&TABLE_READER_BYTES, properties::ESTIMATE_TABLE_READERS_MEM),
];

/// Of the whole database. The families share one cache.
static OF_DATABASE: &[(&Desc, &PropName)] = &[
    (&CACHE_BYTES, properties::BLOCK_CACHE_USAGE),
    (&CACHE_PINNED_BYTES, properties::BLOCK_CACHE_PINNED_USAGE),
    (&WRITE_STOPPED, properties::IS_WRITE_STOPPED),
    (&DELAYED_WRITE_RATE, properties::ACTUAL_DELAYED_WRITE_RATE),
    (&RUNNING_COMPACTIONS, properties::NUM_RUNNING_COMPACTIONS),
    (&RUNNING_FLUSHES, properties::NUM_RUNNING_FLUSHES),
    (&SNAPSHOTS, properties::NUM_SNAPSHOTS),
    (&BACKGROUND_ERRORS, properties::BACKGROUND_ERRORS),
];

/// Adds the properties of the database that is shown as `name`, and of these families.
pub(crate) fn collect(db: &DB, name: &str, families: &[(&str, &ColumnFamily)], page: &mut Page) {
    for (cf, family) in families {
        for (desc, property) in OF_FAMILIES {
            if let Ok(Some(value)) = db.property_int_value_cf(*family, *property) {
                page.gauge(desc, &[name, cf], value);
            }
        }
        if let Some(files) = level0_files(db, family) {
            page.gauge(&LEVEL0_FILES, &[name, cf], files);
        }
    }
    for (desc, property) in OF_DATABASE {
        if let Ok(Some(value)) = db.property_int_value(*property) {
            match desc.kind {
                Kind::Counter => page.counter(desc, &[name], value),
                Kind::Gauge | Kind::Histogram => page.gauge(desc, &[name], value),
            }
        }
    }
}

/// What these families have to catch up with.
pub(crate) fn backlog(db: &DB, families: &[&ColumnFamily]) -> Backlog {
    let number = |family: &ColumnFamily, property| {
        let value = db.property_int_value_cf(family, property);
        value.ok().flatten().unwrap_or(0)
    };
    let mut most = Backlog::default();
    for family in families {
        let memtables = number(family, properties::NUM_IMMUTABLE_MEM_TABLE);
        let bytes = number(family, properties::ESTIMATE_PENDING_COMPACTION_BYTES);
        let files = level0_files(db, family).unwrap_or(0);
        most.memtables = most.memtables.max(memtables);
        most.compaction_bytes = most.compaction_bytes.max(bytes);
        most.level0_files = most.level0_files.max(files);
    }
    most
}

/// This property is a text.
fn level0_files(db: &DB, family: &ColumnFamily) -> Option<u64> {
    let files = db.property_value_cf(family, properties::num_files_at_level(0));
    files.ok()??.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::{RocksKv, RocksLog, RocksOptions};
    use engine::meter::{ENGINES, ROCKSDB};
    use engine::{Cf, Durability, KvBatch, KvEngine, RaftLog};
    use metrics::Page;

    #[test]
    fn both_databases_show_every_family_and_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let options = RocksOptions::default();
        let kv = RocksKv::open(&folder.path().join("kv"), &options).unwrap();
        let log = RocksLog::open(&folder.path().join("log"), &options).unwrap();
        let mut batch = kv.batch();
        batch.put(Cf::Default, b"k", b"v");
        kv.write(&mut batch, Durability::Synced).unwrap();
        let mut page = Page::default();
        kv.collect(&mut page);
        log.collect(&mut page);
        let mut expected: Vec<_> = ENGINES
            .iter()
            .chain(ROCKSDB)
            .map(|desc| desc.name)
            .collect();
        expected.sort_unstable();
        assert_eq!(page.families().collect::<Vec<_>>(), expected);
        let text = page.render();
        for line in [
            "kontiki_kv_sync_seconds_count 1\n",
            "kontiki_rocksdb_estimated_keys{db=\"kv\",cf=\"default\"} 1\n",
            "kontiki_rocksdb_level0_files{db=\"raft\",cf=\"default\"} 0\n",
            "kontiki_rocksdb_write_stopped{db=\"kv\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
