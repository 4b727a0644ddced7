//! The suite that every engine passes: behaviour that callers rely on, checked through the traits.
//!
//! **Why macros.** [`kv_conformance!`](crate::kv_conformance),
//! [`raft_log_conformance!`](crate::raft_log_conformance) and
//! [`raft_log_fault_conformance!`](crate::raft_log_fault_conformance) make a test of each function, so
//! that a failure names the engine and the behaviour.
//!
//! **Not here.** What an engine's own files look like: damage that depends on it is tested beside each
//! engine. [`rot`] damages whatever files there are.

pub mod faults;
pub mod kv;
pub mod log;
mod log_model;
mod log_purge;
pub mod rot;

/// A place where one key-value engine lives; dropped, it is gone.
pub trait KvPlace {
    /// The engine under test.
    type Engine: crate::KvEngine;

    /// A place that no engine has used before.
    fn fresh() -> Self;

    /// Opens the engine there, with what earlier ones wrote. Every earlier handle must be gone.
    fn open(&self) -> Self::Engine;
}

/// A place where one Raft log lives; dropped, it is gone.
pub trait LogPlace {
    /// The engine under test.
    type Log: crate::RaftLog;

    /// A place that no engine has used before.
    fn fresh() -> Self;

    /// Opens the log there, with what earlier ones wrote. Every earlier handle must be gone.
    fn open(&self) -> Self::Log;
}

/// Makes a test of every function of [`kv`] for a [`KvPlace`].
#[macro_export]
macro_rules! kv_conformance {
    ($place:ty) => {
        $crate::conformance_tests!(kv, $place:
            a_key_holds_the_value_put_last,
            families_are_separate,
            a_batch_is_applied_in_order_over_all_families,
            a_written_batch_is_empty_and_can_be_used_again,
            a_cleared_batch_writes_nothing,
            delete_range_takes_its_start_and_leaves_its_end,
            delete_range_hides_earlier_puts_of_its_batch_only,
            a_range_that_is_none_is_refused_and_nothing_is_written,
            an_iterator_walks_its_bounds_both_ways,
            seeks_stop_at_the_bounds,
            an_iterator_that_stands_nowhere_stays_there,
            an_inverted_or_empty_range_iterates_nothing,
            binary_keys_are_ordered_by_bytes,
            a_snapshot_does_not_see_later_writes,
            a_snapshot_outlives_the_engine_handle,
            synced_writes_are_there_after_reopening,
            sync_keeps_what_was_buffered,
            the_approximate_size_grows_with_the_data,
            a_compaction_changes_no_reading_and_leaves_no_removals,
            a_random_history_reads_like_a_sorted_map,
        );
    };
}

/// Makes a test of every function of [`log`] for a [`LogPlace`].
#[macro_export]
macro_rules! raft_log_conformance {
    ($place:ty) => {
        $crate::conformance_tests!(log, $place:
            an_unknown_region_has_nothing,
            entries_come_back_as_they_were_appended,
            an_append_replaces_the_suffix,
            fetch_stops_at_the_byte_limit_but_gives_one_entry,
            fetch_outside_of_the_log_names_the_bound,
            compaction_moves_the_first_index,
            a_log_compacted_beyond_its_end_starts_anywhere,
            an_append_that_leaves_a_hole_is_refused_whole,
            an_append_before_the_first_entry_is_refused,
            hard_state_and_apply_state_hold_what_was_put_last,
            a_removed_region_is_gone_and_can_start_afresh,
            one_write_changes_many_regions,
            a_batch_is_applied_in_order,
            large_entries_come_back_whole,
            everything_synced_is_there_after_reopening,
            sync_keeps_what_was_buffered,
            purge_keeps_what_is_in_the_log,
            a_compaction_outlives_purges_and_reopenings,
            reads_run_beside_compactions_and_purges,
            threads_write_different_regions_at_once,
            a_random_history_reads_like_the_model,
        );
    };
}

/// Makes a test of every function of [`faults`] for a [`faults::FaultyLogPlace`].
#[macro_export]
macro_rules! raft_log_fault_conformance {
    ($place:ty) => {
        $crate::conformance_tests!(faults, $place:
            a_full_disk_changes_nothing_or_stops_the_log,
            a_sync_on_a_full_disk_succeeds_or_stops_the_store,
            after_a_failed_sync_nothing_is_written_and_reads_go_on,
        );
    };
}

/// Not for direct use: what the macros above share.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($suite:ident, $place:ty: $($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::$suite::$name::<$place>();
            }
        )*
    };
}
