//! The folder of a node's data: made when it is not there, and locked.
//!
//! **Why a lock of its own.** RocksDB locks its own folder only; the Raft logs and the marker of their
//! engine are beside it, and moving logs between engines needs all of them alone.
//!
//! **Invariants.** The folder is made durably: what is synced in it can't vanish with it in a crash of
//! the machine. While a [`DataDir`] lives, no other process has one of the same folder. The lock is
//! the kernel's: a killed process leaves none behind.
//!
//! **Not here.** Whose data it is: the node checks that.

use crate::error::{Error, Result};
use engine::file::create_directory;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";

/// A locked folder. Dropping it releases the lock.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// Another process has it, or it can't be made or written to.
    pub fn lock(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unusable = || Error::io(format!("the data folder {shown} can't be used"));
        create_directory(path).map_err(|error| unusable()(io::Error::other(error)))?;
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK)).map_err(unusable())?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::Error(error)) => Err(unusable()(error)),
            Err(TryLockError::WouldBlock) => {
                let other = io::Error::other("another process is using it");
                Err(unusable()(other))
            }
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_locked_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::lock(&path).unwrap();
        let refused = DataDir::lock(&path).unwrap_err().in_full();
        assert!(
            refused.contains("a/b") && refused.contains("another process"),
            "{refused}"
        );
        drop(first);
        assert_eq!(DataDir::lock(&path).unwrap().path(), path);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let refused = DataDir::lock(&path).unwrap_err().in_full();
        assert!(refused.contains("file can't be used"), "{refused}");
    }
}
