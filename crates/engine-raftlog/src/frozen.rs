//! [`Frozen`]: a directory in whose place a log is opened for reading only.
//!
//! **Why.** raft-engine has no such opening: it locks its directory with a file, opens the newest files for
//! writing, begins new ones, and shortens what it closes. So it gets a temporary directory with a link to each
//! file that counts, and a file system (`watch`) that opens these for reading, shows them as long as a start would
//! leave them, and lets writes to them go nowhere.
//!
//! **Invariants.** Nothing in the log's own directory is made, changed or removed. What the verifier would have
//! removed has no link.
//!
//! **Not here.** Locking: the caller holds the store's data directory.

use crate::manifest::{Manifest, Queue};
use crate::verify::Repair;
use engine::Result;
use engine::file::failed;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Links to the files of a log, until it is dropped.
pub(crate) struct Frozen {
    directory: TempDir,
    /// How long each linked file is taken to be, by the link's path. Bytes.
    pub(crate) lengths: BTreeMap<PathBuf, u64>,
}

impl Frozen {
    /// Of the log in `directory`, in which the verifier has found this list and has not made these repairs.
    pub(crate) fn new(
        directory: &Path,
        manifest: Option<&Manifest>,
        repairs: &[Repair],
    ) -> Result<Self> {
        let whole =
            fs::canonicalize(directory).map_err(|error| failed("open", directory, error))?;
        let made = tempfile::Builder::new().prefix("kontiki-log-").tempdir();
        let made = made.map_err(|error| failed("create", &std::env::temp_dir(), error))?;
        let mut lengths = BTreeMap::new();
        for (name, cut_at) in files(directory, manifest, repairs) {
            let (file, link) = (whole.join(&name), made.path().join(&name));
            let metadata = fs::metadata(&file).map_err(|error| failed("read", &file, error))?;
            symlink(&file, &link).map_err(|error| failed("link", &link, error))?;
            lengths.insert(link, cut_at.unwrap_or(metadata.len()));
        }
        Ok(Self {
            directory: made,
            lengths,
        })
    }

    /// Where the links are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The names of the files that count, and where their torn ends begin.
fn files(
    directory: &Path,
    manifest: Option<&Manifest>,
    repairs: &[Repair],
) -> Vec<(String, Option<u64>)> {
    let cut_at = |name: &str| {
        repairs.iter().find_map(|repair| match repair {
            Repair::Cut(path, bytes) => (*path == directory.join(name)).then_some(*bytes),
            Repair::Remove(_) => None,
        })
    };
    let mut found = Vec::new();
    for (queue, manifest) in Queue::ALL.into_iter().zip([manifest; 2]) {
        let Some(files) = manifest.map(|manifest| manifest.files(queue)) else {
            continue;
        };
        for sequence in files.first()..=files.last() {
            let name = queue.file_name(sequence);
            let at = cut_at(&name);
            found.push((name, at));
        }
    }
    found
}
