//! Rounds of Peers: step each one, then write one batch of log for all of them, then keep the
//! promises that waited for it.
//!
//! **The order within a round.** A leader's messages leave before the log write, so that followers
//! write at the same time. What depends on the write (votes, append responses, commits) comes from
//! `Input::Persisted`, which is fed to the Peers only after the write has returned.
//!
//! **Invariants.** After a log write that failed, or once a Peer contradicts what it promised, nothing
//! more is sent: the handler panics, and the owner's panic policy decides (the process ends).

use crate::consistency::log_difference;
use crate::fsm::{ApplyMessage, PeerFsm, PeerMessage, StoreFsm, StoreMessage, actors};
use crate::memory::is_over;
use crate::meters::{Appends, Lost, MessageKind, PeerCounts, Point, Role, Stage};
use crate::ports::Ports;
use crate::recover::create_replica;
use crate::room::Insisted;
use crate::slow_round::SlowRound;
use crate::snap::SnapTask;
use batch_system::{Batch, Handler, Inbox, RegisterError, RoundInfo};
use engine::{Durability, RaftLog, RaftLogBatch};
use placement::{RegionHeartbeat, StoreStats};
use raftstore::op::consistency::Quarantine;
use raftstore::peer::Input;
use raftstore::state::Tombstone;
use raftstore::store;
use raftstore::{
    ApplyTask, Effect, FetchEntries, Leadership, LogWrite, MergeDone, RaftMessage, Refusal,
    SnapshotKey, SplitDone,
};
use std::sync::Arc;
use types::{RegionId, RequestId, StoreId};

/// One poller's handler.
pub struct PeerHandler<L: RaftLog> {
    log: L,
    batch: L::Batch,
    /// For each write in `batch`: the Peer's position in the round, and the write's number.
    writes: Vec<(usize, u64)>,
    /// The buffer of the last round's.
    written: Vec<(usize, u64)>,
    handled: usize,
    effects: Vec<Effect>,
    /// Replicas whose log the batch removes.
    removed: Vec<Tombstone>,
    counts: PeerCounts,
    appends: Appends,
    slow: SlowRound,
    ports: Ports,
}

impl<L: RaftLog> PeerHandler<L> {
    /// A handler that writes to `log`.
    pub fn new(log: L, ports: Ports) -> Self {
        Self {
            batch: log.batch(),
            log,
            writes: Vec::new(),
            written: Vec::new(),
            handled: 0,
            effects: Vec::new(),
            removed: Vec::new(),
            counts: PeerCounts::default(),
            appends: Appends::default(),
            slow: SlowRound::default(),
            ports,
        }
    }

    fn finish_round(&mut self, position: usize, fsm: &mut PeerFsm) {
        fsm.peer.finish_round(&mut self.effects);
        self.perform(position);
        let awaits_applied = fsm.peer.awaits_applied();
        let index = fsm.mark.set_awaited(awaits_applied);
        if awaits_applied && index > fsm.peer.applied_index() {
            let region = fsm.peer.region().id.get();
            let message = PeerMessage(Input::Applied { index });
            let _ = self.ports.peers.force_send(region, message);
        }
    }

