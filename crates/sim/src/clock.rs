//! A store's monotonic clock: it runs at its own speed and goes on over pauses and lives, as that of a
//! machine does.
//!
//! **Invariants.** The speeds of two clocks differ by no more than leases allow for.

use node::Clock;
use raftstore::MonotonicTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The machine was started so long before the simulation.
const UPTIME_US: u64 = 3_600_000_000;

/// One store's clock. Clones are the same.
#[derive(Clone)]
pub(crate) struct SimClock {
    shows_ns: Arc<AtomicU64>,
    /// Nanoseconds that it counts in a millisecond.
    ns_per_ms: u64,
}

impl SimClock {
    /// A clock of this speed; a million is right.
    pub(crate) fn new(speed_ppm: u64) -> Self {
        Self {
            shows_ns: Arc::default(),
            ns_per_ms: speed_ppm,
        }
    }

    /// A clock that shows what this one shows now, until it is set.
    pub(crate) fn stopped(&self) -> Self {
        let shows_ns = self.shows_ns.load(Ordering::Relaxed);
        Self {
            shows_ns: Arc::new(AtomicU64::new(shows_ns)),
            ..*self
        }
    }

    /// The world's time.
    pub(crate) fn set(&self, now_us: u64) {
        let shows_ns = (UPTIME_US + now_us) * self.ns_per_ms / 1000;
        self.shows_ns.store(shows_ns, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> MonotonicTime {
        MonotonicTime(self.shows_ns.load(Ordering::Relaxed))
    }
}
