//! The conformance suite on the engines in memory.

use engine::conformance::faults::FaultyLogPlace;
use engine::conformance::{KvPlace, LogPlace};
use engine::mem::{Disk, MemKv, MemLog};

struct Place(Disk);

impl KvPlace for Place {
    type Engine = MemKv;

    fn fresh() -> Self {
        Self(Disk::new())
    }

    fn open(&self) -> MemKv {
        self.0.open_kv("kv").expect("every earlier handle is gone")
    }
}

impl LogPlace for Place {
    type Log = MemLog;

    fn fresh() -> Self {
        Self(Disk::new())
    }

    fn open(&self) -> MemLog {
        self.0
            .open_log("log")
            .expect("every earlier handle is gone")
    }
}

impl FaultyLogPlace for Place {
    fn set_full(&self, _log: &MemLog, full: bool) {
        self.0.set_full(full);
    }

    fn fail_syncs(&self, _log: &MemLog, fail: bool) {
        self.0.fail_syncs(fail);
    }
}

mod kv {
    engine::kv_conformance!(super::Place);
}

mod log {
    engine::raft_log_conformance!(super::Place);
}

mod faults {
    engine::raft_log_fault_conformance!(super::Place);
}
