//! Replicas that are compared, and one whose data is damaged.

use super::*;
use crate::admin::{Cut, PeerChangeKind};
use crate::apply::Change;
use crate::op::consistency::{Hash, Verdict};
use ::raft::Storage as _;
use ::raft::eraftpb::{Message, MessageType};
use types::{Space, keys};

const CHECK: u64 = 90;

impl Net {
    pub(super) fn perform_of_consistency(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Quarantined {
                region_id,
                quarantine,
            } => self.quarantines.push((at, region_id, quarantine)),
            Effect::Inconsistent(report) => self.differences.push(report),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Hashes what is pinned, unless it has to wait.
    pub(super) fn hash(&mut self, at: usize) {
        if self.replicas[at].holds_hash {
            return;
        }
        for (index, hash) in std::mem::take(&mut self.replicas[at].map.1) {
            let hash = Some(hash);
            self.step(at, Input::Hashed { index, hash });
        }
    }

    fn check(&mut self, at: usize, request: u64) {
        let (request, context) = (RequestId(request), self.context(at));
        self.step(at, Input::CheckConsistency { request, context });
    }

    fn report(&mut self, request: u64) -> Report {
        match self.answer(request) {
            Some(Ok(Reply::Checked(report))) => *report,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Something on the disk of a replica is not what was written.
    fn damage(&mut self, at: usize) {
        let key = (Cf::Default, Space::Data.key(b"1"));
        let value = self.replicas[at].map.0.get_mut(&key);
        *value.expect("it was written") = Bytes::from_static(b"valve");
    }

    fn is_in_quarantine(&self, at: usize) -> bool {
        self.replicas[at].peer.quarantine().is_some()
    }

    fn ticks(&mut self, at: usize, ticks: usize) {
        for _ in 0..ticks {
            self.tick(at);
        }
    }
}

/// Replica 0 leads, all have applied a write, and one of them is damaged.
fn damaged(at: usize) -> Net {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    net.ticks(0, 4);
    net.damage(at);
    net
}

/// As [`damaged`], and that was found out.
fn quarantined(at: usize) -> Net {
    let mut net = damaged(at);
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 4);
    assert!(net.is_in_quarantine(at));
    net
}

/// A replica finds itself named.
fn condemn(net: &mut Net, at: usize) {
    let peer = &net.replicas[at].peer;
    let verdict = Verdict {
        index: peer.applied_index(),
        agreed: Hash(7),
        deviating: vec![(peer.me().id, Hash(8))],
    };
    let change = RegionChange {
        region_id: peer.region().id,
        index: peer.applied_index(),
        change: Change::Verified(verdict),
    };
    net.step(at, Input::Changed(change));
}

fn refused_in_quarantine(answer: Option<Result<Reply, RequestError>>) -> Option<types::Peer> {
    match answer {
        Some(Err(RequestError::Quarantined { leader, .. })) => leader,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn replicas_that_are_equal_agree_and_nothing_follows() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.check(0, CHECK);
    assert!(net.replicas[0].peer.has_consistency_work());
    net.settle();
    net.ticks(0, 2);
    let report = net.report(CHECK);
    assert!(!report.differs());
    assert!(report.hashes.iter().all(|(_, hash)| *hash == report.agreed));
    assert!(report.agreed.is_some());
    assert!(net.quarantines.is_empty() && net.differences.is_empty());
    assert!(
        net.replicas
            .iter()
            .all(|replica| !replica.peer.has_consistency_work())
    );
}

#[test]
fn a_damaged_follower_is_found_reported_with_both_hashes_and_serves_nobody() {
    let mut net = quarantined(2);
    let report = net.report(CHECK);
    let damaged = net.replicas[2].peer.me();
    assert_eq!(net.differences, std::slice::from_ref(&report));
    let [(2, RegionId::FIRST_DATA, found)] = net.quarantines[..] else {
        panic!("unexpected {:?}", net.quarantines);
    };
    assert_eq!(found.peer_id, damaged.id);
    assert_eq!(
        (found.index, Some(found.agreed)),
        (report.index, report.agreed)
    );
    assert_eq!(report.hashes[2], (damaged, Some(found.found)));
    assert_ne!(found.found, found.agreed);
    let told = net.reports.last().expect("placement hears of it at once");
    assert_eq!(told.quarantined_peers, [damaged.id]);

    let context = RequestContext {
        replica_read: true,
        ..net.context(2)
    };
    let request = RequestId(7);
    net.step(2, Input::Read { request, context });
    let leader = net.replicas[0].peer.me();
    assert_eq!(refused_in_quarantine(net.answer(7)), Some(leader));
    assert!(!net.is_in_quarantine(0) && !net.is_in_quarantine(1));
}

#[test]
fn reads_that_wait_on_a_replica_when_it_is_quarantined_are_refused() {
    let mut net = damaged(2);
    net.check(0, CHECK);
    net.settle();
    net.cut = vec![2];
    let context = RequestContext {
        replica_read: true,
        ..net.context(2)
    };
    let request = RequestId(7);
    net.step(2, Input::Read { request, context });
    net.settle();
    net.cut = vec![];
    assert_eq!(net.answer(7), None);
    net.ticks(0, 4);
    refused_in_quarantine(net.answer(7));
}

#[test]
fn a_damaged_leader_finds_itself_ends_its_lease_and_hands_over_to_one_that_reports_it() {
    let mut net = damaged(0);
    assert!(net.replicas[0].lease.is_some());
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 4);
    assert!(net.is_in_quarantine(0) && net.replicas[0].lease.is_none());
    assert_eq!(net.report(CHECK).verdict().unwrap().deviating.len(), 1);
    let leads = |net: &Net, at: usize| net.replicas[at].peer.is_leader();
    assert!(!leads(&net, 0));
    let heir = [1, 2].into_iter().find(|at| leads(&net, *at));
    let heir = heir.expect("another one leads at once");
    net.propose(heir, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
    for _ in 0..12 {
        net.tick(0);
        net.tick(heir);
    }
    let told = net.reports.last().unwrap();
    assert_eq!(told.leader, net.replicas[heir].peer.me());
    assert_eq!(told.quarantined_peers, [net.replicas[0].peer.me().id]);
}

#[test]
fn a_hash_that_is_lost_on_its_way_is_said_again_and_not_for_ever() {
    let mut net = damaged(2);
    net.replicas[2].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    net.cut = vec![2];
    net.replicas[2].holds_hash = false;
    net.hash(2);
    net.settle();
    net.cut = vec![];
    assert_eq!(net.answer(CHECK), None);
    for _ in 0..3 * PeerOptions::default().election_ticks_min {
        net.tick(0);
        net.tick(2);
    }
    assert_eq!(net.report(CHECK).verdict().unwrap().deviating.len(), 1);

    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 2);
    net.ticks(2, 5 * PeerOptions::default().election_ticks_min);
    assert!(!net.replicas[2].peer.has_consistency_work());
}

#[test]
fn what_is_found_while_the_leadership_is_handed_over_in_vain_is_written_down_after_that() {
    let mut net = damaged(2);
    net.replicas[1].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    // Its new leader never hears of it: the log takes nothing until the old one gives up.
    net.cut = vec![2];
    let to = net.replicas[2].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.replicas[1].holds_hash = false;
    net.hash(1);
    net.settle();
    assert_eq!(net.answer(CHECK), None, "nobody is quarantined");
    assert_eq!(net.differences.len(), 1);
    net.cut = vec![];
    net.ticks(0, 2 * PeerOptions::default().election_ticks_max);
    assert!(net.is_in_quarantine(2));
    assert!(net.report(CHECK).differs());
}

#[test]
fn a_quarantined_leader_that_can_not_hand_over_yet_serves_nobody() {
    let mut net = damaged(0);
    net.cut = vec![1, 2];
    condemn(&mut net, 0);
    assert!(net.is_in_quarantine(0) && net.replicas[0].peer.is_leader());
    net.propose(0, 5);
    assert_eq!(refused_in_quarantine(net.answer(5)), None);
    net.read(0, 6);
    assert_eq!(refused_in_quarantine(net.answer(6)), None);
    assert!(net.replicas[0].peer.has_consistency_work());
}

#[test]
fn without_a_majority_the_difference_is_reported_and_nobody_is_quarantined() {
    let mut net = damaged(2);
    net.cut = vec![1];
    net.ticks(0, 30);
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 4);
    let report = net.report(CHECK);
    assert!(report.differs() && report.agreed.is_none());
    assert_eq!(report.hashes[1].1, None, "it is silent");
    assert_eq!(net.differences, [report]);
    assert!(net.quarantines.is_empty());
}

#[test]
fn a_check_waits_for_a_replica_that_is_heard_of_for_as_long_as_it_may() {
    let options = PeerOptions {
        consistency_patience_ticks: 50,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    net.replicas[2].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 49);
    assert_eq!(net.answer(CHECK), None);
    net.check(0, 91);
    assert!(matches!(
        net.answer(91),
        Some(Err(RequestError::ServerIsBusy { .. }))
    ));
    net.ticks(0, 1);
    assert_eq!(net.report(CHECK).hashes[2].1, None);
    net.replicas[2].holds_hash = false;
    net.hash(2);
    net.settle();
    assert!(net.differences.is_empty(), "it comes too late for anything");
}

#[test]
fn a_check_ends_with_the_leadership_and_with_the_replica() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[1].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    let to = net.replicas[1].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.settle();
    assert!(matches!(
        net.answer(CHECK),
        Some(Err(RequestError::NotLeader { .. }))
    ));
    net.check(1, 91);
    net.step(1, Input::Stop);
    assert_eq!(net.answer(91), Some(Err(RequestError::Stopping)));
}

