//! The verifier: reads every log file before raft-engine does, and refuses what a crash can't
//! explain.
//!
//! **What a crash explains**, given how raft-engine rotates and purges:
//! - The end of the newest file of a queue is torn, or zeros that were allocated ahead: cut.
//! - A file newer than the list without a record: a rotation that was cut short, or that a full disk
//!   stopped while the file before went on; removed, so that the file before is the newest again.
//! - A file newer than the list with records: the list could not be stored, which stopped the log in
//!   the same call; nothing in it was promised, all of it may stay.
//! - Files older than the list's first: a purge that was cut short, removed.
//! - There is no list, and no file has a record: the first start was cut short, all removed.
//!
//! **What it refuses:** a broken record with a whole one behind it, or in a file that was closed; a
//! closed file that is shorter or longer than it was then; a newest file whose whole records end before
//! its mark; a file of the list, or between two others, that is gone; records without a list; files that
//! raft-engine would take for its own and we don't.
//!
//! **Invariants.** Nothing is changed before everything was read and found good.
//!
//! **Not here.** Reading a single file: see `check`.

use crate::check::{Verdict, check_file};
use crate::manifest::{self, Files, Manifest, Queue, concerns_raft_engine, parse_file_name};
use engine::file::{failed, sync_directory, sync_failed};
use engine::watermark::Mark;
use engine::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Hears how many bytes of the log were read, and of how many. From any thread.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// For files of which nobody waits to hear.
const UNHEARD: &dyn Fn(u64) = &|_| ();

/// Something to do once everything was found good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Removes a file.
    Remove(PathBuf),
    /// Shortens a file to so many bytes.
    Cut(PathBuf, u64),
}

/// A file to read.
#[derive(Clone, Debug)]
struct Task {
    queue: Queue,
    sequence: u64,
    path: PathBuf,
    /// Whether a crash can have torn its end.
    newest: bool,
    /// The length that it must have, if the list says one. Bytes.
    closed_bytes: Option<u64>,
    /// So much of it was synced, as far as is known. Bytes.
    synced_bytes: u64,
}

/// Verifies the files in `directory` with so many threads, then cuts and removes what a crash left.
/// Answers the list of what remains; none if there never was a log.
///
/// # Errors
/// [`Error::Corruption`], with the file, the offset and what to do; errors of reading and writing.
pub(crate) fn verify(
    directory: &Path,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Option<Manifest>> {
    let (found, repairs) = examine(directory, threads, progress)?;
    carry_out(directory, repairs)?;
    Ok(found)
}

/// As [`verify`], but changes nothing, and answers what it would have cut and removed.
///
/// # Errors
/// [`Error::Corruption`], with the file, the offset and what to do; errors of reading.
pub(crate) fn examine(
    directory: &Path,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Option<Manifest>, Vec<Repair>)> {
    let files = list(directory)?;
    let mut repairs = Vec::new();
    let Some(listed) = Manifest::load(directory)? else {
        for (queue, sequences) in Queue::ALL.into_iter().zip(&files) {
            refuse_records(directory, queue, sequences, &mut repairs)?;
        }
        return Ok((None, repairs));
    };
    let mut tasks = Vec::new();
    let mut found = listed.clone();
    for (queue, mut sequences) in Queue::ALL.into_iter().zip(files) {
        select(directory, queue, &listed, &mut sequences, &mut repairs)?;
        let of_queue = tasks_of(directory, queue, &listed, &sequences)?;
        *found.files_mut(queue) = files_of(&of_queue)?;
        tasks.extend(of_queue);
    }
    repairs.extend(check_all(&tasks, threads, progress)?);
    Ok((Some(found), repairs))
}

/// The numbers of the files in `directory`, by queue.
fn list(directory: &Path) -> Result<[BTreeSet<u64>; 2]> {
    let entries = fs::read_dir(directory).map_err(|error| failed("list", directory, error))?;
    let mut files = [BTreeSet::new(), BTreeSet::new()];
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", directory, error))?;
        if let Some((queue, sequence)) = parse_file_name(&entry.path()) {
            files[queue as usize].insert(sequence);
        } else if concerns_raft_engine(&entry.file_name()) {
            let reason = "this is no file of the Raft log, but would be taken for one; move it \
                          out of the directory";
            return Err(Error::corrupt(entry.path(), reason));
        }
    }
    Ok(files)
}

/// Takes out what a purge or a rotation left, and refuses a hole.
fn select(
    directory: &Path,
    queue: Queue,
    listed: &Manifest,
    sequences: &mut BTreeSet<u64>,
    repairs: &mut Vec<Repair>,
) -> Result<()> {
    let listed = listed.files(queue);
    let current = sequences.split_off(&listed.first());
    for sequence in std::mem::replace(sequences, current) {
        repairs.push(Repair::Remove(directory.join(queue.file_name(sequence))));
    }
    let last = sequences.last().copied().unwrap_or(0).max(listed.last());
    for sequence in listed.first()..=last {
        if !sequences.contains(&sequence) {
            let path = directory.join(queue.file_name(sequence));
            return Err(Error::damaged(path, "the Raft log file is missing"));
        }
    }
    for sequence in (listed.last() + 1..=last).rev() {
        let path = directory.join(queue.file_name(sequence));
        if check_file(&path, sequence, UNHEARD)?.has_records() {
            break;
        }
        sequences.remove(&sequence);
        repairs.push(Repair::Remove(path));
    }
    Ok(())
}

