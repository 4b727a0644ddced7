//! Logs that are cut, and followers that need a snapshot.

use super::*;
use crate::apply::ApplyStore;
use crate::op::last_merge::LastMerge;
use crate::op::snapshot::SnapshotMeta;
use ::raft::eraftpb::{Message, MessageType};

impl Net {
    pub(super) fn perform_of_snapshots(&mut self, at: usize, effect: Effect) {
        let replica = &mut self.replicas[at];
        match effect {
            Effect::CompactLog { up_to, .. } => replica.log.retain(|entry| entry.index >= up_to),
            Effect::SyncKv { applied_index, .. } if replica.holds_sync => {
                replica.syncs.push(applied_index);
            }
            Effect::SyncKv { applied_index, .. } => {
                self.step(at, Input::KvSynced { applied_index });
            }
            Effect::GenerateSnapshot(wish) => {
                let state = replica.applier.state();
                let key = types::keys::last_merge_key(wish.region_id);
                let last_merge = replica.map.get(Cf::Raft, &key).unwrap();
                let last_merge = last_merge.map(|record| LastMerge::decode(record).unwrap());
                let meta = SnapshotMeta {
                    last_merge: last_merge.map(Box::new),
                    region: replica.applier.region().clone(),
                    index: state.applied_index,
                    term: state.applied_term,
                };
                let to = wish.to.id;
                let file = (replica.applied.clone(), replica.map.clone());
                self.files.insert(meta.key(to), file);
                let meta = Some(Box::new(meta));
                self.step(at, Input::SnapshotGenerated { to, meta });
            }
            Effect::SendSnapshot(message) => {
                let to = message.to;
                let is_ok = !self.cut.contains(&(to.store_id.get() as usize - 1));
                self.wire.push_back(message);
                let to = to.id;
                self.step(at, Input::SnapshotSent { to, is_ok });
            }
            Effect::InstallSnapshot(install) if replica.holds_install => {
                replica.installs.push(install);
            }
            Effect::InstallSnapshot(install) => {
                let mut out = Applied::default();
                replica.applier.install(install, &mut out);
                self.hear(at, out);
            }
            Effect::DropSnapshot(key) => self.dropped.push(key),
            Effect::SnapshotSettled(key) => assert!(self.files.contains_key(&key)),
            other => self.perform_of_consistency(at, other),
        }
    }

    pub(super) fn install(&mut self, at: usize, install: &InstallSnapshot) {
        let replica = &mut self.replicas[at];
        (replica.applied, replica.map) = self.files[&install.key].clone();
        let (index, term) = (install.meta.index, install.meta.term);
        let state = types::ApplyState {
            applied_index: index,
            applied_term: term,
            truncated_index: index,
            truncated_term: term,
        };
        replica.applier.restore(install.meta.region.clone(), state);
        self.step(at, Input::SnapshotInstalled { index });
    }

    pub(super) fn applied(&self, at: usize) -> u64 {
        self.replicas[at].peer.applied_index()
    }

    /// Has a replica act as if the command to do so had been applied last.
    pub(super) fn compact(&mut self, at: usize, index: u64) {
        let peer = &mut self.replicas[at].peer;
        let (last, mut out) = (peer.applied_index(), Vec::new());
        let term = peer.raw.store().term_at(index).unwrap();
        peer.compact_log(last, index, term, &mut out);
        out.into_iter().for_each(|effect| self.perform(at, effect));
    }

    /// A leader, 0, whose log begins behind what replica 2, cut off, has.
    fn with_a_follower_behind() -> Self {
        let mut net = Self::new(&PeerOptions::default());
        net.elect(0);
        net.propose(0, 1);
        net.settle();
        net.leave_behind();
        net
    }

    /// Goes on without replica 2 until that needs a snapshot.
    fn leave_behind(&mut self) {
        self.cut = vec![2];
        for request in 2..10 {
            self.propose(0, request);
            self.settle();
        }
        let last = self.applied(0);
        self.compact(0, last);
        self.cut = vec![];
    }

