//! A Peer: one replica of one Region, deciding over raft-rs.
//!
//! [`Peer::step`] takes one input; [`Peer::finish_round`] turns what a whole round of inputs has
//! brought into effects. All proposals of a round become one entry, all its reads one
//! confirmation, all its log changes one [`LogWrite`](crate::LogWrite).
//!
//! **Persistence is asynchronous** (Raft thesis §10.2.1): a leader's appends leave at once, beside
//! its own log write; votes and append responses leave after `Input::Persisted`.
//!
//! **Invariants.**
//! 1. A message that promises something durable leaves only after the write that backs it.
//! 2. `applied <= committed`, and an entry is handed to the applier once, in order.
//! 3. Every request gets exactly one answer: here if it never reaches the log, else from the
//!    applier, or here when a later term overtakes it or this replica no longer leads for an election
//!    timeout.
//!
//! **Uninitialised** is a replica that was created for a message: it knows its id and nothing of its
//! Region, has no log, and does not campaign before it has received a snapshot. It votes: it has never
//! acknowledged anything, and a Region that was cut off can't be led otherwise where most of its stores
//! went past the cut by a snapshot.
//!
//! **Not here.** What commands do (`apply`); other Regions (`store`); what an operation adds (`op`).

mod change;
mod check;
mod consistency;
mod election;
mod hibernate;
mod idle;
mod lease;
mod leave;
mod log_cache;
mod merge;
mod options;
mod propose;
mod raft;
mod read;
mod ready;
mod receive;
mod report;
mod resting;
#[cfg(test)]
mod tests;

use crate::admin::PeerChange;
use crate::apply::RegionChange;
use crate::bootstrap::FIRST_INDEX;
use crate::command::Command;
use crate::effect::{Effect, FetchEntries, Leadership};
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::op::consistency::Hash;
use crate::op::hibernate::Hibernation;
use crate::op::lease::{self as lease_rules, Lease, MonotonicTime, Promise};
use crate::op::log_gc::{Cuts, LogGcOptions};
use crate::op::merge::{MergeAsk, SourceWish};
use crate::op::snapshot::{Arrived, Installing, Sending, SnapshotMeta};
use crate::state::Tombstone;
use ::raft::GetEntriesContext;
use consistency::Consistency;
use lease::Published;
use leave::Standing;
use log_cache::LogCache;
pub(crate) use merge::Merges;
use propose::{Proposal, Proposals};
use read::Reads;
use ready::Unpersisted;
use resting::Core;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use types::{Epoch, LogEntry, PeerId, Region, RegionId, RequestId, StoreId};

pub use log_cache::{LogInfo, TermRun};
#[cfg(test)]
pub(crate) use raft::conf_change_data;
pub(crate) use raft::{conf_change_context, conf_state, from_raft_hard_state};

/// A deposed leader that hears of its successor waits so many times longer for the fate of its proposals.
const PATIENCE_WITH_LEADER: usize = 10;

/// What one Peer may do and hold. Names and defaults follow TiKV's `raftstore` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// What one tick stands for on the stores' clocks. The same for all replicas of a Region, like
    /// `election_ticks_min`: leases are made of both.
    pub tick: Duration,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Least ticks without a leader before a campaign.
    pub election_ticks_min: usize,
    /// Bound (exclusive) on the ticks without a leader before a campaign.
    pub election_ticks_max: usize,
    /// Bytes of entries in one append message.
    pub append_bytes_max: u64,
    /// Append messages under way to one follower.
    pub inflight_appends_max: usize,
    /// Bytes of one command, and thus about of one entry.
    pub entry_bytes_max: u64,
    /// Bytes proposed and not yet committed, beyond which proposals are refused.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries handed to the applier at once.
    pub apply_bytes_max: u64,
    /// Bytes of applied entries that a leader keeps in memory for followers behind.
    pub cache_bytes_max: usize,
    /// Ticks between a leader's reports to the placement driver.
    pub report_ticks: u64,
    /// Ticks without a leader after which a replica that may not campaign asks whether it is a member.
    pub stale_check_ticks: u64,
    /// Ticks without a message of a follower after which its leader reports it as down.
    pub down_ticks: u64,
    /// Ticks without anything to do after which a Region hibernates, more than `heartbeat_ticks`; zero:
    /// never.
    pub hibernate_ticks: u64,
    /// Ticks between two looks of a sleeping follower for its leader.
    pub asleep_check_ticks: u64,
    /// Ticks for which a consistency check waits for the hashes of replicas that are heard of.
    pub consistency_patience_ticks: u64,
    /// How long the log may grow.
    pub log_gc: LogGcOptions,
    /// Ticks after which a merge that is not done is given up.
    pub merge_patience_ticks: u64,
    /// Decides the election timeouts.
    pub seed: u64,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            heartbeat_ticks: 2,
            election_ticks_min: 10,
            election_ticks_max: 20,
            append_bytes_max: 1 << 20,
            inflight_appends_max: 256,
            entry_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            apply_bytes_max: 4 << 20,
            cache_bytes_max: 8 << 20,
            report_ticks: 60,
            stale_check_ticks: 300,
            down_ticks: 600,
            hibernate_ticks: 20,
            asleep_check_ticks: 300,
            consistency_patience_ticks: 600,
            log_gc: LogGcOptions::default(),
            merge_patience_ticks: 30,
            seed: 0,
        }
    }
}

