//! Regions: who owns a key, and who leads.

use crate::common::*;
use placement::*;
use types::*;

fn scan(world: &mut World, start: &[u8], end: &[u8], limit: usize) -> Vec<u64> {
    let request = Request::ScanRegions {
        start: start.to_vec(),
        end: end.to_vec(),
        limit,
    };
    match world.call(0, request) {
        Ok(Response::Regions(routes)) => routes.iter().map(|route| route.region.id.get()).collect(),
        other => panic!("{other:?}"),
    }
}

fn find(world: &mut World, request: Request) -> u64 {
    match world.call(0, request) {
        Ok(Response::Region(route)) => route.map_or(0, |route| route.region.id.get()),
        other => panic!("{other:?}"),
    }
}

/// Region 2 split into three, by heartbeats.
fn split_world() -> World {
    let mut world = World::settled();
    for region in [
        region(4, b"p", b"", 3),
        region(3, b"g", b"p", 3),
        region(2, b"", b"g", 3),
    ] {
        world.call(0, heartbeat(&region, 0, 6)).unwrap();
    }
    world
}

#[test]
fn a_new_cluster_has_routes_before_any_heartbeat() {
    let mut world = World::settled();
    let route = world.route(0, b"any").unwrap();
    assert_eq!(*route.region, region(2, b"", b"", 1));
    assert_eq!(route.leader, None);
    assert_eq!(route.leader_or_guess(), Some(route.region.peers[0]));
}

#[test]
fn the_leader_is_known_from_its_heartbeat() {
    let mut world = World::settled();
    let shape = region(2, b"", b"", 1);
    assert_eq!(world.call(0, heartbeat(&shape, 2, 6)), Ok(Response::Done));
    assert!(
        world.nodes[0].writes.is_empty(),
        "a known shape is not written again"
    );
    let route = world.route(0, b"any").unwrap();
    assert_eq!(route.leader, Some(shape.peers[2]));
    assert_eq!(route.leader_or_guess(), route.leader);
}

#[test]
fn the_regions_that_a_store_leads_are_counted_by_their_last_reports() {
    let mut world = split_world();
    let led = |world: &mut World| [1, 2, 3].map(|id| world.store(0, id).unwrap().leader_count);
    assert_eq!(led(&mut world), [3, 0, 0]);
    world
        .call(0, heartbeat(&region(3, b"g", b"p", 3), 1, 7))
        .unwrap();
    assert_eq!(led(&mut world), [2, 1, 0]);
    // Region 5 takes the ranges of 3 and 4 over.
    world
        .call(0, heartbeat(&region(5, b"g", b"", 9), 2, 6))
        .unwrap();
    assert_eq!(led(&mut world), [1, 0, 1]);
    world.ask(0, heartbeat(&region(6, b"g", b"h", 10), 2, 6));
    world.persist(0, Outcome::Lost);
    assert_eq!(led(&mut world), [1, 0, 1], "it did not come to be");
}

#[test]
fn a_replaced_region_leader_is_not_believed() {
    let mut world = World::settled();
    let shape = region(2, b"", b"", 1);
    world.call(0, heartbeat(&shape, 2, 6)).unwrap();
    let refused = world.call(0, heartbeat(&shape, 1, 5));
    let stale = Error::StaleTerm {
        region_id: RegionId(2),
        reported: 5,
        known: 6,
    };
    assert_eq!(refused, Err(stale));
    assert_eq!(world.route(0, b"any").unwrap().leader, Some(shape.peers[2]));
}

#[test]
fn the_troubled_peers_of_a_heartbeat_are_told() {
    let mut world = World::settled();
    let shape = region(2, b"", b"", 1);
    let report = RegionHeartbeat {
        leader: shape.peers[0].id,
        term: 6,
        down_peers: vec![shape.peers[1].id],
        pending_peers: vec![shape.peers[2].id],
        region: shape.clone(),
        ..RegionHeartbeat::default()
    };
    world
        .call(0, Request::RegionHeartbeat(Box::new(report)))
        .unwrap();
    let route = world.route(0, b"any").unwrap();
    assert_eq!(
        (route.down_peers, route.pending_peers),
        (vec![shape.peers[1]], vec![shape.peers[2]])
    );
}

#[test]
fn a_split_is_routed_after_it_is_persisted_and_not_before() {
    let mut world = World::settled();
    world.ask(0, heartbeat(&region(3, b"", b"m", 2), 0, 6));
    assert_eq!(world.route_now(b"a"), 2);
    world.persist(0, Outcome::Committed);
    assert_eq!(world.route_now(b"a"), 3);
}

#[test]
fn a_split_that_is_told_leaves_no_key_without_a_region_and_its_parts_are_led_where_the_whole_was() {
    let mut world = World::settled();
    world
        .call(0, heartbeat(&region(2, b"", b"", 1), 1, 6))
        .unwrap();
    let parts = [
        region(3, b"", b"g", 3),
        region(4, b"g", b"p", 3),
        region(2, b"p", b"", 3),
    ];
    world.ask(0, Request::SplitDone(parts.to_vec()));
    assert_eq!(world.route_now(b"h"), 2);
    world.persist(0, Outcome::Committed);
    assert_eq!(scan(&mut world, b"", b"", 0), [3, 4, 2]);
    let route = world.route(0, b"h").unwrap();
    assert_eq!(route.leader, Some(parts[1].peers[1]));
    // Whoever leads says so, in whatever term.
    world.call(0, heartbeat(&parts[1], 2, 5)).unwrap();
    assert_eq!(
        world.route(0, b"h").unwrap().leader,
        Some(parts[1].peers[2])
    );
}

