//! [`Watch`]: sees raft-engine create and delete files, write and sync them, and keeps the list of files
//! and the marks of what is synced in step.
//!
//! **The order that makes the list true.**
//! - Rotation: raft-engine creates the file, writes and syncs its header, syncs the directory, then
//!   tells its listeners, and only then writes a record. The list names the file in that call.
//! - Purge: raft-engine deletes through its file system, oldest first. The list forgets the file
//!   before it is deleted.
//! - Sync: the mark of a listed file is raised after a sync of it has returned.
//!
//! **Why a purge syncs.** raft-engine decides what to rewrite and which files to delete by all that is written.
//! If some of it is not synced, a compaction or a removal, it may be gone after a power loss, and
//! what it let go of has to be there. So the append queue is synced before anything is written to the rewrite
//! queue, and before a file is deleted.
//!
//! **Invariants.** A sync that fails stops the log, and so does a file that can't be listed: the call
//! in which it happened and all later ones answer an error, so nothing that isn't durable or stands
//! in an unlisted file is ever promised; and no file is deleted any more. A file that can't be
//! forgotten because the disk is full stays, and is given back by a later purge. A frozen file is opened for
//! reading, and what raft-engine does to it has no effect.
//!
//! **Not here.** Where the records go: see `disk`.

use crate::disk::{Disk, disk};
use crate::manifest::{Manifest, Queue, parse_file_name};
use engine::file::{failed, sync_failed};
use engine::meter::Meter;
use engine::watermark::{Mark, Watermark};
use engine::{Action, Error};
use metrics::Stopwatch;
use parking_lot::Mutex;
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};
use raft_engine::internals::{EventListener, FileId, LogQueue};
use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// How much of a queue is synced.
#[derive(Default)]
struct Marks {
    /// None until the log is open.
    watermark: Mutex<Option<Watermark>>,
    /// The number of the newest file that is listed: a file that isn't may go without a trace.
    newest: AtomicU64,
    /// The file that is written.
    written: Mutex<Weak<WatchedHandle>>,
}

