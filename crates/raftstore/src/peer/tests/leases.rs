//! Leases, promises and reads by replicas that do not lead. Each replica's clock moves when the test
//! ticks it or says so.

use super::*;
use crate::admin::{Cut, PeerChangeKind};
use ::raft::eraftpb::{Message, MessageType};

const SECOND: u64 = 1_000_000_000;

/// A Region led by replica 0, which has applied an entry of its own term. Its clock is at 1000 s.
fn led() -> Net {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.settle();
    net.replicas[0].now = at(1000);
    net
}

fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime(seconds * SECOND)
}

fn lease_end(net: &Net, replica: usize) -> Option<MonotonicTime> {
    net.replicas[replica].lease.as_ref().map(|view| view.until)
}

fn wait(net: &mut Net, replica: usize, seconds: u64) {
    let now = &mut net.replicas[replica].now;
    *now = now.after(Duration::from_secs(seconds));
}

/// Tells readers what they may do now.
fn look(net: &mut Net, replica: usize) {
    net.step(replica, Input::Applied { index: 0 });
}

fn is_ready(answer: Option<Result<Reply, RequestError>>) -> bool {
    matches!(answer, Some(Ok(Reply::ReadReady(_))))
}

fn is_not_leader(answer: Option<Result<Reply, RequestError>>) -> bool {
    matches!(answer, Some(Err(RequestError::NotLeader { .. })))
}

fn replica_read(net: &mut Net, replica: usize, request: u64) {
    let context = RequestContext {
        replica_read: true,
        ..net.context(replica)
    };
    let request = RequestId(request);
    net.step(replica, Input::Read { request, context });
}

/// How many of the messages under way are of this kind and have a context.
fn asking(net: &Net, kind: MessageType) -> usize {
    let asks = |message: &&Message| {
        message.get_msg_type() == kind
            && (kind != MessageType::MsgHeartbeat || !message.context.is_empty())
    };
    let messages = net.wire.iter().map(|message| &message.message);
    messages.filter(asks).count()
}

/// Replica `replica`, started again from its log.
fn restart(net: &mut Net, replica: usize) {
    let old = &net.replicas[replica];
    let mut runs = vec![TermRun {
        index: FIRST_INDEX,
        term: FIRST_INDEX,
    }];
    for entry in &old.log {
        if entry.term != runs[runs.len() - 1].term {
            let (index, term) = (entry.index, entry.term);
            runs.push(TermRun { index, term });
        }
    }
    let applied = old.peer.applied_index();
    let info = LogInfo {
        hard_state: types::HardState {
            term: old.peer.term(),
            vote: PeerId(0),
            commit: applied,
        },
        runs,
        last_index: old.log.last().map_or(FIRST_INDEX, |entry| entry.index),
        tail: old
            .log
            .iter()
            .filter(|entry| entry.index > applied)
            .cloned()
            .collect(),
    };
    let (region, me) = (old.peer.region().clone(), old.peer.me());
    let peer = Peer::new(region, me, info, applied, PeerOptions::default());
    net.replicas[replica].peer = peer.unwrap();
}

/// The effects of an input, by what matters for a lease.
fn order(net: &mut Net, replica: usize, input: Input) -> Vec<&'static str> {
    let mut out = Vec::new();
    let now = net.replicas[replica].now;
    let peer = &mut net.replicas[replica].peer;
    peer.set_now(now);
    peer.step(input, &mut out);
    peer.finish_round(&mut out);
    let name = |effect: &Effect| match effect {
        Effect::Lease(LeaseChange::Granted(_)) => Some("granted"),
        Effect::Lease(LeaseChange::Ended(_)) => Some("ended"),
        Effect::Send(_) => Some("sent"),
        _ => None,
    };
    let mut names: Vec<_> = out.iter().filter_map(name).collect();
    names.dedup();
    net.hear_of_lease(replica, &out);
    out.into_iter()
        .for_each(|effect| net.perform(replica, effect));
    names
}

#[test]
fn a_commit_grants_a_lease_from_the_moment_of_its_proposal() {
    let mut net = led();
    net.propose(0, 1);
    wait(&mut net, 0, 3);
    net.settle();
    assert_eq!(lease_end(&net, 0), Some(at(1009)));
    let view = net.replicas[0].lease.clone().unwrap();
    assert_eq!(view.term, net.replicas[0].peer.term());
    assert!(view.is_meant_by(&net.context(0)));
    assert!(lease_end(&net, 1).is_none() && lease_end(&net, 2).is_none());
}

