//! Defects that the simulation has found, each under the faults that show it soonest.

use sim::{FaultKind, FaultOptions, Options, run};

fn assert_no_violation(kinds: &[FaultKind], seeds: std::ops::Range<u64>) {
    let options = Options {
        faults: FaultOptions {
            kinds: kinds.to_vec(),
            is_swarm: false,
            gap_us_max: 300_000,
            ..FaultOptions::default()
        },
        fault_phase_us: 2_000_000,
        ..Options::default()
    };
    for seed in seeds {
        let report = run(seed, &options);
        assert!(report.violation.is_none(), "{report}");
    }
}

/// raft-rs's `batch_append` adds entries to an empty append that waits to be sent, even if they
/// begin before its index: the receiver would acknowledge entries that it does not have.
#[test]
fn entries_of_an_append_begin_right_behind_its_index() {
    assert_no_violation(&[FaultKind::Loss, FaultKind::Reorder], 0..8);
}

/// raft-rs's followers forward proposals to their leader. A leader that was deposed in the round in
/// which it took a proposal must refuse it instead: it would wait for an entry that is not its own.
#[test]
fn a_leader_deposed_within_a_round_refuses_the_proposals_of_that_round() {
    assert_no_violation(&[FaultKind::Pause], 0..16);
}
