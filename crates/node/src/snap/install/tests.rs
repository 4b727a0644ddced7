//! An installation that is cut short at every write, with everything lost that was not synced or
//! nothing of it.

use super::super::MemDir;
use super::super::format::Frames;
use super::*;
use crate::flow::FlowOptions;
use engine::mem::{Disk, MemBatch, MemKv, MemSnapshot};
use raftstore::{LastMerge, MergeSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use types::{KeyRange, Peer, StoreId};

const REGION: RegionId = RegionId(2);
const SOURCE: RegionId = RegionId(3);

fn region(end: &[u8], version: u64) -> Region {
    Region {
        id: REGION,
        range: KeyRange {
            start: b"b".to_vec(),
            end: end.to_vec(),
        },
        epoch: types::Epoch {
            conf_ver: 1,
            version,
        },
        peers: vec![Peer {
            id: PeerId(21),
            store_id: StoreId(1),
            ..Peer::default()
        }],
    }
}

fn snapshot() -> InstallSnapshot {
    let meta = SnapshotMeta {
        last_merge: None,
        region: region(b"m", 2),
        index: 90,
        term: 7,
    };
    InstallSnapshot {
        key: meta.key(PeerId(21)),
        meta,
        takes_in: None,
    }
}

/// A directory with the snapshot: three pairs of two families.
fn dir() -> MemDir {
    dir_of(&snapshot())
}

fn dir_of(install: &InstallSnapshot) -> MemDir {
    let kv = Disk::new().open_kv("source").unwrap();
    let mut batch = kv.batch();
    for (cf, key) in [
        (Cf::Default, b"zb"),
        (Cf::Default, b"zd"),
        (Cf::Write, b"zc"),
    ] {
        batch.put(cf, key, b"new");
    }
    kv.write(&mut batch, Durability::Buffered).unwrap();
    let dir = MemDir::default();
    let mut file = dir.create(&install.key.to_string()).unwrap();
    for frame in Frames::new(kv.snapshot(), install.meta.clone()) {
        file.write(&frame.unwrap()).unwrap();
    }
    file.complete().unwrap();
    dir
}

/// An engine that fails after so many writes.
#[derive(Clone)]
struct CutKv {
    inner: MemKv,
    writes_left: Arc<AtomicU64>,
}

impl KvEngine for CutKv {
    type Snapshot = MemSnapshot;
    type Batch = MemBatch;

    fn batch(&self) -> MemBatch {
        self.inner.batch()
    }

    fn write(&self, batch: &mut MemBatch, durability: Durability) -> engine::Result<()> {
        let left = self.writes_left.load(Ordering::Relaxed);
        if left == 0 {
            let reason = "the power was cut";
            return Err(engine::Error::Stopped { reason });
        }
        self.writes_left.store(left - 1, Ordering::Relaxed);
        self.inner.write(batch, durability)
    }

    fn snapshot(&self) -> MemSnapshot {
        self.inner.snapshot()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>> {
        self.inner.get(cf, key)
    }

    fn sync(&self) -> engine::Result<()> {
        self.inner.sync()
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> engine::Result<u64> {
        self.inner.approximate_size(cf, start, end)
    }

    fn backlog(&self) -> engine::Backlog {
        self.inner.backlog()
    }

    fn collect(&self, page: &mut metrics::Page) {
        self.inner.collect(page);
    }
}

/// A store with the neighbours' keys, and with a replica whose range was larger, if `has_replica`.
fn disk(has_replica: bool) -> Disk {
    let disk = Disk::new();
    let kv = disk.open_kv("kv").unwrap();
    let mut batch = kv.batch();
    for key in [b"za", b"zx"] {
        batch.put(Cf::Default, key, b"another's");
    }
    if has_replica {
        for (cf, key) in [(Cf::Default, b"zc"), (Cf::Lock, b"zb"), (Cf::Write, b"zp")] {
            batch.put(cf, key, b"old");
        }
        let old = RegionRecord::Normal(region(b"t", 1)).encode();
        batch.put(Cf::Raft, &keys::region_state_key(REGION), &old);
    }
    kv.write(&mut batch, Durability::Synced).unwrap();
    disk
}

fn contents(kv: &MemKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = kv.snapshot();
    let mut pairs = Vec::new();
    for cf in FAMILIES {
        let mut iter = view.iter(cf, b"", b"").unwrap();
        let mut valid = iter.seek_to_first().unwrap();
        while valid {
            pairs.push((iter.key().to_vec(), iter.value().to_vec()));
            valid = iter.next().unwrap();
        }
    }
    pairs
}

fn room() -> DiskRoom {
    DiskRoom::new(Duration::ZERO)
}

fn free() -> FlowControl {
    FlowControl::new(FlowOptions::default())
}

/// Keys that are there afterwards, in the order of families.
const INSTALLED: [&[u8]; 5] = [b"za", b"zb", b"zd", b"zx", b"zc"];

fn assert_installed(kv: &MemKv) {
    let found = contents(kv);
    let keys: Vec<&[u8]> = found.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, INSTALLED);
    let stored = super::region(kv, REGION).unwrap();
    assert_eq!(stored, Some(region(b"m", 2)));
    let applied = kv.get(Cf::Raft, &keys::apply_state_key(REGION)).unwrap();
    let applied = state::decode_apply_state(applied.unwrap()).unwrap();
    assert_eq!((applied.applied_index, applied.truncated_index), (90, 90));
    assert!(marks(kv).unwrap().is_empty());
}

/// Installs until the write at which the power goes. True if it came to the end.
fn install_until(disk: &Disk, dir: &MemDir, writes: u64) -> bool {
    install_snapshot_until(disk, dir, &snapshot(), writes)
}

fn install_snapshot_until(
    disk: &Disk,
    dir: &MemDir,
    snapshot: &InstallSnapshot,
    writes: u64,
) -> bool {
    let kv = CutKv {
        inner: disk.open_kv("kv").unwrap(),
        writes_left: Arc::new(AtomicU64::new(writes)),
    };
    install(&kv, dir, snapshot, (&room(), &free())).is_ok()
}

#[test]
fn a_crash_at_any_write_leaves_all_of_the_old_or_comes_to_all_of_the_new() {
    for has_replica in [true, false] {
        for keeps_all in [true, false] {
            let mut cuts = 0;
            loop {
                let (disk, dir) = (disk(has_replica), dir());
                let before = contents(&disk.open_kv("kv").unwrap());
                let is_done = install_until(&disk, &dir, cuts);
                disk.crash(&mut |unsynced| if keeps_all { unsynced } else { 0 });
                let kv = disk.open_kv("kv").unwrap();
                let is_marked = !marks(&kv).unwrap().is_empty();
                resume(&kv, &dir, &room()).unwrap();
                match is_done || is_marked {
                    true => assert_installed(&kv),
                    false => assert_eq!(contents(&kv), before),
                }
                if is_done {
                    break;
                }
                assert_eq!(is_marked, cuts > 0, "the mark is the first write");
                cuts += 1;
            }
            assert_eq!(cuts, 5, "mark, clearing, two frames, the end");
        }
    }
}

/// The snapshot carries its replica over a merge, behind which the Region was cut.
fn snapshot_with_a_source() -> InstallSnapshot {
    let mut install = snapshot();
    let mut source = region(b"t", 1);
    source.id = SOURCE;
    source.range.start = b"f".to_vec();
    install.meta.last_merge = Some(Box::new(LastMerge {
        place: (80, 7),
        version: 2,
        source: MergeSource {
            region: source,
            index: 40,
            term: 6,
            before: (0, 0),
        },
    }));
    install.takes_in = install.meta.take_in(install.key.to);
    assert!(install.takes_in.is_some());
    install
}

#[test]
fn a_source_is_taken_in_with_the_last_write_and_its_data_goes() {
    let mut cuts = 0;
    loop {
        let install = snapshot_with_a_source();
        let (disk, dir) = (disk(false), dir_of(&install));
        let kv = disk.open_kv("kv").unwrap();
        let mut batch = kv.batch();
        let merge = install.meta.last_merge.clone().unwrap();
        for (region, key) in [(region(b"f", 1), b"zc"), (merge.source.region, b"zp")] {
            let record = RegionRecord::Normal(region.clone()).encode();
            batch.put(Cf::Raft, &keys::region_state_key(region.id), &record);
            batch.put(Cf::Raft, &keys::apply_state_key(region.id), b"state");
            batch.put(Cf::Write, key, b"old");
        }
        kv.write(&mut batch, Durability::Synced).unwrap();
        let before = contents(&kv);
        drop(kv);
        let is_done = install_snapshot_until(&disk, &dir, &install, cuts);
        disk.crash(&mut |_| 0);
        let kv = disk.open_kv("kv").unwrap();
        let is_marked = !marks(&kv).unwrap().is_empty();
        let source = super::region(&kv, SOURCE).unwrap();
        assert_eq!(source.is_none(), is_done, "it stays until the end");
        resume(&kv, &dir, &room()).unwrap();
        if !is_done && !is_marked {
            assert_eq!(contents(&kv), before);
            cuts += 1;
            continue;
        }
        assert_installed(&kv);
        let record = kv.get(Cf::Raft, &keys::region_state_key(SOURCE)).unwrap();
        let record = RegionRecord::decode(record.unwrap()).unwrap();
        let tombstone = install.takes_in.unwrap().tombstone;
        assert_eq!(record, RegionRecord::Tombstone(tombstone));
        assert_eq!(
            kv.get(Cf::Raft, &keys::apply_state_key(SOURCE)).unwrap(),
            None
        );
        let last = kv.get(Cf::Raft, &keys::last_merge_key(REGION)).unwrap();
        let last = LastMerge::decode(last.unwrap()).unwrap();
        assert_eq!(Some(last), install.meta.last_merge.map(|merge| *merge));
        if is_done {
            break;
        }
        cuts += 1;
    }
}

#[test]
fn the_second_start_goes_on_where_the_first_was_cut_as_well() {
    let (disk, dir) = (disk(true), dir());
    assert!(!install_until(&disk, &dir, 3));
    for writes in 0..3 {
        let kv = CutKv {
            inner: disk.open_kv("kv").unwrap(),
            writes_left: Arc::new(AtomicU64::new(writes)),
        };
        assert!(resume(&kv, &dir, &room()).is_err());
    }
    let kv = disk.open_kv("kv").unwrap();
    resume(&kv, &dir, &room()).unwrap();
    assert_installed(&kv);
}

#[test]
fn without_its_file_a_new_replica_is_nothing_again_and_an_old_one_does_not_start() {
    let damages: [fn(&MemDir, &str); 2] = [
        |dir, name| dir.remove(name).unwrap(),
        |dir, name| dir.damage(name, |bytes| bytes.truncate(bytes.len() - 1)),
    ];
    for damage in damages {
        for has_replica in [true, false] {
            let (disk, dir) = (disk(has_replica), dir());
            assert!(!install_until(&disk, &dir, 3));
            damage(&dir, &snapshot().key.to_string());
            let kv = disk.open_kv("kv").unwrap();
            let resumed = resume(&kv, &dir, &room());
            if has_replica {
                assert!(matches!(resumed, Err(StartError::Inconsistent { .. })));
                assert!(!marks(&kv).unwrap().is_empty(), "nothing is forgotten");
            } else {
                resumed.unwrap();
                assert_eq!(contents(&kv).len(), 2, "the neighbours' keys");
                assert!(marks(&kv).unwrap().is_empty());
            }
        }
    }
}

#[test]
fn a_start_removes_the_files_that_no_mark_names() {
    let (disk, dir) = (disk(true), dir());
    let mut other = dir.create("2_7_80_21").unwrap();
    other.write(b"left behind").unwrap();
    other.complete().unwrap();
    assert!(!install_until(&disk, &dir, 2));
    let kv = disk.open_kv("kv").unwrap();
    remove_unmarked(&kv, &dir).unwrap();
    let names: Vec<_> = dir
        .list()
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    assert_eq!(names, [snapshot().key.to_string()]);
    assert!(is_marked(&kv, &names[0]).unwrap());
}

#[test]
fn a_full_disk_is_waited_for_until_the_store_stops_and_the_next_start_goes_on() {
    let (disk, dir) = (disk(true), dir());
    {
        let kv = disk.open_kv("kv").unwrap();
        disk.set_full(true);
        let room = room();
        room.stop();
        let gave_up = install(&kv, &dir, &snapshot(), (&room, &free())).unwrap();
        assert_eq!(gave_up, Insisted::GaveUp);
    }
    disk.set_full(false);
    assert!(!install_until(&disk, &dir, 2));
    let kv = disk.open_kv("kv").unwrap();
    resume(&kv, &dir, &room()).unwrap();
    assert_installed(&kv);
}

#[test]
fn fuzz_marks_of_snapshots() {
    fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "marks-of-snapshots")
        .seed(encode_mark(&snapshot()))
        .seed(encode_mark(&snapshot_with_a_source()))
        .run(|input| {
            let decode = |mark: &[u8]| decode_mark(&Bytes::copy_from_slice(mark));
            let mark = decode(input).map_err(|error| error.to_string());
            if let Ok(mark) = &mark {
                assert_eq!(decode(&encode_mark(mark)).ok().as_ref(), Some(mark));
            }
            mark.map(|mark| mark.meta.region.peers.len())
        });
}
