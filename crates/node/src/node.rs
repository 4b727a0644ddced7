//! The node put together: two batch systems, the ticker, the placement host.
//!
//! **Start.** The caller opens the engines and finds out whose directory it is ([`crate::identify`]);
//! [`Node::start`] bootstraps a new one, reads every replica, and starts the actors. **Stop** goes in
//! reverse: no more ticks, the Peers answer everybody, the appliers end, the engines are synced.
//!
//! **Invariants.** When [`Node::stop`] returns, no thread and no task of the node is left, every
//! request that was accepted has its answer, and everything applied is durable.

use crate::background::Background;
use crate::budget::{self, MemoryBudget, PartLimits};
use crate::checkers::Checkers;
use crate::clock::SystemClock;
use crate::consistency::{ConsistencyOptions, HashQueue, Quarantines, check_in_rounds};
use crate::error::StartError;
use crate::flow::{FlowControl, FlowOptions, QuotaOptions, Quotas};
use crate::fsm::actors;
use crate::fsm::{ApplyFsm, ApplyMessage, NoControl, PeerFsm, PeerMessage, StoreFsm, StoreMessage};
use crate::growth::Growth;
use crate::handle::{Inner, NodeHandle};
use crate::handler::{ApplyHandler, PeerHandler};
use crate::ident::Identified;
use crate::identity::Identity;
use crate::leaders::Leaders;
use crate::load_check::LoadTuning;
use crate::local_read::ReadDelegates;
use crate::log_gc::KvSyncs;
use crate::memory::Memory;
use crate::meters::{Meters, Watched};
use crate::online::{self, NodeControl};
use crate::placement_host::{self, Host, PlacementHandle, PlacementObserver};
use crate::ports::{PlacementLink, Ports, Replies, Transport};
use crate::recover::{Progress, Recovered, bootstrap, recover};
use crate::replies::ReplyTable;
use crate::room::DiskRoom;
use crate::slowness::Slowness;
use crate::snap::{SnapOptions, SnapSenders, SnapshotDir, Snapshots, recover_snapshots};
use crate::split_check::SplitOptions;
use crate::threads::ask_for_short_turns;
use crate::traffic::Traffic;
use crate::tuned::Tuned;
use batch_system::{Builder, ByteBudget, Config, DeadLetter, System, ThreadDriver};
use engine::{KvEngine, RaftLog};
use parking_lot::Mutex;
use raftstore::op::load_split::LoadLimits;
use raftstore::peer::{Input, PeerOptions};
use raftstore::store::{self, SlowScoreOptions, Store, StoreOptions};
use raftstore::{Effect, RequestError};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use types::RequestId;

/// Sizes, bounds and intervals of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// For every Peer; the tick is also the Raft clock's.
    pub peer: PeerOptions,
    /// The pollers of Peers.
    pub peer_pool: Config,
    /// The pollers of appliers.
    pub apply_pool: Config,
    /// Bytes that wait in all mailboxes together.
    pub mailbox_bytes_max: usize,
    /// Bytes of writes that are in flight; further ones wait.
    pub write_bytes_max: usize,
    /// How long a write waits for its turn before it is refused as busy.
    pub busy_wait: Duration,
    /// Reads that are in flight; further ones are refused as busy.
    pub reads_max: usize,
    /// The memory that the process may have, in bytes; below it each part has its own bound.
    pub memory_bytes_max: usize,
    /// From where on the engine is behind, so that writes are slowed down.
    pub flow: FlowOptions,
    /// What clients may do in a second.
    pub quota: QuotaOptions,
    /// Bytes of answers that are gathered, or wait to be sent.
    pub answer_bytes_max: usize,
    /// Bytes of committed entries that are not applied yet; beyond it no entries are taken from
    /// other stores.
    pub unapplied_bytes_max: usize,
    /// Bytes of log entries that are kept in memory although the log has them.
    pub log_cache_bytes_max: usize,
    /// How long a write waits before it looks again whether a full disk has room.
    pub disk_full_pause: Duration,
    /// Ticks between the store's reports to the placement driver.
    pub store_report_ticks: u64,
    /// When Regions are cut because of their size.
    pub split: SplitOptions,
    /// When Regions are cut because of what they are asked for.
    pub load: LoadLimits,
    /// When the disk counts as slow.
    pub slow: SlowScoreOptions,
    /// Bounds on snapshots.
    pub snap: SnapOptions,
    /// How often the key-value engine is synced for the sake of Raft logs that are to be cut.
    pub log_gc_sync_interval: Duration,
    /// How often the Raft log is asked to give back space (`raft-log-purge-interval`).
    pub log_purge_interval: Duration,
    /// When and how fast replicas are compared.
    pub consistency: ConsistencyOptions,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            peer: PeerOptions::default(),
            peer_pool: Config::default(),
            apply_pool: Config::default(),
            mailbox_bytes_max: 256 << 20,
            write_bytes_max: 100 << 20,
            busy_wait: Duration::from_secs(1),
            reads_max: 64 << 10,
            memory_bytes_max: usize::MAX,
            flow: FlowOptions::default(),
            quota: QuotaOptions::default(),
            answer_bytes_max: 512 << 20,
            unapplied_bytes_max: 256 << 20,
            log_cache_bytes_max: 256 << 20,
            disk_full_pause: Duration::from_secs(1),
            store_report_ticks: 10,
            split: SplitOptions::default(),
            load: LoadLimits::default(),
            slow: SlowScoreOptions::default(),
            snap: SnapOptions::default(),
            log_gc_sync_interval: Duration::from_secs(3),
            log_purge_interval: Duration::from_secs(10),
            consistency: ConsistencyOptions::default(),
        }
    }
}

