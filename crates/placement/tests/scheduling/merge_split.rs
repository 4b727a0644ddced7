//! Regions that are merged and split.

use crate::fleet::*;
use placement::*;
use types::*;

fn merged_soon(settings: &mut Settings) {
    settings.split_merge_interval_ms = 60_000;
    settings.merge_schedule_limit = 8;
}

fn small(regions: u64, places: fn(u64) -> Vec<u64>, stores: u64) -> Plan {
    Plan {
        stores,
        regions,
        places,
        size_bytes: MIB,
    }
}

#[test]
fn emptied_regions_merge_until_few_are_left() {
    let plan = small(60, |at| (0..3).map(|nth| (at + nth) % 3 + 1).collect(), 3);
    let mut fleet = Fleet::with(&plan, merged_soon);
    fleet.settle(300_000, 24 * 3_600_000);
    assert!(
        fleet.regions.len() < 4,
        "{:#?} {:?} are left",
        fleet.regions,
        fleet.done
    );

    assert_eq!(fleet.done.merges as usize, 60 - fleet.regions.len());
    fleet.assert_replicated(3);
    fleet.placement.check_invariants();
}

#[test]
fn a_region_moves_to_the_stores_of_its_neighbour_before_it_merges() {
    let plan = small(
        2,
        |at| {
            if at == 0 {
                vec![1, 2, 3]
            } else {
                vec![4, 5, 6]
            }
        },
        6,
    );
    let mut fleet = Fleet::with(&plan, merged_soon);
    fleet.settle(300_000, 3_600_000);
    assert_eq!(fleet.regions.len(), 1);
    fleet.assert_replicated(3);
}

#[test]
fn regions_that_are_large_or_whose_size_is_unknown_do_not_merge() {
    for size_bytes in [55 * MIB, 0] {
        let plan = Plan {
            size_bytes,
            ..small(4, |_| vec![1, 2, 3], 3)
        };
        let mut fleet = Fleet::with(&plan, merged_soon);
        fleet.run(900_000);
        assert_eq!(fleet.done.merges, 0);
    }
}

#[test]
fn what_stores_would_cut_again_is_not_merged_whatever_the_settings_say() {
    for (split_bytes, merges) in [(8 * MIB, 0), (40 * MIB, 1)] {
        let plan = Plan {
            size_bytes: 6 * MIB,
            ..small(2, |_| vec![1, 2, 3], 3)
        };
        let mut fleet = Fleet::with_config(&plan, |config| {
            merged_soon(&mut config.settings);
            config.region_split.0 = split_bytes;
        });
        fleet.run(600_000);
        assert_eq!(fleet.done.merges, merges);
    }
}

#[test]
fn what_was_split_is_not_merged_for_an_hour() {
    let plan = small(1, |_| vec![1, 2, 3], 3);
    let mut fleet = Fleet::with(&plan, |settings| settings.merge_schedule_limit = 8);
    fleet.run(5_000);
    fleet.split(RegionId(1_000), &[b"k".to_vec()]);
    fleet.run(3_500_000);
    assert_eq!((fleet.regions.len(), fleet.done.merges), (2, 0));
    fleet.run(400_000);
    assert_eq!((fleet.regions.len(), fleet.done.merges), (1, 1));
}

#[test]
fn both_regions_of_a_merge_are_given_up_together() {
    let plan = small(
        2,
        |at| {
            if at == 0 {
                vec![1, 2, 3]
            } else {
                vec![4, 5, 6]
            }
        },
        6,
    );
    let mut fleet = Fleet::with(&plan, merged_soon);
    fleet.copy_ms = 600_000;
    while fleet.operators().is_empty() {
        fleet.run(1_000);
    }
    assert_eq!(fleet.operators().len(), 2);
    let region_id = RegionId(1_000);
    fleet
        .control(Control::CancelOperator { region_id })
        .unwrap();
    assert_eq!(fleet.operators(), []);
}

#[test]
fn regions_split_at_the_keys_that_are_asked_for() {
    let mut fleet = Fleet::new(&small(1, |_| vec![1, 2, 3], 3));
    let keys = vec![b"m".to_vec(), b"f".to_vec(), b"m".to_vec()];
    let answer = fleet.control(Control::SplitRegions { keys }).unwrap();
    let begun = vec![RegionId(1_000)];
    let refused = vec![];
    assert_eq!(answer, Response::Begun { begun, refused });
    fleet.run(5_000);
    let mut starts: Vec<Vec<u8>> = Vec::new();
    for key in [&b"a"[..], b"g", b"z"] {
        let request = Request::GetRegion { key: key.to_vec() };
        let Ok(Response::Region(Some(route))) = fleet.ask(request) else {
            panic!("nobody owns {key:?}");
        };
        assert!(route.leader.is_some());
        starts.push(route.region.range.start.clone());
    }
    assert_eq!(starts, [b"".to_vec(), b"f".to_vec(), b"m".to_vec()]);
    let record = fleet.ended().remove(0);
    assert_eq!(record.status, OperatorStatus::Finished);
}

#[test]
fn ids_for_a_split_are_new_and_refused_to_an_old_leader() {
    let mut fleet = Fleet::new(&small(1, |_| vec![1, 2, 3], 3));
    let old = fleet.regions[&RegionId(1_000)].region.clone();
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let asked = Control::AskBatchSplit {
            region: old.clone(),
            parts: 30,
        };
        let Ok(Response::SplitIds(ids)) = fleet.control(asked) else {
            panic!("no ids");
        };
        for id in ids {
            assert!(all.insert(id.region_id.get()));
            assert!(id.peer_ids.iter().all(|id| all.insert(id.get())));
        }
    }
    assert_eq!(all.len(), 40 * 30 * 4);
    fleet.split(RegionId(1_000), &[b"k".to_vec()]);
    fleet.heartbeat(RegionId(1_000));
    let late = fleet.control(Control::AskBatchSplit {
        region: old,
        parts: 1,
    });
    assert!(matches!(late, Err(Error::StaleRegion { .. })), "{late:?}");
}

#[test]
fn the_boundary_between_the_first_regions_stays() {
    let plan = small(2, |_| vec![1, 2, 3], 3);
    let mut fleet = Fleet::with_config(&plan, |config| {
        merged_soon(&mut config.settings);
        config.kept_boundaries.insert(1u64.to_be_bytes().to_vec());
    });
    fleet.run(900_000);
    assert_eq!((fleet.regions.len(), fleet.done.merges), (2, 0));
    let request = OperatorRequest::Merge {
        source: RegionId(1_000),
        target: RegionId(1_001),
    };
    let error = fleet.control(Control::AddOperator(request)).unwrap_err();
    assert!(
        error.to_string().ends_with("or have to stay apart"),
        "{error}"
    );
}