/// Whom a request addresses, as its sender sees the Region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The Region.
    pub region_id: RegionId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The replica; an id of zero means "not given".
    pub peer: types::Peer,
    /// The term; zero means "not given".
    pub term: u64,
    /// Whether a read may be answered by a replica that does not lead.
    pub replica_read: bool,
}

/// What can happen to a Peer.
#[derive(Debug)]
pub enum Input {
    /// One tick of the Raft clock has passed.
    Tick,
    /// From another replica; already checked by [`RaftMessage::decode_body`].
    Message(Box<RaftMessage>),
    /// A client's command.
    Propose {
        /// To be answered once.
        request: RequestId,
        /// Whom it addresses.
        context: RequestContext,
        /// The command.
        command: Command,
    },
    /// A change of membership.
    ChangePeers {
        /// To be answered once: with [`Outcome::Changed`](crate::Outcome::Changed) when it is applied;
        /// a joint configuration is then entered, and left soon after.
        request: RequestId,
        /// Whom it addresses; both versions of its epoch count.
        context: RequestContext,
        /// What changes.
        changes: Vec<PeerChange>,
    },
    /// Let another voter lead, if this replica does. Whether that works, leadership shows.
    TransferLeader {
        /// The voter.
        to: PeerId,
    },
    /// Try to lead at once: the Region was cut off from one that was led here.
    Campaign,
    /// A client's linearizable read that finds no lease.
    Read {
        /// To be answered once.
        request: RequestId,
        /// Whom it addresses.
        context: RequestContext,
    },
    /// Readers find too little of the lease left.
    RenewLease,
    /// The log write with this number, and all before it, are durable.
    Persisted {
        /// From [`LogWrite`](crate::LogWrite).
        number: u64,
    },
    /// The applier's work up to this index is visible in the key-value engine. It may be told again.
    Applied {
        /// The last applied index.
        index: u64,
    },
    /// The applier has changed the Region, and that is visible in the key-value engine. It comes before
    /// [`Input::Applied`] tells of the entry.
    Changed(RegionChange),
    /// The applier has removed the replica, durably, and left this tombstone.
    Destroyed(Tombstone),
    /// A replica of a neighbour here wants to be taken in, or to be refused.
    MergeAsked(Box<MergeAsk>),
    /// The neighbour that was to take this Region in has refused.
    MergeRefused {
        /// The entry that began the merge.
        index: u64,
    },
    /// The applier waits for this neighbour.
    AwaitsSource(SourceWish),
    /// A neighbour's applier waits for this replica's.
    SourceAwaited(SourceWish),
    /// The Region has taken a neighbour in with the entry at this index and term, by a snapshot that can't
    /// be let in before that is applied here.
    LastMerge(u64, u64),
    /// A neighbour has taken this replica in, durably, and left this tombstone.
    TakenIn(Tombstone),
    /// A neighbour on other stores has taken the Region in, and none here will: this tombstone is to be left.
    MergedElsewhere(Tombstone),
    /// The answer to [`FetchEntries`]; empty if the log no longer has them.
    Fetched {
        /// From [`FetchEntries`].
        token: u64,
        /// Contiguous, from the first index asked for.
        entries: Vec<LogEntry>,
    },
    /// The answer to [`Effect::GenerateSnapshot`].
    SnapshotGenerated {
        /// For whom.
        to: PeerId,
        /// What the pinned view holds; none if none was pinned. It may be asked for again.
        meta: Option<Box<SnapshotMeta>>,
    },
    /// The stream of an [`Effect::SendSnapshot`] has ended.
    SnapshotSent {
        /// Whose it was.
        to: PeerId,
        /// Whether the receiver has all of it.
        is_ok: bool,
    },
    /// The answer to [`Effect::InstallSnapshot`]: the data, the Region's shape and the applied index
    /// in the key-value engine are the snapshot's, durably.
    SnapshotInstalled {
        /// The snapshot's index.
        index: u64,
    },
    /// The answer to [`Effect::SyncKv`].
    KvSynced {
        /// As asked.
        applied_index: u64,
    },
    /// Compare all replicas.
    CheckConsistency {
        /// To be answered once, with [`Reply::Checked`](crate::Reply::Checked).
        request: RequestId,
        /// Whom it addresses.
        context: RequestContext,
    },
    /// The answer to a [`HashWish`](crate::op::consistency::HashWish).
    Hashed {
        /// As asked.
        index: u64,
        /// None: this replica can't be hashed now.
        hash: Option<Hash>,
    },
    /// A message to this replica could not be sent.
    Unreachable {
        /// The replica.
        peer: PeerId,
    },
    /// The placement driver wants a report now.
    Report,
    /// The store of its leader is silent.
    LeaderLost {
        /// Which one.
        store: StoreId,
    },
    /// It has slept for long enough.
    Wake,
    /// If it sleeps: what has happened without it?
    Check {
        /// Stores that were silent for so long that what is there counts as down.
        down: Vec<StoreId>,
    },
    /// Go by these options from now on, which differ in what may change.
    Options(Arc<PeerOptions>),
    /// The replica goes away: everybody who waits is answered.
    Stop,
}

