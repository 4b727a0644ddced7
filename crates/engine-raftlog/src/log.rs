//! [`RaftLogEngine`]: the log itself.
//!
//! **Why the first index is a value too.** raft-engine forgets a compaction together with the file that
//! it stands in, though entries before it may live on in a rewritten file: after a restart they would
//! be back. A value lives on until it is replaced. So each change of a log's first index puts it as a
//! value as well, and opening compacts up to there again.
//!
//! **Invariants.**
//! - Whatever would make raft-engine panic (a hole, an overwrite of what is compacted) is refused
//!   before it gets there.
//! - `unsynced` is set after a buffered write is in the file and before its call returns; so a sync
//!   that finds it unset has nothing to do.
//!
//! **Not here.** Opening: see `open`. What a batch is in raft-engine: see `encode`. Logs that nobody writes to: see
//! `shelf`.

use crate::RaftLogOptions;
use crate::convert::{EntryExt, from_raft};
use crate::encode::{APPLY_STATE_KEY, Encoder, FIRST_INDEX_KEY, HARD_STATE_KEY, decode_index};
use crate::manifest::Queue;
use crate::open::{Opened, WatchedEngine, log_queue, open, open_read_only, translate};
use crate::reader::Reader;
use crate::shelf::Taken;
use crate::shelved::is_shelf;
use crate::uses::Uses;
use engine::bounds::{Bounds, check_fetch};
use engine::log_batch::LogBatch;
use engine::{
    Durability, ENTRY_OVERHEAD_BYTES, Error, RaftLog, RaftLogBatch, Result, codec, entry_bytes,
};
use metrics::{Page, Stopwatch};
use parking_lot::Mutex;
use raft_engine::{Command, LogBatch as EngineBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use types::{ApplyState, HardState, LogEntry, RegionId};

/// raft-engine syncs only together with a write, so a sync writes this: under the id that no Region
/// has.
const SYNC_REGION: u64 = 0;
const SYNC_KEY: &[u8] = b"s";
/// How often a read is tried while compactions and purges run beside it.
const READS_MAX: usize = 3;

/// Raft logs in a directory.
#[derive(Clone)]
pub struct RaftLogEngine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) opened: Opened,
    pub(crate) directory: PathBuf,
    reader: Reader,
    pub(crate) unsynced: AtomicBool,
    pub(crate) uses: Uses,
    /// After how many purges without a write to it a log is put on a shelf.
    pub(crate) idle_purges: u32,
    /// Held through a sync, so that a second one doesn't return before the first is done.
    syncing: Mutex<()>,
    /// Held through a purge: what is moved meanwhile would not be where it rewrites it.
    purging: Mutex<()>,
    /// As many as writers were at work at once.
    encoders: Mutex<Vec<Encoder>>,
}

impl RaftLogEngine {
    /// Verifies and opens the logs in `directory`, which is created if it isn't there.
    ///
    /// # Errors
    /// [`Error::Locked`] while they are open elsewhere; [`Error::Corruption`], naming the file, the
    /// offset and what to do, if anything but a torn end is missing or damaged; [`Error::Io`],
    /// [`Error::Sync`] and [`Error::DiskFull`] if the files can't be read or written.
    pub fn open(directory: &Path, options: &RaftLogOptions) -> Result<Self> {
        Self::open_showing(directory, options, &|_, _| ())
    }

