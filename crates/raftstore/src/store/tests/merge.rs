//! What a store knows of merges, and whom it tells.

use super::*;
use crate::admin::MergeSource;
use crate::op::last_merge::LastMerge;
use crate::state::{MergedInto, Merging};

fn ask(source: &Region, target: &Region) -> Input {
    Input::MergeAsked(Box::new(MergeAsk {
        source: source.clone(),
        merging: Merging {
            target: target.clone(),
            index: 8,
            term: 6,
            is_sealed: true,
        },
        gives_up: false,
    }))
}

#[test]
fn a_merge_is_refused_once_the_target_has_left_its_epoch_entry_by_entry() {
    let (source, target) = (region(5, "", "m"), region(6, "m", ""));
    let mut later = target.clone();
    later.epoch.version += 1;
    let mut store = store(vec![source.clone(), target.clone()]);
    let asked = said(&mut store, ask(&source, &target));
    assert!(matches!(&asked[..], [Effect::AskMerge(RegionId(6), _)]));
    store.step(Input::Reshaped(later.clone()), &mut Vec::new());
    let refused = said(&mut store, ask(&source, &target));
    assert_eq!(refused, [Effect::RefuseMerge(RegionId(5), 8)]);
    store.step(Input::Restored(later), &mut Vec::new());
    let unknown = said(&mut store, ask(&source, &target));
    assert_eq!(unknown, [], "a snapshot may have passed over the commit");
}

#[test]
fn a_region_that_is_taken_in_is_refused_nothing_and_holds_no_range() {
    let (source, target) = (region(5, "", "m"), region(6, "m", ""));
    let mut merged = region(6, "", "");
    merged.epoch.version = 3;
    let mut store = store(vec![source.clone(), target.clone()]);
    let tombstone = Tombstone {
        region_id: source.id,
        epoch: source.epoch,
        peer_id: PeerId(51),
        merged_into: Some(MergedInto {
            region_id: target.id,
            version: 3,
        }),
    };
    let merge = MergeDone {
        target: merged,
        source: tombstone,
    };
    store.step(Input::Merged(merge), &mut Vec::new());
    assert_eq!(said(&mut store, ask(&source, &target)), []);
    store.step(Input::Reshaped(source.clone()), &mut Vec::new());
    store.step(Input::Removed(tombstone), &mut Vec::new());
    let other = region(9, "a", "b");
    let stray = Input::Stray(question(&other, peer(9, 1)));
    assert!(
        created(&mut store, stray).is_empty(),
        "it is the target's range"
    );
    let stray = Input::Stray(question(&source, peer(5, 1)));
    let told = said(&mut store, stray);
    assert!(matches!(told[..], [Effect::Send(_)]), "it never comes back");
}

#[test]
fn a_target_that_was_removed_here_has_left_its_epoch_all_the_same() {
    let (source, target) = (region(5, "", "m"), region(6, "m", ""));
    let mut store = store(vec![source.clone(), target.clone()]);
    let mut without = target.clone();
    without.epoch.conf_ver += 1;
    without.peers.remove(0);
    let tombstone = |epoch| Tombstone {
        region_id: target.id,
        epoch,
        peer_id: peer(6, 1).id,
        merged_into: None,
    };
    store.step(Input::Reshaped(without.clone()), &mut Vec::new());
    store.step(Input::Removed(tombstone(without.epoch)), &mut Vec::new());
    let refused = said(&mut store, ask(&source, &target));
    assert_eq!(refused, [Effect::RefuseMerge(RegionId(5), 8)]);
    let mut missed = self::store(vec![source.clone(), target.clone()]);
    missed.step(Input::Removed(tombstone(without.epoch)), &mut Vec::new());
    let unknown = said(&mut missed, ask(&source, &target));
    assert!(
        !matches!(unknown[..], [Effect::RefuseMerge(..)]),
        "who was told from outside may have missed the commit"
    );
}

