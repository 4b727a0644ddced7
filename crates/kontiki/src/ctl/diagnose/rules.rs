//! From facts to findings: one function for each thing that can be wrong.
//!
//! **Invariants.** A finding names the culprit, says by what it is known, and what to do. The same facts give the same
//! findings, the most severe first.
//!
//! **Not here.** Collecting facts, and showing findings.

mod cluster;
mod node;
mod store;
#[cfg(test)]
mod tests;

use super::facts::Facts;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody is not served, or soon will not be.
    Critical,
    /// Somebody is served worse than could be, or one more fault is too many.
    Warning,
    /// It may explain something else.
    Notice,
}

impl Severity {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of thing it is; a name for tools.
    pub rule: &'static str,
    /// Who it is about: a store, a Region, an item.
    pub culprit: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// By what it is known.
    pub evidence: Vec<String>,
    /// What to do.
    pub advice: String,
}

type Rule = fn(&Facts) -> Vec<Finding>;

/// All rules; among findings of one severity the first ones come first.
const RULES: &[Rule] = &[
    cluster::placement_is_silent,
    store::is_down,
    cluster::regions_without_a_leader,
    cluster::replicas_that_differ,
    node::has_panicked,
    store::is_full,
    store::has_a_slow_disk,
    cluster::regions_that_are_hot,
    cluster::clocks_that_differ,
    cluster::configurations_that_differ,
    cluster::versions_that_differ,
    cluster::replicas_that_are_down,
    store::has_a_silent_node,
    node::does_not_serve,
    node::is_short_of_memory,
    node::is_short_of_processors,
    node::has_actors_that_wait,
    node::has_logged_errors,
    node::was_slow,
];

/// What is wrong.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<Finding> = RULES.iter().flat_map(|rule| rule(facts)).collect();
    found.sort_by_key(|finding| finding.severity);
    found
}

/// A few of many, as text.
fn some(ids: &[u64]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(u64::to_string).collect();
    match ids.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