#[test]
fn a_confirmation_grants_a_lease_from_the_moment_of_its_beginning() {
    let mut net = led();
    net.read(0, 1);
    wait(&mut net, 0, 5);
    net.settle();
    assert!(is_ready(net.answer(1)));
    assert_eq!(lease_end(&net, 0), Some(at(1009)));
}

#[test]
fn an_answer_to_the_repetition_of_a_question_counts_from_the_first_one() {
    let mut net = led();
    net.cut = vec![1, 2];
    net.read(0, 1);
    net.settle();
    net.cut = vec![];
    wait(&mut net, 0, 4);
    for _ in 0..2 {
        net.tick(0);
    }
    assert!(is_ready(net.answer(1)));
    assert_eq!(lease_end(&net, 0), Some(at(1009)));
}

#[test]
fn without_an_applied_entry_of_the_own_term_there_is_no_lease() {
    let mut net = Net::new(&PeerOptions::default());
    net.replicas[0].holds_disk = true;
    for _ in 0..30 {
        net.tick(0);
        let held: Vec<_> = std::mem::take(&mut net.replicas[0].held_writes);
        for write in held {
            let is_vote = write.entries.is_empty();
            match is_vote {
                true => net.persist(0, write),
                false => net.replicas[0].held_writes.push(write),
            }
        }
        net.settle();
    }
    assert!(net.replicas[0].peer.is_leader());
    net.read(0, 1);
    net.settle();
    assert_eq!(net.answer(1), None, "confirmed, and waits for the entry");
    assert_eq!(lease_end(&net, 0), None);
    net.release_disk(0);
    net.settle();
    assert!(is_ready(net.answer(1)));
    assert!(lease_end(&net, 0).is_some());
}

#[test]
fn a_region_that_nobody_reads_sends_nothing_for_its_lease() {
    let mut net = led();
    for _ in 0..100 {
        net.step(0, Input::Tick);
        assert_eq!(asking(&net, MessageType::MsgHeartbeat), 0);
        net.settle();
    }
}

#[test]
fn a_lease_is_renewed_when_a_reader_finds_a_quarter_of_it_left() {
    let mut net = led();
    net.read(0, 1);
    net.settle();
    wait(&mut net, 0, 6);
    net.step(0, Input::RenewLease);
    assert_eq!(asking(&net, MessageType::MsgHeartbeat), 0, "too early");
    wait(&mut net, 0, 1);
    net.step(0, Input::RenewLease);
    net.step(0, Input::RenewLease);
    assert_eq!(asking(&net, MessageType::MsgHeartbeat), 2, "one to each");
    net.settle();
    assert_eq!(lease_end(&net, 0), Some(at(1016)));
}

#[test]
fn readers_hear_of_a_longer_lease_when_half_of_theirs_is_over() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    wait(&mut net, 0, 2);
    net.propose(0, 2);
    net.settle();
    assert_eq!(lease_end(&net, 0), Some(at(1009)));
    wait(&mut net, 0, 3);
    look(&mut net, 0);
    assert_eq!(lease_end(&net, 0), Some(at(1011)));
}

#[test]
fn readers_hear_that_a_lease_has_ended_before_the_answer_leaves_that_ended_it() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    let term = net.replicas[0].peer.term();
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgHeartbeat);
    let peer = |at: usize| net.replicas[at].peer.me();
    (message.from, message.to) = (peer(1).id.get(), peer(0).id.get());
    message.term = term + 1;
    let message = RaftMessage {
        region_id: net.replicas[0].peer.region().id,
        from: peer(1),
        to: peer(0),
        epoch: net.replicas[0].peer.region().epoch,
        range: None,
        is_tombstone: false,
        extra: None,
        merged_into: None,
        message,
    };
    let order = order(&mut net, 0, Input::Message(Box::new(message)));
    assert_eq!(order[0], "ended");
}

#[test]
fn a_transfer_ends_the_lease_before_its_request_leaves_and_for_the_rest_of_the_term() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    let target = net.replicas[1].peer.me().id.get();
    net.replicas[0].peer.raw.transfer_leader(target);
    net.cut = vec![1];
    assert_eq!(order(&mut net, 0, Input::Report), ["ended", "sent"]);
    for _ in 0..12 {
        net.tick(0);
    }
    assert!(
        net.replicas[0].peer.is_leader(),
        "the transfer was given up"
    );
    net.read(0, 2);
    net.settle();
    assert!(is_ready(net.answer(2)));
    assert_eq!(lease_end(&net, 0), None);
}

