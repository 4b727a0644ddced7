//! Damage on real files: bytes flipped, files cut and deleted, in a copy of what a killed process
//! leaves.

use bytes::Bytes;
use engine::{Action, Durability, Error, RaftLog, RaftLogBatch};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use types::{LogEntry, RegionId};

const REGION: RegionId = RegionId(2);

fn options() -> RaftLogOptions {
    RaftLogOptions {
        file_bytes: 4096,
        purge_threshold_bytes: 16 << 10,
        recovery_threads: 3,
        compression_threshold_bytes: 0,
        ..RaftLogOptions::default()
    }
}

fn open(path: &Path) -> Result<RaftLogEngine, Error> {
    RaftLogEngine::open(path, &options())
}

fn refused(path: &Path) -> Error {
    let error = open(path).err().expect("the log is damaged");
    assert_eq!(error.action(), Action::Crash);
    error
}

/// Appends entries one by one, each synced.
fn append(log: &RaftLogEngine, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        append_one(log, index, vec![index as u8; 100], Durability::Synced);
    }
}

fn append_one(log: &RaftLogEngine, index: u64, data: Vec<u8>, durability: Durability) {
    let entry = LogEntry {
        index,
        term: 1,
        data: Bytes::from(data),
        ..LogEntry::default()
    };
    let mut batch = log.batch();
    batch.append(REGION, &[entry]);
    log.write(&mut batch, durability)
        .expect("the append succeeds");
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A copy of an open log's directory is what a killed process leaves.
fn killed(from: &Path) -> TempDir {
    let to = temporary();
    for file in fs::read_dir(from).expect("the directory is there") {
        let file = file.expect("the directory is readable");
        fs::copy(file.path(), to.path().join(file.file_name())).expect("the copy succeeds");
    }
    to
}

/// A log of a hundred entries in several files, killed.
fn sample() -> TempDir {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=100);
    killed(directory.path())
}

/// The same log, but the last entry was not synced.
fn sample_with_an_unsynced_end() -> TempDir {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=99);
    append_one(&log, 100, vec![100; 100], Durability::Buffered);
    killed(directory.path())
}

