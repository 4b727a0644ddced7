//! Tests of [`RaftLogEngine`] on a disk that fails or is full.
//!
//! **Why `/dev/full`.** The list of files is written beside the log's own file system: where its
//! temporary file is a link to that device, storing it finds a full disk.

use crate::{RaftLogEngine, RaftLogOptions};
use bytes::Bytes;
use engine::conformance::LogPlace;
use engine::conformance::faults::FaultyLogPlace;
use engine::{Action, Durability, Error, RaftLog, RaftLogBatch};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use types::{HardState, LogEntry, RegionId};

const REGION: RegionId = RegionId(2);

fn options() -> RaftLogOptions {
    RaftLogOptions {
        file_bytes: 4096,
        purge_threshold_bytes: 16 << 10,
        ..RaftLogOptions::default()
    }
}

fn open(directory: &TempDir) -> RaftLogEngine {
    RaftLogEngine::open(directory.path(), &options()).expect("the log opens")
}

fn fresh() -> (TempDir, RaftLogEngine) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = open(&directory);
    (directory, log)
}

fn append(log: &RaftLogEngine, index: u64, durability: Durability) -> engine::Result<()> {
    let mut batch = log.batch();
    let entry = LogEntry {
        index,
        term: 1,
        data: Bytes::from(vec![index as u8; 100]),
        ..LogEntry::default()
    };
    batch.append(REGION, &[entry]);
    batch.put_hard_state(
        REGION,
        &HardState {
            term: index,
            ..HardState::default()
        },
    );
    log.write(&mut batch, durability)
}

fn list_is_full(directory: &Path, full: bool) {
    let temporary = directory.join("FILES.tmp");
    if full {
        symlink("/dev/full", temporary).expect("the directory is writable");
    } else {
        fs::remove_file(temporary).expect("the link was there");
    }
}

fn log_files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("the directory is there");
    let files = files.map(|file| file.expect("the directory is readable").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|ending| ending == "raftlog"))
        .collect();
    files.sort();
    files
}

fn last(log: &RaftLogEngine) -> u64 {
    let bounds = log.bounds(REGION).expect("reads");
    bounds.expect("there are entries").1
}

struct Place(TempDir);

impl LogPlace for Place {
    type Log = RaftLogEngine;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RaftLogEngine {
        open(&self.0)
    }
}

impl FaultyLogPlace for Place {
    fn set_full(&self, log: &RaftLogEngine, full: bool) {
        log.inner.opened.watch.disk().set_full(full);
    }

    fn fail_syncs(&self, log: &RaftLogEngine, fail: bool) {
        log.inner.opened.watch.disk().fail_syncs(fail);
    }
}

engine::raft_log_fault_conformance!(Place);

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let (directory, log) = fresh();
    log.inner.opened.watch.disk().fail_syncs(true);
    let error = append(&log, 1, Durability::Synced).expect_err("the sync fails");
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
    assert_eq!(error.action(), Action::Crash);
    log.inner.opened.watch.disk().fail_syncs(false);
    for error in [
        append(&log, 1, Durability::Buffered).expect_err("stopped"),
        log.sync().expect_err("stopped"),
        log.purge().expect_err("stopped"),
    ] {
        assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
    }
    let reopened = RaftLogEngine::open(directory.path(), &options());
    assert!(matches!(reopened.err(), Some(Error::Locked { .. })));
    drop(log);
    assert_eq!(last(&open(&directory)), 1);
}

#[test]
fn a_sync_after_buffered_writes_reaches_the_file() {
    let (_directory, log) = fresh();
    append(&log, 1, Durability::Buffered).expect("a buffered write needs no sync");
    log.inner.opened.watch.disk().fail_syncs(true);
    let error = log.sync().expect_err("the sync fails");
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
}

#[test]
fn a_sync_of_nothing_writes_nothing() {
    let (_directory, log) = fresh();
    log.inner.opened.watch.disk().fail_syncs(true);
    log.sync().expect("there is nothing to sync");
}

#[test]
fn a_sync_on_a_full_disk_is_no_reason_to_try_again_and_does_not_succeed_later_for_nothing() {
    let (_directory, log) = fresh();
    append(&log, 1, Durability::Buffered).expect("there is room");
    log.inner.opened.watch.disk().set_full(true);
    for _ in 0..2 {
        let error = log.sync().expect_err("the marker finds no room");
        assert!(matches!(error, Error::Sync { .. }), "{error:?}");
        assert_eq!(error.action(), Action::Crash);
    }
}

#[test]
fn a_new_file_that_cannot_be_listed_stops_the_log_and_says_why() {
    let (directory, log) = fresh();
    list_is_full(directory.path(), true);
    let mut index = 0;
    let error = loop {
        index += 1;
        if let Err(error) = append(&log, index, Durability::Synced) {
            break error;
        }
    };
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
    assert_eq!(
        error.action(),
        Action::Crash,
        "the record is in the new file"
    );
    let error = append(&log, index, Durability::Buffered).expect_err("stopped");
    assert!(error.to_string().contains("could not be listed"), "{error}");
    drop(log);
    list_is_full(directory.path(), false);
    assert_eq!(log_files(directory.path()).len(), 2);
    assert!(last(&open(&directory)) >= index - 1);
}

#[test]
fn a_purge_that_cannot_change_the_list_keeps_the_files_and_gives_them_back_later() {
    let (directory, log) = fresh();
    for index in 1..=300 {
        append(&log, index, Durability::Buffered).expect("there is room");
    }
    let before = log_files(directory.path());
    let mut batch = log.batch();
    batch.compact(REGION, 290);
    log.write(&mut batch, Durability::Synced)
        .expect("there is room");
    list_is_full(directory.path(), true);
    for _ in 0..2 {
        let error = log.purge().expect_err("the list finds no room");
        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        assert_eq!(log_files(directory.path()), before);
    }
    list_is_full(directory.path(), false);
    append(&log, 301, Durability::Synced).expect("nothing is damaged");
    log.purge().expect("there is room again");
    assert!(log_files(directory.path()).len() < before.len() / 2);
    drop((batch, log));
    let log = open(&directory);
    assert_eq!(log.bounds(REGION).expect("reads"), Some((290, 301)));
}

#[test]
fn a_purge_that_fails_half_way_stops_the_log() {
    let (_directory, log) = fresh();
    for index in 1..=300 {
        append(&log, index, Durability::Buffered).expect("there is room");
    }
    let mut batch = log.batch();
    batch.remove(RegionId(3));
    log.write(&mut batch, Durability::Buffered)
        .expect("there is room");
    log.inner.opened.watch.disk().set_full(true);
    let error = log.purge().expect_err("there is no room for the removal");
    assert_eq!(error.action(), Action::Crash, "{error:?}");
    log.inner.opened.watch.disk().set_full(false);
    let error = log.purge().expect_err("it is not tried again");
    assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
}
