//! What every [`RaftLog`] does. Each function panics where an engine does something else.
//!
//! **Not here.** Timing and performance.

use super::LogPlace;
use crate::{Durability, Error, RaftLog, RaftLogBatch, entry_bytes};
use bytes::Bytes;
use types::{ApplyState, EntryKind, HardState, LogEntry, PeerId, RegionId};

pub use super::log_model::a_random_history_reads_like_the_model;
pub use super::log_purge::{
    a_compaction_outlives_purges_and_reopenings, purge_keeps_what_is_in_the_log,
    reads_run_beside_compactions_and_purges,
};

pub(super) const A: RegionId = RegionId(2);
pub(super) const B: RegionId = RegionId(300);

pub(super) fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(format!("{index}@{term}")),
    }
}

pub(super) fn entries(first: u64, last: u64, term: u64) -> Vec<LogEntry> {
    (first..=last).map(|index| entry(index, term)).collect()
}

pub(super) fn append(log: &impl RaftLog, region: RegionId, entries: &[LogEntry]) {
    let mut batch = log.batch();
    batch.append(region, entries);
    log.write(&mut batch, Durability::Buffered)
        .expect("the append succeeds");
    assert!(batch.is_empty());
}

pub(super) fn compact(log: &impl RaftLog, region: RegionId, up_to: u64) {
    let mut batch = log.batch();
    batch.compact(region, up_to);
    log.write(&mut batch, Durability::Buffered)
        .expect("the compaction succeeds");
}

pub(super) fn bounds(log: &impl RaftLog, region: RegionId) -> Option<(u64, u64)> {
    log.bounds(region).expect("the read succeeds")
}

pub(super) fn last(log: &impl RaftLog, region: RegionId) -> u64 {
    bounds(log, region).expect("there are entries").1
}

pub(super) fn all(log: &impl RaftLog, region: RegionId) -> Vec<LogEntry> {
    let Some((first, last)) = bounds(log, region) else {
        return Vec::new();
    };
    log.fetch(region, first, last + 1, u64::MAX)
        .expect("the log is whole")
}

pub(super) const HARD: HardState = HardState {
    term: 7,
    vote: PeerId(12),
    commit: 90,
};
pub(super) const APPLY: ApplyState = ApplyState {
    applied_index: 80,
    applied_term: 6,
    truncated_index: 70,
    truncated_term: 5,
};

/// No entries, no states, not listed.
pub fn an_unknown_region_has_nothing<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    assert!(log.regions().expect("reads").is_empty());
    assert_eq!(bounds(&log, A), None);
    assert_eq!(log.entry(A, 1).expect("reads"), None);
    assert_eq!(log.hard_state(A).expect("reads"), None);
    assert_eq!(log.apply_state(A).expect("reads"), None);
    assert!(
        log.fetch(A, 5, 5, 100)
            .expect("an empty range is fine")
            .is_empty()
    );
    let error = log.fetch(A, 5, 6, 100).expect_err("there is nothing");
    assert!(
        matches!(
            error,
            Error::Missing {
                index: 5,
                last: 0,
                ..
            }
        ),
        "{error:?}"
    );
    compact(&log, A, 10);
    assert!(log.regions().expect("reads").is_empty());
}

/// Index, term, kind and data survive, empty data too.
pub fn entries_come_back_as_they_were_appended<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    let mut written = entries(6, 9, 3);
    written[0].data = Bytes::new();
    written[1].kind = EntryKind::ConfChange;
    written[2].kind = EntryKind::ConfChangeV2;
    written[3].data = Bytes::from(vec![0, 255, 0]);
    written[3].term = u64::MAX;
    append(&log, A, &written);
    append(&log, A, &[]);
    assert_eq!(bounds(&log, A), Some((6, 9)));
    assert_eq!(all(&log, A), written);
    assert_eq!(log.entry(A, 7).expect("reads").as_ref(), Some(&written[1]));
    assert_eq!(log.entry(A, 5).expect("reads"), None);
    assert_eq!(log.entry(A, 10).expect("reads"), None);
    assert_eq!(log.fetch(A, 7, 9, u64::MAX).expect("reads"), written[1..3]);
    assert_eq!(log.regions().expect("reads"), [A]);
}

