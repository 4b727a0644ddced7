//! What a store makes of messages, splits and removals.

use super::*;
use crate::peer::PeerOptions;
use raft::eraftpb::MessageType;
use types::{Epoch, PeerId};

mod merge;

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

fn options(report_ticks: u64) -> StoreOptions {
    StoreOptions::new(report_ticks, &PeerOptions::default())
}

fn store(regions: Vec<Region>) -> Store {
    Store::new(StoreId(1), regions, BTreeMap::new(), options(3))
}

fn said(store: &mut Store, input: Input) -> Vec<Effect> {
    let mut out = Vec::new();
    store.step(input, &mut out);
    out
}

fn created(store: &mut Store, input: Input) -> Vec<Create> {
    let creation = |effect| match effect {
        Effect::Create(create) => create,
        other => panic!("unexpected {other:?}"),
    };
    said(store, input).into_iter().map(creation).collect()
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
        assert_eq!(out[0], Effect::TickAwake);
        reports += out.len() - 1;
    }
    assert_eq!(reports, 2);
}

#[test]
fn without_an_interval_every_tick_reports() {
    let mut store = Store::new(StoreId(1), vec![], BTreeMap::new(), options(0));
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
    let again = said(&mut store, Input::Stray(asked.clone()));
    assert_eq!(again, [Effect::Deliver(asked)], "it is there");
}

#[test]
fn a_question_that_crosses_the_split_is_heard_by_what_was_cut_off() {
    let mut store = store(vec![region(2, "", "")]);
    let split = SplitDone {
        parts: vec![region(3, "", "m"), region(2, "m", "")],
        was_led_here: false,
    };
    // The question found no replica, and the store hears of the split before it hears of that.
    let asked = question(&region(3, "", "m"), peer(3, 1));
    assert_eq!(created(&mut store, Input::Split(split)).len(), 1);
    let told = said(&mut store, Input::Stray(asked.clone()));
    assert_eq!(told, [Effect::Deliver(asked)]);
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
        merged_into: None,
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
    snapshot_after(region, index, None)
}

/// The same with what it says of the last merge.
fn snapshot_after(
    region: &Region,
    index: u64,
    last_merge: Option<LastMerge>,
) -> (SnapshotKey, Input) {
    let me = peer(region.id.get(), 1);
    let meta = SnapshotMeta {
        last_merge: last_merge.map(Box::new),
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
            merged_into: None,
            region_id: right.id,
            epoch: right.epoch,
            peer_id: peer(3, 1).id,
        }),
        &mut Vec::new(),
    );
    assert!(is_let_in(&mut store, &wide, 30), "it went");
}

mod liveness {
    //! Which replicas tick, and what their store finds out for those that don't.

    use super::*;
    use crate::op::hibernate::{Extra, Reliance, Sleep};

    const OPTIONS: StoreOptions = StoreOptions {
        report_ticks: 1_000_000,
        ping_ticks: 2,
        silent_ticks: 10,
        down_ticks: 30,
        asleep_report_ticks: 1 << 40,
        asleep_check_ticks: 1 << 40,
    };

    /// A store with so many Regions, which sleep: led by store 2, except the last, which is led here.
    fn sleeping(count: u64, options: StoreOptions) -> Store {
        let name = |id: u64| format!("{id:09}");
        let regions = (1..=count).map(|id| region(id, &name(id), &name(id + 1)));
        let mut store = Store::new(StoreId(1), regions.collect(), BTreeMap::new(), options);
        store.step(Input::Tick, &mut Vec::new());
        for id in 1..=count {
            let reliance = match id == count {
                true => Reliance::Followers {
                    all: vec![StoreId(2), StoreId(3)],
                    missing: vec![],
                },
                false => Reliance::Leader(StoreId(2)),
            };
            sleep(&mut store, id, reliance);
        }
        store
    }

    fn sleep(store: &mut Store, id: u64, reliance: Reliance) {
        let region_id = RegionId(id);
        let sleep = Sleep {
            region_id,
            reliance,
        };
        store.step(Input::Slept(sleep), &mut Vec::new());
    }

    /// So many ticks, in which these stores answer what they are asked; what comes of them, but for
    /// ticks and questions.
    fn pass(store: &mut Store, ticks: u64, answer: &[u64]) -> (Vec<Effect>, u64) {
        let (mut rest, mut pings) = (Vec::new(), 0);
        for _ in 0..ticks {
            let mut out = Vec::new();
            store.step(Input::Tick, &mut out);
            for effect in out {
                match effect {
                    Effect::TickAwake => {}
                    Effect::Send(message) => {
                        assert_eq!(message.between_stores(), Some(Extra::StorePing));
                        pings += 1;
                        let (store_id, extra) = (message.to.store_id, Extra::StorePong);
                        if answer.contains(&store_id.get()) {
                            let store_heard = Input::Heard {
                                store: store_id,
                                extra,
                            };
                            store.step(store_heard, &mut rest);
                        }
                    }
                    other => rest.push(other),
                }
            }
        }
        (rest, pings)
    }

    #[test]
    fn only_replicas_that_are_awake_tick() {
        let mut store = sleeping(3, OPTIONS);
        assert_eq!(store.awake().count(), 0);
        assert_eq!(store.summary().asleep, 3);
        store.step(Input::Woke(RegionId(2)), &mut Vec::new());
        assert_eq!(store.awake().collect::<Vec<_>>(), [RegionId(2)]);
    }

