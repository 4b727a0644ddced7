//! Many stores and many Regions: balance comes, with about as many moves as are needed, and rests.

use crate::fleet::*;
use types::*;

#[test]
fn a_hundred_stores_with_skewed_regions_come_to_rest_in_balance() {
    let plan = Plan {
        stores: 100,
        regions: 20_000,
        // A half of the Regions is on the first ten stores.
        places: |at| {
            let (stores, first) = if at % 2 == 0 {
                (10, at / 2)
            } else {
                (100, at * 7)
            };
            (0..3).map(|nth| (first + nth) % stores + 1).collect()
        },
        ..Plan::default()
    };
    let mut fleet = Fleet::new(&plan);
    fleet.set("store-limit-add-peer", "1000");
    fleet.set("store-limit-remove-peer", "1000");
    fleet.set("leader-schedule-limit", "200");
    let before = fleet.replicas();
    let ideal: u64 = before.values().map(|count| count.saturating_sub(600)).sum();
    fleet.settle(120_000, 6 * 3_600_000);
    let moves = fleet.done.replicas_added;
    assert!(moves * 10 <= ideal * 11, "{moves} moves, {ideal} would do");
    let replicas = spread(&fleet.replicas(), |_| true);
    let leaders = spread(&fleet.leaders(), |_| true);
    assert!(replicas.1 * 100 <= replicas.0 * 110, "{replicas:?}");
    assert!(leaders.1 * 100 <= leaders.0 * 110, "{leaders:?}");
    let done = fleet.done;
    fleet.run(600_000);
    assert_eq!(
        fleet.done.replicas_added, done.replicas_added,
        "no oscillation"
    );
    assert_eq!(fleet.done.transfers, done.transfers, "no oscillation");
    fleet.placement.check_invariants();
}

#[test]
fn one_of_a_hundred_stores_is_replaced_when_it_is_down() {
    let plan = Plan {
        stores: 100,
        regions: 5_000,
        places: |at| (0..3).map(|nth| (at + nth * 33) % 100 + 1).collect(),
        ..Plan::default()
    };
    let mut fleet = Fleet::with(&plan, |settings| settings.store_down_ms = 300_000);
    fleet.kill(StoreId(40));
    fleet.settle(400_000, 3_600_000);
    fleet.assert_replicated(3);
    assert_eq!(fleet.replicas()[&StoreId(40)], 0);
    fleet.placement.check_invariants();
}
