//! Many seeds, over several threads, and what they come to together.
//!
//! **Invariants.** A seed is one thread's alone, so its run does not depend on how many there are. After
//! the first violation no further seed is begun.
//!
//! **Not here.** Real time: whoever calls measures it.

use crate::options::Options;
use crate::report::{Reads, Report};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the runs of many seeds come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many were run.
    pub seeds: u64,
    /// How long they took in the simulated world, together.
    pub simulated_us: u64,
    /// The longest time until a healed cluster had served every Region.
    pub recovery_us_max: u64,
    /// How many things happened.
    pub events: u64,
    /// What went wrong on purpose, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// How operators changed clusters, by name.
    pub changes: BTreeMap<&'static str, u64>,
    /// Operations on single keys whose order was checked, by kind.
    pub checked: BTreeMap<&'static str, u64>,
    /// Requests that were answered with success, by kind.
    pub acknowledged: BTreeMap<&'static str, u64>,
    /// Reads, by what allowed them.
    pub reads: Reads,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests whose fate their client never learned.
    pub unknown: u64,
    /// Keys whose history was too entangled to decide.
    pub undecided: u64,
    /// Snapshots that were installed.
    pub snapshots: u64,
    /// How often a follower has said that it sleeps.
    pub hibernations: u64,
    /// The runs that broke a promise, by seed.
    pub violations: BTreeMap<u64, Report>,
}

/// A seed that nobody has chosen, from the entropy that hash maps begin with; short enough to be typed.
pub fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 24
}

/// Runs the seeds on `threads` threads until one breaks a promise; `heard` hears of each run.
pub fn run_seeds(
    seeds: Range<u64>,
    threads: usize,
    options: &Options,
    heard: &(dyn Fn(&Report) + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = crate::run(seed, options);
                    is_over.fetch_or(report.violation.is_some(), Ordering::Relaxed);
                    heard(&report);
                    summary.lock().expect("no thread panics").add(report);
                }
            });
        }
    });
    summary.into_inner().expect("no thread panics")
}

impl Summary {
    /// Counts a run in.
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.simulated_us += report.simulated_us;
        self.recovery_us_max = self.recovery_us_max.max(report.recovery_us);
        self.events += report.trace_events;
        add_all(&mut self.faults, &report.faults);
        add_all(&mut self.changes, &report.changes);
        add_all(&mut self.checked, &report.checked);
        add_all(&mut self.acknowledged, &report.acknowledged);
        self.reads.add(&report.reads);
        self.refused += report.refused;
        self.unknown += report.unknown;
        self.undecided += report.undecided;
        self.snapshots += report.snapshots;
        self.hibernations += report.hibernations;
        if report.violation.is_some() {
            self.violations.insert(report.seed, report);
        }
    }
}

fn add_all(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (name, count) in more {
        *sums.entry(name).or_default() += count;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated_us as f64 / 3_600e6;
        writeln!(
            f,
            "simulated    {hours:.2} hours, {} events; the longest recovery took {} ms",
            self.events,
            self.recovery_us_max / 1000
        )?;
        list(f, "faults", &self.faults)?;
        list(f, "changes", &self.changes)?;
        list(f, "answered", &self.acknowledged)?;
        writeln!(
            f,
            "             reads: {} under a lease, {} whose lease was over, {} by the leader, {} by another \
             replica",
            self.reads.under_lease,
            self.reads.lease_over,
            self.reads.by_leader,
            self.reads.by_replica
        )?;
        writeln!(
            f,
            "             {} refused, {} never heard of; {} snapshots, {} hibernations",
            self.refused, self.unknown, self.snapshots, self.hibernations
        )?;
        list(f, "checked", &self.checked)?;
        write!(
            f,
            "violations   {}, and {} keys undecided",
            self.violations.len(),
            self.undecided
        )
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let total: u64 = counts.values().sum();
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    writeln!(f, "{title:<12} {total}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultOptions, PlantedBug};

    fn short() -> Options {
        Options {
            faults: FaultOptions {
                kinds: Vec::new(),
                ..FaultOptions::default()
            },
            fault_phase_us: 300_000,
            ..Options::default()
        }
    }

    #[test]
    fn how_many_threads_there_are_does_not_matter() {
        let [one, two] = [1, 2].map(|threads| run_seeds(5..9, threads, &short(), &|_| {}));
        assert_eq!(one, two);
        assert_eq!((one.seeds, one.violations.len()), (4, 0));
        assert!(one.to_string().contains("violations   0"));
    }

    #[test]
    fn no_seed_is_begun_after_a_violation() {
        let options = Options {
            planted_bug: Some(PlantedBug::LostAnswer),
            ..short()
        };
        let summary = run_seeds(0..50, 1, &options, &|_| {});
        assert_eq!(summary.violations.len(), 1);
        assert!(summary.seeds < 50);
        let (last, _) = summary.violations.first_key_value().unwrap();
        assert_eq!(*last, summary.seeds - 1);
    }
}
