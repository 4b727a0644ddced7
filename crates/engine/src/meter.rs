//! What engines count of themselves, under the same names whichever engine it is.
//!
//! **Why in the engines.** Only they know which of a write's time its sync took.
//!
//! **Invariants.** A sync is counted where the disk is asked, once for all who waited for it.
//!
//! **Not here.** What is particular to one engine, such as the properties of RocksDB: its families are here
//! ([`ROCKSDB`]), their numbers in its crate.

use metrics::{Counter, Desc, Histogram, Page, Stopwatch};

static LOG_WRITE: Desc = Desc::histogram(
    "kontiki_raftlog_write_seconds",
    "How long a write of the Raft log took, with its sync; each is for all Regions of a round.",
);
static LOG_BYTES: Desc = Desc::counter(
    "kontiki_raftlog_written_bytes_total",
    "Bytes written to the Raft log.",
);
static LOG_SYNC: Desc = Desc::histogram(
    "kontiki_raftlog_sync_seconds",
    "How long a sync of the Raft log took; the count is that of the syncs.",
);
static KV_WRITE: Desc = Desc::histogram(
    "kontiki_kv_write_seconds",
    "How long a write of the key-value engine took; each is for all Regions of a round.",
);
static KV_BYTES: Desc = Desc::counter(
    "kontiki_kv_written_bytes_total",
    "Bytes written to the key-value engine.",
);
static KV_SYNC: Desc = Desc::histogram(
    "kontiki_kv_sync_seconds",
    "How long a sync of the key-value engine took, or a write with one; the count is that of the syncs.",
);

/// The families that every engine has.
pub static ENGINES: &[&Desc] = &[
    &LOG_WRITE, &LOG_BYTES, &LOG_SYNC, &KV_WRITE, &KV_BYTES, &KV_SYNC,
];

/// The label of RocksDB's families: which database.
const DB: &[&str] = &["db"];
/// And which column family.
const DB_CF: &[&str] = &["db", "cf"];

/// Bytes in memory that are not in files yet.
pub static MEMTABLE_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_memtable_bytes",
    "Memory of RocksDB's memtables, in bytes.",
)
.by(DB_CF);
/// Files at the first level.
pub static LEVEL0_FILES: Desc = Desc::gauge(
    "kontiki_rocksdb_level0_files",
    "Files at RocksDB's level 0; many of them slow writes down.",
)
.by(DB_CF);
/// What compactions are behind.
pub static PENDING_COMPACTION_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_pending_compaction_bytes",
    "About how many bytes RocksDB has to compact until its levels have their sizes.",
)
.by(DB_CF);
/// Files.
pub static SST_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_sst_bytes",
    "Bytes of RocksDB's live table files.",
)
.by(DB_CF);
/// Keys.
pub static KEYS: Desc = Desc::gauge(
    "kontiki_rocksdb_estimated_keys",
    "About how many keys RocksDB has.",
)
.by(DB_CF);
/// Indexes and filters.
pub static TABLE_READER_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_table_reader_bytes",
    "Memory of RocksDB's open tables that is not in the block cache, in bytes.",
)
.by(DB_CF);
/// The cache.
pub static CACHE_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_block_cache_bytes",
    "Memory of RocksDB's block cache that is in use, in bytes.",
)
.by(DB);
/// What of the cache is held.
pub static CACHE_PINNED_BYTES: Desc = Desc::gauge(
    "kontiki_rocksdb_block_cache_pinned_bytes",
    "Memory of RocksDB's block cache that readers hold, in bytes.",
)
.by(DB);
/// Writes that stand still.
pub static WRITE_STOPPED: Desc = Desc::gauge(
    "kontiki_rocksdb_write_stopped",
    "1 while RocksDB takes no writes since flushes and compactions are too far behind, else 0.",
)
.by(DB);
/// Writes that are held back.
pub static DELAYED_WRITE_RATE: Desc = Desc::gauge(
    "kontiki_rocksdb_delayed_write_bytes_per_second",
    "The rate to which RocksDB holds writes back at the moment; 0: it does not.",
)
.by(DB);
/// Work under way.
pub static RUNNING_COMPACTIONS: Desc = Desc::gauge(
    "kontiki_rocksdb_running_compactions",
    "RocksDB's compactions under way.",
)
.by(DB);
/// Work under way.
pub static RUNNING_FLUSHES: Desc = Desc::gauge(
    "kontiki_rocksdb_running_flushes",
    "RocksDB's flushes of memtables under way.",
)
.by(DB);
/// Views that hold files.
pub static SNAPSHOTS: Desc = Desc::gauge(
    "kontiki_rocksdb_snapshots",
    "Views of RocksDB that are held; they keep deleted data.",
)
.by(DB);
/// What went wrong beside the writes.
pub static BACKGROUND_ERRORS: Desc = Desc::counter(
    "kontiki_rocksdb_background_errors_total",
    "Errors of RocksDB's flushes and compactions.",
)
.by(DB);

/// The families of RocksDB's properties.
pub static ROCKSDB: &[&Desc] = &[
    &MEMTABLE_BYTES,
    &LEVEL0_FILES,
    &PENDING_COMPACTION_BYTES,
    &SST_BYTES,
    &KEYS,
    &TABLE_READER_BYTES,
    &CACHE_BYTES,
    &CACHE_PINNED_BYTES,
    &WRITE_STOPPED,
    &DELAYED_WRITE_RATE,
    &RUNNING_COMPACTIONS,
    &RUNNING_FLUSHES,
    &SNAPSHOTS,
    &BACKGROUND_ERRORS,
];

/// The cells of one engine.
#[derive(Debug)]
pub struct Meter {
    writes: Histogram,
    bytes: Counter,
    syncs: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            writes: Histogram::latencies(),
            bytes: Counter::new(),
            syncs: Histogram::latencies(),
        }
    }
}

impl Meter {
    /// A write of so many bytes that began with the stopwatch has ended.
    pub fn wrote(&self, since: &Stopwatch, bytes: usize) {
        self.writes.observe_since(since);
        self.bytes.add(bytes as u64);
    }

    /// A sync that began with the stopwatch has ended.
    pub fn synced(&self, since: &Stopwatch) {
        self.syncs.observe_since(since);
    }

    /// Shows them as a Raft log's.
    pub fn collect_log(&self, page: &mut Page) {
        self.collect(page, [&LOG_WRITE, &LOG_BYTES, &LOG_SYNC]);
    }

    /// Shows them as a key-value engine's.
    pub fn collect_kv(&self, page: &mut Page) {
        self.collect(page, [&KV_WRITE, &KV_BYTES, &KV_SYNC]);
    }

    fn collect(&self, page: &mut Page, [write, bytes, sync]: [&'static Desc; 3]) {
        page.histogram(write, &[], &self.writes.read());
        page.counter(bytes, &[], self.bytes.get());
        page.histogram(sync, &[], &self.syncs.read());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_show_their_own_families() {
        let meter = Meter::default();
        meter.wrote(&Stopwatch::start(), 7);
        meter.synced(&Stopwatch::start());
        let mut page = Page::default();
        meter.collect_log(&mut page);
        meter.collect_kv(&mut page);
        let mut expected: Vec<_> = ENGINES.iter().map(|desc| desc.name).collect();
        expected.sort_unstable();
        assert_eq!(page.families().collect::<Vec<_>>(), expected);
        assert!(page.render().contains("kontiki_kv_written_bytes_total 7\n"));
    }
}
