//! From RocksDB's errors to ours.
//!
//! **Why by text.** RocksDB's binding gives an error as its message; the prefix is its code, and
//! the sub-codes that matter here (no space, lock) are only in the words.
//!
//! **Not here.** Who has to act: `engine::Error` knows.

use engine::{Error, REMEDY};
use rocksdb::ErrorKind;
use std::path::Path;

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
    // A file that RocksDB's list names is gone.
    let is_gone = text.contains("No such file or directory");
    if source.kind() == ErrorKind::Corruption || is_gone {
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

/// As [`translate`], for a call that changes files. RocksDB stops itself when one fails, on a full disk
/// too, so nothing may be tried again; and of a call that syncs it isn't known what is durable.
pub(crate) fn translate_change(source: rocksdb::Error, sync: bool, path: &Path) -> Error {
    match translate(source, "write", path).half_done(path) {
        Error::Io { source, .. } if sync => Error::Sync {
            path: path.to_path_buf(),
            source: Some(source),
        },
        other => other,
    }
}