#[test]
fn a_split_that_comes_late_or_makes_no_sense_changes_nothing() {
    let mut world = split_world();
    let parts = vec![region(9, b"", b"c", 4), region(2, b"c", b"z", 4)];
    assert_eq!(world.call(0, Request::SplitDone(parts)), Ok(Response::Done));
    assert_eq!(scan(&mut world, b"", b"", 0), [2, 3, 4], "2 ends elsewhere");
    let parts = vec![region(3, b"", b"c", 4), region(2, b"c", b"g", 4)];
    assert_eq!(world.call(0, Request::SplitDone(parts)), Ok(Response::Done));
    assert_eq!(scan(&mut world, b"", b"", 0), [2, 3, 4], "3 is there");
    let parts = vec![region(9, b"", b"c", 4), region(2, b"d", b"g", 4)];
    let refused = world.call(0, Request::SplitDone(parts));
    assert!(
        matches!(refused, Err(Error::InvalidRegion { .. })),
        "{refused:?}"
    );
}

#[test]
fn both_halves_of_a_split_fit_into_one_write() {
    let mut world = World::settled();
    world.ask(0, Request::UpdateGcSafePoint { safe_point: 1 });
    world.ask(0, heartbeat(&region(3, b"", b"m", 2), 0, 6));
    world.ask(0, heartbeat(&region(2, b"m", b"", 2), 0, 6));
    world.persist(0, Outcome::Committed);
    assert_eq!(world.nodes[0].writes.len(), 1);
    world.persist(0, Outcome::Committed);
    assert_eq!(scan(&mut world, b"", b"", 0), [3, 2]);
}

#[test]
fn regions_are_found_by_key_by_id_and_from_behind() {
    let mut world = split_world();
    assert_eq!(
        find(&mut world, Request::GetRegion { key: b"h".to_vec() }),
        3
    );
    assert_eq!(
        find(&mut world, Request::GetPrevRegion { key: b"h".to_vec() }),
        2
    );
    assert_eq!(
        find(&mut world, Request::GetPrevRegion { key: b"a".to_vec() }),
        0
    );
    assert_eq!(
        find(
            &mut world,
            Request::GetRegionById {
                region_id: RegionId(4)
            }
        ),
        4
    );
    assert_eq!(
        find(
            &mut world,
            Request::GetRegionById {
                region_id: RegionId(9)
            }
        ),
        0
    );
}

#[test]
fn scans_are_in_order_and_limited() {
    let mut world = split_world();
    assert_eq!(scan(&mut world, b"", b"", 0), [2, 3, 4]);
    assert_eq!(scan(&mut world, b"h", b"", 0), [3, 4]);
    assert_eq!(scan(&mut world, b"", b"g", 9), [2]);
    assert_eq!(scan(&mut world, b"", b"", 2), [2, 3]);
    let mut config = config();
    config.scan_limit_max = 1;
    let mut world = World::with_config(1, config);
    world.elect(0);
    world.settle();
    world
        .call(0, heartbeat(&region(3, b"", b"m", 2), 0, 6))
        .unwrap();
    world
        .call(0, heartbeat(&region(2, b"m", b"", 2), 0, 6))
        .unwrap();
    assert_eq!(scan(&mut world, b"", b"", usize::MAX), [3]);
}

#[test]
fn a_new_placement_leader_knows_the_shapes_but_not_the_leaders() {
    let mut world = split_world();
    world.elect(0);
    world.settle();
    assert_eq!(scan(&mut world, b"", b"", 0), [2, 3, 4]);
    assert_eq!(world.route(0, b"h").unwrap().leader, None);
}

#[test]
fn the_placement_region_itself_is_not_routed_to() {
    let mut world = World::settled();
    assert_eq!(
        find(
            &mut world,
            Request::GetRegionById {
                region_id: RegionId(1)
            }
        ),
        0
    );
    assert_eq!(
        world.call(0, heartbeat(&region(1, b"", b"", 5), 0, 6)),
        Ok(Response::Done)
    );
    assert_eq!(
        find(
            &mut world,
            Request::GetRegionById {
                region_id: RegionId(1)
            }
        ),
        0
    );
    assert_eq!(scan(&mut world, b"", b"", 0), [2]);
}

#[test]
fn reports_that_make_no_sense_are_refused() {
    let mut world = World::settled();
    let shape = region(2, b"", b"", 1);
    let report = |change: &dyn Fn(&mut RegionHeartbeat)| {
        let mut report = RegionHeartbeat {
            region: shape.clone(),
            leader: PeerId(21),
            term: 6,
            ..Default::default()
        };
        change(&mut report);
        Request::RegionHeartbeat(Box::new(report))
    };
    let bad = [
        report(&|report| report.leader = PeerId(99)),
        report(&|report| report.down_peers = vec![PeerId(99)]),
        report(&|report| report.pending_peers = vec![PeerId(21); 9]),
        report(&|report| report.region.peers.clear()),
        report(&|report| report.region.range.start = b"x".to_vec()),
    ];
    for request in bad {
        let refused = world.call(0, request.clone());
        assert!(
            matches!(refused, Err(Error::InvalidRegion { .. })),
            "{request:?} {refused:?}"
        );
    }
    let stranger = report(&|report| {
        report.region.epoch.conf_ver = 2;
        report.region.peers[0].store_id = StoreId(50);
    });
    assert_eq!(
        world.call(0, stranger),
        Err(Error::StoreNotFound(StoreId(50)))
    );
}

impl World {
    /// The Region that owns a key for whom asks now, without anything else going on.
    fn route_now(&mut self, key: &[u8]) -> u64 {
        let asked = self.ask(0, Request::GetRegion { key: key.to_vec() });
        match self.answer(asked) {
            Some(Ok(Response::Region(Some(route)))) => route.region.id.get(),
            other => panic!("{other:?}"),
        }
    }
}