#[test]
fn a_hash_of_the_leaders_own_term_and_check_counts_and_no_other() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[2].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    net.ticks(0, 2);
    let hash = Some(Hash(1));
    for index in [1, 1_000] {
        net.step(2, Input::Hashed { index, hash });
    }
    net.settle();
    assert_eq!(net.answer(CHECK), None);
}

#[test]
fn a_quarantined_replica_is_not_elected_by_one_that_is_as_good_and_takes_no_leadership() {
    let mut net = quarantined(2);
    let (id, me) = (net.replicas[2].peer.me().id, net.replicas[0].peer.me());
    net.step(0, Input::TransferLeader { to: id });
    net.settle();
    assert!(net.replicas[0].peer.is_leader(), "it is not asked");
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgTimeoutNow);
    (message.from, message.to) = (me.id.get(), id.get());
    message.term = net.replicas[0].peer.term();
    let message = Box::new(RaftMessage {
        region_id: RegionId::FIRST_DATA,
        from: me,
        to: net.replicas[2].peer.me(),
        epoch: net.replicas[0].peer.region().epoch,
        message,
        ..RaftMessage::default()
    });
    net.step(2, Input::Message(message));
    net.step(2, Input::Campaign);
    net.settle();
    assert!(net.replicas[0].peer.is_leader());
    net.cut = vec![0];
    // Past the time in which a follower of a live leader gives no vote, and short of desperation.
    net.ticks(1, 10);
    net.ticks(2, 60);
    assert!(!net.replicas[2].peer.is_leader());
    net.elect(1);
}

