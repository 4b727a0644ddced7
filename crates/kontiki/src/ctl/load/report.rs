//! What a load did: counted while it runs, reported when it ends.
//!
//! **Invariants.** Every line that is not empty is counted once: loaded, failed, or bad. Details are
//! kept for the first few only, so that a file of nothing but bad lines needs no memory.
//!
//! **Not here.** The progress bar.

use serde::Serialize;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many bad lines and failed batches are described one by one.
const DETAILS_MAX: usize = 20;
/// After so many failed batches, the rest is not tried.
const FAILURES_MAX: u64 = 16;

/// A batch that may not have been written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The first line of the batch, from 1.
    pub first_line: u64,
    /// Its last line. Lines between that belong to other batches may be written.
    pub last_line: u64,
    /// How many lines the batch had.
    pub pairs: u64,
    /// Why.
    pub error: String,
}

/// A line that is no pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
}

/// Counts, shared by the reader and the workers.
#[derive(Debug, Default)]
pub struct Tally {
    pairs: AtomicU64,
    bytes: AtomicU64,
    failed_pairs: AtomicU64,
    failed_batches: AtomicU64,
    bad_lines: AtomicU64,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    failures: Vec<Failure>,
    bad_lines: Vec<BadLine>,
}

impl Tally {
    /// So many lines, with so many bytes of keys and values, have been written.
    pub fn loaded(&self, pairs: u64, bytes: u64) {
        self.pairs.fetch_add(pairs, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A batch may not have been written.
    pub fn failed(&self, failure: Failure) {
        self.failed_pairs
            .fetch_add(failure.pairs, Ordering::Relaxed);
        self.failed_batches.fetch_add(1, Ordering::Relaxed);
        let mut details = self.details.lock().expect("no holder panics");
        if details.failures.len() < DETAILS_MAX {
            details.failures.push(failure);
        }
    }

    /// A line is no pair.
    pub fn bad_line(&self, line: u64, error: String) {
        self.bad_lines.fetch_add(1, Ordering::Relaxed);
        let mut details = self.details.lock().expect("no holder panics");
        if details.bad_lines.len() < DETAILS_MAX {
            details.bad_lines.push(BadLine { line, error });
        }
    }

    /// Pairs written so far.
    pub fn pairs(&self) -> u64 {
        self.pairs.load(Ordering::Relaxed)
    }

    /// Whether so much has failed that the rest would too.
    pub fn is_hopeless(&self) -> bool {
        self.failed_batches.load(Ordering::Relaxed) >= FAILURES_MAX
    }

    /// The report, after all workers have ended.
    pub fn report(&self, file: &str, elapsed: Duration) -> Report {
        let details = self.details.lock().expect("no holder panics");
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let (pairs, bytes) = (self.pairs(), self.bytes.load(Ordering::Relaxed));
        Report {
            file: file.to_owned(),
            pairs,
            bytes,
            seconds,
            pairs_per_second: pairs as f64 / seconds,
            bytes_per_second: bytes as f64 / seconds,
            bad_lines: self.bad_lines.load(Ordering::Relaxed),
            failed_pairs: self.failed_pairs.load(Ordering::Relaxed),
            given_up: self.is_hopeless(),
            first_bad_lines: details.bad_lines.clone(),
            first_failures: details.failures.clone(),
        }
    }
}

/// What a load did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// Lines written; a key that occurs twice counts twice.
    pub pairs: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Lines a second.
    pub pairs_per_second: f64,
    /// Bytes of keys and values a second.
    pub bytes_per_second: f64,
    /// Lines that are no pair.
    pub bad_lines: u64,
    /// Lines in batches that may not have been written.
    pub failed_pairs: u64,
    /// Whether the rest of the file was left out because too much had failed.
    pub given_up: bool,
    /// The first bad lines.
    pub first_bad_lines: Vec<BadLine>,
    /// The first failed batches.
    pub first_failures: Vec<Failure>,
}

impl Report {
    /// Whether the whole file was written.
    pub fn is_complete(&self) -> bool {
        self.bad_lines == 0 && self.failed_pairs == 0 && !self.given_up
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        write!(
            f,
            "{} pairs ({:.1} MiB) in {:.2} s: {:.0} pairs/s, {:.1} MiB/s",
            self.pairs,
            self.bytes as f64 / MIB,
            self.seconds,
            self.pairs_per_second,
            self.bytes_per_second / MIB
        )?;
        if self.bad_lines > 0 {
            let noun = if self.bad_lines == 1 { "line" } else { "lines" };
            write!(f, "\n{} bad {noun}, left out:", self.bad_lines)?;
            for bad in &self.first_bad_lines {
                write!(f, "\n  {}:{}: {}", self.file, bad.line, bad.error)?;
            }
            let more = self.bad_lines - self.first_bad_lines.len() as u64;
            if more > 0 {
                write!(f, "\n  and {more} more")?;
            }
        }
        if self.failed_pairs > 0 {
            write!(
                f,
                "\n{} pairs failed and may be missing:",
                self.failed_pairs
            )?;
            for failure in &self.first_failures {
                let Failure {
                    first_line,
                    last_line,
                    pairs,
                    error,
                } = failure;
                write!(
                    f,
                    "\n  {}:{first_line}-{last_line} ({pairs} pairs): {error}",
                    self.file
                )?;
            }
        }
        if self.given_up {
            f.write_str("\ngiven up: too many batches failed; the rest of the file was not tried")?;
        }
        Ok(())
    }
}