/// One replica of one Region.
pub struct Peer {
    pub(crate) region: Arc<Region>,
    pub(crate) me: types::Peer,
    /// All replicas of a store share them.
    pub(crate) options: Arc<PeerOptions>,
    pub(crate) raw: Core,
    pub(crate) proposals: Proposals,
    reads: Reads,
    /// Readies that are not durable yet, oldest first.
    unpersisted: VecDeque<Unpersisted>,
    now: MonotonicTime,
    lease: Lease,
    promise: Promise,
    /// What readers on other threads were told last.
    published: Option<Published>,
    fetches: BTreeMap<u64, GetEntriesContext>,
    fetch_token: u64,
    pub(crate) applied_index: u64,
    /// The last index that was handed to the applier.
    pub(crate) handed_index: u64,
    /// As a leader.
    pub(crate) sending: Sending,
    /// As a follower: a snapshot that is about to be installed, and one that is.
    pub(crate) arrived: Option<Box<Arrived>>,
    /// One that came before everything handed to the applier was applied.
    pub(crate) early: Option<Box<RaftMessage>>,
    pub(crate) installing: Option<Box<Installing>>,
    pub(crate) cuts: Cuts,
    pub(crate) merges: Merges,
    hibernation: Hibernation,
    consistency: Consistency,
    pub(crate) log_gc_due_ticks: u64,
    /// As announced last.
    leadership: Leadership,
    /// The last term in which others were asked for their votes.
    votes_asked_term: u64,
    report_due_ticks: u64,
    /// Since this replica led last, or since its start.
    deposed_ticks: u32,
    is_apply_behind: bool,
    /// Senders that are members by their own account; see `receive`.
    strangers: Vec<types::Peer>,
    ticks: u64,
    /// At which tick the present leadership began.
    led_since: u64,
    /// At which tick each Peer was heard of last, while this replica leads.
    heard: BTreeMap<PeerId, u64>,
    /// Who needed a snapshot at the last report.
    reported_pending: Vec<PeerId>,
    /// Since when it leads, or has told how much was read and written.
    measured_since: MonotonicTime,
    /// What it knows of its membership beside its Region; see `leave`.
    standing: Standing,
    /// It was removed, and waits for its applier; see `leave`.
    is_leaving: bool,
    is_stopped: bool,
}

