//! `ctl config node`: the configuration of nodes, shown and changed while they run.
//!
//! **How.** Placement knows where each store's status server is; each is asked there.
//!
//! **Invariants.** A change goes to one store after the other, and stops at the first that does not take it: the
//! message says which have it by then.
//!
//! **Not here.** Which items there are, and what they may be: each node says so.

use super::session::Session;
use super::table::{Cell, Row, at, items};
use crate::error::{Error, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use std::time::Duration;

/// For one node's answer: pools may have to shrink, and a disk to sync.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The commands of `kontiki ctl config node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Print the items that can be set online.
    Show {
        /// One item, whether it can be set online or not.
        key: Option<String>,
        /// Which nodes.
        #[command(flatten)]
        which: Which,
        /// All items.
        #[arg(long)]
        all: bool,
    },
    /// Set items, all of them or none on each node: KEY VALUE, or several as KEY=VALUE.
    Set {
        /// The items.
        #[arg(required = true)]
        items: Vec<String>,
        /// Which nodes.
        #[command(flatten)]
        which: Which,
        /// Forget it at the next start.
        #[arg(long)]
        transient: bool,
    },
}

/// Which nodes are meant.
#[derive(Debug, Args)]
pub struct Which {
    /// The node of this store; all nodes if not given.
    #[arg(long, value_name = "ID")]
    store: Option<u64>,
}

/// A node that can be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) store_id: u64,
    status_address: String,
}

impl Node {
    /// Asks it; with a body it is a POST.
    pub(super) async fn ask(
        &self,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value> {
        Ok(client::ask_status(&self.status_address, path, body, within).await?)
    }
}

/// Does it.
pub async fn run(session: &mut Session<'_>, command: NodeCommand) -> Result<()> {
    match command {
        NodeCommand::Show { key, which, all } => {
            let mut rows = Vec::new();
            for node in nodes(session, which.store).await? {
                let shown = node.ask("/config/items", None, TIMEOUT).await?;
                rows.extend(shown_rows(&node, items(&shown), key.as_deref(), all)?);
            }
            session.printer.table(&rows)
        }
        NodeCommand::Set {
            items,
            which,
            transient,
        } => {
            let body = Value::Object(parse(&items).map_err(Error::Usage)?);
            let path = if transient {
                "/config?persist=false"
            } else {
                "/config"
            };
            let mut done: Vec<u64> = Vec::new();
            for node in nodes(session, which.store).await? {
                if let Err(error) = node.ask(path, Some(&body), TIMEOUT).await {
                    return Err(stopped(&done, node.store_id, &error));
                }
                done.push(node.store_id);
            }
            session.done(&format!("set on {}", list(&done)))
        }
    }
}

/// What is told when a node does not take a change.
fn stopped(done: &[u64], store: u64, error: &Error) -> Error {
    let rest = match done {
        [] => "nothing was changed".to_owned(),
        done => format!("by then it was set on {}", list(done)),
    };
    Error::Incomplete(format!("store {store}: {}; {rest}", error.in_full()))
}

fn list(stores: &[u64]) -> String {
    let noun = if stores.len() == 1 { "store" } else { "stores" };
    let ids: Vec<String> = stores.iter().map(u64::to_string).collect();
    format!("{noun} {}", ids.join(", "))
}

/// The node of a store, or of all of them.
pub(super) async fn nodes(session: &Session<'_>, store: Option<u64>) -> Result<Vec<Node>> {
    let stores = session.get("/stores").await?;
    select(items(at(&stores, "/stores")), store).map_err(Error::Usage)
}

/// The nodes of these stores that can be asked.
fn select(stores: &[Value], wanted: Option<u64>) -> std::result::Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    for store in stores {
        let store_id = at(store, "/store/id").as_u64().unwrap_or_default();
        if wanted.is_some_and(|wanted| wanted != store_id)
            || at(store, "/store/state_name").as_str() == Some("Tombstone")
        {
            continue;
        }
        let status_address = at(store, "/store/status_address")
            .as_str()
            .unwrap_or_default();
        if status_address.is_empty() {
            let has_registered = at(store, "/store/start_timestamp").as_u64() > Some(0);
            return Err(match has_registered {
                true => format!("store {store_id} has no status server (server.status-addr)"),
                false => format!(
                    "store {store_id} has not registered yet: its node is starting, or was never there"
                ),
            });
        }
        nodes.push(Node {
            store_id,
            status_address: status_address.to_owned(),
        });
    }
    match (nodes.is_empty(), wanted) {
        (true, Some(wanted)) => Err(format!("there is no store {wanted}")),
        _ => Ok(nodes),
    }
}

