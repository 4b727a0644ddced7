//! Asking placement and all nodes, at the same time, for all that can tell what is wrong.
//!
//! **Invariants.** What does not answer is written down with the reason. Users' keys are taken out of what placement says.
//!
//! **Not here.** What the answers mean (`facts`).

use crate::cluster::ClusterArgs;
use crate::error::Result;
use client::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// What is asked of placement, and what it is called.
const OF_PLACEMENT: &[(&str, &str)] = &[
    ("stores", "/pd/api/v1/stores"),
    ("regions", "/pd/api/v1/regions"),
    ("members", "/pd/api/v1/members"),
    ("schedule", "/pd/api/v1/config/schedule"),
    ("operators", "/pd/api/v1/operators"),
    ("hot-stores", "/pd/api/v1/hotspot/stores"),
    ("hot-reads", "/pd/api/v1/hotspot/regions/read"),
    ("hot-writes", "/pd/api/v1/hotspot/regions/write"),
];

/// What is asked of each node. The first is asked alone: who does not answer it is asked no more.
const OF_NODE: &[(&str, &str)] = &[
    ("status", "/status"),
    ("ready", "/ready?verbose"),
    ("config", "/config"),
    ("actors", "/debug/actors?limit=10"),
    ("machine", "/diagnosis/server-info"),
    ("metrics", "/metrics"),
];

/// Boundaries of Regions in placement's answers.
const KEYS: [&str; 2] = ["start_key", "end_key"];

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks at a node's clock: the shortest counts.
const CLOCK_LOOKS: usize = 3;

/// An answer, or why there is none.
pub type Page = std::result::Result<Value, String>;

/// Everything that was collected.
#[derive(Debug, Default)]
pub struct Collected {
    /// When, by this machine's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What placement says.
    pub placement: BTreeMap<&'static str, Page>,
    /// What nodes say.
    pub nodes: Vec<Node>,
}

/// What a node says.
#[derive(Debug, Default)]
pub struct Node {
    /// Where its status server was asked.
    pub address: String,
    /// Its answers.
    pub pages: BTreeMap<&'static str, Page>,
    /// How far its clock is ahead of this machine's, and how well that is known, in milliseconds.
    pub clock: Option<Clock>,
}

/// A node's clock beside this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How far it is ahead; behind, if it is negative.
    pub ahead_ms: i64,
    /// It may be so much more or less.
    pub uncertain_ms: i64,
}

/// Collects all.
///
/// # Errors
/// An argument has to be changed.
pub async fn collect(
    cluster: &ClusterArgs,
    status: &[String],
    since: Duration,
) -> Result<Collected> {
    let now_ms = now_ms();
    let placement = match cluster.connect().await {
        Ok(client) => of_placement(&client).await,
        Err(error @ crate::error::Error::Usage(_)) => return Err(error),
        Err(error) => {
            let reason = error.in_full();
            OF_PLACEMENT
                .iter()
                .map(|(name, _)| (*name, Err(reason.clone())))
                .collect()
        }
    };
    let mut addresses = status_addresses(&placement);
    addresses.extend(status.iter().cloned());
    addresses.sort_unstable();
    addresses.dedup();
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let from_ms = now_ms.saturating_sub(since_ms);
    let mut asked = JoinSet::new();
    for address in addresses {
        asked.spawn(of_node(address, from_ms));
    }
    let mut nodes = asked.join_all().await;
    nodes.sort_unstable_by(|a, b| a.address.cmp(&b.address));
    Ok(Collected {
        now_ms,
        placement,
        nodes,
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

async fn of_placement(client: &Client) -> BTreeMap<&'static str, Page> {
    let mut pages = BTreeMap::new();
    for (name, path) in OF_PLACEMENT {
        let page = client
            .admin()
            .get(path)
            .await
            .map_err(|error| error.to_string());
        let is_silent = page.is_err();
        pages.insert(*name, page.map(without_keys));
        if is_silent {
            // Each of the others would take as long.
            break;
        }
    }
    pages
}

/// The same with a `?` for each key.
fn without_keys(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = without_keys(item.take())),
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_key = KEYS.contains(&name.as_str())
                    && field.as_str().is_some_and(|key| !key.is_empty());
                *field = if is_key {
                    "?".into()
                } else {
                    without_keys(field.take())
                };
            }
        }
        _ => {}
    }
    value
}

/// Of the stores that are still there.
fn status_addresses(placement: &BTreeMap<&'static str, Page>) -> Vec<String> {
    let Some(Ok(stores)) = placement.get("stores") else {
        return Vec::new();
    };
    let stores = stores["stores"].as_array().map_or(&[][..], Vec::as_slice);
    let alive = stores
        .iter()
        .filter(|store| store["store"]["state_name"] != "Tombstone");
    let addresses = alive.filter_map(|store| store["store"]["status_address"].as_str());
    addresses
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect()
}

