//! What the pollers of a system have done since it began, for whoever watches it.
//!
//! **Why for each poller.** A round can be over in two microseconds. Cells that one thread alone writes cost
//! it a few plain stores; whoever wants to know adds up those of all pollers.
//!
//! **Invariants.** A poller has its cells to itself. Those of one that has left stay, and the next one goes
//! on with them, so that nothing decreases when a pool shrinks.
//!
//! **Not here.** Single FSMs: `stats`.

use metrics::{Counter, Histogram, LATENCIES, Observed, SIZES, is_on};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

metrics::label! {"reason":
    /// Why FSMs were put back into the run queue.
    pub enum Rescheduled {
        /// They had been busy in one poller's batch for too long.
        Hot = "hot",
        /// Another poller had nothing to do.
        Shared = "shared",
        /// Their priority had become another than their poller's.
        Priority = "priority",
    }
}

/// What one poller writes.
#[derive(Debug)]
pub(crate) struct PollerCells {
    batch: Histogram,
    round: Histogram,
    end: Histogram,
    messages: Counter,
    rescheduled: [Counter; 3],
}

/// A round that is over.
pub(crate) struct Round {
    pub(crate) fsms: usize,
    pub(crate) messages: u64,
    pub(crate) took: Duration,
    /// Of that, the handler's `end`.
    pub(crate) end: Duration,
}

impl PollerCells {
    fn new() -> Self {
        Self {
            batch: Histogram::new(&SIZES),
            round: Histogram::latencies(),
            end: Histogram::latencies(),
            messages: Counter::new(),
            rescheduled: [const { Counter::new() }; 3],
        }
    }

    pub(crate) fn count_round(&self, round: &Round) {
        if !is_on() {
            return;
        }
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.batch.observe_alone(round.fsms as u64);
        self.round.observe_alone(nanoseconds(round.took));
        self.end.observe_alone(nanoseconds(round.end));
        self.messages.add_alone(round.messages);
    }

    pub(crate) fn count_rescheduled(&self, reason: Rescheduled, fsms: u64) {
        self.rescheduled[reason as usize].add_alone(fsms);
    }
}

/// The cells of all pollers.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pollers: Mutex<Vec<Arc<PollerCells>>>,
    /// Messages that were refused because of a bound.
    pub(crate) refused: Counter,
}

impl Meters {
    /// Cells for a new poller.
    pub(crate) fn cells(&self) -> Arc<PollerCells> {
        let mut pollers = self.pollers.lock();
        if let Some(left) = pollers.iter().find(|cells| Arc::strong_count(cells) == 1) {
            return Arc::clone(left);
        }
        let cells = Arc::new(PollerCells::new());
        pollers.push(Arc::clone(&cells));
        cells
    }

    pub(crate) fn read(&self) -> SystemStats {
        let mut stats = SystemStats {
            refused: self.refused.get(),
            ..SystemStats::default()
        };
        for cells in &*self.pollers.lock() {
            stats.batch.add(&cells.batch.read());
            stats.round.add(&cells.round.read());
            stats.end.add(&cells.end.read());
            stats.messages += cells.messages.get();
            for (sum, count) in stats.rescheduled.iter_mut().zip(&cells.rescheduled) {
                *sum += count.get();
            }
        }
        stats
    }
}

/// What a system has done since it began.
#[derive(Clone, Debug)]
pub struct SystemStats {
    /// FSMs in a round; its count is that of the rounds.
    pub batch: Observed,
    /// How long rounds took.
    pub round: Observed,
    /// How long the handler's `end` took of each.
    pub end: Observed,
    /// Messages handled.
    pub messages: u64,
    /// Messages that were refused because of a bound.
    pub refused: u64,
    /// FSMs that were put back into the run queue, by [`Rescheduled`].
    pub rescheduled: [u64; 3],
}

impl Default for SystemStats {
    fn default() -> Self {
        Self {
            batch: Observed::none(&SIZES),
            round: Observed::none(&LATENCIES),
            end: Observed::none(&LATENCIES),
            messages: 0,
            refused: 0,
            rescheduled: [0; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_poller_did_stays_when_it_has_left() {
        let meters = Meters::default();
        let (first, second) = (meters.cells(), meters.cells());
        let round = |fsms| Round {
            fsms,
            messages: 3,
            took: Duration::from_micros(7),
            end: Duration::from_micros(2),
        };
        first.count_round(&round(1));
        second.count_round(&round(2));
        drop(second);
        let third = meters.cells();
        third.count_round(&round(4));
        third.count_rescheduled(Rescheduled::Shared, 5);
        let stats = meters.read();
        assert_eq!(
            meters.pollers.lock().len(),
            2,
            "the third went on with the second's"
        );
        assert_eq!((stats.batch.count(), stats.batch.sum()), (3, 7));
        assert_eq!((stats.round.sum(), stats.end.sum()), (21_000, 6_000));
        assert_eq!((stats.messages, stats.rescheduled), (9, [0, 5, 0]));
    }
}
