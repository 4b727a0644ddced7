//! Leadership, the order of writes, and what happens when they fail.

use crate::common::*;
use placement::*;
use types::*;

const STATUS: Request = Request::IsBootstrapped;

fn safe_point(safe_point: u64) -> Request {
    Request::UpdateGcSafePoint { safe_point }
}

/// A node of its own that is elected with this state, and its answer to a question.
fn answer_of_state(state: Vec<(Vec<u8>, Vec<u8>)>) -> Answer {
    let mut placement = Placement::new(config());
    let mut effects = Vec::new();
    let request = Input::Request {
        id: RequestId(1),
        request: STATUS,
    };
    for input in [
        Input::Elected { term: 1 },
        Input::Loaded { term: 1, state },
        request,
    ] {
        placement.step(Now::default(), input, &mut effects);
    }
    match effects.pop() {
        Some(Effect::Reply { result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_does_not_lead_says_so_in_the_words_that_clients_look_for() {
    let mut world = World::new(1);
    let error = world.call(0, STATUS).unwrap_err();
    assert_eq!(error.to_string(), "not leader of placement");
    let hinted = Error::NotLeader {
        leader: Some(StoreId(3)),
    };
    assert_eq!(
        hinted.to_string(),
        "not leader of placement, the leader is store 3"
    );
    world.elect(0);
    world.settle();
    assert!(world.call(0, STATUS).is_ok());
    world.depose(0);
    assert_eq!(world.call(0, STATUS), Err(error));
}

#[test]
fn requests_wait_until_the_first_state_is_persisted() {
    let mut world = World::new(1);
    world.elect(0);
    let asked = [
        world.ask(0, STATUS),
        world.ask(0, Request::AllocId),
        world.ask(0, safe_point(3)),
    ];
    assert!(asked.iter().all(|id| !world.is_answered(*id)));
    world.settle();
    assert!(
        asked
            .iter()
            .all(|id| matches!(world.answer(*id), Some(Ok(_))))
    );
}

#[test]
fn a_first_state_that_is_lost_is_written_again() {
    for outcome in [Outcome::Lost, Outcome::Undetermined] {
        let mut world = World::new(1);
        world.elect(0);
        let asked = world.ask(0, STATUS);
        world.persist(0, outcome);
        assert!(matches!(
            world.answer(asked),
            Some(Err(Error::PersistFailed(_)))
        ));
        world.advance(0, 50);
        assert!(world.call(0, STATUS).is_ok());
        world.elect(0);
        assert!(world.call(0, STATUS).is_ok());
    }
}

#[test]
fn a_state_of_another_cluster_or_a_damaged_one_is_refused() {
    let world = World::settled();
    assert!(answer_of_state(world.state()).is_ok());
    let mut foreign = world.state();
    foreign[0] = (b"c".to_vec(), vec![1, 0, 0, 0, 0, 0, 0, 0, 9]);
    let refused = answer_of_state(foreign).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the placement state belongs to cluster 9, this node to cluster 77"
    );
    let mut damaged = world.state();
    damaged[1].1.pop();
    assert!(matches!(
        answer_of_state(damaged),
        Err(Error::StateUnusable { .. })
    ));
    let headless = world.state()[1..].to_vec();
    assert!(matches!(
        answer_of_state(headless),
        Err(Error::StateUnusable { .. })
    ));
}

#[test]
fn a_state_that_is_older_than_what_this_node_persisted_is_refused() {
    let mut world = World::settled();
    let before_the_id = world.state();
    world.id(0);
    world.depose(0);
    for state in [before_the_id, vec![]] {
        world.win(0);
        let term = world.nodes[0].leads.unwrap();
        world.step(0, Input::Loaded { term, state });
        let refused = world.call(0, STATUS).unwrap_err();
        assert!(matches!(refused, Error::StateUnusable { .. }));
        assert_eq!(world.notices.pop(), Some(Notice::Unable(refused)));
    }
    world.elect(0);
    assert!(
        world.call(0, STATUS).is_ok(),
        "the right state comes after all"
    );
}

#[test]
fn whoever_asks_a_new_leader_waits_for_its_state() {
    let mut world = World::settled();
    world.win(0);
    let asked = [
        world.ask(0, STATUS),
        world.ask(0, Request::Tso { count: 1 }),
        world.ask(0, Request::AllocId),
    ];
    world.advance(0, 950);
    assert!(asked.iter().all(|id| !world.is_answered(*id)));
    world.load(0);
    world.settle();
    for id in asked {
        assert!(
            matches!(world.answer(id), Some(Ok(_))),
            "{:?}",
            world.answer(id)
        );
    }
}

#[test]
fn nobody_waits_for_ever_for_a_new_leaders_state() {
    let mut world = World::settled();
    world.win(0);
    let first = world.ask(0, STATUS);
    world.advance(0, 950);
    let second = world.ask(0, STATUS);
    world.advance(0, 50);
    assert_eq!(world.answer(first), Some(&Err(Error::Loading)));
    assert!(!world.is_answered(second));
    world.depose(0);
    assert_eq!(world.answer(second), Some(&Err(Error::NOT_LEADER)));
}

#[test]
fn a_late_state_of_the_term_in_which_this_node_leads_is_ignored() {
    let mut world = World::settled();
    let early = world.state();
    let before = world.timestamps(0, 1);
    assert_eq!(world.id(0), 24);
    let asked = world.ask(0, safe_point(3));
    let term = world.nodes[0].leads.unwrap();
    world.step(0, Input::Loaded { term, state: early });
    assert!(!world.is_answered(asked));
    assert_eq!(world.id(0), 25);
    assert!(world.timestamps(0, 1) > before);
    assert!(world.is_answered(asked));
}

#[test]
fn the_state_of_an_earlier_term_is_ignored() {
    let mut world = World::settled();
    world.win(0);
    let early = world.nodes[0].leads.unwrap();
    world.win(0);
    let state = world.state();
    world.step(0, Input::Loaded { term: early, state });
    assert!(!world.nodes[0].placement.is_leader());
    world.load(0);
    assert!(world.nodes[0].placement.is_leader());
}

#[test]
fn what_queues_behind_a_write_goes_out_in_one() {
    let mut world = World::settled();
    let first = world.ask(0, safe_point(1));
    let others: Vec<RequestId> = (2..50).map(|at| world.ask(0, safe_point(at))).collect();
    let store = world.ask(
        0,
        Request::PutStore(Store {
            version: "2".to_string(),
            ..store(1)
        }),
    );
    assert_eq!(world.nodes[0].writes.len(), 1);
    world.persist(0, Outcome::Committed);
    assert!(world.is_answered(first) && !world.is_answered(store));
    assert_eq!(world.nodes[0].writes.len(), 1);
    assert_eq!(
        world.nodes[0].writes[0].2.len(),
        2,
        "one pair for the safe point, one for the store"
    );
    world.persist(0, Outcome::Committed);
    assert!(others.iter().all(|id| world.is_answered(*id)) && world.is_answered(store));
}

#[test]
fn a_write_is_closed_when_it_is_large() {
    let mut config = config();
    config.write_bytes_max = 2_000;
    let mut world = World::with_config(1, config);
    world.elect(0);
    world.settle();
    for id in 3..40 {
        world.ask(
            0,
            heartbeat(&region(id, &[id as u8; 500], &[id as u8; 501], 2), 0, 6),
        );
    }
    let mut writes = 0;
    while let Some((_, _, puts)) = world.nodes[0].writes.front() {
        let bytes: usize = puts
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        assert!(bytes < 2_000 + 1_500, "{bytes}");
        world.persist(0, Outcome::Committed);
        writes += 1;
    }
    assert!(writes > 10);
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn a_failed_write_fails_what_queued_behind_it_and_changes_nothing() {
    let mut world = World::settled();
    let change = |port: u64| {
        Request::PutStore(Store {
            address: format!("s:{port}"),
            ..store(1)
        })
    };
    let first = world.ask(0, change(1));
    let second = world.ask(0, change(2));
    world.persist(0, Outcome::Lost);
    for asked in [first, second] {
        let error = Error::PersistFailed(PersistFailed {
            reason: "lost".to_string(),
        });
        assert_eq!(world.answer(asked), Some(&Err(error)));
    }
    assert_eq!(world.store(0, 1).unwrap().store, store(1));
    assert_eq!(world.call(0, change(3)), Ok(Response::Done));
    assert_eq!(world.store(0, 1).unwrap().store.address, "s:3");
}

#[test]
fn a_failed_write_that_was_persisted_is_put_back_by_the_next_one() {
    let mut world = World::settled();
    world.ask(0, heartbeat(&region(3, b"a", b"m", 2), 0, 6));
    world.persist(0, Outcome::Undetermined);
    assert!(world.disk.contains_key(&b"r\0\0\0\0\0\0\0\x03"[..]));
    world
        .call(0, heartbeat(&region(4, b"b", b"z", 2), 0, 6))
        .unwrap();
    assert!(!world.disk.contains_key(&b"r\0\0\0\0\0\0\0\x03"[..]));
    world.elect(0);
    world.settle();
    assert_eq!(world.route(0, b"b").unwrap().region.id, RegionId(4));
}

#[test]
fn a_late_acknowledgement_of_an_old_leadership_is_ignored() {
    let mut world = World::settled();
    world.ask(0, safe_point(9));
    world.persist(0, Outcome::CommittedLate);
    world.elect(0);
    let asked = world.ask(0, safe_point(12));
    world.acknowledge(0);
    assert!(!world.is_answered(asked), "another write was acknowledged");
    world.settle();
    assert_eq!(world.answer(asked), Some(&Ok(Response::GcSafePoint(12))));
}

#[test]
fn all_that_waits_is_answered_when_leadership_ends() {
    let mut world = World::settled();
    let mut asked = vec![
        world.ask(0, Request::Tso { count: 1 }),
        world.ask(0, Request::Tso { count: 1 }),
    ];
    asked.extend([
        world.ask(0, Request::AllocId),
        world.ask(0, safe_point(3)),
        world.ask(0, safe_point(4)),
    ]);
    world.depose(0);
    for id in asked {
        assert_eq!(
            world.answer(id),
            Some(&Err(Error::NotLeader { leader: None }))
        );
    }
}

#[test]
fn the_safe_point_only_moves_forward() {
    let mut world = World::settled();
    assert_eq!(
        world.call(0, Request::GetGcSafePoint),
        Ok(Response::GcSafePoint(0))
    );
    assert_eq!(world.call(0, safe_point(70)), Ok(Response::GcSafePoint(70)));
    assert_eq!(world.call(0, safe_point(60)), Ok(Response::GcSafePoint(70)));
    world.elect(0);
    world.settle();
    assert_eq!(
        world.call(0, Request::GetGcSafePoint),
        Ok(Response::GcSafePoint(70))
    );
}

#[test]
fn pending_requests_are_bounded_in_bytes() {
    let mut config = config();
    config.pending_bytes_max = 10_000;
    let mut world = World::with_config(1, config);
    world.win(0);
    let mut refused = 0;
    for at in 0..100 {
        if at == 5 {
            world.load(0);
        }
        let asked = world.ask(
            0,
            Request::GetRegion {
                key: vec![1; 1_000],
            },
        );
        match world.answer(asked) {
            Some(Err(Error::Busy { pending_bytes })) => {
                assert!(*pending_bytes <= 10_000);
                refused += 1;
            }
            None => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((90..100).contains(&refused), "{refused}");
    world.settle();
    assert_eq!(world.unanswered(), 0);
    assert!(
        world
            .call(
                0,
                Request::GetRegion {
                    key: vec![1; 1_000]
                }
            )
            .is_ok()
    );
}

#[test]
fn the_one_keyspace_is_default() {
    let mut world = World::settled();
    let default = Keyspace {
        id: KeyspaceId::DEFAULT,
        name: "DEFAULT".to_string(),
    };
    let load = |name: &str| Request::LoadKeyspace {
        name: name.to_string(),
    };
    assert_eq!(
        world.call(0, load("DEFAULT")),
        Ok(Response::Keyspace(default.clone()))
    );
    assert_eq!(
        world.call(0, Request::GetAllKeyspaces),
        Ok(Response::Keyspaces(vec![default]))
    );
    let unknown = world.call(0, load("default")).unwrap_err();
    assert_eq!(unknown.to_string(), "keyspace \"default\" does not exist");
}

#[test]
#[should_panic(expected = "bad first Region")]
fn overlapping_first_regions_are_a_mistake_of_the_program() {
    let mut config = config();
    config.bootstrap.regions.push(region(3, b"a", b"b", 1));
    Placement::new(config);
}
