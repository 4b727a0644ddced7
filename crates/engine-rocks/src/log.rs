//! [`RocksLog`]: the Raft logs of a store in a RocksDB of their own.
//!
//! **Why bounds in memory.** Every append and fetch needs a log's first and last index; sought in
//! the database they would cross the tombstones of compaction each time. They are found once at
//! open, and follow every write.
//!
//! **Invariants.** The bounds name entries that are in the database, also while a write is under way:
//! before it they lose what it drops, and after it they gain what it adds.
//!
//! **Not here.** Reclaiming space: RocksDB's compaction drops what `delete_range` hides. What is checked
//! before RocksDB opens: see `wal` and `files`.

use crate::error::translate;
use crate::kv::Database;
use crate::log_keys as keys;
use crate::tail::{Place, Tail, list_mark, wal_mark};
use crate::{RocksOptions, files, properties, wal};
use engine::bounds::{Bounds, check_fetch};
use engine::file::{create_directory, lock_directory};
use engine::log_batch::{BoundsAfter, LogBatch, LogOperation};
use engine::{Durability, Error, RaftLog, RaftLogBatch, Result, codec, entry_bytes};
use metrics::Page;
use parking_lot::{Mutex, RwLock};
use rocksdb::{DB, DBRawIterator, DBRecoveryMode, ReadOptions, WriteBatch};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, RegionId};

const LOCK: &str = "STORE-LOCK";
/// Another one with each new write-ahead log, flush and compaction.
const VERSION: &str = "rocksdb.current-super-version-number";
/// What a record of the write-ahead log has before the batch.
const RECORD_HEADER_BYTES: u64 = 7;

/// Raft logs in a directory.
#[derive(Clone)]
pub struct RocksLog {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Only of logs with entries.
    bounds: RwLock<BTreeMap<RegionId, (u64, u64)>>,
    /// The number of the write-ahead log that must be there at the next start.
    noted_wal: Mutex<Option<u64>>,
    /// None where nothing is written.
    tail: Option<Tail>,
    // Declared behind the database, so that it is closed before another may open it. None where nothing is
    // written.
    _lock: Option<File>,
}

