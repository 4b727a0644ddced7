//! `ctl region properties` and `ctl store compact`: what lies in the files of stores, and how to get room back.
//!
//! **How.** Each store's status server is asked. A compaction is under way for as long as it takes: to stop waiting does not
//! stop it.
//!
//! **Not here.** What placement knows of Regions (`region`), and the files of a stopped node (`local`).

use super::node_settings::nodes;
use super::session::Session;
use super::table::{Cell, Row, at, items};
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::time::Duration;

/// For what a store knows of a Region.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `kontiki ctl store compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// The id of the store; several compact one after the other.
    #[arg(required = true)]
    ids: Vec<u64>,
    /// Which family of keys.
    #[arg(long, default_value = "default")]
    cf: Family,
    /// From this key on.
    #[arg(long, value_name = "KEY")]
    start: Option<String>,
    /// Up to this key, itself not included.
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
    /// How long to wait for each.
    #[arg(long, default_value = "6h", value_name = "DURATION")]
    within: ReadableDuration,
}

/// The families that hold what clients store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    /// Raw values.
    Default,
    /// Locks of transactions.
    Lock,
    /// Commits of transactions.
    Write,
}

/// Compacts stores, one after the other.
pub(super) async fn compact(session: &mut Session<'_>, args: &CompactArgs) -> Result<()> {
    let bound = |key: &Option<String>| match key {
        Some(key) => session.bound(key),
        None => Ok(String::new()),
    };
    let cf = args.cf.to_possible_value();
    let body = json!({
        "cf": cf.as_ref().map(clap::builder::PossibleValue::get_name),
        "start_key": bound(&args.start)?,
        "end_key": bound(&args.end)?,
    });
    let mut rows = Vec::new();
    for &id in &args.ids {
        for node in nodes(session, Some(id)).await? {
            let done = node.ask("/compact", Some(&body), args.within.0).await;
            let done = done.map_err(|error| of_store(id, &error))?;
            rows.push(compacted(id, &done));
        }
    }
    session.printer.table(&rows)
}

fn of_store(id: u64, error: &Error) -> Error {
    Error::Incomplete(format!("store {id}: {}", error.in_full()))
}

fn compacted(id: u64, done: &Value) -> Row {
    vec![
        Cell::new("store", id),
        Cell::new("files_before", done["before"]["count"].clone()),
        Cell::bytes("bytes_before", &done["before"]["bytes"]),
        Cell::new("removals_before", done["before"]["removals"].clone()),
        Cell::new("files", done["after"]["count"].clone()),
        Cell::bytes("bytes", &done["after"]["bytes"]),
        Cell::new("removals", done["after"]["removals"].clone()),
        Cell::millis("took_ms", &done["took_ms"]),
    ]
}

/// A Region, as each store that has a replica of it knows it.
pub(super) async fn properties(session: &mut Session<'_>, region: u64) -> Result<()> {
    let told = session.get(&format!("/region/id/{region}")).await?;
    let mut rows = Vec::new();
    let mut silent = Vec::new();
    for peer in items(at(&told, "/peers")) {
        let store = peer["store_id"].as_u64().unwrap_or_default();
        match replica(session, region, store).await {
            Ok(found) => rows.extend(found),
            Err(error) => silent.push(of_store(store, &error).to_string()),
        }
    }
    session.printer.table(&rows)?;
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Error::Incomplete(silent.join("; "))),
    }
}

async fn replica(session: &Session<'_>, region: u64, store: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for node in nodes(session, Some(store)).await? {
        let path = format!("/region/{region}");
        let found = node.ask(&path, None, LOOK_WITHIN).await?;
        rows.push(property_row(node.store_id, &found));
    }
    Ok(rows)
}

fn property_row(store: u64, found: &Value) -> Row {
    let same = |name: &'static str, place: &str| Cell::new(name, at(found, place).clone());
    vec![
        Cell::new("store", store),
        same("state", "/state"),
        same("leads", "/leads_here"),
        same("applied", "/log/applied_index"),
        same("truncated", "/log/truncated_index"),
        Cell::bytes("size_bytes", at(found, "/approximate_size_bytes")),
        same("keys", "/approximate_keys"),
        same("files", "/files/count"),
        Cell::bytes("file_bytes", at(found, "/files/bytes")),
        same("entries", "/files/entries"),
        same("removals", "/files/removals"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn cells(row: Row) -> Vec<String> {
        let lines = table::lines(&[row]);
        lines[1].split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_replica_is_a_row_with_its_log_and_its_files() {
        let found = json!({
            "state": "normal", "leads_here": true, "approximate_size_bytes": 2_048,
            "approximate_keys": null, "log": { "applied_index": 9, "truncated_index": 5 },
            "files": { "count": 2, "bytes": 1_u64 << 20, "entries": 70, "removals": 3 },
        });
        let expected = [
            "4", "normal", "true", "9", "5", "2.0KiB", "-", "2", "1.0MiB", "70", "3",
        ];
        assert_eq!(cells(property_row(4, &found)), expected);
    }

    #[test]
    fn a_compaction_is_a_row_with_what_it_has_brought() {
        let done = json!({
            "before": { "count": 5, "bytes": 1_u64 << 20, "removals": 400 },
            "after": { "count": 1, "bytes": 1_024, "removals": 0 },
            "took_ms": 2_000,
        });
        let expected = ["4", "5", "1.0MiB", "400", "1", "1.0KiB", "0", "2s"];
        assert_eq!(cells(compacted(4, &done)), expected);
    }
}
