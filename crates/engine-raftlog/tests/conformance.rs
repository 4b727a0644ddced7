//! The conformance suite on raft-engine, with files so small that they rotate and are purged.

use engine::conformance::LogPlace;
use engine::{Durability, RaftLog, RaftLogBatch};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use tempfile::TempDir;
use types::{LogEntry, RegionId};

struct Usual(TempDir);

impl LogPlace for Usual {
    type Log = RaftLogEngine;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RaftLogEngine {
        RaftLogEngine::open(self.0.path(), &RaftLogOptions::default()).expect("the log opens")
    }
}

fn small_files() -> RaftLogOptions {
    RaftLogOptions {
        file_bytes: 512,
        purge_threshold_bytes: 1024,
        recovery_threads: 2,
        ..RaftLogOptions::default()
    }
}

struct SmallFiles(TempDir);

impl LogPlace for SmallFiles {
    type Log = RaftLogEngine;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RaftLogEngine {
        let options = RaftLogOptions {
            compression_threshold_bytes: 100,
            ..small_files()
        };
        RaftLogEngine::open(self.0.path(), &options).expect("the log opens")
    }
}

/// The files of both have the same numbers, and the same entries stand at the same offsets.
#[test]
fn one_thread_reads_two_logs_without_mixing_them_up() {
    let (left, right) = (Usual::fresh(), Usual::fresh());
    let [left, right] = [(left, b'l'), (right, b'r')].map(|(place, byte)| {
        let log = place.open();
        let mut batch = log.batch();
        let entry = LogEntry {
            index: 1,
            term: 1,
            data: vec![byte; 100].into(),
            ..LogEntry::default()
        };
        batch.append(RegionId(7), &[entry]);
        log.write(&mut batch, Durability::Synced).unwrap();
        (place, log, byte)
    });
    for (_place, log, byte) in [&left, &right, &left] {
        let read = log.fetch(RegionId(7), 1, 2, 1_000).unwrap();
        assert_eq!(read[0].data[0], *byte);
    }
}

mod usual {
    engine::raft_log_conformance!(super::Usual);
}

mod small_files {
    engine::raft_log_conformance!(super::SmallFiles);
}

/// Each purge puts all logs on shelves that are small.
struct Shelves(TempDir);

impl LogPlace for Shelves {
    type Log = RaftLogEngine;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RaftLogEngine {
        let options = RaftLogOptions {
            idle_purges: 0,
            ..small_files()
        };
        RaftLogEngine::open(self.0.path(), &options).expect("the log opens")
    }
}

mod shelves {
    engine::raft_log_conformance!(super::Shelves);
}
