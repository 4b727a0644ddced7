//! Moving a store's Raft logs from one engine to another at start.
//!
//! **Why a marker.** Both engines can have a directory at the same time: half a copy, or a source
//! that is not yet removed. A marker file in the root names the directory that counts.
//!
//! **The protocol**, and what a crash after each step leaves:
//! 1. The marker names the source. What a broken-off attempt left in the target is removed.
//! 2. Everything is copied into the target, compared, and synced. *Starts over.*
//! 3. The marker is replaced, atomically, by one that names the target. *Goes on with 4.*
//! 4. The source is removed. *Removed at the next start, whichever engine is then wanted.*
//!
//! **Invariants.** The directory that the marker names holds everything that was synced. Nothing is
//! removed unless the marker names another directory. Without a marker nothing is removed at all:
//! one directory is adopted, two are refused.
//!
//! **Not here.** Locking: the caller holds the store's data directory, alone, all the time.

use crate::file::{failed, read_if_there, sync_directory, write_atomically};
use crate::{Durability, Error, RaftLog, RaftLogBatch, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use types::RegionId;

/// What one fetch of the copy reads at most. Bytes.
const FETCH_BYTES: u64 = 1 << 20;
/// What one write of the copy holds at least, until the end. Bytes.
const WRITE_BYTES: usize = 4 << 20;

/// Where the logs of a store are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The store's data directory.
    pub root: PathBuf,
    /// The name of the marker file in the root.
    pub marker: String,
    /// The directory, in the root, of the engine that is wanted.
    pub wanted: String,
    /// The directory, in the root, of the engine that may have been used before.
    pub other: String,
}

/// How far [`open`] has come; each is told when it is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removing a directory that doesn't count.
    RemoveStale,
    /// Copying one Region's log; this many are done of so many.
    Copy {
        /// Regions that are copied.
        done: usize,
        /// Regions that there are.
        total: usize,
    },
    /// Syncing the target.
    Sync,
    /// Replacing the marker.
    Mark,
    /// Removing the source.
    RemoveSource,
    /// Opening the engine that is wanted.
    Open,
}

