//! `ctl raw load`: a file of pairs, written in batches by several workers.
//!
//! **Why.** The first thing that one does with a store is to fill it; what went wrong must name the
//! line.
//!
//! **Invariants.** Reading blocks, so it has a thread of its own; it never runs further ahead of the
//! writers than their queues allow. The report accounts for every line that was read, also when the
//! load was given up or the file could not be read to its end.
//!
//! **Not here.** The protocol: pairs go into a [`Sink`].

mod batches;
mod lines;
mod progress;
mod report;

pub use batches::{Limits, NotWritten, Sink};
pub use lines::Format;
pub use report::Report;

use super::encoding::Encoding;
use batches::Spreader;
use lines::Lines;
use progress::Progress;
use report::Tally;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinError;

/// Between two looks at the progress, in lines.
const PROGRESS_LINES: u64 = 256;

/// What is loaded, and how it is read.
pub struct Source {
    name: String,
    reader: Box<dyn BufRead + Send>,
    bytes_total: Option<u64>,
    format: Format,
    encoding: Encoding,
}

impl Source {
    /// Opens a file; `-` is the standard input. Without a format it is told from the name's ending.
    ///
    /// # Errors
    /// When the file can't be opened, or nothing says its format.
    pub fn open(path: &Path, format: Option<Format>, encoding: Encoding) -> io::Result<Self> {
        let format = format.or_else(|| format_of(path)).ok_or_else(|| {
            let message =
                "the name ends neither in .tsv nor in .json or .jsonl: give --format tsv or json";
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        let is_stdin = path == Path::new("-");
        let (reader, bytes_total): (Box<dyn BufRead + Send>, _) = if is_stdin {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            (
                Box::new(BufReader::with_capacity(1 << 20, file)),
                meta.is_file().then_some(meta.len()),
            )
        };
        Ok(Self {
            name: if is_stdin {
                "stdin".to_owned()
            } else {
                path.display().to_string()
            },
            reader,
            bytes_total,
            format,
            encoding,
        })
    }
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "tsv" | "txt" | "tab" => Some(Format::Tsv),
        "json" | "jsonl" | "ndjson" => Some(Format::Json),
        _ => None,
    }
}

/// Loads all of `source` into `sink`. Whatever went wrong with the file, its lines and their pairs is
/// in the report.
///
/// # Errors
/// When a part of this program panicked.
pub async fn load<S: Sink>(source: Source, limits: Limits, sink: S) -> Result<Report, JoinError> {
    let started = Instant::now();
    let tally = Arc::new(Tally::default());
    let (spreader, mut workers) = batches::start(limits, &sink, &tally);
    let name = source.name.clone();
    let reader_tally = tally.clone();
    tokio::task::spawn_blocking(move || read(source, spreader, &reader_tally)).await?;
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(tally.report(&name, started.elapsed()))
}

/// Reads to the end, or as far as it goes. It also does when the writers have given up, since a report
/// without the number of lines that are missing would leave the person to find them.
fn read(source: Source, mut spreader: Spreader, tally: &Tally) {
    let mut progress = Progress::start(source.bytes_total);
    let mut lines = Lines::new(source.reader, source.format, source.encoding);
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                tally.unreadable(lines.number(), &error);
                break;
            }
        };
        if line.number % PROGRESS_LINES == 0 {
            progress.update(lines.bytes_read(), tally.pairs());
        }
        match line.pair {
            Ok(pair) => spreader.push(line.number, pair),
            Err(error) => tally.bad_line(line.number, error),
        }
    }
    spreader.finish();
    progress.finish();
}

#[cfg(test)]
mod tests;
