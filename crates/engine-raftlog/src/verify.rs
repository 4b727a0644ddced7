//! The verifier: reads every log file before raft-engine does, and refuses what a crash can't
//! explain.
//!
//! **What a crash explains**, given how raft-engine rotates and purges:
//! - The end of the newest file of a queue is torn, or zeros that were allocated ahead: cut.
//! - One file newer than the list's last has no whole header: never used, removed.
//! - Files older than the list's first: a purge that was cut short, removed.
//! - There is no list, and no file has a record: the first start was cut short, all removed.
//!
//! **What it refuses:** a broken record with a whole one behind it, or in a file that was closed; a
//! file of the list, or between two others, that is gone; records without a list.
//!
//! **Invariants.** Nothing is changed before everything was read and found good.
//!
//! **Not here.** Reading a single file: see `check`.

use crate::check::{Verdict, check_file};
use crate::manifest::{Manifest, Queue, parse_file_name};
use engine::file::{failed, sync_directory, sync_failed};
use engine::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the operator has to do about a log that is refused.
pub(crate) const REMEDY: &str = "this store has lost entries it may have acknowledged and must not \
     start with them missing: remove the store's data directory and replicate its Regions from the \
     other stores";

/// Something to do once everything was found good.
#[derive(Debug, PartialEq, Eq)]
enum Repair {
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
    /// Whether the list names it, so that its header was synced.
    listed: bool,
}

/// Verifies the files in `directory` with so many threads, then cuts and removes what a crash left.
///
/// # Errors
/// [`Error::Corruption`], with the file, the offset and what to do; errors of reading and writing.
pub(crate) fn verify(directory: &Path, threads: usize) -> Result<()> {
    let manifest = Manifest::load(directory)?;
    let files = list(directory)?;
    let mut repairs = Vec::new();
    let mut tasks = Vec::new();
    for queue in Queue::ALL {
        let mut sequences = files
            .iter()
            .filter(|(of, _)| *of == queue)
            .map(|(_, n)| *n)
            .collect();
        match manifest {
            Some(manifest) => select(directory, queue, manifest, &mut sequences, &mut repairs)?,
            None => refuse_records(directory, queue, &sequences, &mut repairs)?,
        }
        if let Some(manifest) = manifest {
            let newest = sequences.last().copied();
            tasks.extend(sequences.iter().map(|sequence| Task {
                queue,
                sequence: *sequence,
                path: directory.join(queue.file_name(*sequence)),
                newest: newest == Some(*sequence),
                listed: *sequence <= manifest.span(queue).last,
            }));
        }
    }
    repairs.extend(check_all(&tasks, threads)?);
    carry_out(directory, repairs)
}

fn list(directory: &Path) -> Result<Vec<(Queue, u64)>> {
    let entries = fs::read_dir(directory).map_err(|error| failed("list", directory, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", directory, error))?;
        files.extend(parse_file_name(&entry.path()));
    }
    Ok(files)
}

/// Takes out what a purge left, and refuses a hole.
fn select(
    directory: &Path,
    queue: Queue,
    manifest: Manifest,
    sequences: &mut BTreeSet<u64>,
    repairs: &mut Vec<Repair>,
) -> Result<()> {
    let span = manifest.span(queue);
    let current = sequences.split_off(&span.first);
    for sequence in std::mem::replace(sequences, current) {
        repairs.push(Repair::Remove(directory.join(queue.file_name(sequence))));
    }
    let last = sequences.last().copied().unwrap_or(0).max(span.last);
    for sequence in span.first..=last {
        if !sequences.contains(&sequence) {
            let path = directory.join(queue.file_name(sequence));
            let reason = format!("the Raft log file is missing; {REMEDY}");
            return Err(corrupt(path, reason));
        }
    }
    Ok(())
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
        let verdict = check_file(&path, *sequence)?;
        if verdict.has_records() {
            let list = directory.join(crate::manifest::NAME);
            let reason = format!(
                "the list of Raft log files is missing, but {} holds records; {REMEDY}",
                path.display()
            );
            return Err(corrupt(list, reason));
        }
        repairs.push(Repair::Remove(path));
    }
    Ok(())
}

/// Reads all files; the first error in the order of `tasks` counts.
fn check_all(tasks: &[Task], threads: usize) -> Result<Vec<Repair>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(at) else {
                return done;
            };
            done.push((at, check(task)));
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

fn check(task: &Task) -> Result<Option<Repair>> {
    let refuse = |what: String| Err(corrupt(task.path.clone(), format!("{what}; {REMEDY}")));
    match check_file(&task.path, task.sequence)? {
        Verdict::Whole { .. } => Ok(None),
        Verdict::NoHeader {
            record: Some(at), ..
        } => refuse(format!(
            "the file's header is broken, but a whole record stands at offset {at}"
        )),
        Verdict::NoHeader { record: None, .. } if task.newest && !task.listed => {
            Ok(Some(Repair::Remove(task.path.clone())))
        }
        Verdict::NoHeader { record: None, .. } => {
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

fn corrupt(path: PathBuf, reason: String) -> Error {
    Error::Corruption {
        path,
        reason,
        source: None,
    }
}
