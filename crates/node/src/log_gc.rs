//! Log GC's slow part, away from the pollers: syncing the key-value engine, so that Raft logs may be cut,
//! and giving the space of what was cut back.
//!
//! **Why the sync.** The key-value engine's writes are buffered: after a crash the Raft log rebuilds what
//! was not synced. So a log is cut only up to where a sync has come. One sync serves all Regions that
//! ask; without one that asks there is none.
//!
//! **Invariants.** Who asks has written before what is to be durable: whatever is asked for before a sync
//! begins is durable when it ends.
//!
//! **Not here.** Where logs are cut (`raftstore::op::log_gc`).

use crate::fsm::{PeerMessage, PeerRouter};
use crate::node::NodeOptions;
use crate::threads::EndsWithProcess;
use crate::tuned::Tuned;
use engine::{Action, KvEngine, RaftLog};
use parking_lot::Mutex;
use raftstore::peer::Input;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use types::RegionId;

/// Regions that wait for a sync of the key-value engine, and the index that each has come to. Clones
/// are the same.
#[derive(Clone, Default)]
pub struct KvSyncs(Arc<Mutex<BTreeMap<RegionId, u64>>>);

impl KvSyncs {
    /// A Region's effects up to an index are written, and it wants to hear when they are durable.
    pub(crate) fn ask(&self, region: RegionId, applied_index: u64) {
        self.0.lock().insert(region, applied_index);
    }

    /// Syncs if anybody asks, and tells those.
    ///
    /// # Errors
    /// The store must stop.
    pub fn serve<K: KvEngine>(&self, kv: &K, peers: &PeerRouter) -> engine::Result<()> {
        let asked = std::mem::take(&mut *self.0.lock());
        if asked.is_empty() {
            return Ok(());
        }
        failpoint::at!("node::log_gc::before_sync");
        kv.sync()?;
        failpoint::at!("node::log_gc::synced");
        for (region, applied_index) in asked {
            let synced = PeerMessage(Input::KvSynced { applied_index });
            let _ = peers.force_send(region.get(), synced);
        }
        Ok(())
    }
}

/// How often what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Intervals {
    sync: Duration,
    purge: Duration,
}

impl Intervals {
    fn of(options: &NodeOptions) -> Self {
        Self {
            sync: options.log_gc_sync_interval,
            purge: options.log_purge_interval,
        }
    }
}

/// The intervals, to be changed while the thread runs.
#[derive(Clone)]
pub(crate) struct LogGcTuning {
    intervals: Tuned<Intervals>,
    /// Wakes the thread up, unless it has ended.
    changed: Sender<Note>,
}

impl LogGcTuning {
    /// Goes by these from now on, also if it waits.
    pub(crate) fn set(&self, options: &NodeOptions) {
        let wanted = Intervals::of(options);
        if self.intervals.get() != wanted {
            self.intervals.set(wanted);
            let _ = self.changed.send(Note::Changed);
        }
    }
}

/// What the thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Changed,
    Stop,
}

/// The thread.
pub(crate) struct LogGc {
    tuning: LogGcTuning,
    thread: JoinHandle<()>,
}

impl LogGc {
    pub(crate) fn start<K: KvEngine, L: RaftLog>(
        kv: K,
        log: L,
        syncs: KvSyncs,
        peers: PeerRouter,
        options: &NodeOptions,
    ) -> std::io::Result<Self> {
        let (changed, notes) = channel();
        let intervals = Tuned::new(Intervals::of(options));
        let tuning = LogGcTuning {
            intervals: intervals.clone(),
            changed,
        };
        let work = move || {
            let _guard = EndsWithProcess;
            let serve = || syncs.serve(&kv, &peers);
            run(&serve, &log, &intervals, &notes);
        };
        let thread = std::thread::Builder::new().name("log-gc".to_owned());
        let thread = thread.spawn(work)?;
        Ok(Self { tuning, thread })
    }

    pub(crate) fn tuning(&self) -> LogGcTuning {
        self.tuning.clone()
    }

    pub(crate) fn stop(self) {
        // It may have ended by a panic.
        let _ = self.tuning.changed.send(Note::Stop);
        let ended = self.thread.join();
        ended.expect("a panic would have ended the process");
    }
}

fn run<L: RaftLog>(
    serve: &dyn Fn() -> engine::Result<()>,
    log: &L,
    intervals: &Tuned<Intervals>,
    notes: &Receiver<Note>,
) {
    let (mut synced, mut purged) = (Instant::now(), Instant::now());
    loop {
        let intervals = intervals.get();
        match notes.recv_timeout(intervals.sync.saturating_sub(synced.elapsed())) {
            Ok(Note::Changed) => continue,
            Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => synced = Instant::now(),
        }
        must_not_fail("syncing the key-value engine", serve());
        if purged.elapsed() >= intervals.purge {
            failpoint::at!("node::log_gc::before_purge");
            match log.purge() {
                // It can do without for a while.
                Err(error) if error.action() == Action::Retry => {
                    tracing::warn!(%error, "the Raft log can't be purged now");
                }
                result => must_not_fail("purging the Raft log", result),
            }
            failpoint::at!("node::log_gc::purged");
            purged = Instant::now();
        }
    }
}

fn must_not_fail(doing: &str, result: engine::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, doing, "the store stops");
        panic!("{doing}: {error:?}");
    }
}
