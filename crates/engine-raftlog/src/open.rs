//! Opening a log: lock, verify, open, list.
//!
//! **Why a lock of our own.** raft-engine takes its lock while it opens; the verifier may cut files
//! before that.
//!
//! **A crash at each line.** Until the list is stored for the first time nothing was promised, and
//! the verifier removes what it finds. Afterwards the list of before and the files agree as the
//! invariants of `manifest` say.
//!
//! **Not here.** Reads and writes: see `log`.

use crate::RaftLogOptions;
use crate::frozen::Frozen;
use crate::manifest::{Manifest, Queue};
use crate::verify::{Progress, examine, verify};
use crate::watch::Watch;
use engine::file::{create_directory, failed, lock_directory, sync_directory, sync_failed};
use engine::{Error, REMEDY, Result};
use raft_engine::Engine;
use raft_engine::internals::{FilePipeLog, LogQueue};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const LOCK: &str = "STORE-LOCK";

pub(crate) type WatchedEngine = Engine<Watch, FilePipeLog<Watch>>;

/// An open log.
pub(crate) struct Opened {
    // Declared before what it stands on, so that it is closed before another may open it.
    pub(crate) engine: WatchedEngine,
    pub(crate) watch: Watch,
    _on: Ground,
}

/// What must outlive an open log.
enum Ground {
    /// The lock of its directory.
    Locked { _file: File },
    /// The directory in whose place it was opened.
    Frozen { _frozen: Frozen },
}

pub(crate) fn open(
    directory: &Path,
    options: &RaftLogOptions,
    progress: Progress<'_>,
) -> Result<Opened> {
    if directory.to_str().is_none() {
        let error = std::io::Error::other("the path is not UTF-8");
        return Err(failed("open", directory, error));
    }
    create_directory(directory)?;
    let lock = lock_directory(directory, LOCK)?;
    let verified = verify(directory, options.recovery_threads, progress)?;
    failpoint::at!("engine_raftlog::open::verified");
    let manifest = verified.unwrap_or_else(Manifest::fresh);
    let watch = Watch::new(directory);
    let engine = open_watched(directory, directory, options, &watch)?;
    for queue in Queue::ALL {
        let files = manifest.files(queue);
        let (wanted, found) = (
            (files.first(), files.last()),
            engine.file_span(log_queue(queue)),
        );
        if wanted != found {
            let what = format!("raft-engine opened {queue:?} files {found:?}, verified {wanted:?}");
            return Err(Error::damaged(directory, what));
        }
        // raft-engine syncs a file's header when it rotates, but not that of a first file.
        let path = directory.join(queue.file_name(files.last()));
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| sync_failed(&path, error))?;
    }
    sync_directory(directory)?;
    failpoint::at!("engine_raftlog::open::opened");
    watch.begin(manifest)?;
    Ok(Opened {
        engine,
        watch,
        _on: Ground::Locked { _file: lock },
    })
}

/// Opens what is in `directory` without a change to it. The caller sees to it that nobody writes there.
pub(crate) fn open_read_only(
    directory: &Path,
    options: &RaftLogOptions,
    progress: Progress<'_>,
) -> Result<Opened> {
    let (manifest, repairs) = examine(directory, options.recovery_threads, progress)?;
    let frozen = Frozen::new(directory, manifest.as_ref(), &repairs)?;
    let watch = Watch::frozen(frozen.directory(), frozen.lengths.clone());
    Ok(Opened {
        engine: open_watched(frozen.directory(), directory, options, &watch)?,
        watch,
        _on: Ground::Frozen { _frozen: frozen },
    })
}

/// Opens raft-engine in a directory; errors name the one that is `shown`.
fn open_watched(
    directory: &Path,
    shown: &Path,
    options: &RaftLogOptions,
    watch: &Watch,
) -> Result<WatchedEngine> {
    let opened = Engine::open_with(
        options.config(directory),
        Arc::new(watch.clone()),
        vec![Arc::new(watch.clone())],
    );
    opened.map_err(|error| translate(error, "open", shown))
}

pub(crate) fn log_queue(queue: Queue) -> LogQueue {
    match queue {
        Queue::Append => LogQueue::Append,
        Queue::Rewrite => LogQueue::Rewrite,
    }
}

/// Our error for raft-engine's.
pub(crate) fn translate(
    error: raft_engine::Error,
    operation: &'static str,
    directory: &Path,
) -> Error {
    use raft_engine::Error as Source;
    match error {
        Source::Io(error) => failed(operation, directory, error),
        // raft-engine answers this when the disk was full and may have room again.
        Source::TryAgain(_) => Error::DiskFull {
            source: Some(error.into()),
        },
        Source::Corruption(_) | Source::Codec(_) | Source::Protobuf(_) => Error::Corruption {
            path: directory.to_path_buf(),
            reason: format!("{operation} found: {error}; {REMEDY}"),
            source: Some(error.into()),
        },
        other => Error::Io {
            operation,
            path: directory.to_path_buf(),
            source: other.into(),
        },
    }
}
