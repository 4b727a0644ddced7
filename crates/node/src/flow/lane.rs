//! A lane for bytes that go one after the other, at a rate: pure.
//!
//! **Not here.** What the rate is.

use std::time::Duration;

/// A lane. Times are since the same moment throughout.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    /// When all that have entered are through.
    through_at: Duration,
}

impl Lane {
    /// How long the next one waits.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        self.through_at.saturating_sub(now)
    }

    /// So many bytes enter behind the others. They take their time, but nobody waits for longer than `wait_max` for
    /// what is in the lane then.
    pub(super) fn enter(
        &mut self,
        bytes: u64,
        bytes_per_s: f64,
        now: Duration,
        wait_max: Duration,
    ) {
        let takes = Duration::try_from_secs_f64(bytes as f64 / bytes_per_s);
        let through = takes.unwrap_or(Duration::MAX);
        let through = self.through_at.max(now).saturating_add(through);
        self.through_at = through.min(now.saturating_add(wait_max));
    }
}
