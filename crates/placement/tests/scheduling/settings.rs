//! Settings and schedulers that change while the cluster runs.

use crate::fleet::*;
use placement::*;

fn settings(fleet: &mut Fleet) -> Vec<(String, String)> {
    match fleet.control(Control::GetSettings) {
        Ok(Response::Settings(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn value(fleet: &mut Fleet, name: &str) -> String {
    let settings = settings(fleet);
    settings
        .into_iter()
        .find(|(known, _)| known == name)
        .unwrap()
        .1
}

#[test]
fn a_setting_that_is_set_outlives_the_placement_leader() {
    let mut fleet = Fleet::new(&Plan::default());
    fleet.set("region-schedule-limit", "7");
    fleet.elect();
    assert_eq!(value(&mut fleet, "region-schedule-limit"), "7");
}

#[test]
fn one_bad_setting_in_a_request_leaves_all_as_they_were() {
    let mut fleet = Fleet::new(&Plan::default());
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let wanted = vec![pair("max-replicas", "5"), pair("max-replica", "5")];
    let error = fleet.control(Control::SetSettings(wanted)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no setting \"max-replica\"; did you mean \"max-replicas\"?"
    );
    assert_eq!(value(&mut fleet, "max-replicas"), "3");
}

#[test]
fn a_limit_of_zero_stops_a_scheduler_at_once() {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        regions: 40,
        ..Plan::default()
    });
    fleet.set("region-schedule-limit", "0");
    fleet.run(120_000);
    assert_eq!(fleet.done.replicas_added, 0);
    fleet.set("region-schedule-limit", "2048");
    fleet.run(120_000);
    assert!(fleet.done.replicas_added > 0);
}

#[test]
fn a_paused_scheduler_rests_and_goes_on() {
    let mut fleet = Fleet::new(&Plan {
        stores: 4,
        regions: 40,
        ..Plan::default()
    });
    let name = SchedulerName::BalanceRegion;
    let pause_ms = 60_000;
    fleet
        .control(Control::PauseScheduler { name, pause_ms })
        .unwrap();
    fleet.run(59_000);
    assert_eq!(fleet.done.replicas_added, 0);
    fleet.run(10_000);
    assert!(fleet.done.replicas_added > 0);
    let not_there = SchedulerName::ShuffleLeader;
    let refused = fleet.control(Control::RemoveScheduler(not_there));
    assert!(matches!(refused, Err(Error::UnknownScheduler { .. })));
}

#[test]
fn schedulers_are_listed_in_the_order_in_which_they_run() {
    let mut fleet = Fleet::new(&Plan::default());
    fleet
        .control(Control::RemoveScheduler(SchedulerName::HotRegion))
        .unwrap();
    fleet
        .control(Control::AddScheduler(SchedulerName::ShuffleRegion))
        .unwrap();
    fleet.elect();
    let Ok(Response::Schedulers(listed)) = fleet.control(Control::ListSchedulers) else {
        panic!("no schedulers");
    };
    let names: Vec<String> = listed.iter().map(|view| view.name.to_string()).collect();
    let expected = [
        "balance-leader-scheduler",
        "balance-region-scheduler",
        "evict-slow-store-scheduler",
        "shuffle-region-scheduler",
    ];
    assert_eq!(names, expected);
}
