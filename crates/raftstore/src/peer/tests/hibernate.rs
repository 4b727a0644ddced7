//! A Region that falls asleep, and what wakes it.

use super::*;
use crate::admin::PeerChangeKind::{self, AddLearner, Remove};
use crate::op::hibernate::{Extra, Reliance};

const HIBERNATE_TICKS: u64 = 6;

fn options() -> PeerOptions {
    PeerOptions {
        hibernate_ticks: HIBERNATE_TICKS,
        ..PeerOptions::default()
    }
}

/// Ticks all replicas so many times.
fn pass(net: &mut Net, ticks: u64) {
    for _ in 0..ticks {
        for at in 0..3 {
            net.tick(at);
        }
    }
}

fn asleep(net: &Net) -> Vec<usize> {
    let asleep = |at: &usize| net.replicas[*at].peer.is_asleep();
    let by_peers: Vec<usize> = (0..3).filter(asleep).collect();
    let by_stores: Vec<usize> = net.slept.keys().copied().collect();
    assert_eq!(by_peers, by_stores, "the stores know");
    by_peers
}

/// A Region, led by the first replica, that sleeps.
fn sleeping() -> Net {
    let mut net = Net::new(&options());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    pass(&mut net, HIBERNATE_TICKS + 4);
    assert_eq!(asleep(&net), [0, 1, 2]);
    net
}

/// The leader, the first replica, changes another one's membership.
fn change(net: &mut Net, request: u64, kind: PeerChangeKind, at: usize) {
    let (context, peer) = (net.context(0), net.replicas[at].peer.me());
    let change = PeerChange {
        kind,
        peer_id: peer.id,
        store_id: peer.store_id,
    };
    let input = Input::ChangePeers {
        request: RequestId(request),
        context,
        changes: vec![change],
    };
    net.step(0, input);
    net.settle();
    assert!(matches!(net.answer(request), Some(Ok(_))));
}

fn store(id: u64) -> StoreId {
    StoreId(id)
}

#[test]
fn an_idle_region_sleeps_on_all_replicas_and_says_nothing_any_more() {
    let mut net = sleeping();
    assert_eq!(net.slept[&1], Reliance::Leader(store(1)));
    let all = vec![store(2), store(3)];
    let missing = vec![];
    assert_eq!(net.slept[&0], Reliance::Followers { all, missing });
    let sent = net.sent;
    pass(&mut net, 1_000);
    assert_eq!(net.sent, sent);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert!(net.replicas[0].peer.is_leader());
}

#[test]
fn a_region_lets_go_of_its_log_before_it_sleeps() {
    let mut net = Net::new(&options());
    net.elect(0);
    for request in 1..=20 {
        net.propose(0, request);
    }
    net.settle();
    pass(&mut net, 2 * HIBERNATE_TICKS + 6);
    assert_eq!(asleep(&net), [0, 1, 2]);
    let mut held = |at: usize| {
        let peer = &mut net.replicas[at].peer;
        peer.rise();
        peer.applied_index - peer.raw.store().truncated_index()
    };
    assert_eq!([held(0), held(1), held(2)], [1, 1, 1]);
}

/// What of raft-rs's state anybody could notice.
fn raft_state(peer: &Peer) -> impl PartialEq + std::fmt::Debug + use<> {
    let raft = &peer.raw.raft;
    let (log, store) = (&raft.raft_log, peer.raw.store());
    let progress =
        |(id, known): (&u64, &::raft::Progress)| (*id, known.matched, known.next_idx, known.state);
    let mut progress: Vec<_> = raft.prs().iter().map(progress).collect();
    progress.sort_unstable_by_key(|known| known.0);
    let log = (
        log.committed,
        log.applied,
        log.persisted,
        log.last_term(),
        store.truncated_index(),
        store.log_bytes(),
    );
    let place = (raft.term, raft.vote, raft.state, raft.leader_id);
    (place, log, peer.is_leader().then_some(progress))
}

