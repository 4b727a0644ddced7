//! Messages that no correct member sends, and those that prove that a replica has lost a part of its
//! log.

use super::*;
use crate::message::MessageError;
use ::raft::eraftpb::{Entry, Message, MessageType};
use proptest::prelude::*;

fn forged(net: &Net, from: usize, to: usize, message: Message) -> RaftMessage {
    let peer = |at: usize| net.replicas[at].peer.me();
    let region = net.replicas[to].peer.region();
    let mut message = message;
    (message.from, message.to) = (peer(from).id.get(), peer(to).id.get());
    RaftMessage {
        region_id: region.id,
        from: peer(from),
        to: peer(to),
        epoch: region.epoch,
        message,
        ..RaftMessage::default()
    }
}

fn decoded(message: &RaftMessage) -> Result<RaftMessage, MessageError> {
    let envelope = RaftMessage {
        message: Message::default(),
        ..message.clone()
    };
    envelope.decode_body(&message.encode_body().into())
}

fn message(kind: MessageType, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.term = term;
    message
}

fn heartbeat(term: u64, commit: u64) -> Message {
    Message {
        commit,
        ..message(MessageType::MsgHeartbeat, term)
    }
}

/// What follows from a message that replica 1 gets, by name.
fn outcome(net: &mut Net, message: RaftMessage) -> &'static str {
    let mut out = Vec::new();
    let input = Input::Message(Box::new(message));
    net.replicas[1].peer.step(input, &mut out);
    match out.as_slice() {
        [] => "taken",
        [Effect::Refused(_)] => "refused",
        [Effect::Contradiction(_)] => "contradiction",
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_message_for_somebody_else_or_from_a_stranger_is_dropped_and_a_members_epoch_does_not_matter() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let term = net.replicas[0].peer.term();
    let changes: [fn(&mut RaftMessage); 4] = [
        |message| message.region_id = RegionId(99),
        |message| message.to.id = PeerId(99),
        |message| message.from.id = PeerId(99),
        |message| message.from.store_id = StoreId(99),
    ];
    let good = forged(&net, 0, 1, heartbeat(term, 0));
    for change in changes {
        let mut case = good.clone();
        change(&mut case);
        assert_eq!(outcome(&mut net, case.clone()), "refused", "{case:?}");
    }
    let mut ahead = good.clone();
    ahead.epoch.version += 1;
    for case in [good, ahead] {
        assert_eq!(outcome(&mut net, case), "taken");
    }
}

#[test]
fn a_heartbeat_beyond_the_logs_end_proves_that_the_replica_lost_a_part_of_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    let term = net.replicas[0].peer.term();
    let last = FIRST_INDEX + net.replicas[1].log.len() as u64;
    for (term, commit, expected) in [
        (term, last, "taken"),
        (term - 1, last + 1, "taken"),
        (term, last + 1, "contradiction"),
        (term + 1, last + 1, "contradiction"),
    ] {
        let message = forged(&net, 0, 1, heartbeat(term, commit));
        assert_eq!(outcome(&mut net, message), expected, "{term} {commit}");
    }
}

#[test]
fn a_wiped_replica_that_comes_back_is_told_by_its_leaders_heartbeat() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.propose(0, 1);
    net.settle();
    net.replicas[1] = Net::new(&PeerOptions::default()).replicas.swap_remove(1);
    net.tick(0);
    net.tick(0);
    assert_eq!(net.contradictions.len(), 1);
    let text = net.contradictions[0].to_string();
    assert!(text.contains("leave this node down"), "{text}");
}

