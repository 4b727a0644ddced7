//! How long one task may go on before others have their turn.
//!
//! **Why.** A connection polls its requests itself, and a stream of commands its commands. A client that
//! always has more to ask would keep such a task, and with it a thread of the runtime, for as long as it likes:
//! others waited seconds behind twenty thousand commands that were sent at once.
//!
//! **Invariants.** A task that stops because its turn is over wakes itself first: there may be more to do.
//!
//! **Not here.** One request that takes long: it must go to another thread.

use std::time::{Duration, Instant};

/// Long beside what the change to another task costs; and short, since whoever comes waits for a turn of each
/// connection and stream that is busy, and with half a millisecond for sixty of them that was 15 ms.
const TURN: Duration = Duration::from_micros(100);

/// A turn that has begun.
pub(crate) struct Turn(Instant);

impl Turn {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Whether others should have theirs.
    pub(crate) fn is_over(&self) -> bool {
        self.0.elapsed() >= TURN
    }
}
