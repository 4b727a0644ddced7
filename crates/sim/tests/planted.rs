//! The checkers are proved by defects that are built in: each one must be found within some seeds.
//!
//! `SIM_STARTS=9 cargo test --release -p sim --test planted -- --nocapture how_many` prints how many
//! seeds it takes, as the median over so many different starts.

use PlantedBug::*;
use sim::{ActionKind, FaultKind, FaultOptions, Named, Options, PlantedBug, fresh_seed, run};

const SEEDS: u64 = 30;

/// For a rare one.
const SEEDS_MANY: u64 = 150;

/// Under what a defect is looked for, within how many seeds, and as what it is found.
struct Case {
    options: Options,
    seeds_max: u64,
    signs: &'static [&'static str],
}

fn case(bug: PlantedBug) -> Case {
    use FaultKind::*;
    let (kinds, signs) = match bug {
        SkippedSync | AckBeforeSync => (&[PowerCut, ClusterPowerCut][..], LOST),
        VoteBeforeSync => (&[PowerCut, ClusterPowerCut][..], TURNCOAT),
        WipedReplica => (&[PowerCut][..], WIPED),
        AnswerTwice => (&[][..], &["is answered or was never asked"][..]),
        LostAnswer => (&[][..], STUCK),
        RetriedWrite => (&[][..], STALE),
        ForgottenWrite => (&[][..], TORN),
        StaleRead => (&[Isolation, Deafness][..], STALE),
        UnaskedFollower => (&[Isolation, Deafness, SlowLink][..], STALE),
        AskedOnce => (&[SlowStore][..], STALE),
        ExpiredVisible => (&[][..], STALE),
        CachedClock => (&[Pause][..], STALE),
        LeaseFromAnswer => (&[Isolation, Pause][..], STALE),
        DeafRegion => (&[][..], &["does not serve every Region"][..]),
        LostWakeUp => (&[][..], STUCK),
        UnsyncedCut => (&[PowerCut, ClusterPowerCut][..], &["does not start"][..]),
        MixedSnapshot => (&[Isolation, Loss][..], TORN),
        UncheckedSnapshot => (&[Isolation, Loss][..], DAMAGED),
        UnsyncedShape => (&[PowerCut, RollingPowerCut, Loss][..], SHAPELESS),
        HalfSplit => (&[CutInWrite][..], HALF),
        ConfChangeTwice => (&[][..], OTHER_SHAPE),
        MergeWithoutCatchUp => (&[SlowStore][..], UNFINISHED),
        // The latter, if it was taken in by its neighbour.
        NoTombstone => (&[][..], &["an apply state is gone", "Regions overlap"][..]),
        NoFarewell => (&[Isolation, OneWayCut][..], UNTOLD),
        DamagedData => (&[][..], COMPARED),
        TimestampWindow => (&[PlacementOutage, ClockJump, Pause][..], CLOCK),
        UnconfirmedTimestamp => (&[PlacementOutage, Pause][..], CLOCK),
        IdWindow => (&[PlacementOutage][..], IDS),
    };
    let mut options = Options {
        planted_bug: Some(bug),
        faults: FaultOptions {
            kinds: kinds.to_vec(),
            is_swarm: false,
            gap_us_max: 400_000,
            ..FaultOptions::default()
        },
        fault_phase_us: 2_000_000,
        ..Options::default()
    };
    if matches!(
        bug,
        CachedClock | LeaseFromAnswer | UnaskedFollower | AskedOnce
    ) {
        options.readers = 8;
    }
    if bug == HalfSplit {
        (options.faults.gap_us_max, options.faults.outage_us_max) = (100_000, 50_000);
    }
    if matches!(bug, HalfSplit | MergeWithoutCatchUp) {
        options.actions = vec![ActionKind::Split, ActionKind::Merge];
    }
    if bug == UnconfirmedTimestamp {
        options.askers = 10;
    }
    if matches!(bug, LeaseFromAnswer | UnconfirmedTimestamp) {
        (options.faults.gap_us_max, options.faults.outage_us_max) = (800_000, 600_000);
        options.fault_phase_us = 3_000_000;
    }
    Case {
        options,
        seeds_max: if is_rare(bug) { SEEDS_MANY } else { SEEDS },
        signs,
    }
}

/// Whether it shows at one leader of many, where somebody asks it at the right moment.
fn is_rare(bug: PlantedBug) -> bool {
    matches!(
        bug,
        AskedOnce
            | CachedClock
            | LeaseFromAnswer
            | UnconfirmedTimestamp
            | UnsyncedShape
            | UncheckedSnapshot
            | HalfSplit
    )
}

