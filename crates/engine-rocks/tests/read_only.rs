//! Databases that are opened for reading only.

use engine::{Cf, Durability, Error, KvBatch, KvEngine, RaftLog, RaftLogBatch};
use engine_rocks::{RocksKv, RocksLog, RocksOptions};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use types::{HardState, LogEntry, RegionId};

const REGION: RegionId = RegionId(7);

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

fn put(kv: &RocksKv, key: &[u8]) {
    let mut batch = kv.batch();
    batch.put(Cf::Default, key, b"value");
    kv.write(&mut batch, Durability::Synced)
        .expect("it is written");
}

#[test]
fn data_is_read_from_tables_and_from_the_log_and_no_file_is_touched() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions::default();
    let kv = RocksKv::open(directory.path(), &options).expect("it opens");
    put(&kv, b"in a table");
    kv.flush().expect("it is flushed");
    put(&kv, b"in the log");
    drop(kv);
    let before = content(directory.path());
    let read = RocksKv::open_read_only(directory.path(), &options).expect("it opens");
    for key in [&b"in a table"[..], b"in the log"] {
        let found = read.get(Cf::Default, key).expect("it reads");
        assert_eq!(found.as_deref(), Some(&b"value"[..]));
    }
    let mut batch = read.batch();
    batch.put(Cf::Default, b"more", b"");
    for durability in [Durability::Buffered, Durability::Synced] {
        let refused = read
            .write(&mut batch, durability)
            .expect_err("it is read only");
        assert!(matches!(refused, Error::Stopped { .. }), "{refused:?}");
    }
    assert!(read.flush().is_err());
    drop((read, batch));
    assert_eq!(content(directory.path()), before);
}

#[test]
fn a_directory_without_a_database_is_refused_and_stays_empty() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions::default();
    assert!(RocksKv::open_read_only(directory.path(), &options).is_err());
    assert!(RocksLog::open_read_only(directory.path(), &options).is_err());
    assert!(content(directory.path()).is_empty());
}

#[test]
fn logs_are_read_and_no_file_is_touched() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions::default();
    let log = RocksLog::open(directory.path(), &options).expect("it opens");
    let entries: Vec<LogEntry> = (1..=20)
        .map(|index| LogEntry {
            index,
            term: 1,
            ..LogEntry::default()
        })
        .collect();
    let mut batch = log.batch();
    batch.append(REGION, &entries);
    batch.put_hard_state(REGION, &HardState::default());
    batch.compact(REGION, 5);
    log.write(&mut batch, Durability::Synced)
        .expect("it is written");
    drop(log);
    let before = content(directory.path());
    let read = RocksLog::open_read_only(directory.path(), &options).expect("it opens");
    assert_eq!(read.bounds(REGION).expect("it reads"), Some((5, 20)));
    let found = read.fetch(REGION, 5, 21, u64::MAX).expect("it reads");
    assert_eq!(found, entries[4..]);
    let mut batch = read.batch();
    batch.remove(REGION);
    let refused = read
        .write(&mut batch, Durability::Synced)
        .expect_err("it is read only");
    assert!(matches!(refused, Error::Stopped { .. }), "{refused:?}");
    assert_eq!(read.bounds(REGION).expect("it reads"), Some((5, 20)));
    drop(read);
    assert_eq!(content(directory.path()), before);
}

#[test]
fn damage_in_the_middle_of_the_log_of_data_is_told_though_a_start_passes_over_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions::default();
    let kv = RocksKv::open(directory.path(), &options).expect("it opens");
    for at in 0..50_u32 {
        put(&kv, &at.to_be_bytes());
    }
    drop(kv);
    RocksKv::check_wal(directory.path()).expect("it is whole");
    let logs = fs::read_dir(directory.path()).expect("it is there");
    let logs = logs.map(|file| file.expect("it is listed").path());
    let mut logs = logs.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    let path = logs.next().expect("there is one");
    let mut bytes = fs::read(&path).expect("it is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("it is written");
    let told = RocksKv::check_wal(directory.path()).expect_err("it is damaged");
    let told = told.to_string();
    assert!(
        told.contains("whole one follows") && told.contains("Raft log"),
        "{told}"
    );
    RocksKv::open(directory.path(), &options).expect("a start goes on");
}
