//! The placement Region's own replicas: where they are, and that they follow the stores.

use crate::fleet::*;
use placement::*;
use types::*;

const OWN: RegionId = RegionId::PLACEMENT;

/// Five stores with data on all of them, and the placement Region on the first `members`.
fn fleet(members: u64) -> Fleet {
    let plan = Plan {
        stores: 5,
        regions: 20,
        places: |at| (0..3).map(|nth| (at + nth) % 5 + 1).collect(),
        ..Plan::default()
    };
    let peer = |store| Peer {
        id: PeerId(10 + store),
        store_id: StoreId(store),
        role: PeerRole::Voter,
    };
    let own = Region {
        id: OWN,
        range: KeyRange::default(),
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        peers: (1..=members).map(peer).collect(),
    };
    let mut fleet = Fleet::with_config(&plan, |config| config.bootstrap.regions.push(own.clone()));
    fleet.place(own, PeerId(11), 0);
    fleet
}

fn members(fleet: &mut Fleet) -> Vec<u64> {
    match fleet.ask(Request::GetMembers) {
        Ok(Response::Members(stores)) => stores.iter().map(|store| store.get()).collect(),
        other => panic!("{other:?}"),
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
fn the_members_are_those_that_the_placement_region_reports() {
    let mut fleet = fleet(3);
    assert_eq!(members(&mut fleet), [], "it has not reported yet");
    fleet.heartbeat(OWN);
    assert_eq!(members(&mut fleet), [1, 2, 3]);
    let routed = fleet.ask(Request::GetRegionById { region_id: OWN });
    assert_eq!(
        routed,
        Ok(Response::Region(None)),
        "clients have no use for it"
    );
}

#[test]
fn a_member_that_is_drained_hands_over_its_place_and_leaves() {
    let mut fleet = fleet(3);
    fleet.heartbeat(OWN);
    drain(&mut fleet, 1).unwrap();
    fleet.settle(120_000, 3_600_000);
    let now = members(&mut fleet);
    assert!(now.len() == 3 && !now.contains(&1), "{now:?}");
    assert_ne!(fleet.regions[&OWN].leader_store(), StoreId(1));
    assert_eq!(state(&mut fleet, 1), StoreState::Tombstone);
    fleet.assert_replicated(3);
}

#[test]
fn a_drained_member_does_not_leave_while_it_votes_or_nobody_knows_whether_it_does() {
    let mut fleet = fleet(3);
    let own = fleet.regions.remove(&OWN).unwrap();
    drain(&mut fleet, 1).unwrap();
    fleet.run(1_800_000);
    assert_eq!(fleet.replicas()[&StoreId(1)], 0, "its data has gone");
    assert_eq!(state(&mut fleet, 1), StoreState::Offline);
    fleet.regions.insert(OWN, own);
    fleet.settle(120_000, 3_600_000);
    assert_eq!(state(&mut fleet, 1), StoreState::Tombstone);
}

#[test]
fn a_member_that_is_down_for_long_is_replaced() {
    let mut fleet = fleet(3);
    fleet.heartbeat(OWN);
    fleet.kill(StoreId(2));
    fleet.settle(2_400_000, 7_200_000);
    let now = members(&mut fleet);
    assert!(now.len() == 3 && !now.contains(&2), "{now:?}");
}

#[test]
fn a_cluster_that_began_with_one_member_gets_as_many_as_regions_have_replicas() {
    let mut fleet = fleet(1);
    fleet.heartbeat(OWN);
    fleet.settle(120_000, 3_600_000);
    assert_eq!(members(&mut fleet).len(), 3);
}

#[test]
fn the_placement_region_is_moved_when_it_is_asked_for_and_never_for_balance() {
    let mut fleet = fleet(3);
    fleet.heartbeat(OWN);
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        fleet.control(Control::AddScheduler(name)).unwrap();
    }
    fleet.run(600_000);
    assert!(fleet.done.transfers > 0 && fleet.done.replicas_added > 0);
    assert_eq!(fleet.regions[&OWN].leader, PeerId(11));
    assert_eq!(members(&mut fleet), [1, 2, 3]);
    let to_2 = OperatorRequest::TransferLeader {
        region_id: OWN,
        to: StoreId(2),
    };
    fleet.control(Control::AddOperator(to_2)).unwrap();
    fleet.run(1_000);
    assert_eq!(fleet.regions[&OWN].leader_store(), StoreId(2));
    let split = OperatorRequest::Split {
        region_id: OWN,
        keys: Vec::new(),
    };
    let refused = fleet.control(Control::AddOperator(split));
    assert!(
        matches!(refused, Err(Error::OperatorRefused { .. })),
        "{refused:?}"
    );
}
