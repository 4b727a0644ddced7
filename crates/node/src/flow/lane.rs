//! A lane for bytes that go one after the other, at a rate that may change: pure.
//!
//! **Invariants.** What is in the lane moves at the rate of now, not at that of when it entered: who has entered while it
//! was low holds nobody up once it is higher.
//!
//! **Not here.** What the rate is.

use std::time::Duration;

/// A lane. Times are since the same moment throughout.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    /// Bytes that were in it at that time.
    bytes: f64,
    at: Duration,
}

impl Lane {
    fn bytes_at(&self, bytes_per_s: f64, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.bytes - bytes_per_s * passed).max(0.0)
    }

    /// How long the next one waits.
    pub(super) fn wait(&self, bytes_per_s: f64, now: Duration) -> Duration {
        let seconds = self.bytes_at(bytes_per_s, now) / bytes_per_s;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// So many bytes enter behind the others; but nobody waits for longer than `wait_max` for what is in the lane then.
    pub(super) fn enter(
        &mut self,
        bytes: u64,
        bytes_per_s: f64,
        now: Duration,
        wait_max: Duration,
    ) {
        let most = bytes_per_s * wait_max.as_secs_f64();
        self.bytes = (self.bytes_at(bytes_per_s, now) + bytes as f64).min(most);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_rises_frees_those_who_wait_behind_what_entered_before() {
        let (mut lane, second) = (Lane::default(), Duration::from_secs(1));
        lane.enter(1_000, 10.0, second, Duration::MAX);
        assert_eq!(lane.wait(10.0, second), second * 100);
        assert_eq!(lane.wait(1_000.0, second), second);
        assert_eq!(lane.wait(1_000.0, second * 3), Duration::ZERO);
    }
}