#[test]
fn a_split_withholds_the_lease_from_before_it_is_sent_until_it_is_applied() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    let before = net.context(0);
    let cut = Cut {
        key: "m".into(),
        region_id: RegionId(50),
        peer_ids: [501, 502, 503].map(PeerId).into(),
    };
    let split = Input::Propose {
        request: RequestId(2),
        context: before.clone(),
        command: Command::Admin(Admin::Split(vec![cut])),
    };
    assert_eq!(order(&mut net, 0, split), ["ended", "sent"]);
    net.read(0, 3);
    net.settle();
    assert!(net.answer(2).unwrap().is_ok());
    let view = net.replicas[0].lease.clone().unwrap();
    assert!(view.is_meant_by(&net.context(0)));
    assert!(!view.is_meant_by(&before), "it is of another shape now");
}

#[test]
fn a_change_of_membership_gives_the_lease_up_until_a_quorum_is_asked_again() {
    let mut net = led();
    let leaver = net.replicas[2].peer.me();
    let change = Input::ChangePeers {
        request: RequestId(1),
        context: net.context(0),
        changes: vec![PeerChange {
            kind: PeerChangeKind::Remove,
            peer_id: leaver.id,
            store_id: leaver.store_id,
        }],
    };
    net.step(0, change);
    net.settle();
    assert!(net.answer(1).unwrap().is_ok());
    assert_eq!(lease_end(&net, 0), None);
    wait(&mut net, 0, 1);
    net.read(0, 2);
    net.settle();
    assert_eq!(lease_end(&net, 0), Some(at(1010)));
}

#[test]
fn who_is_told_to_campaign_keeps_its_promise_to_the_leader_that_it_hears() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    assert!(order(&mut net, 1, Input::Campaign).is_empty());
    wait(&mut net, 1, 10);
    assert_eq!(order(&mut net, 1, Input::Campaign), ["sent"]);
}

#[test]
fn a_lease_that_was_given_up_comes_back_with_what_is_sent_afterwards_only() {
    let mut net = led();
    net.read(0, 1);
    wait(&mut net, 0, 1);
    let now = net.replicas[0].now;
    let peer = &mut net.replicas[0].peer;
    peer.set_now(now);
    peer.give_up_lease();
    net.settle();
    assert!(is_ready(net.answer(1)));
    assert_eq!(lease_end(&net, 0), None);
    wait(&mut net, 0, 1);
    net.read(0, 2);
    net.settle();
    assert_eq!(lease_end(&net, 0), Some(at(1011)));
}

#[test]
fn a_stopped_replica_has_no_lease() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    net.step(0, Input::Stop);
    assert_eq!(lease_end(&net, 0), None);
}

#[test]
fn ticks_in_a_bundle_end_no_promise() {
    let mut net = led();
    net.tick(0);
    net.tick(0);
    for replica in [1, 2] {
        let mut out = Vec::new();
        for _ in 0..30 {
            net.replicas[replica].peer.step(Input::Tick, &mut out);
        }
        net.replicas[replica].peer.finish_round(&mut out);
        out.into_iter()
            .for_each(|effect| net.perform(replica, effect));
    }
    net.settle();
    assert!(net.replicas[0].peer.is_leader());
    for replica in [1, 2] {
        let leader = net.replicas[0].peer.me().id.get();
        let raft = &net.replicas[replica].peer.raw.raft;
        assert_eq!(raft.leader_id, leader, "no campaign has begun");
    }
}

#[test]
fn a_replica_that_forgot_its_promise_in_a_restart_keeps_it_all_the_same() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    let end = lease_end(&net, 0).unwrap();
    // Replica 1 is in the quorum and replica 2 has heard nobody for long.
    net.cut = vec![0];
    wait(&mut net, 2, 60);
    restart(&mut net, 1);
    while net.replicas[0].now < end {
        for replica in [0, 1, 2] {
            net.tick(replica);
        }
        net.tick(2);
        let leads = |replica: usize| net.replicas[replica].peer.is_leader();
        assert!(!leads(1) && !leads(2), "within the lease");
    }
    for _ in 0..60 {
        net.tick(1);
        net.tick(2);
    }
    let leads = |replica: usize| net.replicas[replica].peer.is_leader();
    assert!(leads(1) || leads(2), "promises end");
}

#[test]
fn a_replica_reads_what_its_leader_knows_to_be_committed() {
    let mut net = led();
    net.propose(0, 1);
    net.settle();
    let before = net.replicas[1].applied.len();
    replica_read(&mut net, 1, 2);
    net.settle();
    assert!(is_ready(net.answer(2)));
    assert!(
        net.replicas[1].applied.len() > before,
        "the write comes first"
    );
    assert_eq!(lease_end(&net, 1), None, "that is no lease");
}

