//! [`Tail`]: marks how far the newest write-ahead log and the list of tables are synced.
//!
//! **Why.** What `wal` and `files` refuse without them ends where a log just ends early: see
//! `engine::watermark`.
//!
//! **How the length of what is synced is known.** RocksDB does not say it. Before a write that syncs, the
//! file has some length; the record lies behind that, so that its end is at least so much further. That
//! holds if the file is still the newest one after the write: RocksDB begins a new one only together
//! with a new version of the family. A write that found another newest file behind it may be the first
//! in there: then we sync as much of that file as is whole, ourselves.
//!
//! **Invariants.** No mark is ahead of what is synced, whoever writes at the same time. Whatever can't be
//! found out leaves the mark as it was.
//!
//! **Not here.** What is refused: see `wal` and `files`.

use crate::{files, wal};
use engine::Result;
use engine::file::{failed, sync_directory, sync_failed};
use engine::watermark::{Mark, Watermark};
use parking_lot::Mutex;
use std::fs::File;
use std::path::{Path, PathBuf};

const WAL_MARK: &str = "SYNCED-wal";
const LIST_MARK: &str = "SYNCED-manifest";

/// The mark of the write-ahead log in `directory`.
pub(crate) fn wal_mark(directory: &Path) -> Result<Mark> {
    Ok(Mark::load(&directory.join(WAL_MARK))?.unwrap_or_default())
}

/// The mark of the list of tables in `directory`.
pub(crate) fn list_mark(directory: &Path) -> Result<Option<Mark>> {
    Mark::load(&directory.join(LIST_MARK))
}

/// The mark of a database's list of tables.
pub(crate) struct ListTail {
    directory: PathBuf,
    watermark: Mutex<Watermark>,
}

impl ListTail {
    /// Of the database in `directory`, which has just been opened.
    pub(crate) fn begin(directory: &Path) -> Result<Self> {
        let mark = synced_list(directory)?.unwrap_or_default();
        Ok(Self {
            directory: directory.to_path_buf(),
            watermark: Mutex::new(Watermark::begin(&directory.join(LIST_MARK), mark)?),
        })
    }

    /// Syncs the list as far as it is written, and marks that.
    pub(crate) fn raise(&self) {
        // RocksDB may be replacing the list at this moment.
        if let Ok(Some(mark)) = synced_list(&self.directory) {
            self.watermark.lock().raise(mark);
        }
    }
}

/// RocksDB syncs what it has written to its list, but not before somebody else sees the length.
fn synced_list(directory: &Path) -> Result<Option<Mark>> {
    let Some((number, path)) = files::current(directory)? else {
        return Ok(None);
    };
    let file = File::open(&path).map_err(|error| failed("open", &path, error))?;
    let metadata = file.metadata();
    let bytes = metadata
        .map_err(|error| failed("read", &path, error))?
        .len();
    file.sync_data()
        .map_err(|error| sync_failed(&path, error))?;
    Ok(Some(Mark { number, bytes }))
}

/// The newest write-ahead log.
struct Newest {
    /// The family's version under which it was found.
    version: u64,
    number: u64,
    file: File,
}

/// Where the newest write-ahead log ended when a write began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    version: u64,
    end: Mark,
}

/// The marks of a database that syncs its writes.
pub(crate) struct Tail {
    pub(crate) list: ListTail,
    newest: Mutex<Option<Newest>>,
    watermark: Mutex<Watermark>,
}

impl Tail {
    /// Of the database in `directory`, which has just been opened.
    pub(crate) fn begin(directory: &Path) -> Result<Self> {
        // It is there, as the note says as well.
        let number = wal::list(directory)?.into_keys().next_back().unwrap_or(0);
        let mark = Mark { number, bytes: 0 };
        Ok(Self {
            list: ListTail::begin(directory)?,
            newest: Mutex::new(None),
            watermark: Mutex::new(Watermark::begin(&directory.join(WAL_MARK), mark)?),
        })
    }

    /// Looks before a write that syncs; `version` is the family's at this moment. None if it can't be told.
    pub(crate) fn look(&self, version: Option<u64>) -> Option<Place> {
        let version = version?;
        let mut newest = self.newest.lock();
        if newest.as_ref().is_none_or(|known| known.version != version) {
            *newest = Some(self.find(version)?);
        }
        let known = newest.as_ref()?;
        let end = Mark {
            number: known.number,
            bytes: known.file.metadata().ok()?.len(),
        };
        Some(Place { version, end })
    }

    /// Finds the newest write-ahead log, and marks that it is there. Tables may have been written, too.
    fn find(&self, version: u64) -> Option<Newest> {
        self.list.raise();
        let directory = &self.list.directory;
        let (number, path) = wal::list(directory).ok()?.into_iter().next_back()?;
        let file = File::open(path).ok()?;
        sync_directory(directory).ok()?;
        self.watermark.lock().raise(Mark { number, bytes: 0 });
        Some(Newest {
            version,
            number,
            file,
        })
    }

    /// The write of so many bytes that began at `place` is synced; `version` is the family's afterwards.
    pub(crate) fn synced(&self, place: Option<Place>, bytes: u64, version: Option<u64>) {
        let Some(place) = place else {
            return;
        };
        let mut end = Mark {
            bytes: place.end.bytes + bytes,
            ..place.end
        };
        if version != Some(place.version) {
            let Some(now) = self.look(version) else {
                return;
            };
            // A new version may be one of the tables only.
            if now.end.number != end.number {
                let Some(whole) = self.sync_newest() else {
                    return;
                };
                end = whole;
            }
        }
        self.watermark.lock().raise(end);
    }

    /// Syncs the newest file, and answers how far its records were whole before.
    fn sync_newest(&self) -> Option<Mark> {
        let newest = self.newest.lock();
        let known = newest.as_ref()?;
        let path = self.list.directory.join(wal::name(known.number));
        let bytes = wal::scan_file(&path).ok()?.end;
        known.file.sync_data().ok()?;
        Some(Mark {
            number: known.number,
            bytes,
        })
    }
}
