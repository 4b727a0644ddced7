//! What was collected, as far as rules go by it.
//!
//! **Invariants.** Reading never fails: what an answer lacks, an older node's say, is unknown.
//!
//! **Not here.** What is good or bad.

use super::collect::{Clock, Collected, Node};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Why placement says nothing, if it says nothing.
    pub placement_silent: Option<String>,
    /// The stores that placement knows, and nodes that it doesn't.
    pub stores: Vec<Store>,
    /// Regions that are read or written much.
    pub hot: Vec<Hot>,
    /// Regions that are not as they should be.
    pub regions: Regions,
    /// From so much on placement gives a store no more replicas.
    pub low_space_percent: u64,
}

/// A store and its node.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Its id; zero if placement does not know it.
    pub id: u64,
    /// Where it is reached.
    pub address: String,
    /// Its state by placement's word.
    pub state: String,
    /// Since its last report.
    pub heartbeat_age_ms: Option<u64>,
    /// Its disk, or what it may use of it; zero if it is unknown.
    pub capacity_bytes: u64,
    /// What is left of that.
    pub available_bytes: u64,
    /// From 1, fast, to 100.
    pub slow_score: u64,
    /// Whether placement takes its leaders away.
    pub is_slow: bool,
    /// Bytes a second that it is asked for: reads and writes.
    pub traffic: Traffic,
    /// What its node says.
    pub node: Option<NodeFacts>,
    /// Why it says nothing.
    pub silent: String,
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// That are read.
    pub read: u64,
    /// That are written.
    pub written: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// The version of its program.
    pub version: String,
    /// Where it is between its start and its end.
    pub stage: String,
    /// Its configuration, by dotted keys.
    pub config: BTreeMap<String, String>,
    /// Its clock, beside this machine's.
    pub clock: Option<Clock>,
    /// Percent of all processors that were idle.
    pub cpu_idle_percent: Option<f64>,
    /// Percent of the memory that is used.
    pub memory_used_percent: Option<f64>,
    /// Actors for which much waits: system, Region, messages.
    pub waiting: Vec<(String, u64, u64)>,
    /// Warnings and errors, the same ones together.
    pub log: Vec<Said>,
    /// Rounds and requests in the slow log.
    pub slow_lines: usize,
}

/// What a log says, once or more often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// How severe it is.
    pub level: String,
    /// Place and message, without fields.
    pub text: String,
    /// How often.
    pub count: u64,
    /// The last of them, whole.
    pub last: String,
}

/// What a Region is asked for much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

/// A Region that is read or written much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hot {
    /// Which.
    pub region_id: u64,
    /// Where it is led.
    pub store_id: u64,
    /// How.
    pub kind: Kind,
    /// In bytes a second.
    pub rate: u64,
    /// For how many reports in a row.
    pub reports: u64,
}

/// Regions that are not as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    /// How many there are.
    pub count: usize,
    /// Those without a leader.
    pub leaderless: Vec<u64>,
    /// Those with a replica that does not answer, and on which stores.
    pub down: Vec<u64>,
    /// The stores of these replicas.
    pub down_stores: BTreeSet<u64>,
    /// Those with a replica that differs from the others.
    pub quarantined: Vec<u64>,
}

