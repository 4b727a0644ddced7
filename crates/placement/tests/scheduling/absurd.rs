//! Reports that no store sends, and that anybody who reaches the port can send.

use crate::fleet::*;
use placement::*;
use types::*;

fn fleet() -> Fleet {
    Fleet::new(&Plan {
        stores: 5,
        regions: 10,
        places: |at| (0..3).map(|nth| (at + nth) % 5 + 1).collect(),
        ..Plan::default()
    })
}

/// What the Region's leader reports when nothing is wrong.
fn report(fleet: &Fleet, id: RegionId) -> RegionHeartbeat {
    let seen = &fleet.regions[&id];
    RegionHeartbeat {
        region: seen.region.clone(),
        leader: seen.leader,
        term: seen.term,
        ..RegionHeartbeat::default()
    }
}

fn hear(fleet: &mut Fleet, heartbeat: RegionHeartbeat) -> Result<Response, Error> {
    fleet.ask(Request::RegionHeartbeat(Box::new(heartbeat)))
}

#[test]
fn figures_beyond_any_store_overflow_no_sum() {
    let mut fleet = fleet();
    for store in fleet.stores.values_mut() {
        // Nearly full, too: then the whole disk counts.
        store.stats.capacity_bytes = u64::MAX;
        store.stats.available_bytes = 0;
        store.stats.traffic.read_bytes = u64::MAX;
    }
    let ids: Vec<RegionId> = fleet.regions.keys().copied().collect();
    for _ in 0..3 {
        for id in &ids {
            let traffic = Traffic {
                interval_s: 1,
                written_bytes: u64::MAX,
                written_keys: u64::MAX,
                read_bytes: u64::MAX,
                read_keys: u64::MAX,
                read_requests: u64::MAX,
                write_requests: u64::MAX,
                cpu_percent: u64::MAX,
            };
            let absurd = RegionHeartbeat {
                approximate_size_bytes: u64::MAX,
                approximate_keys: u64::MAX,
                traffic,
                ..report(&fleet, *id)
            };
            hear(&mut fleet, absurd).unwrap();
        }
        let stores: Vec<StoreId> = fleet.stores.keys().copied().collect();
        for id in stores {
            fleet.store_heartbeat(id).unwrap();
        }
        fleet.placement.check_invariants();
        fleet.run(60_000);
    }
    fleet.placement.check_invariants();
}

#[test]
fn a_placement_region_of_no_possible_shape_is_refused() {
    let mut fleet = fleet();
    let peer = |id, store| Peer {
        id: PeerId(id),
        store_id: StoreId(store),
        role: PeerRole::Voter,
    };
    let placement = |peers: Vec<Peer>| RegionHeartbeat {
        leader: peers[0].id,
        region: Region {
            id: RegionId::PLACEMENT,
            epoch: Epoch {
                conf_ver: 1,
                version: 1,
            },
            peers,
            ..Region::default()
        },
        term: 1,
        ..RegionHeartbeat::default()
    };
    let one_store = placement(vec![peer(1, 1), peer(2, 2), peer(3, 2)]);
    let one_peer = placement(vec![peer(1, 1), peer(1, 2)]);
    for absurd in [one_store, one_peer] {
        let refused = hear(&mut fleet, absurd).unwrap_err();
        assert!(matches!(refused, Error::InvalidRegion { .. }), "{refused}");
    }
    let good = placement(vec![peer(1, 1), peer(2, 2), peer(3, 3)]);
    for _ in 0..2 {
        hear(&mut fleet, good.clone()).unwrap();
    }
    fleet.placement.check_invariants();
}

#[test]
fn a_report_of_ailing_peers_that_the_region_does_not_have_is_refused() {
    let mut fleet = fleet();
    let id = *fleet.regions.keys().next().unwrap();
    let foreign = vec![PeerId(7)];
    for absurd in [
        RegionHeartbeat {
            down_peers: foreign.clone(),
            ..report(&fleet, id)
        },
        RegionHeartbeat {
            pending_peers: foreign.clone(),
            ..report(&fleet, id)
        },
        RegionHeartbeat {
            quarantined_peers: foreign,
            ..report(&fleet, id)
        },
    ] {
        let refused = hear(&mut fleet, absurd).unwrap_err();
        assert!(matches!(refused, Error::InvalidRegion { .. }), "{refused}");
    }
}

#[test]
fn a_split_that_gives_a_part_the_placement_regions_id_is_refused() {
    let mut fleet = fleet();
    let whole = fleet.regions.values().next().unwrap().region.clone();
    let mut right = whole.clone();
    right.epoch.version += 1;
    let mut left = right.clone();
    left.id = RegionId::PLACEMENT;
    for peer in &mut left.peers {
        peer.id.0 += 1_000;
    }
    left.range.end = b"\0".to_vec();
    right.range.start = left.range.end.clone();
    assert_eq!(left.range.start, b"");
    let refused = fleet
        .ask(Request::SplitDone(vec![left, right]))
        .unwrap_err();
    assert!(matches!(refused, Error::InvalidRegion { .. }), "{refused}");
    let key = b"".to_vec();
    let answer = fleet.ask(Request::GetRegion { key }).unwrap();
    assert!(matches!(answer, Response::Region(Some(route)) if *route.region == whole));
}
