//! Regions that have lost replicas, or have them in the wrong places.

use crate::fleet::*;
use placement::*;
use types::*;

fn zones(fleet: &mut Fleet, zone_of: impl Fn(u64) -> u64) {
    let ids: Vec<StoreId> = fleet.stores.keys().copied().collect();
    for id in ids {
        let zone = format!("z{}", zone_of(id.get()));
        fleet.stores.get_mut(&id).unwrap().store.labels = vec![("zone".to_owned(), zone)];
        fleet.register(id).unwrap();
    }
    fleet.set("location-labels", "zone");
}

#[test]
fn a_store_that_is_down_for_long_is_replaced_everywhere() {
    let mut fleet = Fleet::with(
        &Plan {
            stores: 5,
            regions: 50,
            places: |at| (0..3).map(|nth| (at + nth) % 5 + 1).collect(),
            ..Plan::default()
        },
        |settings| settings.store_down_ms = 600_000,
    );
    fleet.kill(StoreId(2));
    fleet.run(570_000);
    assert_eq!(fleet.done.replicas_added, 0, "it may come back");
    fleet.settle(120_000, 3_600_000);
    fleet.assert_replicated(3);
    assert_eq!(fleet.replicas()[&StoreId(2)], 0);
    fleet.placement.check_invariants();
}

#[test]
fn what_is_under_way_when_a_store_is_lost_does_not_hold_the_repair_up() {
    const HOURS: u64 = 4 * 3_600_000;
    let plan = Plan {
        stores: 4,
        regions: 40,
        places: |_| vec![1, 2, 3],
        ..Plan::default()
    };
    let mut fleet = Fleet::with(&plan, |settings| {
        settings.store_down_ms = 60_000;
        (settings.slow_step_timeout_ms, settings.fast_step_timeout_ms) = (HOURS, HOURS);
    });
    // Until Regions are on their way to the fourth store.
    while fleet.operators().is_empty() {
        fleet.run(1_000);
    }
    fleet.kill(StoreId(4));
    fleet.join();
    fleet.settle(120_000, HOURS / 4);
    fleet.assert_replicated(3);
    assert_eq!(fleet.replicas()[&StoreId(4)], 0);
    fleet.placement.check_invariants();
}

#[test]
fn without_a_place_to_go_a_region_keeps_its_lost_replica() {
    let mut fleet = Fleet::with(
        &Plan {
            regions: 10,
            ..Plan::default()
        },
        |settings| settings.store_down_ms = 60_000,
    );
    fleet.kill(StoreId(3));
    fleet.run(300_000);
    assert_eq!(fleet.done.replicas_removed, 0);
    fleet.join();
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
}

#[test]
fn a_cluster_of_one_store_that_grows_gets_three_replicas_of_everything() {
    let mut fleet = Fleet::new(&Plan {
        stores: 1,
        regions: 20,
        places: |_| vec![1],
        ..Plan::default()
    });
    fleet.join();
    fleet.join();
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
}

#[test]
fn surplus_replicas_go_when_fewer_are_wanted() {
    let mut fleet = Fleet::new(&Plan {
        stores: 5,
        regions: 20,
        places: |_| vec![1, 2, 3, 4, 5],
        ..Plan::default()
    });
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
}

#[test]
fn replicas_move_to_different_zones() {
    let mut fleet = Fleet::new(&Plan {
        stores: 6,
        regions: 20,
        places: |_| vec![1, 2, 3],
        ..Plan::default()
    });
    zones(&mut fleet, |store| (store - 1) / 2);
    fleet.settle(180_000, 7_200_000);
    for region in fleet.regions.values() {
        let mut zones: Vec<u64> = region
            .stores()
            .iter()
            .map(|store| (store - 1) / 2)
            .collect();
        zones.dedup();
        assert_eq!(zones, [0, 1, 2], "{region:?}");
    }
    let replicas = spread(&fleet.replicas(), |_| true);
    assert!(
        replicas.1 - replicas.0 <= 2,
        "balance keeps the zones: {replicas:?}"
    );
}

#[test]
fn a_joint_configuration_that_was_left_behind_is_left_and_its_learner_goes() {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        ..Plan::default()
    });
    let region_id = RegionId(1_000);
    let request = OperatorRequest::TransferPeer {
        region_id,
        from: StoreId(3),
        to: StoreId(4),
    };
    fleet.control(Control::AddOperator(request)).unwrap();
    let is_joint = |fleet: &Fleet| {
        let mut peers = fleet.regions[&region_id].region.peers.iter();
        peers.any(|peer| peer.role == PeerRole::IncomingVoter)
    };
    while !is_joint(&fleet) {
        fleet.run(50);
    }
    // Its operator is forgotten with the placement leader that had it.
    fleet.elect();
    fleet.settle(60_000, 600_000);
    fleet.assert_replicated(3);
    assert_eq!(fleet.regions[&region_id].stores(), [1, 2, 4]);
}

