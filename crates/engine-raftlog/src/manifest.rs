//! The list of log files that must be there: for each queue, the first and the last.
//!
//! **Why.** A file that is gone leaves no trace in the others: without a list, the log would just be
//! shorter, or begin later.
//!
//! **Invariants.** On disk it is replaced whole, and checked by a checksum. `first` is raised before
//! a file is deleted, so a file older than it is left over from a purge that a crash cut short.
//! `last` is raised when a file was created and before a record is written to it, so one file
//! newer than it may be there, with nothing in it.
//!
//! **Not here.** When to change it: see `watch`.

use engine::file::{read_if_there, write_atomically};
use engine::{Error, Result};
use std::path::{Path, PathBuf};

/// The list's file in the log's directory.
pub(crate) const NAME: &str = "FILES";
const TITLE: &str = "kontiki raft log files, version 1";

/// A sequence of log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What Regions write.
    Append,
    /// What a purge moves out of the way.
    Rewrite,
}

impl Queue {
    pub(crate) const ALL: [Queue; 2] = [Queue::Append, Queue::Rewrite];

    const fn ending(self) -> &'static str {
        match self {
            Queue::Append => ".raftlog",
            Queue::Rewrite => ".rewrite",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Queue::Append => "append",
            Queue::Rewrite => "rewrite",
        }
    }

    /// The name of the file with this number.
    pub(crate) fn file_name(self, sequence: u64) -> String {
        format!("{sequence:016}{}", self.ending())
    }
}

/// The queue and number of the log file at `path`; none for other files.
pub(crate) fn parse_file_name(path: &Path) -> Option<(Queue, u64)> {
    let name = path.file_name()?.to_str()?;
    Queue::ALL.into_iter().find_map(|queue| {
        let sequence = name.strip_suffix(queue.ending())?.parse().ok()?;
        (queue.file_name(sequence) == name).then_some((queue, sequence))
    })
}

/// The first and the last file of a queue, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    spans: [Span; 2],
}

impl Manifest {
    pub(crate) fn new(append: Span, rewrite: Span) -> Self {
        Self {
            spans: [append, rewrite],
        }
    }

    pub(crate) fn span(&self, queue: Queue) -> Span {
        self.spans[queue as usize]
    }

    pub(crate) fn span_mut(&mut self, queue: Queue) -> &mut Span {
        &mut self.spans[queue as usize]
    }

    /// The list in the log's directory; none if there is none.
    ///
    /// # Errors
    /// [`Error::Corruption`] for a damaged one.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(NAME);
        let Some(content) = read_if_there(&path)? else {
            return Ok(None);
        };
        let manifest = std::str::from_utf8(&content).ok().and_then(Self::decode);
        manifest.map(Some).ok_or_else(|| damaged(path))
    }

    /// Replaces the list in the log's directory, durably.
    pub(crate) fn store(&self, directory: &Path) -> Result<()> {
        write_atomically(&directory.join(NAME), self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for queue in Queue::ALL {
            let Span { first, last } = self.span(queue);
            text += &format!("{} {first} {last}\n", queue.name());
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text + &format!("checksum {checksum:08x}\n")
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let append = parse_span(lines.next()?, Queue::Append)?;
        let rewrite = parse_span(lines.next()?, Queue::Rewrite)?;
        let manifest = Self::new(append, rewrite);
        // The title and the checksum are right if the whole is what we would write.
        (manifest.encode() == text).then_some(manifest)
    }
}

fn parse_span(line: &str, queue: Queue) -> Option<Span> {
    let numbers = line.strip_prefix(queue.name())?.trim_start();
    let (first, last) = numbers.split_once(' ')?;
    Some(Span {
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    })
}

fn damaged(path: PathBuf) -> Error {
    Error::Corruption {
        path,
        reason: format!(
            "the list of Raft log files is damaged; {}",
            crate::verify::REMEDY
        ),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Manifest = Manifest {
        spans: [
            Span { first: 3, last: 17 },
            Span {
                first: 1,
                last: u64::MAX,
            },
        ],
    };

    #[test]
    fn a_manifest_comes_back_as_it_was_stored() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Manifest::load(directory.path()).expect("loads"), None);
        MANIFEST.store(directory.path()).expect("stores");
        assert_eq!(
            Manifest::load(directory.path()).expect("loads"),
            Some(MANIFEST)
        );
    }

    #[test]
    fn no_changed_byte_passes() {
        let text = MANIFEST.encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert_eq!(Manifest::decode(&changed), None, "byte {at}");
            assert_eq!(Manifest::decode(&text[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn only_log_files_have_a_queue_and_a_number() {
        let parse = |name: &str| parse_file_name(Path::new(name));
        assert_eq!(
            parse("/x/0000000000000012.raftlog"),
            Some((Queue::Append, 12))
        );
        assert_eq!(parse("0000000000000001.rewrite"), Some((Queue::Rewrite, 1)));
        for name in [
            "12.raftlog",
            "FILES",
            "0000000000000012.raftlog.reserved",
            "+000000000000012.raftlog",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