impl Peer {
    /// A replica as it was persisted. `me` is one of the Region's peers; a Region without any makes it
    /// an uninitialised one.
    pub fn new(
        region: impl Into<Arc<Region>>,
        me: types::Peer,
        log: LogInfo,
        applied_index: u64,
        options: impl Into<Arc<PeerOptions>>,
    ) -> Result<Self, ::raft::Error> {
        assert!(applied_index <= log.last_index, "applied beyond its log");
        assert!(
            log.hard_state.commit >= applied_index,
            "applied what was not committed"
        );
        let (region, options) = (region.into(), options.into());
        let config = raft::config(me.id, applied_index, &options);
        // In the first term of a log nobody leads.
        let may_owe = log.hard_state.term > FIRST_INDEX;
        let promise = lease_rules::promise(options.tick, options.election_ticks_min);
        let cache = LogCache::new(log, raft::conf_state(&region));
        let mut raw = raft::start(&config, cache)?;
        if region.peers.len() == 1 {
            // Nobody to wait for.
            raw.campaign()?;
        }
        let leadership = Leadership::unknown(&region);
        Ok(Self {
            region,
            me,
            options,
            raw: Core::new(raw),
            proposals: Proposals::default(),
            reads: Reads::default(),
            unpersisted: VecDeque::new(),
            now: MonotonicTime::default(),
            lease: Lease::new(lease_rules::length(promise)),
            promise: Promise::new(promise, may_owe),
            published: None,
            fetches: BTreeMap::new(),
            fetch_token: 0,
            applied_index,
            sending: Sending::default(),
            arrived: None,
            early: None,
            handed_index: applied_index,
            installing: None,
            cuts: Cuts::default(),
            merges: Merges::default(),
            consistency: Consistency::default(),
            log_gc_due_ticks: 0,
            hibernation: Hibernation::AWAKE,
            leadership,
            votes_asked_term: 0,
            report_due_ticks: 0,
            deposed_ticks: 0,
            is_apply_behind: false,
            strangers: Vec::new(),
            ticks: 0,
            led_since: 0,
            heard: BTreeMap::new(),
            reported_pending: Vec::new(),
            measured_since: MonotonicTime::default(),
            standing: Standing::default(),
            is_leaving: false,
            is_stopped: false,
        })
    }

    /// The Region as this replica knows it.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Which of the Region's peers this is.
    pub fn me(&self) -> types::Peer {
        self.me
    }

    /// Whether it knows its Region.
    pub fn is_initialized(&self) -> bool {
        !self.region.peers.is_empty()
    }

    /// Whether [`Input::Stop`] was handled, or the replica is removed.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The term this replica is in.
    pub fn term(&self) -> u64 {
        self.raw.term()
    }

    /// Whether this replica believes to lead.
    pub fn is_leader(&self) -> bool {
        self.raw.leads()
    }

    /// The last index that the applier has reported.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// Whether this replica has something to do as soon as the applier comes further. Otherwise it is
    /// enough that it hears of it with its next input.
    pub fn awaits_applied(&self) -> bool {
        let awaits = self.reads.await_applied()
            || self.early.is_some()
            || self.cached_bytes() > self.options.cache_bytes_max;
        awaits && !self.is_leaving
    }

    /// Bytes of log entries that this replica holds in memory.
    pub fn cached_bytes(&self) -> usize {
        self.raw.cached_bytes()
    }

    /// An input that comes before each round: whether the store has more committed entries to apply
    /// than it should hold. While it has, the Peer lets in no further ones: their leader sends them
    /// again. What is committed already needs nobody to be applied, so this ends by itself.
    pub fn set_apply_behind(&mut self, is_behind: bool) {
        self.is_apply_behind = is_behind;
    }

    /// Lets go of all entries in memory that can be read from the log again.
    pub fn shed_cache(&mut self) {
        if let Core::Up(raw) = &mut self.raw {
            raw.mut_store().evict_to(self.applied_index);
        }
    }