    #[test]
    fn stores_that_live_are_asked_by_the_pair_and_nothing_else_happens() {
        for count in [2, 10_000] {
            let mut store = sleeping(count, OPTIONS);
            let (rest, pings) = pass(&mut store, 100, &[2, 3]);
            assert_eq!(rest, []);
            assert_eq!(
                pings, 100,
                "two stores, every other tick, however many Regions"
            );
        }
    }

    #[test]
    fn a_silent_store_wakes_those_whose_leader_is_there_once_and_no_others() {
        let mut store = sleeping(4, OPTIONS);
        sleep(&mut store, 2, Reliance::Leader(StoreId(3)));
        assert_eq!(pass(&mut store, 9, &[3]).0, []);
        let lost = Effect::LeadersLost {
            store: StoreId(2),
            regions: vec![RegionId(1), RegionId(3)],
        };
        assert_eq!(pass(&mut store, 11, &[3]).0, [lost]);
    }

    #[test]
    fn a_replica_whose_follower_is_down_for_long_reports_it_and_sleeps_on() {
        let mut store = sleeping(2, OPTIONS);
        let check = |down: &[u64]| Effect::Check {
            regions: vec![RegionId(2)],
            down: down.iter().copied().map(StoreId).collect(),
        };
        assert_eq!(pass(&mut store, 60, &[2]).0, [check(&[3])]);
        assert_eq!(pass(&mut store, 60, &[2, 3]).0, [check(&[])]);
    }

    #[test]
    fn a_leader_that_misses_a_follower_wakes_as_soon_as_its_store_is_heard() {
        let mut store = sleeping(2, OPTIONS);
        let reliance = Reliance::Followers {
            all: vec![StoreId(2), StoreId(3)],
            missing: vec![StoreId(3)],
        };
        sleep(&mut store, 2, reliance);
        assert_eq!(pass(&mut store, 20, &[2]).0, []);
        let woken = Effect::Wake(vec![RegionId(2)]);
        assert_eq!(pass(&mut store, 20, &[2, 3]).0, [woken]);
    }

    #[test]
    fn a_question_is_answered_even_if_nothing_sleeps_here() {
        let mut store = store(vec![]);
        let mut out = Vec::new();
        let (from, extra) = (StoreId(2), Extra::StorePing);
        let asked = Input::Heard { store: from, extra };
        store.step(asked, &mut out);
        let [Effect::Send(answer)] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(answer.between_stores(), Some(Extra::StorePong));
        assert_eq!(
            (answer.from.store_id, answer.to.store_id),
            (StoreId(1), from)
        );
    }

    /// How often each replica is checked in so many ticks, at most `most` in each.
    fn checks(store: &mut Store, ticks: u64, most: usize) -> BTreeMap<RegionId, u64> {
        let mut times = BTreeMap::new();
        for effect in pass(store, ticks, &[2, 3]).0 {
            let Effect::Check { regions, .. } = effect else {
                panic!("{effect:?}");
            };
            assert!(regions.len() <= most, "spread over all ticks");
            for region in regions {
                *times.entry(region).or_insert(0) += 1;
            }
        }
        times
    }

    #[test]
    fn each_sleeping_replica_is_checked_once_in_its_time_and_leaders_have_their_own() {
        let options = StoreOptions {
            asleep_report_ticks: 50,
            asleep_check_ticks: 100,
            ..OPTIONS
        };
        for count in [3, 250] {
            let mut store = sleeping(count, options.clone());
            let times = checks(&mut store, 200, 4);
            assert_eq!(times.len() as u64, count);
            let expected = |region: &RegionId| if region.get() == count { 4 } else { 2 };
            assert!(
                times
                    .iter()
                    .all(|(region, times)| *times == expected(region))
            );
        }
    }

    #[test]
    fn with_too_many_that_sleep_each_one_is_checked_more_seldom() {
        let options = StoreOptions {
            asleep_check_ticks: 10,
            ..OPTIONS
        };
        let mut store = sleeping(10_001, options);
        let times = checks(&mut store, 100, 200);
        assert_eq!(times.len(), 10_000);
        assert!(times.values().all(|times| *times == 2), "{times:?}");
    }

    #[test]
    fn a_sleeper_whose_leader_is_gone_from_here_is_told_to_go_on() {
        let mut store = store(vec![]);
        let gone = Tombstone {
            region_id: RegionId(9),
            epoch: Epoch::default(),
            peer_id: peer(9, 1).id,
            merged_into: None,
        };
        store.step(Input::Removed(gone), &mut Vec::new());
        let place = (RegionId(9), Epoch::default());
        let sleeps = Extra::HibernateResponse { index: 7 };
        let message = RaftMessage::extra(place, peer(9, 2), peer(9, 1), sleeps);
        let mut out = Vec::new();
        store.step(Input::Stray(Box::new(message)), &mut out);
        let answer = RaftMessage::extra(place, peer(9, 1), peer(9, 2), Extra::WakeUp);
        assert_eq!(out, [Effect::Send(Box::new(answer))]);
    }

    #[test]
    fn a_replica_that_is_gone_is_neither_ticked_nor_checked_nor_waited_for() {
        let mut store = sleeping(1, OPTIONS);
        let tombstone = Tombstone {
            region_id: RegionId(1),
            epoch: Epoch::default(),
            peer_id: peer(1, 1).id,
            merged_into: None,
        };
        store.step(Input::Removed(tombstone), &mut Vec::new());
        store.step(Input::Woke(RegionId(1)), &mut Vec::new());
        assert_eq!(store.awake().count(), 0);
        assert_eq!(pass(&mut store, 100, &[]), (vec![], 0));
    }
}
