//! Statistics for each FSM: what it handled and how long that took.
//!
//! **Why these.** Messages, rounds, poll time and moves are what it takes to name the slowest, the busiest
//! and the most restless actors; they cost 32 bytes an FSM. Only the owner of the FSM writes them, so they are
//! plain stores; readers may see a round half counted.

use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// What one FSM has done since it was registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsmStats {
    /// Messages handled.
    pub messages: u64,
    /// Rounds in which it was handled.
    pub rounds: u64,
    /// Time spent in the handler for it, without the batch's `end`.
    pub poll_time: Duration,
    /// How often it was moved on to another poller, because it was hot.
    pub moves: u64,
    /// Messages that wait at this moment, including those of a round under way.
    pub pending: u64,
}

pub(crate) struct StatCells {
    messages: AtomicU64,
    rounds: AtomicU64,
    poll_time_ns: AtomicU64,
    moves: AtomicU64,
}

impl Default for StatCells {
    fn default() -> Self {
        Self {
            messages: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            poll_time_ns: AtomicU64::new(0),
            moves: AtomicU64::new(0),
        }
    }
}

impl StatCells {
    /// Counts one round. Only the FSM's owner may call it.
    pub(crate) fn record(&self, messages: u64, poll_time: Duration) {
        add(&self.messages, messages);
        add(&self.rounds, 1);
        add(
            &self.poll_time_ns,
            u64::try_from(poll_time.as_nanos()).unwrap_or(u64::MAX),
        );
    }

    /// Counts a move. Only the FSM's owner may call it.
    pub(crate) fn count_move(&self) {
        add(&self.moves, 1);
    }

    pub(crate) fn read(&self, pending: u64) -> FsmStats {
        FsmStats {
            messages: self.messages.load(Ordering::Relaxed),
            rounds: self.rounds.load(Ordering::Relaxed),
            poll_time: Duration::from_nanos(self.poll_time_ns.load(Ordering::Relaxed)),
            moves: self.moves.load(Ordering::Relaxed),
            pending,
        }
    }
}

fn add(cell: &AtomicU64, n: u64) {
    let sum = cell.load(Ordering::Relaxed).wrapping_add(n);
    cell.store(sum, Ordering::Relaxed);
}
