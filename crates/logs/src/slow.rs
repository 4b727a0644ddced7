//! The slow log: what took longer than it should, with where the time went.
//!
//! **How.** Who takes a time anyway asks [`is_slow`] and writes a line with [`crate::slow!`]. The threshold is one number
//! of the process, which can be changed at any moment.
//!
//! **Not here.** Taking times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The target of its events, by which their lines find their file.
pub const TARGET: &str = "slow";

/// In nanoseconds; the largest number stands for "never".
static THRESHOLD_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// From now on what takes so long is slow. Zero: nothing is.
pub fn set_threshold(threshold: Duration) {
    let ns = match u64::try_from(threshold.as_nanos()) {
        Ok(0) | Err(_) => u64::MAX,
        Ok(ns) => ns,
    };
    THRESHOLD_NS.store(ns, Ordering::Relaxed);
}

/// Whether this was slow.
pub fn is_slow(took: Duration) -> bool {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    ns >= THRESHOLD_NS.load(Ordering::Relaxed) && is_wanted()
}

/// Whether anything can be slow: if not, nobody needs to take a time for it.
pub fn is_wanted() -> bool {
    THRESHOLD_NS.load(Ordering::Relaxed) != u64::MAX
}

/// In milliseconds, to the microsecond.
pub fn ms(took: Duration) -> f64 {
    took.as_micros() as f64 / 1_000.0
}

/// Writes a line to the slow log, as `tracing::warn!` writes one to the log.
#[macro_export]
macro_rules! slow {
    ($($line:tt)*) => {
        $crate::tracing::warn!(target: $crate::slow::TARGET, $($line)*)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_the_threshold_is_slow_and_without_one_nothing_is() {
        assert!(!is_wanted() && !is_slow(Duration::MAX));
        set_threshold(Duration::from_millis(5));
        assert!(is_slow(Duration::from_millis(5)));
        assert!(!is_slow(Duration::from_millis(4)));
        set_threshold(Duration::ZERO);
        assert!(!is_wanted() && !is_slow(Duration::MAX));
        assert_eq!(ms(Duration::from_micros(1_500)), 1.5);
    }
}
