//! Rules about single stores.

use super::super::facts::{Facts, Store};
use super::{Finding, Severity};
use crate::ctl::table::{size, span};

/// From this score on writes of the Raft log take long often enough to be felt.
const SLOW_SCORE: u64 = 10;
/// A disk that is so full may stop the next compaction.
const FULL_PERCENT: u64 = 95;

fn heard_of(store: &Store) -> String {
    match store.heartbeat_age_ms {
        Some(age_ms) => format!("its last report came {} ago", span(age_ms)),
        None => "it has never reported to the placement leader of now".to_owned(),
    }
}

/// It does not report.
pub(super) fn is_down(facts: &Facts) -> Vec<Finding> {
    let is_down = |store: &&Store| matches!(&*store.state, "Down" | "Disconnected");
    let down = facts.stores.iter().filter(is_down);
    let finding = |store: &Store| {
        let mut evidence = vec![
            format!("placement holds it for {}", store.state.to_lowercase()),
            heard_of(store),
        ];
        let advice = if store.node.is_some() {
            evidence.push("its node answers on its status port".to_owned());
            "Its node runs but does not reach placement: look at the network between them, and at its log."
        } else {
            evidence.push(format!("its node does not answer: {}", store.silent));
            "Start its node again. If the machine is lost, `kontiki ctl store drain` has its replicas made anew elsewhere."
        };
        Finding {
            severity: Severity::Critical,
            rule: "store-down",
            culprit: store.name(),
            what: format!("{} ({}) is down", store.name(), store.address),
            evidence,
            advice: advice.to_owned(),
        }
    };
    down.map(finding).collect()
}

/// There is little room.
pub(super) fn is_full(facts: &Facts) -> Vec<Finding> {
    let used_percent = |store: &Store| {
        let used = store.capacity_bytes.saturating_sub(store.available_bytes);
        (used as u128 * 100)
            .checked_div(store.capacity_bytes as u128)
            .unwrap_or(0) as u64
    };
    let low = facts.low_space_percent;
    let full = facts
        .stores
        .iter()
        .filter(|store| used_percent(store) >= low);
    let finding = |store: &Store| {
        let used = used_percent(store);
        Finding {
            severity: match used >= FULL_PERCENT {
                true => Severity::Critical,
                false => Severity::Warning,
            },
            rule: "store-full",
            culprit: store.name(),
            what: format!("{} is nearly full: {used} % are used", store.name()),
            evidence: vec![
                format!("{} of {} are left", size(store.available_bytes), size(store.capacity_bytes)),
                format!("from {low} % on (low-space-percent) placement gives it no more replicas"),
            ],
            advice: "Give it more room (its disk, or raftstore.capacity), or add a store: placement moves replicas there."
                .to_owned(),
        }
    };
    full.map(finding).collect()
}

/// Writes of its Raft log take long.
pub(super) fn has_a_slow_disk(facts: &Facts) -> Vec<Finding> {
    let is_slow = |store: &&Store| store.is_slow || store.slow_score >= SLOW_SCORE;
    let slow = facts.stores.iter().filter(is_slow);
    let finding = |store: &Store| {
        let mut evidence = vec![format!(
            "its slow score is {} (1 is fast, 100 the slowest)",
            store.slow_score
        )];
        if store.is_slow {
            evidence.push("placement takes its leaders away".to_owned());
        }
        let lines = store.node.as_ref().map_or(0, |node| node.slow_lines);
        if lines > 0 {
            evidence.push(format!("its slow log has {lines} lines of late"));
        }
        Finding {
            severity: Severity::Critical,
            rule: "disk-slow",
            culprit: store.name(),
            what: format!("the disk of {} is slow: it takes long to write its Raft log", store.name()),
            evidence,
            advice: "See who else uses the disk (iostat), and whether it fails (smartctl). If it stays slow, drain the store."
                .to_owned(),
        }
    };
    slow.map(finding).collect()
}

/// Placement hears of it, and its status server is silent.
pub(super) fn has_a_silent_node(facts: &Facts) -> Vec<Finding> {
    let is_silent = |store: &&Store| {
        let is_reported = matches!(&*store.state, "Up" | "Offline" | "");
        is_reported && store.node.is_none()
    };
    let silent = facts.stores.iter().filter(is_silent);
    let finding = |store: &Store| Finding {
        severity: Severity::Warning,
        rule: "node-silent",
        culprit: store.name(),
        what: format!(
            "nothing is known of the node of {}: it does not say",
            store.name()
        ),
        evidence: vec![store.silent.clone(), heard_of(store)],
        advice:
            "Let its status server be reached from here (server.status-addr), and diagnose again."
                .to_owned(),
    };
    silent.map(finding).collect()
}
