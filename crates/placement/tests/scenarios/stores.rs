//! Stores: who may register, and who counts as alive.

use crate::common::*;
use placement::*;
use types::*;

fn put(world: &mut World, store: Store) -> Answer {
    world.call(0, Request::PutStore(store))
}

fn beat(world: &mut World, id: u64) -> Answer {
    let stats = StoreStats {
        store_id: StoreId(id),
        capacity_bytes: 5,
        ..StoreStats::default()
    };
    world.call(0, Request::StoreHeartbeat(stats))
}

#[test]
fn a_new_store_gets_an_id_and_registers() {
    let mut world = World::settled();
    let id = world.id(0);
    assert_eq!(put(&mut world, started(id)), Ok(Response::Done));
    assert_eq!(world.store(0, id).unwrap().store, started(id));
    let all = world.call(0, Request::GetAllStores);
    assert!(matches!(all, Ok(Response::Stores(stores)) if stores.len() == 4));
}

#[test]
fn a_store_that_restarts_elsewhere_keeps_its_id() {
    let mut world = World::settled();
    let moved = Store {
        address: "10.0.0.9:20160".to_string(),
        ..started(2)
    };
    assert_eq!(put(&mut world, moved.clone()), Ok(Response::Done));
    assert_eq!(world.store(0, 2).unwrap().store, moved);
}

#[test]
fn a_registration_that_changes_nothing_writes_nothing() {
    let mut world = World::settled();
    put(&mut world, started(2)).unwrap();
    let asked = world.ask(0, Request::PutStore(started(2)));
    assert!(world.is_answered(asked));
    assert!(world.nodes[0].writes.is_empty());
}

#[test]
fn an_address_belongs_to_one_store() {
    let mut world = World::settled();
    let id = world.id(0);
    let thief = Store {
        address: store(1).address,
        ..store(id)
    };
    let refused = put(&mut world, thief).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "duplicated store address \"127.0.0.1:20001\": store 1 has it"
    );
}

#[test]
fn an_address_belongs_to_one_store_even_before_it_is_persisted() {
    let mut world = World::settled();
    let (a, b) = (world.id(0), world.id(0));
    let first = world.ask(0, Request::PutStore(store(a)));
    let second = world.ask(
        0,
        Request::PutStore(Store {
            address: store(a).address,
            ..store(b)
        }),
    );
    assert!(!world.is_answered(first));
    assert!(matches!(
        world.answer(second),
        Some(Err(Error::StoreAddressTaken { .. }))
    ));
}

#[test]
fn stores_that_make_no_sense_are_refused() {
    let mut world = World::settled();
    let label = ("zone".to_string(), "z".to_string());
    let bad = [
        store(0),
        store(999_999),
        Store {
            address: String::new(),
            ..store(1)
        },
        Store {
            address: "a".repeat(2_000),
            ..store(1)
        },
        Store {
            labels: vec![label; 65],
            ..store(1)
        },
    ];
    for store in bad {
        let refused = put(&mut world, store.clone());
        assert!(
            matches!(refused, Err(Error::InvalidStore { .. })),
            "{store:?} {refused:?}"
        );
    }
}

#[test]
fn an_id_that_nobody_was_given_is_no_stores_id() {
    let mut world = World::settled();
    let id = world.id(0);
    let refused = put(&mut world, started(id + 1)).unwrap_err();
    assert!(matches!(
        refused,
        Error::InvalidStore {
            reason: "its id was never allocated",
            ..
        }
    ));
    assert_eq!(world.id(0), id + 1);
    assert_eq!(put(&mut world, started(id + 1)), Ok(Response::Done));

    // The next leader does not know what was given out below the bound, and gives out nothing there.
    world.elect(0);
    world.settle();
    assert_eq!(put(&mut world, started(id + 2)), Ok(Response::Done));
    assert!(world.id(0) > id + 2);
}

#[test]
fn a_store_that_has_registered_is_told_from_one_that_never_did_whoever_leads() {
    let mut world = World::new(2);
    world.elect(0);
    world.settle();
    put(&mut world, started(1)).unwrap();
    put(&mut world, store(2)).unwrap();
    let unborn = beat(&mut world, 3).unwrap_err();
    assert_eq!(unborn.to_string(), "invalid store 3: it has not registered");
    for leader in [0, 1] {
        let times = |world: &mut World, id| {
            let view = world.store(leader, id).unwrap();
            (view.store.start_time_s, view.last_heartbeat_wall_ms)
        };
        assert_eq!(times(&mut world, 1), (900, None));
        assert_eq!(times(&mut world, 2), (1_000, None), "the driver's own time");
        assert_eq!(times(&mut world, 3), (0, None));
        world.elect(1);
        world.settle();
    }
}

