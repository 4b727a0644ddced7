//! The part that both engines in memory share: a state, the writes since the last sync, and the
//! state that a crash falls back to.
//!
//! **Invariants.** `durable` with `unsynced` applied in order is `current`. A journal that was crashed
//! stays dead: its handles only ever answer [`Error::Stopped`]. One that failed a sync only reads.
//!
//! **Not here.** What a write means; see [`State`].

use crate::{Durability, Error, Result};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a journal keeps: cheap to clone, changed by replayable writes.
pub(super) trait State: Clone + Default {
    /// One atomic write.
    type Write: Clone;

    /// Whether `write` may be applied.
    fn check(&self, write: &Self::Write) -> Result<()>;

    /// Applies a write that passed [`State::check`].
    fn apply(&mut self, write: &Self::Write);
}

/// Faults of a disk, shared by everything on it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub syncs_fail: AtomicBool,
    pub full: AtomicBool,
}

/// An engine's files.
pub(super) struct Journal<S: State> {
    name: PathBuf,
    faults: Arc<Faults>,
    inner: Mutex<Inner<S>>,
}

struct Inner<S: State> {
    current: S,
    durable: S,
    unsynced: Vec<S::Write>,
    stopped: Option<Stop>,
}

/// Why a journal takes no more writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    SyncFailed,
    Crashed,
}

impl<S: State> Journal<S> {
    pub(super) fn new(name: &str, faults: Arc<Faults>) -> Self {
        Self::with_state(name.into(), faults, S::default())
    }

    fn with_state(name: PathBuf, faults: Arc<Faults>, state: S) -> Self {
        let inner = Inner {
            current: state.clone(),
            durable: state,
            unsynced: Vec::new(),
            stopped: None,
        };
        Self {
            name,
            faults,
            inner: Mutex::new(inner),
        }
    }

    /// The state now, for a read.
    pub(super) fn current(&self) -> Result<S> {
        let inner = self.inner.lock();
        if inner.stopped == Some(Stop::Crashed) {
            inner.check_running()?;
        }
        Ok(inner.current.clone())
    }

    /// Whether writes are still taken.
    pub(super) fn check_running(&self) -> Result<()> {
        self.inner.lock().check_running()
    }

    /// The state now, whether the journal runs or not. Only for reads that can't answer an error.
    pub(super) fn current_always(&self) -> S {
        self.inner.lock().current.clone()
    }

    /// Applies `write`; none for a write without operations.
    pub(super) fn write(&self, write: Option<S::Write>, durability: Durability) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.check_running()?;
        if let Some(write) = write {
            inner.current.check(&write)?;
            if self.faults.full.load(Ordering::SeqCst) {
                return Err(Error::DiskFull { source: None });
            }
            inner.current.apply(&write);
            inner.unsynced.push(write);
        }
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.sync_locked(&mut inner),
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.check_running()?;
        self.sync_locked(&mut inner)
    }

    fn sync_locked(&self, inner: &mut Inner<S>) -> Result<()> {
        if self.faults.syncs_fail.load(Ordering::SeqCst) {
            inner.stopped = Some(Stop::SyncFailed);
            return Err(Error::Sync {
                path: self.name.clone(),
                source: None,
            });
        }
        inner.durable = inner.current.clone();
        inner.unsynced.clear();
        Ok(())
    }

    pub(super) fn unsynced(&self) -> usize {
        self.inner.lock().unsynced.len()
    }

    /// Stops this journal and answers the one that is found after a crash, in which the first
    /// `kept` unsynced writes have survived.
    pub(super) fn crash(&self, kept: usize) -> Self {
        let mut inner = self.inner.lock();
        assert!(kept <= inner.unsynced.len(), "more kept than written");
        inner.stopped = Some(Stop::Crashed);
        let mut state = inner.durable.clone();
        for write in &inner.unsynced[..kept] {
            state.apply(write);
        }
        Self::with_state(self.name.clone(), self.faults.clone(), state)
    }

    /// The journal that a new process finds: all writes are there, a failed sync is forgotten.
    pub(super) fn reopen(&self) {
        self.inner.lock().stopped = None;
    }
}

impl<S: State> Inner<S> {
    fn check_running(&self) -> Result<()> {
        let reason = match self.stopped {
            None => return Ok(()),
            Some(Stop::SyncFailed) => "a sync failed",
            Some(Stop::Crashed) => "the machine crashed",
        };
        Err(Error::Stopped { reason })
    }
}
