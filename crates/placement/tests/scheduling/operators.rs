//! Operators that somebody asks for, and their rules.

use crate::fleet::*;
use placement::*;
use types::*;

const REGION: RegionId = RegionId(1_000);

fn fleet() -> Fleet {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        ..Plan::default()
    });
    fleet.run(1_000);
    fleet
}

fn add(fleet: &mut Fleet, request: OperatorRequest) -> Result<Response, Error> {
    fleet.control(Control::AddOperator(request))
}

fn record(fleet: &mut Fleet) -> Result<OperatorRecord, Error> {
    match fleet.control(Control::GetOperator { region_id: REGION })? {
        Response::Operator(record) => Ok(*record),
        other => panic!("{other:?}"),
    }
}

/// The first two words of each step of the Region's operator.
fn steps(fleet: &mut Fleet) -> Vec<String> {
    let steps = record(fleet).unwrap().operator.steps;
    let words = steps.iter().map(|step| {
        let step = step.to_string();
        step.split(' ').take(2).collect::<Vec<_>>().join(" ")
    });
    words.collect()
}

fn transfer(to: u64) -> OperatorRequest {
    OperatorRequest::TransferLeader {
        region_id: REGION,
        to: StoreId(to),
    }
}

#[test]
fn a_leader_that_is_to_move_its_own_replica_hands_over_first() {
    let mut fleet = fleet();
    let request = OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(1),
        to: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    let steps = steps(&mut fleet);
    let expected = [
        "add learner",
        "transfer leader",
        "enter joint:",
        "leave joint",
        "remove peer",
    ];
    assert_eq!(steps, expected);
    fleet.settle(10_000, 600_000);
    assert_eq!(fleet.regions[&REGION].stores(), [2, 3, 4]);
    assert_eq!(record(&mut fleet).unwrap().status, OperatorStatus::Finished);
}

#[test]
fn a_leader_whose_followers_are_behind_stays_until_one_of_them_can_lead() {
    let mut fleet = fleet();
    fleet.fall_behind(REGION, 60_000);
    let request = || OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(1),
        to: StoreId(4),
    };
    let refused = add(&mut fleet, request());
    assert!(
        matches!(refused, Err(Error::OperatorRefused { .. })),
        "{refused:?}"
    );
    fleet.run(120_000);
    add(&mut fleet, request()).unwrap();
    fleet.settle(10_000, 600_000);
    assert_eq!(fleet.regions[&REGION].stores(), [2, 3, 4]);
}

#[test]
fn the_only_replica_moves_by_letting_the_new_one_lead_first() {
    let mut fleet = Fleet::new(&Plan {
        stores: 2,
        places: |_| vec![1],
        ..Plan::default()
    });
    fleet.set("max-replicas", "1");
    fleet.run(1_000);
    let request = OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(1),
        to: StoreId(2),
    };
    add(&mut fleet, request).unwrap();
    let expected = [
        "add learner",
        "promote learner",
        "transfer leader",
        "remove peer",
    ];
    assert_eq!(steps(&mut fleet), expected);
    fleet.settle(10_000, 600_000);
    assert_eq!(record(&mut fleet).unwrap().status, OperatorStatus::Finished);
}

#[test]
fn without_joint_consensus_a_replica_moves_one_change_at_a_time() {
    let mut fleet = fleet();
    fleet.set("enable-joint-consensus", "false");
    let request = OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(2),
        to: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    fleet.settle(10_000, 600_000);
    assert_eq!(fleet.regions[&REGION].stores(), [1, 3, 4]);
    assert_eq!(fleet.regions[&REGION].region.epoch.conf_ver, 1 + 3);
}

