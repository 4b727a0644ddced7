//! `ctl store`: the stores as placement sees them, and what holds for them.
//!
//! **Not here.** Waiting until a drained store has left (`drain`).

use super::files::CompactArgs;
use super::session::Session;
use super::table::{Cell, Row, at, items};
use super::{drain, files, table};
use crate::error::{Error, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

/// Arguments of `kontiki ctl store`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StoreArgs {
    /// Its id; all stores if not given.
    pub id: Option<u64>,
    /// What to do with one.
    #[command(subcommand)]
    pub command: Option<StoreCommand>,
}

/// The commands of `kontiki ctl store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Move everything away from a store, which then leaves the cluster for good.
    Drain {
        /// Its id.
        id: u64,
        /// Show what is left, until it has left.
        #[arg(long)]
        wait: bool,
    },
    /// Take a store that is drained back into service.
    #[command(visible_alias = "undrain")]
    CancelDelete {
        /// Its id.
        id: u64,
    },
    /// Show or set how many replicas each store is given, and loses, in a minute.
    Limit {
        /// The new limit.
        rate: Option<u64>,
        /// Which of the two; both if not given.
        kind: Option<LimitKind>,
    },
    /// Set labels of a store, which say where it is.
    Label {
        /// Its id.
        id: u64,
        /// The labels; an empty value removes one.
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Rewrite the files of stores: what was removed takes no room then. Reads and writes go on, slower.
    Compact(CompactArgs),
    /// Forget the stores that have left.
    RemoveTombstone,
}

/// Which limit of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LimitKind {
    /// Replicas that it is given.
    AddPeer,
    /// Replicas that it loses.
    RemovePeer,
}

fn parse_label(text: &str) -> std::result::Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as key=value")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    match !name.is_empty() && name.chars().chain(value.chars()).all(allowed) {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err("letters, digits and -_./ only"),
    }
}

/// Does it.
pub async fn run(session: &mut Session<'_>, args: StoreArgs) -> Result<()> {
    let Some(command) = args.command else {
        return show(session, args.id).await;
    };
    match command {
        StoreCommand::Drain { id, wait } => drain::run(session, id, wait).await,
        StoreCommand::CancelDelete { id } => {
            let path = format!("/store/{id}/state?state=Up");
            session.post(&path, &Value::Null).await?;
            session.done(&format!("store {id} is in service"))
        }
        StoreCommand::Limit { rate: None, .. } => limits(session).await,
        StoreCommand::Limit {
            rate: Some(rate),
            kind,
        } => {
            session
                .post("/stores/limit", &limit_body(rate, kind))
                .await?;
            limits(session).await
        }
        StoreCommand::Label { id, labels } => {
            let labels = labels.into_iter().map(|(name, value)| (name, json!(value)));
            let body = Value::Object(labels.collect::<Map<_, _>>());
            session.post(&format!("/store/{id}/label"), &body).await?;
            show(session, Some(id)).await
        }
        StoreCommand::Compact(args) => files::compact(session, &args).await,
        StoreCommand::RemoveTombstone => {
            session.delete("/stores/remove-tombstone").await?;
            session.done("stores that have left are forgotten")
        }
    }
}

async fn show(session: &mut Session<'_>, id: Option<u64>) -> Result<()> {
    let rows = match id {
        Some(id) => vec![row(&session.get(&format!("/store/{id}")).await?)],
        None => {
            let answer = session.get("/stores").await?;
            items(at(&answer, "/stores")).iter().map(row).collect()
        }
    };
    session.printer.table(&rows)
}

fn row(store: &Value) -> Row {
    let same = |name: &'static str, place: &str| Cell::new(name, at(store, place).clone());
    let label = |label: &Value| format!("{}={}", plain(label, "key"), plain(label, "value"));
    let labels: Vec<String> = items(at(store, "/store/labels"))
        .iter()
        .map(label)
        .collect();
    let slow = at(store, "/status/is_slow").as_bool();
    vec![
        same("id", "/store/id"),
        same("address", "/store/address"),
        same("state", "/store/state_name"),
        Cell::bytes("capacity_bytes", at(store, "/status/capacity_bytes")),
        Cell::bytes("available_bytes", at(store, "/status/available_bytes")),
        Cell::bytes("used_bytes", at(store, "/status/used_bytes")),
        same("regions", "/status/region_count"),
        same("leaders", "/status/leader_count"),
        Cell::millis(
            "heartbeat_age_ms",
            at(store, "/status/last_heartbeat_age_ms"),
        ),
        Cell::with_text(
            "slow",
            slow,
            if slow == Some(true) { "yes" } else { "-" }.to_owned(),
        ),
        same("version", "/store/version"),
        Cell::new("labels", labels),
    ]
}

fn plain(value: &Value, name: &str) -> String {
    table::plain(&value[name])
}

fn limit_body(rate: u64, kind: Option<LimitKind>) -> Value {
    match kind {
        None => json!({ "rate": rate }),
        Some(LimitKind::AddPeer) => json!({ "rate": rate, "type": "add-peer" }),
        Some(LimitKind::RemovePeer) => json!({ "rate": rate, "type": "remove-peer" }),
    }
}

async fn limits(session: &mut Session<'_>) -> Result<()> {
    let answer = session.get("/stores/limit").await?;
    let protocol = || Error::Incomplete("placement's limits are no table".to_owned());
    let each = answer.as_object().ok_or_else(protocol)?;
    let mut rows: Vec<(u64, Row)> = each.iter().map(limit_row).collect();
    rows.sort_by_key(|(id, _)| *id);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    session.printer.table(&rows)
}

fn limit_row((id, limits): (&String, &Value)) -> (u64, Row) {
    let id = id.parse().unwrap_or(0);
    let row = vec![
        Cell::new("id", id),
        Cell::new("add_peer", limits["add-peer"].clone()),
        Cell::new("remove_peer", limits["remove-peer"].clone()),
    ];
    (id, row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value_of_plain_letters() {
        let label = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_label("zone=eu-1"), label("zone", "eu-1"));
        assert_eq!(parse_label("zone="), label("zone", ""));
        for wrong in ["zone", "=a", "zone=a b", "z,=a"] {
            assert!(parse_label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_store_is_a_row_with_sizes_times_and_labels() {
        let store = json!({
            "store": {
                "id": 4, "address": "h:1", "state_name": "Up", "version": "0.1.0",
                "labels": [{ "key": "zone", "value": "a" }],
            },
            "status": {
                "capacity_bytes": 1_u64 << 30, "available_bytes": 1_u64 << 29, "used_bytes": 100,
                "region_count": 7, "leader_count": 3, "is_slow": false,
                "last_heartbeat_age_ms": 4_200,
            },
        });
        let lines = table::lines(&[row(&store)]);
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        let expected = [
            "4", "h:1", "Up", "1.0GiB", "512.0MiB", "100B", "7", "3", "4s", "-", "0.1.0", "zone=a",
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn a_limit_is_set_for_one_kind_or_both() {
        assert_eq!(limit_body(9, None), json!({ "rate": 9 }));
        let one = limit_body(9, Some(LimitKind::RemovePeer));
        assert_eq!(one, json!({ "rate": 9, "type": "remove-peer" }));
    }
}
