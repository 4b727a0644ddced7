//! Logs that are opened for reading only.

use engine::{Durability, Error, RaftLog, RaftLogBatch};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use types::{ApplyState, HardState, LogEntry, PeerId, RegionId};

const REGION: RegionId = RegionId(7);

fn options() -> RaftLogOptions {
    RaftLogOptions {
        file_bytes: 4 << 10,
        purge_threshold_bytes: 16 << 10,
        ..RaftLogOptions::default()
    }
}

fn entry(index: u64) -> LogEntry {
    LogEntry {
        index,
        term: 3,
        data: vec![index as u8; 300].into(),
        ..LogEntry::default()
    }
}

/// A log of several files that was compacted, and whose last file has a torn end.
fn written(directory: &Path) {
    let log = RaftLogEngine::open(directory, &options()).expect("it opens");
    let mut batch = log.batch();
    batch.put_hard_state(
        REGION,
        &HardState {
            term: 3,
            vote: PeerId(1),
            commit: 40,
        },
    );
    batch.put_apply_state(REGION, &ApplyState::default());
    for index in 1..=60 {
        batch.append(REGION, &[entry(index)]);
        log.write(&mut batch, Durability::Synced)
            .expect("it is written");
    }
    batch.compact(REGION, 21);
    log.write(&mut batch, Durability::Synced)
        .expect("it is written");
    drop(log);
    let newest = fs::read_dir(directory).expect("it is there");
    let newest = newest.map(|file| file.expect("it is listed").path());
    let newest = newest.filter(|path| path.extension().is_some_and(|ending| ending == "raftlog"));
    let newest = newest.max().expect("there is a file");
    let mut file = OpenOptions::new()
        .append(true)
        .open(newest)
        .expect("it opens");
    file.write_all(&[7; 100]).expect("it is written");
}

/// Everything in a directory.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).expect("it is there");
    let paths = files.map(|file| file.expect("it is listed").path());
    paths
        .map(|path| {
            (
                path.display().to_string(),
                fs::read(&path).expect("it is read"),
            )
        })
        .collect()
}

fn entries(log: &RaftLogEngine) -> Vec<LogEntry> {
    let (first, last) = log
        .bounds(REGION)
        .expect("it reads")
        .expect("it has entries");
    log.fetch(REGION, first, last + 1, u64::MAX)
        .expect("it reads")
}

#[test]
fn a_log_is_read_as_a_start_would_find_it_and_no_file_is_touched() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    written(directory.path());
    let before = content(directory.path());
    let read = RaftLogEngine::open_read_only(directory.path(), &options(), &|_, _| ());
    let read = read.expect("it opens");
    assert_eq!(read.bounds(REGION).expect("it reads"), Some((21, 60)));
    let (found, regions) = (entries(&read), read.regions().expect("it reads"));
    let states = (read.hard_state(REGION), read.apply_state(REGION));
    let states = (states.0.expect("it reads"), states.1.expect("it reads"));
    drop(read);
    assert_eq!(content(directory.path()), before, "nothing is changed");
    let started = RaftLogEngine::open(directory.path(), &options()).expect("it opens");
    assert_eq!(entries(&started), found);
    assert_eq!(started.regions().expect("it reads"), regions);
    assert_eq!(started.hard_state(REGION).expect("it reads"), states.0);
    assert_eq!(started.apply_state(REGION).expect("it reads"), states.1);
    assert_ne!(
        content(directory.path()),
        before,
        "a start has cut the torn end"
    );
}

#[test]
fn writes_to_it_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    written(directory.path());
    let before = content(directory.path());
    let read = RaftLogEngine::open_read_only(directory.path(), &options(), &|_, _| ());
    let read = read.expect("it opens");
    let mut batch = read.batch();
    batch.append(REGION, &[entry(61)]);
    for durability in [Durability::Buffered, Durability::Synced] {
        let refused = read
            .write(&mut batch, durability)
            .expect_err("it is read only");
        assert!(matches!(refused, Error::Stopped { .. }), "{refused:?}");
    }
    assert!(read.purge().is_err());
    assert_eq!(read.bounds(REGION).expect("it reads"), Some((21, 60)));
    drop(read);
    assert_eq!(content(directory.path()), before);
}

#[test]
fn damage_is_refused_and_an_empty_directory_holds_no_log() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = || RaftLogEngine::open_read_only(directory.path(), &options(), &|_, _| ());
    let empty = open().expect("it opens");
    assert!(empty.regions().expect("it reads").is_empty());
    drop(empty);
    assert!(content(directory.path()).is_empty());
    written(directory.path());
    let first = directory.path().join("0000000000000001.raftlog");
    let mut bytes = fs::read(&first).expect("it is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&first, bytes).expect("it is written");
    let Err(refused) = open() else {
        panic!("it is damaged");
    };
    assert!(matches!(refused, Error::Corruption { .. }), "{refused:?}");
}
