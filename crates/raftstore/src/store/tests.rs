//! What a store makes of messages, splits and removals.

use super::*;
use raft::eraftpb::MessageType;
use types::Epoch;

fn region(id: u64, start: &str, end: &str) -> Region {
    let peers = 1..=3;
    Region {
        id: RegionId(id),
        range: KeyRange {
            start: start.into(),
            end: end.into(),
        },
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        peers: peers.map(|store| peer(id, store)).collect(),
    }
}

fn peer(region: u64, store: u64) -> Peer {
    Peer {
        id: PeerId(region * 10 + store),
        store_id: StoreId(store),
        ..Peer::default()
    }
}

/// A candidate's question to the replica on store 1.
fn question(region: &Region, to: Peer) -> Box<RaftMessage> {
    let mut message = RaftMessage {
        region_id: region.id,
        from: peer(region.id.get(), 2),
        to,
        epoch: region.epoch,
        range: Some(region.range.clone()),
        ..RaftMessage::default()
    };
    message.message.set_msg_type(MessageType::MsgRequestPreVote);
    Box::new(message)
}

fn store(regions: Vec<Region>) -> Store {
    Store::new(StoreId(1), regions, BTreeMap::new(), 3)
}

fn created(store: &mut Store, input: Input) -> Vec<Create> {
    let mut out = Vec::new();
    store.step(input, &mut out);
    let creation = |effect| match effect {
        Effect::Create(create) => create,
        other => panic!("unexpected {other:?}"),
    };
    out.into_iter().map(creation).collect()
}

fn leadership(region: u64, is_self: bool) -> Input {
    Input::Leadership(Leadership {
        region_id: RegionId(region),
        leader: None,
        is_self,
        term: 6,
        epoch: Epoch::default(),
    })
}

#[test]
fn every_tick_reaches_all_replicas_and_every_third_reports() {
    let mut store = store(vec![region(2, "", "")]);
    let mut reports = 0;
    for _ in 0..6 {
        let mut out = Vec::new();
        store.step(Input::Tick, &mut out);
        assert_eq!(out[0], Effect::TickAll);
        reports += out.len() - 1;
    }
    assert_eq!(reports, 2);
}

#[test]
fn without_an_interval_every_tick_reports() {
    let mut store = Store::new(StoreId(1), vec![], BTreeMap::new(), 0);
    let mut out = Vec::new();
    store.step(Input::Tick, &mut out);
    store.step(Input::Tick, &mut out);
    assert_eq!(out.len(), 4);
}

#[test]
fn the_summary_counts_leaders_of_known_regions() {
    let mut store = store(vec![region(2, "", "")]);
    let mut out = Vec::new();
    store.step(leadership(2, true), &mut out);
    store.step(leadership(9, true), &mut out);
    assert_eq!(store.summary().leaders, 1);
    store.step(leadership(2, false), &mut out);
    assert_eq!(store.summary().leaders, 0);
}

#[test]
fn a_question_creates_a_replica_that_knows_nothing_and_hears_the_question() {
    let mut store = store(vec![region(2, "", "m")]);
    let asked = question(&region(3, "m", ""), peer(3, 1));
    let created = created(&mut store, Input::Stray(asked.clone()));
    assert_eq!(created.len(), 1);
    assert_eq!(
        (created[0].region.id, created[0].me),
        (RegionId(3), peer(3, 1))
    );
    assert!(created[0].region.peers.is_empty());
    assert_eq!(created[0].message, Some(asked.clone()));
    let again = self::created(&mut store, Input::Stray(asked));
    assert!(again.is_empty(), "it is there");
}

#[test]
fn a_message_that_says_nothing_of_a_range_creates_nothing() {
    let mut store = store(vec![]);
    let mut plain = question(&region(3, "m", ""), peer(3, 1));
    plain.range = None;
    assert!(created(&mut store, Input::Stray(plain)).is_empty());
    let mut append = question(&region(3, "m", ""), peer(3, 1));
    append.message.set_msg_type(MessageType::MsgAppend);
    assert!(created(&mut store, Input::Stray(append)).is_empty());
    assert_eq!(store.summary().strays, 2);
}