    /// Takes in one input. What follows from it comes with the next [`Self::finish_round`].
    pub fn step(&mut self, input: Input, out: &mut Vec<Effect>) {
        if self.is_leaving {
            return self.step_leaving(input, out);
        }
        if self.concerns_raft(&input) {
            self.rise();
        }
        self.stir(&input, out);
        match input {
            Input::Tick => self.tick(out),
            Input::Message(message) => self.receive(message, out),
            Input::Propose {
                request,
                context,
                command,
            } => self.propose(request, &context, &command, out),
            Input::Read { request, context } => self.read(request, &context, out),
            Input::RenewLease => self.renew_lease(),
            Input::Persisted { number } => self.persisted(number, out),
            Input::ChangePeers {
                request,
                context,
                changes,
            } => self.change_peers(request, &context, changes, out),
            Input::TransferLeader { to } => self.transfer_leader(to, out),
            Input::Campaign => self.campaign(),
            Input::Applied { index } => self.applied(index, out),
            Input::Changed(change) => self.changed(change, out),
            Input::MergeAsked(ask) => self.merge_asked(*ask, out),
            Input::MergeRefused { index } => self.merge_refused(index, out),
            Input::AwaitsSource(wish) => self.awaits_source(wish, out),
            Input::SourceAwaited(wish) => self.source_awaited(wish, out),
            Input::LastMerge(index, term) => self.last_merge_is((index, term)),
            Input::TakenIn(tombstone) => self.taken_in(tombstone, out),
            Input::MergedElsewhere(tombstone) => self.merged_elsewhere(tombstone, out),
            Input::Destroyed(_) => unreachable!("only a replica that leaves is destroyed"),
            Input::Fetched { token, entries } => self.fetched(token, entries),
            Input::SnapshotGenerated { to, meta } => {
                self.snapshot_generated(to, meta.map(|meta| *meta));
            }
            Input::SnapshotSent { to, is_ok } => self.snapshot_sent(to, is_ok),
            Input::SnapshotInstalled { index } => self.snapshot_installed(index, out),
            Input::KvSynced { applied_index } => self.kv_synced(applied_index, out),
            Input::CheckConsistency { request, context } => {
                self.check_consistency(request, &context, out);
            }
            Input::Hashed { index, hash } => self.hashed(index, hash, out),
            Input::Unreachable { peer } => self.raw.report_unreachable(peer.get()),
            Input::Report => self.report_due_ticks = 0,
            Input::LeaderLost { store } => self.lost_leader(store, out),
            Input::Wake => self.wake(out),
            Input::Check { down } => self.check_asleep(down, out),
            Input::Options(options) => self.set_options(options),
            Input::Stop => self.stop(out),
        }
    }

    /// Turns what has been stepped since the last call into effects.
    pub fn finish_round(&mut self, out: &mut Vec<Effect>) {
        if self.is_leaving || self.raw.is_resting() {
            return;
        }
        self.receive_early_snapshot(out);
        if self.is_leaving {
            return;
        }
        self.leave_joint(out);
        self.seal_when_all_have_it(out);
        self.flush_batch(out);
        self.collect_ready(out);
        // Last, since a confirmation that has just come back makes room for the next one.
        if self.confirm_reads() {
            self.collect_ready(out);
        }
        self.announce_leadership(out);
        self.report(out);
        self.take_wishes(out);
        self.rest();
    }

    fn tick(&mut self, out: &mut Vec<Effect>) {
        if !self.beats(out) {
            return;
        }
        self.draw_election_timeout();
        self.bar_campaign_by_promise();
        self.tick_consistency(out);
        // A campaign reads entries that a snapshot has just replaced.
        if self.installing.is_none() {
            let has_asked = self.asks_for_votes();
            self.raw.tick();
            if has_asked && self.asks_for_votes() {
                self.campaign_again();
            }
        }
        self.ask_again(out);
        self.ask_whether_member(out);
        self.ticks += 1;
        self.compact_now_and_then(out);
        self.give_back_buffers();
        self.count_down_to_report();
        self.merge_now_and_then(out);
        self.deposed_ticks = match self.is_leader() {
            true => 0,
            false => self.deposed_ticks.saturating_add(1),
        };
        // Whoever waits holds a share of the bound on writes, and by now another one could have led and
        // committed: this replica may be cut off for good, or, if it hears of a leader, be slow to apply.
        let patience = match self.raw.raft.leader_id {
            0 => self.options.election_ticks_max,
            _ => self.options.election_ticks_max * PATIENCE_WITH_LEADER,
        };
        if self.deposed_ticks as usize >= patience {
            self.proposals.give_up_waiting(out);
        }
    }

    fn propose(
        &mut self,
        request: RequestId,
        context: &RequestContext,
        command: &Command,
        out: &mut Vec<Effect>,
    ) {
        let size = command.size_bytes();
        let checked = self
            .check(context, self.is_leader())
            .and_then(|()| self.check_command(command, size as u64));
        if let Err(error) = checked {
            out.push(Effect::Reply(request, Err(error)));
            return;
        }
        let is_admin = matches!(command, Command::Admin(_));
        if is_admin || self.proposals.batch_bytes() + size > self.options.append_bytes_max as usize
        {
            self.flush_batch(out);
        }
        self.proposals.push(self.region.epoch, request, command);
        if is_admin {
            // Whoever applies a split late is late for the elections of what it cuts off.
            self.raw.skip_bcast_commit(false);
            // What comes behind it meets another shape.
            self.flush_batch(out);
            // Others may have applied it first, and write to what it cuts off.
            self.withhold_lease_until_applied(self.raw.raft.raft_log.last_index());
        }
    }

