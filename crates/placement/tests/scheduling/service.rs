//! Stores that are drained, come back, and leave.

use crate::fleet::*;
use placement::*;
use types::*;

fn plan() -> Plan {
    Plan {
        stores: 5,
        regions: 50,
        places: |at| (0..3).map(|nth| (at + nth) % 5 + 1).collect(),
        ..Plan::default()
    }
}

fn drain(fleet: &mut Fleet, store: u64) -> Result<Response, Error> {
    fleet.control(Control::DrainStore {
        store_id: StoreId(store),
    })
}

fn state(fleet: &mut Fleet, store: u64) -> StoreState {
    fleet.view(StoreId(store)).unwrap().store.state
}

#[test]
fn a_drained_store_gives_everything_away_and_leaves_for_good() {
    let mut fleet = Fleet::new(&plan());
    drain(&mut fleet, 2).unwrap();
    assert_eq!(state(&mut fleet, 2), StoreState::Offline);
    fleet.settle(120_000, 3_600_000);
    assert_eq!(fleet.replicas()[&StoreId(2)], 0);
    fleet.assert_replicated(3);
    assert_eq!(state(&mut fleet, 2), StoreState::Tombstone);
    let refused = [
        fleet.register(StoreId(2)),
        fleet.store_heartbeat(StoreId(2)),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(
            error.to_string().starts_with("store is tombstone"),
            "{error}"
        );
    }
    assert!(matches!(
        drain(&mut fleet, 2),
        Err(Error::StoreTombstone(_))
    ));
    fleet.stores.remove(&StoreId(2));
    fleet.elect();
    assert_eq!(
        state(&mut fleet, 2),
        StoreState::Tombstone,
        "it is persisted"
    );
    fleet.control(Control::RemoveTombstones).unwrap();
    let unknown = fleet.view(StoreId(2)).unwrap_err();
    assert_eq!(unknown, Error::StoreNotFound(StoreId(2)));
}

#[test]
fn a_new_store_may_take_the_address_of_one_that_has_left() {
    let mut fleet = Fleet::new(&plan());
    drain(&mut fleet, 2).unwrap();
    fleet.settle(120_000, 3_600_000);
    let address = fleet.stores[&StoreId(2)].store.address.clone();
    let joined = fleet.join();
    fleet.stores.get_mut(&joined).unwrap().store.address = address;
    fleet.register(joined).unwrap();
}

#[test]
fn a_drain_that_leaves_too_few_stores_is_refused_with_the_reason() {
    let mut fleet = Fleet::new(&Plan::default());
    let error = drain(&mut fleet, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "store 2 can't be drained: too few stores would be left: 2 for 3 replicas of each region"
    );
    let mut fleet = Fleet::new(&plan());
    fleet.kill(StoreId(5));
    fleet.run(60_000);
    drain(&mut fleet, 2).unwrap();
    let error = drain(&mut fleet, 3).unwrap_err();
    assert!(matches!(error, Error::StoreRefused { .. }), "{error}");
    let unknown = drain(&mut fleet, 99).unwrap_err();
    assert_eq!(unknown, Error::StoreNotFound(StoreId(99)));
}

#[test]
fn a_drain_that_is_cancelled_brings_the_store_back() {
    let mut fleet = Fleet::new(&plan());
    drain(&mut fleet, 2).unwrap();
    fleet.run(60_000);
    let cancel = Control::CancelDrain {
        store_id: StoreId(2),
    };
    fleet.control(cancel).unwrap();
    assert_eq!(state(&mut fleet, 2), StoreState::Up);
    fleet.settle(120_000, 3_600_000);
    let (least, most) = spread(&fleet.replicas(), |_| true);
    assert!(most * 10 <= least * 12, "from {least} to {most}");
    fleet.assert_replicated(3);
}

#[test]
fn a_store_that_registers_while_it_is_drained_is_still_drained() {
    let mut fleet = Fleet::new(&plan());
    drain(&mut fleet, 2).unwrap();
    fleet.register(StoreId(2)).unwrap();
    assert_eq!(state(&mut fleet, 2), StoreState::Offline);
}

#[test]
fn a_store_whose_regions_are_not_all_known_does_not_leave() {
    let mut fleet = Fleet::new(&plan());
    drain(&mut fleet, 2).unwrap();
    // A half of a split was never reported: it may have a replica there.
    let id = *fleet.regions.keys().next().unwrap();
    fleet.split(id, &[vec![0, 0, 0, 0, 0, 0, 0, 0, 1]]);
    let unreported = *fleet.regions.keys().last().unwrap();
    fleet.regions.remove(&unreported).unwrap();
    fleet.run(1_800_000);
    assert_eq!(
        fleet.view(StoreId(2)).unwrap().store.state,
        StoreState::Offline
    );
}