#[test]
fn a_vote_counts_only_where_it_was_asked_for() {
    let mut net = Net::new(&PeerOptions::default());
    net.replicas[1].holds_disk = true;
    let timeout = message(MessageType::MsgTimeoutNow, FIRST_INDEX);
    let timeout = forged(&net, 0, 1, timeout);
    net.step(1, Input::Message(Box::new(timeout)));
    let term = net.replicas[1].peer.term();
    let vote = message(MessageType::MsgRequestVoteResponse, term);
    let vote = forged(&net, 0, 1, vote);
    assert_eq!(outcome(&mut net, vote.clone()), "refused");
    net.release_disk(1);
    assert_eq!(outcome(&mut net, vote), "taken");
    assert!(net.replicas[1].peer.is_leader());
}

#[test]
fn a_leader_hears_of_no_second_leader_and_of_nothing_that_it_does_not_have() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(1);
    net.settle();
    let term = net.replicas[1].peer.term();
    let last = FIRST_INDEX + net.replicas[1].log.len() as u64;
    let acknowledged = |index| Message {
        index,
        ..message(MessageType::MsgAppendResponse, term)
    };
    for (message, expected) in [
        (acknowledged(last), "taken"),
        (acknowledged(last + 1), "refused"),
        (heartbeat(term, last), "refused"),
    ] {
        let message = forged(&net, 0, 1, message);
        assert_eq!(outcome(&mut net, message.clone()), expected, "{message:?}");
    }
}

/// What can happen in a cluster that somebody speaks nonsense to.
#[derive(Clone, Debug)]
enum Event {
    Forged(usize, usize, Message),
    Tick(usize),
    Propose(usize),
    Settle,
    HoldDisk(usize),
    ReleaseDisk(usize),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..16, 1 => Just(u64::MAX / 4), 1 => any::<u64>()]
}

fn entries() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0u64..2, 0u64..16), 0..4)
}

prop_compose! {
    fn any_message()(
        kind in 0usize..19,
        numbers in proptest::array::uniform7(number()),
        entries in entries(),
        reject: bool,
        context in prop_oneof![Just(&b""[..]), Just(&b"CampaignTransfer"[..]), Just(&[0, 0, 0, 0, 0, 0, 0, 1][..])],
    ) -> Message {
        let mut message = Message::default();
        message.set_msg_type(protobuf::ProtobufEnum::values()[kind]);
        [
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.reject_hint,
            message.deprecated_priority,
        ] = numbers;
        message.reject = reject;
        message.context = Bytes::from_static(context);
        let mut index = message.index;
        for (gap, term) in entries {
            // Mostly contiguous, or nothing would pass.
            index = index.wrapping_add(1 + gap / 2);
            let mut entry = Entry::default();
            (entry.index, entry.term) = (index, term);
            message.mut_entries().push(entry);
        }
        message
    }
}

fn event() -> impl Strategy<Value = Event> {
    let at = || 0usize..3;
    prop_oneof![
        10 => (at(), 1usize..3, any_message())
            .prop_map(|(from, step, message)| Event::Forged(from, (from + step) % 3, message)),
        4 => at().prop_map(Event::Tick),
        2 => at().prop_map(Event::Propose),
        2 => Just(Event::Settle),
        1 => at().prop_map(Event::HoldDisk),
        1 => at().prop_map(Event::ReleaseDisk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_message_that_decodes_makes_a_replica_panic(
        leader in 0usize..4,
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut net = Net::new(&PeerOptions::default());
        if leader < 3 {
            net.elect(leader);
            net.propose(leader, 1);
            net.settle();
        }
        for (request, event) in (2..).zip(events) {
            match event {
                Event::Forged(from, to, mut message) => {
                    if message.get_msg_type() == MessageType::MsgSnapshot {
                        net.forge_snapshot(from, to, &mut message);
                    }
                    if let Ok(message) = decoded(&forged(&net, from, to, message)) {
                        net.step(to, Input::Message(Box::new(message)));
                    }
                }
                Event::Tick(at) => net.tick(at),
                Event::Propose(at) => net.propose(at, request),
                Event::Settle => net.settle(),
                Event::HoldDisk(at) => net.replicas[at].holds_disk = true,
                Event::ReleaseDisk(at) => net.release_disk(at),
            }
        }
    }
}
