//! [`RocksSnapshot`]: an owned view, and its iterators.
//!
//! **Why unsafe.** The binding ties a snapshot's lifetime to a borrow of the database. Ours has to
//! travel between threads on its own, so it keeps the database alive by a count instead, and says
//! so to the compiler.
//!
//! **Invariants.** The snapshot is released before the count of its database is: it is declared
//! before, and fields are dropped in the order of declaration.

use crate::kv::Database;
use bytes::Bytes;
use engine::{Cf, KvIterator, KvSnapshot, Result};
use rocksdb::{DB, DBRawIterator, ReadOptions, Snapshot};
use std::sync::Arc;

/// A view of a [`crate::RocksKv`]. Old versions of keys stay on disk while it lives.
#[derive(Clone)]
pub struct RocksSnapshot {
    inner: Arc<Inner>,
}

struct Inner {
    /// For every read of a single key; they point to the snapshot.
    options: ReadOptions,
    // Must stay before the database: it borrows from it.
    snapshot: Snapshot<'static>,
    database: Arc<Database>,
}

impl RocksSnapshot {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        // SAFETY: the reference points into the allocation of `database`, which neither moves nor
        // goes while `Inner` holds a count of it; the snapshot is dropped before that count, and
        // never leaves `Inner`.
        let db: &'static DB = unsafe { &*std::ptr::from_ref(&database.db) };
        let snapshot = db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        Self {
            inner: Arc::new(Inner {
                options,
                snapshot,
                database,
            }),
        }
    }
}

impl KvSnapshot for RocksSnapshot {
    type Iter<'a> = RocksIter<'a>;

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        let Inner {
            options, database, ..
        } = &*self.inner;
        let family = database.family(cf);
        let found = database.db.get_pinned_cf_opt(family, key, options);
        let value = found.map_err(|error| database.translate(error, "get"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn iter(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<RocksIter<'_>> {
        let Inner {
            snapshot, database, ..
        } = &*self.inner;
        let mut options = ReadOptions::default();
        if !lower.is_empty() {
            options.set_iterate_lower_bound(lower);
        }
        if !upper.is_empty() {
            // Equal bounds hold nothing; RocksDB doesn't say what inverted ones hold.
            options.set_iterate_upper_bound(upper.max(lower));
        }
        Ok(RocksIter {
            iter: snapshot.raw_iterator_cf_opt(database.family(cf), options),
            database,
        })
    }
}

/// A cursor over a [`RocksSnapshot`].
pub struct RocksIter<'a> {
    iter: DBRawIterator<'a>,
    database: &'a Database,
}

impl RocksIter<'_> {
    /// Whether it stands on a key; if not, whether that is because of an error.
    fn settled(&self) -> Result<bool> {
        if self.iter.valid() {
            return Ok(true);
        }
        let status = self.iter.status();
        status.map_err(|error| self.database.translate(error, "iterate"))?;
        Ok(false)
    }
}

impl KvIterator for RocksIter<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.iter.seek(key);
        self.settled()
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.iter.seek_for_prev(key);
        self.settled()
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        self.iter.seek_to_first();
        self.settled()
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.iter.seek_to_last();
        self.settled()
    }

    fn next(&mut self) -> Result<bool> {
        if self.iter.valid() {
            self.iter.next();
        }
        self.settled()
    }

    fn prev(&mut self) -> Result<bool> {
        if self.iter.valid() {
            self.iter.prev();
        }
        self.settled()
    }

    fn valid(&self) -> bool {
        self.iter.valid()
    }

    fn key(&self) -> &[u8] {
        self.iter.key().expect("the iterator stands on no key")
    }

    fn value(&self) -> &[u8] {
        self.iter.value().expect("the iterator stands on no key")
    }
}
