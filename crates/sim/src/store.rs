//! A simulated store: the production handlers on two deterministic drivers, over a disk that
//! outlives its lives.
//!
//! **Invariants.** A life begins with identification, bootstrap and recovery, as a process does, and
//! ends by a shutdown that answers nobody. What a life has in memory is gone with it.
//!
//! **Not here.** When things happen (`world`).

use crate::checker::raft::Progress;
use crate::clock::SimClock;
use crate::engines::{Control, Cut, SimKv, SimLog};
use crate::hosts::{Host, Windows};
use crate::planted::PlantedBug;
use crate::ports::{Outbox, SharedOutbox, SimHashes, SimPorts, SimWork};
use crate::quiet;
use crate::readers::Values;
use crate::rng::Rng;
use batch_system::{
    Builder, ByteBudget, Config, DeterministicDriver, Fsm, ManualClock, PanicPolicy, PanicVerdict,
    System,
};
use bytes::Bytes;
use engine::mem::Disk;
use engine::{Cf, KvEngine, KvIterator, KvSnapshot, RaftLog};
use node::snap::{MemDir, SnapOptions, SnapTask, Snapshots, recover_snapshots};
use node::{
    ApplyFsm, ApplyHandler, Configured, DiskRoom, Growth, Hashed, KvSyncs, Leaders, Memory, Meters,
    NoControl, PeerFsm, PeerHandler, PeerRouter, Ports, Quarantines, ReadDelegates, Recovered,
    Slowness, StartError, StoreFsm, Traffic, Tuned, actors, bootstrap, identify, recover,
};
use raftstore::apply::Applier;
use raftstore::op::lease;
use raftstore::op::merge::SourceWish;
use raftstore::peer::PeerOptions;
use raftstore::state::{MergedInto, RegionRecord, decode_apply_state};
use raftstore::store::{SlowScoreOptions, Store, StoreOptions};
use raftstore::{LogGcOptions, MonotonicTime, Peer, RequestContext};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use types::{Region, RegionId, RequestId, Space, StoreId, keys};

/// A tick of a clock that runs right.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks between a store's reports.
const REPORT_TICKS: u64 = 10;

/// Bytes that may wait in the Peers' mailboxes of one store, completions aside.
pub(crate) const MAILBOX_BYTES_MAX: usize = 64 << 10;

/// What stays when a life ends.
pub(crate) struct SimStore {
    pub(crate) disk: Disk,
    /// Snapshots that were received.
    pub(crate) files: MemDir,
    configured: Configured,
    pub(crate) life: Option<Life>,
    /// Counts lives; events for another life are void.
    pub(crate) life_number: u64,
    /// No round is run before this moment.
    pub(crate) paused_until_us: u64,
    /// The machine's.
    pub(crate) clock: SimClock,
    /// How far its wall clock is ahead.
    pub(crate) wall_offset_ms: i64,
    /// Until this moment its rounds take long.
    pub(crate) slow_until_us: u64,
    /// Until this moment it installs no snapshot.
    pub(crate) installs_wait_until_us: u64,
    /// How long a tick of this store takes.
    pub(crate) tick_us: u64,
    /// Whether ticks pile up while it stands still, or are left out.
    pub(crate) ticks_pile_up: bool,
}

/// Whether snapshots that were received wait to be installed, and when the power goes if one is.
#[derive(Clone, Copy)]
pub(crate) struct Installs {
    pub(crate) wait: bool,
    pub(crate) cut: Option<Cut>,
}

/// One life: a process.
pub(crate) struct Life {
    peers: DeterministicDriver<PeerFsm, StoreFsm, PeerHandler<SimLog>>,
    appliers: DeterministicDriver<ApplyFsm, NoControl, ApplyHandler<SimKv>>,
    pub(crate) router: PeerRouter,
    pub(crate) ports: Ports,
    pub(crate) snapshots: Snapshots<SimKv>,
    work: Arc<SimWork>,
    hashes: Arc<SimHashes>,
    /// Installations that the life before has left half done.
    pub(crate) resumed: u64,
    pub(crate) kv: SimKv,
    log: SimLog,
    pub(crate) delegates: ReadDelegates,
    pub(crate) clock: SimClock,
    /// With a planted bug: what the clock showed in the last round.
    pub(crate) cached_clock: SimClock,
    /// How long a new lease lasts.
    pub(crate) lease: Duration,
    /// With a planted bug: of each lease that was heard of, its end, and the end that the bug makes of it.
    pub(crate) heard_leases: BTreeMap<RegionId, (MonotonicTime, MonotonicTime)>,
    pub(crate) outbox: SharedOutbox,
    pub(crate) control: Arc<Control>,
    pub(crate) memory: Memory,
    pub(crate) progress: Progress,
    pub(crate) host: Host,
    /// Reads that a Peer was asked for, and how often data had gone by then.
    pub(crate) asked: BTreeMap<RequestId, (RequestContext, u64)>,
    /// What readers on replicas have seen whose leader is asked once more.
    pub(crate) seen: BTreeMap<RequestId, Values>,
    /// Requests without an answer yet.
    pub(crate) outstanding: BTreeSet<RequestId>,
    /// Regions whose replica here believes to lead.
    pub(crate) leads: BTreeSet<RegionId>,
    /// Whether a round is scheduled.
    pub(crate) is_scheduled: bool,
}

