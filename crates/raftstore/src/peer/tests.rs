//! A Region of three replicas on a net whose links, disks and clock are in the test's hand.

use super::*;
use crate::admin::Admin;
use crate::apply::map::Map;
use crate::apply::{Applied, Applier};
use crate::bootstrap::{FIRST_INDEX, first_apply_state, first_hard_state, first_regions};
use crate::command::Mutation;
use crate::effect::{
    Contradiction, LeaseChange, LeaseView, LogWrite, RegionHeartbeat, Reply, SplitDone,
};
use crate::op::consistency::{Quarantine, Report};
use crate::op::snapshot::{InstallSnapshot, SnapshotKey};
use bytes::Bytes;
use engine::Cf;
use types::{ApiVersion, StoreId};

mod consistency;
mod deposed;
mod elections;
mod hibernate;
mod leases;
mod membership;
mod merge;
mod options;
mod receive;
mod snapshot;
mod split;

const REGION: usize = 1;

struct Replica {
    peer: Peer,
    /// Of its clock, which each tick moves on.
    now: MonotonicTime,
    /// As readers were told.
    lease: Option<LeaseView>,
    /// As its store was told.
    leads: bool,
    applier: Applier,
    map: Map,
    log: Vec<LogEntry>,
    held_writes: Vec<LogWrite>,
    holds_disk: bool,
    applied: Vec<LogEntry>,
    /// Installations that wait, where `holds_install` says so.
    installs: Vec<InstallSnapshot>,
    holds_install: bool,
    /// What the applier has not begun with, where `holds_apply` says so.
    held_tasks: Vec<crate::ApplyTask>,
    holds_apply: bool,
    /// Syncs of the key-value engine that are asked for, where `holds_sync` says so.
    syncs: Vec<u64>,
    holds_sync: bool,
    /// Whether what is pinned waits to be hashed.
    holds_hash: bool,
}

struct Net {
    replicas: Vec<Replica>,
    wire: VecDeque<Box<RaftMessage>>,
    cut: Vec<usize>,
    answers: Vec<(RequestId, Result<Reply, RequestError>)>,
    reports: Vec<RegionHeartbeat>,
    contradictions: Vec<Contradiction>,
    /// Which replica, and what it told its store.
    splits: Vec<(usize, SplitDone)>,
    removed: Vec<(usize, Tombstone)>,
    /// Messages for stores without a replica.
    strays: Vec<RaftMessage>,
    /// What snapshots hold, by their names.
    files: BTreeMap<SnapshotKey, File>,
    dropped: Vec<SnapshotKey>,
    refused: Vec<&'static str>,
    /// Which replica sleeps, as its store was told.
    slept: BTreeMap<usize, crate::op::hibernate::Reliance>,
    /// Messages that have left.
    sent: u64,
    /// What replicas say of merges, and of their shapes.
    told: Vec<(usize, Effect)>,
    /// Where a replica was quarantined, in which Region, and why.
    quarantines: Vec<(usize, RegionId, Quarantine)>,
    /// Checks that have found a difference.
    differences: Vec<Report>,
}

/// The source's entries and its data.
type File = (Vec<LogEntry>, Map);

fn first_log() -> LogInfo {
    LogInfo {
        hard_state: first_hard_state(),
        runs: vec![TermRun {
            index: FIRST_INDEX,
            term: FIRST_INDEX,
        }],
        last_index: FIRST_INDEX,
        tail: vec![],
    }
}

impl Replica {
    fn new(region: &Region, me: types::Peer, options: &PeerOptions) -> Self {
        Self::with(region, me, first_log(), first_apply_state(), options)
    }

    fn uninitialized(region_id: RegionId, me: types::Peer, options: &PeerOptions) -> Self {
        let nothing = Region {
            id: region_id,
            ..Region::default()
        };
        let log = LogInfo {
            hard_state: types::HardState::default(),
            runs: vec![TermRun { index: 0, term: 0 }],
            last_index: 0,
            tail: vec![],
        };
        Self::with(&nothing, me, log, types::ApplyState::default(), options)
    }