impl Facts {
    /// Of what was collected.
    pub fn of(collected: &Collected) -> Self {
        let placement = |name: &str| match collected.placement.get(name) {
            Some(Ok(page)) => page,
            _ => &Value::Null,
        };
        let mut silent = collected
            .placement
            .values()
            .filter_map(|page| page.as_ref().err());
        let mut facts = Self {
            placement_silent: silent.next().cloned(),
            regions: regions(placement("regions")),
            low_space_percent: placement("schedule")["low-space-percent"]
                .as_u64()
                .unwrap_or(80),
            ..Self::default()
        };
        facts.hot.extend(hot(placement("hot-reads"), Kind::Read));
        facts.hot.extend(hot(placement("hot-writes"), Kind::Write));
        let mut nodes: Vec<&Node> = collected.nodes.iter().collect();
        for value in list(&placement("stores")["stores"]) {
            let mut store = store(value, placement("hot-stores"));
            let address = value["store"]["status_address"]
                .as_str()
                .unwrap_or_default();
            let known = nodes.iter().position(|node| node.address == address);
            match known {
                Some(at) => store.add_node(nodes.remove(at)),
                None => store.silent = "it has no status server (server.status-addr)".to_owned(),
            }
            facts.stores.push(store);
        }
        for node in nodes {
            let mut store = Store {
                address: node.address.clone(),
                ..Store::default()
            };
            store.add_node(node);
            facts.stores.push(store);
        }
        facts
    }
}

impl Store {
    fn add_node(&mut self, node: &Node) {
        match node.pages.values().find_map(|page| page.as_ref().err()) {
            Some(reason) => self.silent = reason.clone(),
            None => self.node = Some(node_facts(node)),
        }
    }

    /// What to call it.
    pub fn name(&self) -> String {
        match self.id {
            0 => format!("node {}", self.address),
            id => format!("store {id}"),
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn store(value: &Value, traffic: &Value) -> Store {
    let (store, status) = (&value["store"], &value["status"]);
    let id = store["id"].as_u64().unwrap_or_default();
    let number = |name: &str| status[name].as_u64();
    let rate = |kind: &str| traffic[kind][id.to_string()].as_u64().unwrap_or_default();
    Store {
        id,
        address: text(&store["address"]),
        state: text(&store["state_name"]),
        heartbeat_age_ms: number("last_heartbeat_age_ms"),
        capacity_bytes: number("capacity_bytes").unwrap_or_default(),
        available_bytes: number("available_bytes").unwrap_or_default(),
        slow_score: number("slow_score").unwrap_or_default(),
        is_slow: status["is_slow"].as_bool().unwrap_or_default(),
        traffic: Traffic {
            read: rate("bytes-read-rate"),
            written: rate("bytes-write-rate"),
        },
        node: None,
        silent: String::new(),
    }
}

fn regions(value: &Value) -> Regions {
    let mut regions = Regions {
        count: list(&value["regions"]).len(),
        ..Regions::default()
    };
    for region in list(&value["regions"]) {
        let id = region["id"].as_u64().unwrap_or_default();
        if region["leader"].is_null() {
            regions.leaderless.push(id);
        }
        let down = list(&region["down_peers"]);
        if !down.is_empty() {
            regions.down.push(id);
        }
        let stores = down.iter().filter_map(|peer| peer["store_id"].as_u64());
        regions.down_stores.extend(stores);
        if !list(&region["quarantined_peers"]).is_empty() {
            regions.quarantined.push(id);
        }
    }
    regions
}

/// Where they are led.
fn hot(value: &Value, kind: Kind) -> Vec<Hot> {
    let stores = value["as_leader"].as_object().into_iter().flatten();
    let regions = stores.flat_map(|(_, store)| list(&store["statistics"]));
    let number = |region: &Value, name: &str| region[name].as_u64().unwrap_or_default();
    regions
        .map(|region| Hot {
            region_id: number(region, "region_id"),
            store_id: number(region, "store_id"),
            kind,
            rate: number(region, "flow_bytes"),
            reports: number(region, "hot_degree"),
        })
        .collect()
}

fn node_facts(node: &Node) -> NodeFacts {
    let page = |name: &str| match node.pages.get(name) {
        Some(Ok(page)) => page,
        _ => &Value::Null,
    };
    let mut config = BTreeMap::new();
    flatten("", page("config"), &mut config);
    NodeFacts {
        version: text(&page("status")["version"]),
        stage: text(&page("ready")["stage"]),
        config,
        clock: node.clock,
        cpu_idle_percent: machine(page("machine"), ("cpu", "usage"), "idle"),
        memory_used_percent: machine(page("machine"), ("memory", "virtual"), "used-percent"),
        waiting: waiting(page("actors")),
        log: said(list(&page("log")["messages"])),
        slow_lines: list(&page("slow-log")["messages"]).len(),
    }
}

fn flatten(prefix: &str, value: &Value, items: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), field, items);
            }
        }
        Value::Null => {}
        Value::String(text) => _ = items.insert(prefix.to_owned(), text.clone()),
        other => _ = items.insert(prefix.to_owned(), other.to_string()),
    }
}

