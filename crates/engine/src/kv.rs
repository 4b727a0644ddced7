//! [`KvEngine`]: an ordered map in four column families, with atomic batches, snapshots and bounded
//! iterators.
//!
//! **Why owned snapshots.** A read outlives the poller round in which it was allowed, and runs on
//! another thread; a snapshot is therefore cheap to take, cheap to clone, and borrows nothing.
//!
//! **Not here.** Isolation between writers: batches are applied one after another, in the order of
//! the calls, and the last one wins.

use crate::Result;
use bytes::Bytes;
use metrics::Page;

/// A column family: a key space of its own, written atomically with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cf {
    /// Raw values, and values of transactions.
    Default,
    /// Locks of transactions.
    Lock,
    /// Commit records of transactions.
    Write,
    /// The state of Regions and of the store itself.
    Raft,
}

impl Cf {
    /// All families, in the order of their position in arrays.
    pub const ALL: [Cf; 4] = [Cf::Default, Cf::Lock, Cf::Write, Cf::Raft];

    /// The family's name on disk and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Cf::Default => "default",
            Cf::Lock => "lock",
            Cf::Write => "write",
            Cf::Raft => "raft",
        }
    }

    /// The family's position in [`Cf::ALL`].
    pub const fn position(self) -> usize {
        self as usize
    }
}

/// When a write has to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Some time; a crash of the machine may lose it, and everything after it.
    Buffered,
    /// When the call returns, together with everything written before it.
    Synced,
}

/// An ordered key-value store in [`Cf::ALL`]. Clones are handles of the same engine; the last one
/// that goes closes it, without a sync.
pub trait KvEngine: Clone + Send + Sync + 'static {
    /// A consistent view.
    type Snapshot: KvSnapshot;
    /// Writes to be applied together.
    type Batch: KvBatch;

    /// A new, empty batch.
    fn batch(&self) -> Self::Batch;

    /// Applies `batch` atomically over all families, in the order of its operations, and leaves it
    /// empty. An empty batch writes nothing but still syncs if asked to.
    ///
    /// # Errors
    /// [`crate::Error::InvalidRange`] and [`crate::Error::DiskFull`] leave the engine and the batch
    /// as they were; an engine that can't promise that on a full disk answers
    /// [`crate::Error::Sync`]. After any other error the store must stop: the batch is of no use any
    /// more, and every later write and sync answers such an error, while reads go on.
    fn write(&self, batch: &mut Self::Batch, durability: Durability) -> Result<()>;

    /// A view of everything written so far. Later writes don't show in it.
    fn snapshot(&self) -> Self::Snapshot;

    /// The value of `key` now.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>>;

    /// Makes everything that has been written so far durable.
    ///
    /// # Errors
    /// Any error means that the store must stop: it isn't known what is durable.
    fn sync(&self) -> Result<()>;

    /// About how many bytes `[start, end)` takes (empty `end`: to the last key); zero for an
    /// inverted range. An estimate: it may be zero for data in memory and include deleted data.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64>;

    /// The files that hold keys of `[start, end)`, each as a whole; an engine in memory has none.
    ///
    /// # Errors
    /// The files can't be listed.
    fn files(&self, _cf: Cf, _start: &[u8], _end: &[u8]) -> Result<Files> {
        Ok(Files::default())
    }

    /// Rewrites the files of `[start, end)`, so that what was removed or overwritten takes no room any more, and no
    /// read has to pass over it. Returns when it is done, or after the step in which `go_on` became false: a step
    /// is some seconds. Reads and writes go on beside it. An engine in memory has nothing to do.
    ///
    /// # Errors
    /// The files can't be listed, or the engine takes no writes any more.
    fn compact(
        &self,
        _cf: Cf,
        _start: &[u8],
        _end: &[u8],
        _go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        Ok(())
    }

    /// What it has to catch up with.
    fn backlog(&self) -> Backlog;

    /// Adds what the engine has counted to a page ([`crate::meter`]).
    fn collect(&self, page: &mut Page);
}

/// Some of an engine's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub count: u64,
    /// Their size on disk.
    pub bytes: u64,
    /// What was written in them, removals included.
    pub entries: u64,
    /// Those of the entries that remove something.
    pub removals: u64,
}

impl std::ops::AddAssign for Files {
    fn add_assign(&mut self, more: Self) {
        self.count += more.count;
        self.bytes += more.bytes;
        self.entries += more.entries;
        self.removals += more.removals;
    }
}

/// What was written and is not where it belongs yet: of each number that of the family which has most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Buffers in memory that are full, and not flushed.
    pub memtables: u64,
    /// Files that no compaction has merged yet; a read may have to look into each.
    pub level0_files: u64,
    /// About how many bytes have to be rewritten until all levels have their sizes.
    pub compaction_bytes: u64,
}

/// A view of a [`KvEngine`] at one moment. It keeps the data it shows, and the engine's lock on its
/// directory, for as long as it lives.
pub trait KvSnapshot: Clone + Send + Sync + 'static {
    /// An iterator over this view.
    type Iter<'a>: KvIterator
    where
        Self: 'a;

    /// The value of `key` in this view.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>>;

    /// An iterator over the keys in `[lower, upper)`; an empty `upper` means to the last key. It
    /// stands nowhere until it is sought. An inverted range holds no keys.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn iter(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Self::Iter<'_>>;
}

/// A cursor over a bounded range of one family. Every move answers whether it now stands on a key;
/// once it stands on none, only a seek brings it back.
pub trait KvIterator {
    /// To the first key at or after `key`, and within the bounds.
    ///
    /// # Errors
    /// Damaged or unreadable files; so for every move.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;
    /// To the last key at or before `key`, and within the bounds.
    ///
    /// # Errors
    /// As [`Self::seek`].
    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool>;
    /// To the first key within the bounds.
    ///
    /// # Errors
    /// As [`Self::seek`].
    fn seek_to_first(&mut self) -> Result<bool>;
    /// To the last key within the bounds.
    ///
    /// # Errors
    /// As [`Self::seek`].
    fn seek_to_last(&mut self) -> Result<bool>;
    /// To the next key. Stays nowhere if it stands nowhere.
    ///
    /// # Errors
    /// As [`Self::seek`].
    fn next(&mut self) -> Result<bool>;
    /// To the key before. Stays nowhere if it stands nowhere.
    ///
    /// # Errors
    /// As [`Self::seek`].
    fn prev(&mut self) -> Result<bool>;
    /// Whether it stands on a key.
    fn valid(&self) -> bool;
    /// The key it stands on.
    ///
    /// # Panics
    /// When it isn't [`Self::valid`].
    fn key(&self) -> &[u8];
    /// The value of the key it stands on.
    ///
    /// # Panics
    /// When it isn't [`Self::valid`].
    fn value(&self) -> &[u8];
}

/// Writes that are applied together, in order; the last operation on a key wins.
pub trait KvBatch: Send {
    /// Sets `key` to `value`.
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]);
    /// Removes `key`.
    fn delete(&mut self, cf: Cf, key: &[u8]);
    /// Removes every key in `[start, end)`, put before in this batch or in the engine. Equal bounds
    /// remove nothing; an empty or smaller `end` makes [`KvEngine::write`] answer
    /// [`crate::Error::InvalidRange`], since a mistake must not pass for "everything" or "nothing".
    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]);
    /// Whether there is nothing to write.
    fn is_empty(&self) -> bool;
    /// About how many bytes the batch takes in memory and in the log.
    fn size_bytes(&self) -> usize;
    /// Forgets all operations, keeps the memory.
    fn clear(&mut self);
}