    fn with(
        region: &Region,
        me: types::Peer,
        log: LogInfo,
        state: types::ApplyState,
        options: &PeerOptions,
    ) -> Self {
        let peer = Peer::new(
            region.clone(),
            me,
            log,
            state.applied_index,
            options.clone(),
        );
        Self {
            peer: peer.unwrap(),
            now: MonotonicTime::default(),
            lease: None,
            applier: Applier::new(region.clone(), me.store_id, state),
            map: Map::default(),
            log: vec![],
            held_writes: vec![],
            holds_disk: false,
            applied: vec![],
            installs: vec![],
            leads: false,
            holds_install: false,
            held_tasks: vec![],
            holds_apply: false,
            syncs: vec![],
            holds_sync: false,
            holds_hash: false,
        }
    }

    fn apply(&mut self, task: crate::ApplyTask) -> Applied {
        let mut out = Applied::default();
        let entries = task.entries.iter().map(|entry| entry.entry.clone());
        self.applied.extend(entries);
        let result = self.applier.apply(task.entries, &mut self.map, &mut out);
        result.expect("entries can be applied");
        self.applier.finish_round(&mut self.map);
        out
    }
}

impl Net {
    fn new(options: &PeerOptions) -> Self {
        Self::of(
            first_regions(3, ApiVersion::V1).swap_remove(REGION),
            options,
        )
    }

