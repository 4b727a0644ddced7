//! Timestamps and ids: given out once, and timestamps in the order of those who ask.
//!
//! **Invariants.** What a placement driver has answered counts, whether it reached anybody or not. A
//! timestamp is above all that were answered before it was asked for, whoever led then.

use std::collections::{BTreeMap, BTreeSet};
use types::Timestamp;

/// What was given out so far, by whomever.
#[derive(Debug, Default)]
pub struct OracleChecker {
    /// Batches of timestamps, by the first of each: the last.
    batches: BTreeMap<u64, u64>,
    highest: u64,
    ids: BTreeSet<u64>,
}

impl OracleChecker {
    /// The highest timestamp that was answered so far: whoever asks now gets none below it.
    pub fn floor(&self) -> u64 {
        self.highest
    }

    /// A batch of `count` timestamps was answered to somebody who asked when `floor` was the highest.
    pub fn timestamps(&mut self, last: Timestamp, count: u32, floor: u64) -> Result<(), String> {
        let (last, count) = (last.into_u64(), u64::from(count));
        let first = last + 1 - count;
        if first <= floor {
            return Err(format!(
                "timestamps from {first} on after {floor} was given out"
            ));
        }
        let before = self.batches.range(..=last).next_back();
        if before.is_some_and(|(_, end)| *end >= first) {
            return Err(format!("timestamps {first} to {last} are given out twice"));
        }
        self.batches.insert(first, last);
        self.highest = self.highest.max(last);
        Ok(())
    }

    /// An id was answered.
    pub fn id(&mut self, id: u64) -> Result<(), String> {
        match self.ids.insert(id) {
            true => Ok(()),
            false => Err(format!("the id {id} is given out twice")),
        }
    }

    /// How many timestamps and ids were checked.
    pub fn counts(&self) -> (u64, u64) {
        let timestamps = self.batches.iter().map(|(first, last)| last + 1 - first);
        (timestamps.sum(), self.ids.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_above_those_answered_before_they_were_asked_for_and_come_once() {
        let at = Timestamp::from_u64;
        let mut checker = OracleChecker::default();
        assert!(checker.timestamps(at(14), 5, checker.floor()).is_ok());
        assert_eq!(checker.floor(), 14);
        // Asked for at the same time as those before.
        assert!(checker.timestamps(at(9), 3, 0).is_ok());
        assert!(checker.timestamps(at(12), 1, 0).is_err(), "twice");
        assert!(checker.timestamps(at(16), 5, 0).is_err(), "in part");
        assert!(checker.timestamps(at(16), 3, 14).is_err(), "too low");
        assert!(checker.timestamps(at(16), 2, 14).is_ok());
        assert_eq!(checker.counts(), (10, 0));
    }

    #[test]
    fn an_id_comes_once() {
        let mut checker = OracleChecker::default();
        assert!(checker.id(7).is_ok() && checker.id(9).is_ok());
        assert!(checker.id(7).is_err());
    }
}
