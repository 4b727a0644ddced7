//! Rules about the cluster: what only a look at all of it tells.

use super::super::collect::Clock;
use super::super::facts::{Facts, Hot, Kind, Store};
use super::{Finding, Severity, some};
use crate::ctl::table::size;
use std::collections::BTreeMap;

/// A Region with such a part of what its store is asked for is hot.
const SHARE_PERCENT: u64 = 40;
/// Clocks that differ by more are wrong; leases don't go by them, but times to live and timestamps do.
const AHEAD_MS_MAX: i64 = 500;
const AHEAD_MS_CRITICAL: i64 = 5_000;

/// Items that each node has its own of.
const OWN_ITEMS: &[&str] = &[
    "cluster.initial-cluster",
    "cluster.join",
    "cluster.name",
    "log.file.filename",
    "server.addr",
    "server.advertise-addr",
    "server.status-addr",
    "slow-log-file",
    "storage.data-dir",
];
/// The same of a whole section.
const OWN_SECTION: &str = "server.labels.";

/// Placement does not answer.
pub(super) fn placement_is_silent(facts: &Facts) -> Vec<Finding> {
    let silent = facts.placement_silent.iter().map(|reason| Finding {
        severity: Severity::Critical,
        rule: "placement-silent",
        culprit: "placement".to_owned(),
        what: "placement does not answer: it has no leader, or can't be reached from here"
            .to_owned(),
        evidence: vec![reason.clone()],
        advice:
            "A majority of its members has to run and to reach each other (`kontiki ctl member`)."
                .to_owned(),
    });
    silent.collect()
}

/// Nobody serves them.
pub(super) fn regions_without_a_leader(facts: &Facts) -> Vec<Finding> {
    let found = &facts.regions.leaderless;
    if found.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Critical,
        rule: "region-leaderless",
        culprit: format!("Region {}", some(found)),
        what: format!(
            "{} of {} Regions have no leader that placement knows",
            found.len(),
            facts.regions.count
        ),
        evidence: vec![format!("Regions {}", some(found))],
        advice: "A majority of their replicas has to run: bring back the stores that are down."
            .to_owned(),
    }]
}

/// Some replica is not what the others are.
pub(super) fn replicas_that_differ(facts: &Facts) -> Vec<Finding> {
    let found = &facts.regions.quarantined;
    if found.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Critical,
        rule: "replica-quarantined",
        culprit: format!("Region {}", some(found)),
        what: "replicas differ from most of their Region, and are quarantined".to_owned(),
        evidence: vec![format!("Regions {}", some(found))],
        advice: "Placement replaces them where there is a store for it. A disk has changed data: look for which."
            .to_owned(),
    }]
}

/// Some replica does not answer its leader.
pub(super) fn replicas_that_are_down(facts: &Facts) -> Vec<Finding> {
    let regions = &facts.regions;
    if regions.down.is_empty() {
        return Vec::new();
    }
    let stores: Vec<u64> = regions.down_stores.iter().copied().collect();
    vec![Finding {
        severity: Severity::Warning,
        rule: "replica-down",
        culprit: format!("store {}", some(&stores)),
        what: format!(
            "{} Regions have a replica that does not answer its leader",
            regions.down.len()
        ),
        evidence: vec![
            format!("Regions {}", some(&regions.down)),
            format!("on stores {}", some(&stores)),
        ],
        advice: "Bring the stores back; otherwise placement makes new replicas after a while."
            .to_owned(),
    }]
}

/// A Region has a large part of what its store is asked for.
pub(super) fn regions_that_are_hot(facts: &Facts) -> Vec<Finding> {
    let finding = |hot: &Hot| {
        let mut stores = facts.stores.iter();
        let all = stores.find(|store| store.id == hot.store_id)?.traffic;
        let (verb, noun, all) = match hot.kind {
            Kind::Read => ("read", "reads", all.read),
            Kind::Write => ("written", "writes", all.written),
        };
        // Reports of a Region and of its store cover different spans.
        let share = (hot.rate.saturating_mul(100))
            .checked_div(all)
            .unwrap_or(100)
            .min(100);
        (share >= SHARE_PERCENT && facts.regions.count > 1).then(|| Finding {
            severity: Severity::Warning,
            rule: "region-hot",
            culprit: format!("Region {}", hot.region_id),
            what: format!("Region {} is hot: it is {verb} much", hot.region_id),
            evidence: vec![
                format!("{} a second, {share} % of the {noun} of store {}", size(hot.rate), hot.store_id),
                format!("in {} reports in a row", hot.reports),
            ],
            advice: "If keys are spread in it, cut it in their middle (`kontiki ctl region split KEY`) and scatter the parts; \
                     if it is one key, only the application can spread it."
                .to_owned(),
        })
    };
    facts.hot.iter().filter_map(finding).collect()
}