fn machine(machine: &Value, (kind, name): (&str, &str), key: &str) -> Option<f64> {
    let mut items = list(&machine["items"]).iter();
    let item = items.find(|item| item["type"] == kind && item["name"] == name)?;
    item["pairs"][key].as_str()?.parse().ok()
}

fn waiting(actors: &Value) -> Vec<(String, u64, u64)> {
    let systems = actors.as_object().into_iter().flatten();
    let lines = systems.flat_map(|(system, lists)| {
        let longest = list(&lists["longest_queues"]).iter();
        longest.filter_map(move |line| {
            let region = line["region_id"].as_u64()?;
            Some((system.clone(), region, line["waiting"].as_u64()?))
        })
    });
    lines.filter(|(_, _, waiting)| *waiting > 0).collect()
}

/// The same place and message is the same; the most severe and frequent first.
fn said(lines: &[Value]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for line in lines {
        let (level, last) = (text(&line["level"]), text(&line["message"]));
        let what = head(&last).to_owned();
        match all
            .iter_mut()
            .find(|said| said.level == level && said.text == what)
        {
            Some(said) => (said.count, said.last) = (said.count + 1, last),
            None => all.push(Said {
                level,
                text: what,
                count: 1,
                last,
            }),
        }
    }
    let severity = |level: &str| {
        ["FATAL", "ERROR"]
            .iter()
            .position(|name| *name == level)
            .unwrap_or(2)
    };
    all.sort_by_key(|said| (severity(&said.level), std::cmp::Reverse(said.count)));
    all
}

