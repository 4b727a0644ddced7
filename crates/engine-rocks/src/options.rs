//! The tuning of both databases.
//!
//! **Why few knobs.** Everything here bounds a resource that one machine shares (memory, threads,
//! disk); the rest is fixed where the reason stands.
//!
//! **Not here.** Names of configuration items: the server maps them.

use engine::Cf;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
};

/// Bounds on what a database uses. The defaults suit a store of some gigabytes on a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Memory for blocks, indexes and filters read from files, shared by all families. Bytes.
    pub block_cache_bytes: usize,
    /// Threads for flushes and compactions together.
    pub background_jobs: u16,
    /// The most bytes that flushes and compactions write in a second; zero for no bound. Below it RocksDB goes no
    /// faster than it needs to, which spares those who sync from bursts on a shared disk.
    pub background_bytes_per_sec: u64,
    /// Memory for recent writes of the family of the data, or of logs, before it is flushed; the other families
    /// have no more than the default. Bytes. An insertion visits some
    /// twenty places all over it, so for small values it should not be much larger than the processor's cache;
    /// for large values a larger one saves rewrites of the data.
    pub write_buffer_bytes: usize,
    /// The write-ahead log is flushed to tables when it reaches this. Bytes; bounds the start time.
    pub wal_bytes_max: u64,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            background_jobs: 2,
            background_bytes_per_sec: 0,
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            wal_bytes_max: 512 << 20,
        }
    }
}

const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Bits a key of the bloom filters: about one false positive in a hundred.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 16 << 10;
const OPEN_FILES_MAX: i32 = 4096;
/// So many flushed buffers are compacted together.
const LEVEL0_FILES: i32 = 8;
/// So many memtables of a family there may be, and files at level 0, until RocksDB stops all writes by itself; a bit
/// earlier it slows them down. It does so inside of the write, where it holds all Regions up: so this is the second
/// line, behind the node's flow control.
const BUFFERS_MAX: i32 = 8;
const LEVEL0_SLOWDOWN: i32 = 42;
const LEVEL0_STOP: i32 = 60;
/// RocksDB's own advice for its limiter: what it may write is handed out ten times a second, and one time of ten
/// a compaction goes before a flush.
const RATE_REFILL_US: i64 = 100_000;
const RATE_FAIRNESS: i32 = 10;
/// RocksDB's own text logs that are kept.
const INFO_LOGS_MAX: usize = 5;

/// As large as what is compacted into it, which makes for the fewest rewrites.
pub(crate) fn level1_bytes(buffer_bytes: usize) -> u64 {
    buffer_bytes as u64 * LEVEL0_FILES as u64
}

impl RocksOptions {
    /// What both databases have in common, apart from families.
    pub(crate) fn database(&self, recovery: DBRecoveryMode) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(recovery);
        // An older write-ahead log that is gone, or shorter than what was synced, stops the open. Of
        // the newest RocksDB says nothing; the check of the Raft logs does.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_background_jobs(self.background_jobs.max(1).into());
        options.set_max_total_wal_size(self.wal_bytes_max);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_keep_log_file_num(INFO_LOGS_MAX);
        // Tables reach the disk while they are written, not in one burst at the end.
        options.set_bytes_per_sync(1 << 20);
        if self.background_bytes_per_sec > 0 {
            let rate = i64::try_from(self.background_bytes_per_sec).unwrap_or(i64::MAX);
            options.set_auto_tuned_ratelimiter(rate, RATE_REFILL_US, RATE_FAIRNESS);
        }
        options
    }

    /// The families of the key-value engine, with one cache for all.
    pub(crate) fn families(&self, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
        let descriptor = |cf: Cf| {
            // Locks and states are few and read by iteration or from memory.
            let filtered = matches!(cf, Cf::Default | Cf::Write);
            let options = self.family(cache, filtered, self.buffer_bytes(cf));
            ColumnFamilyDescriptor::new(cf.name(), options)
        };
        Cf::ALL.into_iter().map(descriptor).collect()
    }

    /// The only family of the log's database.
    pub(crate) fn log_family(&self) -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_lru_cache(self.block_cache_bytes);
        let name = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        vec![ColumnFamilyDescriptor::new(
            name,
            self.family(&cache, false, self.write_buffer_bytes),
        )]
    }

    /// Memory for recent writes of this family. Bytes.
    pub(crate) fn buffer_bytes(&self, cf: Cf) -> usize {
        match cf {
            Cf::Default => self.write_buffer_bytes,
            _ => self.write_buffer_bytes.min(WRITE_BUFFER_BYTES),
        }
    }

    fn family(&self, cache: &Cache, filtered: bool, buffer_bytes: usize) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_block_size(BLOCK_BYTES);
        // Indexes and filters count against the cache, so that memory stays bounded.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        if filtered {
            blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        }
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(buffer_bytes);
        options.set_max_write_buffer_number(BUFFERS_MAX);
        options.set_level_zero_file_num_compaction_trigger(LEVEL0_FILES);
        options.set_level_zero_slowdown_writes_trigger(LEVEL0_SLOWDOWN);
        options.set_level_zero_stop_writes_trigger(LEVEL0_STOP);
        options.set_max_bytes_for_level_base(level1_bytes(buffer_bytes));
        options.set_level_compaction_dynamic_level_bytes(true);
        // The young levels are rewritten often and stay cheap; most of the data is at the bottom.
        options.set_compression_per_level(&[
            DBCompressionType::None,
            DBCompressionType::None,
            DBCompressionType::Lz4,
            DBCompressionType::Lz4,
            DBCompressionType::Lz4,
            DBCompressionType::Zstd,
            DBCompressionType::Zstd,
        ]);
        options
    }
}
