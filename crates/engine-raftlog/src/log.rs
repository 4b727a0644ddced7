//! [`RaftLogEngine`]: the log itself.
//!
//! **Invariants.**
//! - Whatever would make raft-engine panic (a hole, an overwrite of what is compacted) is refused
//!   before it gets there.
//! - `unsynced` is set after a buffered write is in the file and before its call returns; so a sync
//!   that finds it unset has nothing to do.
//!
//! **Not here.** Opening: see `open`.

use crate::RaftLogOptions;
use crate::convert::{EntryExt, from_raft, to_raft};
use crate::manifest::Queue;
use crate::open::{Opened, log_queue, open, translate};
use engine::bounds::{Bounds, check_fetch};
use engine::log_batch::{LogBatch, LogOperation, bounds_after};
use engine::{Durability, Error, RaftLog, RaftLogBatch, Result, codec, entry_bytes};
use parking_lot::Mutex;
use raft_engine::{Command, LogBatch as EngineBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use types::{ApplyState, HardState, LogEntry, RegionId};

const HARD_STATE_KEY: &[u8] = b"h";
const APPLY_STATE_KEY: &[u8] = b"a";
/// raft-engine syncs only together with a write, so a sync writes this: under the id that no Region
/// has.
const SYNC_REGION: u64 = 0;
const SYNC_KEY: &[u8] = b"s";

/// Raft logs in a directory.
#[derive(Clone)]
pub struct RaftLogEngine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) opened: Opened,
    directory: PathBuf,
    unsynced: AtomicBool,
    /// Held through a sync, so that a second one doesn't return before the first is done.
    syncing: Mutex<()>,
}

impl RaftLogEngine {
    /// Verifies and opens the logs in `directory`, which is created if it isn't there.
    ///
    /// # Errors
    /// [`Error::Locked`] while they are open elsewhere; [`Error::Corruption`], naming the file, the
    /// offset and what to do, if anything but a torn end is missing or damaged; [`Error::Io`],
    /// [`Error::Sync`] and [`Error::DiskFull`] if the files can't be read or written.
    pub fn open(directory: &Path, options: &RaftLogOptions) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                opened: open(directory, options)?,
                directory: directory.to_path_buf(),
                unsynced: AtomicBool::new(false),
                syncing: Mutex::new(()),
            }),
        })
    }

    fn engine(&self) -> &crate::open::WatchedEngine {
        &self.inner.opened.engine
    }

    fn current(&self, region: RegionId) -> Bounds {
        let first = self.engine().first_index(region.get())?;
        let last = self.engine().last_index(region.get())?;
        Some((first, last))
    }

    fn translate(&self, error: raft_engine::Error, operation: &'static str) -> Error {
        translate(error, operation, &self.inner.directory)
    }

    fn write_engine(&self, batch: &mut EngineBatch, sync: bool) -> Result<()> {
        let Opened { engine, watch, .. } = &self.inner.opened;
        watch.check()?;
        let written = engine.write(batch, sync);
        // A sync that failed within it, or a file that could not be listed.
        watch.check()?;
        written
            .map(drop)
            .map_err(|error| self.translate(error, "write"))
    }

    fn state<T>(
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
}

fn translate_operations(operations: &[LogOperation]) -> raft_engine::Result<EngineBatch> {
    let mut batch = EngineBatch::with_capacity(operations.len());
    for operation in operations {
        match operation {
            LogOperation::Append(region, entries) => {
                let entries: Vec<_> = entries.iter().map(to_raft).collect();
                batch.add_entries::<EntryExt>(region.get(), &entries)?;
            }
            LogOperation::HardState(region, state) => {
                let value = codec::encode_hard_state(state);
                batch.put(region.get(), HARD_STATE_KEY.to_vec(), value)?;
            }
            LogOperation::ApplyState(region, state) => {
                let value = codec::encode_apply_state(state);
                batch.put(region.get(), APPLY_STATE_KEY.to_vec(), value)?;
            }
            LogOperation::Compact(region, up_to) => {
                batch.add_command(region.get(), Command::Compact { index: *up_to });
            }
            LogOperation::Remove(region) => batch.add_command(region.get(), Command::Clean),
        }
    }
    Ok(batch)
}

impl RaftLog for RaftLogEngine {
    type Batch = LogBatch;

    fn batch(&self) -> LogBatch {
        LogBatch::default()
    }

    fn write(&self, batch: &mut LogBatch, durability: Durability) -> Result<()> {
        if batch.is_empty() {
            return match durability {
                Durability::Buffered => self.inner.opened.watch.check(),
                Durability::Synced => self.sync(),
            };
        }
        bounds_after(batch.operations(), |region| self.current(region))?;
        let translated = translate_operations(batch.operations());
        let mut translated = translated.map_err(|error| self.translate(error, "encode"))?;
        let sync = durability == Durability::Synced;
        self.write_engine(&mut translated, sync)?;
        if !sync {
            self.inner.unsynced.store(true, Ordering::SeqCst);
        }
        batch.clear();
        Ok(())
    }

    fn regions(&self) -> Result<Vec<RegionId>> {
        let holds_anything = |region: &u64| {
            self.engine().first_index(*region).is_some()
                || self.engine().get(*region, HARD_STATE_KEY).is_some()
                || self.engine().get(*region, APPLY_STATE_KEY).is_some()
        };
        let groups = self.engine().raft_groups().into_iter();
        let groups = groups
            .filter(|region| *region != SYNC_REGION)
            .filter(holds_anything);
        let mut regions: Vec<RegionId> = groups.map(RegionId).collect();
        regions.sort_unstable();
        Ok(regions)
    }

    fn bounds(&self, region: RegionId) -> Result<Option<(u64, u64)>> {
        Ok(self.current(region))
    }

    fn entry(&self, region: RegionId, index: u64) -> Result<Option<LogEntry>> {
        let entry = self.engine().get_entry::<EntryExt>(region.get(), index);
        let entry = entry.map_err(|error| self.translate(error, "read"))?;
        Ok(entry.map(from_raft))
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
        let mut bytes = 0;
        let mut next = low;
        // raft-engine counts encoded bytes, so one call may stop too early or go too far.
        while next < high && (bytes < max_bytes || entries.is_empty()) {
            let limit = usize::try_from(max_bytes.saturating_sub(bytes)).unwrap_or(usize::MAX);
            let mut fetched = Vec::new();
            let read = self.engine().fetch_entries_to::<EntryExt>(
                region.get(),
                next,
                high,
                Some(limit),
                &mut fetched,
            );
            read.map_err(|error| self.translate(error, "read"))?;
            assert!(
                !fetched.is_empty(),
                "a fetch of entries that are there brought none"
            );
            for entry in fetched.into_iter().map(from_raft) {
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
        self.state(region, HARD_STATE_KEY, codec::decode_hard_state)
    }

    fn apply_state(&self, region: RegionId) -> Result<Option<ApplyState>> {
        self.state(region, APPLY_STATE_KEY, codec::decode_apply_state)
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
        Ok(())
    }
}
