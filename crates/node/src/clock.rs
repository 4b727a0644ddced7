//! The monotonic clock that leases are measured by.
//!
//! **Invariants.** It never goes back, and goes on while the process is stopped and, on Linux, while the
//! machine sleeps: a leader that wakes up must not take its lease for valid. Elsewhere the standard
//! library's clock is used, which may stand still in a sleep.
//!
//! **Not here.** A virtual machine whose clock is stopped from outside, together with its view of time:
//! nothing inside of it can tell.

use raftstore::MonotonicTime;

/// A store's clock.
pub trait Clock: Send + Sync + 'static {
    /// What it shows. Two readings in one order, by whichever threads, never show times in the other.
    fn now(&self) -> MonotonicTime;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[cfg(target_os = "linux")]
impl Clock for SystemClock {
    fn now(&self) -> MonotonicTime {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the place to write to is ours and outlives the call.
        let read = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
        assert_eq!(read, 0, "Linux has had this clock since 2.6.39");
        let seconds = u64::try_from(time.tv_sec).expect("the time since the start");
        let nanos = u64::try_from(time.tv_nsec).expect("less than a second");
        MonotonicTime(seconds * 1_000_000_000 + nanos)
    }
}

#[cfg(not(target_os = "linux"))]
impl Clock for SystemClock {
    fn now(&self) -> MonotonicTime {
        use std::sync::LazyLock;
        use std::time::{Duration, Instant};
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        // Zero is "never" to a lease.
        MonotonicTime::default().after(START.elapsed() + Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_not_back() {
        let first = SystemClock.now();
        let mut last = first;
        while last == first {
            let now = SystemClock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
