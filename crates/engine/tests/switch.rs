//! The move between engines, stopped at every step, on the engines in memory.

use bytes::Bytes;
use engine::mem::{Disk, MemLog};
use engine::switch::{self, Place, Step};
use engine::{Durability, Error, RaftLog, RaftLogBatch, Result};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use types::{ApplyState, HardState, LogEntry, PeerId, RegionId};

/// A store's data directory: real directories, and a simulated disk with a log for each.
struct Store {
    root: TempDir,
    disk: Disk,
}

impl Store {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("a temporary directory"),
            disk: Disk::new(),
        }
    }

    fn place(&self, wanted: &str, other: &str) -> Place {
        Place {
            root: self.root.path().to_path_buf(),
            marker: "RAFT-LOG".to_owned(),
            wanted: wanted.to_owned(),
            other: other.to_owned(),
        }
    }

    /// Opens a log in memory whose life is that of the real directory.
    fn open_log(&self, path: &Path) -> Result<MemLog> {
        let name = path.file_name().expect("a name").to_string_lossy();
        if !path.is_dir() {
            self.disk.delete_log(&name);
            fs::create_dir(path).expect("the root is writable");
        }
        self.disk.open_log(&name)
    }

    fn open(&self, wanted: &str, other: &str, steps: usize) -> (Result<MemLog>, Vec<Step>) {
        let mut seen = Vec::new();
        let log = switch::open(
            &self.place(wanted, other),
            |path| self.open_log(path),
            |path| self.open_log(path),
            &mut |step| {
                if seen.len() == steps {
                    return Err(Error::Stopped { reason: "the test" });
                }
                seen.push(step);
                Ok(())
            },
        );
        (log, seen)
    }

    fn crash(&self) {
        self.disk.crash(&mut |_| 0);
    }
}

fn fill(log: &MemLog) {
    let mut batch = log.batch();
    for id in 1..=20_u64 {
        let entries: Vec<LogEntry> = (id..id + 10)
            .map(|index| LogEntry {
                index,
                term: id,
                data: Bytes::from(vec![id as u8; 30_000]),
                ..LogEntry::default()
            })
            .collect();
        batch.append(RegionId(id), &entries);
        batch.put_hard_state(
            RegionId(id),
            &HardState {
                term: id,
                vote: PeerId(id),
                commit: id,
            },
        );
        if id % 2 == 0 {
            let state = ApplyState {
                applied_index: id,
                ..ApplyState::default()
            };
            batch.put_apply_state(RegionId(id), &state);
        }
    }
    batch.put_hard_state(RegionId(99), &HardState::default());
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
}

type Content = Vec<(
    RegionId,
    Vec<LogEntry>,
    Option<HardState>,
    Option<ApplyState>,
)>;

fn content(log: &MemLog) -> Content {
    let read = |region| {
        let entries = match log.bounds(region).expect("reads") {
            Some((first, last)) => log.fetch(region, first, last + 1, u64::MAX).expect("reads"),
            None => Vec::new(),
        };
        let hard = log.hard_state(region).expect("reads");
        (
            region,
            entries,
            hard,
            log.apply_state(region).expect("reads"),
        )
    };
    log.regions()
        .expect("reads")
        .into_iter()
        .map(read)
        .collect()
}

#[test]
fn a_fresh_directory_opens_the_wanted_engine_and_marks_it() {
    let store = Store::new();
    let (log, steps) = store.open("a", "b", usize::MAX);
    assert!(log.expect("opens").regions().expect("reads").is_empty());
    assert_eq!(steps, [Step::Open, Step::Mark]);
    let marker = fs::read_to_string(store.root.path().join("RAFT-LOG")).expect("there is a marker");
    assert_eq!(marker, "a\n");
    let (log, steps) = store.open("a", "b", usize::MAX);
    log.expect("opens again");
    assert_eq!(steps, [Step::Open]);
}

#[test]
fn logs_move_both_ways_and_the_old_directory_goes() {
    let store = Store::new();
    let log = store.open("a", "b", usize::MAX).0.expect("opens");
    fill(&log);
    let before = content(&log);
    drop(log);
    for (wanted, other) in [("b", "a"), ("a", "b"), ("b", "a")] {
        let log = store.open(wanted, other, usize::MAX).0.expect("moves");
        assert_eq!(content(&log), before);
        assert!(!store.root.path().join(other).exists());
    }
}

#[test]
fn a_crash_at_any_step_redoes_or_finishes_the_move() {
    let total = {
        let store = Store::new();
        fill(&store.open("a", "b", usize::MAX).0.expect("opens"));
        store.open("b", "a", usize::MAX).1.len()
    };
    assert!(total > 20, "{total} steps");
    for steps in 0..total {
        for then in [("b", "a"), ("a", "b")] {
            let store = Store::new();
            let log = store.open("a", "b", usize::MAX).0.expect("opens");
            fill(&log);
            let before = content(&log);
            drop(log);
            assert!(
                store.open("b", "a", steps).0.is_err(),
                "stopped after {steps} steps"
            );
            store.crash();
            let log = store.open(then.0, then.1, usize::MAX).0;
            let log = log.unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
            assert_eq!(content(&log), before, "after {steps} steps, then {then:?}");
            assert!(!store.root.path().join(then.1).exists());
        }
    }
}

#[test]
fn a_crash_at_every_step_of_a_fresh_start_starts_afresh() {
    for steps in 0..2 {
        let store = Store::new();
        assert!(store.open("a", "b", steps).0.is_err());
        store.crash();
        let log = store.open("a", "b", usize::MAX).0.expect("opens");
        assert!(log.regions().expect("reads").is_empty());
    }
}

#[test]
fn a_single_directory_without_a_marker_is_adopted() {
    let store = Store::new();
    let log = store.open("a", "b", usize::MAX).0.expect("opens");
    fill(&log);
    let before = content(&log);
    drop(log);
    fs::remove_file(store.root.path().join("RAFT-LOG")).expect("there was a marker");
    let log = store.open("b", "a", usize::MAX).0.expect("moves");
    assert_eq!(content(&log), before);
}

#[test]
fn two_directories_without_a_marker_are_refused_and_kept() {
    let store = Store::new();
    for name in ["a", "b"] {
        fs::create_dir(store.root.path().join(name)).expect("the root is writable");
    }
    let error = store
        .open("a", "b", usize::MAX)
        .0
        .err()
        .expect("either may count");
    assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
    assert!(error.to_string().contains("RAFT-LOG"), "{error}");
    assert!(store.root.path().join("a").is_dir() && store.root.path().join("b").is_dir());
}

#[test]
fn a_marked_directory_that_is_gone_is_refused() {
    let store = Store::new();
    drop(store.open("a", "b", usize::MAX).0.expect("opens"));
    fs::remove_dir_all(store.root.path().join("a")).expect("the root is writable");
    for (wanted, other) in [("a", "b"), ("b", "a")] {
        let error = store
            .open(wanted, other, usize::MAX)
            .0
            .err()
            .expect("the logs are gone");
        assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
        assert!(error.to_string().contains("replicate"), "{error}");
    }
}

#[test]
fn a_marker_of_an_unknown_engine_is_refused() {
    let store = Store::new();
    drop(store.open("a", "b", usize::MAX).0.expect("opens"));
    fs::write(store.root.path().join("RAFT-LOG"), "c\n").expect("the root is writable");
    let error = store
        .open("a", "b", usize::MAX)
        .0
        .err()
        .expect("c is nobody");
    assert!(error.to_string().contains("\"c\""), "{error}");
}
