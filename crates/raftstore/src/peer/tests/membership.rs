//! Replicas that come and go, and a leadership that is handed over.

use super::*;
use crate::admin::PeerChangeKind::{self, *};
use ::raft::eraftpb::{Message, MessageType};
use types::{PeerRole, StoreId};

fn id(net: &Net, at: usize) -> PeerId {
    net.replicas[at].peer.me().id
}

fn change(net: &Net, kind: PeerChangeKind, at: usize) -> PeerChange {
    PeerChange {
        kind,
        peer_id: id(net, at),
        store_id: net.replicas[at].peer.me().store_id,
    }
}

/// A Peer on a store that has no replica yet.
fn newcomer(kind: PeerChangeKind) -> PeerChange {
    PeerChange {
        kind,
        peer_id: PeerId(77),
        store_id: StoreId(4),
    }
}

fn ask(net: &mut Net, request: u64, changes: Vec<PeerChange>) {
    let input = Input::ChangePeers {
        request: RequestId(request),
        context: net.context(0),
        changes,
    };
    net.step(0, input);
    net.settle();
    net.tick(0);
    net.tick(0);
    net.settle();
}

fn roles(net: &Net, at: usize) -> Vec<PeerRole> {
    let peers = &net.replicas[at].peer.region().peers;
    peers.iter().map(|peer| peer.role).collect()
}

fn is_invalid(answer: Option<Result<Reply, RequestError>>) -> bool {
    matches!(answer, Some(Err(RequestError::InvalidChange { .. })))
}

#[test]
fn a_learner_joins_and_its_store_hears_from_the_leader() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    ask(&mut net, 1, vec![newcomer(AddLearner)]);
    assert!(matches!(
        net.answer(1),
        Some(Ok(Reply::Command(crate::Outcome::Changed(_))))
    ));
    for at in 0..3 {
        assert_eq!(roles(&net, at)[3], PeerRole::Learner);
        assert_eq!(net.replicas[at].peer.region().epoch.conf_ver, 2);
    }
    let creates = |message: &RaftMessage| message.may_create() && message.range.is_some();
    assert!(net.strays.iter().any(creates));
    let report = net.reports.last().unwrap();
    assert_eq!(report.pending_peers, [PeerId(77)], "it has no log yet");
}

#[test]
fn a_removed_replica_hears_of_it_goes_and_is_not_missed() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let gone = vec![change(&net, Remove, 2)];
    ask(&mut net, 1, gone);
    assert_eq!(net.removed.len(), 1);
    let (at, removed) = &net.removed[0];
    assert_eq!((*at, removed.peer_id), (2, id(&net, 2)));
    assert_eq!(removed.epoch.conf_ver, 2);
    assert!(net.replicas[2].peer.is_stopped());
    net.cut = vec![2];
    net.propose(0, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
}

#[test]
fn a_replica_that_leaves_waits_for_its_end_and_not_to_come_further() {
    let options = PeerOptions {
        cache_bytes_max: 0,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    net.replicas[2].holds_apply = true;
    let gone = vec![change(&net, Remove, 2)];
    ask(&mut net, 1, gone);
    assert_eq!(net.removed.len(), 1);
    let peer = &net.replicas[2].peer;
    assert!(
        peer.cached_bytes() > options.cache_bytes_max,
        "a member would wait"
    );
    assert!(!peer.awaits_applied());
}

#[test]
fn a_replica_that_missed_its_removal_learns_it_at_its_next_campaign() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![2];
    let gone = vec![change(&net, Remove, 2)];
    ask(&mut net, 1, gone);
    assert!(net.removed.is_empty());
    net.cut = vec![];
    for _ in 0..40 {
        net.tick(2);
        if net.replicas[2].peer.is_stopped() {
            break;
        }
    }
    assert_eq!(net.removed.len(), 1);
    assert!(net.replicas[0].peer.is_leader(), "nobody was disturbed");
    net.propose(2, 9);
    assert!(matches!(
        net.answer(9),
        Some(Err(RequestError::RegionNotFound { .. }))
    ));
}

