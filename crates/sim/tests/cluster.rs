//! The cluster under faults, seed by seed: fresh seeds each time, unless `SIM_START` says from which one
//! on. `SIM_SEEDS` says how many, `SIM_SEED` plays a single one (and a violation then carries
//! `SIM_TRACE_LINES` of trace).

use sim::{Options, Report, Summary, fresh_seed, run, run_seeds};
use std::collections::BTreeSet;
use std::ops::Range;

const SEEDS: u64 = 500;
const SEEDS_TWICE: u64 = 50;
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number of seeds or lines, or a seed"))
}

fn seeds(count: u64) -> Range<u64> {
    let start = number("SIM_START").unwrap_or_else(fresh_seed);
    println!("seeds from {start} on");
    start..start + count
}

fn say(report: &Report) {
    println!("{report}");
}

fn refuse_violations(summary: &Summary, options: &Options) {
    let failed: Vec<&u64> = summary.violations.keys().collect();
    if let Some((seed, first)) = summary.violations.first_key_value() {
        panic!(
            "{first}\nfailing seeds: {failed:?}\nreplay with: {}\nor with: SIM_SEED={seed} cargo test --release \
             -p sim --test cluster -- --nocapture every_seed",
            options.replay_line(*seed)
        );
    }
}

fn replay(seed: u64) {
    let mut options = Options::default();
    if let Some(lines) = number("SIM_TRACE_LINES") {
        options.trace_lines = lines as usize;
    }
    let report = run(seed, &options);
    println!("{report}");
    let mut summary = Summary::default();
    summary.add(report);
    refuse_violations(&summary, &options);
}

#[test]
fn every_seed_keeps_every_promise_and_faults_do_happen() {
    if let Some(seed) = number("SIM_SEED") {
        return replay(seed);
    }
    let options = Options::default();
    let seeds = seeds(number("SIM_SEEDS").unwrap_or(SEEDS));
    let summary = run_seeds(seeds, THREADS, &options, &say);
    println!("{summary}");
    refuse_violations(&summary, &options);
    assert_eq!(summary.undecided, 0);
    assert!(summary.snapshots > 0 && summary.hibernations > 0);
    assert!(summary.reads.under_lease > 10 * summary.seeds);
    let reads = &summary.reads;
    assert!(reads.lease_over > 0 && reads.by_leader > 0 && reads.by_replica > 0);
    for (name, kinds) in [
        ("fault", FAULTS),
        ("change", CHANGES),
        ("checked operation", CHECKED),
    ] {
        let counts = [&summary.faults, &summary.changes, &summary.checked];
        for kind in kinds {
            let times = counts.iter().filter_map(|counts| counts.get(kind));
            assert!(times.sum::<u64>() > 0, "the {name} {kind} never happened");
        }
    }
}

const FAULTS: &[&str] = &[
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
    "slow store",
    "slow installs",
    "clock jump",
    "full disk",
    "placement outage",
];

const CHANGES: &[&str] = &[
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
    "join behind a merge",
    "taken in by a snapshot",
    "comparison",
    "comparison of all replicas",
    "other bounds",
    "placement's change",
];

const CHECKED: &[&str] = &[
    "put",
    "put with a time to live",
    "delete",
    "get",
    "compare-and-swap",
    "timestamp",
    "id",
];

#[test]
fn the_same_seed_gives_the_same_trace_twice_and_another_seed_another_one() {
    let options = Options::default();
    let seeds = seeds(SEEDS_TWICE);
    let mut hashes = BTreeSet::new();
    for seed in seeds {
        let (first, second) = (run(seed, &options), run(seed, &options));
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(first.trace_hash);
    }
    assert_eq!(hashes.len() as u64, SEEDS_TWICE);
}