    fn perform(&mut self, position: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(message) => self.send(*message),
                Effect::Persist(write) => self.persist(position, &write),
                Effect::CompactLog { region_id, up_to } => self.cut_log(region_id, up_to),
                Effect::SyncKv {
                    region_id,
                    applied_index,
                } => self.ports.syncs.ask(region_id, applied_index),
                Effect::Apply(task) => self.apply(task),
                Effect::Destroy(tombstone) => self.destroy(tombstone),
                Effect::RemoveLog(tombstone) => self.remove_log(tombstone),
                Effect::Split(split) => self.split(split),
                Effect::Reshaped(region) => self.tell_store(store::Input::Reshaped(region)),
                Effect::Slept(sleep) => self.tell_store(store::Input::Slept(sleep)),
                Effect::Woke(region) => self.tell_store(store::Input::Woke(region)),
                Effect::Restored(region) => self.tell_store(store::Input::Restored(region)),
                Effect::AskMerge(ask) => self.tell_store(store::Input::MergeAsked(ask)),
                Effect::Merged(merge) => self.merged(merge),
                Effect::AwaitSource(wish) => {
                    failpoint::at!("node::peer::await_source");
                    self.tell_peer(wish.source_id, Input::SourceAwaited(wish));
                }
                Effect::Freeze(wish) => {
                    self.tell_applier(wish.source_id, ApplyMessage::Freeze(wish));
                }
                Effect::EndApplier(region) => self.tell_applier(region, ApplyMessage::End),
                Effect::GenerateSnapshot(wish) => self.submit(SnapTask::Generate(wish)),
                Effect::SendSnapshot(message) => self.submit(SnapTask::Send(message)),
                Effect::DropSnapshot(key) => {
                    self.tell_store(store::Input::SnapshotSettled(key));
                    self.submit(SnapTask::Drop(key));
                }
                Effect::SnapshotSettled(key) => {
                    self.tell_store(store::Input::SnapshotSettled(key));
                }
                Effect::InstallSnapshot(install) => {
                    self.ports.delegates.data_goes();
                    self.tell_applier(install.key.region_id, ApplyMessage::Install(install));
                }
                Effect::Fetch(fetch) => self.fetch(&fetch),
                Effect::Reply(request, result) => self.ports.replies.complete(request, result),
                Effect::Heartbeat(heartbeat) => self.report(heartbeat),
                Effect::Leadership(leadership) => self.announce(leadership),
                Effect::Lease(change) => self.ports.delegates.change(change),
                Effect::Quarantined {
                    region_id,
                    quarantine,
                } => self.quarantine(region_id, quarantine),
                Effect::Inconsistent(report) => log_difference(&report),
                Effect::Refused(refusal) => self.refused(&refusal),
                Effect::Contradiction(contradiction) => {
                    tracing::error!("{contradiction}");
                    panic!("{contradiction}");
                }
            }
        }
        self.effects = effects;
    }

    fn cut_log(&mut self, region: RegionId, up_to: u64) {
        failpoint::at!("node::peer::cut_log");
        self.batch.compact(region, up_to);
    }

    fn destroy(&self, tombstone: Tombstone) {
        failpoint::at!("node::peer::destroy");
        self.ports.delegates.data_goes();
        self.tell_applier(tombstone.region_id, ApplyMessage::Destroy(tombstone));
    }

    fn remove_log(&mut self, tombstone: Tombstone) {
        failpoint::at!("node::peer::remove_log");
        self.batch.remove(tombstone.region_id);
        self.removed.push(tombstone);
    }

    fn send(&mut self, message: RaftMessage) {
        failpoint::at!("node::peer::send", |_| ());
        *self.counts.sent.of_mut(MessageKind::of(&message)) += 1;
        self.ports.transport.send(message);
    }

    fn refused(&self, refusal: &Refusal) {
        self.ports.meters.count_lost(Lost::Refused);
        tracing::debug!(
            region = %refusal.region_id,
            store = %refusal.from.store_id,
            peer = %refusal.from.id,
            reason = refusal.reason,
            "dropped a Raft message"
        );
    }

    /// Counts what a Peer is about to hear.
    fn count_input(&mut self, input: &Input) {
        match input {
            Input::Propose { request, .. } => {
                failpoint::at!("node::peer::propose");
                self.counts.proposals += 1;
                self.passed(*request, Stage::Queue);
                self.appends.take(self.handled, *request);
            }
            Input::Message(message) => {
                failpoint::at!("node::peer::receive");
                *self.counts.received.of_mut(MessageKind::of(message)) += 1;
            }
            Input::ChangePeers { .. } => failpoint::at!("node::peer::change_peers"),
            Input::TransferLeader { .. } => failpoint::at!("node::peer::transfer_leader"),
            _ => {}
        }
    }

    fn passed(&self, request: RequestId, stage: Stage) {
        let Ports { meters, clock, .. } = &self.ports;
        meters.pass(request, stage, || clock.now());
    }

    /// The log write comes to a point.
    fn log_passes(&self, point: Point) {
        let Ports { meters, clock, .. } = &self.ports;
        let at = (&meters.journeys, point);
        self.appends.pass(at, &self.writes, || clock.now());
    }

    fn apply(&mut self, task: ApplyTask) {
        failpoint::at!("node::peer::apply");
        self.counts.commits(&task);
        for request in task.entries.iter().flat_map(|entry| &entry.requests) {
            self.passed(*request, Stage::Replicate);
        }
        let (region, bytes) = (task.region_id.get(), task.size_bytes());
        let unapplied = &self.ports.memory.unapplied;
        unapplied.force_acquire(bytes);
        // The appliers live as long as the Peers; at a shutdown the log has it.
        if let Err(_refused) = self
            .ports
            .appliers
            .force_send(region, ApplyMessage::Entries(task))
        {
            unapplied.release(bytes);
        }
    }

    fn tell_applier(&self, region: RegionId, message: ApplyMessage) {
        let _ = self.ports.appliers.force_send(region.get(), message);
    }

    fn split(&self, split: SplitDone) {
        failpoint::at!("node::peer::split");
        if split.was_led_here {
            self.ports.link.split_done(split.parts.clone());
        }
        self.tell_store(store::Input::Split(split));
    }

    /// The store first: it must not hear that the neighbour is gone before it knows whose its range is.
    fn merged(&self, merge: MergeDone) {
        failpoint::at!("node::peer::merged");
        let (target, source) = (merge.target.id, merge.source);
        tracing::info!(region = %target, source = %source.region_id, "took a neighbour in");
        self.ports.growth.doubt(target);
        self.tell_store(store::Input::Merged(merge));
        self.tell_peer(source.region_id, Input::TakenIn(source));
    }

    fn tell_peer(&self, region: RegionId, input: Input) {
        let _ = self
            .ports
            .peers
            .force_send(region.get(), PeerMessage(input));
    }

    /// Hands a received snapshot to its Peer, if that is still there.
    fn let_in(&self, message: Box<RaftMessage>) {
        let key = SnapshotKey::of_message(&message).expect("the store lets in snapshots only");
        let message = PeerMessage(Input::Message(message));
        if self
            .ports
            .peers
            .force_send(key.region_id.get(), message)
            .is_err()
        {
            self.tell_store(store::Input::SnapshotSettled(key));
            self.submit(SnapTask::Drop(key));
        }
    }

    fn submit(&self, task: SnapTask) {
        self.ports.snaps.submit(task);
    }

    /// Counts what the Peer's cache holds now, and has it let go if all of them hold too much.
    fn count_cache(&self, fsm: &mut PeerFsm) {
        let cached = &self.ports.memory.cached;
        let count = |fsm: &mut PeerFsm| {
            let bytes = fsm.peer.cached_bytes();
            if bytes != fsm.counted_bytes {
                cached.force_acquire(bytes);
                cached.release(std::mem::replace(&mut fsm.counted_bytes, bytes));
            }
        };
        count(fsm);
        if is_over(cached) {
            fsm.peer.shed_cache();
            count(fsm);
        }
    }

    fn persist(&mut self, position: usize, write: &LogWrite) {
        self.counts.persists(write);
        if !write.entries.is_empty() {
            self.batch.append(write.region_id, &write.entries);
        }
        if let Some(hard_state) = &write.hard_state {
            self.batch.put_hard_state(write.region_id, hard_state);
        }
        self.writes.push((position, write.number));
    }

    fn fetch(&self, fetch: &FetchEntries) {
        let (region, token) = (fetch.region_id, fetch.token);
        let read = self
            .log
            .fetch(region, fetch.low, fetch.high, fetch.bytes_max);
        let entries = match read {
            Ok(entries) => entries,
            Err(error) if error.action() == engine::Action::Reject => Vec::new(),
            Err(error) => panic!("the Raft log of Region {region} can't be read: {error:?}"),
        };
        let fetched = PeerMessage(Input::Fetched { token, entries });
        let _ = self.ports.peers.force_send(region.get(), fetched);
    }

    fn announce(&self, leadership: Leadership) {
        failpoint::at!("node::peer::leadership");
        tracing::info!(
            region = %leadership.region_id,
            term = leadership.term,
            leader = leadership.leader.map(|peer| peer.store_id.get()),
            here = leadership.is_self,
            "leadership changed"
        );
        let role = match leadership.is_self {
            true => Role::Leader,
            false => Role::Follower,
        };
        self.ports.meters.leaderships.of(role).add(1);
        if role == Role::Follower {
            self.ports.traffic.forget(leadership.region_id);
        }
        self.ports.observer.leadership(&leadership);
        self.ports.leaders.set(leadership.clone());
        self.tell_store(store::Input::Leadership(leadership));
    }

    fn tell_peers(&self, regions: impl IntoIterator<Item = RegionId>, input: impl Fn() -> Input) {
        for region in regions {
            let _ = self
                .ports
                .peers
                .force_send(region.get(), PeerMessage(input()));
        }
    }

    fn quarantine(&self, region: RegionId, quarantine: Quarantine) {
        self.ports.quarantines.insert(region, quarantine);
        tracing::error!(
            %region,
            peer = %quarantine.peer_id,
            index = quarantine.index,
            found = %quarantine.found,
            agreed = %quarantine.agreed,
            "the replica here is quarantined: its data differs from that of most others"
        );
    }

    fn tell_store(&self, input: store::Input) {
        let _ = self.ports.peers.force_send_control(StoreMessage(input));
    }

    /// Makes a replica of what is on disk for it. The store is the only one who asks for that, so
    /// nobody else registers it at the same time; but the replica before it may be on its way out.
    fn create(&self, create: store::Create) {
        failpoint::at!("node::store::create");
        let Ports {
            peers, appliers, ..
        } = &self.ports;
        let address = create.region.id.get();
        let options = self.ports.peer_options.get();
        let (mut peer, mut applier) = create_replica(&self.log, &create, &options)
            .unwrap_or_else(|error| panic!("Region {address} can't be created: {error}"));
        if let Some(quarantine) = self.ports.quarantines.of(create.region.id, create.me.id) {
            peer.set_quarantine(quarantine);
            applier.set_quarantine(quarantine);
        }
        let (peer, applier) = actors(peer, applier);
        match appliers.register(address, applier) {
            Ok(()) => {}
            Err(RegisterError::Duplicate(_)) => {
                return self.tell_store(store::Input::CreateAgain(create));
            }
            Err(RegisterError::Stopped(_)) => return,
        }
        match peers.register(address, peer) {
            Ok(()) => {}
            Err(RegisterError::Duplicate(_)) => {
                appliers.close(address);
                return self.tell_store(store::Input::CreateAgain(create));
            }
            Err(RegisterError::Stopped(_)) => return,
        }
        tracing::info!(region = address, peer = %create.me.id, "made a replica");
        failpoint::at!("node::store::created");
        // Who told all Peers of other options meanwhile may not have found this one.
        let latest = self.ports.peer_options.get();
        if !Arc::ptr_eq(&options, &latest) {
            let _ = peers.force_send(address, PeerMessage(Input::Options(latest)));
        }
        if create.campaigns {
            let _ = peers.force_send(address, PeerMessage(Input::Campaign));
        }
        if let Some(message) = create.message {
            let _ = peers.send(address, PeerMessage(Input::Message(message)));
        }
    }

    /// The logs of removed replicas are gone, durably.
    fn bury_removed(&mut self) {
        for tombstone in std::mem::take(&mut self.removed) {
            tracing::info!(
                region = %tombstone.region_id,
                peer = %tombstone.peer_id,
                conf_ver = tombstone.epoch.conf_ver,
                "removed a replica"
            );
            self.ports.leaders.remove(tombstone.region_id);
            self.ports.growth.forget(tombstone.region_id);
            self.ports.traffic.forget(tombstone.region_id);
            self.ports.observer.removed(tombstone.region_id);
            self.ports.quarantines.remove(tombstone.region_id);
            self.tell_store(store::Input::Removed(tombstone));
        }
    }

    fn report(&self, heartbeat: raftstore::RegionHeartbeat) {
        failpoint::at!("node::peer::heartbeat", |_| ());
        let id = heartbeat.region.id;
        let size = self.ports.growth.size_of(id);
        // Zero stands for "unknown".
        let bytes = size.map_or(0, |size| size.bytes.max(1));
        let size = size.unwrap_or_default();
        self.ports.link.region_heartbeat(RegionHeartbeat {
            region: heartbeat.region,
            leader: heartbeat.leader.id,
            term: heartbeat.term,
            down_peers: heartbeat.down_peers,
            pending_peers: heartbeat.pending_peers,
            quarantined_peers: heartbeat.quarantined_peers,
            approximate_size_bytes: bytes,
            approximate_keys: size.keys,
            traffic: self.ports.traffic.take_region(id, heartbeat.measured),
        });
    }

    fn report_store(&self, store_id: StoreId, summary: &store::StoreSummary) {
        failpoint::at!("node::store::heartbeat", |_| ());
        self.ports.meters.asleep.set(summary.asleep);
        let stats = StoreStats {
            store_id,
            region_count: summary.regions,
            traffic: self.ports.traffic.take_store(self.ports.clock.now()),
            ..StoreStats::default()
        };
        let stats = self.ports.slowness.complete(stats);
        self.ports.link.store_heartbeat(stats);
    }

    fn write_log(&mut self) -> Insisted {
        failpoint::at!("node::log::before_write");
        let (clock, slowness) = (&*self.ports.clock, &self.ports.slowness);
        let write = || {
            slowness.timed(clock, || {
                self.log.write(&mut self.batch, Durability::Synced)
            })
        };
        self.ports
            .room
            .insist("the Raft log", write)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "the Raft log can't be written: the store stops");
                panic!("the Raft log can't be written: {error:?}");
            })
    }
}