/// What a store holds.
pub(crate) struct Found {
    /// With how far each is applied.
    pub(crate) regions: Vec<(Region, u64)>,
    /// Regions with entries in the Raft log.
    pub(crate) logs: Vec<RegionId>,
    /// Regions that were merged, as this store knows, and into what.
    pub(crate) merged: BTreeMap<RegionId, MergedInto>,
    /// Keys in no Region's range.
    pub(crate) stray_keys: u64,
}

/// Sizes and bounds of one life, drawn anew for each.
pub(crate) struct LifeOptions {
    pub(crate) peer: PeerOptions,
    pub(crate) pool: Config,
    pub(crate) memory: Memory,
    pub(crate) windows: Windows,
    pub(crate) seed: u64,
    pub(crate) bug: Option<PlantedBug>,
}

impl LifeOptions {
    /// Small bounds, so that what production meets rarely is met all the time.
    pub(crate) fn draw(seed: u64, bug: Option<PlantedBug>, rng: &mut Rng) -> Self {
        let append_bytes_max = rng.pick(&[64, 512, 4096]);
        Self {
            peer: PeerOptions {
                tick: TICK,
                append_bytes_max,
                inflight_appends_max: rng.between(1, 16) as usize,
                uncommitted_bytes_max: rng.pick(&[append_bytes_max, 8192, 65_536]),
                apply_bytes_max: rng.pick(&[64, 1024, 65_536]),
                cache_bytes_max: rng.pick(&[0, 500, 65_536]),
                entry_bytes_max: 4096,
                report_ticks: 20,
                stale_check_ticks: 30,
                hibernate_ticks: rng.between(3, 30),
                asleep_check_ticks: rng.between(10, 200),
                consistency_patience_ticks: 50,
                log_gc: LogGcOptions {
                    interval_ticks: rng.between(1, 4),
                    threshold: rng.between(2, 20),
                    count_max: rng.between(4, 40),
                    bytes_max: rng.pick(&[200, 4096, 1 << 20]),
                    snapshot_factor: rng.between(1, 4),
                    snapshot_patience_ticks: 20,
                },
                seed,
                ..PeerOptions::default()
            },
            pool: draw_bounds(rng),
            memory: Memory::new(
                rng.pick(&[500, 8192, 65_536]),
                rng.pick(&[500, 8192, 65_536]),
            ),
            windows: Windows::draw(rng),
            seed: rng.next(),
            bug,
        }
    }
}

/// The bounds of a batch system.
pub(crate) fn draw_bounds(rng: &mut Rng) -> Config {
    Config {
        pool_size: 1,
        max_batch_size: rng.between(1, 4) as usize,
        messages_per_round: rng.between(1, 24) as usize,
        mailbox_capacity: rng.between(16, 256) as usize,
        ..Config::default()
    }
}

impl SimStore {
    pub(crate) fn new(configured: Configured, clock: SimClock, tick_us: u64) -> Self {
        Self {
            disk: Disk::new(),
            files: MemDir::default(),
            configured,
            life: None,
            life_number: 0,
            paused_until_us: 0,
            clock,
            wall_offset_ms: 0,
            slow_until_us: 0,
            installs_wait_until_us: 0,
            tick_us,
            ticks_pile_up: false,
        }
    }

    /// Begins a life. `prepare` may arm a power cut before the first write.
    pub(crate) fn start(
        &mut self,
        options: LifeOptions,
        prepare: impl FnOnce(&Control),
    ) -> Result<(), (StartError, SharedOutbox)> {
        assert!(self.life.is_none(), "a store lives once at a time");
        self.life_number += 1;
        if options.bug == Some(PlantedBug::WipedReplica) {
            self.disk = Disk::new();
            self.files = MemDir::default();
        }
        let outbox = Outbox::new(options.bug);
        let control = Control::new(Arc::clone(&outbox), self.disk.clone(), options.bug);
        prepare(&control);
        let life = Life::start(self, options, &outbox, control);
        self.life = Some(life.map_err(|error| (error, outbox))?);
        Ok(())
    }

