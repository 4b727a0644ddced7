//! What every [`RaftLog`] does on a disk that is full or fails, where a test can bring that about.
//!
//! **Not here.** Damage to files: each engine detects it in its own way.

use super::LogPlace;
use super::log::{append, entries, last};
use crate::{Action, Durability, Error, RaftLog, RaftLogBatch};
use types::RegionId;

const REGION: RegionId = RegionId(2);

/// A [`LogPlace`] whose disk can fail.
pub trait FaultyLogPlace: LogPlace {
    /// From now on writes find the disk under `log` full, or have room again.
    fn set_full(&self, log: &Self::Log, full: bool);

    /// From now on syncs of `log` fail, or work again.
    fn fail_syncs(&self, log: &Self::Log, fail: bool);
}

/// `DiskFull` leaves the log and the batch, and the same write succeeds when there is room; anything
/// else stops the log.
pub fn a_full_disk_changes_nothing_or_stops_the_log<P: FaultyLogPlace>() {
    for durability in [Durability::Buffered, Durability::Synced] {
        let place = P::fresh();
        let log = place.open();
        append(&log, REGION, &entries(1, 3, 1));
        let mut batch = log.batch();
        batch.append(REGION, &entries(4, 5, 1));
        place.set_full(&log, true);
        let error = log.write(&mut batch, durability).expect_err("no room");
        assert_eq!(last(&log, REGION), 3, "reads go on");
        place.set_full(&log, false);
        if matches!(error, Error::DiskFull { .. }) {
            assert!(!batch.is_empty());
            log.write(&mut batch, durability).expect("there is room");
            assert_eq!(last(&log, REGION), 5);
        } else {
            assert_eq!(error.action(), Action::Crash, "{error:?}");
            let error = log.write(&mut batch, durability).expect_err("stopped");
            assert_eq!(error.action(), Action::Crash, "{error:?}");
        }
        drop((batch, log));
        assert!(last(&place.open(), REGION) >= 3);
    }
}

/// A sync either needs no room, or stops the store: it is nothing to try again.
pub fn a_sync_on_a_full_disk_succeeds_or_stops_the_store<P: FaultyLogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, REGION, &entries(1, 3, 1));
    place.set_full(&log, true);
    if let Err(error) = log.sync() {
        assert_eq!(error.action(), Action::Crash, "{error:?}");
    }
}

/// Every write, sync and purge answers the end of the log; reads show what was written.
pub fn after_a_failed_sync_nothing_is_written_and_reads_go_on<P: FaultyLogPlace>() {
    let place = P::fresh();
    let log = place.open();
    append(&log, REGION, &entries(1, 3, 1));
    place.fail_syncs(&log, true);
    let error = log.sync().expect_err("the sync fails");
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
    place.fail_syncs(&log, false);
    let mut batch = log.batch();
    batch.append(REGION, &entries(4, 4, 1));
    for error in [
        log.write(&mut batch, Durability::Buffered)
            .expect_err("stopped"),
        log.write(&mut batch, Durability::Synced)
            .expect_err("stopped"),
        log.sync().expect_err("stopped"),
        log.purge().expect_err("stopped"),
    ] {
        assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
        assert_eq!(error.action(), Action::Crash);
    }
    assert_eq!(last(&log, REGION), 3);
    assert!(log.entry(REGION, 3).expect("reads go on").is_some());
    drop((batch, log));
    // The process died, not the machine.
    assert_eq!(last(&place.open(), REGION), 3);
}
