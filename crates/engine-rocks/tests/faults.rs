//! What the engines do with damaged, locked and unwritable directories.

use bytes::Bytes;
use engine::conformance::rot::copy_of;
use engine::{Action, Cf, Durability, Error, KvBatch, KvEngine, RaftLog, RaftLogBatch};
use engine_rocks::{RocksKv, RocksLog, RocksOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use types::{LogEntry, RegionId};

const REGION: RegionId = RegionId(2);
/// Set for the process that the lock test starts.
const LOCKED_DIR: &str = "ENGINE_ROCKS_TEST_LOCKED_DIR";

fn open_kv(path: &Path) -> Result<RocksKv, Error> {
    RocksKv::open(path, &RocksOptions::default())
}

fn open_log(path: &Path) -> Result<RocksLog, Error> {
    RocksLog::open(path, &RocksOptions::default())
}

fn put(engine: &RocksKv, key: &[u8], durability: Durability) {
    let mut batch = engine.batch();
    batch.put(Cf::Default, key, &[b'v'; 100]);
    engine
        .write(&mut batch, durability)
        .expect("the write succeeds");
}

/// Appends entries one by one, each synced.
fn append(log: &RocksLog, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        append_one(log, index, Durability::Synced);
    }
}

fn append_one(log: &RocksLog, index: u64, durability: Durability) {
    let entry = LogEntry {
        index,
        term: 1,
        data: Bytes::from(vec![b'd'; 100]),
        ..LogEntry::default()
    };
    let mut batch = log.batch();
    batch.append(REGION, &[entry]);
    log.write(&mut batch, durability)
        .expect("the append succeeds");
}

/// The newest file with this ending that holds anything.
fn newest(path: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(path).expect("the directory is there");
    let files = files.map(|file| file.expect("the directory is readable").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.to_string_lossy().ends_with(ending))
        .filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0))
        .collect();
    files.sort();
    files
        .pop()
        .unwrap_or_else(|| panic!("no {ending} in {}", path.display()))
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).expect("the file is readable");
    bytes[offset] ^= 0x40;
    fs::write(file, bytes).expect("the file is writable");
}

/// A copy of an open engine's directory is what a crash of the process leaves.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a temporary directory");
    for file in fs::read_dir(from).expect("the directory is there") {
        let file = file.expect("the directory is readable");
        if file.file_name() != "LOCK" {
            fs::copy(file.path(), to.path().join(file.file_name())).expect("the copy succeeds");
        }
    }
    to
}

#[test]
fn buffered_writes_survive_a_killed_process() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = open_kv(dir.path()).expect("the engine opens");
    put(&engine, b"buffered", Durability::Buffered);
    let crashed = copy(dir.path());
    let engine = open_kv(crashed.path()).expect("the engine opens");
    assert!(
        engine
            .get(Cf::Default, b"buffered")
            .expect("reads")
            .is_some()
    );
}

#[test]
fn flushed_data_is_in_tables_and_still_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = open_kv(dir.path()).expect("the engine opens");
    for i in 0..1000_u32 {
        put(&engine, &i.to_be_bytes(), Durability::Buffered);
    }
    engine.flush().expect("the flush succeeds");
    newest(dir.path(), ".sst");
    let all = engine
        .approximate_size(Cf::Default, b"", b"")
        .expect("estimates");
    let half = engine
        .approximate_size(Cf::Default, b"", &500_u32.to_be_bytes())
        .expect("estimates");
    assert!(half > all / 4 && half < all * 3 / 4, "{half} of {all}");
    assert!(
        engine
            .get(Cf::Default, &999_u32.to_be_bytes())
            .expect("reads")
            .is_some()
    );
}

#[test]
fn a_damaged_table_is_a_corruption_and_never_a_wrong_value() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = open_kv(dir.path()).expect("the engine opens");
    put(&engine, b"key", Durability::Synced);
    engine.flush().expect("the flush succeeds");
    drop(engine);
    flip(&newest(dir.path(), ".sst"), 20);
    let error = match open_kv(dir.path()) {
        Err(error) => error,
        Ok(engine) => engine
            .get(Cf::Default, b"key")
            .expect_err("the block is damaged"),
    };
    assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
    assert_eq!(error.action(), Action::Crash);
    assert!(error.to_string().contains("replicate"), "{error}");
}

