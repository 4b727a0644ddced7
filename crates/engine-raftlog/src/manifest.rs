//! The list of log files that must be there: for each queue, the first, and the length of each that
//! was closed.
//!
//! **Why.** A file that is gone leaves no trace in the others, and one that is cut between two
//! records is a good file: without a list, the log would just be shorter, or begin later.
//!
//! **Invariants.** On disk it is replaced whole, and checked by a checksum. The first is raised before
//! a file is deleted, so a file older than it is left over from a purge that a crash cut short. A
//! file is listed when it was created and before a record is written to it, and the one before it
//! has its last length by then; so one file newer than the list may be there, with nothing in it.
//!
//! ```text
//! kontiki raft log files, version 2
//! append FIRST LENGTH ...
//! rewrite FIRST LENGTH ...
//! checksum CRC32
//! ```
//!
//! **Not here.** When to change it: see `watch`.

use engine::file::{read_if_there, write_atomically};
use engine::{Error, Result};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;

/// The list's file in the log's directory.
pub(crate) const NAME: &str = "FILES";
/// How raft-engine begins the name of a log file: so many digits.
const NUMBER_WIDTH: usize = 16;
const TITLE: &str = "kontiki raft log files, version 2";

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

    /// The name of the file that says how much of the newest log file is synced.
    pub(crate) fn mark_name(self) -> String {
        format!("SYNCED-{}", self.name())
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

/// Whether raft-engine would take the file `name` for one of its own, or stumble over it: it looks at
/// the first sixteen bytes and at the ending only.
pub(crate) fn concerns_raft_engine(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return true;
    };
    let endings = [".raftlog", ".rewrite", ".raftlog.reserved"];
    match name.get(..NUMBER_WIDTH) {
        Some(number) => {
            number.parse::<u64>().is_ok() && endings.iter().any(|ending| name.ends_with(ending))
        }
        // It would cut a character in two, and panic.
        None => name.len() > NUMBER_WIDTH,
    }
}

/// The files of a queue: one that is written to, and before it those that were closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    first: u64,
    /// The lengths of all but the last, in order. Bytes.
    closed: VecDeque<u64>,
}

impl Files {
    pub(crate) fn new(first: u64, closed: impl IntoIterator<Item = u64>) -> Self {
        Self {
            first,
            closed: closed.into_iter().collect(),
        }
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The one that is written to.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(self.closed.len() as u64)
    }

    /// The length with which file number `sequence` was closed, if it was. Bytes.
    pub(crate) fn closed_bytes(&self, sequence: u64) -> Option<u64> {
        let position = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.closed.get(position).copied()
    }

    /// The last file was closed with so many bytes, and the next one begun.
    pub(crate) fn rotate(&mut self, bytes: u64) {
        self.closed.push_back(bytes);
    }

    /// Forgets the files up to number `sequence`, but never the last.
    pub(crate) fn forget(&mut self, sequence: u64) {
        while self.first <= sequence && self.closed.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    queues: [Files; 2],
}

impl Manifest {
    pub(crate) fn new(append: Files, rewrite: Files) -> Self {
        Self {
            queues: [append, rewrite],
        }
    }

    /// The list of a log that was just created.
    pub(crate) fn fresh() -> Self {
        Self::new(Files::new(1, []), Files::new(1, []))
    }

    pub(crate) fn files(&self, queue: Queue) -> &Files {
        &self.queues[queue as usize]
    }

    pub(crate) fn files_mut(&mut self, queue: Queue) -> &mut Files {
        &mut self.queues[queue as usize]
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
        let damaged = || Error::damaged(path, "the list of Raft log files is damaged");
        manifest.map(Some).ok_or_else(damaged)
    }

    /// Replaces the list in the log's directory, durably.
    pub(crate) fn store(&self, directory: &Path) -> Result<()> {
        write_atomically(&directory.join(NAME), self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for queue in Queue::ALL {
            let Files { first, closed } = self.files(queue);
            text += &format!("{} {first}", queue.name());
            for bytes in closed {
                text += &format!(" {bytes}");
            }
            text.push('\n');
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text + &format!("checksum {checksum:08x}\n")
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let append = parse_files(lines.next()?, Queue::Append)?;
        let rewrite = parse_files(lines.next()?, Queue::Rewrite)?;
        let manifest = Self::new(append, rewrite);
        // The title and the checksum are right if the whole is what we would write.
        (manifest.encode() == text).then_some(manifest)
    }
}

fn parse_files(line: &str, queue: Queue) -> Option<Files> {
    let mut words = line.strip_prefix(queue.name())?.split_ascii_whitespace();
    let first = words.next()?.parse().ok()?;
    let closed: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
    Some(Files::new(first, closed?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest::new(Files::new(3, [100, 0, u64::MAX]), Files::new(1, []))
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_stored() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Manifest::load(directory.path()).expect("loads"), None);
        sample().store(directory.path()).expect("stores");
        assert_eq!(
            Manifest::load(directory.path()).expect("loads"),
            Some(sample())
        );
    }

    #[test]
    fn no_changed_byte_passes() {
        let text = sample().encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert_eq!(Manifest::decode(&changed), None, "byte {at}");
            assert_eq!(Manifest::decode(&text[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn fuzz_lists_of_files() {
        let text = |manifest: Manifest| manifest.encode();
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "lists-of-files")
            .seed(text(sample()))
            .seed(text(Manifest::fresh()))
            .run(|input| {
                // The checksum is made right, so that what it covers is looked at.
                let covered = String::from_utf8_lossy(input);
                let covered = covered.split("checksum").next().unwrap_or_default();
                let checksum = crc32fast::hash(covered.as_bytes());
                let whole = format!("{covered}checksum {checksum:08x}\n");
                let damaged = std::str::from_utf8(input).ok().and_then(Manifest::decode);
                for (found, text) in [
                    (damaged, input),
                    (Manifest::decode(&whole), whole.as_bytes()),
                ] {
                    if let Some(manifest) = found {
                        assert_eq!(manifest.encode().as_bytes(), text);
                        let files = Queue::ALL.map(|queue| manifest.files(queue).last());
                        assert!(
                            files
                                .iter()
                                .zip(Queue::ALL)
                                .all(|(last, queue)| { *last >= manifest.files(queue).first() })
                        );
                    }
                }
                covered.lines().count()
            });
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

    #[test]
    fn a_name_that_raft_engine_would_take_or_stumble_over_concerns_it() {
        for (name, wanted) in [
            ("0000000000000007-copy.raftlog", true),
            ("+000000000000012.raftlog", true),
            ("0000000000000012.raftlog.reserved", true),
            ("0000000000000012.rewrite", true),
            ("12345678901234\u{fc}.raftlog", false),
            ("123456789012345\u{fc}.txt", true),
            ("0000000000000012.raftlog.bak", false),
            ("STORE-LOCK", false),
            ("FILES", false),
            ("SYNCED-rewrite", false),
        ] {
            assert_eq!(concerns_raft_engine(OsStr::new(name)), wanted, "{name}");
        }
    }

    #[test]
    fn files_are_closed_at_the_end_and_forgotten_at_the_beginning() {
        let mut files = Files::new(3, []);
        files.rotate(10);
        files.rotate(20);
        assert_eq!((files.first(), files.last()), (3, 5));
        assert_eq!(
            [2, 3, 4, 5].map(|n| files.closed_bytes(n)),
            [None, Some(10), Some(20), None]
        );
        files.forget(3);
        assert_eq!((files.first(), files.last()), (4, 5));
        files.forget(9);
        assert_eq!((files.first(), files.last()), (5, 5));
    }
}