    fn add_learner(&mut self, request: u64) -> types::Peer {
        let learner = types::Peer {
            id: PeerId(77),
            store_id: StoreId(4),
            role: types::PeerRole::Learner,
        };
        let input = Input::ChangePeers {
            request: RequestId(request),
            context: self.context(0),
            changes: vec![PeerChange {
                kind: crate::admin::PeerChangeKind::AddLearner,
                peer_id: learner.id,
                store_id: learner.store_id,
            }],
        };
        self.step(0, input);
        self.settle();
        self.catch_up();
        learner
    }

    /// Has a message describe a snapshot of the index and term that it names, whose pairs are there.
    pub(super) fn forge_snapshot(&mut self, from: usize, to: usize, message: &mut Message) {
        let source = &self.replicas[from];
        let meta = SnapshotMeta {
            last_merge: None,
            region: source.peer.region().clone(),
            index: message.index,
            term: message.log_term,
        };
        message.set_snapshot(meta.to_raft());
        let file = (source.applied.clone(), source.map.clone());
        let to = self.replicas[to].peer.me().id;
        self.files.insert(meta.key(to), file);
    }

    fn catch_up(&mut self) {
        for _ in 0..6 {
            self.tick(0);
        }
    }
}

#[test]
fn a_follower_behind_the_beginning_of_the_log_gets_a_snapshot_and_then_the_log() {
    let mut net = Net::with_a_follower_behind();
    net.catch_up();
    assert_eq!(net.files.len(), 1);
    assert_eq!(net.replicas[0].applied, net.replicas[2].applied);
    assert!(
        net.replicas[2].log.is_empty(),
        "it begins behind the snapshot"
    );
    net.propose(0, 20);
    net.settle();
    net.catch_up();
    assert_eq!(net.applied(0), net.applied(2));
    assert_eq!(net.files.len(), 1, "one was enough");
    net.cut = vec![1];
    net.propose(0, 21);
    net.settle();
    assert_eq!(net.answer(21), Some(WRITTEN), "it counts for the quorum");
}

/// What it proposed may be in the snapshot, or nowhere: no entry will tell.
#[test]
fn a_deposed_leader_that_gets_a_snapshot_waits_for_its_proposals_no_longer() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![0];
    net.propose(0, 1);
    net.settle();
    let leads = |net: &Net, at: usize| net.replicas[at].peer.is_leader();
    while !leads(&net, 1) && !leads(&net, 2) {
        net.tick(1);
        net.tick(2);
    }
    let leader = if leads(&net, 1) { 1 } else { 2 };
    for request in 2..10 {
        net.propose(leader, request);
        net.settle();
    }
    let last = net.applied(leader);
    net.compact(leader, last);
    net.cut.clear();
    assert_eq!(net.answer(1), None);
    for _ in 0..5 {
        net.tick(leader);
    }
    assert_eq!(net.files.len(), 1, "it needed a snapshot");
    assert_eq!(net.applied(0), net.applied(leader));
    assert_eq!(net.answer(1), Some(Err(RequestError::Undetermined)));
}

#[test]
fn a_snapshot_is_acknowledged_after_the_data_and_the_log_are_durable_and_not_before() {
    let mut net = Net::with_a_follower_behind();
    let follower = &mut net.replicas[2];
    (follower.holds_install, follower.holds_disk) = (true, true);
    let matched = |net: &Net| {
        let progress = net.replicas[0].peer.raw.raft.prs();
        let id = net.replicas[2].peer.me().id.get();
        progress.get(id).unwrap().matched
    };
    let before = matched(&net);
    net.catch_up();
    assert!(net.replicas[2].installs.is_empty(), "the term first");
    let [first] = net.replicas[2].held_writes.as_slice() else {
        panic!("one write is asked for");
    };
    let (commit, last) = (first.hard_state.unwrap().commit, net.applied(2));
    assert_eq!(commit, last, "it names nothing that is not in the log");
    net.release_disk(2);
    net.replicas[2].holds_disk = true;
    net.catch_up();
    let install = net.replicas[2].installs.pop().expect("then the data");
    let log_before = net.replicas[2].log.clone();
    assert!(!log_before.is_empty(), "the old log is there until then");
    net.install(2, &install);
    net.catch_up();
    assert_eq!(matched(&net), before, "not yet durable in the log");
    net.release_disk(2);
    net.settle();
    assert_eq!(matched(&net), install.meta.index);
}

