//! Reading one log file from its first byte to its last.
//!
//! **Not here.** Whether what is found is a crash's doing: see `verify`.

use crate::record::LogFile;
use engine::Result;
use engine::chain::Record;
use engine::file::failed;
use std::fs::File;
use std::path::Path;

/// How often whoever waits is told. Bytes.
const STEP_BYTES: u64 = 1 << 20;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A header and whole records, to the end.
    Whole {
        /// How many.
        records: u64,
        /// The file's length.
        bytes: u64,
    },
    /// No header.
    NoHeader {
        /// Where a whole record stands nevertheless.
        record: Option<u64>,
    },
    /// Whole records up to an offset, and something else there.
    Broken {
        /// How many before it.
        records: u64,
        /// The offset.
        at: u64,
        /// What is wrong there.
        why: &'static str,
        /// Where the first whole record behind it stands.
        next: Option<u64>,
    },
}

impl Verdict {
    /// Whether any whole record was found.
    pub(crate) fn has_records(&self) -> bool {
        match self {
            Verdict::Whole { records, .. } => *records > 0,
            Verdict::NoHeader { record } => record.is_some(),
            Verdict::Broken { records, next, .. } => *records > 0 || next.is_some(),
        }
    }
}

/// Reads the file at `path`, whose number is `sequence`. `seen` hears of bytes that were read, now and then.
///
/// # Errors
/// [`engine::Error::Io`] if it can't be read.
pub(crate) fn check_file(path: &Path, sequence: u64, seen: &dyn Fn(u64)) -> Result<Verdict> {
    let file = File::open(path).and_then(LogFile::new);
    let verdict = file.and_then(|mut file| read(&mut file, sequence, seen));
    verdict.map_err(|error| failed("read", path, error))
}

fn read(file: &mut LogFile, sequence: u64, seen: &dyn Fn(u64)) -> std::io::Result<Verdict> {
    let Some(header) = file.header(sequence)? else {
        // Records can still be told by the header that the file should have.
        let record = file.find_record(crate::record::Header::expected(sequence), 0)?;
        return Ok(Verdict::NoHeader { record });
    };
    let (mut at, mut records, mut told) = (header.bytes, 0, 0);
    while at < file.length() {
        match file.record(header, at)? {
            Record::Whole(length) => {
                at += length;
                records += 1;
                if at - told >= STEP_BYTES {
                    seen(at - told);
                    told = at;
                }
            }
            Record::Broken { why, .. } => {
                let next = file.find_record(header, at + 1)?;
                return Ok(Verdict::Broken {
                    records,
                    at,
                    why,
                    next,
                });
            }
        }
    }
    let bytes = file.length();
    seen(bytes - told);
    Ok(Verdict::Whole { records, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RaftLogEngine, RaftLogOptions};
    use engine::{Durability, RaftLog, RaftLogBatch};
    use types::{LogEntry, RegionId};

    /// What a log engine has written into its first file.
    fn written() -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = RaftLogOptions::default();
        let log = RaftLogEngine::open(directory.path(), &options).expect("the log opens");
        for index in 1..=4 {
            let entry = LogEntry {
                index,
                term: 1,
                data: vec![b'd'; 40].into(),
                ..LogEntry::default()
            };
            let mut batch = log.batch();
            batch.append(RegionId(2), &[entry]);
            log.write(&mut batch, Durability::Buffered)
                .expect("the write succeeds");
        }
        drop(log);
        std::fs::read(directory.path().join("0000000000000001.raftlog")).expect("it is readable")
    }

    #[test]
    fn fuzz_log_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "log-files")
            .seed(written())
            .run(|input| {
                std::fs::write(&path, input).expect("it is writable");
                let verdict = check_file(&path, 1, &|_| ()).expect("it is readable");
                if let Verdict::Broken { at, next, .. } = verdict {
                    assert!(at < input.len() as u64 && next.is_none_or(|next| next > at));
                }
                match verdict {
                    Verdict::Whole { records, .. } => (0, records, ""),
                    Verdict::NoHeader { record } => (1, u64::from(record.is_some()), ""),
                    Verdict::Broken { records, why, .. } => (2, records, why),
                }
            });
    }
}