    fn of(region: Region, options: &PeerOptions) -> Self {
        let replica = |me: &types::Peer| Replica::new(&region, *me, options);
        Self {
            replicas: region.peers.iter().map(replica).collect(),
            wire: VecDeque::new(),
            cut: vec![],
            answers: vec![],
            reports: vec![],
            contradictions: vec![],
            splits: vec![],
            removed: vec![],
            strays: vec![],
            files: BTreeMap::new(),
            dropped: vec![],
            refused: vec![],
            slept: BTreeMap::new(),
            sent: 0,
            told: vec![],
            quarantines: vec![],
            differences: vec![],
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut out = Vec::new();
        let replica = &mut self.replicas[at];
        if matches!(input, Input::Tick) {
            replica.now = replica.now.after(replica.peer.options.tick);
        }
        replica.peer.set_now(replica.now);
        replica.peer.step(input, &mut out);
        self.replicas[at].peer.finish_round(&mut out);
        self.hear_of_lease(at, &out);
        for effect in out {
            self.perform(at, effect);
        }
    }

    /// Readers hear of the last change of a round before anything that its effects bring about.
    fn hear_of_lease(&mut self, at: usize, out: &[Effect]) {
        for effect in out {
            match effect {
                Effect::Lease(LeaseChange::Granted(view)) => {
                    self.replicas[at].lease = Some(view.clone());
                }
                Effect::Lease(LeaseChange::Ended(_)) => self.replicas[at].lease = None,
                _ => {}
            }
        }
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        let replica = &mut self.replicas[at];
        match effect {
            Effect::Send(message) => {
                self.sent += 1;
                self.wire.push_back(message);
            }
            Effect::Slept(sleep) => {
                let before = self.slept.insert(at, sleep.reliance);
                assert!(before.is_none(), "replica {at} falls asleep twice");
            }
            Effect::Woke(_) => {
                let before = self.slept.remove(&at);
                assert!(before.is_some(), "replica {at} wakes twice");
            }
            Effect::Persist(write) if replica.holds_disk => replica.held_writes.push(write),
            Effect::Persist(write) => self.persist(at, write),
            Effect::Apply(task) if replica.holds_apply => replica.held_tasks.push(task),
            Effect::Apply(task) => {
                let applied = replica.apply(task);
                self.hear(at, applied);
            }
            effect @ (Effect::AskMerge(_)
            | Effect::AwaitSource(_)
            | Effect::Freeze(_)
            | Effect::EndApplier(_)
            | Effect::Merged(_)
            | Effect::Reshaped(_)) => self.told.push((at, effect)),
            Effect::Destroy(tombstone) => {
                self.release_applier(at);
                let replica = &mut self.replicas[at];
                replica.applier.destroy(tombstone, &mut replica.map);
                self.step(at, Input::Destroyed(tombstone));
            }
            Effect::RemoveLog(tombstone) => {
                replica.log.clear();
                self.removed.push((at, tombstone));
            }
            Effect::Split(split) => self.splits.push((at, split)),
            Effect::Restored(_) => {}
            Effect::Fetch(fetch) => {
                let wanted = fetch.low..fetch.high;
                let entries = replica.log.iter().filter(|e| wanted.contains(&e.index));
                let entries = entries.cloned().collect();
                let token = fetch.token;
                self.step(at, Input::Fetched { token, entries });
            }
            Effect::Reply(request, result) => self.answers.push((request, result)),
            Effect::Heartbeat(report) => self.reports.push(report),
            Effect::Contradiction(contradiction) => self.contradictions.push(contradiction),
            Effect::Refused(refusal) => self.refused.push(refusal.reason),
            Effect::Leadership(leadership) => self.replicas[at].leads = leadership.is_self,
            Effect::Lease(_) => {}
            other => self.perform_of_snapshots(at, other),
        }
    }

    /// What its applier has written can be read.
    fn hear(&mut self, at: usize, applied: Applied) {
        let index = self.replicas[at].applier.state().applied_index;
        self.answers.extend(applied.answers);
        for change in applied.changes {
            self.step(at, Input::Changed(change));
        }
        for wish in applied.wishes {
            self.step(at, Input::AwaitsSource(wish));
        }
        self.step(at, Input::Applied { index });
        for install in applied.installs {
            self.install(at, &install);
        }
        self.hash(at);
    }

    fn persist(&mut self, at: usize, write: LogWrite) {
        if let Some(first) = write.entries.first() {
            self.replicas[at]
                .log
                .retain(|entry| entry.index < first.index);
        }
        self.replicas[at].log.extend(write.entries);
        let number = write.number;
        self.step(at, Input::Persisted { number });
    }

    fn release_disk(&mut self, at: usize) {
        self.replicas[at].holds_disk = false;
        for write in std::mem::take(&mut self.replicas[at].held_writes) {
            self.persist(at, write);
        }
    }

    /// The applier goes on, and comes to the end of what it has.
    fn release_applier(&mut self, at: usize) {
        self.replicas[at].holds_apply = false;
        for task in std::mem::take(&mut self.replicas[at].held_tasks) {
            self.perform(at, Effect::Apply(task));
        }
    }

    fn settle(&mut self) {
        while let Some(message) = self.wire.pop_front() {
            let at = |peer: types::Peer| peer.store_id.get() as usize - 1;
            let (from, to) = (at(message.from), at(message.to));
            if self.cut.contains(&from) || self.cut.contains(&to) {
                continue;
            }
            match to < self.replicas.len() {
                true => self.step(to, Input::Message(message)),
                false => self.strays.push(*message),
            }
        }
    }

    fn tick(&mut self, at: usize) {
        self.step(at, Input::Tick);
        self.settle();
    }

    /// Ticks one replica until it leads.
    fn elect(&mut self, at: usize) {
        for _ in 0..100 {
            self.tick(at);
            if self.replicas[at].peer.is_leader() {
                return;
            }
        }
        panic!("replica {at} does not get elected");
    }

    fn propose(&mut self, at: usize, request: u64) {
        let context = self.context(at);
        self.propose_as(at, request, context);
    }

    fn propose_as(&mut self, at: usize, request: u64, context: RequestContext) {
        let command = Command::Write(vec![Mutation::Put {
            cf: Cf::Default,
            key: Bytes::from(request.to_string()),
            value: Bytes::from_static(b"value"),
        }]);
        self.step(
            at,
            Input::Propose {
                request: RequestId(request),
                context,
                command,
            },
        );
    }

    fn read(&mut self, at: usize, request: u64) {
        let context = self.context(at);
        let request = RequestId(request);
        self.step(at, Input::Read { request, context });
    }

    fn context(&self, at: usize) -> RequestContext {
        let peer = &self.replicas[at].peer;
        RequestContext {
            region_id: peer.region().id,
            epoch: peer.region().epoch,
            peer: peer.me(),
            term: 0,
            replica_read: false,
        }
    }

    fn answer(&mut self, request: u64) -> Option<Result<Reply, RequestError>> {
        let of = |(id, _): &(RequestId, _)| id.get() == request;
        assert!(self.answers.iter().filter(|answer| of(answer)).count() <= 1);
        self.answers
            .iter()
            .find(|answer| of(answer))
            .map(|(_, result)| result.clone())
    }
}

const WRITTEN: Result<Reply, RequestError> = Ok(Reply::Command(crate::Outcome::Written));

#[test]
fn a_write_is_answered_once_a_quorum_has_it_and_all_replicas_apply_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    assert_eq!(net.answer(1), None, "nobody else has it yet");
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN));
    net.tick(0);
    net.tick(0);
    net.settle();
    assert_eq!(net.replicas[0].applied, net.replicas[1].applied);
    assert_eq!(net.replicas[0].applied, net.replicas[2].applied);
}