#[test]
fn a_follower_that_installs_answers_heartbeats_and_nothing_else() {
    let mut net = Net::with_a_follower_behind();
    net.replicas[2].holds_install = true;
    net.catch_up();
    let install = net.replicas[2].installs.pop().unwrap();
    net.cut = vec![1];
    for _ in 0..60 {
        net.tick(0);
        net.tick(2);
    }
    assert!(net.replicas[0].peer.is_leader(), "its majority answers");
    let timeout = Message {
        term: net.replicas[0].peer.term(),
        msg_type: MessageType::MsgTimeoutNow,
        ..Message::default()
    };
    let (from, to) = (net.replicas[0].peer.me(), net.replicas[2].peer.me());
    let message = RaftMessage {
        region_id: net.replicas[2].peer.region().id,
        from,
        to,
        epoch: net.replicas[2].peer.region().epoch,
        message: Message {
            from: from.id.get(),
            to: to.id.get(),
            ..timeout
        },
        ..RaftMessage::default()
    };
    net.step(2, Input::Message(Box::new(message)));
    assert!(net.wire.is_empty(), "it does not campaign");
    net.install(2, &install);
    net.settle();
    net.catch_up();
    assert_eq!(net.applied(2), net.applied(0));
}

#[test]
fn a_follower_that_installs_makes_room_for_a_later_replica_only_afterwards() {
    let mut net = Net::with_a_follower_behind();
    net.replicas[2].holds_install = true;
    net.catch_up();
    let install = net.replicas[2].installs.pop().unwrap();
    let [from, me] = [0, 2].map(|at| net.replicas[at].peer.me());
    let region = net.replicas[0].peer.region().clone();
    let mut epoch = region.epoch;
    epoch.conf_ver += 2;
    let later = types::Peer {
        id: PeerId(me.id.get() + 100),
        ..me
    };
    let heartbeat = RaftMessage {
        region_id: region.id,
        from,
        to: later,
        epoch,
        message: Message {
            from: from.id.get(),
            to: later.id.get(),
            term: net.replicas[2].peer.term(),
            msg_type: MessageType::MsgHeartbeat,
            ..Message::default()
        },
        ..RaftMessage::default()
    };
    net.step(2, Input::Message(Box::new(heartbeat.clone())));
    assert!(!net.replicas[2].peer.is_leaving);
    net.install(2, &install);
    net.step(2, Input::Message(Box::new(heartbeat)));
    assert!(net.replicas[2].peer.is_leaving);
}

#[test]
fn a_snapshot_that_is_lost_or_comes_twice_or_late_does_no_harm() {
    let mut net = Net::with_a_follower_behind();
    net.cut = vec![2];
    let lost = net.replicas[0].peer.me();
    net.catch_up();
    net.cut = vec![];
    for _ in 0..3 {
        net.catch_up();
    }
    assert_eq!(net.applied(2), net.applied(0), "from {lost:?} again");
    let install = net.files.keys().next_back().copied().unwrap();
    let meta = SnapshotMeta {
        last_merge: None,
        region: net.replicas[0].peer.region().clone(),
        index: install.index,
        term: install.term,
    };
    let again = snapshot_message(&net, &meta);
    net.step(2, Input::Message(Box::new(again)));
    assert_eq!(net.dropped, [install], "the late one is of no use");
    net.settle();
    assert_eq!(net.applied(2), net.applied(0));
}