#[test]
fn no_voter_goes_while_the_others_are_no_majority() {
    let mut fleet = Fleet::new(&Plan::default());
    let region_id = RegionId(1_000);
    fleet.kill(StoreId(3));
    fleet.run(60_000);
    // The leader would be left with a dead follower.
    let request = OperatorRequest::RemovePeer {
        region_id,
        store_id: StoreId(2),
    };
    fleet.control(Control::AddOperator(request)).unwrap();
    fleet.run(300_000);
    assert_eq!(fleet.regions[&region_id].stores(), [1, 2, 3]);
    let ended = fleet.ended();
    assert_eq!(ended[0].status, OperatorStatus::TimedOut);
}

#[test]
fn the_dead_one_of_surplus_replicas_goes_first() {
    let mut fleet = Fleet::with(
        &Plan {
            stores: 4,
            places: |_| vec![1, 2, 3, 4],
            ..Plan::default()
        },
        |settings| settings.max_replicas = 4,
    );
    fleet.kill(StoreId(2));
    fleet.run(60_000);
    fleet.set("max-replicas", "3");
    fleet.run(120_000);
    assert_eq!(fleet.regions[&RegionId(1_000)].stores(), [1, 3, 4]);
}

/// The replica of each Region on a store, quarantined.
fn quarantine(fleet: &mut Fleet, store: StoreId) {
    let regions = fleet.regions.values();
    let bad = regions.filter_map(|region| region.region.peer_on(store));
    fleet.quarantined = bad.map(|peer| peer.id).collect();
    assert!(!fleet.quarantined.is_empty());
}

fn has_quarantined(fleet: &Fleet) -> bool {
    let mut peers = fleet
        .regions
        .values()
        .flat_map(|region| &region.region.peers);
    peers.any(|peer| fleet.quarantined.contains(&peer.id))
}

#[test]
fn a_quarantined_replica_is_replaced_by_one_on_another_store() {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        regions: 10,
        ..Plan::default()
    });
    quarantine(&mut fleet, StoreId(2));
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
    assert!(!has_quarantined(&fleet));
}

#[test]
fn where_no_other_store_can_take_it_a_quarantined_replica_goes_and_its_store_gets_a_new_one() {
    let mut fleet = Fleet::new(&Plan {
        stores: 3,
        regions: 10,
        ..Plan::default()
    });
    quarantine(&mut fleet, StoreId(3));
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
    assert!(!has_quarantined(&fleet));
}

#[test]
fn a_quarantined_replica_that_is_needed_stays() {
    let mut fleet = Fleet::with(
        &Plan {
            stores: 3,
            regions: 10,
            ..Plan::default()
        },
        |settings| settings.store_down_ms = 3_600_000,
    );
    fleet.kill(StoreId(2));
    // Until placement misses it.
    fleet.run(60_000);
    quarantine(&mut fleet, StoreId(3));
    fleet.run(600_000);
    assert_eq!(fleet.done.replicas_removed, 0);
}

#[test]
fn a_quarantined_replica_stays_a_voter_while_its_store_has_no_room_for_a_new_one() {
    let mut fleet = Fleet::new(&Plan {
        stores: 3,
        regions: 10,
        ..Plan::default()
    });
    let stats = &mut fleet.stores.get_mut(&StoreId(3)).unwrap().stats;
    stats.available_bytes = stats.capacity_bytes / 10;
    fleet.run(60_000);
    quarantine(&mut fleet, StoreId(3));
    fleet.run(600_000);
    assert_eq!(fleet.done.replicas_removed, 0);
    let stats = &mut fleet.stores.get_mut(&StoreId(3)).unwrap().stats;
    stats.available_bytes = stats.capacity_bytes;
    fleet.settle(180_000, 3_600_000);
    fleet.assert_replicated(3);
    assert!(!has_quarantined(&fleet));
}

#[test]
fn what_is_only_for_balance_gives_way_to_the_repair_of_a_quarantined_replica() {
    let mut fleet = Fleet::with(
        &Plan {
            stores: 4,
            regions: 10,
            ..Plan::default()
        },
        |settings| settings.fast_step_timeout_ms = 3_600_000,
    );
    // Leaders hear of an operator with the answer to their next report only.
    fleet.hears_at_once = false;
    let to_lead = loop {
        fleet.run(100);
        let operators = fleet.operators();
        let mut steps = operators.iter().flat_map(|record| &record.operator.steps);
        let to = steps.find_map(|step| match step {
            OperatorStep::TransferLeader { to } => Some(*to),
            _ => None,
        });
        if let Some(to) = to {
            break to;
        }
    };
    quarantine(&mut fleet, to_lead);
    fleet.run(180_000);
    assert!(!has_quarantined(&fleet), "{:?}", fleet.operators());
    let given_way = OperatorStatus::Cancelled("a quarantined replica is to be replaced first");
    let ended = fleet.ended();
    assert!(ended.iter().any(|record| record.status == given_way));
}
