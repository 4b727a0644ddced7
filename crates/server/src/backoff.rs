//! How long to wait before the next attempt to connect.
//!
//! **Why jitter.** All stores lose a crashed one at the same moment; without it they would all come
//! back to it at the same moment, again and again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Low, since a store that has restarted is needed for a quorum at once.
const LAST: Duration = Duration::from_millis(500);

/// Waits that double up to half a second, each between a half and the whole of its length.
pub(crate) struct Backoff {
    next: Duration,
    attempts: u64,
    random: RandomState,
}

impl Backoff {
    /// The first wait is the shortest.
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST,
            attempts: 0,
            random: RandomState::new(),
        }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LAST);
        self.attempts += 1;
        let share = self.random.hash_one(self.attempts) as u32 as f64 / f64::from(u32::MAX);
        whole.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(
            waits[10..]
                .iter()
                .all(|wait| *wait >= LAST / 2 && *wait <= LAST)
        );
        assert!(
            waits[10..].iter().any(|wait| *wait != waits[10]),
            "no jitter"
        );
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