/// A new leader's entries replace the old ones, and a shorter log ends earlier.
pub fn an_append_replaces_the_suffix<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 10, 1));
    append(&log, A, &entries(5, 6, 2));
    assert_eq!(bounds(&log, A), Some((1, 6)));
    assert_eq!(all(&log, A), [entries(1, 4, 1), entries(5, 6, 2)].concat());
    append(&log, A, &entries(1, 2, 3));
    assert_eq!(all(&log, A), entries(1, 2, 3));
    assert_eq!(log.entry(A, 6).expect("reads"), None);
    append(&log, A, &entries(3, 3, 3));
    assert_eq!(all(&log, A), entries(1, 3, 3));
}

/// The limit counts [`entry_bytes`]; one entry always comes.
pub fn fetch_stops_at_the_byte_limit_but_gives_one_entry<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    let written: Vec<LogEntry> = (1..=40)
        .map(|index| LogEntry {
            data: Bytes::from(vec![index as u8; (index as usize * 37) % 500]),
            ..entry(index, 1)
        })
        .collect();
    append(&log, A, &written);
    for low in [1_u64, 13, 40] {
        for limit in [0, 1, 16, 53, 300, 2_000, 9_000, u64::MAX] {
            let got = log.fetch(A, low, 41, limit).expect("reads");
            let mut bytes = 0;
            let fits = written[low as usize - 1..]
                .iter()
                .take_while(|entry| {
                    bytes += entry_bytes(entry);
                    bytes <= limit
                })
                .count();
            let wanted = &written[low as usize - 1..][..fits.max(1)];
            assert_eq!(got, wanted, "from {low} within {limit} bytes");
        }
    }
}

/// Below the log: compacted; behind it: missing; the limit doesn't excuse a range behind the end.
pub fn fetch_outside_of_the_log_names_the_bound<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(5, 8, 1));
    let error = log.fetch(A, 4, 6, 100).expect_err("4 is compacted");
    assert!(
        matches!(
            error,
            Error::Compacted {
                index: 4,
                first: 5,
                ..
            }
        ),
        "{error:?}"
    );
    for low in [5, 9] {
        let error = log.fetch(A, low, 10, 1).expect_err("9 is missing");
        assert!(
            matches!(
                error,
                Error::Missing {
                    index: 9,
                    last: 8,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    assert!(
        log.fetch(A, 8, 5, 100)
            .expect("an inverted range is empty")
            .is_empty()
    );
}

/// Entries before the point go, the point stays, earlier points do nothing.
pub fn compaction_moves_the_first_index<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 10, 1));
    append(&log, B, &entries(1, 10, 1));
    compact(&log, A, 4);
    assert_eq!(bounds(&log, A), Some((4, 10)));
    compact(&log, A, 2);
    assert_eq!(bounds(&log, A), Some((4, 10)));
    assert_eq!(all(&log, A), entries(4, 10, 1));
    assert_eq!(log.entry(A, 3).expect("reads"), None);
    append(&log, A, &entries(4, 5, 2));
    assert_eq!(all(&log, A), entries(4, 5, 2));
    assert_eq!(bounds(&log, B), Some((1, 10)));
}

/// After a snapshot the log is empty and starts behind it.
pub fn a_log_compacted_beyond_its_end_starts_anywhere<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 10, 1));
    let mut batch = log.batch();
    batch.put_hard_state(A, &HARD);
    batch.compact(A, 1000);
    log.write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(bounds(&log, A), None);
    assert_eq!(log.entry(A, 10).expect("reads"), None);
    assert_eq!(log.regions().expect("reads"), [A]);
    append(&log, A, &entries(1000, 1003, 4));
    assert_eq!(all(&log, A), entries(1000, 1003, 4));
    drop(log);
    assert_eq!(all(&place.open(), A), entries(1000, 1003, 4));
}

