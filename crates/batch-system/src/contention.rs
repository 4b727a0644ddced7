//! Whether the processors are taken: how long this thread has been ready to run and did not.
//!
//! **Why.** A poller should not help another one if both then wait for the same processor. Only the kernel
//! knows, and Linux tells each thread (`schedstat`, in the kernel's `Documentation/scheduler/sched-stats.rst`).
//! Elsewhere nothing is known, and pollers help as if processors were free.
//!
//! **Not here.** What follows from it (`run_queue`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How often a thread asks; each time costs a system call.
const INTERVAL: Duration = Duration::from_millis(5);
/// Waiting for a fourth of the time is too much: three threads on two processors wait for a third.
const WAITED_MAX: u32 = 4;

/// What one thread knows of its processor.
pub(crate) struct Contention {
    schedstat: Option<File>,
    asked: Duration,
    waited: Duration,
}

impl Contention {
    /// Begins to watch this thread.
    pub(crate) fn watch(now: Duration) -> Self {
        let mut contention = Self {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            asked: now,
            waited: Duration::ZERO,
        };
        contention.waited = contention.read().unwrap_or_default();
        contention
    }

    /// True if the thread has lately waited for a processor much of the time. Mostly answers without
    /// asking, and then with no.
    pub(crate) fn is_felt(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.asked);
        if passed < INTERVAL {
            return false;
        }
        let Some(waited) = self.read() else {
            return false;
        };
        let lately = waited.saturating_sub(self.waited);
        (self.asked, self.waited) = (now, waited);
        lately * WAITED_MAX > passed
    }

    /// The time that the thread has waited for a processor since it began.
    fn read(&self) -> Option<Duration> {
        let mut text = [0; 64];
        let length = self.schedstat.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let waited_ns = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Duration::from_nanos(waited_ns))
    }
}
