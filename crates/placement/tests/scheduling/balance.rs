//! Balance between stores, and what disturbs it.

use crate::fleet::*;
use placement::*;
use types::*;

pub fn everywhere(_: StoreId) -> bool {
    true
}

fn even(counts: (u64, u64), percent: u64) {
    let (least, most) = counts;
    assert!(
        most * 100 <= least * (100 + percent),
        "from {least} to {most}"
    );
}

#[test]
fn two_stores_that_join_get_their_share_of_replicas_and_leaders() {
    let plan = Plan {
        regions: 200,
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.run(60_000);
    fleet.join();
    fleet.join();
    let took_ms = fleet.settle(120_000, 3_600_000);
    even(spread(&fleet.replicas(), everywhere), 10);
    even(spread(&fleet.leaders(), everywhere), 10);
    // 240 of 600 replicas have to move, 15 a minute to each of two stores.
    let added = fleet.done.replicas_added;
    assert!((220..=250).contains(&added), "{:?}", fleet.done);
    assert!(took_ms < 15 * 60_000, "it took {took_ms} ms");
    fleet.assert_replicated(3);
    fleet.placement.check_invariants();
}

#[test]
fn instructions_that_only_answers_bring_lead_to_balance_as_well() {
    let plan = Plan {
        regions: 60,
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.hears_at_once = false;
    fleet.join();
    fleet.settle(180_000, 3_600_000);
    even(spread(&fleet.replicas(), everywhere), 10);
    even(spread(&fleet.leaders(), everywhere), 10);
}

#[test]
fn what_is_in_balance_is_left_alone() {
    let plan = Plan {
        regions: 99,
        places: |at| vec![at % 3 + 1, (at + 1) % 3 + 1, (at + 2) % 3 + 1],
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.run(600_000);
    assert_eq!(fleet.ended(), []);
    assert_eq!((fleet.done.replicas_added, fleet.done.transfers), (0, 0));
}

#[test]
fn nothing_is_balanced_before_most_regions_have_reported_to_a_new_leader() {
    let plan = Plan {
        stores: 4,
        regions: 100,
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.elect_silently();
    fleet.run(30_000);
    assert_eq!(fleet.operators(), [], "half of the Regions have reported");
    fleet.run(60_000);
    assert!(fleet.done.replicas_added > 0);
}

#[test]
fn replicas_are_moved_by_what_they_hold_and_not_by_their_number() {
    let plan = Plan {
        stores: 4,
        regions: 40,
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    for (at, region) in fleet.regions.values_mut().enumerate() {
        region.size_bytes = if at < 10 { 240 * MIB } else { 16 * MIB };
    }
    fleet.run(60_000);
    fleet.settle(120_000, 3_600_000);
    let mut bytes = std::collections::BTreeMap::new();
    for region in fleet.regions.values() {
        for store in region.stores() {
            *bytes.entry(StoreId(store)).or_insert(0) += region.size_bytes / MIB;
        }
    }
    even(spread(&bytes, everywhere), 25);
}

#[test]
fn a_store_with_a_full_disk_is_given_nothing_and_relieved() {
    let plan = Plan {
        stores: 4,
        regions: 60,
        places: |at| vec![at % 4 + 1, (at + 1) % 4 + 1, (at + 2) % 4 + 1],
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    let stats = &mut fleet.stores.get_mut(&StoreId(2)).unwrap().stats;
    stats.available_bytes = stats.capacity_bytes / 10;
    let before = fleet.replicas()[&StoreId(2)];
    fleet.run(120_000);
    assert!(fleet.replicas()[&StoreId(2)] < before);
}

#[test]
fn busy_regions_move_apart_and_then_stay() {
    let plan = Plan {
        stores: 4,
        regions: 60,
        places: |at| {
            let first = if at < 8 { 0 } else { at % 4 };
            (0..3).map(|nth| (first + nth) % 4 + 1).collect()
        },
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.set("balance-tolerance-percent", "50");
    for region in fleet.regions.values_mut().take(8) {
        region.read_rate = 8 * MIB;
        region.write_rate = 4 * MIB;
    }
    fleet.run(1_200_000);
    let is_busy = |region: &&SimRegion| region.read_rate > 0;
    let busy = fleet.regions.values().filter(is_busy);
    let mut reads = std::collections::BTreeMap::new();
    for region in busy {
        *reads.entry(region.leader_store()).or_insert(0) += 1;
    }
    assert_eq!(spread(&reads, everywhere), (2, 2), "{reads:?}");
    let before = fleet.done;
    fleet.run(1_200_000);
    let after = (fleet.done.transfers, fleet.done.replicas_added);
    assert_eq!(after, (before.transfers, before.replicas_added));
}

#[test]
fn a_region_that_is_written_much_and_hardly_read_keeps_its_leader() {
    let plan = Plan {
        stores: 3,
        regions: 3,
        places: |at| (0..3).map(|nth| (at + nth) % 3 + 1).collect(),
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    for read_rate in [1, 4, 100, 8 * MIB] {
        let busy = fleet.regions.values_mut().next().unwrap();
        (busy.read_rate, busy.write_rate) = (read_rate, MIB);
        fleet.run(600_000);
        let before = fleet.done.transfers;
        fleet.run(600_000);
        assert_eq!(fleet.done.transfers, before, "{read_rate} B/s are read");
    }
}

#[test]
fn a_slow_store_leads_nothing_until_it_has_been_fast_for_a_while() {
    let plan = Plan {
        regions: 30,
        places: |at| (0..3).map(|nth| (at + nth) % 3 + 1).collect(),
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    let slow = |fleet: &mut Fleet, score| {
        fleet.stores.get_mut(&StoreId(2)).unwrap().stats.slow_score = score;
    };
    slow(&mut fleet, 95);
    fleet.run(25_000);
    assert_eq!(
        fleet.leaders()[&StoreId(2)],
        0,
        "it is noticed by the next report"
    );
    assert!(fleet.view(StoreId(2)).unwrap().is_slow);
    slow(&mut fleet, 1);
    fleet.run(300_000);
    assert_eq!(fleet.leaders()[&StoreId(2)], 0, "not yet");
    fleet.run(400_000);
    even(spread(&fleet.leaders(), everywhere), 10);
}

#[test]
fn a_store_that_says_at_once_that_it_is_slow_loses_its_leaders_within_seconds() {
    let plan = Plan {
        regions: 30,
        places: |at| (0..3).map(|nth| (at + nth) % 3 + 1).collect(),
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    // Schedulers have come to rest.
    fleet.run(60_000);
    fleet.stores.get_mut(&StoreId(2)).unwrap().stats.slow_score = 81;
    fleet.store_heartbeat(StoreId(2)).unwrap();
    // The score took four seconds to get there.
    fleet.run(6_000);
    assert!(fleet.view(StoreId(2)).unwrap().is_slow);
    assert_eq!(fleet.leaders()[&StoreId(2)], 0);
}

#[test]
fn when_most_stores_are_slow_leaders_stay() {
    let plan = Plan {
        regions: 30,
        places: |at| (0..3).map(|nth| (at + nth) % 3 + 1).collect(),
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    for store in [1, 2] {
        fleet
            .stores
            .get_mut(&StoreId(store))
            .unwrap()
            .stats
            .slow_score = 95;
    }
    fleet.run(60_000);
    assert_eq!(fleet.done.transfers, 0);
}

#[test]
fn an_evicted_store_leads_nothing_even_after_a_change_of_leader() {
    let mut fleet = Fleet::new(&Plan {
        regions: 30,
        ..Plan::default()
    });
    let evict = SchedulerName::EvictLeader(StoreId(1));
    fleet.control(Control::AddScheduler(evict)).unwrap();
    fleet.run(60_000);
    assert_eq!(fleet.leaders()[&StoreId(1)], 0);
    fleet.elect();
    fleet.run(60_000);
    assert_eq!(fleet.leaders()[&StoreId(1)], 0);
    fleet.control(Control::RemoveScheduler(evict)).unwrap();
    fleet.run(60_000);
    even(spread(&fleet.leaders(), everywhere), 10);
}

#[test]
fn shuffled_leaders_and_replicas_keep_every_invariant() {
    let mut fleet = Fleet::new(&Plan {
        stores: 5,
        regions: 40,
        ..Plan::default()
    });
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        fleet.control(Control::AddScheduler(name)).unwrap();
    }
    for _ in 0..100 {
        fleet.run(3_000);
        fleet.placement.check_invariants();
    }
    assert!(fleet.done.transfers > 50 && fleet.done.replicas_added > 50);
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        fleet.control(Control::RemoveScheduler(name)).unwrap();
    }
    fleet.settle(120_000, 3_600_000);
    fleet.assert_replicated(3);
}

#[test]
fn scattered_regions_are_spread_over_all_stores() {
    let mut fleet = Fleet::new(&Plan {
        stores: 6,
        regions: 30,
        ..Plan::default()
    });
    fleet.set("store-limit-add-peer", "1000");
    let region_ids: Vec<RegionId> = fleet.regions.keys().copied().collect();
    let asked = Control::ScatterRegions {
        region_ids,
        group: "t".to_owned(),
    };
    let answer = fleet.control(asked).unwrap();
    let Response::Begun { begun, refused } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((begun.len(), refused), (30, vec![]));
    fleet.run(30_000);
    even(spread(&fleet.replicas(), everywhere), 20);
    even(spread(&fleet.leaders(), everywhere), 50);
    fleet.assert_replicated(3);
}
