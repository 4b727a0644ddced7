//! Shrinking: from a run that breaks a promise to a small one that breaks it, too.
//!
//! **How.** First whatever makes any run smaller, other seeds allowed: fewer kinds of faults, of the
//! operator's actions, clients, groups of keys, less time. Then, of one seed, single faults and single
//! turns of the operator, by delta debugging (Zeller and Hildebrandt, 2002). Each step is kept if the run
//! still breaks the *same* promise, and all steps are tried again until none helps.
//!
//! **Why other seeds.** A run is chaotic: with one client less everything after its first request
//! happens otherwise. That the promise is broken within a few seeds says that the client did not matter.
//!
//! **Invariants.** What is returned was run, and broke the promise. No more runs than allowed are made.

use crate::names::Named;
use crate::options::Options;
use crate::report::Report;
use std::collections::BTreeSet;

/// Seeds that a step is tried with, until one breaks the promise.
const TRIES: u64 = 12;

/// A small failing case.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Its seed.
    pub seed: u64,
    /// Its options.
    pub options: Options,
    /// What came of it.
    pub report: Report,
    /// Runs that were made to find it.
    pub runs: u64,
}

/// Looks for a small case of what goes wrong with this seed, in `runs_max` runs at most; `heard` hears of
/// each step that helped. None if nothing goes wrong.
pub fn shrink(
    seed: u64,
    options: &Options,
    runs_max: u64,
    heard: &mut dyn FnMut(&Shrunk),
) -> Option<Shrunk> {
    let report = crate::run(seed, options);
    let promise = promise(&report)?;
    let best = Shrunk {
        seed,
        options: options.clone(),
        report,
        runs: 1,
    };
    let mut search = Search {
        promise,
        best,
        runs_max,
        heard,
    };
    while search.shrink_kinds() | search.shrink_sizes() {}
    search.number_events();
    while search.thin(Numbered::Faults) | search.thin(Numbered::Turns) {}
    Some(search.best)
}

/// The promise that was broken: the words of the message, without its numbers.
fn promise(report: &Report) -> Option<String> {
    let message = &report.violation.as_ref()?.message;
    let is_said = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
    let words = message.split_whitespace().filter(is_said).take(5);
    Some(words.collect::<Vec<_>>().join(" "))
}

/// What can be left out one by one.
#[derive(Clone, Copy)]
enum Numbered {
    Faults,
    Turns,
}

impl Numbered {
    fn of(self, options: &mut Options) -> &mut Option<BTreeSet<u64>> {
        match self {
            Self::Faults => &mut options.faults.only_events,
            Self::Turns => &mut options.only_actions,
        }
    }
}

struct Search<'a> {
    promise: String,
    best: Shrunk,
    runs_max: u64,
    heard: &'a mut dyn FnMut(&Shrunk),
}