#[test]
fn a_leader_sends_before_its_own_sync_and_followers_answer_after_theirs() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[0].holds_disk = true;
    net.replicas[1].holds_disk = true;
    net.replicas[2].holds_disk = true;
    net.propose(0, 1);
    assert!(!net.wire.is_empty(), "the append leaves at once");
    net.settle();
    assert_eq!(net.answer(1), None);
    net.release_disk(1);
    net.settle();
    assert_eq!(net.answer(1), None, "one of three has it");
    net.release_disk(2);
    net.settle();
    assert_eq!(
        net.answer(1),
        None,
        "committed, but not durable where it would be applied"
    );
    net.release_disk(0);
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN));
}

#[test]
fn a_vote_leaves_after_its_sync() {
    let mut net = Net::new(&PeerOptions::default());
    net.replicas[1].holds_disk = true;
    net.replicas[2].holds_disk = true;
    for _ in 0..30 {
        net.tick(0);
    }
    assert!(!net.replicas[0].peer.is_leader());
    net.release_disk(1);
    net.settle();
    assert!(net.replicas[0].peer.is_leader());
}

#[test]
fn proposals_of_one_round_are_one_entry() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let before = net.replicas[0].log.len();
    let context = net.context(0);
    let mut out = Vec::new();
    for request in 1..=50 {
        let command = Command::Write(vec![]);
        let (request, context) = (RequestId(request), context.clone());
        let input = Input::Propose {
            request,
            context,
            command,
        };
        net.replicas[0].peer.step(input, &mut out);
    }
    net.replicas[0].peer.finish_round(&mut out);
    out.into_iter().for_each(|effect| net.perform(0, effect));
    net.settle();
    assert_eq!(net.replicas[0].log.len(), before + 1);
    assert!((1..=50).all(|request| net.answer(request) == Some(WRITTEN)));
}

#[test]
fn a_read_needs_a_quorum_and_what_was_committed_before_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    net.cut = vec![1, 2];
    net.read(0, 2);
    net.settle();
    assert_eq!(net.answer(2), None, "the leader may have been deposed");
    net.cut = vec![];
    net.tick(0);
    net.tick(0);
    assert!(
        matches!(net.answer(2), Some(Ok(Reply::ReadReady(_)))),
        "a heartbeat carries it again"
    );
}

#[test]
fn a_cut_off_leader_steps_down_and_its_reads_are_sent_elsewhere() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![0];
    net.read(0, 1);
    for _ in 0..40 {
        net.tick(0);
    }
    assert!(!net.replicas[0].peer.is_leader());
    assert!(matches!(
        net.answer(1),
        Some(Err(RequestError::NotLeader { .. }))
    ));
}

#[test]
fn a_follower_names_its_leader() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(2);
    net.propose(1, 1);
    let leader = net.replicas[2].peer.me();
    match net.answer(1) {
        Some(Err(RequestError::NotLeader { leader: hint, .. })) => assert_eq!(hint, Some(leader)),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_request_for_something_else_is_refused_with_the_right_error() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let good = net.context(0);
    let with = |change: fn(&mut RequestContext)| {
        let mut context = good.clone();
        change(&mut context);
        context
    };
    net.propose_as(0, 1, with(|context| context.peer.store_id = StoreId(9)));
    net.propose_as(0, 2, with(|context| context.peer.id = PeerId(9)));
    net.propose_as(0, 3, with(|context| context.epoch.version = 0));
    net.propose_as(0, 4, with(|context| context.term = 1));
    assert!(matches!(
        net.answer(1),
        Some(Err(RequestError::StoreNotMatch { .. }))
    ));
    assert!(matches!(
        net.answer(2),
        Some(Err(RequestError::PeerMismatch { .. }))
    ));
    assert!(matches!(
        net.answer(3),
        Some(Err(RequestError::EpochNotMatch { .. }))
    ));
    assert_eq!(net.answer(4), Some(Err(RequestError::StaleCommand)));
}

