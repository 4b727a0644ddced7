//! `ctl scheduler`: what placement does by itself to keep stores in balance.

use super::session::Session;
use super::table::{Cell, Row, items};
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use clap::Subcommand;
use serde_json::{Value, json};

/// The commands of `kontiki ctl scheduler`.
#[derive(Debug, Subcommand)]
pub enum SchedulerCommand {
    /// The schedulers that run.
    Show,
    /// Let one run.
    Add {
        /// Its name, such as evict-leader-scheduler.
        name: String,
        /// The store that it is about, if it is about one.
        store: Option<u64>,
    },
    /// Let one run no more.
    Remove {
        /// Its name, as `show` has it.
        name: String,
    },
    /// Let one rest for a while.
    Pause {
        /// Its name, as `show` has it.
        name: String,
        /// For how long.
        duration: ReadableDuration,
    },
    /// Let one go on that rests.
    Resume {
        /// Its name, as `show` has it.
        name: String,
    },
}

/// Does it.
pub async fn run(session: &mut Session<'_>, command: SchedulerCommand) -> Result<()> {
    match command {
        SchedulerCommand::Show => {
            let running = session.get("/schedulers").await?;
            let rows: Vec<Row> = items(&running).iter().map(row).collect();
            session.printer.table(&rows)
        }
        SchedulerCommand::Add { name, store } => {
            let mut body = json!({ "name": name });
            if let Some(store) = store {
                body["store_id"] = json!(store);
            }
            session.post("/schedulers", &body).await?;
            session.done(&format!("{name} runs"))
        }
        SchedulerCommand::Remove { name } => {
            session.delete(&path(&name)?).await?;
            session.done(&format!("{name} runs no more"))
        }
        SchedulerCommand::Pause { name, duration } => {
            let delay = json!({ "delay": seconds(duration)? });
            session.post(&path(&name)?, &delay).await?;
            session.done(&format!("{name} rests for {duration}"))
        }
        SchedulerCommand::Resume { name } => {
            session.post(&path(&name)?, &json!({ "delay": 0 })).await?;
            session.done(&format!("{name} goes on"))
        }
    }
}

/// A name that could not be a part of a path is none.
fn path(name: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.chars().all(allowed) {
        true => Ok(format!("/schedulers/{name}")),
        false => Err(Error::Usage(format!("there is no scheduler {name:?}"))),
    }
}

fn seconds(duration: ReadableDuration) -> Result<u64> {
    match duration.0.as_secs() {
        seconds if seconds > 0 && duration.0.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(Error::Usage(format!(
            "{duration} is not a whole number of seconds, 1s or more"
        ))),
    }
}

fn row(scheduler: &Value) -> Row {
    let paused = &scheduler["paused_ms"];
    let rests = paused.as_u64().is_some_and(|ms| ms > 0);
    vec![
        Cell::new("name", scheduler["name"].clone()),
        Cell::new("state", if rests { "paused" } else { "running" }),
        Cell::millis("left_ms", if rests { paused } else { &Value::Null }),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn a_pause_is_in_whole_seconds() {
        assert_eq!(seconds(ReadableDuration::secs(90)).unwrap(), 90);
        assert!(seconds(ReadableDuration::millis(1_500)).is_err());
        assert!(seconds(ReadableDuration::secs(0)).is_err());
    }

    #[test]
    fn a_name_does_not_lead_to_another_path() {
        assert_eq!(
            path("balance-leader-scheduler").unwrap(),
            "/schedulers/balance-leader-scheduler"
        );
        for wrong in ["", "../config", "a b", "a?x"] {
            assert!(matches!(path(wrong), Err(Error::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_scheduler_is_running_or_paused_for_a_while() {
        let of = |ms: u64| row(&json!({ "name": "balance-leader-scheduler", "paused_ms": ms }));
        let lines = table::lines(&[of(0), of(29_500)]);
        assert!(lines[1].ends_with("running  -"), "{lines:?}");
        assert!(lines[2].ends_with("paused   29s"), "{lines:?}");
    }
}