#[test]
fn a_region_that_is_cut_off_here_soon_is_not_created_by_a_message() {
    let mut store = store(vec![region(2, "", "")]);
    let asked = question(&region(3, "", "m"), peer(3, 1));
    assert!(created(&mut store, Input::Stray(asked.clone())).is_empty());
    let parts = vec![region(3, "", "m"), region(2, "m", "")];
    let split = SplitDone {
        parts: parts.clone(),
        was_led_here: true,
    };
    let created = created(&mut store, Input::Split(split));
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].region, parts[0]);
    assert!(created[0].campaigns);
    assert_eq!(
        created[0].message,
        Some(asked),
        "it hears the question then"
    );
    assert_eq!(store.summary().regions, 2);
}

#[test]
fn a_removed_replica_never_comes_back_and_a_later_one_does() {
    let mut store = store(vec![region(2, "", "")]);
    let removed = Tombstone {
        region_id: RegionId(2),
        epoch: Epoch::default(),
        peer_id: peer(2, 1).id,
    };
    assert!(created(&mut store, Input::Removed(removed)).is_empty());
    let late = question(&region(2, "", ""), peer(2, 1));
    assert!(created(&mut store, Input::Stray(late)).is_empty());
    let next = Peer {
        id: PeerId(99),
        ..peer(2, 1)
    };
    let asked = question(&region(2, "", ""), next);
    assert_eq!(created(&mut store, Input::Stray(asked))[0].me, next);
}

/// A received snapshot of a Region for the replica on store 1.
fn snapshot(region: &Region, index: u64) -> (SnapshotKey, Input) {
    let me = peer(region.id.get(), 1);
    let meta = SnapshotMeta {
        region: region.clone(),
        index,
        term: 6,
    };
    let mut message = RaftMessage {
        region_id: region.id,
        from: peer(region.id.get(), 2),
        to: me,
        epoch: region.epoch,
        ..RaftMessage::default()
    };
    message.message.set_msg_type(MessageType::MsgSnapshot);
    message.message.term = 6;
    message.message.set_snapshot(meta.to_raft());
    (meta.key(me.id), Input::Snapshot(Box::new(message)))
}

fn is_let_in(store: &mut Store, region: &Region, index: u64) -> bool {
    let (key, input) = snapshot(region, index);
    let mut out = Vec::new();
    store.step(input, &mut out);
    match out.as_slice() {
        [Effect::LetIn(_)] => true,
        [Effect::DropSnapshot(dropped)] if *dropped == key => false,
        other => panic!("unexpected {other:?}"),
    }
}

fn settle(store: &mut Store, region: &Region, index: u64) {
    let (key, _) = snapshot(region, index);
    store.step(Input::SnapshotSettled(key), &mut Vec::new());
}

#[test]
fn a_snapshot_is_let_in_where_its_keys_are_free_and_one_at_a_time() {
    let mut store = store(vec![region(2, "a", "m"), region(3, "m", "")]);
    assert!(
        !is_let_in(&mut store, &region(9, "", "a"), 20),
        "no replica"
    );
    assert!(
        !is_let_in(&mut store, &region(2, "a", "n"), 20),
        "another's"
    );
    assert!(is_let_in(&mut store, &region(2, "", "k"), 20));
    assert!(!is_let_in(&mut store, &region(2, "", "k"), 21), "one waits");
    settle(&mut store, &region(2, "", "k"), 21);
    assert!(
        !is_let_in(&mut store, &region(2, "", "k"), 21),
        "of another"
    );
    settle(&mut store, &region(2, "", "k"), 20);
    assert!(is_let_in(&mut store, &region(2, "", "k"), 21));
}

#[test]
fn what_a_replica_holds_or_is_promised_is_not_promised_to_another_until_it_is_settled() {
    let mut store = store(vec![region(2, "a", "m"), region(3, "p", "q")]);
    let (left, right) = (region(2, "a", "c"), region(3, "c", "q"));
    assert!(is_let_in(&mut store, &left, 20));
    assert!(!is_let_in(&mut store, &right, 20), "it is not emptied yet");
    store.step(Input::Reshaped(left.clone()), &mut Vec::new());
    settle(&mut store, &left, 20);
    assert!(is_let_in(&mut store, &right, 20));
    let (wide, stray) = (region(2, "a", "d"), region(9, "c", "d"));
    assert!(!is_let_in(&mut store, &wide, 30), "it is promised");
    let created = created(&mut store, Input::Stray(question(&stray, peer(9, 1))));
    assert!(created.is_empty(), "nor is it for a new replica");
    store.step(
        Input::Removed(Tombstone {
            region_id: right.id,
            epoch: right.epoch,
            peer_id: peer(3, 1).id,
        }),
        &mut Vec::new(),
    );
    assert!(is_let_in(&mut store, &wide, 30), "it went");
}
