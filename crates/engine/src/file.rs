//! Directories and small files that survive a crash at any point.
//!
//! **Invariants.**
//! - After [`write_atomically`] returned, the new content is what a reader finds, also after a crash;
//!   before that, a reader finds the old or the new content, never a mixture.
//! - After [`create_directory`] returned, the directory is there, also after a crash.
//!
//! **Not here.** Large files: engines write those themselves.

use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The ending of the file that a write prepares beside its target.
const TEMPORARY: &str = ".tmp";

/// Replaces the file at `path`: writes a temporary one, syncs it, renames it, syncs the directory.
///
/// # Errors
/// [`Error::DiskFull`] and [`Error::Io`] leave the old content; [`Error::Sync`] leaves either.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary).map_err(|error| failed("create", &temporary, error))?;
    let written = file.write_all(content);
    written.map_err(|error| failed("write", &temporary, error))?;
    file.sync_all()
        .map_err(|error| sync_failed(&temporary, error))?;
    drop(file);
    failpoint::at!("engine::file::before_rename");
    let renamed = fs::rename(&temporary, path);
    renamed.map_err(|error| failed("rename", &temporary, error))?;
    failpoint::at!("engine::file::renamed");
    sync_directory(parent(path))
}

/// The directory that `path` is in; that of a bare name is the working directory.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root is its own parent.
        None => path,
    }
}

/// Makes sure that there is a directory at `path`, durably, and its parents with it.
///
/// # Errors
/// [`Error::DiskFull`] and [`Error::Io`] if it can't be made; [`Error::Sync`].
pub fn create_directory(path: &Path) -> Result<()> {
    let parent = parent(path);
    if !path.is_dir() {
        if !parent.is_dir() {
            create_directory(parent)?;
        }
        match fs::create_dir(path) {
            // Another one may be making it at the same time.
            Err(error) if !path.is_dir() => return Err(failed("create", path, error)),
            Ok(()) | Err(_) => {}
        }
    }
    // Also if it was there: a crash may have come between the creation and this.
    sync_directory(parent)
}

/// Locks `directory` by its file `name`, until the answered file is closed.
///
/// # Errors
/// [`Error::Locked`] while another has it; [`Error::DiskFull`] and [`Error::Io`].
pub fn lock_directory(directory: &Path, name: &str) -> Result<File> {
    let path = directory.join(name);
    let file = File::create(&path).map_err(|error| failed("create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: directory.to_path_buf(),
            source: None,
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path, error)),
    }
}

/// The file's content; none if there is no file.
///
/// # Errors
/// [`Error::Io`] if it is there and can't be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Makes the creation, renaming and removal of files in `path` durable.
///
/// # Errors
/// [`Error::Sync`].
pub fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| sync_failed(path, error))
}

/// Our error for a failed `operation` on the file at `path`.
pub fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return Error::DiskFull {
            source: Some(error.into()),
        };
    }
    Error::Io {
        operation,
        path: path.to_path_buf(),
        source: error.into(),
    }
}

/// Our error for a failed sync of the file or directory at `path`.
pub fn sync_failed(path: &Path, error: io::Error) -> Error {
    Error::Sync {
        path: path.to_path_buf(),
        source: Some(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_make_the_same_directory_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = folder.path().join(format!("{round}/a/b"));
            std::thread::scope(|scope| {
                let made = [0; 4].map(|_| scope.spawn(|| create_directory(&path)));
                for one in made {
                    one.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn the_parent_of_a_bare_name_is_the_working_directory() {
        assert_eq!(parent(Path::new("name")), Path::new("."));
        assert_eq!(parent(Path::new("a/name")), Path::new("a"));
        assert_eq!(parent(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_may_be_there_already() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("a/b/c");
        for _ in 0..2 {
            create_directory(&path).expect("the root is writable");
            assert!(path.is_dir());
        }
        create_directory(Path::new("/")).expect("the root is there");
        create_directory(Path::new(".")).expect("the working directory is there");
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_an_error() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let file = root.path().join("file");
        fs::write(&file, b"").expect("the root is writable");
        for path in [file.clone(), file.join("inner")] {
            let error = create_directory(&path).expect_err("a file is no directory");
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_directory_is_locked_once() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let held = lock_directory(root.path(), "LOCK").expect("nobody has it");
        let error = lock_directory(root.path(), "LOCK").expect_err("it is held");
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        drop(held);
        lock_directory(root.path(), "LOCK").expect("nobody has it any more");
    }
}
