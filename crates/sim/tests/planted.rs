//! The checkers are proved by defects that are built in: each one must be found within some seeds.

use sim::{FaultKind, FaultOptions, Options, PlantedBug, run};

const SEEDS: u64 = 30;

/// For a defect that shows at one leader of many, where somebody asks it at the right moment.
const SEEDS_MANY: u64 = 150;

fn options(bug: PlantedBug, kinds: &[FaultKind]) -> Options {
    Options {
        planted_bug: Some(bug),
        faults: FaultOptions {
            kinds: kinds.to_vec(),
            is_swarm: false,
            gap_us_max: 400_000,
            ..FaultOptions::default()
        },
        fault_phase_us: 2_000_000,
        ..Options::default()
    }
}

fn assert_found(bug: PlantedBug, kinds: &[FaultKind], expected: &[&str]) {
    assert_found_within(SEEDS, &options(bug, kinds), expected);
}

/// The violation of the first seed that finds the bug is what it should be.
fn assert_found_within(seeds: u64, options: &Options, expected: &[&str]) {
    let bug = options.planted_bug;
    let message = (0..seeds)
        .find_map(|seed| run(seed, options).violation)
        .unwrap_or_else(|| panic!("{bug:?} was not found within {seeds} seeds"))
        .message;
    assert!(
        expected.iter().any(|part| message.contains(part)),
        "{bug:?} was found as something else: {message}"
    );
}

#[test]
fn a_log_that_is_never_synced_is_found() {
    assert_found(
        PlantedBug::SkippedSync,
        &[FaultKind::PowerCut, FaultKind::ClusterPowerCut],
        &[
            "does not start",
            "not linearizable",
            "differ at applied index",
            "voted for",
            "panicked",
            "half of a batch",
        ],
    );
}

#[test]
fn a_vote_that_leaves_before_its_sync_is_found() {
    assert_found(
        PlantedBug::VoteBeforeSync,
        &[FaultKind::PowerCut, FaultKind::ClusterPowerCut],
        &["voted for", "after it had promised term"],
    );
}

#[test]
fn a_replica_that_comes_back_empty_is_found() {
    assert_found(
        PlantedBug::WipedReplica,
        &[FaultKind::PowerCut],
        &[
            "the log here ends at",
            "voted for",
            "after it had promised term",
            "not linearizable",
        ],
    );
}

#[test]
fn an_answer_that_comes_twice_is_found() {
    assert_found(
        PlantedBug::AnswerTwice,
        &[],
        &["is answered or was never asked"],
    );
}

#[test]
fn an_answer_that_never_comes_is_found() {
    assert_found(PlantedBug::LostAnswer, &[], &["has not answered"]);
}

#[test]
fn a_write_that_one_replica_forgets_is_found() {
    assert_found(
        PlantedBug::ForgottenWrite,
        &[],
        &[
            "differ at applied index",
            "not linearizable",
            "half of a batch",
        ],
    );
}

#[test]
fn a_stale_read_is_found() {
    assert_found(
        PlantedBug::StaleRead,
        &[FaultKind::Isolation, FaultKind::Deafness],
        &["not linearizable"],
    );
}

#[test]
fn a_lease_that_is_compared_with_an_older_time_is_found() {
    let mut options = options(PlantedBug::CachedClock, &[FaultKind::Pause]);
    options.readers = 8;
    assert_found_within(SEEDS_MANY, &options, &["not linearizable"]);
}

#[test]
fn a_lease_that_counts_from_the_answer_is_found() {
    let kinds = [FaultKind::Isolation, FaultKind::Pause];
    let mut options = options(PlantedBug::LeaseFromAnswer, &kinds);
    (options.faults.gap_us_max, options.faults.outage_us_max) = (800_000, 600_000);
    (options.readers, options.fault_phase_us) = (8, 3_000_000);
    assert_found_within(SEEDS_MANY, &options, &["not linearizable"]);
}

#[test]
fn a_region_that_stays_without_a_leader_is_found() {
    assert_found(
        PlantedBug::DeafRegion,
        &[],
        &["does not serve every Region"],
    );
}

#[test]
fn a_log_that_is_cut_before_the_data_is_durable_is_found() {
    assert_found(
        PlantedBug::UnsyncedCut,
        &[FaultKind::PowerCut, FaultKind::ClusterPowerCut],
        &["does not start"],
    );
}

#[test]
fn a_snapshot_that_is_installed_over_what_was_there_is_found() {
    assert_found(
        PlantedBug::MixedSnapshot,
        &[FaultKind::Isolation, FaultKind::Loss],
        &["differ at applied index", "not linearizable"],
    );
}

#[test]
fn a_split_that_others_act_on_before_it_is_durable_is_found() {
    assert_found_within(
        SEEDS_MANY,
        &options(
            PlantedBug::UnsyncedShape,
            &[
                FaultKind::PowerCut,
                FaultKind::RollingPowerCut,
                FaultKind::Loss,
            ],
        ),
        &[
            "can't be created",
            "does not start",
            "does not serve every Region",
        ],
    );
}

#[test]
fn a_removed_replica_without_a_tombstone_is_found() {
    // The latter, if it was taken in by its neighbour.
    let signs = ["an apply state is gone", "Regions overlap"];
    assert_found(PlantedBug::NoTombstone, &[], &signs);
}

#[test]
fn a_replica_that_is_never_told_of_its_removal_is_found() {
    assert_found(
        PlantedBug::NoFarewell,
        &[FaultKind::Isolation, FaultKind::OneWayCut],
        &["still has", "has None where its newest shape is"],
    );
}

#[test]
fn data_that_is_damaged_on_a_disk_is_found_by_comparing_replicas() {
    assert_found(PlantedBug::DamagedData, &[], &["replicas differ: Report"]);
}

#[test]
fn without_a_planted_bug_and_without_faults_nothing_is_found() {
    let options = Options {
        faults: FaultOptions {
            kinds: Vec::new(),
            ..FaultOptions::default()
        },
        ..Options::default()
    };
    let report = run(1, &options);
    assert_eq!(report.violation, None);
    assert!(report.faults.is_empty(), "{report}");
}
