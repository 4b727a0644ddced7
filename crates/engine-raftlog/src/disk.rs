//! The file system below the log: raft-engine's own, and in this crate's tests one that fails when it
//! is told to.
//!
//! **Not here.** What happens to the files: see `watch`.

#[cfg(not(test))]
mod usual {
    use raft_engine::env::DefaultFileSystem;

    pub(crate) type Disk = DefaultFileSystem;

    pub(crate) fn disk() -> Disk {
        DefaultFileSystem
    }
}

#[cfg(not(test))]
pub(crate) use usual::{Disk, disk};

#[cfg(test)]
pub(crate) use faulty::{Disk, disk};

#[cfg(test)]
mod faulty {
    use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};
    use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    type UsualHandle = <DefaultFileSystem as FileSystem>::Handle;
    type UsualFile = <DefaultFileSystem as FileSystem>::Writer;

    #[derive(Default)]
    struct Faults {
        syncs_fail: AtomicBool,
        full: AtomicBool,
    }

    #[derive(Clone, Default)]
    pub(crate) struct Disk {
        faults: Arc<Faults>,
    }

    pub(crate) fn disk() -> Disk {
        Disk::default()
    }

    impl Disk {
        /// From now on every sync of a log file fails, or works again.
        pub(crate) fn fail_syncs(&self, fail: bool) {
            self.faults.syncs_fail.store(fail, Ordering::SeqCst);
        }

        /// From now on every write to a log file finds the disk full, or has room again.
        pub(crate) fn set_full(&self, full: bool) {
            self.faults.full.store(full, Ordering::SeqCst);
        }

        fn handle(&self, inner: UsualHandle) -> FaultyHandle {
            FaultyHandle {
                inner: Arc::new(inner),
                faults: self.faults.clone(),
            }
        }
    }

    impl FileSystem for Disk {
        type Handle = FaultyHandle;
        type Reader = UsualFile;
        type Writer = FaultyWriter;

        fn create<P: AsRef<Path>>(&self, path: P) -> Result<FaultyHandle> {
            Ok(self.handle(DefaultFileSystem.create(path)?))
        }

        fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<FaultyHandle> {
            Ok(self.handle(DefaultFileSystem.open(path, permission)?))
        }

        fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
            DefaultFileSystem.delete(path)
        }

        fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
            DefaultFileSystem.rename(from, to)
        }

        fn new_reader(&self, handle: Arc<FaultyHandle>) -> Result<UsualFile> {
            DefaultFileSystem.new_reader(handle.inner.clone())
        }

        fn new_writer(&self, handle: Arc<FaultyHandle>) -> Result<FaultyWriter> {
            Ok(FaultyWriter {
                inner: DefaultFileSystem.new_writer(handle.inner.clone())?,
                faults: self.faults.clone(),
            })
        }
    }

    pub(crate) struct FaultyHandle {
        inner: Arc<UsualHandle>,
        faults: Arc<Faults>,
    }

    impl Handle for FaultyHandle {
        fn truncate(&self, offset: usize) -> Result<()> {
            self.inner.truncate(offset)
        }

        fn file_size(&self) -> Result<usize> {
            self.inner.file_size()
        }

        fn sync(&self) -> Result<()> {
            if self.faults.syncs_fail.load(Ordering::SeqCst) {
                return Err(Error::other("the test lets syncs fail"));
            }
            self.inner.sync()
        }
    }

    pub(crate) struct FaultyWriter {
        inner: UsualFile,
        faults: Arc<Faults>,
    }

    impl Write for FaultyWriter {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            if self.faults.full.load(Ordering::SeqCst) {
                // raft-engine knows a full disk by this word.
                return Err(Error::new(ErrorKind::StorageFull, "nospace"));
            }
            self.inner.write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            self.inner.flush()
        }
    }

    impl Seek for FaultyWriter {
        fn seek(&mut self, position: SeekFrom) -> Result<u64> {
            self.inner.seek(position)
        }
    }

    impl WriteExt for FaultyWriter {
        fn truncate(&mut self, offset: usize) -> Result<()> {
            self.inner.truncate(offset)
        }

        fn allocate(&mut self, offset: usize, bytes: usize) -> Result<()> {
            self.inner.allocate(offset, bytes)
        }
    }
}
