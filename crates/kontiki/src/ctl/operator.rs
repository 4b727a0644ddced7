//! `ctl operator`: what placement has the leaders of Regions do, and what somebody wants them to do.
//!
//! **Not here.** Whether it can be done: placement says so.

use super::session::Session;
use super::table::{Cell, Row, items};
use crate::error::Result;
use clap::Subcommand;
use serde_json::{Value, json};

/// The commands of `kontiki ctl operator`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// The operators at work.
    Show {
        /// A Region; its operator, or the last that it had.
        region: Option<u64>,
    },
    /// Begin one.
    #[command(subcommand)]
    Add(Wanted),
    /// Give the operator of a Region up.
    Remove {
        /// The Region.
        region: u64,
    },
    /// The operators that have ended lately, the last one first.
    History {
        /// The most to show.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// The operators that can be asked for; the names are PD's.
#[derive(Debug, Subcommand)]
pub enum Wanted {
    /// Let the replica on another store lead.
    TransferLeader {
        /// The Region.
        region: u64,
        /// The store.
        to: u64,
    },
    /// Move a replica.
    TransferPeer {
        /// The Region.
        region: u64,
        /// From this store.
        from: u64,
        /// To this one.
        to: u64,
    },
    /// Add a replica.
    AddPeer {
        /// The Region.
        region: u64,
        /// Its store.
        store: u64,
    },
    /// Remove a replica.
    RemovePeer {
        /// The Region.
        region: u64,
        /// Its store.
        store: u64,
    },
    /// Split a Region.
    SplitRegion {
        /// The Region.
        region: u64,
        /// Where; in the middle if not given.
        keys: Vec<String>,
    },
    /// Merge a Region into a neighbour.
    MergeRegion {
        /// The Region.
        source: u64,
        /// The neighbour.
        target: u64,
    },
    /// Spread a Region over all stores.
    ScatterRegion {
        /// The Region.
        region: u64,
    },
}

/// Does it.
pub async fn run(session: &mut Session<'_>, command: OperatorCommand) -> Result<()> {
    let rows: Vec<Row> = match command {
        OperatorCommand::Show { region: None } => {
            let running = session.get("/operators").await?;
            items(&running).iter().map(row).collect()
        }
        OperatorCommand::Show {
            region: Some(region),
        } => {
            vec![row(&session.get(&format!("/operators/{region}")).await?)]
        }
        OperatorCommand::History { limit } => {
            let ended = session.get("/operators/records").await?;
            items(&ended).iter().take(limit).map(row).collect()
        }
        OperatorCommand::Add(wanted) => {
            let bound = |key: &String| session.bound(key);
            let (name, body) = body(&wanted, bound)?;
            session.post("/operators", &body).await?;
            return session.done(&format!("{name} has begun"));
        }
        OperatorCommand::Remove { region } => {
            session.delete(&format!("/operators/{region}")).await?;
            return session.done(&format!("the operator of Region {region} is given up"));
        }
    };
    session.printer.table(&rows)
}

/// The name of an operator, and the request for it.
fn body(
    wanted: &Wanted,
    bound: impl Fn(&String) -> Result<String>,
) -> Result<(&'static str, Value)> {
    let (name, mut body) = match wanted {
        Wanted::TransferLeader { region, to } => (
            "transfer-leader",
            json!({ "region_id": region, "to_store_id": to }),
        ),
        Wanted::TransferPeer { region, from, to } => (
            "transfer-peer",
            json!({ "region_id": region, "from_store_id": from, "to_store_id": to }),
        ),
        Wanted::AddPeer { region, store } => (
            "add-peer",
            json!({ "region_id": region, "store_id": store }),
        ),
        Wanted::RemovePeer { region, store } => (
            "remove-peer",
            json!({ "region_id": region, "store_id": store }),
        ),
        Wanted::SplitRegion { region, keys } => {
            let keys = keys.iter().map(bound).collect::<Result<Vec<_>>>()?;
            ("split-region", json!({ "region_id": region, "keys": keys }))
        }
        Wanted::MergeRegion { source, target } => (
            "merge-region",
            json!({ "source_region_id": source, "target_region_id": target }),
        ),
        Wanted::ScatterRegion { region } => ("scatter-region", json!({ "region_id": region })),
    };
    body["name"] = json!(name);
    Ok((name, body))
}

fn row(record: &Value) -> Row {
    let steps = items(&record["steps"]);
    let done = record["steps_done"].as_u64().unwrap_or(0);
    let step = usize::try_from(done).ok().and_then(|done| steps.get(done));
    let lower = |name: &str| record[name].as_str().unwrap_or_default().to_lowercase();
    vec![
        Cell::new("region", record["region_id"].clone()),
        Cell::new("kind", lower("kind")),
        Cell::new("desc", record["desc"].clone()),
        Cell::new("status", record["status"].clone()),
        Cell::new("done", format!("{done}/{}", steps.len())),
        Cell::millis("time_ms", &record["elapsed_ms"]),
        Cell::new("step", step.cloned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::encoding::Encoding;
    use super::super::table;
    use super::*;

    #[test]
    fn a_request_has_the_fields_that_pd_names() {
        let hex = |key: &String| Ok(Encoding::Hex.encode(key.as_bytes()));
        let of = |wanted: Wanted| body(&wanted, hex).unwrap().1;
        assert_eq!(
            of(Wanted::TransferLeader { region: 2, to: 3 }),
            json!({ "name": "transfer-leader", "region_id": 2, "to_store_id": 3 })
        );
        let (region, from, to) = (2, 1, 4);
        assert_eq!(
            of(Wanted::TransferPeer { region, from, to }),
            json!({ "name": "transfer-peer", "region_id": 2, "from_store_id": 1, "to_store_id": 4 })
        );
        let keys = vec!["k".to_owned()];
        assert_eq!(
            of(Wanted::SplitRegion { region, keys }),
            json!({ "name": "split-region", "region_id": 2, "keys": ["6b"] })
        );
    }

    #[test]
    fn an_operator_is_a_row_with_the_step_that_is_under_way() {
        let mut record = json!({
            "region_id": 2, "kind": "Admin", "desc": "admin-add-peer", "status": "Running",
            "steps": ["add a learner", "promote it"], "steps_done": 1, "elapsed_ms": 1_500,
        });
        let shown = |record: &Value| table::lines(&[row(record)])[1].clone();
        assert_eq!(
            shown(&record),
            "2       admin  admin-add-peer  Running  1/2   1s    promote it"
        );
        record["steps_done"] = json!(2);
        assert!(
            shown(&record).ends_with("2/2   1s    -"),
            "{}",
            shown(&record)
        );
    }
}
