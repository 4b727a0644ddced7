//! Random histories of a [`RaftLog`] against a model that is too simple to be wrong.
//!
//! **Not here.** Histories that break the contract (holes): `log` has a test for each.

use super::LogPlace;
use super::log::entries;
use crate::{Durability, RaftLog, RaftLogBatch};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use types::{ApplyState, HardState, LogEntry, PeerId, RegionId};

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<LogEntry>,
    hard: Option<HardState>,
    apply: Option<ApplyState>,
}

impl Model {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard.is_none() && self.apply.is_none()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends this many entries, this far before the end of the log (or at 1 + this far).
    Append(u64, u64, u64),
    HardState(u64, u64),
    ApplyState(u64, u64),
    /// Compacts this far behind the first entry.
    Compact(u64, u64),
    Remove(u64),
    Write(bool),
    Purge,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let region = 1_u64..4;
    prop_oneof![
        8 => (region.clone(), 1_u64..6, 0_u64..4).prop_map(|(r, count, back)| Step::Append(r, count, back)),
        3 => (region.clone(), 0_u64..100).prop_map(|(r, term)| Step::HardState(r, term)),
        2 => (region.clone(), 0_u64..100).prop_map(|(r, index)| Step::ApplyState(r, index)),
        3 => (region.clone(), 0_u64..9).prop_map(|(r, by)| Step::Compact(r, by)),
        1 => region.prop_map(Step::Remove),
        6 => any::<bool>().prop_map(Step::Write),
        1 => Just(Step::Purge),
        1 => Just(Step::Reopen),
    ]
}

type Models = BTreeMap<u64, Model>;

/// Random histories of appends, overwrites, compactions, removals, purges and reopenings leave what
/// the model says.
pub fn a_random_history_reads_like_the_model<P: LogPlace>() {
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&proptest::collection::vec(step(), 1..80), |history| {
            run::<P>(history)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn run<P: LogPlace>(history: Vec<Step>) -> Result<(), TestCaseError> {
    let place = P::fresh();
    let mut log = place.open();
    let mut batch = log.batch();
    let mut written = Models::new();
    let mut pending = Models::new();
    for (term, step) in history.into_iter().enumerate() {
        match step {
            Step::Write(synced) => {
                let durability = if synced {
                    Durability::Synced
                } else {
                    Durability::Buffered
                };
                log.write(&mut batch, durability)
                    .expect("the write succeeds");
                written = pending.clone();
                check(&log, &written)?;
            }
            Step::Purge => log.purge().expect("the purge succeeds"),
            Step::Reopen => {
                drop((batch, log));
                log = place.open();
                batch = log.batch();
                pending = written.clone();
                check(&log, &written)?;
            }
            change => apply(change, term as u64, &mut batch, &mut pending),
        }
    }
    Ok(())
}

fn apply(step: Step, term: u64, batch: &mut impl RaftLogBatch, models: &mut Models) {
    match step {
        Step::Append(id, count, back) => {
            let model = models.entry(id).or_default();
            let first = match (model.entries.first(), model.entries.last()) {
                (Some(first), Some(last)) => {
                    (last.index + 1 - back.min(last.index)).max(first.index)
                }
                // Behind every compaction that the history may hold.
                _ => 1 + back + term * 10,
            };
            let new = entries(first, first + count - 1, term);
            batch.append(RegionId(id), &new);
            model.entries.retain(|entry| entry.index < first);
            model.entries.extend(new);
        }
        Step::HardState(id, term) => {
            let state = HardState {
                term,
                vote: PeerId(id),
                commit: term / 2,
            };
            batch.put_hard_state(RegionId(id), &state);
            models.entry(id).or_default().hard = Some(state);
        }
        Step::ApplyState(id, index) => {
            let state = ApplyState {
                applied_index: index,
                ..ApplyState::default()
            };
            batch.put_apply_state(RegionId(id), &state);
            models.entry(id).or_default().apply = Some(state);
        }
        Step::Compact(id, by) => {
            let model = models.entry(id).or_default();
            let up_to = model.entries.first().map_or(by, |first| first.index + by);
            batch.compact(RegionId(id), up_to);
            model.entries.retain(|entry| entry.index >= up_to);
        }
        Step::Remove(id) => {
            batch.remove(RegionId(id));
            models.remove(&id);
        }
        Step::Write(_) | Step::Purge | Step::Reopen => unreachable!("handled by the caller"),
    }
}

fn check(log: &impl RaftLog, models: &Models) -> Result<(), TestCaseError> {
    let listed: Vec<RegionId> = models
        .iter()
        .filter(|(_, model)| !model.is_empty())
        .map(|(id, _)| RegionId(*id))
        .collect();
    prop_assert_eq!(log.regions().expect("reads"), listed);
    for id in 1..4 {
        let region = RegionId(id);
        let model = models.get(&id).cloned().unwrap_or_default();
        let found = match log.bounds(region).expect("reads") {
            Some((first, last)) => log.fetch(region, first, last + 1, u64::MAX).expect("reads"),
            None => Vec::new(),
        };
        let found = Model {
            entries: found,
            hard: log.hard_state(region).expect("reads"),
            apply: log.apply_state(region).expect("reads"),
        };
        prop_assert_eq!(&found, &model);
        for entry in &model.entries {
            let one = log.entry(region, entry.index).expect("reads");
            prop_assert_eq!(one.as_ref(), Some(entry));
        }
    }
    Ok(())
}