#[test]
fn a_quarantined_replica_leads_where_it_alone_has_the_log_and_hands_over() {
    let mut net = quarantined(2);
    net.cut = vec![1];
    net.propose(0, 5);
    net.settle();
    net.ticks(0, 2);
    assert_eq!(net.answer(5), Some(WRITTEN));
    net.cut = vec![0];
    for _ in 0..60 {
        net.tick(1);
        net.tick(2);
    }
    assert!(net.replicas[1].peer.is_leader());
    net.settle();
    assert_eq!(net.replicas[1].applied, net.replicas[2].applied);
    let value = net.replicas[1]
        .map
        .0
        .get(&(Cf::Default, Space::Data.key(b"5")));
    assert!(value.is_some(), "what was acknowledged is not lost");
    assert!(net.replicas[2].lease.is_none());
}

#[test]
fn a_quarantined_leader_sends_no_snapshot() {
    let mut net = damaged(0);
    net.cut = vec![1, 2];
    let to = net.replicas[1].peer.me().id.get();
    let asks = |net: &mut Net| {
        assert!(net.replicas[0].peer.raw.store().snapshot(0, to).is_err());
        net.step(0, Input::Report);
        !net.files.is_empty()
    };
    condemn(&mut net, 0);
    assert!(!asks(&mut net));
    let mut healthy = damaged(1);
    assert!(asks(&mut healthy), "another one does");
}

#[test]
fn a_quarantine_outlives_the_process_and_goes_with_the_replica() {
    let mut net = quarantined(2);
    let me = net.replicas[2].peer.me();
    let key = (
        Cf::Raft,
        keys::quarantine_key(RegionId::FIRST_DATA).to_vec(),
    );
    let record = net.replicas[2].map.0[&key].clone();
    let quarantine = Quarantine::decode(record).unwrap();
    assert_eq!(Some(quarantine), net.replicas[2].peer.quarantine());
    assert!(!net.replicas[1].map.0.contains_key(&key), "it is its own");

    let changes = vec![PeerChange {
        kind: PeerChangeKind::Remove,
        peer_id: me.id,
        store_id: me.store_id,
    }];
    let (request, context) = (RequestId(8), net.context(0));
    let input = Input::ChangePeers {
        request,
        context,
        changes,
    };
    net.step(0, input);
    net.settle();
    net.ticks(0, 4);
    assert!(net.replicas[2].peer.is_stopped());
    assert!(!net.replicas[2].map.0.contains_key(&key));
    net.step(0, Input::Report);
    assert!(net.reports.last().unwrap().quarantined_peers.is_empty());
}