/// Some clock is not where most are. This machine's counts as one more, since of two nobody knows who is right.
pub(super) fn clocks_that_differ(facts: &Facts) -> Vec<Finding> {
    let looks = facts.stores.iter();
    let looks = looks.filter_map(|store| Some((store, store.node.as_ref()?.clock?)));
    let looks: Vec<_> = looks.collect();
    let mut all: Vec<i64> = looks
        .iter()
        .map(|(_, clock)| clock.ahead_ms)
        .chain([0])
        .collect();
    all.sort_unstable();
    let middle = all[(all.len() - 1) / 2];
    let finding = |(store, clock): &(&Store, Clock)| {
        let ahead = clock.ahead_ms - middle;
        let sure = ahead.abs() - clock.uncertain_ms;
        (sure > AHEAD_MS_MAX).then(|| Finding {
            severity: match sure > AHEAD_MS_CRITICAL {
                true => Severity::Critical,
                false => Severity::Warning,
            },
            rule: "clock-skew",
            culprit: store.name(),
            what: format!(
                "the clock of {} is {} ms {} most others",
                store.name(),
                ahead.abs(),
                if ahead > 0 { "ahead of" } else { "behind" }
            ),
            evidence: vec![format!("it was looked at to within {} ms", clock.uncertain_ms)],
            advice: "Have NTP or chrony run there. Times to live and timestamps go by this clock; leases don't."
                .to_owned(),
        })
    };
    looks.iter().filter_map(finding).collect()
}

/// Some node has another setting than most.
pub(super) fn configurations_that_differ(facts: &Facts) -> Vec<Finding> {
    let mut items: BTreeMap<&str, Values<'_>> = BTreeMap::new();
    for store in &facts.stores {
        for (key, value) in store.node.iter().flat_map(|node| &node.config) {
            let of_key = items.entry(key).or_default();
            of_key.entry(value.as_str()).or_default().push(store.name());
        }
    }
    let is_own = |key: &str| OWN_ITEMS.contains(&key) || key.starts_with(OWN_SECTION);
    let differing = items
        .iter()
        .filter(|(key, values)| values.len() > 1 && !is_own(key));
    differing
        .map(|(key, values)| differs("config-differs", key, values))
        .collect()
}

/// Some node has another version.
pub(super) fn versions_that_differ(facts: &Facts) -> Vec<Finding> {
    let mut values = Values::new();
    for store in &facts.stores {
        if let Some(node) = &store.node {
            values.entry(&node.version).or_default().push(store.name());
        }
    }
    match values.len() {
        0 | 1 => Vec::new(),
        _ => vec![differs("version-differs", "the version", &values)],
    }
}

/// Who has which value.
type Values<'a> = BTreeMap<&'a str, Vec<String>>;

fn differs(rule: &'static str, item: &str, values: &Values<'_>) -> Finding {
    let most = values.values().map(Vec::len).max().unwrap_or(0);
    let is_majority = values
        .values()
        .filter(|stores| stores.len() == most)
        .count()
        == 1;
    let others = values
        .values()
        .filter(|stores| !is_majority || stores.len() < most);
    let culprits: Vec<&str> = others.flatten().map(String::as_str).collect();
    let culprits = culprits.join(", ");
    let evidence = values
        .iter()
        .map(|(value, stores)| format!("{value:?} on {}", stores.join(", ")));
    Finding {
        severity: Severity::Warning,
        rule,
        what: match is_majority {
            true => format!("{item} differs on {culprits} from what most nodes have"),
            false => format!("{item} differs between nodes"),
        },
        culprit: culprits,
        evidence: evidence.collect(),
        advice: match rule {
            "config-differs" => "If it is not meant, set it alike: online with `kontiki ctl config node set`, or in the files.",
            _ => "If an upgrade is not under way, finish it.",
        }
        .to_owned(),
    }
}