impl<L: RaftLog> Handler<PeerFsm, StoreFsm> for PeerHandler<L> {
    fn begin(&mut self, _round: RoundInfo) {
        self.slow = SlowRound::begin(&*self.ports.clock);
        self.handled = 0;
    }

    fn handle_control(&mut self, store: &mut StoreFsm, inbox: &mut Inbox<'_, StoreMessage>) {
        let mut effects = Vec::new();
        while let Some(StoreMessage(input)) = inbox.pop() {
            store.0.step(input, &mut effects);
        }
        for effect in effects {
            match effect {
                store::Effect::TickAwake => self.tell_peers(store.0.awake(), || Input::Tick),
                store::Effect::LeadersLost { store, regions } => {
                    tracing::info!(%store, regions = regions.len(), "a silent store: Regions wake");
                    self.tell_peers(regions, || Input::LeaderLost { store });
                }
                store::Effect::Wake(regions) => self.tell_peers(regions, || Input::Wake),
                store::Effect::Check { regions, down } => {
                    self.tell_peers(regions, || Input::Check { down: down.clone() });
                }
                store::Effect::Send(message) => self.send(*message),
                store::Effect::Heartbeat(summary) => self.report_store(store.0.id(), &summary),
                store::Effect::Create(create) => self.create(create),
                store::Effect::Deliver(message) => {
                    self.tell_peer(message.region_id, Input::Message(message));
                }
                store::Effect::LetIn(message) => self.let_in(message),
                store::Effect::AskMerge(target, ask) => {
                    self.tell_peer(target, Input::MergeAsked(ask));
                }
                store::Effect::End(tombstone) => {
                    self.tell_peer(tombstone.region_id, Input::MergedElsewhere(tombstone));
                }
                store::Effect::LastMerge(target, (index, term)) => {
                    self.tell_peer(target, Input::LastMerge(index, term));
                }
                store::Effect::RefuseMerge(source, index) => {
                    self.tell_peer(source, Input::MergeRefused { index });
                }
                store::Effect::DropSnapshot(key) => self.submit(SnapTask::Drop(key)),
            }
        }
    }