#[test]
fn a_learner_that_missed_its_removal_asks_once_it_hears_of_no_leader() {
    let options = PeerOptions {
        stale_check_ticks: 30,
        hibernate_ticks: 0,
        ..PeerOptions::default()
    };
    let mut net = Net::new(&options);
    net.elect(0);
    let demoted = vec![change(&net, AddLearner, 2)];
    ask(&mut net, 1, demoted);
    for _ in 0..60 {
        net.tick(0);
        net.tick(2);
    }
    assert!(
        net.removed.is_empty(),
        "it is a member, and hears of its leader"
    );
    net.cut = vec![2];
    let gone = vec![change(&net, Remove, 2)];
    ask(&mut net, 2, gone);
    net.cut = vec![];
    for _ in 0..31 {
        net.tick(2);
    }
    assert_eq!(net.removed.len(), 1);
    assert!(net.replicas[0].peer.is_leader(), "nobody was disturbed");
}

/// The uninitialised replica of a Peer that has joined, beside the members.
fn join_uninitialized(net: &mut Net, options: &PeerOptions) -> usize {
    ask(net, 1, vec![newcomer(AddLearner)]);
    let region = net.replicas[0].peer.region();
    let me = *region.peer(PeerId(77)).unwrap();
    let replica = Replica::uninitialized(region.id, me, options);
    net.replicas.push(replica);
    net.replicas.len() - 1
}

#[test]
fn an_uninitialised_replica_speaks_in_the_epoch_that_it_was_told() {
    let options = PeerOptions::default();
    let mut net = Net::new(&options);
    net.elect(0);
    // A member that has yet to apply the change.
    net.replicas[1].holds_apply = true;
    let at = join_uninitialized(&mut net, &options);
    let heartbeat = net.strays.iter().find(|message| message.may_create());
    let heartbeat = heartbeat.unwrap().clone();
    net.step(at, Input::Message(Box::new(heartbeat)));
    let answer = net.wire.pop_back().expect("it answers its leader");
    assert_eq!(answer.epoch.conf_ver, 2);
    let misled = RaftMessage {
        to: net.replicas[1].peer.me(),
        message: Message {
            to: id(&net, 1).get(),
            ..answer.message.clone()
        },
        ..*answer
    };
    assert_eq!(net.replicas[1].peer.region().epoch.conf_ver, 1);
    net.step(1, Input::Message(Box::new(misled)));
    assert!(
        net.wire.iter().all(|message| !message.is_tombstone),
        "no farewell"
    );
}

#[test]
fn an_uninitialised_replica_votes() {
    let options = PeerOptions::default();
    let mut net = Net::new(&options);
    net.elect(0);
    let at = join_uninitialized(&mut net, &options);
    let (from, to) = (net.replicas[1].peer.me(), net.replicas[at].peer.me());
    let mut question = Message::default();
    question.set_msg_type(MessageType::MsgRequestVote);
    (question.from, question.to) = (from.id.get(), to.id.get());
    (question.term, question.index, question.log_term) = (9, 6, 6);
    let question = RaftMessage {
        region_id: net.replicas[1].peer.region().id,
        from,
        to,
        epoch: net.replicas[1].peer.region().epoch,
        message: question,
        ..RaftMessage::default()
    };
    net.step(at, Input::Message(Box::new(question)));
    let answer = &net.wire.back().expect("it answers").message;
    assert_eq!(answer.get_msg_type(), MessageType::MsgRequestVoteResponse);
    assert!(!answer.reject);
}

#[test]
fn a_message_for_a_later_replica_on_its_store_tells_a_replica_that_it_was_removed() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.cut = vec![2];
    let gone = vec![change(&net, Remove, 2)];
    ask(&mut net, 1, gone);
    let back = PeerChange {
        store_id: StoreId(3),
        ..newcomer(AddLearner)
    };
    ask(&mut net, 2, vec![back]);
    net.cut = vec![];
    net.tick(0);
    net.tick(0);
    net.settle();
    assert_eq!(net.removed.len(), 1);
    assert_eq!(net.removed[0].1.epoch.conf_ver, 3);
}

#[test]
fn several_changes_enter_a_joint_configuration_and_the_leader_leaves_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let changes = vec![newcomer(AddVoter), change(&net, AddLearner, 2)];
    ask(&mut net, 1, changes);
    assert!(net.answer(1).unwrap().is_ok());
    for at in 0..3 {
        use PeerRole::*;
        assert_eq!(roles(&net, at), [Voter, Voter, Learner, Voter]);
        assert_eq!(net.replicas[at].peer.region().epoch.conf_ver, 5);
    }
    net.propose(0, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
}

