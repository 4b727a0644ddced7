//! The cluster under faults, seed by seed. `SIM_SEEDS` says how many, `SIM_SEED` plays a single one
//! (and a violation then carries `SIM_TRACE_LINES` of trace).

use sim::{Options, Reads, Report};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 200;
const SEEDS_TWICE: u64 = 20;
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number of seeds or lines, or a seed"))
}

/// The reports of all seeds, by seed. Each seed is one thread's alone.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let draw = || next.fetch_add(1, Ordering::Relaxed);
                while let Some(seed) = Some(draw()).filter(|seed| *seed < seeds.end) {
                    let report = sim::run(seed, &Options::default());
                    if let Some(violation) = &report.violation {
                        println!("seed {seed} fails: {}", violation.message);
                    }
                    reports.lock().expect("no thread panics").push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("no thread panics");
    reports.sort_by_key(|report| report.seed);
    reports
}

fn refuse_violations(reports: &[Report]) {
    let failed: Vec<u64> = reports
        .iter()
        .filter(|report| report.violation.is_some())
        .map(|report| report.seed)
        .collect();
    if let Some(first) = reports.iter().find(|report| report.violation.is_some()) {
        panic!(
            "{first}\nfailing seeds: {failed:?}\nreplay with: SIM_SEED={} cargo test --release -p sim \
             --test cluster -- --nocapture every_seed",
            first.seed
        );
    }
}

fn replay(seed: u64) {
    let mut options = Options::default();
    if let Some(lines) = number("SIM_TRACE_LINES") {
        options.trace_lines = lines as usize;
    }
    let report = sim::run(seed, &options);
    println!("{report}");
    refuse_violations(&[report]);
}

fn assert_changes_happen(reports: &[Report]) {
    for change in [
        "split",
        "handover",
        "add learner",
        "add voter",
        "promote",
        "demote",
        "remove learner",
        "remove voter",
        "swap",
        "replace",
        "refused change",
        "follow",
        "make room",
        "merge begun",
        "merge",
        "told of a merge",
        "comparison",
        "comparison of all replicas",
    ] {
        let changes = reports
            .iter()
            .filter_map(|report| report.changes.get(change));
        assert!(changes.sum::<u64>() > 0, "{change} never happened");
    }
}

#[test]
fn every_seed_keeps_every_promise_and_faults_do_happen() {
    if let Some(seed) = number("SIM_SEED") {
        return replay(seed);
    }
    let reports = run_all(0..number("SIM_SEEDS").unwrap_or(SEEDS));
    for report in &reports {
        println!("{report}");
    }
    refuse_violations(&reports);
    assert!(reports.iter().all(|report| report.undecided == 0));
    assert!(reports.iter().all(|report| report.operations_checked > 0));
    assert!(reports.iter().any(|report| report.snapshots > 0));
    assert!(reports.iter().any(|report| report.hibernations > 0));
    let reads = |of: fn(&Reads) -> u64| reports.iter().map(|report| of(&report.reads)).sum::<u64>();
    assert!(reads(|reads| reads.under_lease) > 10 * reports.len() as u64);
    assert!(reads(|reads| reads.lease_over) > 0);
    assert!(reads(|reads| reads.by_leader) > 0);
    assert!(reads(|reads| reads.by_replica) > 0);
    for fault in [
        "power cut",
        "power cut in a write",
        "power cut at start",
        "power cut of all",
        "rolling power cut",
        "kill",
        "stopped after a failed sync",
        "unsynced write lost",
        "isolation",
        "one-way cut",
        "deafness",
        "slow link",
        "pause",
        "message lost",
        "message doubled",
        "message reordered",
        "answer lost",
        "snapshot cut off",
        "snapshot damaged",
        "installation cut short",
    ] {
        let times: u64 = reports
            .iter()
            .filter_map(|report| report.faults.get(fault))
            .sum();
        assert!(times > 0, "{fault} never happened");
    }
    assert_changes_happen(&reports);
}

#[test]
fn the_same_seed_gives_the_same_trace_twice_and_another_seed_another_one() {
    let (first, second) = (run_all(0..SEEDS_TWICE), run_all(0..SEEDS_TWICE));
    assert_eq!(first, second);
    let hashes: std::collections::BTreeSet<u64> =
        first.iter().map(|report| report.trace_hash).collect();
    assert_eq!(hashes.len() as u64, SEEDS_TWICE);
}
