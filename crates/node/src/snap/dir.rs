//! Where received snapshots are kept until they are installed.
//!
//! **Invariants.** A file has its name only once it is whole and synced, its directory's entry
//! included. One that is given up before goes by itself.
//!
//! **Not here.** What is in the files (`format`).

use engine::file;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names end so until the file is whole.
const TEMPORARY: &str = ".tmp";
const BUFFER_BYTES: usize = 256 << 10;

/// A directory of snapshots. It is one store's alone.
pub trait SnapshotDir: Send + Sync + 'static {
    /// Begins a file, which does not have its name yet.
    ///
    /// # Errors
    /// Those of the disk; so for every method.
    fn create(&self, name: &str) -> io::Result<Box<dyn SnapshotFile>>;
    /// Opens a whole file.
    ///
    /// # Errors
    /// There is none, among others.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All files, also those that are not whole.
    ///
    /// # Errors
    /// Those of the disk.
    fn list(&self) -> io::Result<Vec<StoredFile>>;
}

/// A file that is being written.
pub trait SnapshotFile: Send {
    /// Appends.
    ///
    /// # Errors
    /// Those of the disk, [`io::ErrorKind::StorageFull`] among them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// Those of the disk: it is gone then.
    fn complete(self: Box<Self>) -> io::Result<()>;
}

/// A file in a [`SnapshotDir`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// To be removed by.
    pub name: String,
    /// Since it was written last.
    pub age: Duration,
}

/// A directory of a file system.
pub struct FileDir {
    path: PathBuf,
}

impl FileDir {
    /// The directory at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new(path: &Path) -> engine::Result<Self> {
        file::create_directory(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl SnapshotDir for FileDir {
    fn create(&self, name: &str) -> io::Result<Box<dyn SnapshotFile>> {
        let temporary = self.path.join(format!("{name}{TEMPORARY}"));
        let file = File::create(&temporary)?;
        Ok(Box::new(Written {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            temporary: Temporary(Some(temporary)),
            name: self.path.join(name),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(self.path.join(name))?;
        Ok(Box::new(io::BufReader::with_capacity(BUFFER_BYTES, file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let written = entry.metadata()?.modified()?;
            files.push(StoredFile {
                name: entry.file_name().to_string_lossy().into_owned(),
                // A clock that was set back makes it young again.
                age: written.elapsed().unwrap_or_default(),
            });
        }
        Ok(files)
    }
}

struct Written {
    file: BufWriter<File>,
    temporary: Temporary,
    name: PathBuf,
}

/// Goes with its file, unless that was renamed.
struct Temporary(Option<PathBuf>);

impl SnapshotFile for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn complete(mut self: Box<Self>) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        failpoint::at!("node::snap::before_rename");
        let temporary = self.temporary.0.as_ref().expect("it is completed once");
        fs::rename(temporary, &self.name)?;
        self.temporary.0 = None;
        failpoint::at!("node::snap::renamed");
        let directory = self.name.parent().expect("it is in a directory");
        File::open(directory)?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(%error, path = %path.display(), "can't remove a temporary file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &FileDir) -> Vec<String> {
        let files = dir.list().unwrap();
        files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_goes_if_it_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let dir = FileDir::new(&folder.path().join("snap")).unwrap();
        let mut file = dir.create("a").unwrap();
        file.write(b"half").unwrap();
        assert!(dir.open("a").is_err());
        assert_eq!(names(&dir), ["a.tmp"]);
        drop(file);
        assert!(names(&dir).is_empty());
        let mut file = dir.create("a").unwrap();
        file.write(b"whole").unwrap();
        file.complete().unwrap();
        assert_eq!(names(&dir), ["a"]);
        let mut text = String::new();
        dir.open("a").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "whole");
        dir.remove("a").unwrap();
        dir.remove("a").unwrap();
        assert!(names(&dir).is_empty());
    }
}