/// A hole stops the whole batch, also between Regions and within the entries.
pub fn an_append_that_leaves_a_hole_is_refused_whole<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 3, 1));
    let mut batch = log.batch();
    batch.put_hard_state(B, &HARD);
    batch.append(A, &entries(5, 6, 1));
    let error = log
        .write(&mut batch, Durability::Synced)
        .expect_err("4 is missing");
    assert!(
        matches!(
            error,
            Error::Hole {
                index: 5,
                expected: 4,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!batch.is_empty());
    batch.clear();
    batch.append(B, &[entry(1, 1), entry(3, 1)]);
    let error = log
        .write(&mut batch, Durability::Synced)
        .expect_err("2 is missing");
    assert!(
        matches!(
            error,
            Error::Hole {
                index: 3,
                expected: 2,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(log.hard_state(B).expect("reads"), None);
    assert_eq!(bounds(&log, B), None);
    assert_eq!(all(&log, A), entries(1, 3, 1));
}

/// Compacted entries were committed; nobody may rewrite them.
pub fn an_append_before_the_first_entry_is_refused<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(5, 8, 1));
    let mut batch = log.batch();
    batch.append(A, &entries(4, 9, 2));
    let error = log
        .write(&mut batch, Durability::Synced)
        .expect_err("4 is compacted");
    assert!(
        matches!(
            error,
            Error::Compacted {
                index: 4,
                first: 5,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(all(&log, A), entries(5, 8, 1));
}

/// States are replaced whole, and are separate from each other and from the entries.
pub fn hard_state_and_apply_state_hold_what_was_put_last<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    let mut batch = log.batch();
    batch.put_hard_state(A, &HardState::default());
    batch.put_hard_state(A, &HARD);
    batch.put_apply_state(B, &APPLY);
    log.write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(log.hard_state(A).expect("reads"), Some(HARD));
    assert_eq!(log.apply_state(A).expect("reads"), None);
    assert_eq!(log.apply_state(B).expect("reads"), Some(APPLY));
    assert_eq!(log.hard_state(B).expect("reads"), None);
    assert_eq!(log.regions().expect("reads"), [A, B]);
    let extreme = HardState {
        term: u64::MAX,
        vote: PeerId(u64::MAX),
        commit: u64::MAX,
    };
    batch.put_hard_state(A, &extreme);
    batch.put_apply_state(B, &ApplyState::default());
    log.write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(log.hard_state(A).expect("reads"), Some(extreme));
    assert_eq!(
        log.apply_state(B).expect("reads"),
        Some(ApplyState::default())
    );
}

/// `remove` takes everything of one Region; the log may begin again at one.
pub fn a_removed_region_is_gone_and_can_start_afresh<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    for region in [A, B] {
        let mut batch = log.batch();
        batch.append(region, &entries(10, 20, 2));
        batch.put_hard_state(region, &HARD);
        batch.put_apply_state(region, &APPLY);
        log.write(&mut batch, Durability::Buffered)
            .expect("the write succeeds");
    }
    let mut batch = log.batch();
    batch.remove(A);
    batch.remove(RegionId(999));
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    assert_eq!(log.regions().expect("reads"), [B]);
    assert_eq!(bounds(&log, A), None);
    assert_eq!(log.hard_state(A).expect("reads"), None);
    assert_eq!(log.apply_state(A).expect("reads"), None);
    drop((batch, log));
    let log = place.open();
    assert_eq!(log.regions().expect("reads"), [B]);
    append(&log, A, &entries(1, 2, 1));
    assert_eq!(all(&log, A), entries(1, 2, 1));
    assert_eq!(log.hard_state(A).expect("reads"), None);
    assert_eq!(all(&log, B), entries(10, 20, 2));
}

/// One batch over a hundred Regions, neighbours in id order too.
pub fn one_write_changes_many_regions<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    let mut batch = log.batch();
    for id in 1..=100 {
        batch.append(RegionId(id), &entries(id, id + 2, id));
        batch.put_hard_state(RegionId(id), &HardState { term: id, ..HARD });
    }
    assert!(batch.size_bytes() > 300);
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    assert_eq!(
        log.regions().expect("reads"),
        (1..=100).map(RegionId).collect::<Vec<_>>()
    );
    for id in 1..=100 {
        assert_eq!(all(&log, RegionId(id)), entries(id, id + 2, id));
        assert_eq!(
            log.hard_state(RegionId(id))
                .expect("reads")
                .map(|state| state.term),
            Some(id)
        );
    }
}

/// Append, compact, remove and append again within one batch.
pub fn a_batch_is_applied_in_order<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, B, &entries(1, 5, 1));
    let mut batch = log.batch();
    batch.append(A, &entries(1, 5, 1));
    batch.append(A, &entries(4, 8, 2));
    batch.compact(A, 3);
    batch.put_hard_state(B, &HARD);
    batch.remove(B);
    batch.append(B, &entries(50, 51, 3));
    batch.put_apply_state(B, &APPLY);
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    let check = |log: &P::Log| {
        assert_eq!(all(log, A), [entries(3, 3, 1), entries(4, 8, 2)].concat());
        assert_eq!(all(log, B), entries(50, 51, 3));
        assert_eq!(log.hard_state(B).expect("reads"), None);
        assert_eq!(log.apply_state(B).expect("reads"), Some(APPLY));
    };
    check(&log);
    drop((batch, log));
    check(&place.open());
}