#[test]
fn what_a_split_cuts_off_from_a_quarantined_replica_is_quarantined_before_its_store_hears_of_it() {
    let mut net = quarantined(2);
    let cut = Cut {
        key: "m".into(),
        region_id: RegionId(50),
        peer_ids: [501, 502, 503].map(PeerId).into(),
    };
    let (request, context) = (RequestId(8), net.context(0));
    let input = Input::Propose {
        request,
        context,
        command: Command::Admin(Admin::Split(vec![cut])),
    };
    net.step(0, input);
    net.settle();
    net.ticks(0, 4);
    let (at, region, quarantine) = *net.quarantines.last().unwrap();
    assert_eq!(
        (at, region, quarantine.peer_id),
        (2, RegionId(50), PeerId(503))
    );
    let key = (Cf::Raft, keys::quarantine_key(RegionId(50)).to_vec());
    let record = net.replicas[2].map.0[&key].clone();
    assert_eq!(Quarantine::decode(record), Ok(quarantine));
    assert_eq!(net.quarantines.len(), 2, "of the others none is");
}

#[test]
fn a_quarantined_replica_that_leaves_still_says_what_was_cut_off_from_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let (from, to) = (net.replicas[0].peer.me(), net.replicas[2].peer.me());
    let later = Epoch {
        conf_ver: 9,
        version: 9,
    };
    let removal = RaftMessage::farewell(RegionId::FIRST_DATA, from, to, later);
    let peer = &mut net.replicas[2].peer;
    let mut out = Vec::new();
    peer.step(Input::Message(Box::new(removal)), &mut out);
    out.clear();
    let mut part = peer.region().clone();
    part.id = RegionId(50);
    let parts = vec![part, peer.region().clone()];
    let verdict = Verdict {
        index: 6,
        agreed: Hash(7),
        deviating: vec![(to.id, Hash(8))],
    };
    for (index, change) in [(7, Change::Verified(verdict)), (8, Change::Split(parts))] {
        let region_id = RegionId::FIRST_DATA;
        let change = RegionChange {
            region_id,
            index,
            change,
        };
        peer.step(Input::Changed(change), &mut out);
    }
    let [
        Effect::Quarantined { region_id, .. },
        Effect::Split(SplitDone { .. }),
    ] = &out[..]
    else {
        panic!("unexpected {out:?}");
    };
    assert_eq!(*region_id, RegionId(50), "before the store makes it");
}

/// A Region that sleeps, led by replica 0.
fn sleeping() -> Net {
    let mut net = Net::new(&PeerOptions {
        hibernate_ticks: 6,
        ..PeerOptions::default()
    });
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    all_tick(&mut net, 10);
    assert!(net.replicas.iter().all(|it| it.peer.is_asleep()));
    net
}

fn all_tick(net: &mut Net, ticks: usize) {
    for _ in 0..ticks {
        (0..3).for_each(|at| net.tick(at));
    }
}

#[test]
fn a_check_wakes_a_region_that_sleeps_again_behind_it() {
    let mut net = sleeping();
    net.replicas[1].holds_hash = true;
    net.check(0, CHECK);
    net.settle();
    all_tick(&mut net, 30);
    assert_eq!(net.answer(CHECK), None);
    assert!(
        net.replicas.iter().all(|it| !it.peer.is_asleep()),
        "one of them is still being hashed"
    );
    net.replicas[1].holds_hash = false;
    net.hash(1);
    net.settle();
    assert!(net.report(CHECK).hashes.iter().all(|it| it.1.is_some()));
    all_tick(&mut net, 10);
    assert!(net.replicas.iter().all(|it| it.peer.is_asleep()));
}

#[test]
fn a_region_with_a_quarantined_replica_stays_awake_until_that_is_replaced() {
    let mut net = sleeping();
    net.damage(2);
    net.check(0, CHECK);
    net.settle();
    all_tick(&mut net, 100);
    assert!(net.is_in_quarantine(2));
    assert!(net.replicas.iter().all(|it| !it.peer.is_asleep()));
}
