//! [`RocksKv`]: the key-value engine.
//!
//! **Invariants.** A batch is one RocksDB write: atomic over families, in one record of the
//! write-ahead log. What a sync or a flush has made durable is in the marked list of tables, or in the
//! write-ahead log.
//!
//! **Not here.** Reads of a snapshot: see `snapshot`.

use crate::error::{translate, translate_change};
use crate::properties;
use crate::size::SizeEstimator;
use crate::tail::{ListTail, list_mark};
use crate::tuner::Sizes;
use crate::{RocksOptions, RocksSnapshot, RocksTuner, compact, files, wal};
use bytes::Bytes;
use engine::file::create_directory;
use engine::meter::Meter;
use engine::{Backlog, Cf, Durability, Error, Files, KvBatch, KvEngine, Result};
use metrics::{Page, Stopwatch};
use rocksdb::{Cache, ColumnFamily, DB, DBRecoveryMode, ReadOptions, WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const FAILED: &str = "a write or a sync of RocksDB failed";

/// An open database; closed when the last handle, batch or snapshot is gone.
pub(crate) struct Database {
    pub(crate) db: DB,
    pub(crate) path: PathBuf,
    /// The same for every read.
    read_options: ReadOptions,
    /// Why nothing is written any more: a write or a sync failed, or nothing was to be written from the start.
    stopped: OnceLock<&'static str>,
    pub(crate) meter: Meter,
}

impl Database {
    pub(crate) fn new(db: DB, path: &Path) -> Self {
        Self {
            db,
            path: path.to_path_buf(),
            read_options: ReadOptions::default(),
            stopped: OnceLock::new(),
            meter: Meter::default(),
        }
    }

    pub(crate) fn family(&self, cf: Cf) -> &ColumnFamily {
        let family = self.db.cf_handle(cf.name());
        family.expect("every family is opened with the database")
    }

    pub(crate) fn translate(&self, error: rocksdb::Error, operation: &'static str) -> Error {
        translate(error, operation, &self.path)
    }

    /// A database that was opened for reading only.
    pub(crate) fn read_only(db: DB, path: &Path) -> Self {
        let database = Self::new(db, path);
        database.stop("RocksDB was opened for reading only");
        database
    }

    /// From now on nothing is written.
    fn stop(&self, reason: &'static str) {
        // The first reason counts.
        let _ = self.stopped.set(reason);
    }

    /// An error if nothing may be written any more.
    pub(crate) fn check_running(&self) -> Result<()> {
        match self.stopped.get() {
            Some(reason) => Err(Error::Stopped { reason }),
            None => Ok(()),
        }
    }

    /// Changes files, and stops for good if that fails.
    fn change(
        &self,
        sync: bool,
        change: impl FnOnce(&DB) -> std::result::Result<(), rocksdb::Error>,
    ) -> Result<()> {
        self.check_running()?;
        failpoint::at!("engine_rocks::change::begin", |_| {
            self.stop(FAILED);
            let path = self.path.clone();
            Err(Error::Sync { path, source: None })
        });
        change(&self.db).map_err(|error| {
            self.stop(FAILED);
            translate_change(error, sync, &self.path)
        })
    }

    /// Writes `batch` with a sync or without.
    pub(crate) fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        let sync = durability == Durability::Synced;
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let (since, bytes) = (Stopwatch::start(), batch.size_in_bytes());
        self.change(sync, |db| db.write_opt(batch, &options))?;
        self.meter.wrote(&since, bytes);
        if sync {
            self.meter.synced(&since);
        }
        Ok(())
    }

    /// Syncs the write-ahead log.
    pub(crate) fn sync(&self) -> Result<()> {
        let since = Stopwatch::start();
        self.change(true, |db| db.flush_wal(true))?;
        self.meter.synced(&since);
        Ok(())
    }
}

/// A key-value engine in a directory.
#[derive(Clone)]
pub struct RocksKv {
    database: Arc<Database>,
    cache: Cache,
    /// None where nothing is written.
    list: Option<Arc<ListTail>>,
    sizes: Arc<SizeEstimator>,
    memory: Arc<Sizes>,
}

