//! One switch for the process: whether hot paths count and take times.
//!
//! **Why.** What metrics cost is measured by doing without them, on the same machine and in the same hour.
//! Off, a hot path pays the look at one flag that never changes.
//!
//! **Not here.** What is read when the page is asked for: it costs nothing in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ON: AtomicBool = AtomicBool::new(true);

/// Turns the hot paths' counting on or off.
pub fn switch(on: bool) {
    ON.store(on, Ordering::Relaxed);
}

/// Whether hot paths count.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A time that is being taken; none while metrics are off.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// From now on.
    pub fn start() -> Self {
        Self(is_on().then(Instant::now))
    }

    /// Since it was started.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.map(|since| since.elapsed())
    }
}
