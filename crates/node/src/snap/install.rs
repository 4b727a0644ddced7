//! Putting a received snapshot in the place of what a Region holds here.
//!
//! **Crash.** The file is whole and synced before. The *mark*, synced, names it; then the ranges of the
//! Region as it was and as it will be are emptied and the pairs written, buffered; one synced batch at
//! last holds the Region's shape, `applied = truncated = index`, and removes the mark. While the mark is
//! there the data is neither the old nor the new: [`recover_snapshots`], at the start and before anything
//! reads, does the work again from the file.
//!
//! Is the file damaged then, a replica that held nothing before holds nothing again: it never
//! acknowledged anything. One that did acknowledge stops the start: its log is whole, but its data is
//! lost, and it can't be told apart from one whose disk fails.
//!
//! **A source.** A snapshot that carries the replica over a merge takes the source's replica here in, as the
//! entry would have done: that one's data goes with the old data, and the last batch buries it.
//!
//! ```text
//! mark := version:u8=2  to:u64be  takes_in:u8  meta            at types::keys::snapshot_mark_key
//! ```
//!
//! **Invariants.** Nothing outside of the two ranges and the Region's records changes, the source's left aside. That nobody
//! else on this store owns a part of them was checked when the snapshot was let in.
//!
//! **Not here.** The Raft log (`recover`, and the Peer's effects).

use super::dir::SnapshotDir;
use super::format::{Checker, FAMILIES, FormatError, read_frame};
use crate::error::StartError;
use crate::flow::FlowControl;
use crate::room::{DiskRoom, Insisted};
use bytes::Bytes;
use engine::{Cf, Durability, KvBatch, KvEngine, KvIterator, KvSnapshot};
use raftstore::state::{self, RegionRecord};
use raftstore::{InstallSnapshot, SnapshotMeta};
use std::io::Read;
use std::time::Duration;
use thiserror::Error;
use types::{ApplyState, PeerId, Region, RegionId, Space, keys};

