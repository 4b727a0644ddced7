//! Options that are changed while a Peer lives.

use super::*;

fn options(report_ticks: u64) -> PeerOptions {
    PeerOptions {
        report_ticks,
        hibernate_ticks: 0,
        ..PeerOptions::default()
    }
}

#[test]
fn a_leader_reports_as_often_as_it_is_told_from_the_next_tick_on() {
    let mut net = Net::new(&options(60));
    net.elect(0);
    net.settle();
    net.tick(0);
    net.reports.clear();
    net.tick(0);
    assert!(net.reports.is_empty());
    net.step(0, Input::Options(Arc::new(options(2))));
    for _ in 0..8 {
        net.tick(0);
    }
    assert_eq!(net.reports.len(), 4);
}

#[test]
fn a_sleeper_takes_new_options_and_sleeps_on() {
    let sleepy = |report_ticks| PeerOptions {
        hibernate_ticks: 20,
        ..options(report_ticks)
    };
    let mut net = Net::new(&sleepy(60));
    net.elect(0);
    net.settle();
    for _ in 0..200 {
        for replica in 0..3 {
            net.tick(replica);
        }
        net.settle();
    }
    assert_eq!(net.slept.len(), 3, "all sleep");
    net.step(0, Input::Options(Arc::new(sleepy(30))));
    assert_eq!(net.slept.len(), 3);
}

#[test]
#[should_panic(expected = "these are for good")]
fn what_leases_are_made_of_is_not_changed() {
    let mut net = Net::new(&options(60));
    let changed = PeerOptions {
        election_ticks_min: 11,
        ..options(60)
    };
    net.step(0, Input::Options(Arc::new(changed)));
}
