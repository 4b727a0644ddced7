//! Opens a node's engines in its data folder.
//!
//! ```text
//! data-dir/LOCK           held while the node runs
//! data-dir/db/            the data
//! data-dir/RAFT-LOG       names the folder of Raft logs that counts
//! data-dir/raft-engine/   Raft logs in the log engine, or
//! data-dir/raft-rocks/    Raft logs in RocksDB
//! ```
//!
//! **Invariants.** Logs that are in the other engine are moved before the node sees any. A crash while
//! they are moved is repaired at the next start, whichever engine is then wanted. What is opened for reading
//! only stays as it is.
//!
//! **Not here.** The moving itself (`engine::switch`).

use super::data_dir::DataDir;
use super::settings;
use crate::config::Config;
use crate::error::{Error, Result};
use engine::RaftLog;
use engine::switch::{self, Place, Step};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use engine_rocks::{RocksKv, RocksLog};
use std::path::Path;

const KV: &str = "db";
const MARKER: &str = "RAFT-LOG";
const LOG_ENGINE: &str = "raft-engine";
const ROCKS: &str = "raft-rocks";

/// Hears how far a stage has come: of what, how many, of how many. From any thread.
pub type Progress<'a> = &'a (dyn Fn(&'static str, u64, u64) + Sync);

/// Opens the data.
///
/// # Errors
/// It is damaged, or can't be read or written.
pub fn open_kv(config: &Config, data_dir: &DataDir) -> Result<RocksKv> {
    let options = settings::rocks_options(config);
    RocksKv::open(&data_dir.path().join(KV), &options).map_err(Error::Engine)
}

/// Opens the data for reading only.
///
/// # Errors
/// It is damaged, or can't be read.
pub fn read_kv(config: &Config, data_dir: &DataDir) -> Result<RocksKv> {
    let options = settings::rocks_options(config);
    RocksKv::open_read_only(&data_dir.path().join(KV), &options).map_err(Error::Engine)
}

/// Looks for damage in the data that [`open_kv`] passes over.
///
/// # Errors
/// There is some, or it can't be read.
pub fn check_kv(data_dir: &DataDir) -> Result<()> {
    RocksKv::check_wal(&data_dir.path().join(KV)).map_err(Error::Engine)
}

/// Raft logs in either engine.
pub enum Logs {
    /// In the log engine.
    Engine(RaftLogEngine),
    /// In RocksDB.
    Rocks(RocksLog),
}

/// Opens the Raft logs for reading only, in the engine that they are in.
///
/// # Errors
/// There are none, they are damaged, or they can't be read.
pub fn read_logs(config: &Config, data_dir: &DataDir) -> Result<Logs> {
    let place = place(data_dir, LOG_ENGINE, ROCKS);
    let current = switch::current(&place).map_err(Error::Engine)?;
    let path = |name: &str| data_dir.path().join(name);
    let opened = match current.as_deref() {
        Some(LOG_ENGINE) => {
            let options = RaftLogOptions::default();
            RaftLogEngine::open_read_only(&path(LOG_ENGINE), &options, &|_, _| ()).map(Logs::Engine)
        }
        Some(_) => {
            let options = settings::rocks_log_options(config);
            RocksLog::open_read_only(&path(ROCKS), &options).map(Logs::Rocks)
        }
        None => Err(engine::Error::corrupt(
            data_dir.path(),
            "there are no Raft logs",
        )),
    };
    opened.map_err(Error::Engine)
}

fn place(data_dir: &DataDir, wanted: &str, other: &str) -> Place {
    Place {
        root: data_dir.path().to_owned(),
        marker: MARKER.to_owned(),
        wanted: wanted.to_owned(),
        other: other.to_owned(),
    }
}

/// Opens the Raft logs in the log engine, after moving them there if they are in RocksDB.
///
/// # Errors
/// They are damaged, or can't be read or written.
pub fn open_log_engine(
    config: &Config,
    data_dir: &DataDir,
    progress: Progress<'_>,
) -> Result<RaftLogEngine> {
    let rocks = settings::rocks_log_options(config);
    open_log(
        (data_dir, progress),
        (LOG_ENGINE, |path: &Path| open_verified(path, progress)),
        (ROCKS, |path: &Path| RocksLog::open(path, &rocks)),
    )
}

/// Opens the Raft logs in RocksDB, after moving them there if they are in the log engine.
///
/// # Errors
/// They are damaged, or can't be read or written.
pub fn open_rocks_log(
    config: &Config,
    data_dir: &DataDir,
    progress: Progress<'_>,
) -> Result<RocksLog> {
    let rocks = settings::rocks_log_options(config);
    open_log(
        (data_dir, progress),
        (ROCKS, |path: &Path| RocksLog::open(path, &rocks)),
        (LOG_ENGINE, |path: &Path| open_verified(path, progress)),
    )
}

fn open_verified(path: &Path, progress: Progress<'_>) -> engine::Result<RaftLogEngine> {
    RaftLogEngine::open_showing(path, &RaftLogOptions::default(), &|done, total| {
        progress("bytes of the Raft log verified", done, total);
    })
}

fn open_log<W: RaftLog, O: RaftLog>(
    (data_dir, progress): (&DataDir, Progress<'_>),
    wanted: (&str, impl Fn(&Path) -> engine::Result<W>),
    other: (&str, impl FnOnce(&Path) -> engine::Result<O>),
) -> Result<W> {
    let place = place(data_dir, wanted.0, other.0);
    let opened = switch::open(&place, wanted.1, other.1, &mut |step| {
        reach(step);
        report(step, &place);
        if let Step::Copy { done, total } = step {
            progress("Raft logs moved", done as u64, total as u64);
        }
        Ok(())
    });
    opened.map_err(Error::Engine)
}

/// The points before the steps of a move.
fn reach(step: Step) {
    match step {
        Step::RemoveStale => failpoint::at!("kontiki::move::remove_stale"),
        Step::Copy { .. } => failpoint::at!("kontiki::move::copy"),
        Step::Sync => failpoint::at!("kontiki::move::sync"),
        Step::Mark => failpoint::at!("kontiki::move::mark"),
        Step::RemoveSource => failpoint::at!("kontiki::move::remove_source"),
        Step::Open => failpoint::at!("kontiki::move::open"),
    }
}

/// Says what a start that takes long is doing.
fn report(step: Step, place: &Place) {
    const EVERY: usize = 1_000;
    match step {
        Step::Copy { done, total } if done % EVERY == 0 => {
            tracing::info!(done, total, to = place.wanted, "moving Raft logs");
        }
        Step::Copy { .. } | Step::Open => {}
        Step::RemoveStale | Step::Sync | Step::Mark | Step::RemoveSource => {
            tracing::debug!(?step, "opening Raft logs");
        }
    }
}
