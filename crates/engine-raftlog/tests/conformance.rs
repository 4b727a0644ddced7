//! The conformance suite on raft-engine, with files so small that they rotate and are purged.

use engine::conformance::LogPlace;
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use tempfile::TempDir;

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

struct SmallFiles(TempDir);

impl LogPlace for SmallFiles {
    type Log = RaftLogEngine;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RaftLogEngine {
        let options = RaftLogOptions {
            file_bytes: 512,
            purge_threshold_bytes: 1024,
            recovery_threads: 2,
            compression_threshold_bytes: 100,
        };
        RaftLogEngine::open(self.0.path(), &options).expect("the log opens")
    }
}

mod usual {
    engine::raft_log_conformance!(super::Usual);
}

mod small_files {
    engine::raft_log_conformance!(super::SmallFiles);
}
