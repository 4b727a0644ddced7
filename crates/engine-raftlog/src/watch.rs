//! [`Watch`]: sees raft-engine create and delete files and sync them, and keeps the list of files
//! in step.
//!
//! **The order that makes the list true.**
//! - Rotation: raft-engine creates the file, writes and syncs its header, syncs the directory, then
//!   tells its listeners, and only then writes a record. The list names the file in that call.
//! - Purge: raft-engine deletes through its file system, oldest first. The list forgets the file
//!   before it is deleted.
//!
//! **Invariants.** A sync or a change of the list that fails stops the log: the call in which it
//! happened and all later ones answer an error, so nothing that isn't durable or stands in an
//! unlisted file is ever promised; and no file is deleted any more.
//!
//! **Not here.** Where the records go: `DefaultFileSystem` writes them.

use crate::manifest::{Manifest, Queue, parse_file_name};
use engine::Error;
use engine::file::sync_failed;
use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};
use raft_engine::internals::{EventListener, FileId, LogQueue};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type DefaultHandle = <DefaultFileSystem as FileSystem>::Handle;

/// What happens to the files of one log. Clones are handles of the same watch.
#[derive(Clone)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    /// None until the log is open: what happens before is not yet listed.
    manifest: Mutex<Option<Manifest>>,
    /// The first failure, until a call has answered it.
    failure: Mutex<Option<Error>>,
    stopped: AtomicBool,
    #[cfg(test)]
    syncs_fail: AtomicBool,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                directory: directory.to_path_buf(),
                manifest: Mutex::new(None),
                failure: Mutex::new(None),
                stopped: AtomicBool::new(false),
                #[cfg(test)]
                syncs_fail: AtomicBool::new(false),
            }),
        }
    }

    /// Stores the list of an opened log, and keeps it from now on.
    pub(crate) fn begin(&self, manifest: Manifest) -> engine::Result<()> {
        let mut listed = self.shared.manifest.lock();
        manifest.store(&self.shared.directory)?;
        *listed = Some(manifest);
        Ok(())
    }

    /// An error if anything has failed: the failure itself the first time.
    pub(crate) fn check(&self) -> engine::Result<()> {
        if !self.shared.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let first = self.shared.failure.lock().take();
        Err(first.unwrap_or(Error::Stopped {
            reason: "a sync of the Raft log failed",
        }))
    }

    fn fail(&self, error: Error) {
        self.shared.failure.lock().get_or_insert(error);
        self.shared.stopped.store(true, Ordering::SeqCst);
    }

    /// Changes the list and stores it, if that makes a difference.
    fn change(&self, change: impl FnOnce(&mut Manifest)) -> io::Result<()> {
        let mut listed = self.shared.manifest.lock();
        let Some(manifest) = listed.as_mut() else {
            return Ok(());
        };
        let before = *manifest;
        change(manifest);
        if *manifest == before {
            return Ok(());
        }
        manifest.store(&self.shared.directory).map_err(|error| {
            let text = error.to_string();
            self.fail(error);
            io::Error::other(text)
        })
    }

    #[cfg(test)]
    pub(crate) fn fail_syncs(&self) {
        self.shared.syncs_fail.store(true, Ordering::SeqCst);
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
        // The failure is kept, and answered by the write that needed the file.
        let _kept = self.change(|manifest| {
            let span = manifest.span_mut(queue(file.queue));
            span.last = span.last.max(file.seq);
        });
    }
}

/// A file whose syncs are watched.
///
/// A failed sync is kept in the watch and not answered: raft-engine would panic, in a place where
/// that aborts the process without a message. Every call on the log asks the watch before it
/// answers.
pub(crate) struct WatchedHandle {
    inner: Arc<DefaultHandle>,
    watch: Watch,
}

impl Handle for WatchedHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.watch.shared.syncs_fail.load(Ordering::SeqCst) {
            let error = io::Error::other("the test lets syncs fail");
            self.watch
                .fail(sync_failed(&self.watch.shared.directory, error));
            return Ok(());
        }
        if let Err(error) = self.inner.sync() {
            self.watch
                .fail(sync_failed(&self.watch.shared.directory, error));
        }
        Ok(())
    }
}

impl FileSystem for Watch {
    type Handle = WatchedHandle;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = <DefaultFileSystem as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<WatchedHandle> {
        let inner = Arc::new(DefaultFileSystem.create(path)?);
        let watch = self.clone();
        Ok(WatchedHandle { inner, watch })
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<WatchedHandle> {
        let inner = Arc::new(DefaultFileSystem.open(path, permission)?);
        let watch = self.clone();
        Ok(WatchedHandle { inner, watch })
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        if self.shared.stopped.load(Ordering::SeqCst) {
            // What replaces the file may not be durable.
            return Err(io::Error::other("the log has stopped"));
        }
        if let Some((queue, sequence)) = parse_file_name(path.as_ref()) {
            self.change(|manifest| {
                let span = manifest.span_mut(queue);
                span.first = span.first.max(sequence + 1);
            })?;
        }
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(handle.inner.clone())
    }

    fn new_writer(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Writer> {
        DefaultFileSystem.new_writer(handle.inner.clone())
    }
}
