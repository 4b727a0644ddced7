//! From RocksDB's errors to ours.
//!
//! **Why by text.** RocksDB's binding gives an error as its message; the prefix is its code, and
//! the sub-codes that matter here (no space, lock) are only in the words.
//!
//! **Not here.** Who has to act: `engine::Error` knows.

use engine::Error;
use rocksdb::ErrorKind;
use std::path::Path;

/// What to do about a damaged store, the same sentence for every engine of it.
const REMEDY: &str =
    "restore this store by removing its directory and replicating its Regions from the others";

/// Our error for `source`, which came from `operation` on the database at `path`.
pub(crate) fn translate(source: rocksdb::Error, operation: &'static str, path: &Path) -> Error {
    let path = path.to_path_buf();
    let text: &str = source.as_ref();
    if text.contains("No space left on device") {
        return Error::DiskFull {
            source: Some(source.into()),
        };
    }
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        return Error::Locked {
            path,
            source: Some(source.into()),
        };
    }
    if source.kind() == ErrorKind::Corruption {
        return Error::Corruption {
            path,
            reason: format!("{operation} found: {text}; {REMEDY}"),
            source: Some(source.into()),
        };
    }
    Error::Io {
        operation,
        path,
        source: source.into(),
    }
}

/// As [`translate`], for a call that syncs: a full disk can't be told from a sync that failed
/// half-way, so nothing may be tried again.
pub(crate) fn translate_sync(source: rocksdb::Error, path: &Path) -> Error {
    match translate(source, "sync", path) {
        Error::DiskFull { source } => Error::Sync {
            path: path.to_path_buf(),
            source,
        },
        Error::Io { source, .. } => Error::Sync {
            path: path.to_path_buf(),
            source: Some(source),
        },
        other => other,
    }
}

/// The error for bytes that RocksDB gave back unharmed but that we did not write.
pub(crate) fn corrupt(path: &Path, what: String) -> Error {
    Error::Corruption {
        path: path.to_path_buf(),
        reason: format!("{what}; {REMEDY}"),
        source: None,
    }
}