fn snapshot_message(net: &Net, meta: &SnapshotMeta) -> RaftMessage {
    let (from, to) = (net.replicas[0].peer.me(), net.replicas[2].peer.me());
    let mut message = Message {
        msg_type: MessageType::MsgSnapshot,
        term: net.replicas[0].peer.term(),
        from: from.id.get(),
        to: to.id.get(),
        ..Message::default()
    };
    message.set_snapshot(meta.to_raft());
    RaftMessage {
        region_id: meta.region.id,
        from,
        to,
        epoch: meta.region.epoch,
        message,
        ..RaftMessage::default()
    }
}

#[test]
fn a_snapshot_that_no_leader_sends_is_refused_at_the_door() {
    let net = Net::with_a_follower_behind();
    let region = net.replicas[0].peer.region().clone();
    let good = SnapshotMeta {
        last_merge: None,
        region,
        index: net.applied(0),
        term: net.replicas[0].peer.term(),
    };
    let decode = |message: &RaftMessage| {
        let envelope = RaftMessage {
            message: Message::default(),
            ..message.clone()
        };
        envelope.decode_body(&message.encode_body().into())
    };
    assert!(decode(&snapshot_message(&net, &good)).is_ok());
    let metas: [fn(&mut SnapshotMeta); 6] = [
        |meta| meta.index = 0,
        |meta| meta.term += 1,
        |meta| meta.region.peers.retain(|peer| peer.store_id.get() != 3),
        |meta| meta.region.peers[1].id = meta.region.peers[0].id,
        |meta| meta.region.range.end = vec![0],
        |meta| {
            for peer in &mut meta.region.peers {
                peer.role = types::PeerRole::Learner;
            }
        },
    ];
    for (number, change) in metas.into_iter().enumerate() {
        let mut meta = good.clone();
        meta.region.range.start = vec![0];
        change(&mut meta);
        assert!(decode(&snapshot_message(&net, &meta)).is_err(), "{number}");
    }
    let messages: [fn(&mut RaftMessage); 5] = [
        |message| message.region_id = RegionId(99),
        |message| message.message.mut_snapshot().mut_metadata().index += 1,
        |message| {
            let members = message.message.mut_snapshot().mut_metadata();
            members.mut_conf_state().mut_voters().pop();
        },
        |message| message.message.mut_snapshot().data.truncate(9),
        |message| message.message.msg_type = MessageType::MsgAppend,
    ];
    for (number, change) in messages.into_iter().enumerate() {
        let mut message = snapshot_message(&net, &good);
        change(&mut message);
        assert!(decode(&message).is_err(), "{number}");
    }
}

#[test]
fn a_snapshot_that_contradicts_what_is_committed_here_is_refused() {
    let mut net = Net::with_a_follower_behind();
    let good = SnapshotMeta {
        last_merge: None,
        region: net.replicas[0].peer.region().clone(),
        index: net.applied(2),
        term: net.replicas[0].peer.term(),
    };
    let mut wrong_term = good.clone();
    wrong_term.term -= 1;
    let mut old_epoch = good;
    old_epoch.region.epoch.version -= 1;
    for meta in [wrong_term, old_epoch] {
        let message = snapshot_message(&net, &meta);
        net.step(2, Input::Message(Box::new(message)));
    }
    assert_eq!((net.refused.len(), net.dropped.len()), (2, 2));
}

#[test]
fn entries_go_from_the_disk_after_the_key_value_engine_has_synced_their_effect() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    for request in 1..6 {
        net.propose(0, request);
        net.settle();
    }
    net.replicas[0].holds_sync = true;
    let (last, on_disk) = (net.applied(0), net.replicas[0].log.len());
    net.compact(0, last - 1);
    assert_eq!(net.replicas[0].log.len(), on_disk);
    let applied_index = net.replicas[0].syncs.pop().unwrap();
    net.step(
        0,
        Input::KvSynced {
            applied_index: applied_index - 1,
        },
    );
    assert_eq!(net.replicas[0].log.len(), on_disk, "not its own command's");
    net.step(0, Input::KvSynced { applied_index });
    assert_eq!(net.replicas[0].log.len(), 1);
}

