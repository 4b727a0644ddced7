//! Tests of what is handed to operators: the dashboard and the alert rules go by metrics that exist.
//!
//! **Not here.** Whether the rules are well-formed: `promtool` says so, where it is installed.

use super::CATALOGUE;
use metrics::{Desc, Kind};
use serde_json::Value;
use std::collections::BTreeSet;

const RULES: &str = include_str!("../../../../etc/prometheus/kontiki.rules.yml");
const DASHBOARD: &str = include_str!("../../../../etc/grafana/kontiki.json");

/// The words of a text that look like a metric of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    words
        .filter(|word| word.starts_with("kontiki_") || word.starts_with("process_"))
        .collect()
}

/// The series of all families.
fn series() -> BTreeSet<String> {
    let families = CATALOGUE.iter().flat_map(|(_, families)| *families);
    families
        .flat_map(|desc: &&Desc| match desc.kind {
            Kind::Counter | Kind::Gauge => vec![desc.name.to_owned()],
            // In a sentence the family is named as such.
            Kind::Histogram => ["", "_bucket", "_sum", "_count"]
                .map(|part| format!("{}{part}", desc.name))
                .to_vec(),
        })
        .collect()
}

#[test]
fn every_metric_of_the_alert_rules_exists() {
    let (known, used) = (series(), names(RULES));
    assert!(used.len() > 15, "{used:?}");
    for name in used {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let (known, used) = (series(), names(DASHBOARD));
    assert!(used.len() > 35, "{used:?}");
    for name in used {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn the_dashboard_has_what_grafana_asks_for() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    for panel in panels {
        let place = &panel["gridPos"];
        let (x, width) = (place["x"].as_u64().unwrap(), place["w"].as_u64().unwrap());
        assert!(x + width <= 24, "{panel}");
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty() && targets.iter().all(|one| one["expr"].is_string()));
            assert_eq!(panel["datasource"]["type"], "prometheus");
        }
    }
}

#[test]
fn every_alert_says_what_is_so_and_what_to_do() {
    let count = |word: &str| RULES.matches(word).count();
    let alerts = count("- alert: ");
    assert!(alerts > 15);
    assert_eq!((count("summary: "), count("action: ")), (alerts, alerts));
    assert_eq!(count("severity: "), alerts);
}
