//! The move between the two Raft log engines on real files, stopped at every step.

use bytes::Bytes;
use engine::switch::{self, Place, Step};
use engine::{Durability, Error, RaftLog, RaftLogBatch};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use engine_rocks::{RocksLog, RocksOptions};
use std::path::Path;
use types::{ApplyState, HardState, LogEntry, RegionId};

const RAFT_ENGINE: &str = "raft-engine";
const ROCKS: &str = "raft-rocks";

fn open_raft_engine(path: &Path) -> engine::Result<RaftLogEngine> {
    RaftLogEngine::open(path, &RaftLogOptions::default())
}

fn open_rocks(path: &Path) -> engine::Result<RocksLog> {
    RocksLog::open(path, &RocksOptions::default())
}

fn place(root: &Path, wanted: &str, other: &str) -> Place {
    Place {
        root: root.to_path_buf(),
        marker: "RAFT-LOG".to_owned(),
        wanted: wanted.to_owned(),
        other: other.to_owned(),
    }
}

/// Lets so many steps begin and then stops.
fn stop_after(steps: usize) -> impl FnMut(Step) -> engine::Result<()> {
    let mut seen = 0;
    move |_| {
        seen += 1;
        if seen > steps {
            return Err(Error::Stopped { reason: "the test" });
        }
        Ok(())
    }
}

fn to_raft_engine(root: &Path, steps: usize) -> engine::Result<RaftLogEngine> {
    let place = place(root, RAFT_ENGINE, ROCKS);
    switch::open(&place, open_raft_engine, open_rocks, &mut stop_after(steps))
}

fn to_rocks(root: &Path, steps: usize) -> engine::Result<RocksLog> {
    let place = place(root, ROCKS, RAFT_ENGINE);
    switch::open(&place, open_rocks, open_raft_engine, &mut stop_after(steps))
}

const REGIONS: u64 = 3;

fn fill(log: &impl RaftLog) {
    let mut batch = log.batch();
    for id in 2..2 + REGIONS {
        let entries: Vec<LogEntry> = (1..=100)
            .map(|index| LogEntry {
                index,
                term: index / 10,
                data: Bytes::from(vec![id as u8; 1000]),
                ..LogEntry::default()
            })
            .collect();
        batch.append(RegionId(id), &entries);
        batch.compact(RegionId(id), id * 10);
        let hard = HardState {
            term: id,
            ..HardState::default()
        };
        batch.put_hard_state(RegionId(id), &hard);
        let apply = ApplyState {
            applied_index: id * 10,
            ..ApplyState::default()
        };
        batch.put_apply_state(RegionId(id), &apply);
    }
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
}

fn check(log: &impl RaftLog) {
    assert_eq!(
        log.regions().expect("reads"),
        (2..2 + REGIONS).map(RegionId).collect::<Vec<_>>()
    );
    for id in 2..2 + REGIONS {
        let entries = log
            .fetch(RegionId(id), id * 10, 101, u64::MAX)
            .expect("the log is whole");
        assert_eq!(entries.len() as u64, 101 - id * 10);
        assert!(
            entries
                .iter()
                .all(|entry| entry.data[..] == [id as u8; 1000])
        );
        assert!(entries.iter().all(|entry| entry.term == entry.index / 10));
        let hard = log.hard_state(RegionId(id)).expect("reads");
        assert_eq!(hard.map(|state| state.term), Some(id));
        let apply = log.apply_state(RegionId(id)).expect("reads");
        assert_eq!(apply.map(|state| state.applied_index), Some(id * 10));
    }
}

#[test]
fn logs_move_to_rocksdb_and_back() {
    let root = tempfile::tempdir().expect("a temporary directory");
    fill(&to_raft_engine(root.path(), usize::MAX).expect("opens"));
    for _ in 0..2 {
        check(&to_rocks(root.path(), usize::MAX).expect("moves"));
        assert!(!root.path().join(RAFT_ENGINE).exists());
        check(&to_raft_engine(root.path(), usize::MAX).expect("moves back"));
        assert!(!root.path().join(ROCKS).exists());
    }
}

#[test]
fn a_move_that_stops_at_any_step_is_redone_finished_or_taken_back() {
    // Copies, sync, mark, remove, open.
    for steps in 0..REGIONS as usize + 4 {
        for then_rocks in [true, false] {
            let root = tempfile::tempdir().expect("a temporary directory");
            fill(&to_raft_engine(root.path(), usize::MAX).expect("opens"));
            let stopped = to_rocks(root.path(), steps);
            assert!(stopped.is_err(), "the move has more than {steps} steps");
            if then_rocks {
                check(&to_rocks(root.path(), usize::MAX).expect("moves"));
            } else {
                check(&to_raft_engine(root.path(), usize::MAX).expect("opens"));
            }
        }
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    fill(&to_raft_engine(root.path(), usize::MAX).expect("opens"));
    check(&to_rocks(root.path(), REGIONS as usize + 4).expect("the move has no more steps"));
}

#[test]
fn which_directory_counts_is_told_without_a_change() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let place = Place {
        root: root.path().to_owned(),
        marker: "MARKER".to_owned(),
        wanted: RAFT_ENGINE.to_owned(),
        other: ROCKS.to_owned(),
    };
    assert_eq!(switch::current(&place).expect("it reads"), None);
    std::fs::create_dir(root.path().join(ROCKS)).expect("it is made");
    let current = switch::current(&place).expect("it reads");
    assert_eq!(current.as_deref(), Some(ROCKS));
    assert!(!root.path().join("MARKER").exists());
    std::fs::create_dir(root.path().join(RAFT_ENGINE)).expect("it is made");
    switch::current(&place).expect_err("it is not clear which");
    std::fs::write(root.path().join("MARKER"), RAFT_ENGINE).expect("it is written");
    let current = switch::current(&place).expect("it reads");
    assert_eq!(current.as_deref(), Some(RAFT_ENGINE));
}
