//! Rules about single nodes: what they say of themselves.

use super::super::facts::{Facts, NodeFacts, Said, Store};
use super::{Finding, Severity};

const MEMORY_PERCENT: f64 = 95.0;
const IDLE_PERCENT: f64 = 5.0;
/// An actor handles so many messages in a round or a few.
const WAITING_MAX: u64 = 10_000;
/// Messages of a log that are shown.
const SHOWN: usize = 3;
const PANICKED: &str = "panicked: ";

/// The stores with nodes that answer.
fn nodes(facts: &Facts) -> impl Iterator<Item = (&Store, &NodeFacts)> {
    let stores = facts.stores.iter();
    stores.filter_map(|store| Some((store, store.node.as_ref()?)))
}

fn is_panic(said: &Said) -> bool {
    said.text.contains(PANICKED)
}

/// A part of it has ended by a panic.
pub(super) fn has_panicked(facts: &Facts) -> Vec<Finding> {
    let finding = |(store, node): (&Store, &NodeFacts)| {
        let panics: Vec<&Said> = node.log.iter().filter(|said| is_panic(said)).collect();
        (!panics.is_empty()).then(|| Finding {
            severity: Severity::Critical,
            rule: "panic-in-log",
            culprit: store.name(),
            what: format!("{} has panicked", store.name()),
            evidence: panics.iter().take(SHOWN).map(|said| shown(said)).collect(),
            advice: "It is a fault of the program, or damaged data: report it, with the archive."
                .to_owned(),
        })
    };
    nodes(facts).filter_map(finding).collect()
}

/// It starts, or stops.
pub(super) fn does_not_serve(facts: &Facts) -> Vec<Finding> {
    let waits = nodes(facts).filter(|(_, node)| !matches!(&*node.stage, "serving" | ""));
    let finding = |(store, node): (&Store, &NodeFacts)| Finding {
        severity: Severity::Warning,
        rule: "node-not-ready",
        culprit: store.name(),
        what: format!("{} does not serve: it is {}", store.name(), node.stage),
        evidence: vec!["its status port says so (/ready?verbose)".to_owned()],
        advice: "Wait for it; if it does not go on, its log says what it waits for.".to_owned(),
    };
    waits.map(finding).collect()
}

/// Its machine has little memory left.
pub(super) fn is_short_of_memory(facts: &Facts) -> Vec<Finding> {
    let finding = |(store, node): (&Store, &NodeFacts)| {
        let used = node
            .memory_used_percent
            .filter(|used| *used >= MEMORY_PERCENT)?;
        Some(Finding {
            severity: Severity::Warning,
            rule: "memory-short",
            culprit: store.name(),
            what: format!("the machine of {} is short of memory", store.name()),
            evidence: vec![format!("{used} % of it are used")],
            advice: "See who has it; make storage.block-cache.capacity smaller, or add memory or a store.".to_owned(),
        })
    };
    nodes(facts).filter_map(finding).collect()
}

/// Its machine has no processor left.
pub(super) fn is_short_of_processors(facts: &Facts) -> Vec<Finding> {
    let finding = |(store, node): (&Store, &NodeFacts)| {
        let idle = node.cpu_idle_percent.filter(|idle| *idle <= IDLE_PERCENT)?;
        Some(Finding {
            severity: Severity::Warning,
            rule: "cpu-busy",
            culprit: store.name(),
            what: format!("the processors of {} are busy", store.name()),
            evidence: vec![format!("{idle} % of their time was idle in a second")],
            advice: "Look at /debug/actors for what is busy; spread leaders, or add a store."
                .to_owned(),
        })
    };
    nodes(facts).filter_map(finding).collect()
}

/// More waits for an actor than it soon handles.
pub(super) fn has_actors_that_wait(facts: &Facts) -> Vec<Finding> {
    let finding = |(store, node): (&Store, &NodeFacts)| {
        let long = node
            .waiting
            .iter()
            .filter(|(.., waiting)| *waiting >= WAITING_MAX);
        let evidence: Vec<String> = long
            .map(|(system, region, waiting)| {
                format!("{waiting} messages wait for the {system} of Region {region}")
            })
            .collect();
        (!evidence.is_empty()).then(|| Finding {
            severity: Severity::Warning,
            rule: "actor-queue",
            culprit: store.name(),
            what: format!("{} does not keep up with some of its Regions", store.name()),
            evidence,
            advice: "See whether its disk is slow; if not, raise raftstore.store-pool-size or apply-pool-size.".to_owned(),
        })
    };
    nodes(facts).filter_map(finding).collect()
}

/// Its log has errors.
pub(super) fn has_logged_errors(facts: &Facts) -> Vec<Finding> {
    let finding = |(store, node): (&Store, &NodeFacts)| {
        let is_error = |said: &&Said| said.level != "WARN" && !is_panic(said);
        let errors: Vec<&Said> = node.log.iter().filter(is_error).collect();
        let count: u64 = errors.iter().map(|said| said.count).sum();
        (count > 0).then(|| Finding {
            severity: Severity::Warning,
            rule: "errors-in-log",
            culprit: store.name(),
            what: format!("{} has logged {count} errors of late", store.name()),
            evidence: errors.iter().take(SHOWN).map(|said| shown(said)).collect(),
            advice: "Each says what it is about and what was done.".to_owned(),
        })
    };
    nodes(facts).filter_map(finding).collect()
}

/// Its slow log has lines.
pub(super) fn was_slow(facts: &Facts) -> Vec<Finding> {
    let slow = nodes(facts).filter(|(_, node)| node.slow_lines > 0);
    let finding = |(store, node): (&Store, &NodeFacts)| Finding {
        severity: Severity::Notice,
        rule: "slow-log",
        culprit: store.name(),
        what: format!("requests or rounds of {} were slow", store.name()),
        evidence: vec![format!(
            "its slow log has {} lines of late",
            node.slow_lines
        )],
        advice: "They say where the time went: step, write, queue, replicate, apply.".to_owned(),
    };
    slow.map(finding).collect()
}

fn shown(said: &Said) -> String {
    match said.count {
        1 => said.last.clone(),
        count => format!("{count} times, the last one: {}", said.last),
    }
}
