//! When a replica asks for votes.

use super::*;
use ::raft::eraftpb::MessageType;

#[test]
fn election_timeouts_come_from_the_seed() {
    let ticks = |seed| {
        let mut net = Net::new(&PeerOptions {
            seed,
            ..PeerOptions::default()
        });
        let mut ticks = 0;
        while !net.replicas[0].peer.is_leader() {
            net.tick(0);
            ticks += 1;
        }
        ticks
    };
    let all: Vec<_> = (0..20).map(ticks).collect();
    assert_eq!(all, (0..20).map(ticks).collect::<Vec<_>>());
    assert!(
        all.iter().any(|ticks| *ticks != all[0]),
        "and differ between seeds"
    );
}

/// All replicas were stopped in a term in which they voted for that one.
fn restarted(led: usize, options: &PeerOptions) -> Net {
    let mut net = Net::new(options);
    let region = net.replicas[0].peer.region().clone();
    let log = LogInfo {
        hard_state: types::HardState {
            term: 6,
            vote: region.peers[led].id,
            ..first_hard_state()
        },
        ..first_log()
    };
    for (replica, me) in net.replicas.iter_mut().zip(&region.peers) {
        *replica = Replica::with(&region, *me, log.clone(), first_apply_state(), options);
    }
    net
}

#[test]
fn after_a_start_whoever_led_before_asks_first() {
    let options = PeerOptions::default();
    let range = options.election_ticks_max - options.election_ticks_min;
    for led in 0..3 {
        let mut net = restarted(led, &options);
        let mut ticks = 0;
        while !net.replicas.iter().any(|replica| replica.peer.is_leader()) {
            for at in 0..3 {
                net.tick(at);
            }
            ticks += 1;
        }
        assert!(net.replicas[led].peer.is_leader(), "{led}");
        assert!(ticks <= options.election_ticks_min + range / 3, "{ticks}");
    }
}

#[test]
fn after_a_start_whoever_led_before_asks_once_in_a_tick_and_others_once() {
    let options = PeerOptions::default();
    let asked = |at: usize| {
        let mut peer = restarted(0, &options).replicas.swap_remove(at).peer;
        let mut now = MonotonicTime::default();
        let mut tick = || {
            let mut out = Vec::new();
            now = now.after(options.tick);
            peer.set_now(now);
            peer.step(Input::Tick, &mut out);
            peer.finish_round(&mut out);
            let kind = MessageType::MsgRequestPreVote;
            let asks = |effect: &&Effect| matches!(effect, Effect::Send(message) if message.message.get_msg_type() == kind);
            out.iter().filter(asks).count()
        };
        (0..options.election_ticks_max)
            .map(|_| tick())
            .collect::<Vec<_>>()
    };
    let first = asked(0);
    let begun = first.iter().position(|asked| *asked > 0).unwrap();
    assert!(first[begun..].iter().all(|asked| *asked == 2), "{first:?}");
    assert_eq!(asked(1).iter().sum::<usize>(), 2);
}

#[test]
fn a_new_replica_whose_question_is_lost_asks_again_with_the_next_tick() {
    let mut net = Net::new(&PeerOptions::default());
    net.cut = vec![0];
    net.step(0, Input::Campaign);
    net.tick(0);
    assert!(!net.replicas[0].peer.is_leader());
    net.cut.clear();
    let term = net.replicas[0].peer.term();
    net.tick(0);
    assert!(net.replicas[0].peer.is_leader());
    assert_eq!(
        net.replicas[0].peer.term(),
        term + 1,
        "asking costs no term"
    );
}
