//! Logs that nobody writes to are put on shelves, and taken back when somebody does.
//!
//! **A crash at each line.** Either way a log is moved by one record, all of which is in the file or nothing. What is
//! put on a shelf need not be synced: without that record it is where it was.
//!
//! **Invariants.**
//! - A log is where it is written, or on a shelf, never on both.
//! - A reader that finds a log on neither, since it was moved meanwhile, looks again.
//!
//! **Not here.** Who may move a log: see `uses`. What is on a shelf: see `shelved`.

use crate::RaftLogEngine;
use crate::encode::{APPLY_STATE_KEY, Encoder, HARD_STATE_KEY};
use crate::shelved::{Shelved, key, region_of, shelf_of, shelves};
use engine::bounds::Bounds;
use engine::log_batch::LogOperation;
use engine::{Error, RaftLog, Result, codec, entry_bytes};
use raft_engine::{Command, LogBatch as EngineBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use types::RegionId;

/// A log with more bytes than these stays where it is.
const BYTES_MAX: u64 = 1024;
/// A sweep moves so many logs at most, so that it does not last, and so many in one record.
const SWEEP_MAX: usize = 20_000;
const RECORD_MAX: usize = 32;
/// A shelf is made anew when it has so many times the keys that stand for a log.
const SPARE_FACTOR: usize = 2;

/// The bounds of logs that a batch takes from shelves.
pub(crate) type Taken = BTreeMap<RegionId, Bounds>;

impl RaftLogEngine {
    /// The log of `region`, if it is on a shelf.
    pub(crate) fn shelved(&self, region: RegionId) -> Result<Option<Shelved>> {
        let value = self.engine().get(shelf_of(region), &key(region));
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let error = || {
            let what = format!("the shelved log of Region {region} is none");
            Error::damaged(&self.inner.directory, what)
        };
        Shelved::decode(&value).map(Some).ok_or_else(error)
    }

    /// Something of a log: as it is where it is written, or on a shelf.
    pub(crate) fn find<T>(
        &self,
        region: RegionId,
        written: impl Fn() -> Result<Option<T>>,
        shelved: impl Fn(Shelved) -> Option<T>,
    ) -> Result<Option<T>> {
        let found = written()?;
        if found.is_some() {
            return Ok(found);
        }
        match self.shelved(region)? {
            Some(log) => Ok(shelved(log)),
            // It may just have been taken from there.
            None => written(),
        }
    }

    /// The Regions whose logs are on shelves.
    pub(crate) fn shelved_regions(&self) -> Result<BTreeSet<RegionId>> {
        let mut regions = BTreeSet::new();
        for shelf in shelves() {
            let note = |key: &[u8], value: &[u8]| {
                regions.extend(region_of(key).filter(|_| !value.is_empty()));
                true
            };
            let scanned = self
                .engine()
                .scan_raw_messages(shelf, None, None, false, note);
            scanned.map_err(|error| self.translate(error, "read"))?;
        }
        Ok(regions)
    }

    /// Begins a batch with what takes these logs from the shelves, as far as they are there.
    pub(crate) fn take_back(&self, regions: &[RegionId], encoder: &mut Encoder) -> Result<Taken> {
        let mut taken = Taken::new();
        for region in regions {
            let Some(log) = self.shelved(*region)? else {
                continue;
            };
            let bounds = log.bounds();
            let mut add = |operation, after| {
                let added = encoder.add(operation, None, after);
                added.map_err(|error| self.translate(error, "encode"))
            };
            if bounds.is_some() {
                add(LogOperation::Append(*region, &log.entries), bounds)?;
            }
            if let Some(state) = log.hard_state {
                add(LogOperation::HardState(*region, state), None)?;
            }
            if let Some(state) = log.apply_state {
                add(LogOperation::ApplyState(*region, state), None)?;
            }
            // The last, so that readers find the log here before it is gone there.
            let put = encoder
                .batch
                .put(shelf_of(*region), key(*region), Vec::new());
            put.map_err(|error| self.translate(error, "encode"))?;
            taken.insert(*region, bounds);
        }
        Ok(taken)
    }

    /// Puts logs on shelves to which nobody has written for long enough. One thread at a time.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.clean_revived()?;
        let uses = &self.inner.uses;
        let idle = uses.idle(self.inner.idle_purges, SWEEP_MAX);
        for regions in idle.chunks(RECORD_MAX) {
            let moving = uses.begin_to_move(regions);
            match self.shelve(&moving) {
                Ok(large) => uses.moved(&moving, |region| large.contains(&region)),
                Err(error) => {
                    uses.stay(&moving);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes what a purge makes anew: raft-engine tells its other queue which groups were removed, and has an empty one of
    /// each in memory after that.
    fn clean_revived(&self) -> Result<()> {
        let uses = &self.inner.uses;
        let unlisted = uses.begin_to_clean(self.written_regions());
        let mut batch = EngineBatch::default();
        for region in unlisted.iter().filter(|region| !self.is_written(**region)) {
            batch.add_command(region.get(), Command::Clean);
        }
        let mut cleaned = Ok(());
        if !batch.is_empty() {
            cleaned = self.write_engine(&mut batch, false);
            self.inner.unsynced.store(true, Ordering::SeqCst);
        }
        uses.moved(&unlisted, |_| false);
        cleaned
    }

    /// Puts these logs on shelves, to which nobody writes meanwhile, and answers which ones are too large for it.
    fn shelve(&self, regions: &[RegionId]) -> Result<BTreeSet<RegionId>> {
        let mut batch = EngineBatch::default();
        let mut large = BTreeSet::new();
        for region in regions {
            let Some(log) = self.small(*region)? else {
                large.insert(*region);
                continue;
            };
            if log != Shelved::default() {
                // The shelf first, so that readers find the log there before it is gone here.
                let put = batch.put(shelf_of(*region), key(*region), log.encode());
                put.map_err(|error| self.translate(error, "encode"))?;
            }
            batch.add_command(region.get(), Command::Clean);
        }
        if !batch.is_empty() {
            self.write_engine(&mut batch, false)?;
            self.inner.unsynced.store(true, Ordering::SeqCst);
        }
        Ok(large)
    }

    /// All of a log that is where it is written, unless it is too large for a shelf.
    fn small(&self, region: RegionId) -> Result<Option<Shelved>> {
        let mut entries = Vec::new();
        if let Some((first, last)) = self.written_bounds(region) {
            entries = self.fetch(region, first, last.saturating_add(1), BYTES_MAX)?;
            let bytes: u64 = entries.iter().map(entry_bytes).sum();
            if bytes > BYTES_MAX || entries.last().is_none_or(|entry| entry.index < last) {
                return Ok(None);
            }
        }
        // Nothing of what is on a shelf, which this would take the place of.
        Ok(Some(Shelved {
            hard_state: self.state(region, HARD_STATE_KEY, codec::decode_hard_state)?,
            apply_state: self.state(region, APPLY_STATE_KEY, codec::decode_apply_state)?,
            entries,
        }))
    }

    /// Lists the logs that are not on shelves, and lets go of what says that others were. Nobody uses the log yet.
    pub(crate) fn take_stock(&self) -> Result<()> {
        for region in self
            .written_regions()
            .filter(|region| self.is_written(*region))
        {
            self.inner.uses.insert(region);
        }
        for shelf in shelves() {
            let mut batch = EngineBatch::default();
            batch.add_command(shelf, Command::Clean);
            let (mut kept, mut all) = (0, 0);
            let mut result = Ok(());
            let note = |key: &[u8], value: &[u8]| {
                all += 1;
                if !value.is_empty() {
                    kept += 1;
                    result = batch.put(shelf, key.to_vec(), value.to_vec());
                }
                result.is_ok()
            };
            let scanned = self
                .engine()
                .scan_raw_messages(shelf, None, None, false, note);
            scanned
                .and(result)
                .map_err(|error| self.translate(error, "read"))?;
            if all > SPARE_FACTOR * kept {
                self.write_engine(&mut batch, false)?;
                self.inner.unsynced.store(true, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RaftLogOptions;
    use engine::{Durability, RaftLogBatch};
    use std::path::Path;
    use tempfile::TempDir;
    use types::{HardState, LogEntry, PeerId};

    const REGIONS: std::ops::RangeInclusive<u64> = 1..=300;

    fn open(directory: &Path) -> RaftLogEngine {
        // Files so small that they rotate and are purged.
        let options = RaftLogOptions {
            file_bytes: 16 << 10,
            purge_threshold_bytes: 32 << 10,
            idle_purges: 0,
            ..RaftLogOptions::default()
        };
        RaftLogEngine::open(directory, &options).expect("the log opens")
    }

    fn entry(index: u64, bytes: usize) -> LogEntry {
        LogEntry {
            index,
            term: 1,
            data: vec![index as u8; bytes].into(),
            ..LogEntry::default()
        }
    }

    fn append(log: &RaftLogEngine, region: u64, index: u64) -> Result<()> {
        let mut batch = log.batch();
        batch.append(RegionId(region), &[entry(index, 20)]);
        log.write(&mut batch, Durability::Buffered)
    }

    /// Each Region has a hard state and one entry.
    fn filled() -> (TempDir, RaftLogEngine) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = open(directory.path());
        for region in REGIONS {
            let mut batch = log.batch();
            let state = HardState {
                term: 1,
                vote: PeerId(region),
                commit: 0,
            };
            batch.put_hard_state(RegionId(region), &state);
            log.write(&mut batch, Durability::Buffered).unwrap();
            append(&log, region, 7).unwrap();
        }
        (directory, log)
    }

    fn check(log: &RaftLogEngine, region: u64, last: u64) {
        let id = RegionId(region);
        assert_eq!(log.bounds(id).unwrap(), Some((7, last)));
        let entries: Vec<_> = (7..=last).map(|index| entry(index, 20)).collect();
        assert_eq!(log.fetch(id, 7, last + 1, u64::MAX).unwrap(), entries);
        let state = log.hard_state(id).unwrap().unwrap();
        assert_eq!(state.vote, PeerId(region));
    }

    fn is_shelved(log: &RaftLogEngine, region: u64) -> bool {
        let shelved = log.shelved(RegionId(region)).unwrap().is_some();
        let written = log.written_regions().any(|id| id.get() == region);
        assert_ne!(shelved, written);
        shelved
    }

    #[test]
    fn a_shelved_log_reads_as_before_and_can_be_written_to() {
        let (_directory, log) = filled();
        log.purge().unwrap();
        for region in REGIONS {
            assert!(is_shelved(&log, region));
            check(&log, region, 7);
        }
        let regions: Vec<_> = REGIONS.map(RegionId).collect();
        assert_eq!(log.regions().unwrap(), regions);
        append(&log, 5, 8).unwrap();
        assert!(!is_shelved(&log, 5));
        check(&log, 5, 8);
        log.purge().unwrap();
        assert!(is_shelved(&log, 5));
        check(&log, 5, 8);
    }

    #[test]
    fn it_takes_little_memory() {
        let (_directory, log) = filled();
        let written = fuzz::held();
        log.purge().unwrap();
        let saved = (written - fuzz::held()) / REGIONS.count() as i64;
        assert!(saved > 1_500, "{saved} bytes each");
    }

    #[test]
    fn a_purge_does_not_make_its_old_group_anew() {
        let (directory, log) = filled();
        log.purge().unwrap();
        let mut batch = log.batch();
        for index in 8..100 {
            batch.append(RegionId(1000), &[entry(index, 1000)]);
            log.write(&mut batch, Durability::Buffered).unwrap();
        }
        for _ in 0..2 {
            log.purge().unwrap();
            assert!(REGIONS.into_iter().all(|region| is_shelved(&log, region)));
        }
        drop(log);
        let log = open(directory.path());
        for region in REGIONS {
            assert!(is_shelved(&log, region));
            check(&log, region, 7);
        }
    }

    #[test]
    fn a_large_log_stays_where_it_is() {
        let (_directory, log) = filled();
        let mut batch = log.batch();
        batch.append(RegionId(5), &[entry(8, 2000)]);
        log.write(&mut batch, Durability::Buffered).unwrap();
        log.purge().unwrap();
        assert!(!is_shelved(&log, 5));
        assert!(is_shelved(&log, 6));
    }

    #[test]
    fn a_write_that_is_refused_leaves_it_there() {
        let (_directory, log) = filled();
        log.purge().unwrap();
        assert!(matches!(append(&log, 5, 9), Err(Error::Hole { .. })));
        assert!(is_shelved(&log, 5));
        append(&log, 5, 8).unwrap();
        check(&log, 5, 8);
    }

    #[test]
    fn a_removed_log_does_not_come_back() {
        let (directory, log) = filled();
        log.purge().unwrap();
        let mut batch = log.batch();
        batch.remove(RegionId(5));
        log.write(&mut batch, Durability::Synced).unwrap();
        for _ in 0..2 {
            assert_eq!(log.bounds(RegionId(5)).unwrap(), None);
            assert!(!log.regions().unwrap().contains(&RegionId(5)));
            log.purge().unwrap();
        }
        drop(log);
        assert_eq!(open(directory.path()).bounds(RegionId(5)).unwrap(), None);
    }

    #[test]
    fn reopening_lets_go_of_keys_whose_logs_were_taken_back() {
        let (directory, log) = filled();
        log.purge().unwrap();
        for region in REGIONS.skip(100) {
            append(&log, region, 8).unwrap();
        }
        let keys = |log: &RaftLogEngine| {
            let mut keys = 0;
            let mut count = |_: &[u8], _: &[u8]| {
                keys += 1;
                true
            };
            for shelf in shelves() {
                let scanned = log
                    .engine()
                    .scan_raw_messages(shelf, None, None, false, &mut count);
                scanned.unwrap();
            }
            keys
        };
        assert_eq!(keys(&log), REGIONS.count());
        drop(log);
        for _ in 0..2 {
            let log = open(directory.path());
            assert_eq!(keys(&log), 100);
            for region in REGIONS {
                check(&log, region, if region > 100 { 8 } else { 7 });
            }
        }
    }

    #[test]
    fn writers_and_sweeps_don_t_lose_each_other_s_work() {
        const LAST: u64 = 60;
        let (directory, log) = filled();
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let log = &log;
                scope.spawn(move || {
                    for index in 8..=LAST {
                        for region in REGIONS.filter(|region| region % 2 == writer).take(20) {
                            append(log, region, index).unwrap();
                            check(log, region, index);
                        }
                    }
                });
            }
            scope.spawn(|| {
                while log.bounds(RegionId(1)).unwrap() != Some((7, LAST)) {
                    log.purge().unwrap();
                }
            });
        });
        drop(log);
        let log = open(directory.path());
        for region in REGIONS {
            check(&log, region, if region <= 40 { LAST } else { 7 });
        }
    }
}
