//! How slow this store is: its writes of the Raft log are timed where they are made, and its reports say what
//! came of it.
//!
//! **Why a report out of turn.** A store that turns slow should lose its leaders within seconds, and its next
//! report may be further away than that. Who looks at the score is not a poller: those may all hang in the
//! very write that is slow.
//!
//! **Not here.** The score (`raftstore::store::SlowScore`). Waiting for a disk that is full is no write.

use crate::clock::Clock;
use parking_lot::Mutex;
use placement::StoreStats;
use raftstore::MonotonicTime;
use raftstore::store::{SlowScore, SlowScoreOptions};
use std::sync::Arc;

/// The slowness of one store. Clones are the same.
#[derive(Clone)]
pub struct Slowness(Arc<Shared>);

struct Shared {
    score: Mutex<SlowScore>,
    /// The store's last report in turn.
    told: Mutex<StoreStats>,
}

impl Slowness {
    /// Of a store that is fast.
    pub fn new(options: SlowScoreOptions) -> Self {
        Self(Arc::new(Shared {
            score: Mutex::new(SlowScore::new(options)),
            told: Mutex::default(),
        }))
    }

    /// Writes the Raft log, and takes the time.
    pub(crate) fn timed<T>(&self, clock: &dyn Clock, write: impl FnOnce() -> T) -> T {
        let score = &self.0.score;
        let begun = clock.now();
        score.lock().begin(begun);
        let written = write();
        score.lock().end(begun, clock.now());
        written
    }

    /// What counts as slow from now on.
    pub(crate) fn set_options(&self, options: SlowScoreOptions) {
        self.0.score.lock().set_options(options);
    }

    /// From 1, fast, to 100.
    pub(crate) fn score(&self) -> u64 {
        self.0.score.lock().score()
    }

    /// The store's report, with its score.
    pub(crate) fn complete(&self, stats: StoreStats) -> StoreStats {
        let stats = StoreStats {
            slow_score: self.0.score.lock().score(),
            ..stats
        };
        *self.0.told.lock() = stats;
        stats
    }

    /// To be called about once a second. If the store has become slower, its report out of turn: the last
    /// one with the new score, and nothing of traffic.
    pub(crate) fn look(&self, now: MonotonicTime) -> Option<StoreStats> {
        let mut score = self.0.score.lock();
        let told = *self.0.told.lock();
        // Before the first report in turn nobody knows the store.
        (score.look(now) && told.store_id.get() != 0).then(|| StoreStats {
            slow_score: score.score(),
            traffic: placement::Traffic::default(),
            ..told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;
    use types::StoreId;

    struct At(Mutex<MonotonicTime>);

    impl Clock for At {
        fn now(&self) -> MonotonicTime {
            *self.0.lock()
        }
    }

    #[test]
    fn a_store_that_becomes_slower_says_so_out_of_turn() {
        let clock = At(Mutex::new(MonotonicTime(1)));
        let passes = |ms| {
            let now = clock.now().after(Duration::from_millis(ms));
            *clock.0.lock() = now;
            now
        };
        let slowness = Slowness::new(SlowScoreOptions::default());
        slowness.timed(&clock, || passes(700));
        assert_eq!(slowness.look(passes(300)), None, "nobody knows it");
        let stats = StoreStats {
            store_id: StoreId(3),
            region_count: 5,
            ..StoreStats::default()
        };
        assert_eq!(slowness.complete(stats).slow_score, 3);
        let said = Cell::new(None);
        // While the write is under way.
        slowness.timed(&clock, || said.set(slowness.look(passes(1_000))));
        let said = said.get().unwrap();
        assert_eq!((said.slow_score, said.region_count), (9, 5));
        slowness.timed(&clock, || passes(1));
        assert_eq!(
            slowness.look(passes(1)).map(|said| said.slow_score),
            Some(27)
        );
        slowness.timed(&clock, || passes(1));
        assert_eq!(slowness.look(passes(1_000)), None);
    }
}
