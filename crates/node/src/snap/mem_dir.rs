//! [`SnapshotDir`] in memory, for tests and the simulation.
//!
//! **Invariants.** It outlives the process that writes to it, as a disk does: a whole file stays, one
//! that is being written does not.

use super::dir::{SnapshotDir, SnapshotFile, StoredFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

/// A directory in memory. Clones are the same.
#[derive(Clone, Default)]
pub struct MemDir(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    is_full: bool,
}

impl MemDir {
    /// From now on nothing can be written to it (or can be again).
    pub fn set_full(&self, is_full: bool) {
        self.0.lock().is_full = is_full;
    }

    /// Has `change` damage a whole file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.lock().files.get_mut(name).expect("it is there"));
    }
}

impl SnapshotDir for MemDir {
    fn create(&self, name: &str) -> io::Result<Box<dyn SnapshotFile>> {
        Ok(Box::new(Written {
            dir: self.clone(),
            name: name.to_owned(),
            bytes: Vec::new(),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.0.lock().files.get(name).cloned();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().files.remove(name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        let state = self.0.lock();
        let stored = |name: &String| StoredFile {
            name: name.clone(),
            age: Duration::ZERO,
        };
        Ok(state.files.keys().map(stored).collect())
    }
}

struct Written {
    dir: MemDir,
    name: String,
    bytes: Vec<u8>,
}

impl SnapshotFile for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dir.0.lock().is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend(bytes);
        Ok(())
    }

    fn complete(self: Box<Self>) -> io::Result<()> {
        let Self { dir, name, bytes } = *self;
        dir.0.lock().files.insert(name, bytes);
        Ok(())
    }
}