/// What a node is made of.
pub struct Parts<K, L> {
    /// Who it is, as its directory says.
    pub identified: Identified,
    /// The opened key-value engine.
    pub kv: K,
    /// The opened Raft log.
    pub log: L,
    /// For received snapshots; the node's alone.
    pub snapshots: Arc<dyn SnapshotDir>,
    /// To other stores.
    pub transport: Arc<dyn Transport>,
    /// To the placement driver.
    pub link: Arc<dyn PlacementLink>,
    /// For the placement host.
    pub placement: placement::Config,
    /// Sizes, bounds and intervals.
    pub options: NodeOptions,
    /// Where the placement host runs.
    pub runtime: tokio::runtime::Handle,
    /// Hears how far the start has come.
    pub progress: Arc<Progress>,
}

/// A running node.
pub struct Node<K: KvEngine> {
    handle: NodeHandle<K>,
    control: NodeControl,
    peers: ThreadDriver<PeerFsm, StoreFsm>,
    appliers: ThreadDriver<ApplyFsm, NoControl>,
    replies: Arc<ReplyTable>,
    ticker: Ticker,
    checkers: Checkers,
    background: Background<K>,
    /// The placement host; nothing else.
    host: JoinSet<()>,
    /// The comparison of replicas in the background, if there is one.
    checks: JoinSet<()>,
    sync: Box<dyn FnOnce() -> engine::Result<()> + Send + Sync>,
}