    /// It never names itself, as a leader does that hands over: clients would ask it again at once.
    fn not_leader(&self) -> RequestError {
        RequestError::NotLeader {
            region_id: self.region.id,
            leader: self.leader().filter(|leader| leader.id != self.me.id),
        }
    }

    fn leader(&self) -> Option<types::Peer> {
        self.region.peer(PeerId(self.raw.leader_id())).copied()
    }

    pub(crate) fn flush_batch(&mut self, out: &mut Vec<Effect>) {
        let Some(batch) = self.proposals.take_batch() else {
            return;
        };
        // A follower's raft-rs would forward the batch to the leader that deposed this one within the
        // round, and say that all is well.
        if self.is_leader() && self.raw.propose(Vec::new(), batch.data).is_ok() {
            let index = self.raw.raft.raft_log.last_index();
            let term = self.term();
            let proposal = Proposal {
                index,
                term,
                proposed_at: self.now,
                requests: batch.requests,
            };
            self.proposals.proposed(proposal);
            return;
        }
        let error = self.refused_proposal();
        for request in batch.requests {
            out.push(Effect::Reply(request, Err(error.clone())));
        }
    }

    /// Why raft-rs has refused to propose.
    fn refused_proposal(&self) -> RequestError {
        match self.is_leader() && self.raw.raft.lead_transferee.is_none() {
            true => RequestError::ServerIsBusy {
                reason: "too many bytes await their commit",
            },
            false => self.not_leader(),
        }
    }

    fn applied(&mut self, index: u64, out: &mut Vec<Effect>) {
        // A snapshot's index is told by its own input.
        if index <= self.applied_index || self.installing.is_some() {
            return;
        }
        self.applied_index = index;
        self.lease.applied(index);
        self.raw.advance_apply_to(index);
        self.answer_reads(out);
        self.evict_applied();
    }

    /// Lets go of entries that nobody is about to ask for: followers who lag may need those of a leader.
    fn evict_applied(&mut self) {
        let mut evict = self.applied_index;
        if self.is_leader() && self.raw.store().bytes() <= self.options.cache_bytes_max {
            let slowest = self
                .raw
                .raft
                .prs()
                .iter()
                .map(|(_, progress)| progress.matched);
            evict = evict.min(slowest.min().unwrap_or(evict));
        }
        self.raw.mut_store().evict_to(evict);
    }

    fn take_wishes(&mut self, out: &mut Vec<Effect>) {
        self.ask_for_snapshots(out);
        for wish in self.raw.mut_store().take_wishes() {
            self.fetch_token += 1;
            self.fetches.insert(self.fetch_token, wish.context);
            out.push(Effect::Fetch(FetchEntries {
                region_id: self.region.id,
                token: self.fetch_token,
                low: wish.low,
                high: wish.high,
                bytes_max: wish.bytes_max,
            }));
        }
    }

    fn fetched(&mut self, token: u64, entries: Vec<LogEntry>) {
        let Some(context) = self.fetches.remove(&token) else {
            return;
        };
        // Nothing came: the follower's next heartbeat response asks again.
        if !entries.is_empty() {
            self.raw.mut_store().supply(entries);
            self.raw.on_entries_fetched(context);
            self.raw.mut_store().supply(Vec::new());
        }
    }

    fn announce_leadership(&mut self, out: &mut Vec<Effect>) {
        let now = Leadership {
            region_id: self.region.id,
            leader: self.leader(),
            is_self: self.is_leader(),
            term: self.term(),
            epoch: self.region.epoch,
        };
        if now == self.leadership {
            return;
        }
        let place = |l: &Leadership| (l.leader.map(|peer| peer.id), l.is_self, l.term);
        if place(&now) != place(&self.leadership) {
            self.report_due_ticks = 0;
            self.heard.clear();
            self.led_since = self.ticks;
            self.measured_since = self.now;
            // raft-rs has forgotten the confirmations of earlier terms.
            let error = self.not_leader();
            self.reads.fail(&error, out);
            self.end_checks(&error, out);
            self.sending.clear();
            self.raw.mut_store().forget_snapshots();
        }
        out.push(Effect::Leadership(now.clone()));
        self.leadership = now;
    }
}
