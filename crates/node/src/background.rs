//! What runs beside the batch systems: the work on snapshots, log GC's slow part, and hashing.
//!
//! **Invariants.** When [`Background::stop`] returns, none of its threads is left, and no snapshot is sent
//! any more, if the transport was stopped before.
//!
//! **Not here.** The work itself (`snap`, `log_gc`, `consistency`).

use crate::consistency::{HashQueue, HashThread};
use crate::error::StartError;
use crate::log_gc::{LogGc, LogGcTuning};
use crate::node::NodeOptions;
use crate::ports::Ports;
use crate::snap::{SnapReceivers, SnapSenders, SnapThreads, Snapshots};
use engine::{KvEngine, RaftLog};
use std::time::Duration;

/// How long a stop waits for snapshots that the transport has been told to give up.
const SENDERS_PATIENCE: Duration = Duration::from_secs(5);

/// The threads of one node.
pub(crate) struct Background<K: KvEngine> {
    snapshots: Snapshots<K>,
    snap: SnapThreads,
    log_gc: LogGc,
    hashes: HashThread,
}

impl<K: KvEngine> Background<K> {
    pub(crate) fn start<L: RaftLog>(
        (kv, log): (K, L),
        snapshots: Snapshots<K>,
        (senders, receivers, hashes): (SnapSenders, SnapReceivers, HashQueue),
        ports: &Ports,
        options: &NodeOptions,
    ) -> Result<Self, StartError> {
        let snap = SnapThreads::start(&snapshots, senders, receivers, ports)?;
        let (syncs, peers) = (ports.syncs.clone(), ports.peers.clone());
        let bytes_per_s_max = options.consistency.bytes_per_s_max;
        let hashes = HashThread::start(hashes, ports.peers.clone(), bytes_per_s_max)?;
        let log_gc = LogGc::start(kv, log, syncs, peers, options)?;
        Ok(Self {
            snapshots,
            snap,
            log_gc,
            hashes,
        })
    }

    pub(crate) fn log_gc(&self) -> LogGcTuning {
        self.log_gc.tuning()
    }

    pub(crate) fn stop(self) {
        self.snap.stop();
        self.log_gc.stop();
        self.hashes.stop();
        if !self.snapshots.await_senders(SENDERS_PATIENCE) {
            tracing::warn!("a snapshot is still being sent");
        }
    }
}
