//! `ctl store drain`: begins a drain, and watches it if asked to.
//!
//! **Invariants.** A wait ends well only when the store is a tombstone. It ends with an error when
//! somebody takes the store back into service. Interrupting it does not interrupt the drain.
//!
//! **Not here.** Whether a drain is allowed, and the moves: that is placement's.

use super::session::Session;
use super::table::{at, span};
use crate::error::{Error, Result};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often it is looked how far a drain is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many Regions are left on the store, of which it leads some.
    Moving {
        regions: u64,
        leaders: u64,
    },
    Left,
    Cancelled,
}

impl Stage {
    fn of(store: &Value) -> Self {
        let count = |place| at(store, place).as_u64().unwrap_or(0);
        match at(store, "/store/state_name").as_str() {
            Some("Tombstone") => Stage::Left,
            Some("Offline") => Stage::Moving {
                regions: count("/status/region_count"),
                leaders: count("/status/leader_count"),
            },
            _ => Stage::Cancelled,
        }
    }
}

/// Begins to drain a store, and waits until it has left if `wait` says so.
pub async fn run(session: &mut Session<'_>, id: u64, wait: bool) -> Result<()> {
    session.delete(&format!("/store/{id}")).await?;
    if !wait {
        return session.done(&format!("store {id} is being drained"));
    }
    let began = Instant::now();
    let mut shown = None;
    loop {
        let store = session.get(&format!("/store/{id}")).await?;
        let stage = Stage::of(&store);
        let after = span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        match stage {
            Stage::Left => return session.done(&format!("store {id} has left after {after}")),
            Stage::Cancelled => {
                let reason =
                    format!("store {id} is in service again: somebody has cancelled the drain");
                return Err(Error::Incomplete(reason));
            }
            Stage::Moving { regions, leaders } if shown != Some(stage) => {
                eprintln!("{after}: store {id} has {regions} Regions left and leads {leaders}");
                shown = Some(stage);
            }
            Stage::Moving { .. } => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store(state: &str) -> Value {
        json!({
            "store": { "state_name": state },
            "status": { "region_count": 5, "leader_count": 2 },
        })
    }

    #[test]
    fn only_a_tombstone_has_left() {
        let moving = Stage::Moving {
            regions: 5,
            leaders: 2,
        };
        assert_eq!(Stage::of(&store("Offline")), moving);
        assert_eq!(Stage::of(&store("Tombstone")), Stage::Left);
        for state in ["Up", "Disconnected", "Down"] {
            assert_eq!(Stage::of(&store(state)), Stage::Cancelled, "{state}");
        }
    }
}
