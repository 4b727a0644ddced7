//! One store's snapshots: the views that are pinned, the files that were received.
//!
//! **Invariants.** At any moment at most so many views are pinned or sent. A view that nobody sends is
//! let go of after a while.
//!
//! **Not here.** The threads ([`super::work`]).

use super::SnapOptions;
use super::dir::SnapshotDir;
use super::format::Frames;
use super::install;
use super::limiter::Limiter;
use super::receive::{IncomingSnapshot, SnapshotRefused};
use super::slots::{Slot, Slots};
use super::work::SnapTask;
use crate::flow::{FlowControl, FlowOptions};
use crate::fsm::{ApplyMessage, PeerMessage, PeerRouter};
use crate::meters::Meters;
use crate::ports::Ports;
use crate::room::Insisted;
use crate::tuned::Tuned;
use bytes::Bytes;
use engine::{Cf, KvEngine, KvSnapshot};
use parking_lot::Mutex;
use raftstore::peer::Input;
use raftstore::state::RegionRecord;
use raftstore::{
    GenerateSnapshot, InstallSnapshot, LastMerge, RaftMessage, SnapshotKey, SnapshotMeta, state,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::{PeerId, RegionId, keys};

/// The snapshots of one store. Clones are the same.
pub struct Snapshots<K: KvEngine> {
    shared: Arc<Shared<K>>,
}

impl<K: KvEngine> Clone for Snapshots<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

pub(super) struct Shared<K: KvEngine> {
    kv: K,
    pub(super) dir: Arc<dyn SnapshotDir>,
    pub(super) options: Tuned<SnapOptions>,
    limiter: Arc<Limiter>,
    pinned: Mutex<BTreeMap<(RegionId, PeerId), Pinned<K>>>,
    sending: Slots,
    pub(super) receiving: Mutex<BTreeSet<SnapshotKey>>,
    /// Whole files, and how many messages each has come with: the last that is of no use takes the file
    /// with it.
    received: Mutex<BTreeMap<SnapshotKey, u64>>,
    flow: FlowControl,
    pub(super) meters: Meters,
}

/// The bounds on snapshots, to be changed while they are sent and received.
pub(crate) struct SnapTuning {
    options: Tuned<SnapOptions>,
    limiter: Arc<Limiter>,
}

impl SnapTuning {
    /// Goes by these from now on.
    pub(crate) fn set(&self, options: &SnapOptions) {
        self.limiter.set_rate(options.bytes_per_s_max);
        self.options.set(options.clone());
    }
}

struct Pinned<K: KvEngine> {
    snapshot: K::Snapshot,
    meta: SnapshotMeta,
    since: Instant,
}

/// A snapshot on its way out.
pub struct OutgoingSnapshot {
    /// The first part of the stream.
    pub message: RaftMessage,
    /// All further parts. To ask for the next one may wait for the disk, and for the store's bound
    /// on bytes a second.
    pub frames: Box<dyn Iterator<Item = engine::Result<Bytes>> + Send>,
    /// To be told how it ended.
    pub ticket: SendTicket,
}

/// Reports how the sending of a snapshot ended; as failed, if nobody says.
pub struct SendTicket {
    listener: Box<dyn SentListener>,
    is_ok: bool,
}

/// Hears how the sending of a snapshot ended.
pub trait SentListener: Send {
    /// Whether the receiver has all of it. Called once.
    fn sent(&self, is_ok: bool);
}

impl SendTicket {
    /// A ticket that reports to `listener`.
    pub fn new(listener: Box<dyn SentListener>) -> Self {
        let is_ok = false;
        Self { listener, is_ok }
    }

    /// The receiver has all of it.
    pub fn succeed(mut self) {
        self.is_ok = true;
    }
}

impl Drop for SendTicket {
    fn drop(&mut self) {
        self.listener.sent(self.is_ok);
    }
}

/// The Peer that sends.
struct Sender {
    peers: PeerRouter,
    region: RegionId,
    to: PeerId,
    meters: Meters,
    _slot: Slot,
}

impl SentListener for Sender {
    fn sent(&self, is_ok: bool) {
        let to = self.to;
        let cells = &self.meters.snapshots;
        let count = if is_ok {
            &cells.sent
        } else {
            &cells.send_failed
        };
        count.add(1);
        let sent = PeerMessage(Input::SnapshotSent { to, is_ok });
        let _ = self.peers.force_send(self.region.get(), sent);
    }
}

impl<K: KvEngine> Snapshots<K> {
    /// With the store's engine, and a directory of its own.
    pub fn new(kv: K, dir: Arc<dyn SnapshotDir>, options: SnapOptions) -> Self {
        let shared = Shared {
            kv,
            dir,
            limiter: Arc::new(Limiter::new(options.bytes_per_s_max)),
            options: Tuned::new(options),
            pinned: Mutex::default(),
            sending: Slots::default(),
            receiving: Mutex::default(),
            received: Mutex::default(),
            flow: FlowControl::new(FlowOptions::default()),
            meters: Meters::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The same, counted by the node's cells, and installing at the pace of its engine. To be called before it is shared.
    ///
    /// # Panics
    /// It is shared already.
    pub(crate) fn within(mut self, meters: &Meters, flow: &FlowControl) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("it is new");
        (shared.meters, shared.flow) = (meters.clone(), flow.clone());
        self
    }

    /// The pace of the engine.
    pub(crate) fn flow(&self) -> &FlowControl {
        &self.shared.flow
    }

    /// The bounds, to be changed.
    pub(crate) fn tuning(&self) -> SnapTuning {
        SnapTuning {
            options: self.shared.options.clone(),
            limiter: Arc::clone(&self.shared.limiter),
        }
    }

    /// How many are sent or pinned to be sent, and received, at the moment.
    pub(crate) fn active(&self) -> (usize, usize) {
        let shared = &self.shared;
        let sending = shared.pinned.lock().len() + shared.sending.taken();
        (sending, shared.receiving.lock().len())
    }

    /// Begins to receive the snapshot that `message` describes; waits for the disk.
    ///
    /// # Errors
    /// It can't be taken now, or never.
    pub fn receive(
        &self,
        message: RaftMessage,
        peers: PeerRouter,
    ) -> Result<IncomingSnapshot<K>, SnapshotRefused> {
        IncomingSnapshot::begin(Arc::clone(&self.shared), message, peers)
    }

    /// Does what a Peer or an applier wants done; may take long.
    ///
    /// # Panics
    /// The engine failed: the store must stop.
    pub fn perform(&self, task: SnapTask, ports: &Ports) {
        match task {
            SnapTask::Generate(wish) => self.generate(&wish, ports),
            SnapTask::Send(message) => self.send(*message, ports),
            SnapTask::Install(install) => self.install(&install, ports),
            SnapTask::Drop(key) => self.shared.release(&key),
        }
    }

    #[cfg(test)]
    pub(super) fn release(&self, key: &SnapshotKey) {
        self.shared.release(key);
    }

    /// Ready when nothing is sent any more, which the transport has been told before. False: it still is.
    pub(crate) fn await_senders(&self, patience: Duration) -> bool {
        self.shared.sending.await_none(patience)
    }

    /// Lets go of what nobody has asked for in time.
    pub fn collect_garbage(&self) {
        let shared = &self.shared;
        let SnapOptions {
            pin_max,
            file_age_max,
            ..
        } = shared.options.get();
        let mut pinned = shared.pinned.lock();
        pinned.retain(|_, pinned| pinned.since.elapsed() <= pin_max);
        drop(pinned);
        let files = shared.dir.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "can't list the received snapshots");
            Vec::new()
        });
        let is_old = |age| age > file_age_max;
        for file in files.into_iter().filter(|file| is_old(file.age)) {
            let marked = install::is_marked(&shared.kv, &file.name);
            if !marked.unwrap_or_else(|error| fail("looking for a snapshot's mark", &error)) {
                shared.remove_file(&file.name);
            }
        }
    }

    fn generate(&self, wish: &GenerateSnapshot, ports: &Ports) {
        let meta = self.pin(wish).map(Box::new);
        let to = wish.to.id;
        let generated = PeerMessage(Input::SnapshotGenerated { to, meta });
        let _ = ports.peers.force_send(wish.region_id.get(), generated);
    }

    fn pin(&self, wish: &GenerateSnapshot) -> Option<SnapshotMeta> {
        failpoint::at!("node::snap::pin");
        let shared = &self.shared;
        let mut pinned = shared.pinned.lock();
        let at = (wish.region_id, wish.to.id);
        pinned.remove(&at);
        if pinned.len() + shared.sending.taken() >= shared.options.get().send_max {
            return None;
        }
        let snapshot = shared.kv.snapshot();
        let meta = describe(&snapshot, wish.region_id)?;
        let (since, described) = (Instant::now(), meta.clone());
        let view = Pinned {
            snapshot,
            meta,
            since,
        };
        pinned.insert(at, view);
        Some(described)
    }

    fn send(&self, message: RaftMessage, ports: &Ports) {
        let shared = &self.shared;
        let (region, to) = (message.region_id, message.to.id);
        let pinned = shared.pinned.lock().remove(&(region, to));
        let slot = shared.sending.take();
        let ticket = SendTicket::new(Box::new(Sender {
            peers: ports.peers.clone(),
            region,
            to,
            meters: shared.meters.clone(),
            _slot: slot.clone(),
        }));
        let index = message.message.get_snapshot().get_metadata().index;
        if let Some(pinned) = pinned.filter(|pinned| pinned.meta.index == index) {
            tracing::info!(%region, %to, index, "sending a snapshot");
            failpoint::at!("node::snap::send");
            let frames = Paced {
                frames: Frames::new(pinned.snapshot, pinned.meta),
                shared: Arc::clone(shared),
                _slot: slot,
            };
            ports.transport.send_snapshot(OutgoingSnapshot {
                message,
                frames: Box::new(frames),
                ticket,
            });
        }
    }

    fn install(&self, install: &InstallSnapshot, ports: &Ports) {
        let shared = &self.shared;
        let (region, since) = (install.key.region_id, Instant::now());
        let within = (&ports.room, &shared.flow);
        let installed = install::install(&shared.kv, &*shared.dir, install, within);
        match installed {
            Ok(Insisted::Written) => {}
            Ok(Insisted::GaveUp) => return,
            Err(error) => fail(&format!("installing snapshot {}", install.key), &error),
        }
        let (took, index) = (since.elapsed(), install.meta.index);
        shared.meters.snapshots.installs.observe_time(took);
        tracing::info!(%region, index, ?took, "installed a snapshot");
        shared.received.lock().remove(&install.key);
        shared.remove_file(&install.key.to_string());
        failpoint::at!("node::install::file_removed");
        let restored = ApplyMessage::Restored {
            region: Box::new(install.meta.region.clone()),
            state: install::installed_state(&install.meta),
        };
        // First the applier: the Peer may send it entries at once.
        let _ = ports.appliers.force_send(region.get(), restored);
        let installed = PeerMessage(Input::SnapshotInstalled { index });
        let _ = ports.peers.force_send(region.get(), installed);
    }
}

