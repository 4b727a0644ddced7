//! Rounds of pollers that take too long, in the slow log: how long the actors were stepped, and how long the write at
//! the round's end took.
//!
//! **Not here.** Single requests (`meters::waterfall`, and the services).

use crate::clock::Clock;
use logs::slow;
use raftstore::MonotonicTime;

/// The times of a round under way.
#[derive(Default)]
pub(crate) struct SlowRound {
    /// None while nothing can be slow.
    begun: Option<MonotonicTime>,
    stepped: Option<MonotonicTime>,
}

impl SlowRound {
    /// A round begins.
    pub(crate) fn begin(clock: &dyn Clock) -> Self {
        Self {
            begun: slow::is_wanted().then(|| clock.now()),
            stepped: None,
        }
    }

    /// Its actors were stepped; what they want written comes next.
    pub(crate) fn stepped(&mut self, clock: &dyn Clock) {
        self.stepped = self.begun.map(|_| clock.now());
    }

    /// It was written, for so many actors.
    pub(crate) fn end(&self, clock: &dyn Clock, what: &'static str, actors: usize) {
        let Some((begun, stepped)) = self.begun.zip(self.stepped) else {
            return;
        };
        let now = clock.now();
        if slow::is_slow(begun.until(now)) {
            logs::slow!(
                of = what,
                actors,
                took_ms = slow::ms(begun.until(now)),
                step_ms = slow::ms(begun.until(stepped)),
                write_ms = slow::ms(stepped.until(now)),
                "a round"
            );
        }
    }
}
