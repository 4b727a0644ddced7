//! Changing a node while it runs: sizes of pools and batches, bounds, intervals.
//!
//! **How.** The whole of the new options is handed in, and compared with what is in force: what differs and
//! can be changed is. So there is one way from a configuration to a node, whether it starts or runs.
//!
//! **Invariants.** All of a change takes effect or none of it: the only part that can fail, starting threads,
//! comes first, and is undone if its second half fails. A pool that grows or shrinks loses no message.
//!
//! **Not here.** Which configuration items those are, and whether their values make sense.

use crate::budget::MemoryBudget;
use crate::flow::{FlowControl, Quotas};
use crate::fsm::{ApplyFsm, NoControl, PeerFsm, PeerMessage, StoreFsm, StoreMessage};
use crate::growth::Growth;
use crate::load_check::LoadTuning;
use crate::log_gc::LogGcTuning;
use crate::node::NodeOptions;
use crate::slowness::Slowness;
use crate::snap::SnapTuning;
use crate::tuned::Tuned;
use batch_system::ThreadDriver;
use parking_lot::Mutex;
use raftstore::peer::{Input, PeerOptions};
use raftstore::store::{self, StoreOptions};
use std::sync::Arc;

/// Changes a node. Clones are the same.
#[derive(Clone)]
pub struct NodeControl {
    shared: Arc<Shared>,
}

/// What can be changed, where it is used.
pub(crate) struct Shared {
    pub(crate) peers: ThreadDriver<PeerFsm, StoreFsm>,
    pub(crate) appliers: ThreadDriver<ApplyFsm, NoControl>,
    pub(crate) peer_options: Tuned<Arc<PeerOptions>>,
    pub(crate) growth: Growth,
    pub(crate) load: LoadTuning,
    pub(crate) log_gc: LogGcTuning,
    pub(crate) slowness: Slowness,
    pub(crate) snapshots: SnapTuning,
    pub(crate) memory: MemoryBudget,
    pub(crate) flow: FlowControl,
    pub(crate) quotas: Quotas,
    /// What is in force. Held through a change.
    pub(crate) options: Mutex<NodeOptions>,
}

impl NodeControl {
    pub(crate) fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self { shared }
    }

    /// Goes by these options from now on, as far as a running node can. Waits for pollers that leave; must not
    /// be called from one.
    ///
    /// # Errors
    /// A thread can't be started, or the node is stopping: nothing has changed.
    pub fn apply(&self, wanted: &NodeOptions) -> Result<(), batch_system::Error> {
        let shared = &*self.shared;
        let mut current = shared.options.lock();
        shared.peers.set_config(&wanted.peer_pool)?;
        if let Err(error) = shared.appliers.set_config(&wanted.apply_pool) {
            // It shrinks, which can't fail, or stays.
            let _ = shared.peers.set_config(&current.peer_pool);
            return Err(error);
        }
        let next = current.changed_to(wanted);
        let mailboxes = next.mailbox_bytes_max;
        shared.memory.want(|wanted| wanted.mailboxes = mailboxes);
        shared.memory.set_limit_bytes(next.memory_bytes_max);
        shared.flow.set_options(next.flow);
        if next.quota != current.quota {
            shared.quotas.set_options(next.quota);
        }
        shared.growth.set_options(next.split);
        shared.load.set(next.load);
        shared.log_gc.set(&next);
        shared.slowness.set_options(next.slow);
        shared.snapshots.set(&next.snap);
        shared.tell_peers(&current, &next);
        *current = next;
        Ok(())
    }
}

impl Shared {
    /// The Peers and the store, if what they go by has changed.
    fn tell_peers(&self, before: &NodeOptions, now: &NodeOptions) {
        let router = self.peers.router();
        if before.peer != now.peer {
            let options = Arc::new(now.peer.clone());
            // First for those that are made from now on: a Peer that gets them twice is as well off.
            self.peer_options.set(Arc::clone(&options));
            router.broadcast(|_| Some(PeerMessage(Input::Options(Arc::clone(&options)))));
        }
        let of_store =
            |options: &NodeOptions| StoreOptions::new(options.store_report_ticks, &options.peer);
        if of_store(before) != of_store(now) {
            let message = StoreMessage(store::Input::Options(of_store(now)));
            // Only a store that stops refuses it.
            let _ = router.force_send_control(message);
        }
    }
}

impl NodeOptions {
    /// These, with what of `wanted` a running node can go by.
    fn changed_to(&self, wanted: &NodeOptions) -> NodeOptions {
        let (peer, new) = (&self.peer, &wanted.peer);
        NodeOptions {
            peer: PeerOptions {
                report_ticks: new.report_ticks,
                stale_check_ticks: new.stale_check_ticks,
                asleep_check_ticks: new.asleep_check_ticks,
                hibernate_ticks: new.hibernate_ticks,
                log_gc: new.log_gc.clone(),
                ..peer.clone()
            },
            peer_pool: wanted.peer_pool.clone(),
            apply_pool: wanted.apply_pool.clone(),
            mailbox_bytes_max: wanted.mailbox_bytes_max,
            memory_bytes_max: wanted.memory_bytes_max,
            flow: wanted.flow,
            quota: wanted.quota,
            store_report_ticks: wanted.store_report_ticks,
            split: wanted.split,
            load: wanted.load,
            slow: wanted.slow,
            snap: wanted.snap.clone(),
            log_gc_sync_interval: wanted.log_gc_sync_interval,
            log_purge_interval: wanted.log_purge_interval,
            ..self.clone()
        }
    }
}
