//! A Region that is cut while it serves.

use super::*;
use crate::admin::Cut;

fn cut(key: &'static str, region: u64) -> Cut {
    Cut {
        key: key.into(),
        region_id: RegionId(region),
        peer_ids: [1, 2, 3].map(|id| PeerId(region * 10 + id)).into(),
    }
}

fn split(net: &mut Net, request: u64, key: &'static str) {
    let input = Input::Propose {
        request: RequestId(request),
        context: net.context(0),
        command: Command::Admin(Admin::Split(vec![cut(key, request + 50)])),
    };
    net.step(0, input);
}

fn tick_twice(net: &mut Net) {
    net.tick(0);
    net.tick(0);
    net.settle();
}

#[test]
fn every_replica_takes_the_new_shape_and_tells_its_store_and_the_leader_says_that_it_led() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    split(&mut net, 1, "m");
    net.settle();
    tick_twice(&mut net);
    let Some(Ok(Reply::Command(crate::Outcome::Split(parts)))) = net.answer(1) else {
        panic!("unexpected {:?}", net.answer(1));
    };
    assert_eq!(parts.len(), 2);
    for replica in &net.replicas {
        assert_eq!(replica.peer.region(), &parts[1]);
        assert_eq!(replica.applier.region(), &parts[1]);
    }
    let mut told: Vec<_> = net.splits.iter().map(|(at, _)| *at).collect();
    told.sort();
    assert_eq!(told, [0, 1, 2]);
    for (at, split) in &net.splits {
        assert_eq!(split.was_led_here, *at == 0);
        assert_eq!(split.parts, parts);
    }
    let report = net.reports.last().unwrap();
    assert_eq!(report.region, parts[1], "placement hears of it at once");
}

#[test]
fn what_was_asked_in_the_old_shape_is_refused_with_the_new_one() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let old = net.context(0);
    split(&mut net, 1, "m");
    // Behind the split in the log, and checked before it was applied.
    net.propose(0, 2);
    split(&mut net, 3, "p");
    net.settle();
    net.propose_as(0, 4, old);
    for request in [2, 3, 4] {
        assert!(
            matches!(
                net.answer(request),
                Some(Err(RequestError::EpochNotMatch { .. }))
            ),
            "{request}: {:?}",
            net.answer(request)
        );
    }
    assert_eq!(net.replicas[0].peer.region().epoch.version, 2);
}

#[test]
fn a_replica_that_leaves_behind_a_split_still_tells_its_store_of_what_was_cut_off() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    net.replicas[2].holds_apply = true;
    split(&mut net, 1, "m");
    net.settle();
    tick_twice(&mut net);
    assert!(net.splits.iter().all(|(at, _)| *at != 2));
    let (leader, me) = (net.replicas[0].peer.me(), net.replicas[2].peer.me());
    let epoch = Epoch {
        conf_ver: 2,
        version: 2,
    };
    let region = net.replicas[0].peer.region().id;
    let farewell = RaftMessage::farewell(region, leader, me, epoch);
    net.step(2, Input::Message(Box::new(farewell)));
    assert_eq!(net.removed.len(), 1);
    let told = net.splits.iter().find(|(at, _)| *at == 2);
    let (_, split) = told.expect("it was told");
    assert_eq!(split.parts.len(), 2);
    assert!(!split.was_led_here);
}

#[test]
fn a_read_behind_a_split_sees_the_new_shape() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    split(&mut net, 1, "m");
    net.read(0, 2);
    net.settle();
    let Some(Ok(Reply::ReadReady(region))) = net.answer(2) else {
        panic!("unexpected {:?}", net.answer(2));
    };
    assert_eq!(region.range.start, b"m");
}

#[test]
fn a_cut_outside_of_the_region_is_refused_before_the_log_sees_it() {
    let mut net = Net::new(&PeerOptions::default());
    net.elect(0);
    let before = net.replicas[0].log.len();
    split(&mut net, 1, "");
    assert!(matches!(
        net.answer(1),
        Some(Err(RequestError::InvalidChange { .. }))
    ));
    assert_eq!(net.replicas[0].log.len(), before);
}
