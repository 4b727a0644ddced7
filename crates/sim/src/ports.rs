//! What leaves a store: its ports write into one outbox, which the world empties after every round.
//!
//! **Invariant.** From the moment of a panic or a power cut on nothing enters the outbox: the process
//! would be gone.

use crate::describe::Written;
use crate::planted::PlantedBug;
use futures::future::BoxFuture;
use node::snap::{OutgoingSnapshot, SnapTask, SnapWork};
use node::{HashTask, HashWork, LeadershipObserver, PlacementLink, Replies, Transport};
use parking_lot::Mutex;
use placement::{RegionHeartbeat, SplitIds, StoreStats};
use raftstore::{Leadership, RaftMessage, Reply, RequestError};
use std::collections::VecDeque;
use std::sync::Arc;
use types::{Region, RegionId, RequestId};

/// Every so many answers one is wrong, where a planted bug says so.
const WRONG_EVERY: u64 = 50;
/// Views that may wait to be hashed.
const HASHES_MAX: usize = 2;

/// An answer of a store to a request.
pub(crate) type Answer = (RequestId, Result<Reply, RequestError>);

pub(crate) type SharedOutbox = Arc<Mutex<Outbox>>;

/// What one life of a store has sent out and not been relieved of.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Sent, but not flushed: lost if the process ends now.
    unsent: Vec<RaftMessage>,
    pub(crate) sent: Vec<RaftMessage>,
    pub(crate) snapshots: Vec<OutgoingSnapshot>,
    /// Snapshots that were installed.
    pub(crate) installed: u64,
    /// Sources that one of them has taken in.
    pub(crate) taken_in: u64,
    pub(crate) answers: Vec<Answer>,
    pub(crate) leaderships: Vec<Leadership>,
    /// What leaders would tell the placement driver.
    pub(crate) heartbeats: Vec<RegionHeartbeat>,
    /// What a Region that was cut has become.
    pub(crate) splits: Vec<Vec<Region>>,
    /// What the store would tell it.
    pub(crate) stats: Option<StoreStats>,
    /// Writes to an engine.
    pub(crate) writes: Vec<Written>,
    pub(crate) panic: Option<String>,
    pub(crate) is_power_cut: bool,
    pub(crate) has_sync_failed: bool,
    /// A write has waited for room on the disk.
    pub(crate) has_stalled: bool,
    answered: u64,
    bug: Option<PlantedBug>,
}

/// The ports of one store.
pub(crate) struct SimPorts(pub(crate) SharedOutbox);

impl Outbox {
    pub(crate) fn new(bug: Option<PlantedBug>) -> SharedOutbox {
        Arc::new(Mutex::new(Self {
            bug,
            ..Self::default()
        }))
    }

    /// What has left since the last call; what is not flushed and what is wrong stays.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            sent: std::mem::take(&mut self.sent),
            snapshots: std::mem::take(&mut self.snapshots),
            installed: std::mem::take(&mut self.installed),
            taken_in: std::mem::take(&mut self.taken_in),
            answers: std::mem::take(&mut self.answers),
            leaderships: std::mem::take(&mut self.leaderships),
            heartbeats: std::mem::take(&mut self.heartbeats),
            splits: std::mem::take(&mut self.splits),
            stats: self.stats.take(),
            has_stalled: std::mem::take(&mut self.has_stalled),
            writes: std::mem::take(&mut self.writes),
            panic: self.panic.clone(),
            is_power_cut: self.is_power_cut,
            has_sync_failed: self.has_sync_failed,
            ..Self::default()
        }
    }

    /// The process is gone, or would be.
    pub(crate) fn is_closed(&self) -> bool {
        self.panic.is_some() || self.is_power_cut
    }

    pub(crate) fn power_cut(&mut self) {
        self.is_power_cut = true;
        self.unsent.clear();
    }

    pub(crate) fn panicked(&mut self, message: String) {
        self.panic.get_or_insert(message);
        self.unsent.clear();
    }

    pub(crate) fn wrote(&mut self, written: Written, result: &engine::Result<()>) {
        self.writes.push(written);
        self.has_sync_failed |= matches!(result, Err(engine::Error::Sync { .. }));
    }

    fn answer(&mut self, answer: Answer) {
        self.answered += 1;
        let is_wrong = self.answered.is_multiple_of(WRONG_EVERY);
        match self.bug {
            Some(PlantedBug::LostAnswer) if is_wrong => {}
            Some(PlantedBug::AnswerTwice) if is_wrong => {
                self.answers.push(answer.clone());
                self.answers.push(answer);
            }
            _ => self.answers.push(answer),
        }
    }
}