#[test]
fn a_second_operator_of_a_region_is_refused_and_says_which_is_there() {
    let mut fleet = fleet();
    fleet.copy_ms = 60_000;
    let request = OperatorRequest::AddPeer {
        region_id: REGION,
        store_id: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    let error = add(&mut fleet, transfer(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "region 1000 has an operator already: admin-add-peer"
    );
    fleet
        .control(Control::CancelOperator { region_id: REGION })
        .unwrap();
    add(&mut fleet, transfer(2)).unwrap();
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let mut fleet = fleet();
    let unknown = OperatorRequest::AddPeer {
        region_id: RegionId(7),
        store_id: StoreId(4),
    };
    assert_eq!(
        add(&mut fleet, unknown),
        Err(Error::RegionNotFound(RegionId(7)))
    );
    let twice = OperatorRequest::AddPeer {
        region_id: REGION,
        store_id: StoreId(2),
    };
    let error = add(&mut fleet, twice).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the store has a replica already")
    );
    let error = add(&mut fleet, transfer(4)).unwrap_err();
    assert!(error.to_string().ends_with("the store has no replica"));
    assert_eq!(record(&mut fleet), Err(Error::OperatorNotFound(REGION)));
}

#[test]
fn a_step_that_takes_too_long_ends_the_operator_and_its_learner_goes() {
    let mut fleet = fleet();
    fleet.copy_ms = 86_400_000;
    let request = OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(2),
        to: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    fleet.run(590_000);
    assert_eq!(record(&mut fleet).unwrap().status, OperatorStatus::Running);
    fleet.run(120_000);
    let ended = fleet.ended();
    let timed_out = ended
        .iter()
        .find(|record| record.status == OperatorStatus::TimedOut);
    assert_eq!(timed_out.unwrap().operator.purpose, "admin-transfer-peer");
    assert_eq!(fleet.regions[&REGION].stores(), [1, 2, 3]);
}

#[test]
fn an_operator_ends_when_somebody_else_changes_the_membership() {
    let mut fleet = fleet();
    fleet.copy_ms = 60_000;
    let request = OperatorRequest::AddPeer {
        region_id: REGION,
        store_id: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    let region = &mut fleet.regions.get_mut(&REGION).unwrap().region;
    region.peers.retain(|peer| peer.store_id != StoreId(3));
    region.epoch.conf_ver += 1;
    fleet.heartbeat(REGION);
    let reason = "somebody else has changed the membership";
    let ended = fleet.ended();
    assert_eq!(ended[0].status, OperatorStatus::Cancelled(reason));
}

#[test]
fn a_new_placement_leader_knows_no_operator_of_the_last_one() {
    let mut fleet = fleet();
    fleet.copy_ms = 60_000;
    let request = OperatorRequest::TransferPeer {
        region_id: REGION,
        from: StoreId(2),
        to: StoreId(4),
    };
    add(&mut fleet, request).unwrap();
    fleet.elect();
    assert!(
        fleet
            .operators()
            .iter()
            .all(|record| record.operator.purpose == "remove-learner")
    );
    fleet.run(600_000);
    assert_eq!(
        fleet.regions[&REGION].stores(),
        [1, 2, 3],
        "the learner has gone"
    );
}

#[test]
fn no_store_is_given_more_replicas_a_minute_than_its_limit() {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        regions: 100,
        ..Plan::default()
    });
    let mut before = 0;
    for _ in 0..4 {
        fleet.run(60_000);
        let added = fleet.done.replicas_added - before;
        assert!(added <= 15, "{added} in a minute");
        before = fleet.done.replicas_added;
    }
    assert!(before >= 45, "the limit is used: {before}");
}

#[test]
fn what_ends_is_counted_by_kind_and_result_and_stores_by_their_state() {
    let mut fleet = fleet();
    add(&mut fleet, transfer(2)).unwrap();
    let running = |fleet: &Fleet| fleet.placement.stats(fleet.now).unwrap();
    assert_eq!(running(&fleet).running["admin"], 1);
    fleet.settle(10_000, 600_000);
    fleet.kill(StoreId(4));
    fleet.run(900_000);
    let stats = running(&fleet);
    assert_eq!(stats.running["admin"], 0);
    assert!(stats.ended[&("admin", "finished")] >= 1, "{stats:?}");
    assert_eq!((stats.stores["up"], stats.stores["disconnected"]), (3, 1));
    assert!(stats.store_heartbeats > 10 && stats.region_heartbeats > 10);
    assert_eq!(stats.regions, fleet.regions.len() as u64);
}
