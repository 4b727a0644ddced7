//! Items from the environment: `KONTIKI__RAFTSTORE__STORE_POOL_SIZE=4` is `raftstore.store-pool-size = 4`.
//!
//! **Why two underscores.** Names of items have hyphens, which a variable's name can't have; so one underscore is
//! a hyphen, and two are the dot. Other variables that begin with `KONTIKI_` are not meant.
//!
//! **Invariants.** A variable that names no item is a problem, like an unknown key in a file.
//!
//! **Not here.** Which source wins (the module above).

use super::layers::{self, Leaf, Problem, Source};
use std::ffi::OsString;
use toml::{Table, Value};

const PREFIX: &str = "KONTIKI__";

/// The items that these variables set, in the order of their names.
pub(super) fn leaves(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<Leaf> {
    let named = variables.into_iter().filter_map(|(name, text)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX).then_some((name, text))
    });
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    let leaves = named.into_iter().filter_map(|(name, text)| {
        let key = key_of(&name);
        let source = Source::Environment(name);
        let leaf = match (layers::default_of(&key), text.into_string()) {
            (None, _) => Err(layers::unknown_key(&key)),
            (Some(_), Err(_)) => Err(format!("{key}: its value is not UTF-8")),
            (Some(default), Ok(text)) => Ok(value_like(&default, text)),
        };
        match leaf {
            Ok(value) => Some(Leaf { key, value, source }),
            Err(message) => {
                problems.push(Problem { source, message });
                None
            }
        }
    });
    leaves.collect()
}

fn key_of(name: &str) -> String {
    let name = name.trim_start_matches(PREFIX).to_lowercase();
    name.replace("__", ".").replace('_', "-")
}

/// A text stays one where the item is a text; anything else is written as in a file.
fn value_like(default: &Value, text: String) -> Value {
    if default.is_str() {
        return Value::String(text);
    }
    let table = format!("value = {text}").parse::<Table>();
    let value = table.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn set(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pairs = variables.iter();
        pairs
            .map(|(name, text)| (name.into(), text.into()))
            .collect()
    }

    #[test]
    fn items_of_every_kind_are_set_and_flags_win() {
        let environment = set(&[
            ("KONTIKI__RAFTSTORE__STORE_POOL_SIZE", "4"),
            ("KONTIKI__RAFTSTORE__PD_HEARTBEAT_TICK_INTERVAL", "7s"),
            ("KONTIKI__CLUSTER__NAME", "7"),
            ("KONTIKI__SERVER__LABELS", "{ zone = \"z1\" }"),
            ("KONTIKI__LOG__LEVEL", "warn"),
            ("KONTIKI_BIN", "something else"),
        ]);
        let flags = vec![Leaf::from_flag("--log-level", "log.level", "error")];
        let config = load(None, environment, flags).unwrap();
        assert_eq!(config.raftstore.store_pool_size, 4);
        let interval = config.raftstore.pd_heartbeat_tick_interval.0;
        assert_eq!(interval.as_secs(), 7);
        assert_eq!(config.cluster.name, "7");
        assert_eq!(config.server.labels["zone"], "z1");
        assert_eq!(config.log.level, crate::config::LogLevel::Error);
    }

    #[test]
    fn what_is_wrong_names_the_variable() {
        let environment = set(&[
            ("KONTIKI__RAFTSTORE__STORE_POOL_SIZ", "4"),
            ("KONTIKI__RAFTSTORE__APPLY_POOL_SIZE", "many"),
        ]);
        let problems = load(None, environment, Vec::new()).unwrap_err().to_string();
        for part in [
            "KONTIKI__RAFTSTORE__STORE_POOL_SIZ: unknown key `raftstore.store-pool-siz`: \
             did you mean `raftstore.store-pool-size`?",
            "KONTIKI__RAFTSTORE__APPLY_POOL_SIZE: raftstore.apply-pool-size: ",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
    }
}