impl<K: KvEngine> Node<K> {
    /// Starts a node.
    ///
    /// # Errors
    /// The directory is damaged, or a thread can't be started.
    pub fn start<L: RaftLog>(parts: Parts<K, L>) -> Result<Self, StartError> {
        let Parts {
            identified,
            kv,
            log,
            options,
            ..
        } = parts;
        let (room, dir) = (DiskRoom::new(options.disk_full_pause), parts.snapshots);
        let peer_options = Arc::new(options.peer.clone());
        let hears = (&peer_options, &*parts.progress);
        let recovered = found((&kv, &log), &identified, (&*dir, &room), hears)?;
        let (leads_first, identity) = (identified.leads_first(), identified.identity);
        let store = store_of(&identity, &recovered, &options);
        let replies = Arc::new(ReplyTable::default());
        let (peers, appliers) = systems(&options, store, &replies)?;
        let (placement, observer, inbox) = placement_host::channel(identity.store_id);
        let (channel, hashes) = (SnapSenders::channel(), HashQueue::default());
        let outside = (parts.transport, parts.link, observer);
        let hands = (&replies, room, (channel.0.clone(), hashes.clone()));
        let ports = ports_of(outside, (&peers, &appliers), hands, peer_options, &options);
        register(&ports, recovered, leads_first);
        let flow = FlowControl::new(options.flow);
        let snapshots = Snapshots::new(kv.clone(), dir, options.snap.clone());
        let snapshots = snapshots.within(&ports.meters, &flow);
        let engines = (kv.clone(), log.clone());
        let queues = (channel.0, channel.1, hashes);
        let background = Background::start(engines, snapshots.clone(), queues, &ports, &options)?;
        let (watched, tuning) = (Watched::of(&ports, log.clone()), snapshots.tuning());
        let hands = (Arc::clone(&replies), snapshots, placement, watched);
        let handle = handle_of(identity, kv.clone(), &options, &ports, hands);
        let shared = ports.clone();
        let (peers, appliers) = spawn((peers, appliers), (kv.clone(), log.clone()), ports)?;
        let ticker = Ticker::start(peers.router(), options.peer.tick)?;
        let (growth, load) = (shared.growth.clone(), LoadTuning::new(options.load));
        let checkers = Checkers::start(&handle, (&growth, &load), &parts.runtime)?;
        let check_interval = options.consistency.interval;
        let control = NodeControl::new(online::Shared {
            peers: peers.clone(),
            appliers: appliers.clone(),
            peer_options: shared.peer_options,
            growth,
            load,
            log_gc: background.log_gc(),
            slowness: shared.slowness,
            snapshots: tuning,
            memory: handle.memory().clone(),
            flow: handle.inner.flow.clone(),
            quotas: handle.inner.quotas.clone(),
            options: Mutex::new(options),
        });
        // Last: a start that has failed leaves no task behind.
        let to_host = (parts.placement, inbox, shared.meters);
        let host = host(&handle, to_host, &parts.runtime);
        let checks = checks(&handle, check_interval, &parts.runtime);
        Ok(Self {
            handle,
            control,
            peers,
            appliers,
            replies,
            ticker,
            checkers,
            background,
            host,
            checks,
            sync: Box::new(move || kv.sync().and_then(|()| log.sync())),
        })
    }

    /// How requests and messages enter.
    pub fn handle(&self) -> NodeHandle<K> {
        self.handle.clone()
    }

    /// How it is changed while it runs. It has the engines as long as it lives: to be let go of before the
    /// node is stopped.
    pub fn control(&self) -> NodeControl {
        self.control.clone()
    }

