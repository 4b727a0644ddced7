//! [`RocksLog`]: the Raft logs of a store in a RocksDB of their own.
//!
//! **Why bounds in memory.** Every append and fetch needs a log's first and last index; sought in
//! the database they would cross the tombstones of compaction each time. They are found once at
//! open, and follow every write.
//!
//! **Invariants.** The bounds name entries that are in the database. They change after the write
//! that changes them succeeded; if it fails, the store stops or nothing was written.
//!
//! **Not here.** Reclaiming space: RocksDB's compaction drops what `delete_range` hides.

use crate::RocksOptions;
use crate::error::{corrupt, translate};
use crate::kv::Database;
use crate::log_keys as keys;
use engine::bounds::{Bounds, check_fetch};
use engine::log_batch::{BoundsAfter, LogBatch, LogOperation, bounds_after};
use engine::{Durability, RaftLog, RaftLogBatch, Result, codec, entry_bytes};
use parking_lot::RwLock;
use rocksdb::{DB, DBRawIterator, DBRecoveryMode, ReadOptions, WriteBatch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use types::{ApplyState, HardState, LogEntry, RegionId};

/// Raft logs in a directory.
#[derive(Clone)]
pub struct RocksLog {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Only of logs with entries.
    bounds: RwLock<BTreeMap<RegionId, (u64, u64)>>,
}

impl RocksLog {
    /// Opens the logs in `path`, which is created if it isn't there.
    ///
    /// # Errors
    /// [`engine::Error::Locked`] while they are open elsewhere, [`engine::Error::Corruption`] for
    /// damaged files, [`engine::Error::Io`] and [`engine::Error::DiskFull`] if they can't be read
    /// or written.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        // Recovering up to a damaged record would forget promised entries without a word.
        let database = options.database(DBRecoveryMode::TolerateCorruptedTailRecords);
        let opened = DB::open_cf_descriptors(&database, path, options.log_family());
        let database = Database {
            db: opened.map_err(|error| translate(error, "open", path))?,
            path: path.to_path_buf(),
        };
        let bounds = find_bounds(&database)?;
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                bounds: RwLock::new(bounds),
            }),
        })
    }

    fn database(&self) -> &Database {
        &self.inner.database
    }

    fn current(&self, region: RegionId) -> Bounds {
        self.inner.bounds.read().get(&region).copied()
    }

    fn set_bounds(&self, after: &BoundsAfter) {
        if after.is_empty() {
            return;
        }
        let mut bounds = self.inner.bounds.write();
        for (region, after) in after {
            match after {
                Some(after) => bounds.insert(*region, *after),
                None => bounds.remove(region),
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
        let error = || corrupt(&self.database().path, format!("no state at key {key:02x?}"));
        state.map(Some).ok_or_else(error)
    }

    fn decode(&self, region: RegionId, index: u64, value: &[u8]) -> Result<LogEntry> {
        keys::decode_entry(index, value).ok_or_else(|| self.damaged(region, index))
    }

    fn damaged(&self, region: RegionId, index: u64) -> engine::Error {
        let what = format!("entry {index} of Region {region} is missing or damaged");
        corrupt(&self.database().path, what)
    }
}

/// What `operations` are in the database, where `current` tells a log's bounds before them.
fn translate_operations(
    operations: &[LogOperation],
    current: impl Fn(RegionId) -> Bounds,
) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let mut changed = BoundsAfter::new();
    for operation in operations {
        match operation {
            LogOperation::Append(region, entries) => {
                let bounds = changed.entry(*region).or_insert_with(|| current(*region));
                let (first, last) = (entries[0].index, entries[entries.len() - 1].index);
                if let Some((_, old_last)) = *bounds
                    && old_last > last
                {
                    let end = keys::entry_key(*region, old_last.saturating_add(1));
                    batch.delete_range(keys::entry_key(*region, last + 1), end);
                }
                for entry in entries.iter() {
                    batch.put(
                        keys::entry_key(*region, entry.index),
                        keys::encode_entry(entry),
                    );
                }
                *bounds = Some((bounds.map_or(first, |(first, _)| first), last));
            }
            LogOperation::Compact(region, up_to) => {
                let bounds = changed.entry(*region).or_insert_with(|| current(*region));
                if let Some((first, last)) = *bounds
                    && first < *up_to
                {
                    let end = (*up_to).min(last.saturating_add(1));
                    batch.delete_range(
                        keys::entry_key(*region, first),
                        keys::entry_key(*region, end),
                    );
                }
                *bounds = engine::bounds::after_compact(*bounds, *up_to);
            }
            LogOperation::HardState(region, state) => {
                batch.put(
                    keys::hard_state_key(*region),
                    codec::encode_hard_state(state),
                );
            }
            LogOperation::ApplyState(region, state) => {
                batch.put(
                    keys::apply_state_key(*region),
                    codec::encode_apply_state(state),
                );
            }
            LogOperation::Remove(region) => {
                batch.delete_range(keys::first_key(*region), keys::end_key(*region));
                changed.insert(*region, None);
            }
        }
    }
    batch
}

impl RaftLog for RocksLog {
    type Batch = LogBatch;

    fn batch(&self) -> LogBatch {
        LogBatch::default()
    }

    fn write(&self, batch: &mut LogBatch, durability: Durability) -> Result<()> {
        if batch.is_empty() {
            return match durability {
                Durability::Buffered => Ok(()),
                Durability::Synced => self.sync(),
            };
        }
        let after = bounds_after(batch.operations(), |region| self.current(region))?;
        let translated = translate_operations(batch.operations(), |region| self.current(region));
        if translated.is_empty() {
            // A compaction of what is compacted leaves nothing to write, but may have to sync.
            if durability == Durability::Synced {
                self.sync()?;
            }
        } else {
            self.database().write(translated, durability)?;
        }
        self.set_bounds(&after);
        batch.clear();
        Ok(())
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        let mut regions = Vec::new();
        let mut cursor = Cursor::new(self.database());
        let mut from = Vec::new();
        while let Some(region) = cursor.region_from(&from)? {
            regions.push(region);
            from = keys::end_key(region);
        }
        Ok(regions)
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        Ok(self.current(region))
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        match self.current(region) {
            Some((first, last)) if (first..=last).contains(&index) => {}
            _ => return Ok(None),
        }
        let value = self.read(&keys::entry_key(region, index))?;
        let value = value.ok_or_else(|| self.damaged(region, index))?;
        self.decode(region, index, &value).map(Some)
    }

    fn fetch(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        check_fetch(region, self.current(region), low, high)?;
        let mut entries: Vec<LogEntry> = Vec::new();
        if low >= high {
            return Ok(entries);
        }
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

    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>> {
        self.state(&keys::hard_state_key(region), codec::decode_hard_state)
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        self.state(&keys::apply_state_key(region), codec::decode_apply_state)
    }

    fn sync(&self) -> Result<()> {
        self.database().sync()
    }

    fn purge(&self) -> Result<()> {
        // RocksDB reclaims by itself; a background error would show at the next write.
        Ok(())
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
        let error = || {
            corrupt(
                &self.database.path,
                format!("not a key of a Region: {key:02x?}"),
            )
        };
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
        from = keys::end_key(region);
    }
    Ok(bounds)
}
