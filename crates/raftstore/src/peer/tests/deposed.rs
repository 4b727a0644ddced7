//! What becomes of proposals whose leader was deposed.

use super::*;

#[test]
fn a_deposed_leaders_proposals_are_answered_when_a_later_term_commits() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![0];
    net.propose(0, 1);
    net.settle();
    for _ in 0..10 {
        // Past the time in which a follower of a live leader gives no vote.
        net.tick(2);
    }
    net.elect(1);
    net.propose(1, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
    assert_eq!(net.answer(1), None);
    net.cut = vec![];
    for _ in 0..4 {
        net.tick(1);
    }
    assert_eq!(net.answer(1), Some(Err(RequestError::StaleCommand)));
}

#[test]
fn a_cut_off_leaders_proposals_are_answered_an_election_timeout_after_it_stepped_down() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![0];
    net.propose(0, 1);
    while net.replicas[0].peer.is_leader() {
        net.tick(0);
    }
    assert_eq!(net.answer(1), None, "it may be elected again");
    for _ in 0..20 {
        net.tick(0);
    }
    assert_eq!(net.answer(1), Some(Err(RequestError::Undetermined)));
    net.cut = vec![];
    for _ in 0..10 {
        // Past the time in which a follower of a live leader gives no vote.
        net.tick(2);
    }
    net.elect(0);
    net.settle();
    let applied = &net.replicas[0].applied;
    assert!(
        applied.iter().any(|entry| !entry.data.is_empty()),
        "after all"
    );
}

#[test]
fn a_deposed_leader_that_is_slow_to_apply_waits_for_the_fate_of_its_proposals() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[0].holds_apply = true;
    net.propose(0, 1);
    net.settle();
    let to = net.replicas[1].peer.me().id;
    net.step(0, Input::TransferLeader { to });
    net.settle();
    assert!(net.replicas[1].peer.is_leader());
    for _ in 0..40 {
        net.tick(0);
        net.tick(1);
    }
    assert_eq!(net.answer(1), None, "it has not failed");
    net.release_applier(0);
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN));
}

#[test]
fn a_leader_deposed_within_a_round_refuses_the_proposals_of_that_round() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![0];
    for _ in 0..10 {
        net.tick(2);
    }
    net.elect(1);
    net.cut = vec![];
    net.step(1, Input::Tick);
    net.step(1, Input::Tick);
    let of_new_leader = net
        .wire
        .iter()
        .find(|message| message.to == net.replicas[0].peer.me());
    let deposing = Input::Message(of_new_leader.unwrap().clone());
    let mut out = Vec::new();
    let propose = Input::Propose {
        request: RequestId(1),
        context: net.context(0),
        command: Command::Write(vec![]),
    };
    net.replicas[0].peer.step(propose, &mut out);
    net.replicas[0].peer.step(deposing, &mut out);
    net.replicas[0].peer.finish_round(&mut out);
    out.into_iter().for_each(|effect| net.perform(0, effect));
    assert!(matches!(
        net.answer(1),
        Some(Err(RequestError::NotLeader { .. }))
    ));
}