impl SimPorts {
    fn with(&self, act: impl FnOnce(&mut Outbox)) {
        let mut outbox = self.0.lock();
        if !outbox.is_closed() {
            act(&mut outbox);
        }
    }
}

/// Work on snapshots that waits to be done: installations apart, as a node has a thread for them.
#[derive(Default)]
pub(crate) struct SimWork {
    quick: Mutex<VecDeque<SnapTask>>,
    installs: Mutex<VecDeque<SnapTask>>,
}

impl SimWork {
    pub(crate) fn next(&self, may_install: bool) -> Option<SnapTask> {
        let quick = self.quick.lock().pop_front();
        quick.or_else(|| may_install.then(|| self.installs.lock().pop_front())?)
    }
}

impl SnapWork for SimWork {
    fn submit(&self, task: SnapTask) {
        let queue = match task {
            SnapTask::Install(_) => &self.installs,
            _ => &self.quick,
        };
        queue.lock().push_back(task);
    }
}

/// Views that wait to be hashed.
#[derive(Default)]
pub(crate) struct SimHashes(Mutex<VecDeque<HashTask>>);

impl SimHashes {
    pub(crate) fn next(&self) -> Option<HashTask> {
        self.0.lock().pop_front()
    }

    /// It is not done yet.
    pub(crate) fn put_back(&self, task: HashTask) {
        self.0.lock().push_front(task);
    }
}

impl HashWork for SimHashes {
    fn submit(&self, task: HashTask) -> Result<(), HashTask> {
        let mut waiting = self.0.lock();
        if waiting.len() >= HASHES_MAX {
            return Err(task);
        }
        waiting.push_back(task);
        Ok(())
    }
}

impl Transport for SimPorts {
    fn send(&self, message: RaftMessage) {
        self.with(|outbox| outbox.unsent.push(message));
    }

    fn send_snapshot(&self, snapshot: OutgoingSnapshot) {
        self.with(|outbox| outbox.snapshots.push(snapshot));
    }

    fn flush(&self) {
        self.with(|outbox| {
            let mut unsent = std::mem::take(&mut outbox.unsent);
            outbox.sent.append(&mut unsent);
        });
    }
}

impl Replies for SimPorts {
    fn complete(&self, request: RequestId, result: Result<Reply, RequestError>) {
        self.with(|outbox| outbox.answer((request, result)));
    }
}

impl LeadershipObserver for SimPorts {
    fn leadership(&self, leadership: &Leadership) {
        self.with(|outbox| outbox.leaderships.push(leadership.clone()));
    }

    fn removed(&self, _: RegionId) {}
}

impl PlacementLink for SimPorts {
    fn region_heartbeat(&self, heartbeat: RegionHeartbeat) {
        self.with(|outbox| outbox.heartbeats.push(heartbeat));
    }

    fn store_heartbeat(&self, stats: StoreStats) {
        self.with(|outbox| outbox.stats = Some(stats));
    }

    fn split_done(&self, parts: Vec<Region>) {
        self.with(|outbox| outbox.splits.push(parts));
    }

    fn ask_split(
        &self,
        _region: Region,
        _parts: usize,
    ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        unreachable!("the operator gives out ids")
    }
}
