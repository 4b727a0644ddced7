//! What a simulated disk loses, and what it must not.

use engine::mem::Disk;
use engine::{Action, Cf, Durability, Error, KvBatch, KvEngine, KvSnapshot, RaftLog, RaftLogBatch};
use types::{HardState, PeerId, RegionId};

fn put(engine: &impl KvEngine, key: u8, durability: Durability) -> engine::Result<()> {
    let mut batch = engine.batch();
    batch.put(Cf::Default, &[key], b"v");
    batch.put(Cf::Raft, &[key], b"v");
    engine.write(&mut batch, durability)
}

fn keys(engine: &impl KvEngine) -> Vec<u8> {
    let there = |cf, key| engine.get(cf, &[key]).expect("reads").is_some();
    for key in 0..10 {
        assert_eq!(
            there(Cf::Default, key),
            there(Cf::Raft, key),
            "half a batch"
        );
    }
    (0..10).filter(|key| there(Cf::Default, *key)).collect()
}

fn hard_state(term: u64) -> HardState {
    HardState {
        term,
        vote: PeerId(1),
        commit: 0,
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_the_chosen_prefix_of_the_rest() {
    for kept in 0..=3 {
        let disk = Disk::new();
        let engine = disk.open_kv("kv").expect("opens");
        put(&engine, 0, Durability::Buffered).expect("writes");
        put(&engine, 1, Durability::Synced).expect("writes");
        for key in 2..5 {
            put(&engine, key, Durability::Buffered).expect("writes");
        }
        assert_eq!(disk.unsynced_writes(), 3);
        disk.crash(&mut |unsynced| {
            assert_eq!(unsynced, 3);
            kept
        });
        let engine = disk.open_kv("kv").expect("the crash freed the lock");
        assert_eq!(keys(&engine), (0..2 + kept as u8).collect::<Vec<_>>());
        assert_eq!(disk.unsynced_writes(), 0);
    }
}

#[test]
fn what_survived_a_crash_survives_the_next() {
    let disk = Disk::new();
    let engine = disk.open_kv("kv").expect("opens");
    put(&engine, 0, Durability::Buffered).expect("writes");
    disk.crash(&mut |unsynced| unsynced);
    disk.crash(&mut |_| unreachable!("nothing is unsynced"));
    assert_eq!(keys(&disk.open_kv("kv").expect("opens")), [0]);
}

#[test]
fn a_crash_hits_every_engine_of_the_disk_at_a_point_of_its_own() {
    let disk = Disk::new();
    let kv = disk.open_kv("kv").expect("opens");
    let log = disk.open_log("log").expect("opens");
    put(&kv, 0, Durability::Buffered).expect("writes");
    for term in 1..=2 {
        let mut batch = log.batch();
        batch.put_hard_state(RegionId(2), &hard_state(term));
        log.write(&mut batch, Durability::Buffered).expect("writes");
    }
    let mut asked = Vec::new();
    disk.crash(&mut |unsynced| {
        asked.push(unsynced);
        unsynced - 1
    });
    assert_eq!(asked, [1, 2]);
    assert!(keys(&disk.open_kv("kv").expect("opens")).is_empty());
    let log = disk.open_log("log").expect("opens");
    assert_eq!(
        log.hard_state(RegionId(2)).expect("reads"),
        Some(hard_state(1))
    );
}

#[test]
fn a_handle_from_before_the_crash_is_dead_but_its_snapshots_read_on() {
    let disk = Disk::new();
    let engine = disk.open_kv("kv").expect("opens");
    put(&engine, 0, Durability::Buffered).expect("writes");
    let snapshot = engine.snapshot();
    disk.crash(&mut |_| 0);
    for error in [
        put(&engine, 1, Durability::Buffered).expect_err("crashed"),
        engine.sync().expect_err("crashed"),
        engine.get(Cf::Default, &[0]).expect_err("crashed"),
    ] {
        assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
        assert_eq!(error.action(), Action::Crash);
    }
    assert!(snapshot.get(Cf::Default, &[0]).expect("reads").is_some());
    assert!(keys(&disk.open_kv("kv").expect("opens")).is_empty());
}

#[test]
fn a_dropped_engine_keeps_its_unsynced_writes_until_the_machine_crashes() {
    let disk = Disk::new();
    put(&disk.open_kv("kv").expect("opens"), 0, Durability::Buffered).expect("writes");
    assert_eq!(keys(&disk.open_kv("kv").expect("opens")), [0]);
    disk.crash(&mut |_| 0);
    assert!(keys(&disk.open_kv("kv").expect("opens")).is_empty());
}

#[test]
fn an_engine_is_locked_while_a_handle_or_a_snapshot_lives() {
    let disk = Disk::new();
    let engine = disk.open_kv("kv").expect("opens");
    let snapshot = engine.snapshot();
    drop(engine);
    let error = disk
        .open_kv("kv")
        .err()
        .expect("the snapshot holds the lock");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    drop(snapshot);
    disk.open_kv("kv").expect("opens");
    disk.open_kv("another")
        .expect("another engine is another lock");
}

#[test]
fn a_failed_sync_stops_the_engine_and_promises_nothing() {
    let disk = Disk::new();
    let engine = disk.open_kv("kv").expect("opens");
    disk.fail_syncs(true);
    put(&engine, 0, Durability::Buffered).expect("a buffered write needs no sync");
    let error = put(&engine, 1, Durability::Synced).expect_err("the sync fails");
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
    assert_eq!(error.action(), Action::Crash);
    disk.fail_syncs(false);
    let error = engine
        .sync()
        .expect_err("a sync that failed is not tried again");
    assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
    disk.crash(&mut |unsynced| {
        assert_eq!(unsynced, 2);
        1
    });
    assert_eq!(keys(&disk.open_kv("kv").expect("opens")), [0]);
}

#[test]
fn a_full_disk_refuses_writes_leaves_the_batch_and_recovers() {
    let disk = Disk::new();
    let log = disk.open_log("log").expect("opens");
    let mut batch = log.batch();
    batch.put_hard_state(RegionId(2), &hard_state(1));
    disk.set_full(true);
    let error = log
        .write(&mut batch, Durability::Synced)
        .expect_err("the disk is full");
    assert_eq!(error.action(), Action::Retry);
    assert!(!batch.is_empty());
    assert_eq!(log.hard_state(RegionId(2)).expect("reads go on"), None);
    log.sync().expect("syncs go on");
    disk.set_full(false);
    log.write(&mut batch, Durability::Synced)
        .expect("there is room again");
    assert_eq!(
        log.hard_state(RegionId(2)).expect("reads"),
        Some(hard_state(1))
    );
}