    /// Ends the life, answering nobody.
    pub(crate) fn end_life(&mut self) {
        if let Some(life) = self.life.take() {
            life.peers.crash();
            life.appliers.crash();
        }
    }
}

impl Life {
    fn start(
        store: &SimStore,
        options: LifeOptions,
        outbox: &SharedOutbox,
        control: Arc<Control>,
    ) -> Result<Self, StartError> {
        let failed = |doing| move |source| StartError::Engine { doing, source };
        let kv = store.disk.open_kv("kv").map_err(failed("opening"))?;
        let log = store.disk.open_log("log").map_err(failed("opening"))?;
        let kv = SimKv::new(kv, Arc::clone(&control));
        let log = SimLog::new(log, Arc::clone(&control));
        let room = DiskRoom::new(Duration::ZERO);
        let resumed = marks(&kv).map_err(failed("reading marks"))?;
        recover_snapshots(&kv, &store.files, &room)?;
        let identified = identify(&kv, &store.configured)?;
        bootstrap(&kv, &log, &identified)?;
        let peer_options = Arc::new(options.peer.clone());
        let recovered = recover(&kv, &log, &identified.identity, &peer_options, &|_, _| ())?;
        let state = store_of(identified.identity.store_id, &recovered, &options.peer);
        let peers = system(&options.pool, StoreFsm(state), MAILBOX_BYTES_MAX, outbox)?;
        let appliers = system(&options.pool, NoControl, usize::MAX, outbox)?;
        let work = Arc::new(SimWork::default());
        let hashes = Arc::new(SimHashes::default());
        let clock = store.clock.clone();
        let ports = ports(
            outbox,
            (&peers, &appliers),
            (&work, &hashes, room, clock),
            &options,
        );
        register(&ports, recovered.replicas);
        let (router, delegates) = (ports.peers.clone(), ports.delegates.clone());
        let apply_handler = ApplyHandler::new(kv.clone(), ports.clone());
        let peer_handler = PeerHandler::new(log.clone(), ports.clone());
        let snapshots = Snapshots::new(kv.clone(), Arc::new(store.files.clone()), snap_options());
        Ok(Self {
            peers: DeterministicDriver::new(peers, peer_handler, options.seed),
            appliers: DeterministicDriver::new(appliers, apply_handler, !options.seed),
            router,
            ports,
            snapshots,
            work,
            hashes,
            resumed,
            kv,
            log,
            delegates,
            clock: store.clock.clone(),
            cached_clock: store.clock.stopped(),
            lease: lease_length(&options.peer),
            heard_leases: BTreeMap::new(),
            outbox: Arc::clone(outbox),
            control,
            memory: options.memory,
            progress: Progress::default(),
            host: Host::new(&identified, options.windows),
            asked: BTreeMap::new(),
            seen: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            leads: BTreeSet::new(),
            is_scheduled: false,
        })
    }

    /// The Regions whose state is here, by their first keys.
    pub(crate) fn regions(&self) -> Result<Vec<Region>, String> {
        let mut regions = Vec::new();
        for record in self.records()? {
            match record {
                RegionRecord::Normal(region) | RegionRecord::Merging(region, _) => {
                    regions.push(region);
                }
                RegionRecord::Tombstone(_) => {}
            }
        }
        regions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        Ok(regions)
    }

    /// The Regions that were merged, as this store knows, and into what.
    pub(crate) fn merged(&self) -> Result<BTreeMap<RegionId, MergedInto>, String> {
        let into = |record| match record {
            RegionRecord::Tombstone(it) => Some((it.region_id, it.merged_into?)),
            RegionRecord::Normal(_) | RegionRecord::Merging(..) => None,
        };
        Ok(self.records()?.into_iter().filter_map(into).collect())
    }

    /// What the targets of this store's Regions that are about to merge will wait for.
    pub(crate) fn merge_wishes(&self) -> Result<Vec<SourceWish>, String> {
        let wish = |record| match record {
            RegionRecord::Merging(region, merging) => Some(SourceWish {
                target_id: merging.target.id,
                source_id: region.id,
                index: merging.index,
                term: merging.term,
            }),
            RegionRecord::Normal(_) | RegionRecord::Tombstone(_) => None,
        };
        Ok(self.records()?.into_iter().filter_map(wish).collect())
    }