/// What the replica shows may be ahead of it: a reader under the leader's lease would go back behind that.
#[test]
fn a_leader_answers_a_replica_only_once_it_has_applied_as_far() {
    let mut net = led();
    net.settle();
    net.replicas[0].holds_apply = true;
    net.propose(0, 1);
    net.settle();
    replica_read(&mut net, 1, 2);
    for _ in 0..5 {
        net.tick(0);
    }
    assert_eq!(net.answer(2), None, "its leader has not applied that");
    net.release_applier(0);
    net.settle();
    assert!(is_ready(net.answer(2)));
}

#[test]
fn a_replica_read_needs_a_leader_and_the_wish() {
    let mut net = led();
    net.read(1, 1);
    assert!(is_not_leader(net.answer(1)));
    let mut net = Net::new(&PeerOptions::default());
    replica_read(&mut net, 1, 1);
    assert!(is_not_leader(net.answer(1)));
}

#[test]
fn a_question_to_the_leader_that_was_lost_is_asked_again() {
    let mut net = led();
    net.settle();
    replica_read(&mut net, 1, 1);
    assert_eq!(asking(&net, MessageType::MsgReadIndex), 1);
    net.wire.clear();
    for tick in 0..4 {
        assert_eq!(net.answer(1), None, "at tick {tick}");
        net.tick(1);
    }
    for _ in 0..2 {
        net.tick(0);
    }
    assert!(is_ready(net.answer(1)));
}

#[test]
fn an_answer_to_an_earlier_life_of_a_replica_confirms_nothing() {
    let mut net = led();
    replica_read(&mut net, 1, 1);
    net.settle();
    for _ in 0..2 {
        net.tick(0);
    }
    assert!(is_ready(net.answer(1)));
    wait(&mut net, 1, 1);
    replica_read(&mut net, 1, 2);
    let question = net.wire.pop_front().unwrap();
    restart(&mut net, 1);
    for _ in 0..2 {
        net.tick(0);
    }
    wait(&mut net, 1, 1);
    replica_read(&mut net, 1, 3);
    replica_read(&mut net, 1, 4);
    net.wire.clear();
    net.wire.push_back(question);
    net.settle();
    assert_eq!(net.answer(3), None, "only the old question was answered");
}

#[test]
fn a_replica_whose_leader_does_not_answer_sends_its_reads_there() {
    let mut net = led();
    replica_read(&mut net, 1, 1);
    net.wire.clear();
    for _ in 0..20 {
        // It hears the leader all the time, and is not heard.
        net.step(0, Input::Tick);
        net.settle();
        net.step(1, Input::Tick);
        net.wire
            .retain(|message| message.from != net.replicas[1].peer.me());
    }
    assert!(is_not_leader(net.answer(1)));
}

#[test]
fn a_deposed_leader_answers_no_replica() {
    let mut net = led();
    net.cut = vec![2];
    for _ in 0..11 {
        net.tick(1);
        net.tick(2);
    }
    net.cut = vec![0];
    net.elect(2);
    net.propose(2, 1);
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN));
    assert!(net.replicas[0].peer.is_leader(), "as it believes");
    net.read(0, 2);
    net.settle();
    assert_eq!(net.answer(2), None);
    assert_eq!(lease_end(&net, 0), None);
}

/// The simulation found it with slow links.
#[test]
fn a_question_that_comes_twice_does_not_have_old_answers_confirm_what_came_between() {
    let mut net = led();
    replica_read(&mut net, 1, 1);
    let question = net.wire.pop_front().expect("it asks its leader");
    net.step(0, Input::Message(question.clone()));
    let asked = std::mem::take(&mut net.wire);
    for message in asked {
        let to = message.to.store_id.get() as usize - 1;
        net.step(to, Input::Message(message));
    }
    let answers: Vec<_> = net.wire.iter().cloned().collect();
    net.settle();
    assert!(is_ready(net.answer(1)));
    let before = lease_end(&net, 0);
    // Now the leader is cut off, and others may elect another one.
    net.cut = vec![1, 2];
    wait(&mut net, 0, 60);
    net.read(0, 2);
    net.step(0, Input::Message(question));
    for answer in answers {
        net.step(0, Input::Message(answer));
    }
    net.settle();
    assert_eq!(net.answer(2), None, "nobody has been asked since it came");
    assert_eq!(lease_end(&net, 0), before);
}