#[test]
fn raft_rs_rests_while_a_replica_sleeps_and_rises_as_it_was() {
    let mut net = Net::new(&options());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    pass(&mut net, HIBERNATE_TICKS - 1);
    assert!(
        net.replicas
            .iter()
            .all(|replica| !replica.peer.raw.is_resting())
    );
    let before: Vec<_> = net.replicas.iter().map(|r| raft_state(&r.peer)).collect();
    pass(&mut net, 5);
    assert_eq!(asleep(&net), [0, 1, 2]);
    for (replica, before) in net.replicas.iter_mut().zip(before) {
        assert!(replica.peer.raw.is_resting());
        replica.peer.rise();
        assert_eq!(raft_state(&replica.peer), before);
    }
}

#[test]
fn a_check_of_a_sleeping_follower_has_nobody_rise() {
    let mut net = sleeping();
    let down = vec![];
    net.step(1, Input::Check { down: down.clone() });
    assert!(net.replicas[1].peer.raw.is_resting());
    net.step(0, Input::Check { down });
    net.settle();
    assert!(
        net.replicas[0].peer.raw.is_resting(),
        "again, after it has reported"
    );
    assert_eq!(asleep(&net), [0, 1, 2]);
}

#[test]
fn a_write_wakes_all_and_is_answered_without_a_tick() {
    let mut net = sleeping();
    net.propose(0, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
    assert!(asleep(&net).is_empty());
    pass(&mut net, HIBERNATE_TICKS + 4);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert_eq!(net.replicas[0].applied, net.replicas[2].applied);
}

#[test]
fn a_read_asks_a_quorum_since_a_sleeping_leader_has_no_lease() {
    let mut net = sleeping();
    pass(&mut net, 20);
    let now = net.replicas[0].now;
    let lease = net.replicas[0].lease.clone();
    assert!(lease.is_none_or(|lease| lease.until <= now));
    net.read(0, 2);
    assert_eq!(net.answer(2), None);
    net.settle();
    assert!(matches!(net.answer(2), Some(Ok(Reply::ReadReady(_)))));
}

#[test]
fn readers_that_renew_a_lease_keep_the_region_awake() {
    let mut net = Net::new(&options());
    net.elect(0);
    for _ in 0..10 {
        pass(&mut net, HIBERNATE_TICKS - 1);
        net.step(0, Input::RenewLease);
        net.settle();
    }
    assert!(asleep(&net).is_empty());
}

#[test]
fn a_replica_read_wakes_the_follower_and_its_leader() {
    let mut net = sleeping();
    let mut context = net.context(1);
    context.replica_read = true;
    let request = RequestId(2);
    net.step(1, Input::Read { request, context });
    net.settle();
    assert!(matches!(net.answer(2), Some(Ok(Reply::ReadReady(_)))));
    assert!(!asleep(&net).contains(&0) && !asleep(&net).contains(&1));
}

#[test]
fn a_request_at_a_follower_wakes_it_and_its_leader_at_once() {
    let mut net = sleeping();
    net.propose(1, 2);
    assert!(matches!(
        net.answer(2),
        Some(Err(RequestError::NotLeader {
            leader: Some(_),
            ..
        }))
    ));
    net.settle();
    assert_eq!(asleep(&net), [2]);
    pass(&mut net, 3 * HIBERNATE_TICKS);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert!(net.replicas[0].peer.is_leader(), "and deposed nobody");
}

#[test]
fn a_transfer_wakes_the_region_and_the_new_leader_puts_it_to_sleep() {
    let mut net = sleeping();
    let to = net.replicas[1].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.settle();
    assert!(net.replicas[1].peer.is_leader());
    assert!(!asleep(&net).contains(&1));
    pass(&mut net, HIBERNATE_TICKS + 4);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert_eq!(net.slept[&0], Reliance::Leader(store(2)));
}

#[test]
fn a_change_of_membership_wakes_the_region() {
    let mut net = sleeping();
    change(&mut net, 2, AddLearner, 2);
    assert!(asleep(&net).is_empty());
    pass(&mut net, HIBERNATE_TICKS + 6);
    assert_eq!(asleep(&net), [0, 1, 2], "a learner sleeps as well");
}

#[test]
fn followers_without_their_leader_elect_another_one_once_its_store_is_silent() {
    let mut net = sleeping();
    net.cut = vec![0];
    pass(&mut net, 100);
    assert_eq!(asleep(&net), [0, 1, 2], "none of them notices by itself");
    for at in [1, 2] {
        net.step(at, Input::LeaderLost { store: store(1) });
    }
    for _ in 0..25 {
        net.tick(1);
        net.tick(2);
    }
    let mut leaders = (1..3).filter(|at| net.replicas[*at].peer.is_leader());
    let leader = leaders.next().expect("one leads");
    assert_eq!(asleep(&net), [0, 1, 2], "without the old leader");
    let missing = vec![store(1)];
    let all = vec![store(1), store(4 - leader as u64)];
    assert_eq!(net.slept[&leader], Reliance::Followers { all, missing });
    net.cut.clear();
    net.step(leader, Input::Wake);
    pass(&mut net, HIBERNATE_TICKS + 6);
    assert!(!net.replicas[0].peer.is_leader());
    assert_eq!(asleep(&net), [0, 1, 2], "all together again");
}

#[test]
fn a_region_sleeps_without_a_follower_that_is_gone_and_wakes_when_that_is_back() {
    let mut net = Net::new(&options());
    net.elect(0);
    net.cut = vec![2];
    net.propose(0, 1);
    net.settle();
    for _ in 0..3 * HIBERNATE_TICKS {
        net.tick(0);
        net.tick(1);
    }
    assert_eq!(asleep(&net), [0, 1]);
    let all = vec![store(2), store(3)];
    let missing = vec![store(3)];
    assert_eq!(net.slept[&0], Reliance::Followers { all, missing });
    assert!(net.replicas[0].peer.raw.is_resting());
    net.cut.clear();
    net.step(0, Input::Wake);
    pass(&mut net, HIBERNATE_TICKS + 6);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert_eq!(net.replicas[0].applied, net.replicas[2].applied);
}

#[test]
fn a_follower_that_missed_the_request_keeps_everybody_awake_or_wakes_them() {
    let mut net = sleeping();
    // As if it had started again: it is awake, and hears nobody.
    net.step(2, Input::Wake);
    for _ in 0..20 {
        net.tick(2);
    }
    assert!(!asleep(&net).contains(&0), "its question has woken them");
    pass(&mut net, 40);
    assert_eq!(asleep(&net), [0, 1, 2]);
    assert!(net.replicas[0].peer.is_leader(), "and deposed nobody");
}

#[test]
fn a_leader_does_not_sleep_before_a_follower_that_it_hears() {
    let mut net = Net::new(&options());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    net.replicas[2].holds_apply = true;
    net.propose(0, 2);
    net.settle();
    pass(&mut net, 40);
    assert!(!asleep(&net).contains(&0) && !asleep(&net).contains(&2));
    net.release_applier(2);
    pass(&mut net, 40);
    assert_eq!(asleep(&net), [0, 1, 2]);
}

#[test]
fn a_sleeping_leader_reports_when_it_is_checked_and_says_who_is_down() {
    let mut net = sleeping();
    net.reports.clear();
    pass(&mut net, 100);
    assert!(net.reports.is_empty(), "not by itself");
    let down = vec![store(3)];
    net.step(0, Input::Check { down });
    assert_eq!(net.reports.len(), 1);
    let me = net.replicas[2].peer.me().id;
    assert_eq!(net.reports[0].down_peers, [me]);
    net.step(0, Input::Check { down: vec![] });
    assert!(net.reports[1].down_peers.is_empty());
    assert_eq!(asleep(&net), [0, 1, 2]);
}

#[test]
fn a_follower_that_looks_for_its_leader_wakes_nobody_if_that_still_leads() {
    let mut net = sleeping();
    net.step(1, Input::Check { down: vec![] });
    net.settle();
    assert_eq!(asleep(&net), [0, 1, 2]);
}

#[test]
fn a_follower_of_one_who_leads_no_more_finds_out() {
    let mut net = sleeping();
    net.cut = vec![2];
    let to = net.replicas[1].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.settle();
    net.cut.clear();
    assert!(net.replicas[1].peer.is_leader());
    assert!(asleep(&net).contains(&2));
    net.step(2, Input::Check { down: vec![] });
    net.settle();
    assert!(!asleep(&net).contains(&2));
}

#[test]
fn a_sleeping_replica_that_missed_its_removal_learns_it_when_it_looks_for_its_leader() {
    for is_learner in [false, true] {
        let mut net = sleeping();
        if is_learner {
            change(&mut net, 2, AddLearner, 2);
            pass(&mut net, HIBERNATE_TICKS + 6);
        }
        net.cut = vec![2];
        change(&mut net, 3, Remove, 2);
        net.cut.clear();
        assert!(asleep(&net).contains(&2));
        net.step(2, Input::Check { down: vec![] });
        net.settle();
        assert_eq!(net.removed.len(), 1);
        assert_eq!(net.removed[0].1.peer_id, net.replicas[2].peer.me().id);
    }
}

#[test]
fn a_sleeping_replica_whose_leader_is_gone_as_well_wakes_and_learns_it_from_another() {
    let mut net = sleeping();
    net.cut = vec![2];
    change(&mut net, 3, Remove, 2);
    let to = net.replicas[1].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.settle();
    net.cut = vec![0];
    let [leader, me] = [0, 2].map(|at: usize| net.replicas[at].peer.me());
    // As the store answers for a replica that it has no more.
    let region = net.replicas[2].peer.region();
    let place = (region.id, region.epoch);
    let told = RaftMessage::extra(place, leader, me, Extra::WakeUp);
    net.step(2, Input::Message(Box::new(told)));
    for _ in 0..20 {
        net.tick(2);
    }
    assert_eq!(net.removed.len(), 1);
    assert!(net.replicas[1].peer.is_leader(), "nobody was disturbed");
}

#[test]
fn a_request_to_sleep_of_another_leader_or_at_another_index_is_not_heeded() {
    let mut net = Net::new(&options());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    pass(&mut net, 2);
    let [leader, me, other] = [0, 1, 2].map(|at: usize| net.replicas[at].peer.me());
    let index = net.replicas[0].log.last().expect("it has a log").index;
    let region = net.replicas[0].peer.region().clone();
    let mut sleeps_for = |from: types::Peer, index: u64| {
        let extra = Extra::HibernateRequest { index };
        let message = RaftMessage::extra((region.id, region.epoch), from, me, extra);
        net.step(1, Input::Message(Box::new(message)));
        net.replicas[1].peer.is_asleep()
    };
    assert!(!sleeps_for(leader, index - 1));
    assert!(!sleeps_for(leader, index + 1));
    assert!(!sleeps_for(other, index));
    assert!(sleeps_for(leader, index));
}

#[test]
fn a_lone_replica_sleeps_and_the_placement_region_never() {
    for (region, sleeps) in [(REGION, true), (0, false)] {
        let region = first_regions(1, ApiVersion::V1).swap_remove(region);
        let mut net = Net::new(&options());
        net.replicas = vec![Replica::new(&region, region.peers[0], &options())];
        net.step(0, Input::Tick);
        assert!(net.replicas[0].peer.is_leader());
        for _ in 0..3 * HIBERNATE_TICKS {
            net.tick(0);
        }
        assert_eq!(net.replicas[0].peer.is_asleep(), sleeps, "{region:?}");
    }
}
