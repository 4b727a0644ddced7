//! What clients asked and what they were told, by key.
//!
//! **Invariants.** Stamps are nanoseconds since the start on one monotonic clock, each given out once: one is
//! taken before a request leaves and one after its answer is there. Each value is written by one request. What was
//! refused is counted and leaves no operation, so that a value of it which shows up is one that nobody wrote.
//!
//! **Not here.** What must hold (`consistency`, `verdict`).

use crate::layout::{Key, OPERATIONS_PER_KEY, SLOTS};
use consistency::{Action, Operation};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is asked about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Its value.
    Get,
    /// To write this.
    Put(u64),
    /// To remove it.
    Delete,
    /// To write `new` if `expected` is there.
    Swap {
        /// What must be there; `None` for nothing.
        expected: Option<u64>,
        /// What is there afterwards.
        new: u64,
    },
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The write is acknowledged.
    Written,
    /// This is there.
    Found(Option<u64>),
    /// Whether the swap happened, and what was there before.
    Swapped(bool, Option<u64>),
    /// Nothing has happened, as the answer promises.
    Refused,
    /// Nobody can tell.
    Unknown,
}

/// An operation, and who asked for it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was done and seen.
    pub operation: Operation,
    /// The client.
    pub who: String,
}

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were acknowledged, and swaps that were decided.
    pub writes: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Writes whose fate is open.
    pub unknown: u64,
}

/// The history of a run.
pub struct Recorder {
    began: Instant,
    last_stamp: AtomicU64,
    last_value: AtomicU64,
    slots: [AtomicU64; SLOTS],
    keys: Mutex<BTreeMap<Key, Vec<Entry>>>,
    tally: Mutex<Tally>,
}

impl Recorder {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            last_stamp: AtomicU64::new(0),
            last_value: AtomicU64::new(0),
            slots: [const { AtomicU64::new(0) }; SLOTS],
            keys: Mutex::default(),
            tally: Mutex::default(),
        }
    }

    /// Now, as a stamp: above all that were given out before.
    pub fn stamp(&self) -> u64 {
        let now = self.began.elapsed().as_nanos() as u64;
        let next = |last: u64| Some(now.max(last + 1));
        let order = Ordering::SeqCst;
        let last = self.last_stamp.fetch_update(order, order, next);
        now.max(last.unwrap_or_else(|last| last) + 1)
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The key of a slot for the next operation.
    pub fn key(&self, slot: usize) -> Key {
        let issued = self.slots[slot].fetch_add(1, Ordering::Relaxed);
        Key {
            slot,
            generation: 1 + issued / OPERATIONS_PER_KEY,
        }
    }

    /// A value that nobody has written.
    pub fn fresh_value(&self) -> u64 {
        1 + self.last_value.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes down what became of a request that left at `invoked`. The answer has just come.
    pub fn note(&self, who: &str, key: Key, ask: Ask, (invoked, answer): (u64, Answer)) {
        let completed = self.stamp();
        self.count(ask, answer);
        let Some(action) = action(ask, answer) else {
            return;
        };
        let operation = Operation {
            action,
            invoked,
            completed: (answer != Answer::Unknown).then_some(completed),
            now_s: 0,
        };
        let who = who.to_owned();
        let mut keys = self.keys.lock();
        keys.entry(key).or_default().push(Entry { operation, who });
    }

    fn count(&self, ask: Ask, answer: Answer) {
        let mut tally = self.tally.lock();
        match (answer, ask) {
            (Answer::Refused, _) | (Answer::Unknown, Ask::Get) => tally.refused += 1,
            (Answer::Unknown, _) => tally.unknown += 1,
            (_, Ask::Get) => tally.reads += 1,
            (_, Ask::Put(_) | Ask::Delete | Ask::Swap { .. }) => tally.writes += 1,
        }
    }

    /// How many operations ended how.
    pub fn tally(&self) -> Tally {
        *self.tally.lock()
    }

    /// The operations on each key.
    pub fn histories(&self) -> BTreeMap<Key, Vec<Entry>> {
        self.keys.lock().clone()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// The operation that it was; none if it has no place in a history.
fn action(ask: Ask, answer: Answer) -> Option<Action> {
    Some(match (ask, answer) {
        (_, Answer::Refused) | (Ask::Get, Answer::Unknown) => return None,
        (Ask::Get, Answer::Found(found)) => Action::Get(found),
        (Ask::Put(value), Answer::Written | Answer::Unknown) => Action::Put(value),
        (Ask::Delete, Answer::Written | Answer::Unknown) => Action::Delete,
        (Ask::Swap { expected, new }, Answer::Swapped(..) | Answer::Unknown) => Action::Swap {
            expected,
            new,
            answer: match answer {
                Answer::Swapped(swapped, previous) => Some((swapped, previous)),
                _ => None,
            },
        },
        (ask, answer) => unreachable!("{answer:?} is no answer to {ask:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_given_out_once_and_in_their_order_to_all_threads() {
        let recorder = Recorder::new();
        let take = || (0..2_000).map(|_| recorder.stamp()).collect::<Vec<u64>>();
        let all = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(take));
            threads.map(|thread| thread.join().unwrap())
        });
        for stamps in &all {
            assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]));
        }
        let mut stamps = all.concat();
        stamps.sort_unstable();
        stamps.dedup();
        assert_eq!(stamps.len(), 8_000);
    }

    #[test]
    fn what_was_refused_leaves_no_operation_and_what_is_unknown_an_open_one() {
        let recorder = Recorder::new();
        let key = recorder.key(0);
        let cases = [
            (Ask::Put(1), Answer::Refused),
            (Ask::Get, Answer::Unknown),
            (Ask::Put(2), Answer::Unknown),
            (Ask::Put(3), Answer::Written),
            (Ask::Get, Answer::Found(Some(3))),
        ];
        for (ask, answer) in cases {
            recorder.note("c", key, ask, (recorder.stamp(), answer));
        }
        let entries = &recorder.histories()[&key];
        let operations = entries.iter().map(|entry| &entry.operation);
        let found: Vec<_> = operations
            .map(|one| (one.action.clone(), one.completed.is_some()))
            .collect();
        let expected = [
            (Action::Put(2), false),
            (Action::Put(3), true),
            (Action::Get(Some(3)), true),
        ];
        assert_eq!(found, expected);
        let tally = Tally {
            reads: 1,
            writes: 1,
            refused: 2,
            unknown: 1,
        };
        assert_eq!(recorder.tally(), tally);
    }

    #[test]
    fn a_slot_goes_on_with_a_new_key_after_enough_operations() {
        let recorder = Recorder::new();
        let generations: Vec<u64> = (0..=OPERATIONS_PER_KEY)
            .map(|_| recorder.key(2).generation)
            .collect();
        assert!(
            generations[..generations.len() - 1]
                .iter()
                .all(|one| *one == 1)
        );
        assert_eq!(generations.last(), Some(&2));
        assert_eq!(recorder.key(3).generation, 1);
    }
}
