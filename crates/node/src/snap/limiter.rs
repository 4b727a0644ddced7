//! A bound on bytes a second, over all that share it.
//!
//! **Invariants.** Over any time, no more is let through than the rate allows, plus what was asked for
//! last. Nobody who waits holds a lock.
//!
//! **Not here.** The waiting: whoever asks sleeps by himself.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Gives out times at which bytes may pass.
pub(crate) struct Limiter {
    /// Zero: no bound.
    bytes_per_s: AtomicU64,
    /// When everything that was let through would have passed at that rate.
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: AtomicU64::new(bytes_per_s),
            free_at: Mutex::new(None),
        }
    }

    /// The rate from now on. Who waits already waits on.
    pub(super) fn set_rate(&self, bytes_per_s: u64) {
        self.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }

    /// How long to wait before so many bytes.
    pub(crate) fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let bytes_per_s = self.bytes_per_s.load(Ordering::Relaxed);
        if bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
        let mut free_at = self.free_at.lock();
        let begins = free_at.map_or(now, |at| at.max(now));
        *free_at = Some(begins + takes);
        begins - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_it_get_the_rate_together_and_idle_time_is_not_saved_up() {
        let limiter = Limiter::new(100);
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(limiter.reserve(begin, 100), Duration::ZERO);
        assert_eq!(limiter.reserve(begin, 50), second);
        assert_eq!(limiter.reserve(begin, 50), second * 3 / 2);
        let later = begin + 10 * second;
        assert_eq!(limiter.reserve(later, 100), Duration::ZERO);
        assert_eq!(limiter.reserve(later, 100), second);
    }

    #[test]
    fn another_rate_counts_from_the_next_one_on() {
        let (limiter, begin) = (Limiter::new(100), Instant::now());
        assert_eq!(limiter.reserve(begin, 100), Duration::ZERO);
        limiter.set_rate(1_000);
        assert_eq!(limiter.reserve(begin, 1_000), Duration::from_secs(1));
        assert_eq!(limiter.reserve(begin, 1), Duration::from_secs(2));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let limiter = Limiter::new(0);
        assert_eq!(limiter.reserve(Instant::now(), u64::MAX), Duration::ZERO);
        assert_eq!(limiter.reserve(Instant::now(), u64::MAX), Duration::ZERO);
    }
}
