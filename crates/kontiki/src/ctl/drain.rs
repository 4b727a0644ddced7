//! `ctl store drain`: begins a drain, and watches it if asked to.
//!
//! **Invariants.** A wait ends well only when the store is a tombstone. It ends with an error when
//! somebody takes the store back into service. Interrupting it does not interrupt the drain. Where nothing
//! moves for a while, it says what it sees of the reason.
//!
//! **Not here.** Whether a drain is allowed, and the moves: that is placement's.

use super::session::Session;
use super::table::{at, items, span};
use crate::error::{Error, Result};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often it is looked how far a drain is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A drain of which nothing was seen for so long stands still.
const STANDS_STILL: Duration = Duration::from_secs(15);

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
    let mut moved = Some(began);
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
                moved = Some(Instant::now());
            }
            Stage::Moving { .. } if moved.is_some_and(|at| at.elapsed() >= STANDS_STILL) => {
                let schedule = session.get("/config/schedule").await?;
                let low_percent = at(&schedule, "/low-space-percent").as_u64();
                let stores = session.get("/stores").await?;
                eprintln!("{after}: {}", obstacle(&stores, low_percent, id));
                moved = None;
            }
            Stage::Moving { .. } => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Why nothing leaves a store, as far as the others show it.
fn obstacle(stores: &Value, low_percent: Option<u64>, drained: u64) -> String {
    let others = || {
        let stores = items(at(stores, "/stores")).iter();
        stores.filter(|store| {
            let is_up = at(store, "/store/state_name").as_str() == Some("Up");
            is_up && at(store, "/store/id").as_u64() != Some(drained)
        })
    };
    let full_percent = |store: &&Value| {
        let bytes = |place| at(store, place).as_u64().unwrap_or(0);
        let capacity = bytes("/status/capacity_bytes");
        let used = capacity.saturating_sub(bytes("/status/available_bytes"));
        let percent = u128::from(used) * 100 / u128::from(capacity).max(1);
        low_percent.filter(|low| percent >= u128::from(*low))?;
        Some(format!("store {} ({percent} %)", at(store, "/store/id")))
    };
    let full: Vec<String> = others().filter_map(|store| full_percent(&store)).collect();
    let low_percent = low_percent.unwrap_or_default();
    match (others().count(), full.len()) {
        (0, _) => "nothing moves: no other store is up".to_owned(),
        (_, 0) => {
            "nothing moves: see `kontiki ctl operator show` and `kontiki ctl diagnose`".to_owned()
        }
        _ => format!(
            "nothing moves: from {low_percent} % on (low-space-percent) a store is given no more replicas, \
             and so full are: {}; give them room, or add a store",
            full.join(", ")
        ),
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
    #[test]
    fn what_stands_in_the_way_is_named() {
        let other = |id: u64, state: &str, available: u64| {
            json!({
                "store": { "id": id, "state_name": state },
                "status": { "capacity_bytes": 100, "available_bytes": available },
            })
        };
        let said = |stores: &[Value]| obstacle(&json!({ "stores": stores }), Some(80), 1);
        let drained = other(1, "Offline", 5);
        let down = other(2, "Down", 5);
        let alone = said(&[drained.clone(), down]);
        assert!(alone.ends_with("no other store is up"), "{alone}");
        let full = said(&[drained.clone(), other(2, "Up", 14), other(3, "Up", 90)]);
        assert!(full.contains("so full are: store 2 (86 %); give"), "{full}");
        let open = said(&[drained, other(2, "Up", 90)]);
        assert!(open.contains("diagnose"), "{open}");
    }
}
