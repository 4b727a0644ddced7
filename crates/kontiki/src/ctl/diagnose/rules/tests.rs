//! Scenarios: what is found in a cluster of three in which one thing is wrong.

use super::super::collect::Clock;
use super::super::facts::{Facts, Hot, Kind, NodeFacts, Regions, Said, Store, Traffic};
use super::{Finding, Severity, findings};
use std::collections::BTreeMap;

const GIB: u64 = 1 << 30;

fn store(id: u64) -> Store {
    let config = [
        ("raftstore.store-pool-size", "2".to_owned()),
        ("server.addr", format!("h{id}:1")),
        ("server.labels.host", format!("h{id}")),
    ];
    let config = config.map(|(key, value)| (key.to_owned(), value));
    Store {
        id,
        address: format!("h{id}:1"),
        state: "Up".to_owned(),
        heartbeat_age_ms: Some(3_000),
        capacity_bytes: 100 * GIB,
        available_bytes: 60 * GIB,
        slow_score: 1,
        is_slow: false,
        traffic: Traffic {
            read: 1_000,
            written: 1_000,
        },
        node: Some(NodeFacts {
            version: "1.0".to_owned(),
            stage: "serving".to_owned(),
            config: BTreeMap::from(config),
            clock: Some(Clock {
                ahead_ms: 20,
                uncertain_ms: 2,
            }),
            cpu_idle_percent: Some(70.0),
            memory_used_percent: Some(50.0),
            ..NodeFacts::default()
        }),
        silent: String::new(),
    }
}

/// Three stores that do well.
fn well() -> Facts {
    Facts {
        stores: (1..=3).map(store).collect(),
        regions: Regions {
            count: 9,
            ..Regions::default()
        },
        low_space_percent: 80,
        ..Facts::default()
    }
}

fn found(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = well();
    change(&mut facts);
    findings(&facts)
}

/// What the one finding is about.
fn only(change: impl FnOnce(&mut Facts)) -> (&'static str, String, Severity) {
    let found = found(change);
    let [finding] = &found[..] else {
        panic!("{found:#?}");
    };
    (finding.rule, finding.culprit.clone(), finding.severity)
}

fn node(facts: &mut Facts, at: usize) -> &mut NodeFacts {
    facts.stores[at].node.as_mut().unwrap()
}

fn is(rule: &'static str, culprit: &str, severity: Severity) -> (&'static str, String, Severity) {
    (rule, culprit.to_owned(), severity)
}

#[test]
fn a_cluster_that_does_well_has_no_findings() {
    assert_eq!(found(|_| ()), []);
}

#[test]
fn a_store_that_is_down_is_named_once_and_not_as_silent_besides() {
    let down = |facts: &mut Facts| {
        facts.stores[1].state = "Disconnected".to_owned();
        facts.stores[1].node = None;
        facts.stores[1].silent = "h2:9: connection refused".to_owned();
    };
    assert_eq!(only(down), is("store-down", "store 2", Severity::Critical));
    assert!(
        found(down)[0]
            .evidence
            .iter()
            .any(|line| line.contains("connection refused"))
    );
    let cut_off = found(|facts| facts.stores[1].state = "Down".to_owned());
    assert!(cut_off[0].advice.contains("network"));
}

#[test]
fn a_store_that_is_nearly_full_is_named_by_placements_own_bound() {
    let left =
        |percent: u64| move |facts: &mut Facts| facts.stores[2].available_bytes = percent * GIB;
    assert_eq!(
        only(left(20)),
        is("store-full", "store 3", Severity::Warning)
    );
    assert_eq!(
        only(left(5)),
        is("store-full", "store 3", Severity::Critical)
    );
    assert_eq!(found(left(21)), []);
    assert_eq!(
        found(|facts| facts.stores[2].capacity_bytes = 0),
        [],
        "it is not known yet"
    );
}

#[test]
fn a_slow_disk_is_named_by_the_score_or_by_placement() {
    let scored = |facts: &mut Facts| facts.stores[0].slow_score = 27;
    assert_eq!(only(scored), is("disk-slow", "store 1", Severity::Critical));
    let held = |facts: &mut Facts| facts.stores[0].is_slow = true;
    assert_eq!(only(held), is("disk-slow", "store 1", Severity::Critical));
}

fn hot(kind: Kind, rate: u64) -> Hot {
    Hot {
        region_id: 7,
        store_id: 2,
        kind,
        rate,
        reports: 4,
    }
}

#[test]
fn a_region_is_hot_if_it_has_much_of_what_its_store_is_asked_for() {
    for kind in [Kind::Read, Kind::Write] {
        let expected = is("region-hot", "Region 7", Severity::Warning);
        assert_eq!(only(|facts| facts.hot.push(hot(kind, 400))), expected);
        assert_eq!(found(|facts| facts.hot.push(hot(kind, 399))), []);
    }
    let alone = found(|facts| {
        facts.hot.push(hot(Kind::Read, 1_000));
        facts.regions.count = 1;
    });
    assert_eq!(alone, [], "where there is one Region it has all");
}

fn ahead(ms: i64) -> Option<Clock> {
    Some(Clock {
        ahead_ms: ms,
        uncertain_ms: 10,
    })
}

