//! `ctl config`, and of it `ctl config placement`: what placement goes by, shown and set while the cluster runs.
//!
//! **Not here.** Which settings there are, and what they may be: placement says so.

use super::node_settings::{self, NodeCommand};
use super::session::Session;
use super::table::{self, Cell, Row};
use crate::config::nearest;
use crate::error::{Error, Result};
use clap::Subcommand;
use serde_json::{Map, Value, json};

/// The commands of `kontiki ctl config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// What placement goes by.
    #[command(subcommand)]
    Placement(SettingsCommand),
    /// What nodes go by, as they say on their status ports.
    #[command(subcommand)]
    Node(NodeCommand),
}

/// The commands of `kontiki ctl config placement`.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Print the values in effect.
    Show {
        /// One setting; all if not given.
        key: Option<String>,
    },
    /// Set one, for all and at once; print the value in effect.
    Set {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
}

/// Does it.
pub async fn run(session: &mut Session<'_>, command: ConfigCommand) -> Result<()> {
    let command = match command {
        ConfigCommand::Placement(command) => command,
        ConfigCommand::Node(command) => return node_settings::run(session, command).await,
    };
    let key = match command {
        SettingsCommand::Show { key } => key,
        SettingsCommand::Set { key, value } => {
            let mut body = Map::new();
            body.insert(key.clone(), json!(value));
            session.post("/config", &Value::Object(body)).await?;
            Some(key)
        }
    };
    let settings = session.get("/config/schedule").await?;
    let rows = rows(&settings, key.as_deref())?;
    session.printer.table(&rows)
}

fn rows(settings: &Value, key: Option<&str>) -> Result<Vec<Row>> {
    let empty = Map::new();
    let all = settings.as_object().unwrap_or(&empty);
    if let Some(key) = key
        && !all.contains_key(key)
    {
        let hint = nearest(key, all.keys().map(String::as_str));
        let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        return Err(Error::Usage(format!("there is no setting {key:?}{hint}")));
    }
    let wanted = all
        .iter()
        .filter(|(name, _)| key.is_none_or(|key| key == *name));
    Ok(wanted.map(|(name, value)| row(name, value)).collect())
}

fn row(name: &str, value: &Value) -> Row {
    vec![
        Cell::new("name", name),
        Cell::with_text("value", value.clone(), shown(name, value)),
    ]
}

/// A value as it can be set; and with its unit, if the name has one that leads to large numbers.
fn shown(name: &str, value: &Value) -> String {
    let text = table::plain(value);
    let unit = name.rsplit('-').next().unwrap_or_default();
    match (value.as_u64(), unit) {
        (Some(ms), "ms") => format!("{text} ({})", table::span(ms)),
        (Some(bytes), "bytes") => format!("{text} ({})", table::size(bytes)),
        // PD's names of sizes of Regions.
        (Some(mib), "size") => format!("{text} ({})", table::size(mib << 20)),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Value {
        json!({ "location-labels": "", "max-replicas": 3, "max-store-down-time-ms": 1_800_000 })
    }

    #[test]
    fn values_are_shown_with_their_units() {
        let lines = table::lines(&rows(&settings(), None).unwrap());
        let expected = [
            "NAME                    VALUE",
            "location-labels         -",
            "max-replicas            3",
            "max-store-down-time-ms  1800000 (30m)",
        ];
        assert_eq!(lines, expected);
        assert_eq!(shown("max-merge-region-size", &json!(54)), "54 (54.0MiB)");
        assert_eq!(
            shown("hot-region-rate-bytes", &json!(65_536)),
            "65536 (64.0KiB)"
        );
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest() {
        let error = rows(&settings(), Some("max-replica")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no setting \"max-replica\"; did you mean \"max-replicas\"?"
        );
        assert_eq!(rows(&settings(), Some("max-replicas")).unwrap().len(), 1);
    }
}