#[test]
fn a_start_time_that_is_not_given_again_is_kept() {
    let mut world = World::settled();
    put(&mut world, started(1)).unwrap();
    put(&mut world, store(1)).unwrap();
    assert_eq!(world.store(0, 1).unwrap().store, started(1));
}

#[test]
fn an_unknown_store_is_not_found_in_the_words_that_clients_look_for() {
    let mut world = World::settled();
    let error = world.store(0, 42).unwrap_err().to_string();
    assert_eq!(error, "invalid store ID 42, not found");
    assert_eq!(beat(&mut world, 42), Err(Error::StoreNotFound(StoreId(42))));
}

#[test]
fn a_silent_store_is_disconnected_then_down_and_comes_back() {
    let mut world = World::settled();
    let liveness = |world: &mut World| world.store(0, 1).unwrap().liveness;
    assert_eq!(
        liveness(&mut world),
        Liveness::Connected,
        "a new leader trusts at first"
    );
    put(&mut world, started(1)).unwrap();
    world.advance(0, 19_999);
    assert_eq!(liveness(&mut world), Liveness::Connected);
    world.advance(0, 1);
    assert_eq!(liveness(&mut world), Liveness::Disconnected);
    world.advance(0, 30 * 60_000);
    assert_eq!(liveness(&mut world), Liveness::Down);
    beat(&mut world, 1).unwrap();
    let view = world.store(0, 1).unwrap();
    assert_eq!(view.liveness, Liveness::Connected);
    assert_eq!(
        view.last_heartbeat_wall_ms,
        Some(world.nodes[0].clock.wall_ms)
    );
    assert_eq!(view.stats.unwrap().capacity_bytes, 5);
}

#[test]
fn a_wall_clock_that_jumps_makes_no_store_silent() {
    let mut world = World::settled();
    put(&mut world, started(1)).unwrap();
    beat(&mut world, 1).unwrap();
    world.jump(0, 3_600_000);
    assert_eq!(world.store(0, 1).unwrap().liveness, Liveness::Connected);
}

fn label(world: &mut World, id: u64, labels: &[(&str, &str)]) -> Answer {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let control = Control::LabelStore {
        store_id: StoreId(id),
        labels: labels.iter().map(owned).collect(),
    };
    world.call(0, Request::Control(Box::new(control)))
}

fn labels(world: &mut World, id: u64) -> Vec<String> {
    let labels = world.store(0, id).unwrap().store.labels;
    let labels = labels.iter();
    labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[test]
fn a_label_stays_until_the_store_registers_another_value_or_it_is_emptied() {
    let mut world = World::settled();
    let registered = |zone: &str| Store {
        labels: vec![("zone".to_string(), zone.to_string())],
        ..started(2)
    };
    put(&mut world, registered("a")).unwrap();
    label(&mut world, 2, &[("rack", "r1"), ("zone", "b")]).unwrap();
    assert_eq!(labels(&mut world, 2), ["rack=r1", "zone=b"]);
    put(&mut world, registered("a")).unwrap();
    assert_eq!(labels(&mut world, 2), ["rack=r1", "zone=a"]);
    label(&mut world, 2, &[("rack", "")]).unwrap();
    assert_eq!(labels(&mut world, 2), ["zone=a"]);
}

#[test]
fn labels_that_make_no_sense_are_refused() {
    let mut world = World::settled();
    let refused = label(&mut world, 2, &[("", "a")]).unwrap_err();
    assert_eq!(refused.to_string(), "invalid store 2: a label has no name");
    let long = "a".repeat(2_000);
    assert!(label(&mut world, 2, &[("zone", &long)]).is_err());
    let unknown = label(&mut world, 99, &[("zone", "a")]).unwrap_err();
    assert_eq!(unknown, Error::StoreNotFound(StoreId(99)));
    assert!(labels(&mut world, 2).is_empty());
}