#[test]
fn a_damaged_manifest_stops_the_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    put(
        &open_kv(dir.path()).expect("the engine opens"),
        b"key",
        Durability::Synced,
    );
    fs::write(dir.path().join("CURRENT"), b"nonsense").expect("the file is writable");
    let error = open_kv(dir.path())
        .err()
        .expect("there is no such manifest");
    assert_eq!(error.action(), Action::Crash);
}

#[test]
fn a_flipped_byte_amid_the_raft_logs_stops_the_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    append(&log, 1..=100);
    let crashed = copy(dir.path());
    let wal = newest(crashed.path(), ".log");
    let middle = fs::metadata(&wal).expect("the file is there").len() as usize / 2;
    flip(&wal, middle);
    let error = open_log(crashed.path())
        .err()
        .expect("an entry in the middle is damaged");
    assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
}

#[test]
fn a_torn_end_of_the_raft_logs_is_cut() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    append(&log, 1..=99);
    append_one(&log, 100, Durability::Buffered);
    let crashed = copy(dir.path());
    let wal = newest(crashed.path(), ".log");
    let bytes = fs::read(&wal).expect("the file is readable");
    fs::write(&wal, &bytes[..bytes.len() - 30]).expect("the file is writable");
    let log = open_log(crashed.path()).expect("the log opens");
    assert_eq!(log.bounds(REGION).expect("reads"), Some((1, 99)));
    append(&log, 100..=101);
    assert_eq!(log.bounds(REGION).expect("reads"), Some((1, 101)));
}

#[test]
fn a_torn_end_of_the_raft_logs_that_was_synced_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    append(&log, 1..=100);
    let crashed = copy(dir.path());
    let wal = newest(crashed.path(), ".log");
    let bytes = fs::read(&wal).expect("the file is readable");
    let record_bytes = bytes.len() / 100;
    for torn in [1, 30, record_bytes, 2 * record_bytes + 1, bytes.len()] {
        fs::write(&wal, &bytes[..bytes.len() - torn]).expect("the file is writable");
        let error = open_log(crashed.path()).err().expect("entries are gone");
        assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
        assert!(error.to_string().contains("replicate"), "{error}");
    }
}

/// The first record of a new file is told of by nothing that stood before it.
#[test]
fn a_file_of_the_raft_logs_emptied_after_any_synced_write_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions {
        write_buffer_bytes: 64 << 10,
        ..RocksOptions::default()
    };
    let log = RocksLog::open(dir.path(), &options).expect("the log opens");
    append(&log, 1..=1);
    let (mut last, mut begun) = (newest(dir.path(), ".log"), 0);
    for index in 2..2_000 {
        append(&log, index..=index);
        let wal = newest(dir.path(), ".log");
        if wal == last {
            continue;
        }
        // Flushes go on.
        let crashed = copy_of(dir.path(), |name| name == "LOCK");
        let emptied = crashed.path().join(wal.file_name().expect("it has one"));
        fs::write(&emptied, b"").expect("the file is writable");
        let Err(error) = open_log(crashed.path()) else {
            panic!("entry {index} is gone without a word");
        };
        assert_eq!(error.action(), Action::Crash, "{error}");
        (last, begun) = (wal, begun + 1);
    }
    assert!(begun > 2, "{begun} files were begun");
}

#[test]
fn a_bit_flipped_anywhere_before_the_last_entry_stops_the_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    append(&log, 1..=20);
    let crashed = copy(dir.path());
    let wal = newest(crashed.path(), ".log");
    let good = fs::read(&wal).expect("the file is readable");
    // All of them are in the last block, where RocksDB would take each for a torn end.
    assert!(good.len() < 32 << 10);
    for at in (0..good.len() - 200).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        fs::write(&wal, bytes).expect("the file is writable");
        let error = open_log(crashed.path()).err();
        let Some(Error::Corruption { path, .. }) = &error else {
            panic!("{at}: {error:?}");
        };
        assert_eq!(*path, wal);
    }
    fs::write(&wal, good).expect("the file is writable");
    let log = open_log(crashed.path()).expect("nothing was changed");
    assert_eq!(log.bounds(REGION).expect("reads"), Some((1, 20)));
}

