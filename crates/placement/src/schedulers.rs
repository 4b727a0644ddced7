//! Which schedulers run, by name, and when each runs next.
//!
//! **How often.** One that finds something to do runs again soon; one that does not waits twice as long
//! each time, up to a bound.
//!
//! **Invariant.** The list is persisted, so that it survives a change of leader; pauses are not.
//!
//! **Not here.** What each does: `schedule`.

use crate::error::{Error, Result};
use crate::settings::{Settings, nearest};
use std::collections::BTreeMap;
use std::fmt;
use types::StoreId;

/// A scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchedulerName {
    /// Spreads leaders evenly.
    BalanceLeader,
    /// Spreads replicas evenly.
    BalanceRegion,
    /// Spreads what is busy.
    HotRegion,
    /// Moves leaders away from slow stores.
    EvictSlowStore,
    /// Moves leaders away from this store.
    EvictLeader(StoreId),
    /// Moves leaders at random.
    ShuffleLeader,
    /// Moves replicas at random.
    ShuffleRegion,
}

/// Those that run unless somebody says otherwise.
pub(crate) const DEFAULT: [SchedulerName; 4] = [
    SchedulerName::BalanceLeader,
    SchedulerName::BalanceRegion,
    SchedulerName::HotRegion,
    SchedulerName::EvictSlowStore,
];

const NAMES: [(&str, SchedulerName); 6] = [
    ("balance-leader-scheduler", SchedulerName::BalanceLeader),
    ("balance-region-scheduler", SchedulerName::BalanceRegion),
    ("balance-hot-region-scheduler", SchedulerName::HotRegion),
    ("evict-slow-store-scheduler", SchedulerName::EvictSlowStore),
    ("shuffle-leader-scheduler", SchedulerName::ShuffleLeader),
    ("shuffle-region-scheduler", SchedulerName::ShuffleRegion),
];

/// Followed by the store's id.
const EVICT_LEADER: &str = "evict-leader-scheduler-";

impl SchedulerName {
    /// The scheduler with this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some(store) = name.strip_prefix(EVICT_LEADER)
            && let Ok(store) = store.parse()
        {
            return Ok(SchedulerName::EvictLeader(StoreId(store)));
        }
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, known)| *known).ok_or_else(|| {
            let names = NAMES.iter().map(|(known, _)| *known);
            Error::UnknownScheduler {
                name: name.to_owned(),
                nearest: nearest(name, names.chain([EVICT_LEADER])),
            }
        })
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchedulerName::EvictLeader(store) => write!(f, "{EVICT_LEADER}{store}"),
            other => {
                let known = NAMES.iter().find(|(_, known)| known == other);
                f.write_str(known.expect("every scheduler has a name").0)
            }
        }
    }
}

/// A scheduler, and whether it is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerView {
    /// Which.
    pub name: SchedulerName,
    /// For how long it is still paused, in milliseconds; zero if it is not.
    pub paused_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    next_at_ms: u64,
    interval_ms: u64,
    paused_until_ms: u64,
}

/// When each scheduler runs.
#[derive(Debug, Default)]
pub(crate) struct Turns(BTreeMap<SchedulerName, Turn>);

impl Turns {
    /// Whether it is this scheduler's turn.
    pub(crate) fn is_due(&self, name: SchedulerName, now_ms: u64) -> bool {
        let turn = self.0.get(&name).copied().unwrap_or_default();
        now_ms >= turn.next_at_ms.max(turn.paused_until_ms)
    }

    /// It ran, and found something to do or not.
    pub(crate) fn ran(&mut self, name: SchedulerName, now_ms: u64, found: bool, set: &Settings) {
        let turn = self.0.entry(name).or_default();
        let (min_ms, max_ms) = (set.scheduler_interval_min_ms, set.scheduler_interval_max_ms);
        let interval_ms = if found { min_ms } else { turn.interval_ms * 2 };
        turn.interval_ms = interval_ms.max(min_ms).min(max_ms.max(min_ms));
        turn.next_at_ms = now_ms + turn.interval_ms;
    }

    /// It does not run for so long; zero ends a pause.
    pub(crate) fn pause(&mut self, name: SchedulerName, now_ms: u64, pause_ms: u64) {
        let turn = self.0.entry(name).or_default();
        turn.paused_until_ms = now_ms.saturating_add(pause_ms);
        turn.next_at_ms = now_ms;
        turn.interval_ms = 0;
    }

    pub(crate) fn view(&self, name: SchedulerName, now_ms: u64) -> SchedulerView {
        let turn = self.0.get(&name).copied().unwrap_or_default();
        SchedulerView {
            name,
            paused_ms: turn.paused_until_ms.saturating_sub(now_ms),
        }
    }

    /// Forgets all but these.
    pub(crate) fn keep(&mut self, names: &[SchedulerName]) {
        self.0.retain(|name, _| names.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        let names = NAMES.iter().map(|(_, name)| *name);
        for name in names.chain([SchedulerName::EvictLeader(StoreId(7))]) {
            assert_eq!(SchedulerName::parse(&name.to_string()), Ok(name));
        }
        let error = SchedulerName::parse("balance-leaders-scheduler").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("did you mean \"balance-leader-scheduler\"?")
        );
        assert!(SchedulerName::parse("evict-leader-scheduler-x").is_err());
    }

    #[test]
    fn a_scheduler_that_finds_nothing_waits_longer_and_longer() {
        let (mut turns, settings) = (Turns::default(), Settings::default());
        let name = SchedulerName::BalanceLeader;
        let mut runs = 0;
        for now_ms in (0..60_000).step_by(50) {
            if turns.is_due(name, now_ms) {
                turns.ran(name, now_ms, false, &settings);
                runs += 1;
            }
        }
        assert!((12..=22).contains(&runs), "{runs} runs in a minute");
        turns.ran(name, 60_000, true, &settings);
        assert!(turns.is_due(name, 60_050));
        turns.pause(name, 60_050, 1_000);
        assert!(!turns.is_due(name, 61_049) && turns.is_due(name, 61_050));
    }
}