impl RocksLog {
    /// Opens the logs in `path`, which is created if it isn't there.
    ///
    /// # Errors
    /// [`engine::Error::Locked`] while they are open elsewhere, [`engine::Error::Corruption`] for
    /// damaged files, [`engine::Error::Io`] and [`engine::Error::DiskFull`] if they can't be read
    /// or written.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        create_directory(path)?;
        // RocksDB's own lock comes too late: the check reads before.
        let lock = lock_directory(path, LOCK)?;
        files::check(path, list_mark(path)?)?;
        wal::check(path, wal_mark(path)?)?;
        // What a damaged end held was not promised, now that the check has passed.
        let database = options.database(DBRecoveryMode::TolerateCorruptedTailRecords);
        let opened = DB::open_cf_descriptors(&database, path, options.log_family());
        let db = opened.map_err(|error| translate(error, "open", path))?;
        let database = Database::new(db, path);
        let noted = wal::note(path, None)?;
        let tail = Tail::begin(path)?;
        let bounds = find_bounds(&database)?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                bounds: RwLock::new(bounds),
                noted_wal: Mutex::new(noted),
                tail: Some(tail),
                _lock: Some(lock),
            }),
        })
    }

    /// Checks and opens the logs in `path` for reading only: no file is made, changed or removed, and every
    /// write answers [`engine::Error::Stopped`]. The caller sees to it that nobody writes meanwhile.
    ///
    /// # Errors
    /// [`engine::Error::Corruption`] for damaged files, or if there are none; [`engine::Error::Io`] if they
    /// can't be read.
    pub fn open_read_only(path: &Path, options: &RocksOptions) -> Result<Self> {
        files::check(path, list_mark(path)?)?;
        if files::current(path)?.is_none() {
            return Err(Error::corrupt(path, "there is no database"));
        }
        wal::check(path, wal_mark(path)?)?;
        let database = options.database(DBRecoveryMode::TolerateCorruptedTailRecords);
        let family = options.log_family();
        let opened = DB::open_cf_descriptors_read_only(&database, path, family, false);
        let db = opened.map_err(|error| translate(error, "open", path))?;
        let database = Database::read_only(db, path);
        let bounds = find_bounds(&database)?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                bounds: RwLock::new(bounds),
                noted_wal: Mutex::new(None),
                tail: None,
                _lock: None,
            }),
        })
    }

    fn database(&self) -> &Database {
        &self.inner.database
    }

    fn version(&self) -> Option<u64> {
        self.database().db.property_int_value(VERSION).ok()?
    }

    /// Where the write-ahead log ends before a sync.
    fn place(&self) -> Option<Place> {
        self.inner.tail.as_ref()?.look(self.version())
    }

    /// So many bytes more than at `place` are synced.
    fn synced(&self, place: Option<Place>, bytes: u64) {
        if let Some(tail) = &self.inner.tail {
            tail.synced(place, bytes, self.version());
        }
    }

    fn current(&self, region: RegionId) -> Bounds {
        self.inner.bounds.read().get(&region).copied()
    }

    fn set_bounds(&self, logs: impl IntoIterator<Item = (RegionId, Bounds)>) {
        let mut bounds = self.inner.bounds.write();
        for (region, new) in logs {
            match new {
                Some(new) => bounds.insert(region, new),
                None => bounds.remove(&region),
            };
        }
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.database().db.get(key);
        value.map_err(|error| self.database().translate(error, "get"))
    }

    fn state<T>(&self, key: &[u8], decode: fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.read(key)? else {
            return Ok(None);
        };
        let state = decode(&value);
        let what = || format!("no state at key {key:02x?}");
        let error = || Error::damaged(&self.database().path, what());
        state.map(Some).ok_or_else(error)
    }

    fn decode(&self, region: RegionId, index: u64, value: &[u8]) -> Result<LogEntry> {
        keys::decode_entry(index, value).ok_or_else(|| self.damaged(region, index))
    }

    fn damaged(&self, region: RegionId, index: u64) -> Error {
        let what = format!("entry {index} of Region {region} is missing or damaged");
        Error::damaged(&self.database().path, what)
    }

    /// Writes `batch`, which changes the bounds of logs to `after`.
    fn write_batch(
        &self,
        batch: WriteBatch,
        durability: Durability,
        after: BoundsAfter,
    ) -> Result<()> {
        self.database().check_running()?;
        let shared = |(region, after): (&RegionId, &Bounds)| {
            let ((first, last), (new_first, new_last)) = self.current(*region).zip(*after)?;
            let (first, last) = (first.max(new_first), last.min(new_last));
            (first <= last).then_some((first, last))
        };
        // Nobody is told of entries that the write is about to drop.
        let during: Vec<_> = after.iter().map(|log| (*log.0, shared(log))).collect();
        self.set_bounds(during);
        let bytes = RECORD_HEADER_BYTES + batch.size_in_bytes() as u64;
        let place = match durability {
            Durability::Synced => self.place(),
            Durability::Buffered => None,
        };
        failpoint::at!("engine_rocks::log::before_write");
        self.database().write(batch, durability)?;
        failpoint::at!("engine_rocks::log::written");
        self.synced(place, bytes);
        self.set_bounds(after);
        Ok(())
    }

    /// The entries of `[low, high)`, as [`RaftLog::fetch`] answers them. An error may mean that they
    /// were dropped meanwhile.
    fn read_entries(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::entry_key(region, high));
        let mut iter = self.database().db.raw_iterator_opt(options);
        iter.seek(keys::entry_key(region, low));
        let mut bytes = 0;
        for index in low..high {
            let Some((key, value)) = iter.item() else {
                let status = iter.status();
                status.map_err(|error| self.database().translate(error, "iterate"))?;
                return Err(self.damaged(region, index));
            };
            if keys::decode_index(key) != Some(index) {
                return Err(self.damaged(region, index));
            }
            let entry = self.decode(region, index, value)?;
            bytes += entry_bytes(&entry);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
            iter.next();
        }
        Ok(entries)
    }
}

/// Adds to `batch` what `operation` is in the database, on a log with these bounds before and after
/// it. `value` is room for an entry's encoding.
fn translate_operation(
    batch: &mut WriteBatch,
    value: &mut Vec<u8>,
    operation: LogOperation<'_>,
    before: Bounds,
    after: Bounds,
) {
    // Entries of `[from, to)`.
    let drop_entries = |batch: &mut WriteBatch, region, from, to| {
        batch.delete_range(keys::entry_key(region, from), keys::entry_key(region, to));
    };
    match operation {
        LogOperation::Append(region, entries) => {
            if let (Some((_, old_last)), Some((_, last))) = (before, after)
                && old_last > last
            {
                drop_entries(batch, region, last + 1, old_last.saturating_add(1));
            }
            for entry in entries {
                keys::encode_entry(entry, value);
                batch.put(keys::entry_key(region, entry.index), &value);
            }
        }
        LogOperation::Compact(region, _) => {
            if let Some((first, last)) = before
                && before != after
            {
                let end = after.map_or(last.saturating_add(1), |(first, _)| first);
                drop_entries(batch, region, first, end);
            }
        }
        LogOperation::HardState(region, state) => {
            let value = codec::encode_hard_state(&state);
            batch.put(keys::hard_state_key(region), value);
        }
        LogOperation::ApplyState(region, state) => {
            let value = codec::encode_apply_state(&state);
            batch.put(keys::apply_state_key(region), value);
        }
        LogOperation::Remove(region) => {
            batch.delete_range(keys::first_key(region), keys::end_key(region));
        }
    }
}