/// `[place] [message]` of a line. A bracket in a message stands in quotes.
fn head(line: &str) -> &str {
    let mut ends = 0;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ']' if !is_quoted => {
                ends += 1;
                if ends == 2 {
                    return &line[..=at];
                }
            }
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(address: &str, pages: &[(&'static str, Value)]) -> Node {
        Node {
            address: address.to_owned(),
            pages: pages
                .iter()
                .map(|(name, page)| (*name, Ok(page.clone())))
                .collect(),
            clock: None,
        }
    }

    #[test]
    fn stores_and_their_nodes_are_brought_together() {
        let stores = json!({ "stores": [
            { "store": { "id": 1, "address": "a:1", "status_address": "a:9", "state_name": "Up" },
              "status": { "capacity_bytes": 10, "available_bytes": 3, "slow_score": 7, "is_slow": true, "last_heartbeat_age_ms": 5 } },
            { "store": { "id": 2, "address": "b:1", "status_address": "b:9", "state_name": "Down" } },
            { "store": { "id": 3, "address": "c:1", "status_address": "" } },
        ]});
        let rates = json!({ "bytes-read-rate": { "1": 70 }, "bytes-write-rate": { "1": 30 } });
        let mut silent = node("b:9", &[]);
        silent
            .pages
            .insert("status", Err("b:9: refused".to_owned()));
        let collected = Collected {
            now_ms: 1,
            placement: BTreeMap::from([("stores", Ok(stores)), ("hot-stores", Ok(rates))]),
            nodes: vec![
                node("a:9", &[("status", json!({ "version": "1.0" }))]),
                silent,
                node("x:9", &[]),
            ],
        };
        let facts = Facts::of(&collected);
        assert_eq!(
            (facts.placement_silent, facts.low_space_percent),
            (None, 80)
        );
        let names: Vec<String> = facts.stores.iter().map(Store::name).collect();
        assert_eq!(names, ["store 1", "store 2", "store 3", "node x:9"]);
        let [first, second, third, other] = &facts.stores[..] else {
            panic!()
        };
        assert_eq!(
            (
                first.capacity_bytes,
                first.available_bytes,
                first.slow_score
            ),
            (10, 3, 7)
        );
        assert_eq!(
            first.traffic,
            Traffic {
                read: 70,
                written: 30
            }
        );
        assert_eq!(first.node.as_ref().unwrap().version, "1.0");
        assert_eq!(second.silent, "b:9: refused");
        assert!(third.silent.contains("no status server") && other.node.is_some());
    }

    #[test]
    fn regions_that_are_not_as_they_should_be_are_listed() {
        let peer = json!({ "id": 5, "store_id": 2 });
        let value = json!({ "regions": [
            { "id": 2, "leader": peer },
            { "id": 3, "leader": null },
            { "id": 4, "leader": peer, "down_peers": [peer], "quarantined_peers": [peer] },
        ]});
        let expected = Regions {
            count: 3,
            leaderless: vec![3],
            down: vec![4],
            down_stores: BTreeSet::from([2]),
            quarantined: vec![4],
        };
        assert_eq!(regions(&value), expected);
    }

    #[test]
    fn a_node_is_read_with_its_settings_machine_and_log() {
        let line = |level: &str, message: &str| json!({ "time_ms": 1, "level": level, "message": message });
        let read = node_facts(&node(
            "a:9",
            &[
                ("ready", json!({ "stage": "serving" })),
                ("config", json!({ "a": { "b": 1, "c": "x" }, "d": true })),
                (
                    "machine",
                    json!({ "items": [
                        { "type": "cpu", "name": "usage", "pairs": { "idle": "12.5" } },
                        { "type": "memory", "name": "virtual", "pairs": { "used-percent": "91.0" } },
                    ]}),
                ),
                (
                    "actors",
                    json!({ "peer": { "longest_queues": [{ "region_id": 7, "waiting": 3 }, { "region_id": 8, "waiting": 0 }] } }),
                ),
                (
                    "log",
                    json!({ "messages": [
                        line("WARN", "[a.rs:1] [x] [n=1]"),
                        line("WARN", "[a.rs:1] [x] [n=2]"),
                        line("ERROR", "[b.rs:1] [\"y] \\\"z\"] [n=1]"),
                    ]}),
                ),
                ("slow-log", json!({ "messages": [line("WARN", "")] })),
            ],
        ));
        assert_eq!(read.stage, "serving");
        let config: Vec<(&str, &str)> = read
            .config
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        assert_eq!(config, [("a.b", "1"), ("a.c", "x"), ("d", "true")]);
        assert_eq!(
            (read.cpu_idle_percent, read.memory_used_percent),
            (Some(12.5), Some(91.0))
        );
        assert_eq!(read.waiting, [("peer".to_owned(), 7, 3)]);
        let said: Vec<(&str, u64)> = read
            .log
            .iter()
            .map(|said| (&*said.text, said.count))
            .collect();
        assert_eq!(said, [("[b.rs:1] [\"y] \\\"z\"]", 1), ("[a.rs:1] [x]", 2)]);
        assert_eq!(
            (&*read.log[1].last, read.slow_lines),
            ("[a.rs:1] [x] [n=2]", 1)
        );
    }

    #[test]
    fn hot_regions_are_those_of_their_leaders() {
        let region = json!({ "store_id": 1, "region_id": 7, "hot_degree": 3, "flow_bytes": 99 });
        let value = json!({
            "as_leader": { "1": { "statistics": [region] }, "2": { "statistics": [] } },
            "as_peer": { "2": { "statistics": [region] } },
        });
        let expected = Hot {
            region_id: 7,
            store_id: 1,
            kind: Kind::Read,
            rate: 99,
            reports: 3,
        };
        assert_eq!(hot(&value, Kind::Read), [expected]);
    }
}