#[test]
fn the_newest_log_file_deleted_stops_the_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for round in 0..3 {
        let log = open_log(dir.path()).expect("the log opens");
        append(&log, round * 10 + 1..=round * 10 + 10);
        let crashed = copy(dir.path());
        fs::remove_file(newest(crashed.path(), ".log")).expect("the file was there");
        let error = open_log(crashed.path()).err().expect("entries are gone");
        assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn a_note_that_is_gone_stops_the_open_if_there_are_entries() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    let fresh = copy(dir.path());
    append(&log, 1..=10);
    let used = copy(dir.path());
    for (copied, opens) in [(fresh, true), (used, false)] {
        fs::remove_file(copied.path().join("NEWEST-WAL")).expect("there is a note");
        assert_eq!(open_log(copied.path()).is_ok(), opens);
    }
}

#[test]
fn a_torn_end_is_cut_again_and_again() {
    let mut dir = tempfile::tempdir().expect("a temporary directory");
    for round in 0..4 {
        let log = open_log(dir.path()).expect("the log opens");
        let last = log
            .bounds(REGION)
            .expect("reads")
            .map_or(0, |(_, last)| last);
        assert_eq!(last, round * 9);
        append(&log, last + 1..=last + 9);
        append_one(&log, last + 10, Durability::Buffered);
        let crashed = copy(dir.path());
        let wal = newest(crashed.path(), ".log");
        let bytes = fs::read(&wal).expect("the file is readable");
        fs::write(&wal, &bytes[..bytes.len() - 30]).expect("the file is writable");
        drop(log);
        dir = crashed;
    }
}

#[test]
fn a_second_handle_of_the_logs_is_refused_while_the_first_is_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = open_log(dir.path()).expect("the log opens");
    let error = open_log(dir.path()).err().expect("it is open");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    append(&log, 1..=1);
}

#[test]
fn an_entry_that_vanished_is_a_corruption_when_fetched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    append(&open_log(dir.path()).expect("the log opens"), 1..=9);
    {
        let db = rocksdb::DB::open_default(dir.path()).expect("the database opens");
        let mut key = REGION.get().to_be_bytes().to_vec();
        key.push(3);
        key.extend_from_slice(&5_u64.to_be_bytes());
        assert!(db.get(&key).expect("reads").is_some());
        db.delete(&key).expect("the delete succeeds");
    }
    let log = open_log(dir.path()).expect("the log opens");
    for error in [
        log.fetch(REGION, 3, 8, u64::MAX).expect_err("5 is gone"),
        log.entry(REGION, 5).expect_err("5 is gone"),
    ] {
        assert!(matches!(error, Error::Corruption { .. }), "{error:?}");
        assert!(error.to_string().contains("entry 5 of Region 2"), "{error}");
    }
}

#[test]
fn a_second_process_is_refused_while_the_first_has_the_directory() {
    if let Some(dir) = std::env::var_os(LOCKED_DIR) {
        let error = open_kv(Path::new(&dir))
            .err()
            .expect("the directory is locked");
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = open_kv(dir.path()).expect("the engine opens");
    let error = open_kv(dir.path()).err().expect("the directory is locked");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    let other = Command::new(std::env::current_exe().expect("the test has a file"))
        .args([
            "--exact",
            "a_second_process_is_refused_while_the_first_has_the_directory",
        ])
        .env(LOCKED_DIR, dir.path())
        .output()
        .expect("the process starts");
    let output = String::from_utf8_lossy(&other.stdout);
    assert!(other.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
    put(&engine, b"k", Durability::Synced);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_io_error_with_its_path() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    fs::write(&file, b"").expect("the file is writable");
    let path = file.join("engine");
    for error in [
        open_kv(&path).err().expect("a file is no directory"),
        open_log(&path).err().expect("a file is no directory"),
    ] {
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&*file.to_string_lossy()),
            "{error}"
        );
        assert_eq!(error.action(), Action::Crash);
    }
}