#[test]
fn the_clock_that_differs_from_most_is_named_whichever_this_machine_has() {
    let one = |ms: i64| move |facts: &mut Facts| node(facts, 2).clock = ahead(ms);
    assert_eq!(
        only(one(700)),
        is("clock-skew", "store 3", Severity::Warning)
    );
    assert_eq!(
        only(one(-700)),
        is("clock-skew", "store 3", Severity::Warning)
    );
    assert_eq!(
        only(one(60_000)),
        is("clock-skew", "store 3", Severity::Critical)
    );
    assert_eq!(found(one(525)), [], "it may be as near as that");
    let ours_is_wrong = found(|facts| (0..3).for_each(|at| node(facts, at).clock = ahead(-90_000)));
    assert_eq!(ours_is_wrong, []);
}

#[test]
fn the_node_with_another_setting_than_most_is_named() {
    let other = |facts: &mut Facts| {
        let config = &mut node(facts, 1).config;
        config.insert("raftstore.store-pool-size".to_owned(), "4".to_owned());
    };
    assert_eq!(
        only(other),
        is("config-differs", "store 2", Severity::Warning)
    );
    let evidence = &found(other)[0].evidence;
    assert_eq!(
        evidence[..],
        ["\"2\" on store 1, store 3", "\"4\" on store 2"]
    );
    let undecided = found(|facts| {
        other(facts);
        facts.stores.pop();
    });
    assert_eq!(undecided[0].culprit, "store 1, store 2");
}

#[test]
fn what_is_wrong_with_regions_is_found() {
    let leaderless = only(|facts| facts.regions.leaderless = vec![4, 5]);
    assert_eq!(
        leaderless,
        is("region-leaderless", "Region 4, 5", Severity::Critical)
    );
    let quarantined = only(|facts| facts.regions.quarantined = vec![4]);
    assert_eq!(
        quarantined,
        is("replica-quarantined", "Region 4", Severity::Critical)
    );
    let down = only(|facts| {
        facts.regions.down = vec![4];
        facts.regions.down_stores = [3].into();
    });
    assert_eq!(down, is("replica-down", "store 3", Severity::Warning));
    let many = found(|facts| facts.regions.leaderless = (1..=9).collect());
    assert_eq!(many[0].culprit, "Region 1, 2, 3, 4, 5 and 4 more");
}

#[test]
fn what_is_wrong_with_nodes_is_found() {
    let memory = only(|facts| node(facts, 0).memory_used_percent = Some(96.0));
    assert_eq!(memory, is("memory-short", "store 1", Severity::Warning));
    let cpu = only(|facts| node(facts, 0).cpu_idle_percent = Some(1.0));
    assert_eq!(cpu, is("cpu-busy", "store 1", Severity::Warning));
    let queue = only(|facts| node(facts, 0).waiting = vec![("peer".to_owned(), 7, 20_000)]);
    assert_eq!(queue, is("actor-queue", "store 1", Severity::Warning));
    let starts = only(|facts| node(facts, 0).stage = "opening the Raft logs".to_owned());
    assert_eq!(starts, is("node-not-ready", "store 1", Severity::Warning));
    let slow = only(|facts| node(facts, 0).slow_lines = 3);
    assert_eq!(slow, is("slow-log", "store 1", Severity::Notice));
    let version = only(|facts| node(facts, 0).version = "0.9".to_owned());
    assert_eq!(version, is("version-differs", "store 1", Severity::Warning));
    let silent = only(|facts| facts.stores[0].node = None);
    assert_eq!(silent, is("node-silent", "store 1", Severity::Warning));
}

#[test]
fn errors_are_shown_with_how_often_they_came_and_panics_apart() {
    let said = |level: &str, text: &str, count| Said {
        level: level.to_owned(),
        text: text.to_owned(),
        count,
        last: format!("{text} [n=1]"),
    };
    let found = found(|facts| {
        node(facts, 0).log = vec![
            said("ERROR", "[a.rs:1] [\"panicked: x\"]", 1),
            said("ERROR", "[b.rs:1] [y]", 3),
            said("WARN", "[c.rs:1] [z]", 9),
        ];
    });
    let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["panic-in-log", "errors-in-log"]);
    assert_eq!(
        found[1].evidence[..],
        ["3 times, the last one: [b.rs:1] [y] [n=1]"]
    );
    assert!(found[1].what.contains("3 errors"));
}

#[test]
fn without_placement_nodes_are_judged_all_the_same() {
    let found = found(|facts| {
        facts.placement_silent = Some("nobody leads".to_owned());
        facts.stores = (1..=3).map(store).collect();
        for store in &mut facts.stores {
            (store.id, store.state) = (0, String::new());
        }
        node(facts, 1).clock = ahead(60_000);
    });
    let culprits: Vec<(&str, &str)> = found
        .iter()
        .map(|finding| (finding.rule, &*finding.culprit))
        .collect();
    assert_eq!(
        culprits,
        [
            ("placement-silent", "placement"),
            ("clock-skew", "node h2:1")
        ]
    );
}

#[test]
fn the_most_severe_comes_first() {
    let found = found(|facts| {
        node(facts, 0).slow_lines = 3;
        node(facts, 0).memory_used_percent = Some(99.0);
        facts.stores[2].state = "Down".to_owned();
    });
    let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
    assert!(
        severities.is_sorted() && severities.len() == 3,
        "{found:#?}"
    );
}