/// What happens to the files of one log. Clones are handles of the same watch.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    disk: Disk,
    /// None until the log is open: what happens before is not yet listed.
    manifest: Mutex<Option<Manifest>>,
    /// By queue; not below the lock of the list, which is held while that is synced.
    marks: [Marks; 2],
    /// The first failure, until a call has answered it.
    failure: Mutex<Option<Error>>,
    /// How long the files are that are only read, where they are (`frozen`). Bytes.
    frozen: BTreeMap<PathBuf, u64>,
    /// Why the log has stopped, once it has.
    stopped: OnceLock<&'static str>,
    meter: Meter,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        Self::frozen(directory, BTreeMap::new())
    }

    /// Of a log of which these files are only read, and shown with these lengths. It keeps no list.
    pub(crate) fn frozen(directory: &Path, frozen: BTreeMap<PathBuf, u64>) -> Self {
        Self {
            shared: Arc::new(Shared {
                directory: directory.to_path_buf(),
                disk: disk(),
                manifest: Mutex::new(None),
                marks: Default::default(),
                failure: Mutex::new(None),
                frozen,
                stopped: OnceLock::new(),
                meter: Meter::default(),
            }),
        }
    }

    /// Stores the list of an opened log, whose newest files are synced, and keeps it from now on.
    pub(crate) fn begin(&self, manifest: Manifest) -> engine::Result<()> {
        let mut listed = self.shared.manifest.lock();
        manifest.store(&self.shared.directory)?;
        for queue in Queue::ALL {
            let number = manifest.files(queue).last();
            let path = self.path(queue, number);
            let metadata = std::fs::metadata(&path);
            let bytes = metadata
                .map_err(|error| failed("read", &path, error))?
                .len();
            let path = self.shared.directory.join(queue.mark_name());
            let watermark = Watermark::begin(&path, Mark { number, bytes })?;
            let marks = &self.shared.marks[queue as usize];
            marks.newest.store(number, Ordering::SeqCst);
            *marks.watermark.lock() = Some(watermark);
        }
        *listed = Some(manifest);
        Ok(())
    }

    /// So much of a file is synced.
    fn synced(&self, queue: Queue, mark: Mark) {
        let marks = &self.shared.marks[queue as usize];
        if mark.number == marks.newest.load(Ordering::SeqCst)
            && let Some(watermark) = &mut *marks.watermark.lock()
        {
            watermark.raise(mark);
        }
    }

    /// Syncs what is written to the append queue, of which older files are synced when the next one begins.
    fn sync_appended(&self) -> io::Result<()> {
        let written = self.shared.marks[Queue::Append as usize].written.lock();
        if let Some(handle) = written.upgrade() {
            drop(written);
            handle.sync_if_written()?;
        }
        match self.shared.stopped.get() {
            // What replaces a file, or makes it needless, may not be durable.
            Some(_) => Err(io::Error::other("the log has stopped")),
            None => Ok(()),
        }
    }

    /// An error if anything has failed: the failure itself the first time.
    pub(crate) fn check(&self) -> engine::Result<()> {
        let Some(reason) = self.shared.stopped.get() else {
            return Ok(());
        };
        let first = self.shared.failure.lock().take();
        Err(first.unwrap_or(Error::Stopped { reason }))
    }

    /// Stops the log because of `error`, which may have come half-way.
    pub(crate) fn stop(&self, error: Error, reason: &'static str) {
        let error = error.half_done(&self.shared.directory);
        let mut failure = self.shared.failure.lock();
        if self.shared.stopped.set(reason).is_ok() {
            *failure = Some(error);
        }
    }

    /// Forgets and deletes the files of `queue` up to number `last`.
    ///
    /// # Errors
    /// [`Error::DiskFull`] leaves the files, for another try; after any other the log has stopped.
    pub(crate) fn give_back(&self, queue: Queue, last: u64) -> engine::Result<()> {
        let mut given = 0..0;
        let forgotten = self.change(|manifest| {
            let files = manifest.files_mut(queue);
            let first = files.first();
            files.forget(last);
            given = first..files.first();
            Ok(())
        });
        if let Err(error) = forgotten {
            if error.action() != Action::Retry {
                self.stop(error, "a Raft log file could not be taken off the list");
                return self.check();
            }
            return Err(error);
        }
        for sequence in given {
            failpoint::at!("engine_raftlog::files::forgotten");
            let path = self.path(queue, sequence);
            let deleted = self.shared.disk.delete(&path);
            deleted.map_err(|error| failed("delete", &path, error))?;
            failpoint::at!("engine_raftlog::files::deleted");
        }
        Ok(())
    }

    fn path(&self, queue: Queue, sequence: u64) -> PathBuf {
        self.shared.directory.join(queue.file_name(sequence))
    }

    /// Changes the list and stores it, if that makes a difference. On an error it is as it was.
    fn change(
        &self,
        change: impl FnOnce(&mut Manifest) -> engine::Result<()>,
    ) -> engine::Result<()> {
        let mut listed = self.shared.manifest.lock();
        let Some(current) = listed.as_mut() else {
            return Ok(());
        };
        let mut changed = current.clone();
        change(&mut changed)?;
        if changed != *current {
            changed.store(&self.shared.directory)?;
            for queue in Queue::ALL {
                let newest = &self.shared.marks[queue as usize].newest;
                newest.store(changed.files(queue).last(), Ordering::SeqCst);
            }
            *current = changed;
        }
        Ok(())
    }

    /// What the log counts; syncs are counted here.
    pub(crate) fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    #[cfg(test)]
    pub(crate) fn disk(&self) -> &Disk {
        &self.shared.disk
    }
}

fn queue(queue: LogQueue) -> Queue {
    match queue {
        LogQueue::Append => Queue::Append,
        LogQueue::Rewrite => Queue::Rewrite,
    }
}

impl EventListener for Watch {
    fn post_new_log_file(&self, file: FileId) {
        failpoint::at!("engine_raftlog::files::created");
        let queue = queue(file.queue);
        let listed = self.change(|manifest| {
            let files = manifest.files_mut(queue);
            while files.last() < file.seq {
                // It was truncated to its records and synced just before.
                let path = self.path(queue, files.last());
                let closed = std::fs::metadata(&path);
                let closed = closed.map_err(|error| failed("read", &path, error))?;
                files.rotate(closed.len());
            }
            Ok(())
        });
        if let Err(error) = listed {
            // Answered by the write that needed the file.
            self.stop(error, "a new Raft log file could not be listed");
        }
        failpoint::at!("engine_raftlog::files::listed");
    }
}

/// A file whose writes and syncs are watched.
///
/// A failed sync is kept in the watch and not answered: raft-engine would panic, in a place where
/// that aborts the process without a message. Every call on the log asks the watch before it
/// answers.
pub(crate) struct WatchedHandle {
    inner: Arc<<Disk as FileSystem>::Handle>,
    /// Whose file it is; none if of no queue.
    file: Option<(Queue, u64)>,
    /// Where the next record goes, and up to where records are synced.
    written_bytes: AtomicU64,
    synced_bytes: AtomicU64,
    /// The length with which it is shown, if it is only read.
    frozen_bytes: Option<u64>,
    watch: Watch,
}