/// A log with several closed files of both queues, killed.
fn purged() -> TempDir {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    for round in 0..40_u64 {
        append(&log, round * 10 + 1..=round * 10 + 10);
        log.purge().expect("the purge succeeds");
    }
    append(&log, 401..=500);
    assert!(files(directory.path(), ".raftlog").len() >= 3);
    assert!(files(directory.path(), ".rewrite").len() >= 2);
    killed(directory.path())
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("the directory is there");
    let files = files.map(|file| file.expect("the directory is readable").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

fn newest(directory: &Path) -> PathBuf {
    files(directory, ".raftlog")
        .pop()
        .expect("there is a log file")
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("the file is readable");
    change(&mut bytes);
    fs::write(file, bytes).expect("the file is writable");
}

/// The offset behind the last byte that isn't zero, near enough to the end of the records.
fn end_of_records(file: &Path) -> usize {
    let bytes = fs::read(file).expect("the file is readable");
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("there are records")
        + 1
}

/// Where the records of a file that was closed begin, and where the last one ends.
fn boundaries(file: &Path) -> Vec<usize> {
    let bytes = fs::read(file).expect("the file is readable");
    let mut boundaries = vec![69];
    while let Some(first) = bytes[boundaries[boundaries.len() - 1]..].first_chunk::<8>() {
        let length = u64::from_be_bytes(*first) >> 8;
        boundaries.push(boundaries[boundaries.len() - 1] + length as usize);
    }
    assert_eq!(boundaries.last(), Some(&bytes.len()));
    boundaries
}

fn last_index(path: &Path) -> u64 {
    let log = open(path).expect("the log opens");
    let (first, last) = log
        .bounds(REGION)
        .expect("reads")
        .expect("there are entries");
    let entries = log
        .fetch(REGION, first, last + 1, u64::MAX)
        .expect("the log is whole");
    assert!(
        entries
            .iter()
            .all(|entry| entry.data[..] == [entry.index as u8; 100])
    );
    last
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    assert_eq!(last_index(sample().path()), 100);
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=1);
    append_one(&log, 2, vec![2; 100], Durability::Buffered);
    assert_eq!(last_index(killed(directory.path()).path()), 2);
}

#[test]
fn the_sample_has_several_closed_files_and_records_in_the_newest() {
    let directory = sample();
    assert!(files(directory.path(), ".raftlog").len() >= 3);
    assert!(end_of_records(&newest(directory.path())) > 500);
}

#[test]
fn a_byte_flipped_anywhere_in_a_closed_file_is_refused() {
    let sample = sample();
    let closed = files(sample.path(), ".raftlog").swap_remove(1);
    let length = fs::metadata(&closed).expect("the file is there").len() as usize;
    for at in (0..length).step_by(97).chain([length - 1]) {
        let directory = killed(sample.path());
        let file = directory.path().join(closed.file_name().expect("a name"));
        change(&file, |bytes| bytes[at] ^= 0x10);
        let error = refused(directory.path());
        assert!(
            matches!(&error, Error::Corruption { path, .. } if *path == file),
            "{at}: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("offset") && text.contains("replicate"),
            "{at}: {text}"
        );
    }
}

#[test]
fn a_byte_flipped_before_the_last_record_of_the_newest_file_is_refused() {
    let sample = sample();
    let end = end_of_records(&newest(sample.path()));
    for at in (0..end - 200).step_by(61) {
        let directory = killed(sample.path());
        let file = newest(directory.path());
        change(&file, |bytes| bytes[at] ^= 0x10);
        let error = refused(directory.path());
        assert!(
            matches!(&error, Error::Corruption { path, .. } if *path == file),
            "{at}: {error:?}"
        );
    }
}

#[test]
fn the_refusal_names_both_offsets_and_changes_nothing() {
    let sample = sample();
    let directory = killed(sample.path());
    let file = newest(directory.path());
    change(&file, |bytes| bytes[100] ^= 0x10);
    let before = fs::read(&file).expect("the file is readable");
    for _ in 0..2 {
        let text = refused(directory.path()).to_string();
        assert!(text.contains("offset 69"), "{text}");
        assert!(text.contains("a whole one follows at offset"), "{text}");
        assert_eq!(fs::read(&file).expect("the file is readable"), before);
    }
}

#[test]
fn a_torn_end_is_cut_wherever_it_tears_the_last_record() {
    let sample = sample_with_an_unsynced_end();
    let end = end_of_records(&newest(sample.path()));
    for torn in [1, 2, 20, 60, 110] {
        let directory = killed(sample.path());
        change(&newest(directory.path()), |bytes| {
            bytes.truncate(end - torn)
        });
        assert_eq!(last_index(directory.path()), 99, "torn by {torn}");
        let log = open(directory.path()).expect("the log opens");
        append(&log, 100..=150);
        drop(log);
        assert_eq!(last_index(directory.path()), 150, "torn by {torn}");
    }
}

#[test]
fn a_torn_end_that_was_synced_is_refused_also_where_it_ends_between_two_records() {
    let sample = sample();
    let last = newest(sample.path());
    change(&last, |bytes| bytes.truncate(end_of_records(&last)));
    let boundaries = boundaries(&last);
    let [.., before, begin, end] = boundaries[..] else {
        panic!("there are two records in the newest file");
    };
    for (cut, complaint) in [
        (end - 1, "but the file was synced up to offset"),
        (begin + 1, "but the file was synced up to offset"),
        (begin, "were synced"),
        (before, "were synced"),
        (boundaries[0], "were synced"),
    ] {
        let directory = killed(sample.path());
        change(&newest(directory.path()), |bytes| bytes.truncate(cut));
        let text = refused(directory.path()).to_string();
        assert!(text.contains(complaint), "cut at {cut}: {text}");
        assert!(text.contains("replicate"), "cut at {cut}: {text}");
    }
    for at in [begin, begin + 20, end - 1] {
        let directory = killed(sample.path());
        change(&newest(directory.path()), |bytes| bytes[at] ^= 0x10);
        let text = refused(directory.path()).to_string();
        assert!(text.contains("was synced up to"), "flipped {at}: {text}");
    }
}

#[test]
fn a_log_whose_marks_are_gone_or_damaged_opens_with_all_that_was_written() {
    let sample = sample();
    for name in ["SYNCED-append", "SYNCED-rewrite"] {
        let directory = killed(sample.path());
        fs::remove_file(directory.path().join(name)).expect("there is a mark");
        assert_eq!(last_index(directory.path()), 100);
        change(&directory.path().join(name), |bytes| bytes.fill(0xff));
        assert_eq!(last_index(directory.path()), 100);
    }
}

#[test]
fn zeros_and_garbage_behind_the_records_are_cut() {
    let sample = sample();
    for garbage in [
        vec![0; 10_000],
        vec![0xab; 10_000],
        (0..=255).cycle().take(5_000).collect(),
    ] {
        let directory = killed(sample.path());
        let file = newest(directory.path());
        let end = end_of_records(&file);
        change(&file, |bytes| {
            bytes.truncate(end);
            bytes.extend(garbage);
        });
        assert_eq!(last_index(directory.path()), 100);
    }
}

#[test]
fn a_deleted_file_is_refused_whichever_it_is() {
    let sample = sample();
    let names = [
        files(sample.path(), ".raftlog"),
        files(sample.path(), ".rewrite"),
    ]
    .concat();
    assert!(names.len() >= 4);
    for name in names {
        let directory = killed(sample.path());
        let file = directory.path().join(name.file_name().expect("a name"));
        fs::remove_file(&file).expect("the file was there");
        let error = refused(directory.path());
        assert!(
            matches!(&error, Error::Corruption { path, .. } if *path == file),
            "{error:?}"
        );
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn all_files_deleted_but_the_list_are_refused() {
    let directory = sample();
    for file in [
        files(directory.path(), ".raftlog"),
        files(directory.path(), ".rewrite"),
    ]
    .concat()
    {
        fs::remove_file(file).expect("the file was there");
    }
    assert!(refused(directory.path()).to_string().contains("missing"));
}

#[test]
fn an_emptied_file_is_refused() {
    let sample = sample();
    for file in files(sample.path(), ".raftlog") {
        let directory = killed(sample.path());
        let file = directory.path().join(file.file_name().expect("a name"));
        change(&file, Vec::clear);
        let error = refused(directory.path());
        assert!(
            matches!(&error, Error::Corruption { path, .. } if *path == file),
            "{error:?}"
        );
    }
}

#[test]
fn a_closed_file_that_was_cut_within_a_record_is_refused() {
    let sample = sample();
    let closed = files(sample.path(), ".raftlog").swap_remove(0);
    let directory = killed(sample.path());
    let file = directory.path().join(closed.file_name().expect("a name"));
    change(&file, |bytes| bytes.truncate(bytes.len() - 10));
    let text = refused(directory.path()).to_string();
    assert!(text.contains("later Append file follows"), "{text}");
}

#[test]
fn a_closed_file_that_was_cut_between_any_two_records_is_refused() {
    let sample = purged();
    for ending in [".raftlog", ".rewrite"] {
        let closed = files(sample.path(), ending).swap_remove(0);
        let boundaries = boundaries(&closed);
        for cut in &boundaries[..boundaries.len() - 1] {
            let directory = killed(sample.path());
            let file = directory.path().join(closed.file_name().expect("a name"));
            change(&file, |bytes| bytes.truncate(*cut));
            let text = refused(directory.path()).to_string();
            assert!(text.contains("when it was closed"), "cut at {cut}: {text}");
        }
    }
}

#[test]
fn the_lengths_of_closed_files_survive_restarts() {
    let sample = purged();
    drop(open(sample.path()).expect("the log opens"));
    let closed = files(sample.path(), ".raftlog").swap_remove(1);
    let boundaries = boundaries(&closed);
    change(&closed, |bytes| {
        bytes.truncate(boundaries[boundaries.len() - 2])
    });
    let text = refused(sample.path()).to_string();
    assert!(text.contains("when it was closed"), "{text}");
}

#[test]
fn a_flipped_compression_is_refused() {
    // Every batch is compressed, or none.
    for (compression_threshold_bytes, compression) in [(1, 1), (0, 0)] {
        let options = RaftLogOptions {
            compression_threshold_bytes,
            ..options()
        };
        let directory = temporary();
        let log = RaftLogEngine::open(directory.path(), &options).expect("the log opens");
        append(&log, 1..=100);
        let sample = killed(directory.path());
        let closed = files(sample.path(), ".raftlog").swap_remove(0);
        for at in boundaries(&closed).into_iter().rev().skip(1) {
            let directory = killed(sample.path());
            let file = directory.path().join(closed.file_name().expect("a name"));
            change(&file, |bytes| {
                assert_eq!(bytes[at + 7], compression);
                bytes[at + 7] ^= 1;
            });
            let text = refused(directory.path()).to_string();
            assert!(text.contains("do not fit its compression"), "{text}");
        }
    }
}

#[test]
fn a_file_that_raft_engine_alone_would_take_for_a_log_file_is_refused() {
    for name in [
        "0000000000000007-copy.raftlog",
        "0000000000000001 (1).rewrite",
        "0000000000000001.raftlog.reserved",
        "+000000000000012.raftlog",
    ] {
        let directory = killed(sample().path());
        let path = directory.path().join(name);
        fs::write(&path, b"").expect("the directory is writable");
        let error = refused(directory.path());
        assert!(
            matches!(&error, Error::Corruption { path: named, .. } if *named == path),
            "{error:?}"
        );
        fs::remove_file(&path).expect("the file was there");
        assert_eq!(last_index(directory.path()), 100);
    }
}

#[test]
fn a_torn_value_that_looks_like_a_record_is_cut_all_the_same() {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=3);
    // A client may store what it likes, a piece of this very file too.
    let file = newest(directory.path());
    let bytes = fs::read(&file).expect("the file is readable");
    let first = bytes[69..].first_chunk().expect("there are records");
    let length = (u64::from_be_bytes(*first) >> 8) as usize;
    let value = [b"before", &bytes[69..69 + length], &[b'x'; 500]].concat();
    append_one(&log, 4, value, Durability::Buffered);
    let killed = killed(directory.path());
    let file = newest(killed.path());
    let end = end_of_records(&file);
    change(&file, |bytes| bytes.truncate(end - 100));
    assert_eq!(last_index(killed.path()), 3);
}

#[test]
fn a_list_that_is_gone_or_damaged_is_refused() {
    let sample = sample();
    fs::remove_file(sample.path().join("FILES")).expect("there is a list");
    assert!(
        refused(sample.path())
            .to_string()
            .contains("list of Raft log files is missing")
    );
    fs::write(sample.path().join("FILES"), "append 1 9\n").expect("the file is writable");
    assert!(refused(sample.path()).to_string().contains("damaged"));
}

#[test]
fn a_first_start_that_a_crash_cut_short_starts_afresh() {
    let directory = temporary();
    drop(open(directory.path()).expect("the log opens"));
    fs::remove_file(directory.path().join("FILES")).expect("there is a list");
    change(&newest(directory.path()), |bytes| bytes.truncate(10));
    append(
        &open(directory.path()).expect("nothing was promised"),
        1..=3,
    );
    assert_eq!(last_index(directory.path()), 3);
}

#[test]
fn a_rotation_that_a_crash_cut_short_is_taken_back() {
    let sample = sample();
    let last = newest(sample.path());
    let name = last
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let sequence: u64 = name[..16].parse().expect("a number");
    for header in [0, 30, 69] {
        let directory = killed(sample.path());
        let end = end_of_records(&newest(directory.path()));
        // The file was closed before the next one was created.
        change(&newest(directory.path()), |bytes| bytes.truncate(end));
        let next = directory
            .path()
            .join(format!("{:016}.raftlog", sequence + 1));
        let bytes = fs::read(&last).expect("the file is readable");
        fs::write(&next, &bytes[..header]).expect("the directory is writable");
        let log = open(directory.path()).unwrap_or_else(|error| panic!("{header}: {error}"));
        append(&log, 101..=200);
        drop(log);
        assert_eq!(last_index(directory.path()), 200);
    }
}

#[test]
fn a_file_that_a_full_disk_left_behind_is_taken_back_and_the_one_before_may_be_torn() {
    let sample = sample_with_an_unsynced_end();
    let last = newest(sample.path());
    let name = last
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let sequence: u64 = name[..16].parse().expect("a number");
    let end = end_of_records(&last);
    for header in [0, 30, 69] {
        let directory = killed(sample.path());
        // The rotation failed at this file's header, the one before was written on, and torn.
        let next = format!("{:016}.raftlog", sequence + 1);
        let bytes = fs::read(&last).expect("the file is readable");
        fs::write(directory.path().join(next), &bytes[..header]).expect("writable");
        change(&directory.path().join(&name), |bytes| {
            bytes.truncate(end - 10)
        });
        assert_eq!(
            last_index(directory.path()),
            99,
            "{header} bytes of a header"
        );
    }
}

#[test]
fn a_purge_that_a_crash_cut_short_is_finished() {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=300);
    let first = files(directory.path(), ".raftlog").swap_remove(0);
    let content = fs::read(&first).expect("the file is readable");
    let mut batch = log.batch();
    batch.compact(REGION, 280);
    log.write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    for _ in 0..3 {
        log.purge().expect("the purge succeeds");
    }
    assert!(!first.exists(), "the purge deleted the oldest file");
    drop((batch, log));
    fs::write(&first, content).expect("the directory is writable");
    assert_eq!(last_index(directory.path()), 300);
    assert!(!first.exists());
    let log = open(directory.path()).expect("the log opens");
    assert_eq!(log.bounds(REGION).expect("reads"), Some((280, 300)));
}

/// A power loss takes what is not synced. What that let go of must still be there then.
#[test]
fn a_purge_deletes_nothing_for_a_compaction_that_is_not_synced() {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=310);
    let written = newest(directory.path());
    let synced = end_of_records(&written);
    let mut batch = log.batch();
    batch.compact(REGION, 310);
    log.write(&mut batch, Durability::Buffered)
        .expect("the compaction succeeds");
    let files_before = files(directory.path(), ".raftlog").len();
    log.purge().expect("the purge succeeds");
    assert!(files(directory.path(), ".raftlog").len() < files_before);
    assert_eq!(newest(directory.path()), written);
    let lost = killed(directory.path());
    let name = written.file_name().expect("it has one");
    change(&lost.path().join(name), |content| content.truncate(synced));
    // It was synced, so that no power loss takes it.
    let error = refused(lost.path()).to_string();
    assert!(error.contains("were synced"), "{error}");
}

#[test]
fn a_process_killed_at_any_write_or_purge_opens_again() {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    for round in 0..60_u64 {
        append(&log, round * 5 + 1..=round * 5 + 5);
        let mut batch = log.batch();
        batch.compact(REGION, (round * 5).saturating_sub(10));
        log.write(&mut batch, Durability::Buffered)
            .expect("the write succeeds");
        log.purge().expect("the purge succeeds");
        if round % 4 == 0 {
            assert_eq!(last_index(killed(directory.path()).path()), round * 5 + 5);
        }
    }
    let first = files(directory.path(), ".raftlog").swap_remove(0);
    assert!(
        !first.ends_with("0000000000000001.raftlog"),
        "nothing was purged"
    );
}

#[test]
fn a_second_handle_is_refused_while_the_first_is_open() {
    let directory = temporary();
    let log = open(directory.path()).expect("the log opens");
    append(&log, 1..=1);
    let error = refused(directory.path());
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    append(&log, 2..=2);
    drop(log);
    assert_eq!(last_index(directory.path()), 2);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_io_error_with_its_path() {
    let directory = temporary();
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("the file is writable");
    let path = file.join("log");
    let error = refused(&path);
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&*file.to_string_lossy()),
        "{error}"
    );
}
