//! Which items can be changed while the node runs, and what a configuration becomes when they are.
//!
//! **Why a list.** An item that nobody takes up when it is changed must be refused, or an operator believes
//! in a setting that is none. `run::online` has those who take them up.
//!
//! **Invariants.** A changed configuration passed the same checks as one that a node starts with. Items of
//! one module are applied by one manager, all together.
//!
//! **Not here.** Applying a change, and remembering it.

use super::layers::{self, Leaf, Problem, Source};
use super::tree::Config;
use super::{nearest, validate};
use serde_json::{Map, Value};

/// Who applies a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// What is logged.
    Log,
    /// Whether hot paths count.
    Metrics,
    /// Which requests are traced.
    Tracing,
    /// The engine of the data.
    Engine,
    /// The node: pools, intervals, bounds.
    Node,
}

/// The items that can be changed online, each with its module. Sorted.
const ITEMS: &[(&str, Module)] = &[
    ("coprocessor.batch-split-limit", Module::Node),
    ("coprocessor.region-max-keys", Module::Node),
    ("coprocessor.region-max-size", Module::Node),
    ("coprocessor.region-split-keys", Module::Node),
    ("coprocessor.region-split-size", Module::Node),
    ("log.level", Module::Log),
    ("memory-usage-limit", Module::Node),
    ("metrics.enable", Module::Metrics),
    ("quota.foreground-read-bandwidth", Module::Node),
    ("quota.foreground-write-bandwidth", Module::Node),
    ("quota.max-delay-duration", Module::Node),
    ("raftstore.apply-max-batch-size", Module::Node),
    ("raftstore.apply-pool-size", Module::Node),
    ("raftstore.concurrent-recv-snap-limit", Module::Node),
    ("raftstore.concurrent-send-snap-limit", Module::Node),
    ("raftstore.hibernate-regions", Module::Node),
    ("raftstore.hibernate-timeout", Module::Node),
    ("raftstore.mailbox-memory-limit", Module::Node),
    ("raftstore.messages-per-tick", Module::Node),
    ("raftstore.notify-capacity", Module::Node),
    ("raftstore.pd-heartbeat-tick-interval", Module::Node),
    ("raftstore.pd-store-heartbeat-tick-interval", Module::Node),
    ("raftstore.peer-stale-state-check-interval", Module::Node),
    ("raftstore.raft-log-gc-count-limit", Module::Node),
    ("raftstore.raft-log-gc-size-limit", Module::Node),
    ("raftstore.raft-log-gc-threshold", Module::Node),
    ("raftstore.raft-log-gc-tick-interval", Module::Node),
    ("raftstore.raft-log-purge-interval", Module::Node),
    ("raftstore.reschedule-duration", Module::Node),
    ("raftstore.slow-log-write-timeout", Module::Node),
    ("raftstore.snap-gc-timeout", Module::Node),
    ("raftstore.snap-io-max-bytes-per-sec", Module::Node),
    ("raftstore.split-region-check-tick-interval", Module::Node),
    ("raftstore.store-max-batch-size", Module::Node),
    ("raftstore.store-pool-size", Module::Node),
    ("rocksdb.defaultcf.write-buffer-size", Module::Engine),
    ("security.redact-info-log", Module::Log),
    ("slow-log-threshold", Module::Log),
    ("split.byte-threshold", Module::Node),
    ("split.detect-duration", Module::Node),
    ("split.qps-threshold", Module::Node),
    ("split.region-cpu-threshold", Module::Node),
    ("storage.block-cache.capacity", Module::Engine),
    ("storage.flow-control.enable", Module::Node),
    (
        "storage.flow-control.hard-pending-compaction-bytes-limit",
        Module::Node,
    ),
    ("storage.flow-control.l0-files-threshold", Module::Node),
    ("storage.flow-control.memtables-threshold", Module::Node),
    (
        "storage.flow-control.soft-pending-compaction-bytes-limit",
        Module::Node,
    ),
    ("tracing.sample-one-in", Module::Tracing),
];

/// Who applies a change of this item; none if it can't be changed online.
pub fn module_of(key: &str) -> Option<Module> {
    let found = ITEMS.binary_search_by_key(&key, |(name, _)| name);
    found.ok().map(|at| ITEMS[at].1)
}

