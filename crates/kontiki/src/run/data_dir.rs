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
        Self::locked(path, lock, "another process is using it")
    }

    /// Locks a folder that a node has used; makes and changes nothing.
    ///
    /// # Errors
    /// No node has used it, a process has it, or it can't be read.
    pub fn lock_stopped(path: &Path) -> Result<Self> {
        let shown = path.display();
        match File::open(path.join(LOCK)) {
            Ok(lock) => Self::locked(path, lock, "a process is using it: stop the node first"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Usage(format!(
                "{shown} is no data folder of a node: there is no file {LOCK} in it"
            ))),
            Err(error) => Err(Error::io(format!("the data folder {shown} can't be used"))(
                error,
            )),
        }
    }

    fn locked(path: &Path, lock: File, in_use: &'static str) -> Result<Self> {
        let unusable = Error::io(format!("the data folder {} can't be used", path.display()));
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
            Err(TryLockError::WouldBlock) => Err(unusable(io::Error::other(in_use))),
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
    fn only_a_folder_that_a_node_has_used_and_uses_no_more_is_locked_as_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let refused = || DataDir::lock_stopped(folder.path()).unwrap_err().in_full();
        assert!(refused().contains("no data folder"), "{}", refused());
        let empty = std::fs::read_dir(folder.path()).unwrap().next().is_none();
        assert!(empty, "nothing is made");
        let running = DataDir::lock(folder.path()).unwrap();
        assert!(refused().contains("stop the node first"), "{}", refused());
        drop(running);
        let stopped = DataDir::lock_stopped(folder.path()).unwrap();
        assert!(DataDir::lock(folder.path()).is_err());
        drop(stopped);
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