fn merged_away() -> Tombstone {
    Tombstone {
        region_id: RegionId(5),
        epoch: Epoch {
            conf_ver: 2,
            version: 2,
        },
        peer_id: peer(5, 1).id,
        merged_into: Some(MergedInto {
            region_id: RegionId(6),
            version: 7,
        }),
    }
}

#[test]
fn whoever_asks_a_region_that_was_merged_is_told_into_what() {
    let mut store = store(vec![]);
    store.step(Input::Removed(merged_away()), &mut Vec::new());
    let asked = question(&region(5, "", "m"), peer(5, 1));
    let [Effect::Send(farewell)] = &said(&mut store, Input::Stray(asked.clone()))[..] else {
        panic!("it is answered");
    };
    assert_eq!((farewell.from, farewell.to), (asked.to, asked.from));
    assert!(farewell.is_tombstone);
    assert_eq!(farewell.merged_into, merged_away().merged_into);
    let answer = said(&mut store, Input::Stray(farewell.clone()));
    assert_eq!(answer, [], "a farewell is not answered");
}

#[test]
fn a_merged_region_ends_here_unless_the_target_here_has_yet_to_take_it_in() {
    let source = region(5, "", "m");
    let at_version = |version| {
        let mut target = region(6, "m", "");
        target.epoch.version = version;
        target
    };
    let tombstone = merged_away();
    let farewell = RaftMessage::farewell_of_merged(&tombstone, peer(5, 2), peer(5, 1)).unwrap();
    let farewell = || Input::MergedElsewhere(Box::new(farewell.clone()));
    let mut behind = store(vec![source.clone(), at_version(6)]);
    assert_eq!(said(&mut behind, farewell()), []);
    let removed = Tombstone {
        region_id: RegionId(6),
        merged_into: None,
        ..tombstone
    };
    behind.step(Input::Removed(removed), &mut Vec::new());
    assert_eq!(said(&mut behind, farewell()), [Effect::End(tombstone)]);
    let later = Peer {
        id: PeerId(99),
        ..peer(6, 1)
    };
    let asked = question(&region(6, "m", ""), later);
    assert_eq!(created(&mut behind, Input::Stray(asked)).len(), 1);
    assert_eq!(
        said(&mut behind, farewell()),
        [Effect::End(tombstone)],
        "one that knows nothing yet has joined behind the merge"
    );
    let mut joined = store(vec![source.clone(), at_version(7)]);
    assert_eq!(said(&mut joined, farewell()), [Effect::End(tombstone)]);
    let mut never = store(vec![]);
    assert_eq!(said(&mut never, farewell()), []);
}

#[test]
fn a_snapshot_that_takes_a_source_in_is_not_kept_away_by_it() {
    let source = region(5, "", "m");
    let merged = |version| {
        let mut merged = region(6, "", "");
        merged.epoch.version = version;
        merged
    };
    let last_merge = LastMerge {
        place: (18, 6),
        version: 7,
        source: MergeSource {
            region: source.clone(),
            index: 8,
            term: 6,
            before: (16, 5),
        },
    };
    let at = |version| {
        let mut target = region(6, "m", "");
        target.epoch.version = version;
        target
    };
    let snapshot = || snapshot_after(&merged(8), 20, Some(last_merge.clone())).1;
    let mut behind = store(vec![source.clone(), at(6)]);
    let [Effect::LetIn(_)] = said(&mut behind, snapshot())[..] else {
        panic!("the replica takes its neighbour in");
    };
    let told = |place| Effect::LastMerge(RegionId(6), place);
    for mut other in [
        store(vec![source.clone(), at(7)]),
        store(vec![source.clone(), at(6), region(9, "a", "b")]),
    ] {
        let refused = said(&mut other, snapshot());
        assert!(matches!(refused[0], Effect::DropSnapshot(_)));
        assert_eq!(refused[1..], [told((16, 5)), told((18, 6))]);
    }
}