#[test]
fn a_voter_on_its_way_out_that_wins_an_election_gives_way_to_one_that_stays() {
    use PeerRole::*;
    let mut region = Net::new(&PeerOptions::default()).replicas[0]
        .peer
        .region()
        .clone();
    for (peer, role) in region.peers.iter_mut().zip([DemotingVoter, Voter, Voter]) {
        peer.role = role;
    }
    let mut net = Net::of(region, &PeerOptions::default());
    // Nobody but the first one campaigns by himself.
    for _ in 0..40 {
        net.tick(0);
    }
    assert!(!net.replicas[0].peer.is_leader());
    assert!((1..3).any(|at| net.replicas[at].peer.is_leader()));
    (0..3).for_each(|at| net.tick(at));
    for at in 0..3 {
        assert_eq!(roles(&net, at), [Learner, Voter, Voter]);
    }
}

#[test]
fn a_leader_that_was_elected_with_its_removal_in_its_log_leads_nobody_once_it_goes() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let removal = Input::ChangePeers {
        request: RequestId(1),
        context: net.context(0),
        changes: vec![change(&net, Remove, 1)],
    };
    net.step(0, removal);
    for message in std::mem::take(&mut net.wire) {
        let to = message.to.store_id.get() as usize - 1;
        net.step(to, Input::Message(message));
    }
    // Nobody hears that they have it.
    net.wire.clear();
    net.cut = vec![0];
    for _ in 0..60 {
        net.tick(2);
        net.tick(1);
        if !net.removed.is_empty() {
            break;
        }
    }
    assert_eq!(net.removed.len(), 1);
    assert!(net.replicas[1].peer.is_stopped());
    assert!(!net.replicas[1].leads, "its store has heard of it");
}

#[test]
fn a_change_that_would_cost_the_leader_or_the_log_is_refused() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    for (request, changes) in [
        (1, vec![change(&net, Remove, 0)]),
        (2, vec![change(&net, AddLearner, 0)]),
        (
            3,
            vec![
                change(&net, AddLearner, 1),
                change(&net, AddLearner, 2),
                newcomer(AddVoter),
            ],
        ),
        (4, vec![newcomer(Remove)]),
    ] {
        ask(&mut net, request, changes);
        assert!(
            is_invalid(net.answer(request)),
            "{request}: {:?}",
            net.answer(request)
        );
    }
    assert_eq!(net.replicas[0].peer.region().epoch.conf_ver, 1);
}

#[test]
fn one_change_at_a_time() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    for request in [1, 2] {
        let input = Input::ChangePeers {
            request: RequestId(request),
            context: net.context(0),
            changes: vec![newcomer(AddLearner)],
        };
        net.step(0, input);
    }
    net.settle();
    assert!(net.answer(1).unwrap().is_ok());
    assert!(matches!(
        net.answer(2),
        Some(Err(RequestError::ServerIsBusy { .. }))
    ));
}

#[test]
fn leadership_is_handed_to_a_voter_and_writes_go_on_there() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    let to = id(&net, 1);
    net.step(0, Input::TransferLeader { to });
    net.settle();
    assert!(net.replicas[1].peer.is_leader());
    assert_eq!(net.answer(1), Some(WRITTEN));
    net.propose(1, 2);
    net.settle();
    assert_eq!(net.answer(2), Some(WRITTEN));
}

#[test]
fn a_leader_that_hands_over_sends_writers_to_nobody_rather_than_back_to_itself() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let to = id(&net, 1);
    net.step(0, Input::TransferLeader { to });
    net.propose(0, 1);
    let refused = net.answer(1);
    assert!(
        matches!(
            refused,
            Some(Err(RequestError::NotLeader { leader: None, .. }))
        ),
        "{refused:?}"
    );
}

#[test]
fn a_transfer_to_nobody_that_can_lead_changes_nothing() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    for to in [PeerId(99), id(&net, 0)] {
        net.step(0, Input::TransferLeader { to });
        net.settle();
    }
    net.propose(0, 1);
    net.settle();
    assert_eq!(net.answer(1), Some(WRITTEN));
}
