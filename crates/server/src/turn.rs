//! How long one task may go on before others have their turn.
//!
//! **Why.** A connection polls its requests itself, and a stream of commands its commands. A client that
//! always has more to ask would keep such a task, and with it a thread of the runtime, for as long as it likes:
//! others waited seconds behind twenty thousand commands that were sent at once.
//!
//! **How long.** Whoever comes waits for a turn of each task that wants another one. So their turns together take
//! about [`ROUND`], however many they are: each of them has a part of it.
//!
//! **Invariants.** A task that stops because its turn is over wakes itself first: there may be more to do. It counts as
//! one that wants another turn until it has begun that, or is gone.
//!
//! **Not here.** One request that takes long: it must go to another thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What all turns together take before a task has its next one. A write waits for two of them.
const ROUND: Duration = Duration::from_micros(300);
/// Long beside what the change to another task costs.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_micros(100);

/// The tasks of this process that want another turn.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// The turns of one task.
pub(crate) struct Turns {
    wanted: &'static AtomicU32,
    wants_another: bool,
}

/// A turn that has begun.
pub(crate) struct Turn {
    begun: Instant,
    length: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::counted_in(&WANTED)
    }
}

impl Turns {
    fn counted_in(wanted: &'static AtomicU32) -> Self {
        Self {
            wanted,
            wants_another: false,
        }
    }

    /// The next one begins now.
    pub(crate) fn begin(&mut self) -> Turn {
        self.want(false);
        let others = self.wanted.load(Ordering::Relaxed);
        Turn {
            begun: Instant::now(),
            length: length_beside(others),
        }
    }

    /// This one is over, and there may be more to do.
    pub(crate) fn want_another(&mut self) {
        self.want(true);
    }

    fn want(&mut self, another: bool) {
        match (self.wants_another, another) {
            (false, true) => self.wanted.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.wanted.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.wants_another = another;
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.want(false);
    }
}

impl Turn {
    /// Whether others should have theirs.
    pub(crate) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.length
    }
}

/// How long a turn is while so many others want one.
fn length_beside(others: u32) -> Duration {
    (ROUND / others.saturating_add(1)).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_have_shorter_turns() {
        assert_eq!(length_beside(0), LONGEST);
        assert_eq!(length_beside(5), ROUND / 6);
        assert_eq!(length_beside(u32::MAX), SHORTEST);
    }

    #[test]
    fn a_task_wants_another_turn_until_it_has_it_or_is_gone() {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = || COUNT.load(Ordering::Relaxed);
        let (mut one, mut other) = (Turns::counted_in(&COUNT), Turns::counted_in(&COUNT));
        one.want_another();
        one.want_another();
        other.want_another();
        assert_eq!(count(), 2);
        one.begin();
        assert_eq!(count(), 1);
        drop(other);
        assert_eq!(count(), 0);
    }
}