#[test]
fn an_oversized_command_is_refused_before_it_is_proposed() {
    let options = PeerOptions {
        entry_bytes_max: 64,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    let before = net.replicas[0].log.len();
    net.propose(0, 1);
    assert!(matches!(
        net.answer(1),
        Some(Err(RequestError::EntryTooLarge { .. }))
    ));
    assert_eq!(net.replicas[0].log.len(), before);
}

#[test]
fn too_many_uncommitted_bytes_make_the_region_busy_and_lose_nothing() {
    let options = PeerOptions {
        append_bytes_max: 100,
        uncommitted_bytes_max: 200,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    net.cut = vec![1, 2];
    for request in 1..=20 {
        net.propose(0, request);
    }
    assert!(matches!(
        net.answer(20),
        Some(Err(RequestError::ServerIsBusy { .. }))
    ));
    assert_eq!(net.answer(1), None);
    net.wire.clear();
    net.cut = vec![];
    for _ in 0..8 {
        net.tick(0);
    }
    assert_eq!(net.answer(1), Some(WRITTEN));
}

#[test]
fn a_follower_far_behind_is_fed_from_the_log_on_disk() {
    let options = PeerOptions {
        cache_bytes_max: 0,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    net.cut = vec![2];
    for request in 1..=30 {
        net.propose(0, request);
        net.settle();
    }
    net.cut = vec![];
    for _ in 0..10 {
        net.tick(0);
    }
    assert_eq!(net.replicas[2].applied, net.replicas[0].applied);
}

#[test]
fn a_replica_that_is_behind_with_applying_takes_no_entries_until_it_is_not() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.settle();
    let before = net.replicas[1].log.len();
    net.replicas[1].peer.set_apply_behind(true);
    net.propose(0, 1);
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN), "the others are a quorum");
    assert_eq!(net.replicas[1].log.len(), before);
    assert!(!net.replicas[1].peer.is_leader());
    net.replicas[1].peer.set_apply_behind(false);
    for _ in 0..6 {
        net.tick(0);
    }
    assert_eq!(net.replicas[1].applied, net.replicas[0].applied);
}

#[test]
fn a_replica_lets_go_of_what_is_applied_when_it_is_told_to() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![2];
    net.propose(0, 1);
    net.settle();
    let leader = &mut net.replicas[0].peer;
    assert!(leader.cached_bytes() > 0, "for the one that is behind");
    leader.shed_cache();
    assert_eq!(leader.cached_bytes(), 0);
    net.cut = vec![];
    for _ in 0..6 {
        net.tick(0);
    }
    assert_eq!(net.replicas[2].applied, net.replicas[0].applied);
}

#[test]
fn a_leader_reports_at_its_election_at_its_interval_and_when_asked() {
    let options = PeerOptions {
        report_ticks: 5,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    assert_eq!(net.reports.len(), 1);
    for _ in 0..5 {
        net.tick(0);
    }
    assert_eq!(net.reports.len(), 2);
    net.step(0, Input::Report);
    assert_eq!(net.reports.len(), 3);
}

#[test]
fn reports_say_how_long_they_speak_of_and_no_time_is_left_out() {
    let options = PeerOptions {
        tick: Duration::from_millis(300),
        report_ticks: 5,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    for _ in 0..12 {
        net.tick(0);
    }
    // At its election and the tick after that, then after 1.8 s and after 3.3 s.
    let measured = net.reports.iter().map(|report| report.measured.as_secs());
    assert_eq!(measured.collect::<Vec<_>>(), [0, 0, 1, 2]);
    net.step(0, Input::Report);
    assert_eq!(net.reports[4].measured, Duration::ZERO);
}

#[test]
fn a_stopped_replica_answers_everybody() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.step(0, Input::Stop);
    net.propose(0, 2);
    assert_eq!(net.answer(1), Some(Err(RequestError::Undetermined)));
    assert_eq!(net.answer(2), Some(Err(RequestError::Stopping)));
}
