//! Compaction of a store's data on request: an operator wants the room back that removed rows take.
//!
//! **Invariants.** One runs at a time. It ends soon after the store begins to stop, and what it has done until then
//! stays done.
//!
//! **Not here.** When RocksDB compacts by itself, and how (`engine_rocks`).

use crate::handle::NodeHandle;
use engine::{Cf, Files, KvEngine};
use std::time::{Duration, Instant};
use thiserror::Error;
use types::KeyRange;
use types::keys::Space;

/// What to compact: a family's keys, as Regions hold keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Which family.
    pub cf: Cf,
    /// Which keys.
    pub range: KeyRange,
}

/// What came of it: the files that hold keys of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Those before.
    pub before: Files,
    /// And those after.
    pub after: Files,
    /// How long it took.
    pub took: Duration,
}

/// Why it was not, or not wholly.
#[derive(Debug, Error)]
pub enum CompactError {
    /// Another one runs.
    #[error("a compaction is under way; ask again when it has ended")]
    UnderWay,
    /// The store stops.
    #[error("the node stops: the compaction has ended early")]
    Stopping,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl<K: KvEngine> NodeHandle<K> {
    /// Compacts, on the calling thread, for as long as that takes.
    ///
    /// # Errors
    /// See [`CompactError`]; only [`CompactError::UnderWay`] says that nothing was done.
    pub fn compact(&self, wanted: &Compaction) -> Result<Compacted, CompactError> {
        let inner = &*self.inner;
        let Some(_only) = inner.compacting.try_lock() else {
            return Err(CompactError::UnderWay);
        };
        let Compaction { cf, range } = wanted;
        let start = Space::Data.key(&range.start);
        let end = Space::Data.end_key(&range.end);
        let since = Instant::now();
        let goes_on = || !inner.peers.is_stopped();
        let before = inner.engine.files(*cf, &start, &end)?;
        tracing::info!(
            cf = cf.name(),
            files = before.count,
            bytes = before.bytes,
            "compacting"
        );
        inner.engine.compact(*cf, &start, &end, &goes_on)?;
        if !goes_on() {
            return Err(CompactError::Stopping);
        }
        let after = inner.engine.files(*cf, &start, &end)?;
        let took = since.elapsed();
        tracing::info!(
            cf = cf.name(),
            files = after.count,
            bytes = after.bytes,
            ?took,
            "compacted"
        );
        Ok(Compacted {
            before,
            after,
            took,
        })
    }
}