impl RaftLog for RocksLog {
    type Batch = LogBatch;

    fn batch(&self) -> LogBatch {
        LogBatch::default()
    }

    fn write(&self, batch: &mut LogBatch, durability: Durability) -> Result<()> {
        let mut translated = WriteBatch::default();
        let mut value = Vec::new();
        let current = |region| self.current(region);
        let after = batch.walk(current, |operation, before, after| {
            translate_operation(&mut translated, &mut value, operation, before, after);
            Ok(())
        })?;
        // A compaction of what is compacted leaves nothing to write, but may have to sync.
        match (translated.is_empty(), durability) {
            (true, Durability::Buffered) => self.database().check_running()?,
            (true, Durability::Synced) => self.sync()?,
            (false, durability) => self.write_batch(translated, durability, after)?,
        }
        batch.clear();
        Ok(())
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        let mut regions = Vec::new();
        let mut cursor = Cursor::new(self.database());
        let mut from = Vec::new();
        while let Some(region) = cursor.region_from(&from)? {
            regions.push(region);
            from = keys::end_key(region).to_vec();
        }
        Ok(regions)
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        Ok(self.current(region))
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        match self.fetch(region, index, index.saturating_add(1), 0) {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(Error::Compacted { .. } | Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fetch(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        check_fetch(region, self.current(region), low, high)?;
        if low >= high {
            return Ok(Vec::new());
        }
        let read = self.read_entries(region, low, high, max_bytes);
        if read.is_err() {
            // Bounds lose entries before the database does, so these tell.
            check_fetch(region, self.current(region), low, high)?;
        }
        read
    }

    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>> {
        self.state(&keys::hard_state_key(region), codec::decode_hard_state)
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        self.state(&keys::apply_state_key(region), codec::decode_apply_state)
    }

    fn sync(&self) -> Result<()> {
        let place = self.place();
        self.database().sync()?;
        self.synced(place, 0);
        Ok(())
    }

    fn purge(&self) -> Result<()> {
        // RocksDB reclaims by itself; a background error would show at the next write.
        self.database().check_running()?;
        let mut noted = self.inner.noted_wal.lock();
        *noted = wal::note(&self.database().path, *noted)?;
        if let Some(tail) = &self.inner.tail {
            tail.list.raise();
        }
        Ok(())
    }

    fn collect(&self, page: &mut Page) {
        let database = self.database();
        database.meter.collect_log(page);
        let family = database.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME);
        let family = family.expect("every database has it");
        properties::collect(&database.db, "raft", &[("default", family)], page);
    }
}

/// Seeks over the whole database.
struct Cursor<'a> {
    iter: DBRawIterator<'a>,
    database: &'a Database,
}

impl<'a> Cursor<'a> {
    fn new(database: &'a Database) -> Self {
        let iter = database.db.raw_iterator();
        Self { iter, database }
    }

    fn settle(&self) -> Result<()> {
        let status = self.iter.status();
        status.map_err(|error| self.database.translate(error, "iterate"))
    }

    /// The Region of the first key at or after `from`.
    fn region_from(&mut self, from: &[u8]) -> Result<Option<RegionId>> {
        self.iter.seek(from);
        self.settle()?;
        let Some(key) = self.iter.key() else {
            return Ok(None);
        };
        let region = keys::decode_region(key);
        let what = || format!("not a key of a Region: {key:02x?}");
        let error = || Error::damaged(&self.database.path, what());
        region.map(Some).ok_or_else(error)
    }

    /// The index of the entry that the cursor stands on, if it is one of `region`.
    fn index_of(&self, region: RegionId) -> Result<Option<u64>> {
        self.settle()?;
        let key = self.iter.key();
        let key = key.filter(|key| keys::decode_region(key) == Some(region));
        Ok(key.and_then(keys::decode_index))
    }
}

/// The bounds of every log, each by two seeks.
fn find_bounds(database: &Database) -> Result<BTreeMap<RegionId, (u64, u64)>> {
    let mut bounds = BTreeMap::new();
    let mut cursor = Cursor::new(database);
    let mut from = Vec::new();
    while let Some(region) = cursor.region_from(&from)? {
        cursor.iter.seek(keys::entry_key(region, 0));
        if let Some(first) = cursor.index_of(region)? {
            cursor.iter.seek_for_prev(keys::entry_key(region, u64::MAX));
            let last = cursor.index_of(region)?.unwrap_or(first);
            bounds.insert(region, (first, last));
        }
        from = keys::end_key(region).to_vec();
    }
    Ok(bounds)
}