const VERSION: u8 = 2;
/// While the engine is behind, each part of a snapshot waits so long: RocksDB would stop the writes of all Regions if many
/// that come at once were written as fast as they come.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a snapshot was not installed. If the mark was written, it is still there.
#[derive(Debug, Error)]
pub(crate) enum InstallError {
    #[error("the key-value engine failed")]
    Engine(#[from] engine::Error),
    #[error("the snapshot's file")]
    File(#[from] FormatError),
    #[error("a record of the Region can't be read: {0}")]
    Record(String),
}

/// Installs a snapshot whose file is there.
pub(super) fn install<K: KvEngine>(
    kv: &K,
    dir: &dyn SnapshotDir,
    install: &InstallSnapshot,
    (room, flow): (&DiskRoom, &FlowControl),
) -> Result<Insisted, InstallError> {
    let file = open(dir, install)?;
    let mut batch = kv.batch();
    let key = keys::snapshot_mark_key(install.key.region_id);
    batch.put(Cf::Raft, &key, &encode_mark(install));
    let flow = Some(flow);
    let mut writer = Writer {
        kv,
        room,
        flow,
        batch,
    };
    failpoint::at!("node::install::before_mark");
    if writer.write(Durability::Synced)? == Insisted::GaveUp {
        return Ok(Insisted::GaveUp);
    }
    failpoint::at!("node::install::marked");
    writer.replace(file, install)
}

/// The state of a replica right after its snapshot.
pub(crate) fn installed_state(meta: &SnapshotMeta) -> ApplyState {
    ApplyState {
        applied_index: meta.index,
        applied_term: meta.term,
        truncated_index: meta.index,
        truncated_term: meta.term,
    }
}

/// What a start does before anything reads the engine: it ends what was being installed when the process
/// ended, and removes what was received and not.
///
/// # Errors
/// A file is not what it was, and the replica had data before.
pub fn recover_snapshots<K: KvEngine>(
    kv: &K,
    dir: &dyn SnapshotDir,
    room: &DiskRoom,
) -> Result<(), StartError> {
    resume(kv, dir, room)?;
    remove_unmarked(kv, dir)
}

fn resume<K: KvEngine>(kv: &K, dir: &dyn SnapshotDir, room: &DiskRoom) -> Result<(), StartError> {
    for install in marks(kv).map_err(unreadable)? {
        let region = install.key.region_id;
        let batch = kv.batch();
        // Nobody writes yet.
        let flow = None;
        let mut writer = Writer {
            kv,
            room,
            flow,
            batch,
        };
        let replaced = open(dir, &install).and_then(|file| writer.replace(file, &install));
        match replaced {
            Ok(_) => tracing::info!(%region, key = %install.key, "installed a snapshot after all"),
            Err(InstallError::Engine(source)) => {
                return Err(StartError::engine("installing a snapshot")(source));
            }
            Err(error) if !has_data(kv, region)? => {
                tracing::warn!(%region, %error, "threw away a snapshot that was half installed");
                writer.throw_away(&install).map_err(StartError::engine(
                    "throwing away a snapshot that was half installed",
                ))?;
            }
            Err(error) => {
                let source = std::error::Error::source(&error);
                let reason = source.map_or_else(String::new, |source| format!(": {source}"));
                let what = format!("a snapshot was being installed, but {error}{reason}");
                return Err(StartError::Inconsistent { region, what });
            }
        }
    }
    Ok(())
}

/// Removes all files that no mark names: their messages died with the process.
fn remove_unmarked<K: KvEngine>(kv: &K, dir: &dyn SnapshotDir) -> Result<(), StartError> {
    let marked: Vec<String> = marks(kv)
        .map_err(unreadable)?
        .iter()
        .map(|install| install.key.to_string())
        .collect();
    for file in dir.list()? {
        if !marked.contains(&file.name) {
            dir.remove(&file.name)?;
        }
    }
    Ok(())
}

/// Whether a mark names this file.
pub(super) fn is_marked<K: KvEngine>(kv: &K, name: &str) -> Result<bool, InstallError> {
    let marks = marks(kv)?;
    Ok(marks.iter().any(|install| install.key.to_string() == name))
}

fn unreadable(error: InstallError) -> StartError {
    match error {
        InstallError::Engine(source) => StartError::engine("reading marks of snapshots")(source),
        InstallError::File(_) | InstallError::Record(_) => StartError::Damaged {
            what: error.to_string(),
        },
    }
}

fn open(
    dir: &dyn SnapshotDir,
    install: &InstallSnapshot,
) -> Result<Box<dyn Read + Send>, InstallError> {
    let opened = dir.open(&install.key.to_string());
    Ok(opened.map_err(FormatError::Io)?)
}

fn encode_mark(install: &InstallSnapshot) -> Vec<u8> {
    let to = install.key.to.get().to_be_bytes();
    let takes_in = [u8::from(install.takes_in.is_some())];
    [&[VERSION], to.as_slice(), &takes_in, &install.meta.encode()].concat()
}

fn decode_mark(mark: &Bytes) -> Result<InstallSnapshot, InstallError> {
    const HEAD: usize = 10;
    let broken = |why: &str| InstallError::Record(format!("the mark of a snapshot: {why}"));
    let head = mark.first_chunk::<HEAD>().ok_or_else(|| broken("cut"))?;
    let [VERSION, to @ .., takes_in] = *head else {
        return Err(broken("of another version"));
    };
    let meta = SnapshotMeta::decode(mark.slice(HEAD..));
    let meta = meta.map_err(|error| broken(&error.to_string()))?;
    let to = PeerId(u64::from_be_bytes(to));
    let takes_in = match takes_in {
        0 => None,
        1 => Some(meta.take_in(to).ok_or_else(|| broken("without a source"))?),
        _ => return Err(broken("of a kind that is none")),
    };
    Ok(InstallSnapshot {
        key: meta.key(to),
        meta,
        takes_in,
    })
}

fn marks<K: KvEngine>(kv: &K) -> Result<Vec<InstallSnapshot>, InstallError> {
    let (lower, upper) = keys::SNAPSHOT_MARK_RANGE;
    let snapshot = kv.snapshot();
    let mut iter = snapshot.iter(Cf::Raft, lower, upper)?;
    let mut found = Vec::new();
    let mut valid = iter.seek_to_first()?;
    while valid {
        found.push(decode_mark(&Bytes::copy_from_slice(iter.value()))?);
        valid = iter.next()?;
    }
    Ok(found)
}

fn region<K: KvEngine>(kv: &K, id: RegionId) -> Result<Option<Region>, InstallError> {
    let record = kv.get(Cf::Raft, &keys::region_state_key(id))?;
    let record = record.map(RegionRecord::decode).transpose();
    match record.map_err(|error| InstallError::Record(error.to_string()))? {
        Some(RegionRecord::Normal(region) | RegionRecord::Merging(region, _)) => Ok(Some(region)),
        // One that was here before is gone, with its data.
        Some(RegionRecord::Tombstone(_)) | None => Ok(None),
    }
}

/// Whether the replica has held anything before its snapshot.
fn has_data<K: KvEngine>(kv: &K, id: RegionId) -> Result<bool, StartError> {
    let region = region(kv, id).map_err(unreadable)?;
    Ok(region.is_some())
}

struct Writer<'a, K: KvEngine> {
    kv: &'a K,
    room: &'a DiskRoom,
    flow: Option<&'a FlowControl>,
    batch: K::Batch,
}

impl<K: KvEngine> Writer<'_, K> {
    fn write(&mut self, durability: Durability) -> engine::Result<Insisted> {
        let write = || self.kv.write(&mut self.batch, durability);
        self.room.insist("a snapshot", write)
    }