impl<K: KvEngine> Shared<K> {
    /// A file is whole, and its message is about to be handed on.
    pub(super) fn keep(&self, key: SnapshotKey) {
        *self.received.lock().entry(key).or_default() += 1;
    }

    /// A message was of no use.
    pub(super) fn release(&self, key: &SnapshotKey) {
        let mut received = self.received.lock();
        let Some(messages) = received.get_mut(key) else {
            return;
        };
        *messages -= 1;
        if *messages == 0 {
            received.remove(key);
            self.remove_file(&key.to_string());
        }
    }

    fn remove_file(&self, name: &str) {
        if let Err(error) = self.dir.remove(name) {
            tracing::warn!(%error, name, "can't remove a snapshot");
        }
    }
}

/// What a view holds of a Region; none if that is nothing.
fn describe<S: KvSnapshot>(snapshot: &S, id: RegionId) -> Option<SnapshotMeta> {
    let read = |key: &[u8]| {
        let record = snapshot.get(Cf::Raft, key);
        record.unwrap_or_else(|error| fail("reading a Region's records", &error))
    };
    let record = RegionRecord::decode(read(&keys::region_state_key(id))?);
    let applied = state::decode_apply_state(read(&keys::apply_state_key(id))?);
    let record = record.unwrap_or_else(|error| fail("decoding a Region's state", &error));
    let applied = applied.unwrap_or_else(|error| fail("decoding an apply state", &error));
    let RegionRecord::Normal(region) = record else {
        return None;
    };
    let last_merge = read(&keys::last_merge_key(id)).map(LastMerge::decode);
    let last_merge = last_merge.transpose();
    let last_merge = last_merge.unwrap_or_else(|error| fail("decoding a last merge", &error));
    Some(SnapshotMeta {
        last_merge: last_merge.map(Box::new),
        region,
        index: applied.applied_index,
        term: applied.applied_term,
    })
}

/// The store must stop.
fn fail(doing: &str, error: &dyn std::error::Error) -> ! {
    tracing::error!(%error, doing, "the store stops");
    panic!("{doing}: {error:?}");
}

/// Frames within the store's bound on bytes a second.
struct Paced<K: KvEngine> {
    frames: Frames<K::Snapshot>,
    shared: Arc<Shared<K>>,
    _slot: Slot,
}

impl<K: KvEngine> Iterator for Paced<K> {
    type Item = engine::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.frames.next()?;
        failpoint::at!("node::snap::frame");
        if let Ok(frame) = &frame {
            let (limiter, bytes) = (&self.shared.limiter, frame.len() as u64);
            self.shared.meters.snapshots.sent_bytes.add(bytes);
            let wait = limiter.reserve(Instant::now(), bytes);
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
        Some(frame)
    }
}