fn shown_rows(node: &Node, shown: &[Value], key: Option<&str>, all: bool) -> Result<Vec<Row>> {
    let is_meant = |item: &&Value| match key {
        Some(key) => item["key"] == key,
        None => all || item["online"] == true,
    };
    let rows: Vec<Row> = shown
        .iter()
        .filter(is_meant)
        .map(|item| row(node, item))
        .collect();
    if rows.is_empty()
        && let Some(key) = key
    {
        let names = shown.iter().filter_map(|item| item["key"].as_str());
        let near = crate::config::nearest(key, names);
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        return Err(Error::Usage(format!("there is no item {key:?}{hint}")));
    }
    Ok(rows)
}

fn row(node: &Node, item: &Value) -> Row {
    vec![
        Cell::new("store", node.store_id),
        Cell::new("key", item["key"].clone()),
        Cell::new("value", item["value"].clone()),
        Cell::new("default", item["default"].clone()),
        Cell::new("online", item["online"].clone()),
    ]
}

/// The items of a command line.
fn parse(items: &[String]) -> std::result::Result<Map<String, Value>, String> {
    let mut parsed = Map::new();
    match items {
        [key, value] if !key.contains('=') => _ = parsed.insert(key.clone(), scalar(value)),
        items => {
            for item in items {
                let (key, value) = item
                    .split_once('=')
                    .ok_or_else(|| format!("{item:?}: write KEY VALUE, or several as KEY=VALUE"))?;
                parsed.insert(key.to_owned(), scalar(value));
            }
        }
    }
    Ok(parsed)
}

/// A number and a truth as such, everything else as a text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_are_one_pair_or_several_with_their_types() {
        let texts = |items: &[&str]| {
            items
                .iter()
                .map(|&item| item.to_owned())
                .collect::<Vec<_>>()
        };
        let parsed = parse(&texts(&["a.b", "3"])).unwrap();
        assert_eq!(Value::Object(parsed), json!({ "a.b": 3 }));
        let parsed = parse(&texts(&["a=1s", "b=true", "c=8MiB"])).unwrap();
        assert_eq!(
            Value::Object(parsed),
            json!({ "a": "1s", "b": true, "c": "8MiB" })
        );
        assert!(parse(&texts(&["a"])).is_err());
    }

    #[test]
    fn nodes_are_those_of_stores_that_are_there() {
        let store = |id: u64, state: &str, address: &str| json!({ "store": { "id": id, "state_name": state, "status_address": address } });
        let stores = [
            store(1, "Up", "h:1"),
            store(2, "Tombstone", ""),
            store(3, "Down", "h:3"),
        ];
        let ids = |nodes: Vec<Node>| nodes.iter().map(|node| node.store_id).collect::<Vec<_>>();
        assert_eq!(ids(select(&stores, None).unwrap()), [1, 3]);
        assert_eq!(ids(select(&stores, Some(3)).unwrap()), [3]);
        assert!(select(&stores, Some(4)).unwrap_err().contains("no store 4"));
        let mut silent = store(5, "Up", "");
        let refusal = |store: &Value| select(std::slice::from_ref(store), None).unwrap_err();
        assert!(refusal(&silent).contains("not registered yet"));
        silent["store"]["start_timestamp"] = json!(1_700_000_000);
        assert!(refusal(&silent).contains("no status server"));
    }

    #[test]
    fn an_item_that_is_not_there_is_refused_with_the_nearest() {
        let node = Node {
            store_id: 1,
            status_address: String::new(),
        };
        let shown =
            [json!({ "key": "log.level", "value": "info", "default": "info", "online": true })];
        assert_eq!(shown_rows(&node, &shown, None, false).unwrap().len(), 1);
        let error = shown_rows(&node, &shown, Some("log.levl"), false).unwrap_err();
        assert!(error.to_string().contains("did you mean \"log.level\"?"));
    }

    #[test]
    fn a_node_that_refuses_is_named_with_those_before_it() {
        let error = Error::Usage("no".to_owned());
        let text = stopped(&[1, 2], 3, &error).to_string();
        assert_eq!(text, "store 3: no; by then it was set on stores 1, 2");
    }
}