#[test]
fn a_new_replica_gets_everything_by_a_snapshot() {
    let options = PeerOptions::default();
    let mut net = Net::new(&options);
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    let me = net.add_learner(2);
    let region_id = net.replicas[0].peer.region().id;
    net.replicas
        .push(Replica::uninitialized(region_id, me, &options));
    net.catch_up();
    let newcomer = &net.replicas[3];
    assert!(newcomer.peer.is_initialized());
    assert_eq!(newcomer.peer.me(), me);
    assert_eq!(newcomer.peer.region(), net.replicas[0].peer.region());
    assert_eq!(newcomer.applied, net.replicas[0].applied);
    net.propose(0, 3);
    net.settle();
    net.catch_up();
    assert_eq!(net.applied(3), net.applied(0));
}

#[test]
fn a_snapshot_waits_until_the_changes_before_it_are_applied() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[2].holds_apply = true;
    net.add_learner(1);
    net.leave_behind();
    net.catch_up();
    let follower = &net.replicas[2].peer;
    assert!(follower.early.is_some() && follower.awaits_applied());
    assert!(follower.raw.raft.snap().is_none() && follower.installing.is_none());
    net.release_applier(2);
    net.catch_up();
    assert!(net.replicas[2].peer.early.is_none());
    let regions = [0, 2].map(|at| net.replicas[at].peer.region().clone());
    assert_eq!(regions[0], regions[1]);
    assert_eq!(net.applied(2), net.applied(0));
    assert_eq!(net.replicas[2].applied, net.replicas[0].applied);
}

#[test]
fn a_replica_that_goes_lets_go_of_the_snapshot_that_waits() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[2].holds_apply = true;
    net.add_learner(1);
    net.leave_behind();
    net.catch_up();
    let [from, to] = [0, 2].map(|at| net.replicas[at].peer.me());
    let region = net.replicas[0].peer.region().clone();
    let mut epoch = region.epoch;
    epoch.conf_ver += 1;
    let farewell = RaftMessage::farewell(region.id, from, to, epoch);
    let waiting = net.replicas[2].peer.early.as_ref().unwrap();
    let waiting = SnapshotKey::of_message(waiting).unwrap();
    net.step(2, Input::Message(Box::new(farewell)));
    assert!(net.dropped.contains(&waiting));
    let meta = SnapshotMeta {
        last_merge: None,
        region,
        index: net.applied(0),
        term: net.replicas[0].peer.term(),
    };
    let late = snapshot_message(&net, &meta);
    net.dropped.clear();
    net.step(2, Input::Message(Box::new(late)));
    assert_eq!(
        net.dropped,
        [meta.key(to.id)],
        "and of those that come later"
    );
}

#[test]
fn a_leader_has_all_replicas_cut_their_logs_at_the_same_entry() {
    let mut options = PeerOptions::default();
    options.log_gc.threshold = 10;
    let mut net = Net::new(&options);
    net.elect(0);
    for request in 1..30 {
        net.propose(0, request);
        net.settle();
    }
    net.catch_up();
    let truncated = |net: &Net, at: usize| {
        let state = net.replicas[at].applier.state();
        let cache = net.replicas[at].peer.raw.store().truncated_index();
        assert_eq!(state.truncated_index, cache);
        let first = net.replicas[at].log.first().expect("the command is there");
        assert_eq!(first.index, cache + 1);
        cache
    };
    let cut = truncated(&net, 0);
    assert!(cut >= FIRST_INDEX + 30);
    assert_eq!([truncated(&net, 1), truncated(&net, 2)], [cut, cut]);
    net.propose(0, 90);
    net.settle();
    assert_eq!(net.answer(90), Some(WRITTEN));
}

#[test]
fn a_client_can_not_ask_for_a_log_to_be_cut() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let input = Input::Propose {
        request: RequestId(1),
        context: net.context(0),
        command: Command::Admin(Admin::CompactLog { index: 6, term: 6 }),
    };
    net.step(0, input);
    let answer = net.answer(1);
    assert!(matches!(
        answer,
        Some(Err(RequestError::InvalidChange { .. }))
    ));
}