async fn of_node(address: String, from_ms: u64) -> Node {
    let log = format!("/diagnosis/log?level=warn,error,fatal&start={from_ms}");
    let slow = format!("/diagnosis/log?target=slow&start={from_ms}");
    let logs = [("log", log.as_str()), ("slow-log", slow.as_str())];
    let mut node = Node {
        address,
        ..Node::default()
    };
    for (name, path) in OF_NODE.iter().copied().chain(logs) {
        let page = ask(&node.address, path).await;
        let is_silent = page.is_err();
        node.pages.insert(name, page);
        if is_silent {
            return node;
        }
    }
    node.clock = clock(&node.address).await;
    node
}

/// What a node answers, JSON or not. An error: it does not answer.
async fn ask(address: &str, path: &str) -> Page {
    let answer = client::look_status(address, path, PATIENCE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let text = || Value::String(String::from_utf8_lossy(&answer).into_owned());
    Ok(serde_json::from_slice(&answer).unwrap_or_else(|_| text()))
}

async fn clock(address: &str) -> Option<Clock> {
    let mut best: Option<Clock> = None;
    for _ in 0..CLOCK_LOOKS {
        let (before_ms, begun) = (now_ms(), Instant::now());
        let answer = ask(address, "/diagnosis/clock").await.ok()?;
        let half_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX) / 2;
        let theirs = answer["now_ms"].as_i64()?;
        let ours = i64::try_from(before_ms)
            .unwrap_or(i64::MAX)
            .saturating_add(half_ms);
        let look = Clock {
            ahead_ms: theirs - ours,
            uncertain_ms: half_ms + 1,
        };
        best = match best {
            Some(best) if best.uncertain_ms <= look.uncertain_ms => Some(best),
            _ => Some(look),
        };
    }
    best
}

impl Collected {
    /// All answers as files: their names and what they say.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut add = |folder: &str, pages: &BTreeMap<&'static str, Page>| {
            for (name, page) in pages {
                let (ending, text) = match page {
                    Ok(Value::String(text)) => ("txt", text.clone()),
                    Ok(page) => ("json", format!("{page:#}\n")),
                    Err(reason) => ("error.txt", format!("{reason}\n")),
                };
                files.push((format!("{folder}/{name}.{ending}"), text));
            }
        };
        add("placement", &self.placement);
        for node in &self.nodes {
            let mut pages = node.pages.clone();
            if let Some(clock) = node.clock {
                let clock =
                    json!({ "ahead_ms": clock.ahead_ms, "uncertain_ms": clock.uncertain_ms });
                pages.insert("clock", Ok(clock));
            }
            add(&folder(&node.address), &pages);
        }
        files
    }
}

/// A name for what came from an address.
fn folder(address: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = address.chars().map(allowed).collect();
    // Names in the archive are bounded.
    format!("node-{}", &name[..name.len().min(60)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_a_user_is_collected() {
        let regions = json!({ "regions": [
            { "id": 2, "start_key": "", "end_key": "6B6579" },
            { "id": 3, "start_key": "6B6579", "end_key": "" },
        ]});
        let expected = json!({ "regions": [
            { "id": 2, "start_key": "", "end_key": "?" },
            { "id": 3, "start_key": "?", "end_key": "" },
        ]});
        assert_eq!(without_keys(regions), expected);
    }

    #[test]
    fn nodes_are_those_of_stores_that_are_there_and_have_a_status_server() {
        let store = |state: &str, address: &str| json!({ "store": { "state_name": state, "status_address": address } });
        let stores = json!({ "stores": [store("Up", "h:1"), store("Tombstone", "h:2"), store("Down", ""), store("Down", "h:4")] });
        let placement = BTreeMap::from([("stores", Ok(stores))]);
        assert_eq!(status_addresses(&placement), ["h:1", "h:4"]);
        assert_eq!(status_addresses(&BTreeMap::new()), [""; 0]);
    }

    #[test]
    fn files_are_named_after_whom_they_are_of() {
        let collected = Collected {
            now_ms: 1,
            placement: BTreeMap::from([("stores", Err("why".to_owned()))]),
            nodes: vec![Node {
                address: "[::1]:20180".to_owned(),
                pages: BTreeMap::from([("metrics", Ok("a 1\n".into())), ("status", Ok(json!({})))]),
                clock: None,
            }],
        };
        let names: Vec<String> = collected
            .files()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let of_node = [
            "node-___1__20180/metrics.txt",
            "node-___1__20180/status.json",
        ];
        assert_eq!(names[0], "placement/stores.error.txt");
        assert_eq!(names[1..], of_node);
    }
}
