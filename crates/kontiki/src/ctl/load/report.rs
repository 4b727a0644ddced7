//! What a load did: counted while it runs, reported when it ends.
//!
//! **Invariants.** Every line that was read and is not empty is counted once: loaded, failed, bad, or
//! not tried. Details are kept for the first few only, so that a file of nothing but bad lines needs
//! no memory.
//!
//! **Not here.** The progress bar.

use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

/// How many bad lines and failures are described one by one.
const DETAILS_MAX: usize = 20;
/// After so many batches for which the cluster was not available, the rest is not tried.
const UNAVAILABLE_MAX: u64 = 16;
/// Nor after so many pairs that were refused while not a single one was taken: then it is not the
/// pairs (the cluster may have another API version).
const REFUSED_FROM_THE_START_MAX: u64 = 1_024;

/// Where pairs stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The line of the first of them, from 1.
    pub first_line: u64,
    /// The line of the last. Others between may have fared otherwise.
    pub last_line: u64,
    /// How many lines are meant.
    pub pairs: u64,
}

impl Span {
    /// One line.
    pub fn line(number: u64) -> Self {
        Self {
            first_line: number,
            last_line: number,
            pairs: 1,
        }
    }

    /// The lines of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            first_line: self.first_line.min(other.first_line),
            last_line: self.last_line.max(other.last_line),
            pairs: self.pairs + other.pairs,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span {
            first_line,
            last_line,
            pairs,
        } = self;
        match pairs {
            1 => write!(f, "{first_line}"),
            _ => write!(f, "{first_line}-{last_line} ({pairs} pairs)"),
        }
    }
}

/// Pairs that may not have been written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    #[serde(flatten)]
    pub span: Span,
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
    refused_pairs: AtomicU64,
    unavailable_pairs: AtomicU64,
    unavailable_batches: AtomicU64,
    untried_lines: AtomicU64,
    bad_lines: AtomicU64,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    failures: Vec<Failure>,
    bad_lines: Vec<BadLine>,
    read_error: Option<String>,
}

impl Tally {
    /// So many lines, with so many bytes of keys and values, have been written.
    pub fn loaded(&self, pairs: u64, bytes: u64) {
        self.pairs.fetch_add(pairs, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// These pairs are never taken.
    pub fn refused(&self, failure: Failure) {
        self.refused_pairs
            .fetch_add(failure.span.pairs, Ordering::Relaxed);
        self.describe(failure);
    }

    /// The cluster was not available for a batch, which may not have been written.
    pub fn unavailable(&self, failure: Failure) {
        self.unavailable_pairs
            .fetch_add(failure.span.pairs, Ordering::Relaxed);
        self.unavailable_batches.fetch_add(1, Ordering::Relaxed);
        self.describe(failure);
    }

    fn describe(&self, failure: Failure) {
        let mut details = self.details.lock().expect("no holder panics");
        if details.failures.len() < DETAILS_MAX {
            details.failures.push(failure);
        }
    }

    /// So many lines are left out, because it is hopeless.
    pub fn untried(&self, lines: u64) {
        self.untried_lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// Behind this line the file can't be read.
    pub fn unreadable(&self, after_line: u64, error: &io::Error) {
        let mut details = self.details.lock().expect("no holder panics");
        details.read_error = Some(format!("after line {after_line}: {error}"));
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
        let nothing_is_taken = self.pairs() == 0
            && self.refused_pairs.load(Ordering::Relaxed) >= REFUSED_FROM_THE_START_MAX;
        nothing_is_taken || self.unavailable_batches.load(Ordering::Relaxed) >= UNAVAILABLE_MAX
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
            failed_pairs: self.refused_pairs.load(Ordering::Relaxed)
                + self.unavailable_pairs.load(Ordering::Relaxed),
            untried_lines: self.untried_lines.load(Ordering::Relaxed),
            read_error: details.read_error.clone(),
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
    /// Lines with pairs that were refused, or may not have been written.
    pub failed_pairs: u64,
    /// Lines that were left out because too much had failed before.
    pub untried_lines: u64,
    /// Why the file could not be read to its end, if so; what follows is in no other figure.
    pub read_error: Option<String>,
    /// The first bad lines.
    pub first_bad_lines: Vec<BadLine>,
    /// The first failures.
    pub first_failures: Vec<Failure>,
}

impl Report {
    /// Whether the whole file was written.
    pub fn is_complete(&self) -> bool {
        self.bad_lines + self.failed_pairs + self.untried_lines == 0 && self.read_error.is_none()
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
            write_more(f, self.bad_lines - self.first_bad_lines.len() as u64)?;
        }
        if self.failed_pairs > 0 {
            let failed = self.failed_pairs;
            write!(f, "\n{failed} pairs failed and may be missing:")?;
            for failure in &self.first_failures {
                write!(f, "\n  {}:{}: {}", self.file, failure.span, failure.error)?;
            }
            let described = self.first_failures.iter().map(|failure| failure.span.pairs);
            write_more(f, failed - described.sum::<u64>())?;
        }
        if self.untried_lines > 0 {
            let untried = self.untried_lines;
            write!(
                f,
                "\ngiven up: too much failed; {untried} lines were not tried"
            )?;
        }
        if let Some(error) = &self.read_error {
            write!(f, "\n{} could not be read to its end: {error}", self.file)?;
        }
        Ok(())
    }
}

fn write_more(f: &mut fmt::Formatter<'_>, more: u64) -> fmt::Result {
    match more {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}
