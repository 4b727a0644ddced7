//! A lane for bytes that go one after the other, at a rate that may change: pure.
//!
//! **Invariants.** What is in the lane moves at the rate of now, not at that of when it entered: who has entered while it
//! was low holds nobody up once it is higher.
//!
//! **Not here.** What the rate is.

use std::time::Duration;

/// A lane. Times are since the same moment throughout; places are in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    /// The place up to which all have passed, at that time.
    head: f64,
    at: Duration,
    /// Where the next one enters.
    tail: f64,
}

/// A place in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(f64);

impl Lane {
    fn advance(&mut self, bytes_per_s: f64, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.head = (self.head + bytes_per_s * passed).min(self.tail);
        self.at = now;
    }

    /// How long the next one waits.
    pub(super) fn wait(&mut self, bytes_per_s: f64, now: Duration) -> Duration {
        self.wait_at(Place(self.tail), bytes_per_s, now)
    }

    /// How long whoever has that place still waits.
    pub(super) fn wait_at(&mut self, place: Place, bytes_per_s: f64, now: Duration) -> Duration {
        self.advance(bytes_per_s, now);
        let seconds = (place.0 - self.head).max(0.0) / bytes_per_s;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// So many bytes enter behind the others; but nobody waits for longer than `wait_max` for what is in the lane then.
    pub(super) fn enter(
        &mut self,
        bytes: u64,
        bytes_per_s: f64,
        now: Duration,
        wait_max: Duration,
    ) -> Place {
        self.advance(bytes_per_s, now);
        let (place, most) = (self.tail, self.head + bytes_per_s * wait_max.as_secs_f64());
        self.tail = (place + bytes as f64).min(most);
        Place(place)
    }

    /// So many bytes leave that have not passed: those in the lane have so many less before them.
    pub(super) fn leave(&mut self, bytes: u64) {
        self.head = (self.head + bytes as f64).min(self.tail);
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

    #[test]
    fn who_leaves_makes_room_for_those_behind() {
        let (mut lane, second) = (Lane::default(), Duration::from_secs(1));
        let mut enter = |bytes| lane.enter(bytes, 10.0, second, Duration::MAX);
        let (first, second_place, third) = (enter(100), enter(50), enter(10));
        assert_eq!(lane.wait_at(first, 10.0, second), Duration::ZERO);
        assert_eq!(lane.wait_at(second_place, 10.0, second), second * 10);
        assert_eq!(lane.wait_at(third, 10.0, second), second * 15);
        lane.leave(50);
        assert_eq!(lane.wait_at(third, 10.0, second), second * 10);
        assert_eq!(lane.wait_at(third, 10.0, second * 11), Duration::ZERO);
    }
}