fn tasks_of(
    directory: &Path,
    queue: Queue,
    listed: &Manifest,
    sequences: &BTreeSet<u64>,
) -> Result<Vec<Task>> {
    let newest = sequences.last();
    let mark = Mark::load(&directory.join(queue.mark_name()))?.unwrap_or_default();
    let task = |sequence: &u64| Task {
        queue,
        sequence: *sequence,
        path: directory.join(queue.file_name(*sequence)),
        newest: newest == Some(sequence),
        closed_bytes: listed.files(queue).closed_bytes(*sequence),
        synced_bytes: if mark.number == *sequence {
            mark.bytes
        } else {
            0
        },
    };
    Ok(sequences.iter().map(task).collect())
}

/// What the list has to say about the files of one queue, of which there is at least one.
fn files_of(tasks: &[Task]) -> Result<Files> {
    let bytes = |task: &Task| match task.closed_bytes {
        Some(bytes) => Ok(bytes),
        None => match fs::metadata(&task.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(failed("read", &task.path, error)),
        },
    };
    let closed: Result<Vec<u64>> = tasks[..tasks.len() - 1].iter().map(bytes).collect();
    Ok(Files::new(tasks[0].sequence, closed?))
}

/// Without a list no record was ever promised, so there must be none.
fn refuse_records(
    directory: &Path,
    queue: Queue,
    sequences: &BTreeSet<u64>,
    repairs: &mut Vec<Repair>,
) -> Result<()> {
    for sequence in sequences {
        let path = directory.join(queue.file_name(*sequence));
        if check_file(&path, *sequence, UNHEARD)?.has_records() {
            let what = format!(
                "the list of Raft log files is missing, but {} holds records",
                path.display()
            );
            return Err(Error::damaged(directory.join(manifest::NAME), what));
        }
        repairs.push(Repair::Remove(path));
    }
    Ok(())
}

/// Reads all files; the first error in the order of `tasks` counts.
fn check_all(tasks: &[Task], threads: usize, progress: Progress<'_>) -> Result<Vec<Repair>> {
    let bytes = |task: &Task| fs::metadata(&task.path).map_or(0, |metadata| metadata.len());
    let total: u64 = tasks.iter().map(bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    progress(0, total);
    let seen = |bytes: u64| {
        let before = done.fetch_add(bytes, Ordering::Relaxed);
        progress(before + bytes, total);
    };
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(at) else {
                return found;
            };
            found.push((at, check(task, &seen)));
        }
    };
    let results: BTreeMap<usize, Result<Option<Repair>>> = std::thread::scope(|scope| {
        let threads = threads.clamp(1, tasks.len().max(1));
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().expect("reading does not panic"));
        joined.flatten().collect()
    });
    let repairs: Result<Vec<_>> = results.into_values().collect();
    Ok(repairs?.into_iter().flatten().collect())
}

fn check(task: &Task, seen: &dyn Fn(u64)) -> Result<Option<Repair>> {
    let refuse = |what: String| Err(Error::damaged(&task.path, what));
    match check_file(&task.path, task.sequence, seen)? {
        Verdict::Whole { bytes, .. } => match task.closed_bytes {
            Some(closed) if closed != bytes => refuse(format!(
                "the file has {bytes} bytes, but had {closed} when it was closed"
            )),
            _ if bytes < task.synced_bytes => refuse(format!(
                "the file has {bytes} bytes, but {} were synced",
                task.synced_bytes
            )),
            _ => Ok(None),
        },
        Verdict::NoHeader { record: Some(at) } => refuse(format!(
            "the file's header is broken, but a whole record stands at offset {at}"
        )),
        Verdict::NoHeader { record: None } => {
            refuse("the file's header is broken (offset 0)".to_owned())
        }
        Verdict::Broken {
            at,
            why,
            next: Some(next),
            ..
        } => refuse(format!(
            "the record at offset {at} is broken ({why}), but a whole one follows at offset {next}"
        )),
        Verdict::Broken { at, why, .. } if task.newest && at < task.synced_bytes => {
            refuse(format!(
                "the record at offset {at} is broken ({why}), but the file was synced up to offset {}",
                task.synced_bytes
            ))
        }
        Verdict::Broken { at, .. } if task.newest => Ok(Some(Repair::Cut(task.path.clone(), at))),
        Verdict::Broken { at, why, .. } => refuse(format!(
            "the record at offset {at} is broken ({why}), and a later {:?} file follows",
            task.queue
        )),
    }
}

fn carry_out(directory: &Path, repairs: Vec<Repair>) -> Result<()> {
    let removes = repairs
        .iter()
        .any(|repair| matches!(repair, Repair::Remove(_)));
    for repair in repairs {
        match repair {
            Repair::Remove(path) => {
                fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            }
            Repair::Cut(path, length) => cut(&path, length)?,
        }
    }
    if removes {
        sync_directory(directory)?;
    }
    Ok(())
}

fn cut(path: &Path, length: u64) -> Result<()> {
    let open = OpenOptions::new().write(true).open(path);
    let file: File = open.map_err(|error| failed("open", path, error))?;
    file.set_len(length)
        .map_err(|error| failed("cut", path, error))?;
    file.sync_all().map_err(|error| sync_failed(path, error))
}
