//! Merges of Regions whose replicas are compared, or one of which is quarantined.

use super::*;
use crate::op::consistency::Hash;
use types::keys;

fn of(pair: &Net, at: usize) -> Quarantine {
    Quarantine {
        peer_id: pair.replicas[at].peer.me().id,
        index: 7,
        found: Hash(8),
        agreed: Hash(9),
    }
}

/// A replica is as one that was quarantined in an earlier life: its leader has yet to be told.
fn quarantine(net: &mut Net, at: usize) {
    let quarantine = of(net, at);
    net.replicas[at].peer.set_quarantine(quarantine);
    net.replicas[at].applier.set_quarantine(quarantine);
}

fn check(net: &mut Net, request: u64) {
    let (request, context) = (RequestId(request), net.context(0));
    net.step(0, Input::CheckConsistency { request, context });
}

#[test]
fn the_target_beside_a_quarantined_replica_of_the_source_is_quarantined_by_the_commit() {
    let mut pair = Pair::new();
    quarantine(&mut pair.source, 2);
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    assert!(pair.source.replicas[2].peer.is_stopped());
    let expected = Quarantine {
        peer_id: pair.target.replicas[2].peer.me().id,
        ..of(&pair.source, 2)
    };
    assert_eq!(pair.target.quarantines, [(2, RegionId(6), expected)]);
    let key = (Cf::Raft, keys::quarantine_key(RegionId(6)).to_vec());
    let record = |at: usize| pair.target.replicas[at].map.0.get(&key).cloned();
    assert_eq!(Quarantine::decode(record(2).unwrap()), Ok(expected));
    assert_eq!([record(0), record(1)], [None, None]);

    let context = RequestContext {
        replica_read: true,
        ..pair.target.context(2)
    };
    let request = RequestId(7);
    pair.target.step(2, Input::Read { request, context });
    assert!(matches!(
        pair.target.answer(7),
        Some(Err(RequestError::Quarantined { .. }))
    ));
    for _ in 0..20 {
        pair.target.tick(2);
    }
    let told = pair.target.reports.last().expect("placement hears of it");
    assert_eq!(told.quarantined_peers, [expected.peer_id]);
}

#[test]
fn a_target_that_is_quarantined_stays_so_for_its_own_reason() {
    let mut pair = Pair::new();
    quarantine(&mut pair.source, 2);
    quarantine(&mut pair.target, 2);
    let own = Quarantine {
        index: 3,
        ..of(&pair.target, 2)
    };
    pair.target.replicas[2].peer.set_quarantine(own);
    pair.target.replicas[2].applier.set_quarantine(own);
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    let target = &pair.target.replicas[2].peer;
    assert_eq!(target.region().range, KeyRange::default());
    assert_eq!(target.quarantine(), Some(own));
    assert!(pair.target.quarantines.is_empty(), "that is no news");
}

#[test]
fn a_region_that_is_being_compared_or_has_a_quarantined_replica_begins_no_merge() {
    let mut pair = Pair::new();
    pair.source.replicas[2].holds_hash = true;
    check(&mut pair.source, 90);
    pair.settle();
    let refused = |pair: &mut Pair| {
        pair.source.answers.clear();
        pair.merge();
        matches!(
            pair.source.answer(1),
            Some(Err(RequestError::InvalidChange { .. }))
        )
    };
    assert!(refused(&mut pair), "it is being compared");
    pair.source.replicas[2].holds_hash = false;
    pair.source.hash(2);
    pair.settle();
    quarantine(&mut pair.source, 2);
    for _ in 0..20 {
        pair.source.tick(2);
    }
    assert!(refused(&mut pair), "its leader has heard of it");
    assert!(pair.source.replicas[0].peer.merging().is_none());
}

#[test]
fn a_check_behind_the_entry_that_begins_a_merge_comes_to_nothing() {
    let mut pair = Pair::new();
    pair.source.cut = vec![1, 2];
    pair.source.step(0, prepare(&pair));
    check(&mut pair.source, 90);
    pair.settle();
    assert_eq!(pair.source.answer(90), None);
    pair.source.cut = vec![];
    for _ in 0..6 {
        pair.tick();
    }
    assert!(matches!(
        pair.source.answer(90),
        Some(Err(RequestError::RegionNotFound { .. }))
    ));
    assert!(pair.source.replicas[0].peer.is_stopped(), "they merge");
    assert!(pair.target.quarantines.is_empty());
}