    /// As [`Self::open`]; `progress` hears, from any thread, how many bytes were verified, and of how many.
    ///
    /// # Errors
    /// The same.
    pub fn open_showing(
        directory: &Path,
        options: &RaftLogOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self> {
        let log = Self::of(directory, open(directory, options, progress)?, options);
        log.compact_again()?;
        log.take_stock()?;
        Ok(log)
    }

    /// Verifies and opens the logs in `directory` for reading only: no file there is made, changed or removed,
    /// and every write answers [`Error::Stopped`]. The caller sees to it that nobody writes meanwhile.
    /// `progress` as in [`Self::open_showing`].
    ///
    /// # Errors
    /// [`Error::Corruption`] as [`Self::open`]; [`Error::Io`] if the files can't be read, or the temporary
    /// directory can't be used.
    pub fn open_read_only(
        directory: &Path,
        options: &RaftLogOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self> {
        let opened = open_read_only(directory, options, progress)?;
        let log = Self::of(directory, opened, options);
        // In memory only: what is written to the frozen files goes nowhere.
        log.compact_again()?;
        let reason = "the Raft log was opened for reading only";
        log.inner
            .opened
            .watch
            .stop(Error::Stopped { reason }, reason);
        Ok(log)
    }

    fn of(directory: &Path, opened: Opened, options: &RaftLogOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                opened,
                directory: directory.to_path_buf(),
                reader: Reader::new(),
                unsynced: AtomicBool::new(false),
                uses: Uses::default(),
                idle_purges: options.idle_purges,
                syncing: Mutex::default(),
                purging: Mutex::default(),
                encoders: Mutex::default(),
            }),
        }
    }

    /// Drops the entries whose compaction raft-engine may have forgotten.
    fn compact_again(&self) -> Result<()> {
        let mut batch = EngineBatch::default();
        for region in self.written_regions() {
            let wanted = self.state(region, FIRST_INDEX_KEY, decode_index)?;
            let region = region.get();
            let found = self.engine().first_index(region);
            if let (Some(index), Some(found)) = (wanted, found)
                && found < index
            {
                batch.add_command(region, Command::Compact { index });
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write_engine(&mut batch, false)
    }

    pub(crate) fn engine(&self) -> &WatchedEngine {
        &self.inner.opened.engine
    }

    /// The bounds of a log as far as it is where it is written.
    pub(crate) fn written_bounds(&self, region: RegionId) -> Bounds {
        let first = self.engine().first_index(region.get())?;
        let last = self.engine().last_index(region.get())?;
        Some((first, last))
    }

    /// The Regions whose logs are where they are written.
    pub(crate) fn written_regions(&self) -> impl Iterator<Item = RegionId> {
        let groups = self.engine().raft_groups().into_iter();
        let groups = groups.filter(|group| *group != SYNC_REGION && !is_shelf(*group));
        groups.map(RegionId)
    }

    /// Whether anything of a log is where it is written.
    pub(crate) fn is_written(&self, region: RegionId) -> bool {
        let has = |key| self.engine().get(region.get(), key).is_some();
        self.written_bounds(region).is_some() || has(HARD_STATE_KEY) || has(APPLY_STATE_KEY)
    }

    fn current(&self, region: RegionId) -> Result<Bounds> {
        let written = || Ok(self.written_bounds(region));
        self.find(region, written, |log| log.bounds())
    }

    pub(crate) fn translate(&self, error: raft_engine::Error, operation: &'static str) -> Error {
        translate(error, operation, &self.inner.directory)
    }

    pub(crate) fn write_engine(&self, batch: &mut EngineBatch, sync: bool) -> Result<()> {
        let Opened { engine, watch, .. } = &self.inner.opened;
        watch.check()?;
        failpoint::at!("engine_raftlog::log::before_write");
        let written = engine.write(batch, sync);
        // A sync that failed within it, or a file that could not be listed.
        watch.check()?;
        written.map_err(|error| self.translate(error, "write"))?;
        failpoint::at!("engine_raftlog::log::written");
        Ok(())
    }

    pub(crate) fn state<T>(
        &self,
        region: RegionId,
        key: &[u8],
        decode: fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.engine().get(region.get(), key) else {
            return Ok(None);
        };
        let error = || {
            let what = format!("a state of Region {region} is none");
            Error::damaged(&self.inner.directory, what)
        };
        decode(&value).map(Some).ok_or_else(error)
    }

    /// Encodes `batch`, of which nothing is written if that fails, on logs of which some are `taken` from shelves by it.
    fn encode(&self, batch: &LogBatch, taken: &Taken, encoder: &mut Encoder) -> Result<()> {
        let current = |region| match taken.get(&region) {
            Some(bounds) => *bounds,
            None => self.written_bounds(region),
        };
        let walked = batch.walk(current, |operation, before, after| {
            let encoded = encoder.add(operation, before, after);
            encoded.map_err(|error| self.translate(error, "encode"))
        });
        walked.map(drop)
    }

    /// The first entries of `[low, high)`: at least one, and more while their encodings together are
    /// within `bytes_max`.
    ///
    /// The range was in the log a moment ago, but a compaction may drop it, and a purge or a sweep may move it
    /// between looking up where it is and reading it there.
    fn read(&self, region: RegionId, low: u64, high: u64, bytes_max: u64) -> Result<Vec<LogEntry>> {
        let mut failure = raft_engine::Error::EntryNotFound;
        for _ in 0..READS_MAX {
            check_fetch(region, self.current(region)?, low, high)?;
            match self.read_written(region, low, high, bytes_max) {
                Ok(entries) if !entries.is_empty() => return Ok(entries),
                Ok(_) => {}
                Err(error) => failure = error,
            }
            if let Some(log) = self.shelved(region)? {
                let wanted = |entry: &LogEntry| (low..high).contains(&entry.index);
                let entries: Vec<_> = log.entries.into_iter().filter(wanted).collect();
                if !entries.is_empty() {
                    return Ok(entries);
                }
            }
        }
        check_fetch(region, self.current(region)?, low, high)?;
        Err(self.translate(failure, "read"))
    }

    fn read_written(
        &self,
        region: RegionId,
        low: u64,
        high: u64,
        bytes_max: u64,
    ) -> raft_engine::Result<Vec<LogEntry>> {
        let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let (id, engine) = (region.get(), self.engine());
        let read = || engine.fetch_entries_to::<EntryExt>(id, low, high, Some(limit), &mut entries);
        self.inner.reader.run(read)?;
        Ok(entries.into_iter().map(from_raft).collect())
    }
}

impl RaftLog for RaftLogEngine {
    type Batch = LogBatch;

    fn batch(&self) -> LogBatch {
        LogBatch::default()
    }

    fn write(&self, batch: &mut LogBatch, durability: Durability) -> Result<()> {
        let kept = self.inner.encoders.lock().pop();
        let mut encoder = kept.unwrap_or_default();
        let writing = self.inner.uses.write(
            batch
                .operations()
                .map(|operation| operation.region())
                .collect(),
        );
        let taken = self.take_back(&writing.fresh, &mut encoder)?;
        self.encode(batch, &taken, &mut encoder)?;
        let since = Stopwatch::start();
        match (encoder.batch.is_empty(), durability) {
            (true, Durability::Buffered) => self.inner.opened.watch.check()?,
            (true, Durability::Synced) => self.sync()?,
            (false, Durability::Buffered) => {
                self.write_engine(&mut encoder.batch, false)?;
                self.inner.unsynced.store(true, Ordering::SeqCst);
            }
            (false, Durability::Synced) => self.write_engine(&mut encoder.batch, true)?,
        }
        writing.done();
        let meter = self.inner.opened.watch.meter();
        meter.wrote(&since, batch.size_bytes());
        batch.clear();
        encoder.entries.clear();
        self.inner.encoders.lock().push(encoder);
        Ok(())
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        // Once more at the end: logs may be moved either way meanwhile.
        let mut regions = self.shelved_regions()?;
        regions.extend(
            self.written_regions()
                .filter(|region| self.is_written(*region)),
        );
        regions.append(&mut self.shelved_regions()?);
        Ok(regions.into_iter().collect())
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        self.current(region)
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        match self.read(region, index, index.saturating_add(1), 0) {
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
        check_fetch(region, self.current(region)?, low, high)?;
        // raft-engine reserves room for the whole range that it is asked for.
        let high = high.min(low.saturating_add(max_bytes / ENTRY_OVERHEAD_BYTES + 1));
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        let mut next = low;
        // raft-engine counts encoded bytes, so one call may stop too early or go too far.
        while next < high && (bytes < max_bytes || entries.is_empty()) {
            let read = self.read(region, next, high, max_bytes.saturating_sub(bytes))?;
            for entry in read {
                bytes += entry_bytes(&entry);
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                next += 1;
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn hard_state(&self, region: RegionId) -> Result<Option<HardState>> {
        let written = || self.state(region, HARD_STATE_KEY, codec::decode_hard_state);
        self.find(region, written, |log| log.hard_state)
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        let written = || self.state(region, APPLY_STATE_KEY, codec::decode_apply_state);
        self.find(region, written, |log| log.apply_state)
    }

    fn sync(&self) -> Result<()> {
        let _syncing = self.inner.syncing.lock();
        self.inner.opened.watch.check()?;
        if !self.inner.unsynced.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let mut marker = EngineBatch::default();
        let put = marker.put(SYNC_REGION, SYNC_KEY.to_vec(), Vec::new());
        let put = put.map_err(|error| self.translate(error, "encode"));
        let synced = put.and_then(|()| self.write_engine(&mut marker, true));
        synced.map_err(|error| {
            self.inner.unsynced.store(true, Ordering::SeqCst);
            error.half_done(&self.inner.directory)
        })
    }

    fn purge(&self) -> Result<()> {
        let _purging = self.inner.purging.lock();
        let Opened { engine, watch, .. } = &self.inner.opened;
        watch.check()?;
        if let Err(error) = engine.purge_expired_files() {
            // raft-engine forgets which Regions were removed before it has that in another file: a
            // second purge would bring them back.
            watch.stop(
                self.translate(error, "purge"),
                "a purge of the Raft log failed",
            );
        }
        watch.check()?;
        for queue in Queue::ALL {
            let (first, _) = engine.file_span(log_queue(queue));
            watch.give_back(queue, first - 1)?;
        }
        self.sweep()
    }

    fn collect(&self, page: &mut Page) {
        self.inner.opened.watch.meter().collect_log(page);
    }
}