    fn handle_normal(&mut self, fsm: &mut PeerFsm, inbox: &mut Inbox<'_, PeerMessage>) {
        let peer = &mut fsm.peer;
        peer.set_apply_behind(is_over(&self.ports.memory.unapplied));
        peer.set_now(self.ports.clock.now());
        if let Some(index) = fsm.mark.index_after(fsm.changes_heard) {
            peer.step(Input::Applied { index }, &mut self.effects);
        }
        while let Some(PeerMessage(input)) = inbox.pop() {
            fsm.changes_heard += u64::from(matches!(input, Input::Changed(_)));
            self.count_input(&input);
            peer.set_now(self.ports.clock.now());
            peer.step(input, &mut self.effects);
        }
        self.finish_round(self.handled, fsm);
        self.handled += 1;
        self.count_cache(fsm);
    }

    fn end(&mut self, batch: &mut Batch<'_, PeerFsm>) {
        self.slow.stepped(&*self.ports.clock);
        self.ports.transport.flush();
        // What becomes durable may bring more to write: a lone voter that wins its election.
        while !self.batch.is_empty() {
            self.log_passes(Point::LogBegun);
            if self.write_log() == Insisted::GaveUp {
                self.batch.clear();
                self.writes.clear();
                self.removed.clear();
                self.appends.clear();
                return;
            }
            failpoint::at!("node::log::written");
            self.log_passes(Point::LogWritten);
            self.appends.clear();
            self.bury_removed();
            let mut writes = std::mem::replace(&mut self.writes, std::mem::take(&mut self.written));
            for (position, number) in writes.drain(..) {
                let (_, fsm) = batch
                    .at_mut(position)
                    .expect("it was handled in this round");
                let persisted = Input::Persisted { number };
                fsm.peer.set_now(self.ports.clock.now());
                fsm.peer.step(persisted, &mut self.effects);
                self.finish_round(position, fsm);
            }
            self.written = writes;
            failpoint::at!("node::log::before_flush");
            self.ports.transport.flush();
        }
        self.appends.clear();
        self.counts.flush(&self.ports.meters);
        self.slow.end(&*self.ports.clock, "Peers", batch.len());
    }
}
