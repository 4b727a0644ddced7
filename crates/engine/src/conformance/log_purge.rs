//! What every [`RaftLog`] does while space is given back.
//!
//! **Not here.** How much space: that is an engine's own matter.

use super::LogPlace;
use super::log::{A, APPLY, B, HARD, all, append, bounds, compact, entries, entry, last};
use crate::{Durability, Error, RaftLog, RaftLogBatch};
use types::RegionId;

/// Whatever `purge` does to files, the log is the same, now and after reopening.
pub fn purge_keeps_what_is_in_the_log<P: LogPlace>() {
    let place = P::fresh();
    let log = place.open();
    for round in 0..20_u64 {
        for region in [A, B] {
            append(&log, region, &entries(round * 10 + 1, round * 10 + 10, 1));
        }
        compact(&log, A, round * 10);
        log.purge().expect("the purge succeeds");
    }
    drop(log);
    let log = place.open();
    assert_eq!(all(&log, A), entries(190, 200, 1));
    assert_eq!(all(&log, B), entries(1, 200, 1));
}

/// Dropped entries do not come back, whatever `purge` does to files: neither some of a log's nor, where it
/// was dropped to beyond its end, all of them.
pub fn a_compaction_outlives_purges_and_reopenings<P: LogPlace>() {
    let place = P::fresh();
    let mut log = place.open();
    append(&log, A, &entries(1, 10, 1));
    append(&log, B, &entries(1, 10, 1));
    push_through(&log);
    let mut batch = log.batch();
    batch.put_hard_state(A, &HARD);
    batch.put_apply_state(A, &APPLY);
    batch.compact(A, 1000);
    batch.compact(B, 5);
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    drop(batch);
    for _ in 0..2 {
        push_through(&log);
        drop(log);
        log = place.open();
        assert_eq!(bounds(&log, A), None);
        assert_eq!(all(&log, B), entries(5, 10, 1));
        assert_eq!(log.hard_state(A).expect("reads"), Some(HARD));
        assert_eq!(log.apply_state(A).expect("reads"), Some(APPLY));
    }
    // An empty log starts anywhere, before its old end too.
    append(&log, A, &entries(3, 4, 2));
    push_through(&log);
    drop(log);
    assert_eq!(all(&place.open(), A), entries(3, 4, 2));
}

/// Writes and purges until everything that was written before stands somewhere else. What it writes is
/// dropped before it purges, so that an engine has no reason to clean up where it put the rest.
fn push_through(log: &impl RaftLog) {
    let region = RegionId(7);
    for index in 1..=100 {
        append(log, region, &entries(index, index, 1));
    }
    let mut batch = log.batch();
    batch.remove(region);
    log.write(&mut batch, Durability::Synced)
        .expect("the removal succeeds");
    for _ in 0..3 {
        log.purge().expect("the purge succeeds");
    }
}

/// A reader sees the log before a compaction or after it, and nothing worse.
pub fn reads_run_beside_compactions_and_purges<P: LogPlace>() {
    const LAST: u64 = 300;
    let place = P::fresh();
    let log = place.open();
    append(&log, A, &entries(1, 20, 1));
    let read = |log: &P::Log| {
        let (first, last) = bounds(log, A).expect("the log is never empty");
        match log.fetch(A, first, last + 1, u64::MAX) {
            Ok(found) => assert_eq!(found, entries(first, last, 1)),
            Err(Error::Compacted { .. }) => {}
            Err(error) => panic!("a read beside a compaction failed: {error:?}"),
        }
        for index in [first, last] {
            let found = log.entry(A, index).expect("reads");
            assert!(found.is_none_or(|found| found == entry(index, 1)));
        }
        last < LAST
    };
    std::thread::scope(|scope| {
        let reader = log.clone();
        scope.spawn(move || while read(&reader) {});
        let purger = log.clone();
        scope.spawn(move || {
            while last(&purger, A) < LAST {
                purger.purge().expect("the purge succeeds");
            }
        });
        for index in 21..=LAST {
            append(&log, A, &entries(index, index, 1));
            compact(&log, A, index - index % 20);
        }
    });
}
