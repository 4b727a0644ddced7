//! The conformance suite on RocksDB.

use engine::conformance::{KvPlace, LogPlace};
use engine_rocks::{RocksKv, RocksLog, RocksOptions};
use tempfile::TempDir;

struct Place(TempDir);

fn options() -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        ..RocksOptions::default()
    }
}

impl KvPlace for Place {
    type Engine = RocksKv;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RocksKv {
        RocksKv::open(self.0.path(), &options()).expect("the engine opens")
    }
}

impl LogPlace for Place {
    type Log = RocksLog;

    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> RocksLog {
        RocksLog::open(self.0.path(), &options()).expect("the log opens")
    }
}

mod kv {
    engine::kv_conformance!(super::Place);
}

mod log {
    engine::raft_log_conformance!(super::Place);
}