impl WatchedHandle {
    fn new(watch: &Watch, path: &Path, inner: <Disk as FileSystem>::Handle) -> Self {
        Self {
            inner: Arc::new(inner),
            file: parse_file_name(path),
            written_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            frozen_bytes: watch.shared.frozen.get(path).copied(),
            watch: watch.clone(),
        }
    }

    fn sync_if_written(&self) -> io::Result<()> {
        let [written, synced] = [&self.written_bytes, &self.synced_bytes];
        match written.load(Ordering::SeqCst) == synced.load(Ordering::SeqCst) {
            true => Ok(()),
            false => self.sync(),
        }
    }

    fn sync_inner(&self) -> io::Result<()> {
        failpoint::at!("engine_raftlog::sync::begin", |_| Err(io::Error::other(
            "a failpoint lets it fail"
        )));
        self.inner.sync()?;
        failpoint::at!("engine_raftlog::sync::done");
        Ok(())
    }
}

impl Handle for WatchedHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        match self.frozen_bytes {
            Some(_) => Ok(()),
            None => self.inner.truncate(offset),
        }
    }

    fn file_size(&self) -> io::Result<usize> {
        match self.frozen_bytes {
            Some(bytes) => usize::try_from(bytes).map_err(io::Error::other),
            None => self.inner.file_size(),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.frozen_bytes.is_some() {
            return Ok(());
        }
        let since = Stopwatch::start();
        let bytes = self.written_bytes.load(Ordering::SeqCst);
        let synced = self.sync_inner();
        self.watch.shared.meter.synced(&since);
        match (synced, self.file) {
            (Ok(()), Some((queue, number))) => {
                self.synced_bytes.store(bytes, Ordering::SeqCst);
                self.watch.synced(queue, Mark { number, bytes });
            }
            (Ok(()), None) => {}
            (Err(error), _) => {
                let error = sync_failed(&self.watch.shared.directory, error);
                self.watch.stop(error, "a sync of the Raft log failed");
            }
        }
        Ok(())
    }
}

/// Writes to a file, and tells its handle how far.
pub(crate) struct WatchedWriter {
    inner: <Disk as FileSystem>::Writer,
    handle: Arc<WatchedHandle>,
}

impl Write for WatchedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// Writes a record. Somebody else may sync the file meanwhile: a part of one must not count as synced.
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        if self.handle.frozen_bytes.is_some() {
            return Ok(());
        }
        if let Some((Queue::Rewrite, _)) = self.handle.file {
            self.handle.watch.sync_appended()?;
        }
        self.inner.write_all(record)?;
        let place = &self.handle.written_bytes;
        place.fetch_add(record.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for WatchedWriter {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let place = self.inner.seek(position)?;
        self.handle.written_bytes.store(place, Ordering::SeqCst);
        Ok(place)
    }
}

impl WriteExt for WatchedWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        match self.handle.frozen_bytes {
            Some(_) => Ok(()),
            None => self.inner.truncate(offset),
        }
    }

    fn allocate(&mut self, offset: usize, bytes: usize) -> io::Result<()> {
        match self.handle.frozen_bytes {
            Some(_) => Ok(()),
            None => self.inner.allocate(offset, bytes),
        }
    }
}

impl FileSystem for Watch {
    type Handle = WatchedHandle;
    type Reader = <Disk as FileSystem>::Reader;
    type Writer = WatchedWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<WatchedHandle> {
        let inner = self.shared.disk.create(&path)?;
        Ok(WatchedHandle::new(self, path.as_ref(), inner))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<WatchedHandle> {
        let permission = match self.shared.frozen.contains_key(path.as_ref()) {
            true => Permission::ReadOnly,
            false => permission,
        };
        let inner = self.shared.disk.open(&path, permission)?;
        Ok(WatchedHandle::new(self, path.as_ref(), inner))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.sync_appended()?;
        let Some((queue, sequence)) = parse_file_name(path.as_ref()) else {
            return self.shared.disk.delete(path);
        };
        match self.give_back(queue, sequence) {
            // raft-engine may think that it is gone; the purge gives it back when there is room.
            Err(error) if error.action() == Action::Retry => Ok(()),
            given_back => given_back.map_err(io::Error::other),
        }
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.shared.disk.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Reader> {
        self.shared.disk.new_reader(handle.inner.clone())
    }

    fn new_writer(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Writer> {
        let inner = self.shared.disk.new_writer(handle.inner.clone())?;
        if let Some((queue, _)) = handle.file {
            *self.shared.marks[queue as usize].written.lock() = Arc::downgrade(&handle);
        }
        Ok(WatchedWriter { inner, handle })
    }
}
