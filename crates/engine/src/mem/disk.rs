//! [`Disk`]: what survives the engines in memory.
//!
//! **Why one for both.** A store has a key-value engine and a Raft log on the same disk; a crash
//! hits both, each at a point of its own, as two files do.
//!
//! **Not here.** Randomness: the caller of [`Disk::crash`] chooses what survives.

use super::journal::{Faults, Journal, State};
use super::kv::{KvState, MemKv};
use super::log::{LogState, MemLog};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone, Default)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Inner {
    kvs: BTreeMap<String, Slot<KvState>>,
    logs: BTreeMap<String, Slot<LogState>>,
}

/// A directory: its files, and the lock that the open engine holds.
struct Slot<S: State> {
    journal: Arc<Journal<S>>,
    lock: Weak<()>,
}

impl<S: State> Slot<S> {
    fn open(
        slots: &mut BTreeMap<String, Self>,
        name: &str,
        faults: &Arc<Faults>,
    ) -> Result<(Arc<Journal<S>>, Arc<()>)> {
        let slot = slots.entry(name.to_owned()).or_insert_with(|| Slot {
            journal: Arc::new(Journal::new(name, faults.clone())),
            lock: Weak::new(),
        });
        if slot.lock.strong_count() > 0 {
            return Err(Error::Locked {
                path: name.into(),
                source: None,
            });
        }
        let lock = Arc::new(());
        slot.lock = Arc::downgrade(&lock);
        slot.journal.reopen();
        Ok((slot.journal.clone(), lock))
    }

    fn crash(&mut self, keep: &mut dyn FnMut(usize) -> usize) {
        let unsynced = self.journal.unsynced();
        let kept = if unsynced == 0 { 0 } else { keep(unsynced) };
        self.journal = Arc::new(self.journal.crash(kept));
        self.lock = Weak::new();
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the key-value engine `name`, an empty one the first time.
    ///
    /// # Errors
    /// [`Error::Locked`] while a handle of it, or a snapshot, is alive.
    pub fn open_kv(&self, name: &str) -> Result<MemKv> {
        let (journal, lock) = Slot::open(&mut self.inner.lock().kvs, name, &self.faults)?;
        Ok(MemKv::new(journal, lock))
    }

    /// Opens the Raft log `name`, an empty one the first time.
    ///
    /// # Errors
    /// [`Error::Locked`] while a handle of it is alive.
    pub fn open_log(&self, name: &str) -> Result<MemLog> {
        let (journal, lock) = Slot::open(&mut self.inner.lock().logs, name, &self.faults)?;
        Ok(MemLog::new(journal, lock))
    }

    /// The machine crashes. For each engine with `n` unsynced writes, key-value engines before
    /// logs and each in order of names, `keep(n)` says how many of them survive, the oldest first.
    /// Handles from before the crash are dead; engines can be opened again at once.
    ///
    /// # Panics
    /// When `keep` answers more than it was given.
    pub fn crash(&self, keep: &mut dyn FnMut(usize) -> usize) {
        let mut inner = self.inner.lock();
        for slot in inner.kvs.values_mut() {
            slot.crash(keep);
        }
        for slot in inner.logs.values_mut() {
            slot.crash(keep);
        }
    }

    /// Deletes the Raft log `name`, durably at once, as after a move to another engine.
    pub fn delete_log(&self, name: &str) {
        self.inner.lock().logs.remove(name);
    }

    /// How many writes on this disk a crash could lose.
    pub fn unsynced_writes(&self) -> usize {
        let inner = self.inner.lock();
        let kvs = inner.kvs.values().map(|slot| slot.journal.unsynced());
        let logs = inner.logs.values().map(|slot| slot.journal.unsynced());
        kvs.chain(logs).sum()
    }

    /// From now on every sync fails (or works again). The engine whose sync failed is stopped until
    /// it is opened again.
    pub fn fail_syncs(&self, fail: bool) {
        self.faults.syncs_fail.store(fail, Ordering::SeqCst);
    }

    /// From now on every write is refused with [`Error::DiskFull`] (or accepted again). Syncs of
    /// what was written go on.
    pub fn set_full(&self, full: bool) {
        self.faults.full.store(full, Ordering::SeqCst);
    }
}