    fn records(&self) -> Result<Vec<RegionRecord>, String> {
        let (lower, upper) = (
            keys::region_state_key(RegionId(0)),
            keys::apply_state_key(RegionId(0)),
        );
        let failed = |error: engine::Error| format!("reading Region states: {error}");
        let snapshot = self.kv.snapshot();
        let mut iter = snapshot.iter(Cf::Raft, &lower, &upper).map_err(failed)?;
        let mut records = Vec::new();
        let mut valid = iter.seek_to_first().map_err(failed)?;
        while valid {
            let record = Bytes::copy_from_slice(iter.value());
            records.push(RegionRecord::decode(record).map_err(|error| error.to_string())?);
            valid = iter.next().map_err(failed)?;
        }
        Ok(records)
    }

    /// What is on this store's disk, as it would be read at a start.
    pub(crate) fn found(&self) -> Result<Found, String> {
        let failed = |error: engine::Error| format!("reading a store: {error}");
        let (mut regions, mut ranges) = (Vec::new(), Vec::new());
        for region in self.regions()? {
            let space = Space::of(region.id);
            ranges.push((
                space.key(&region.range.start),
                space.end_key(&region.range.end),
            ));
            let record = self.kv.get(Cf::Raft, &keys::apply_state_key(region.id));
            let record = record.map_err(failed)?.ok_or("an apply state is gone")?;
            let state = decode_apply_state(record).map_err(|error| error.to_string())?;
            regions.push((region, state.applied_index));
        }
        let mut logs = Vec::new();
        for region in self.log.regions().map_err(failed)? {
            if self.log.bounds(region).map_err(failed)?.is_some() {
                logs.push(region);
            }
        }
        let stray_keys = self.count_outside(&ranges).map_err(failed)?;
        Ok(Found {
            regions,
            logs,
            merged: self.merged()?,
            stray_keys,
        })
    }

    fn count_outside(&self, ranges: &[(Vec<u8>, Vec<u8>)]) -> engine::Result<u64> {
        let snapshot = self.kv.snapshot();
        let mut count = 0;
        for cf in [Cf::Default, Cf::Lock, Cf::Write] {
            for space in [Space::Data, Space::Placement] {
                let (lower, upper) = (space.key(&[]), space.end_key(&[]));
                let mut iter = snapshot.iter(cf, &lower, &upper)?;
                let mut valid = iter.seek_to_first()?;
                while valid {
                    let key = iter.key();
                    let covers = |(start, end): &(Vec<u8>, Vec<u8>)| {
                        start.as_slice() <= key && key < end.as_slice()
                    };
                    count += u64::from(!ranges.iter().any(covers));
                    valid = iter.next()?;
                }
            }
        }
        Ok(count)
    }

    /// Runs one round of one of the two systems, or does one task for snapshots; `first` says which of
    /// them is asked first, `installs` whether a snapshot may be installed, and when the power goes if one is. False if
    /// none has anything to do.
    pub(crate) fn run_round(&mut self, first: u64, installs: Installs) -> bool {
        if self.control.loses_wake_up() {
            self.appliers.lose_wake_up();
        }
        (0..3).any(|turn| match (first + turn) % 3 {
            0 => self.peers.step(),
            1 => self.appliers.step(),
            _ => self.work(installs) || self.hash(),
        })
    }

    /// One step of hashing a replica.
    fn hash(&mut self) -> bool {
        let Some(mut task) = self.hashes.next() else {
            return false;
        };
        match task.step(1).expect("the engine can be read") {
            Hashed::Part(_) => self.hashes.put_back(task),
            Hashed::All(hash) => task.answer(Some(hash), &self.router),
        }
        true
    }

    /// Other bounds for the Peers' system and the appliers'.
    pub(crate) fn reconfigure(&self, [peers, appliers]: &[Config; 2]) {
        self.peers
            .set_config(peers)
            .expect("bounds that make sense");
        self.appliers
            .set_config(appliers)
            .expect("bounds that make sense");
    }

    fn work(&mut self, Installs { wait, cut }: Installs) -> bool {
        let Some(task) = self.work.next(!wait) else {
            return false;
        };
        let (installs, takes_in) = match &task {
            SnapTask::Install(install) => (true, install.takes_in.is_some()),
            _ => (false, false),
        };
        self.control.set_installing(installs);
        if let Some(cut) = cut.filter(|_| installs) {
            self.control.arm(cut);
        }
        let perform = || self.snapshots.perform(task, &self.ports);
        self.caught(perform);
        self.control.set_installing(false);
        let mut outbox = self.outbox.lock();
        outbox.installed += u64::from(installs);
        outbox.taken_in += u64::from(takes_in);
        true
    }