/// The last one: what was removed goes on asking.
const UNTOLD: &[&str] = &[
    "still has",
    "has None where its newest shape is",
    "do not sleep",
];
const STALE: &[&str] = &["not linearizable"];
const TORN: &[&str] = &[
    "differ at applied index",
    "not linearizable",
    "half of a batch",
];
/// The last two: the source is still there, and waits for its own end.
const UNFINISHED: &[&str] = &[
    "differ at applied index",
    "not linearizable",
    "do not sleep",
    "Regions overlap",
];
const LOST: &[&str] = &[
    "does not start",
    "not linearizable",
    "differ at applied index",
    "voted for",
    "after it had promised term",
    "panicked",
    "half of a batch",
];
const TURNCOAT: &[&str] = &["voted for", "after it had promised term"];
const WIPED: &[&str] = &[
    "the log here ends at",
    "voted for",
    "after it had promised term",
    "not linearizable",
];
const STUCK: &[&str] = &[
    "has not answered",
    "have applied differently far",
    "no rest",
    "does not serve every Region",
];
const OTHER_SHAPE: &[&str] = &[
    "still has",
    "where its newest shape is",
    "differ at applied index",
    "does not serve every Region",
];
const DAMAGED: &[&str] = &["differ at applied index", "not a value of ours", "saw"];
/// Those who differ are quarantined before the asker hears of it.
const COMPARED: &[&str] = &["replicas differ: Report", "has quarantined replicas"];
const SHAPELESS: &[&str] = &[
    "can't be created",
    "does not start",
    "does not serve every Region",
];
const CLOCK: &[&str] = &[
    "was given out",
    "are given out twice",
    "older than what this node",
];
const IDS: &[&str] = &["is given out twice", "older than what this node"];
const HALF: &[&str] = &["Regions overlap", "does not start", "panicked"];

/// How many seeds it takes from this one on, and what is found; none, if it takes more than may be.
fn find(case: &Case, start: u64) -> Option<(u64, String)> {
    (0..case.seeds_max).find_map(|tried| {
        let report = run(start.wrapping_add(tried), &case.options);
        Some((tried + 1, report.violation?.message))
    })
}

fn assert_found(bug: PlantedBug) {
    let case = case(bug);
    let seeds_max = case.seeds_max;
    let (_, message) =
        find(&case, 0).unwrap_or_else(|| panic!("{bug:?} was not found within {seeds_max} seeds"));
    assert!(
        case.signs.iter().any(|sign| message.contains(sign)),
        "{bug:?} was found as something else: {message}"
    );
}

macro_rules! found {
    ($($test:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $test() {
                assert_found($bug);
            }
        )*

        const TESTED: &[PlantedBug] = &[$($bug),*];
    };
}

found! {
    a_log_that_is_never_synced_is_found: SkippedSync,
    a_vote_that_leaves_before_its_sync_is_found: VoteBeforeSync,
    entries_that_are_acknowledged_before_their_sync_are_found: AckBeforeSync,
    a_replica_that_comes_back_empty_is_found: WipedReplica,
    an_answer_that_comes_twice_is_found: AnswerTwice,
    an_answer_that_never_comes_is_found: LostAnswer,
    a_write_that_is_done_twice_is_found: RetriedWrite,
    a_write_that_one_replica_forgets_is_found: ForgottenWrite,
    a_stale_read_is_found: StaleRead,
    a_follower_that_does_not_ask_its_leader_is_found: UnaskedFollower,
    a_replica_read_whose_leader_is_asked_once_is_found: AskedOnce,
    a_value_that_is_seen_after_its_time_is_found: ExpiredVisible,
    a_lease_that_is_compared_with_an_older_time_is_found: CachedClock,
    a_lease_that_counts_from_the_answer_is_found: LeaseFromAnswer,
    a_region_that_stays_without_a_leader_is_found: DeafRegion,
    a_lost_wake_up_is_found: LostWakeUp,
    a_log_that_is_cut_before_the_data_is_durable_is_found: UnsyncedCut,
    a_snapshot_that_is_installed_over_what_was_there_is_found: MixedSnapshot,
    a_snapshot_without_a_checksum_is_found: UncheckedSnapshot,
    a_split_that_others_act_on_before_it_is_durable_is_found: UnsyncedShape,
    a_split_that_is_applied_half_is_found: HalfSplit,
    a_change_of_membership_that_counts_twice_is_found: ConfChangeTwice,
    a_merge_that_does_not_wait_for_the_source_is_found: MergeWithoutCatchUp,
    a_removed_replica_without_a_tombstone_is_found: NoTombstone,
    a_replica_that_is_never_told_of_its_removal_is_found: NoFarewell,
    data_that_is_damaged_on_a_disk_is_found_by_comparing_replicas: DamagedData,
    a_bound_of_timestamps_that_is_not_persisted_is_found: TimestampWindow,
    a_timestamp_of_a_leader_that_was_deposed_is_found: UnconfirmedTimestamp,
    a_bound_of_ids_that_is_not_persisted_is_found: IdWindow,
}

#[test]
fn how_many_seeds_each_takes_is_told_for_several_starts_and_none_is_left_out() {
    assert_eq!(TESTED, PlantedBug::ALL);
    let starts = std::env::var("SIM_STARTS").map_or(0, |text| text.parse().expect("a number"));
    if starts == 0 {
        return;
    }
    for bug in PlantedBug::ALL {
        let mut case = case(*bug);
        case.seeds_max = 1_000;
        let found: Vec<_> = (0..starts)
            .filter_map(|_| find(&case, fresh_seed()))
            .collect();
        let mut seeds: Vec<u64> = found.iter().map(|(seeds, _)| *seeds).collect();
        seeds.sort_unstable();
        let median = seeds.get(starts / 2);
        let message = found.first().map(|(_, message)| message);
        println!("| {} | {median:?} | {seeds:?} | {message:?}", bug.name());
    }
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