    /// Ready when the placement host has ended, which it does by a panic only: the node has to stop.
    pub async fn host_ended(&mut self) {
        if self.host.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Stops the node. Ready when all of its threads and tasks have ended.
    ///
    /// # Errors
    /// The last sync failed; what was acknowledged is in the synced Raft log all the same.
    pub async fn stop(mut self) -> engine::Result<()> {
        self.host.shutdown().await;
        self.checks.shutdown().await;
        let stopped = tokio::task::spawn_blocking(move || self.stop_threads()).await;
        stopped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn stop_threads(self) -> engine::Result<()> {
        self.ticker.stop();
        self.checkers.stop();
        self.handle.stop_writing_to_a_full_disk();
        let mut effects = Vec::new();
        for (_, mut fsm) in self.peers.shutdown().normals {
            fsm.peer.step(Input::Stop, &mut effects);
        }
        for effect in effects {
            match effect {
                Effect::Reply(request, result) => self.replies.complete(request, result),
                Effect::Lease(change) => self.handle.inner.delegates.change(change),
                _ => {}
            }
        }
        self.appliers.shutdown();
        self.background.stop();
        (self.sync)()
    }
}

/// What a directory holds, which is made this store's first, if it is new.
fn found<K: KvEngine, L: RaftLog>(
    (kv, log): (&K, &L),
    identified: &Identified,
    (dir, room): (&dyn SnapshotDir, &DiskRoom),
    (options, progress): (&Arc<PeerOptions>, &Progress),
) -> Result<Recovered, StartError> {
    bootstrap(kv, log, identified)?;
    failpoint::at!("node::start::bootstrapped");
    recover_snapshots(kv, dir, room)?;
    failpoint::at!("node::start::snapshots_recovered");
    let recovered = recover(kv, log, &identified.identity, options, progress)?;
    failpoint::at!("node::start::recovered");
    Ok(recovered)
}

fn host<K: KvEngine>(
    handle: &NodeHandle<K>,
    (config, inbox, meters): (placement::Config, placement_host::Inbox, Meters),
    runtime: &tokio::runtime::Handle,
) -> JoinSet<()> {
    let mut host = JoinSet::new();
    let placement_host = Host::new(handle.clone(), config, &inbox, meters);
    host.spawn_on(placement_host.run(inbox), runtime);
    host
}

/// The comparison of replicas in the background, if there is one.
fn checks<K: KvEngine>(
    handle: &NodeHandle<K>,
    interval: Duration,
    runtime: &tokio::runtime::Handle,
) -> JoinSet<()> {
    let mut checks = JoinSet::new();
    if !interval.is_zero() {
        checks.spawn_on(check_in_rounds(handle.clone(), interval), runtime);
    }
    checks
}

type PeerSystem = System<PeerFsm, StoreFsm>;
type ApplySystem = System<ApplyFsm, NoControl>;

/// The store with what was found on its disk.
fn store_of(identity: &Identity, recovered: &Recovered, options: &NodeOptions) -> Store {
    let regions = recovered.replicas.iter();
    let regions = regions.map(|(peer, _)| peer.region().clone()).collect();
    let tombstones = recovered.tombstones.clone();
    let options = StoreOptions::new(options.store_report_ticks, &options.peer);
    Store::new(identity.store_id, regions, tombstones, options)
        .with_histories(recovered.histories.clone())
}

/// The ports of a node, and what its batch systems share.
fn ports_of(
    (transport, link, observer): (
        Arc<dyn Transport>,
        Arc<dyn PlacementLink>,
        PlacementObserver,
    ),
    (peers, appliers): (&PeerSystem, &ApplySystem),
    (replies, room, (snaps, hashes)): (&Arc<ReplyTable>, DiskRoom, (SnapSenders, HashQueue)),
    peer_options: Arc<PeerOptions>,
    options: &NodeOptions,
) -> Ports {
    Ports {
        transport,
        link,
        replies: Arc::clone(replies) as Arc<dyn Replies>,
        observer: Arc::new(observer),
        peers: peers.router(),
        appliers: appliers.router(),
        memory: Memory::new(options.unapplied_bytes_max, options.log_cache_bytes_max),
        leaders: Leaders::default(),
        delegates: ReadDelegates::default(),
        clock: Arc::new(SystemClock),
        growth: Growth::with(options.split),
        traffic: Traffic::default(),
        slowness: Slowness::new(options.slow),
        room,
        snaps: Arc::new(snaps),
        syncs: KvSyncs::default(),
        hashes: Arc::new(hashes),
        quarantines: Quarantines::default(),
        peer_options: Tuned::new(peer_options),
        meters: Meters::default(),
    }
}

/// What a handle holds beside the ports.
type Hands<K> = (Arc<ReplyTable>, Snapshots<K>, PlacementHandle, Watched);

fn handle_of<K: KvEngine>(
    identity: Identity,
    engine: K,
    options: &NodeOptions,
    ports: &Ports,
    (replies, snapshots, placement, watched): Hands<K>,
) -> NodeHandle<K> {
    NodeHandle::new(Inner {
        identity,
        engine,
        memory: memory_of(ports, options),
        flow: snapshots.flow().clone(),
        quotas: Quotas::new(options.quota),
        peers: ports.peers.clone(),
        replies,
        write_bytes: Semaphore::new(options.write_bytes_max),
        write_bytes_max: options.write_bytes_max,
        busy_wait: options.busy_wait,
        reads: Semaphore::new(options.reads_max),
        compacting: Default::default(),
        leaders: ports.leaders.clone(),
        quarantines: ports.quarantines.clone(),
        delegates: ports.delegates.clone(),
        clock: Arc::clone(&ports.clock),
        traffic: ports.traffic.clone(),
        slowness: ports.slowness.clone(),
        room: ports.room.clone(),
        snapshots,
        placement,
        link: Arc::clone(&ports.link),
        meters: ports.meters.clone(),
        watched,
    })
}

/// One budget over what these ports hold.
fn memory_of(ports: &Ports, options: &NodeOptions) -> MemoryBudget {
    let parts = budget::Parts {
        mailboxes: ports.peers.budget().clone(),
        unapplied: ports.memory.unapplied.clone(),
        entry_cache: ports.memory.cached.clone(),
        ..budget::Parts::unbounded()
    };
    let wanted = PartLimits {
        mailboxes: options.mailbox_bytes_max,
        unapplied: options.unapplied_bytes_max,
        entry_cache: options.log_cache_bytes_max,
        answers: options.answer_bytes_max,
    };
    MemoryBudget::new(options.memory_bytes_max, parts, wanted)
}

/// The two batch systems, without any replica yet.
fn systems(
    options: &NodeOptions,
    store: Store,
    replies: &Arc<ReplyTable>,
) -> Result<(PeerSystem, ApplySystem), batch_system::Error> {
    let answers = Arc::clone(replies);
    let peers = Builder::new(options.peer_pool.clone(), Box::new(StoreFsm(store)))
        .budget(ByteBudget::new(options.mailbox_bytes_max))
        .dead_letters(move |letter| refuse_peer_message(&answers, letter))
        .build()?;
    let answers = Arc::clone(replies);
    let appliers = Builder::new(options.apply_pool.clone(), Box::new(NoControl))
        .dead_letters(move |letter| refuse_apply_message(&answers, letter))
        .build()?;
    Ok((peers, appliers))
}

type Drivers = (
    ThreadDriver<PeerFsm, StoreFsm>,
    ThreadDriver<ApplyFsm, NoControl>,
);

/// Starts the pollers of both systems.
fn spawn<K: KvEngine, L: RaftLog>(
    (peers, appliers): (PeerSystem, ApplySystem),
    (kv, log): (K, L),
    ports: Ports,
) -> Result<Drivers, batch_system::Error> {
    let to_appliers = ports.clone();
    let prepare = ask_for_short_turns;
    let appliers = ThreadDriver::spawn_prepared("apply", appliers, prepare, move |_| {
        ApplyHandler::new(kv.clone(), to_appliers.clone())
    })?;
    let peers = ThreadDriver::spawn_prepared("peer", peers, prepare, move |_| {
        PeerHandler::new(log.clone(), ports.clone())
    })?;
    Ok((peers, appliers))
}

fn register(ports: &Ports, recovered: Recovered, campaigns: bool) {
    for (peer, applier) in recovered.replicas {
        let address = peer.region().id.get();
        if let Some(quarantine) = peer.quarantine() {
            ports.quarantines.insert(peer.region().id, quarantine);
        }
        let (peer, applier) = actors(peer, applier);
        let registered = ports.appliers.register(address, applier);
        assert!(registered.is_ok(), "Region {address} is registered once");
        let registered = ports.peers.register(address, peer);
        assert!(registered.is_ok(), "Region {address} is registered once");
        if campaigns {
            let _ = ports
                .peers
                .force_send(address, PeerMessage(Input::Campaign));
        }
    }
}

/// Answers a request that no Peer will see any more.
fn refuse_peer_message(replies: &ReplyTable, letter: DeadLetter<PeerMessage, StoreMessage>) {
    let DeadLetter::Normal(_, PeerMessage(input)) = letter else {
        return;
    };
    if let Input::Propose { request, .. }
    | Input::Read { request, .. }
    | Input::ChangePeers { request, .. }
    | Input::CheckConsistency { request, .. } = input
    {
        replies.complete(request, Err(RequestError::Stopping));
    }
}

/// Answers those whose command is committed and will be applied at the next start only.
fn refuse_apply_message<C>(replies: &ReplyTable, letter: DeadLetter<ApplyMessage, C>) {
    let DeadLetter::Normal(_, ApplyMessage::Entries(task)) = letter else {
        return;
    };
    let requests = task.entries.iter().flat_map(|entry| &entry.requests);
    for request in requests.copied().collect::<Vec<RequestId>>() {
        replies.complete(request, Err(RequestError::Undetermined));
    }
}

/// The thread that beats the Raft clock.
struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    fn start(peers: crate::PeerRouter, tick: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("tick".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                    // A store too busy for a tick gets the next one.
                    let _ = peers.send_control(StoreMessage(store::Input::Tick));
                }
            })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the ticker had panicked");
        }
    }
}