/// Why an item can't be set online, if it can't.
pub fn refusal(key: &str) -> Option<String> {
    let known = layers::known_keys();
    if !known.iter().any(|name| name == key) {
        let near = nearest(key, known.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
        return Some(format!("unknown key `{key}`{hint}"));
    }
    module_of(key).is_none().then(|| {
        format!("{key}: can't be changed while the node runs: set it in the file, and restart")
    })
}

/// The configuration with these items changed.
///
/// # Errors
/// Everything that is wrong with the change, in words.
pub fn changed(current: &Config, items: &Map<String, Value>) -> Result<Config, Vec<String>> {
    let mut refused: Vec<String> = items.keys().filter_map(|key| refusal(key)).collect();
    let mut leaves = Vec::new();
    for (key, value) in items {
        match scalar(value) {
            Some(value) => leaves.push(Leaf {
                key: key.clone(),
                value,
                source: Source::Online,
            }),
            None => refused.push(format!(
                "{key}: {value} is not a value: a text, a number, true or false"
            )),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut problems = Vec::new();
    let (config, sources) = layers::assemble_over(current, leaves, &mut problems);
    validate::check(&config, &sources, &mut problems);
    match problems.is_empty() {
        true => Ok(config),
        false => Err(problems
            .into_iter()
            .map(|Problem { message, .. }| message)
            .collect()),
    }
}

/// The items that differ, by their dotted keys, as the second configuration has them.
pub fn difference(current: &Config, wanted: &Config) -> Map<String, Value> {
    let tree = |config| serde_json::to_value(config).expect("a configuration is serialisable");
    let (current, wanted): (Value, Value) = (tree(current), tree(wanted));
    let keys = layers::known_keys().into_iter();
    let differing = keys.filter_map(|key| {
        let at = format!("/{}", key.replace('.', "/"));
        let value = wanted.pointer(&at)?;
        (current.pointer(&at) != Some(value)).then(|| (key, value.clone()))
    });
    differing.collect()
}

/// A value as a configuration file would have it; none if it is none.
pub fn scalar(value: &Value) -> Option<toml::Value> {
    match value {
        Value::Bool(value) => Some(toml::Value::Boolean(*value)),
        Value::Number(number) => number.as_i64().map(toml::Value::Integer),
        Value::String(text) => Some(toml::Value::String(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(items: Value) -> Result<Config, Vec<String>> {
        changed(&Config::default(), items.as_object().unwrap())
    }

    #[test]
    fn the_list_is_sorted_and_names_items_that_there_are() {
        assert!(ITEMS.is_sorted());
        let known = layers::known_keys();
        for (key, _) in ITEMS {
            assert!(known.iter().any(|name| name == key), "{key}");
        }
    }

    #[test]
    fn several_items_are_changed_together() {
        let config = change(json!({
            "raftstore.store-pool-size": 4,
            "raftstore.reschedule-duration": "1s",
            "raftstore.hibernate-regions": false,
            "log.level": "debug",
        }))
        .unwrap();
        assert_eq!(config.raftstore.store_pool_size, 4);
        assert_eq!(config.raftstore.reschedule_duration.0.as_secs(), 1);
        assert!(!config.raftstore.hibernate_regions);
    }

    #[test]
    fn what_is_wrong_is_told_all_at_once_and_nothing_is_changed() {
        let problems = change(json!({
            "raftstore.store-pol-size": 4,
            "server.addr": "h:1",
            "log.level": ["debug"],
        }))
        .unwrap_err();
        assert_eq!(
            problems,
            [
                "unknown key `raftstore.store-pol-size`: did you mean `raftstore.store-pool-size`?",
                "server.addr: can't be changed while the node runs: set it in the file, and restart",
                "log.level: [\"debug\"] is not a value: a text, a number, true or false",
            ]
        );
        let problems = change(json!({
            "raftstore.store-pool-size": 257,
            "raftstore.reschedule-duration": "soon",
        }))
        .unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn items_that_differ_are_found_by_their_keys() {
        let current = Config::default();
        assert_eq!(difference(&current, &current), Map::new());
        let mut wanted = change(json!({ "raftstore.store-pool-size": 4 })).unwrap();
        wanted.server.labels.insert("zone".into(), "a".into());
        let found = Value::Object(difference(&current, &wanted));
        let expected = json!({ "raftstore.store-pool-size": 4, "server.labels": { "zone": "a" } });
        assert_eq!(found, expected);
    }

    #[test]
    fn values_that_contradict_others_in_force_are_refused() {
        let problems = change(json!({ "coprocessor.region-max-size": "1MiB" })).unwrap_err();
        assert!(problems[0].starts_with("coprocessor.region-max-size: must be more"));
    }
}
