//! The error of every engine, and who has to act on it.
//!
//! **Why one type.** The callers decide by [`Action`], not by the engine's own codes; the engine's
//! error stays reachable as the source, for the operator.
//!
//! **Not here.** Errors for clients: the node translates.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use types::RegionId;

/// What the operator has to do about a store whose files are damaged or gone.
pub const REMEDY: &str = "this store may have lost what it acknowledged and must not start without \
     it: remove the store's data directory and replicate its Regions from the other stores";

/// The result of an engine's operation.
pub type Result<T> = std::result::Result<T, Error>;

/// An engine's own error, kept as the source of ours.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing was changed; the same operation may succeed later.
    Retry,
    /// Nothing was changed and the same operation fails again: the caller must ask differently.
    Reject,
    /// The store must stop, with this error as its message. What was written since the last
    /// successful sync may or may not be durable, so nothing of it may be acknowledged.
    Crash,
}

/// What went wrong in an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room; nothing of the batch was written.
    #[error("the disk is full")]
    DiskFull {
        /// The engine's own error, if there is one.
        source: Option<Source>,
    },
    /// The entry is behind the beginning of the log.
    #[error("entry {index} of Region {region} is compacted: its log begins at {first}")]
    Compacted {
        /// Whose log.
        region: RegionId,
        /// The index that was asked for.
        index: u64,
        /// The first index that the log holds.
        first: u64,
    },
    /// The entry is behind the end of the log, or the log is empty.
    #[error("Region {region} has no entry {index}: its log ends at {last} (0: it is empty)")]
    Missing {
        /// Whose log.
        region: RegionId,
        /// The index that was asked for.
        index: u64,
        /// The last index that the log holds; zero if it holds none.
        last: u64,
    },
    /// A range whose end is empty or before its start, where a real range is needed.
    #[error("not a range: [{start:02x?}, {end:02x?})")]
    InvalidRange {
        /// The range's first key.
        start: Vec<u8>,
        /// The key that should have been after the range.
        end: Vec<u8>,
    },
    /// An append that would leave a hole in a log, or that isn't contiguous in itself. The caller's
    /// log contradicts the engine's; nothing of the batch was written.
    #[error(
        "append to the log of Region {region} at {index}, where {expected} is the highest next"
    )]
    Hole {
        /// Whose log.
        region: RegionId,
        /// The index of the entry that does not fit.
        index: u64,
        /// The highest index that would have continued the log.
        expected: u64,
    },
    /// Another process, or another handle in this one, has the directory open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The engine's directory.
        path: PathBuf,
        /// The engine's own error, if there is one.
        source: Option<Source>,
    },
    /// What is on the disk isn't what was written. The message says what to do.
    #[error("corrupt data in {}: {reason}", path.display())]
    Corruption {
        /// The damaged file, or the engine's directory where the file isn't known.
        path: PathBuf,
        /// What is wrong, where, and what the operator has to do.
        reason: String,
        /// The engine's own error, if there is one.
        source: Option<Source>,
    },
    /// A sync failed: the kernel may have dropped the pages, so trying again proves nothing.
    #[error("sync of {} failed", path.display())]
    Sync {
        /// The engine's directory.
        path: PathBuf,
        /// The engine's own error, if there is one.
        source: Option<Source>,
    },
    /// Reading or writing failed (permission, a dead disk, a directory that isn't there).
    #[error("{operation} failed in {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The engine's own error.
        source: Source,
    },
    /// The engine was stopped by an earlier failure or a (simulated) crash; this handle is dead.
    #[error("the engine has stopped: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: &'static str,
    },
}

impl Error {
    /// What is at `path` isn't what was written; `reason` says what is wrong and what to do.
    pub fn corrupt(path: impl Into<PathBuf>, reason: impl Display) -> Self {
        Error::Corruption {
            path: path.into(),
            reason: reason.to_string(),
            source: None,
        }
    }

    /// As [`Self::corrupt`], where only the [`REMEDY`] is left to do.
    pub fn damaged(path: impl Into<PathBuf>, what: impl Display) -> Self {
        Self::corrupt(path, format!("{what}; {REMEDY}"))
    }

    /// This error of a change of `path` that may be half done: a full disk is no reason to try
    /// again then.
    #[must_use]
    pub fn half_done(self, path: &Path) -> Self {
        match self {
            Error::DiskFull { source } => Error::Sync {
                path: path.to_path_buf(),
                source,
            },
            other => other,
        }
    }

    /// Who has to act on this error.
    pub fn action(&self) -> Action {
        match self {
            Error::DiskFull { .. } => Action::Retry,
            Error::Compacted { .. } | Error::Missing { .. } | Error::InvalidRange { .. } => {
                Action::Reject
            }
            Error::Hole { .. }
            | Error::Locked { .. }
            | Error::Corruption { .. }
            | Error::Sync { .. }
            | Error::Io { .. }
            | Error::Stopped { .. } => Action::Crash,
        }
    }
}