    /// Syncs the key-value engine for those who ask.
    pub(crate) fn sync_kv(&mut self) {
        let sync = || {
            let synced = self.ports.syncs.serve(&self.kv, &self.router);
            synced.expect("the key-value engine syncs");
        };
        self.caught(sync);
    }

    fn caught(&self, act: impl FnOnce()) {
        caught(&self.outbox, act);
    }
}

/// A panic outside of the batch systems ends the process as one inside of them does.
pub(crate) fn caught(outbox: &SharedOutbox, act: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(act)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let (text, place) = (text.unwrap_or("?"), quiet::last_place());
        outbox.lock().panicked(format!("{text} ({place})"));
    }
}

fn store_of(id: StoreId, found: &Recovered, peer: &PeerOptions) -> Store {
    let replicas = found.replicas.iter();
    let regions = replicas.map(|(peer, _)| peer.region().clone()).collect();
    let options = StoreOptions::new(REPORT_TICKS, peer);
    Store::new(id, regions, found.tombstones.clone(), options)
        .with_histories(found.histories.clone())
}

fn register(ports: &Ports, replicas: Vec<(Peer, Applier)>) {
    for (peer, applier) in replicas {
        let address = peer.region().id.get();
        let (peer, applier) = actors(peer, applier);
        assert!(ports.appliers.register(address, applier).is_ok());
        assert!(ports.peers.register(address, peer).is_ok());
    }
}

/// Marks of installations that did not come to their end.
fn marks(kv: &SimKv) -> engine::Result<u64> {
    let (lower, upper) = keys::SNAPSHOT_MARK_RANGE;
    let view = kv.snapshot();
    let mut iter = view.iter(Cf::Raft, lower, upper)?;
    let (mut marks, mut valid) = (0, iter.seek_to_first()?);
    while valid {
        marks += 1;
        valid = iter.next()?;
    }
    Ok(marks)
}

fn snap_options() -> SnapOptions {
    SnapOptions {
        // Time is not simulated there.
        bytes_per_s_max: 0,
        send_max: 3,
        receive_max: 2,
        // Whatever is pinned when somebody looks has been so for too long.
        pin_max: Duration::ZERO,
        ..SnapOptions::default()
    }
}

fn lease_length(peer: &PeerOptions) -> Duration {
    lease::length(lease::promise(peer.tick, peer.election_ticks_min))
}

/// The ports of a life.
fn ports(
    outbox: &SharedOutbox,
    (peers, appliers): (&System<PeerFsm, StoreFsm>, &System<ApplyFsm, NoControl>),
    (work, hashes, room, clock): (&Arc<SimWork>, &Arc<SimHashes>, DiskRoom, SimClock),
    options: &LifeOptions,
) -> Ports {
    let sim_ports = Arc::new(SimPorts(Arc::clone(outbox)));
    Ports {
        transport: Arc::clone(&sim_ports) as _,
        link: Arc::clone(&sim_ports) as _,
        replies: Arc::clone(&sim_ports) as _,
        observer: sim_ports,
        peers: peers.router(),
        appliers: appliers.router(),
        memory: options.memory.clone(),
        leaders: Leaders::default(),
        delegates: ReadDelegates::default(),
        clock: Arc::new(clock),
        room,
        growth: Growth::default(),
        traffic: Traffic::default(),
        slowness: Slowness::new(SlowScoreOptions::default()),
        snaps: Arc::clone(work) as _,
        syncs: KvSyncs::default(),
        hashes: Arc::clone(hashes) as _,
        quarantines: Quarantines::default(),
        peer_options: Tuned::new(Arc::new(options.peer.clone())),
        meters: Meters::default(),
    }
}

fn system<N: Fsm, C: Fsm>(
    config: &Config,
    control: C,
    bytes_max: usize,
    outbox: &SharedOutbox,
) -> Result<System<N, C>, batch_system::Error> {
    let outbox = Arc::clone(outbox);
    Builder::new(config.clone(), Box::new(control))
        .budget(ByteBudget::new(bytes_max))
        .clock(Arc::new(ManualClock::default()))
        .panic_policy(PanicPolicy::Ask(Arc::new(move |report| {
            let place = quiet::last_place();
            let text = format!("{} ({:?}, {place})", report.message, report.place);
            outbox.lock().panicked(text);
            PanicVerdict::Remove
        })))
        .build()
}
