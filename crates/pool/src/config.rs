//! What can be tuned, all of it while the pool runs.
//!
//! **Invariant.** A [`Config`] that is in force passed [`Config::check`].

use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::panic::PanicPolicy;
use std::sync::Arc;
use std::time::Duration;

/// How many levels there are.
pub const LEVELS: usize = 3;

/// Sizes and bounds of one pool. [`Default`] has the levels of TiKV's unified read pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads that run tasks; at least one.
    pub threads: usize,
    /// Tasks that may be in the pool, waiting or running; at least one.
    pub tasks_max: usize,
    /// The bytes that all of them together may have been spawned with.
    pub bytes_max: usize,
    /// How long the tasks of one key run together before they leave level 0, and level 1. Ascending.
    pub level_after: [Duration; LEVELS - 1],
    /// Level 0's share of the run time while others wait as well, in percent; 1 to 99. Level 1 has the same
    /// share of the rest.
    pub level0_share_percent: u32,
    /// So long a slice is if another task waits.
    pub slice: Duration,
    /// So long it is if that task is of a better level. At most [`Self::slice`].
    pub slice_min: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 4,
            tasks_max: 8_192,
            bytes_max: 64 << 20,
            level_after: [Duration::from_millis(5), Duration::from_millis(100)],
            level0_share_percent: 80,
            slice: Duration::from_millis(1),
            slice_min: Duration::from_micros(200),
        }
    }
}

impl Config {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// [`Error::Config`] with the first reason found.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            (self.threads > 0, "threads must be at least 1"),
            (self.tasks_max > 0, "tasks_max must be at least 1"),
            (
                self.level_after.is_sorted(),
                "level_after must be ascending",
            ),
            (
                (1..=99).contains(&self.level0_share_percent),
                "level0_share_percent must be between 1 and 99",
            ),
            (
                self.slice_min <= self.slice,
                "slice_min must be at most slice",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, reason)) => Err(Error::Config(reason)),
            None => Ok(()),
        }
    }
}

/// What a pool is made with, for either driver.
#[derive(Clone)]
pub struct Options {
    /// Sizes and bounds.
    pub config: Config,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What to do about panics.
    pub panic_policy: PanicPolicy,
    /// What each worker of a [`crate::ThreadPool`] does first, on its thread.
    pub prepare: fn(),
}

impl Options {
    /// With the machine's clock, and panics that end the process.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock::default()),
            panic_policy: PanicPolicy::default(),
            prepare: || {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        assert!(Config::default().check().is_ok());
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            assert!(
                matches!(config.check(), Err(Error::Config(_))),
                "{config:?}"
            );
        };
        refused(|c| c.threads = 0);
        refused(|c| c.tasks_max = 0);
        refused(|c| c.level_after.reverse());
        refused(|c| c.level0_share_percent = 0);
        refused(|c| c.level0_share_percent = 100);
        refused(|c| c.slice_min = c.slice * 2);
    }
}