/// Entries of a megabyte, compressible or not, before and after reopening.
pub fn large_entries_come_back_whole<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    let mixed: Vec<u8> = (0..1_u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut written = entries(1, 3, 1);
    written[0].data = Bytes::from(mixed);
    written[1].data = Bytes::from(vec![42; 1 << 20]);
    append(&log, A, &written);
    assert_eq!(all(&log, A), written);
    log.sync().expect("the sync succeeds");
    drop(log);
    assert_eq!(all(&place.open(), A), written);
}

/// Entries, states, compaction and overwrites.
pub fn everything_synced_is_there_after_reopening<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 20, 1));
    append(&log, A, &entries(15, 18, 2));
    compact(&log, A, 6);
    let mut batch = log.batch();
    batch.put_hard_state(A, &HARD);
    batch.put_apply_state(A, &APPLY);
    batch.append(B, &entries(7, 7, 7));
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    drop((batch, log));
    let log = place.open();
    assert_eq!(log.regions().expect("reads"), [A, B]);
    assert_eq!(
        all(&log, A),
        [entries(6, 14, 1), entries(15, 18, 2)].concat()
    );
    assert_eq!(log.hard_state(A).expect("reads"), Some(HARD));
    assert_eq!(log.apply_state(A).expect("reads"), Some(APPLY));
    assert_eq!(all(&log, B), entries(7, 7, 7));
    append(&log, A, &entries(19, 19, 3));
    assert_eq!(bounds(&log, A), Some((6, 19)));
}

/// `sync` does for buffered writes what a synced write does.
pub fn sync_keeps_what_was_buffered<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    log.sync().expect("a sync of nothing succeeds");
    append(&log, A, &entries(1, 5, 1));
    log.sync().expect("the sync succeeds");
    let mut empty = log.batch();
    log.write(&mut empty, Durability::Synced)
        .expect("an empty synced write succeeds");
    assert_eq!(log.regions().expect("reads"), [A]);
    drop((empty, log));
    let log = place.open();
    assert_eq!(all(&log, A), entries(1, 5, 1));
    assert_eq!(log.regions().expect("reads"), [A]);
}

/// Batches of different Regions may be written at the same time.
pub fn threads_write_different_regions_at_once<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    std::thread::scope(|scope| {
        for id in 1..=4 {
            let log = log.clone();
            scope.spawn(move || {
                for index in 1..=50 {
                    let mut batch = log.batch();
                    batch.append(RegionId(id), &entries(index, index, id));
                    let durability = if index % 10 == 0 {
                        Durability::Synced
                    } else {
                        Durability::Buffered
                    };
                    log.write(&mut batch, durability)
                        .expect("the write succeeds");
                }
            });
        }
    });
    log.sync().expect("the sync succeeds");
    drop(log);
    let log = place.open();
    for id in 1..=4 {
        assert_eq!(all(&log, RegionId(id)), entries(1, 50, id));
    }
}