impl RocksKv {
    /// Opens the engine in `path`, which is created if it isn't there.
    ///
    /// # Errors
    /// [`Error::Locked`] while it is open elsewhere, [`Error::Corruption`] for damaged files,
    /// [`Error::Io`] and [`Error::DiskFull`] if it can't be read or written.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        create_directory(path)?;
        files::check(path, list_mark(path)?)?;
        // The Raft log brings back what a damaged end of the write-ahead log held.
        let database = options.database(DBRecoveryMode::PointInTime);
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let opened = DB::open_cf_descriptors(&database, path, options.families(&cache));
        let db = opened.map_err(|error| translate(error, "open", path))?;
        Ok(Self {
            database: Arc::new(Database::new(db, path)),
            cache,
            list: Some(Arc::new(ListTail::begin(path)?)),
            sizes: Arc::default(),
            memory: Arc::new(Sizes::of(options)),
        })
    }

    /// Opens the engine in `path` for reading only: no file is made, changed or removed, and every write
    /// answers [`Error::Stopped`]. What the write-ahead log holds is read into memory. The caller sees to it
    /// that nobody writes meanwhile.
    ///
    /// # Errors
    /// [`Error::Corruption`] for damaged files, or if there are none; [`Error::Io`] if they can't be read.
    pub fn open_read_only(path: &Path, options: &RocksOptions) -> Result<Self> {
        files::check(path, list_mark(path)?)?;
        if files::current(path)?.is_none() {
            return Err(Error::corrupt(path, "there is no database"));
        }
        let database = options.database(DBRecoveryMode::PointInTime);
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let families = options.families(&cache);
        let opened = DB::open_cf_descriptors_read_only(&database, path, families, false);
        let db = opened.map_err(|error| translate(error, "open", path))?;
        Ok(Self {
            database: Arc::new(Database::read_only(db, path)),
            cache,
            list: None,
            sizes: Arc::default(),
            memory: Arc::new(Sizes::of(options)),
        })
    }

    /// Reads the write-ahead log in `path` for damage that [`Self::open`] passes over, because the Raft log
    /// brings back what stands behind it.
    ///
    /// # Errors
    /// [`Error::Corruption`] for such damage; [`Error::Io`] if the files can't be read.
    pub fn check_wal(path: &Path) -> Result<()> {
        for (_, file) in wal::list(path)? {
            if let Some(what) = wal::scan_file(&file)?.damage() {
                let advice = "the store starts with what stands before it, and takes the rest from its Raft log";
                return Err(Error::corrupt(file, format!("{what}; {advice}")));
            }
        }
        Ok(())
    }

    /// What changes the open database's tuning.
    pub fn tuner(&self) -> RocksTuner {
        RocksTuner::new(&self.database, &self.cache, &self.memory)
    }

    /// Writes all recent writes to tables, so that the write-ahead log can go.
    ///
    /// # Errors
    /// As [`KvEngine::sync`].
    pub fn flush(&self) -> Result<()> {
        let database = &self.database;
        let flush = |cf| database.change(true, |db| db.flush_cf(database.family(cf)));
        Cf::ALL.into_iter().try_for_each(flush)?;
        self.raise_list();
        Ok(())
    }

    fn raise_list(&self) {
        if let Some(list) = &self.list {
            list.raise();
        }
    }
}

impl KvEngine for RocksKv {
    type Snapshot = RocksSnapshot;
    type Batch = RocksBatch;

    fn batch(&self) -> RocksBatch {
        RocksBatch {
            database: self.database.clone(),
            batch: WriteBatch::default(),
            refused: None,
        }
    }

    fn write(&self, batch: &mut RocksBatch, durability: Durability) -> Result<()> {
        if let Some((start, end)) = &batch.refused {
            return Err(Error::InvalidRange {
                start: start.clone(),
                end: end.clone(),
            });
        }
        if batch.is_empty() {
            return match durability {
                Durability::Buffered => self.database.check_running(),
                Durability::Synced => self.sync(),
            };
        }
        // RocksDB takes the batch even if it fails; but then there is no other try.
        let next = WriteBatch::with_capacity_bytes(batch.size_bytes());
        let written = std::mem::replace(&mut batch.batch, next);
        failpoint::at!("engine_rocks::kv::before_write");
        self.database.write(written, durability)?;
        failpoint::at!("engine_rocks::kv::written");
        Ok(())
    }

    fn snapshot(&self) -> RocksSnapshot {
        RocksSnapshot::new(self.database.clone())
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        let database = &self.database;
        let (family, options) = (database.family(cf), &database.read_options);
        let found = database.db.get_pinned_cf_opt(family, key, options);
        let value = found.map_err(|error| database.translate(error, "get"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn sync(&self) -> Result<()> {
        failpoint::at!("engine_rocks::kv::before_sync");
        self.database.sync()?;
        failpoint::at!("engine_rocks::kv::synced");
        self.raise_list();
        Ok(())
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        self.sizes.estimate(&self.database, cf, start, end)
    }

    fn files(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<Files> {
        compact::files(&self.database, cf, start, end)
    }

    fn compact(&self, cf: Cf, start: &[u8], end: &[u8], go_on: &dyn Fn() -> bool) -> Result<()> {
        compact::compact(&self.database, cf, (start, end), go_on)
    }

    fn backlog(&self) -> Backlog {
        let families = Cf::ALL.map(|cf| self.database.family(cf));
        properties::backlog(&self.database.db, &families)
    }

    fn collect(&self, page: &mut Page) {
        self.database.meter.collect_kv(page);
        let families = Cf::ALL.map(|cf| (cf.name(), self.database.family(cf)));
        properties::collect(&self.database.db, "kv", &families, page);
    }
}

/// A batch for a [`RocksKv`]; it keeps the engine open.
pub struct RocksBatch {
    database: Arc<Database>,
    batch: WriteBatch,
    /// The first range that is none; the write will refuse it.
    refused: Option<(Vec<u8>, Vec<u8>)>,
}

impl KvBatch for RocksBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.database.family(cf), key, value);
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.batch.delete_cf(self.database.family(cf), key);
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        if end.is_empty() || start > end {
            let range = || (start.to_vec(), end.to_vec());
            self.refused.get_or_insert_with(range);
        } else if start < end {
            self.batch
                .delete_range_cf(self.database.family(cf), start, end);
        }
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.refused.is_none()
    }

    fn size_bytes(&self) -> usize {
        self.batch.size_in_bytes()
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.refused = None;
    }
}