impl Search<'_> {
    /// Whether one of so many seeds breaks the promise with these options; the first one that does is
    /// the best case from now on.
    fn helps(&mut self, options: &Options, tries: u64) -> bool {
        if *options == self.best.options {
            return false;
        }
        let first = self.best.seed;
        for seed in first..first.saturating_add(tries) {
            if self.best.runs == self.runs_max {
                return false;
            }
            self.best.runs += 1;
            let report = crate::run(seed, options);
            if promise(&report).as_ref() == Some(&self.promise) {
                let runs = self.best.runs;
                self.best = Shrunk {
                    seed,
                    options: options.clone(),
                    report,
                    runs,
                };
                (self.heard)(&self.best);
                return true;
            }
        }
        false
    }

    fn try_change(&mut self, change: impl FnOnce(&mut Options)) -> bool {
        let mut options = self.best.options.clone();
        change(&mut options);
        self.helps(&options, TRIES)
    }

    fn shrink_kinds(&mut self) -> bool {
        let mut has_helped = self.try_change(|options| options.faults.kinds.clear());
        has_helped |= self.try_change(|options| options.actions.clear());
        for kind in self.best.options.faults.kinds.clone() {
            has_helped |= self.try_change(|options| leave_out(&mut options.faults.kinds, kind));
        }
        for action in self.best.options.actions.clone() {
            has_helped |= self.try_change(|options| leave_out(&mut options.actions, action));
        }
        has_helped
    }

    fn shrink_sizes(&mut self) -> bool {
        // Nothing happens after the violation.
        let needed_us = self.best.report.simulated_us.next_multiple_of(1_000);
        let mut has_helped = self.try_change(|options| {
            options.fault_phase_us = options.fault_phase_us.min(needed_us);
        });
        has_helped |=
            self.try_change(|options| options.fault_phase_us = half(options.fault_phase_us));
        has_helped |= self.try_change(|options| options.clients /= 2);
        has_helped |= self.try_change(|options| {
            options.clients = options.clients.saturating_sub(1);
        });
        has_helped |= self.try_change(|options| options.readers /= 2);
        has_helped |= self.try_change(|options| options.askers /= 2);
        let groups = self.groups();
        let halves = groups.split_at(groups.len() / 2);
        for part in [halves.0, halves.1] {
            let part: BTreeSet<usize> = part.iter().copied().collect();
            if !part.is_empty() {
                has_helped |= self.try_change(|options| options.only_groups = Some(part));
            }
        }
        has_helped
    }

    fn groups(&self) -> Vec<usize> {
        match &self.best.options.only_groups {
            Some(only) => only.iter().copied().collect(),
            None => (0..crate::keys::GROUPS_MAX).collect(),
        }
    }

    /// Names all events of the best case: the same run, of which single ones can be left out.
    fn number_events(&mut self) {
        let Shrunk {
            options, report, ..
        } = &mut self.best;
        let faults = &mut options.faults;
        faults
            .only_events
            .get_or_insert_with(|| (0..report.fault_events).collect());
        options
            .only_actions
            .get_or_insert_with(|| (0..report.operator_turns).collect());
    }

    /// Leaves out as many as it can: large parts first, then smaller ones.
    fn thin(&mut self, what: Numbered) -> bool {
        let mut has_helped = false;
        let numbers = |search: &mut Self| -> Vec<u64> {
            let numbers = what.of(&mut search.best.options).as_ref();
            numbers.into_iter().flatten().copied().collect()
        };
        let mut part = numbers(self).len();
        while part > 0 {
            let mut from = 0;
            while from < numbers(self).len() {
                let all = numbers(self);
                let end = all.len().min(from + part);
                let left = all[..from].iter().chain(&all[end..]).copied().collect();
                let mut options = self.best.options.clone();
                *what.of(&mut options) = Some(left);
                match self.helps(&options, 1) {
                    true => has_helped = true,
                    false => from += part,
                }
            }
            part /= 2;
        }
        has_helped
    }
}

fn leave_out<T: Named>(kinds: &mut Vec<T>, kind: T) {
    kinds.retain(|other| *other != kind);
}

fn half(us: u64) -> u64 {
    (us / 2).next_multiple_of(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Violation;
    use crate::{FaultKind, PlantedBug};

    #[test]
    fn a_run_that_keeps_every_promise_can_not_be_shrunk() {
        let options = Options {
            fault_phase_us: 200_000,
            ..Options::default()
        };
        assert!(shrink(1, &options, 10, &mut |_| {}).is_none());
    }

    #[test]
    fn what_does_not_matter_is_left_out_and_the_line_replays_what_is_left() {
        let options = Options {
            planted_bug: Some(PlantedBug::AnswerTwice),
            ..Options::default()
        };
        let mut steps = 0;
        let small = shrink(1, &options, 200, &mut |_| steps += 1).expect("it fails");
        assert!(steps > 0 && small.runs <= 200);
        assert_eq!(small.options.faults.kinds, Vec::<FaultKind>::new());
        assert!(small.options.actions.is_empty());
        assert!(small.options.clients + small.options.readers < 9);
        let again = crate::run(small.seed, &small.options);
        assert_eq!(again, small.report);
    }

    #[test]
    fn a_promise_is_the_same_whatever_the_numbers_are() {
        let broken = |message: &str| {
            let violation = Violation {
                message: message.to_owned(),
                trace: Vec::new(),
            };
            let report = Report {
                violation: Some(violation),
                ..crate::run(1, &tiny())
            };
            promise(&report)
        };
        assert_eq!(
            broken("key 7 is not linearizable"),
            broken("key 9 is not linearizable")
        );
        assert_ne!(
            broken("key 7 is not linearizable"),
            broken("store 7 panicked: no")
        );
    }

    fn tiny() -> Options {
        Options {
            fault_phase_us: 10_000,
            ..Options::default()
        }
    }
}