/// Opens the wanted engine with `open_wanted`, after the logs of the other one, read through
/// `open_other`, were moved into it if they count. Both get the directory to open or create.
/// `progress` hears of every step; its error stops where it stands, as a crash would, and is
/// returned.
///
/// # Errors
/// [`Error::Corruption`] if it isn't clear which directory counts or if the one that counts is gone;
/// else the engines' errors and those of reading and writing files.
pub fn open<W: RaftLog, O: RaftLog>(
    place: &Place,
    open_wanted: impl Fn(&Path) -> Result<W>,
    open_other: impl FnOnce(&Path) -> Result<O>,
    progress: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<W> {
    let wanted = place.root.join(&place.wanted);
    let other = place.root.join(&place.other);
    let authority = match read_marker(place)? {
        Some(name) => {
            check_there(place, &name)?;
            Some(name)
        }
        None => adopt(place)?,
    };
    match authority {
        None => {
            progress(Step::Open)?;
            let log = open_wanted(&wanted)?;
            // Only now: a marker that names a directory promises that it is there.
            sync_directory(&place.root)?;
            progress(Step::Mark)?;
            mark(place, &place.wanted)?;
            return Ok(log);
        }
        Some(name) if name == place.wanted => {
            if other.exists() {
                progress(Step::RemoveStale)?;
                remove(place, &other)?;
            }
        }
        Some(_) => {
            if wanted.exists() {
                progress(Step::RemoveStale)?;
                remove(place, &wanted)?;
            }
            let source = open_other(&other)?;
            let target = open_wanted(&wanted)?;
            copy(&source, &target, progress)?;
            drop((source, target));
            sync_directory(&place.root)?;
            progress(Step::Mark)?;
            mark(place, &place.wanted)?;
            progress(Step::RemoveSource)?;
            remove(place, &other)?;
        }
    }
    progress(Step::Open)?;
    open_wanted(&wanted)
}

/// Copies every Region's entries and states from `source` into `target`, which must be empty, syncs
/// it and compares what both say.
///
/// # Errors
/// The engines' errors, and that of `progress`; the target is then of no use.
pub fn copy<S: RaftLog, T: RaftLog>(
    source: &S,
    target: &T,
    progress: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<()> {
    let regions = source.regions()?;
    assert!(
        target.regions()?.is_empty(),
        "the target of a copy holds logs"
    );
    let mut batch = target.batch();
    for (done, region) in regions.iter().enumerate() {
        let total = regions.len();
        progress(Step::Copy { done, total })?;
        copy_region(source, target, *region, &mut batch)?;
    }
    progress(Step::Sync)?;
    target.write(&mut batch, Durability::Synced)?;
    target.sync()?;
    compare(source, target, &regions)
}

fn copy_region<S: RaftLog, T: RaftLog>(
    source: &S,
    target: &T,
    region: RegionId,
    batch: &mut T::Batch,
) -> Result<()> {
    if let Some(state) = source.hard_state(region)? {
        batch.put_hard_state(region, &state);
    }
    if let Some(state) = source.apply_state(region)? {
        batch.put_apply_state(region, &state);
    }
    let Some((first, last)) = source.bounds(region)? else {
        return Ok(());
    };
    let mut next = first;
    while next <= last {
        let entries = source.fetch(region, next, last + 1, FETCH_BYTES)?;
        next += entries.len() as u64;
        batch.append(region, &entries);
        if batch.size_bytes() >= WRITE_BYTES {
            target.write(batch, Durability::Buffered)?;
        }
    }
    Ok(())
}

fn compare<S: RaftLog, T: RaftLog>(source: &S, target: &T, regions: &[RegionId]) -> Result<()> {
    let mut same = target.regions()? == regions;
    for region in regions {
        same = same
            && source.bounds(*region)? == target.bounds(*region)?
            && source.hard_state(*region)? == target.hard_state(*region)?
            && source.apply_state(*region)? == target.apply_state(*region)?;
    }
    // Not the disk's fault but ours: going on would lose logs.
    assert!(same, "the copy of the Raft logs differs from its source");
    Ok(())
}

fn read_marker(place: &Place) -> Result<Option<String>> {
    let path = place.root.join(&place.marker);
    let Some(content) = read_if_there(&path)? else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(&content).trim_end().to_owned();
    if name == place.wanted || name == place.other {
        return Ok(Some(name));
    }
    let reason = format!("it names the Raft log directory {name:?}, which is of no known engine");
    Err(Error::corrupt(path, reason))
}

fn mark(place: &Place, name: &str) -> Result<()> {
    let path = place.root.join(&place.marker);
    write_atomically(&path, format!("{name}\n").as_bytes())
}

/// The directory that counts, as [`open`] would find it, and without a change; none if there are no logs yet.
///
/// # Errors
/// [`Error::Corruption`] if it isn't clear which one counts, or if that is gone; errors of reading.
pub fn current(place: &Place) -> Result<Option<String>> {
    let Some(name) = read_marker(place)? else {
        return candidate(place);
    };
    check_there(place, &name)?;
    Ok(Some(name))
}

fn check_there(place: &Place, name: &str) -> Result<()> {
    let path = place.root.join(name);
    if path.is_dir() {
        return Ok(());
    }
    Err(Error::damaged(path, "the Raft logs were here and are gone"))
}

/// Marks which directory counts where no marker says it.
fn adopt(place: &Place) -> Result<Option<String>> {
    let name = candidate(place)?;
    if let Some(name) = &name {
        mark(place, name)?;
    }
    Ok(name)
}

/// Which directory counts where no marker says it.
fn candidate(place: &Place) -> Result<Option<String>> {
    let there = |name: &String| place.root.join(name).is_dir();
    let name = match (there(&place.wanted), there(&place.other)) {
        (false, false) => return Ok(None),
        (true, false) => &place.wanted,
        (false, true) => &place.other,
        (true, true) => {
            let reason = format!(
                "both {} and {} hold Raft logs and the marker file {} is gone; \
                 write the name of the one that was in use into it",
                place.wanted, place.other, place.marker
            );
            return Err(Error::corrupt(&place.root, reason));
        }
    };
    Ok(Some(name.clone()))
}

fn remove(place: &Place, path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => sync_directory(&place.root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path, error)),
    }
}
