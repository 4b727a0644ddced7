//! Small files that are replaced whole and survive a crash at any point.
//!
//! **Invariants.** After [`write_atomically`] returned, the new content is what a reader finds, also
//! after a crash; before that, a reader finds the old or the new content, never a mixture.
//!
//! **Not here.** Locks: the caller is the only writer.

use crate::{Error, Result};
use std::fs::{self, File};
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
    let renamed = fs::rename(&temporary, path);
    renamed.map_err(|error| failed("rename", &temporary, error))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
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