    fn clear(&mut self, region: &Region) {
        let space = Space::of(region.id);
        let start = space.key(&region.range.start);
        let end = space.end_key(&region.range.end);
        for cf in FAMILIES {
            self.batch.delete_range(cf, &start, &end);
        }
    }

    /// From the mark to the mark's end.
    fn replace(
        &mut self,
        mut file: Box<dyn Read + Send>,
        install: &InstallSnapshot,
    ) -> Result<Insisted, InstallError> {
        let meta = &install.meta;
        let source = install.takes_in.map(|taken| taken.tombstone.region_id);
        for id in [Some(install.key.region_id), source].into_iter().flatten() {
            if let Some(old) = region(self.kv, id)? {
                self.clear(&old);
            }
        }
        self.clear(&meta.region);
        if self.write(Durability::Buffered)? == Insisted::GaveUp {
            return Ok(Insisted::GaveUp);
        }
        failpoint::at!("node::install::cleared");
        let mut checker = Checker::new(meta.clone());
        let space = Space::of(meta.region.id);
        let mut engine_key = Vec::new();
        while let Some(frame) = read_frame(&mut file).map_err(FormatError::Io)? {
            checker.check(&frame, |cf, key, value| {
                engine_key.clear();
                space.key_into(key, &mut engine_key);
                self.batch.put(cf, &engine_key, value);
            })?;
            if let Some(flow) = self.flow {
                flow.after_others(PATIENCE);
            }
            if !self.batch.is_empty() && self.write(Durability::Buffered)? == Insisted::GaveUp {
                return Ok(Insisted::GaveUp);
            }
            failpoint::at!("node::install::chunk_written");
        }
        checker.finish()?;
        self.finish(install)
    }

    fn finish(&mut self, install: &InstallSnapshot) -> Result<Insisted, InstallError> {
        let (id, meta) = (install.key.region_id, &install.meta);
        let region = RegionRecord::Normal(meta.region.clone()).encode();
        let applied = state::encode_apply_state(&installed_state(meta));
        let batch = &mut self.batch;
        batch.put(Cf::Raft, &keys::region_state_key(id), &region);
        batch.put(Cf::Raft, &keys::apply_state_key(id), &applied);
        let epoch = state::encode_epoch(meta.region.epoch);
        batch.put(Cf::Raft, &keys::restored_epoch_key(id), &epoch);
        match &meta.last_merge {
            Some(merge) => batch.put(Cf::Raft, &keys::last_merge_key(id), &merge.encode()),
            None => batch.delete(Cf::Raft, &keys::last_merge_key(id)),
        }
        if let Some(taken) = &install.takes_in {
            let (key, record) = taken.tombstone_record();
            batch.put(Cf::Raft, &key, &record);
            for key in taken.dead_records() {
                batch.delete(Cf::Raft, &key);
            }
        }
        batch.delete(Cf::Raft, &keys::snapshot_mark_key(id));
        failpoint::at!("node::install::before_finish");
        let written = self.write(Durability::Synced)?;
        failpoint::at!("node::install::finished");
        Ok(written)
    }

    fn throw_away(&mut self, install: &InstallSnapshot) -> engine::Result<()> {
        self.batch.clear();
        self.clear(&install.meta.region);
        let mark = keys::snapshot_mark_key(install.key.region_id);
        self.batch.delete(Cf::Raft, &mark);
        self.kv.write(&mut self.batch, Durability::Synced)
    }
}

#[cfg(test)]
mod tests;
