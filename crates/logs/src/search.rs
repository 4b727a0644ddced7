//! Finding lines again: by time, severity and patterns, in a log's file and those that it was before.
//!
//! **Invariants.** One piece of a file is in memory, and one batch of what was found, however large the files are and
//! long their lines; a line beyond a bound is cut. Whatever a pattern is, a line is passed over once: `regex` works in
//! linear time, and what a pattern compiles to is bounded. A file that is rotated meanwhile is read to its end.
//!
//! **Not here.** How fast it may go, and on whose thread: who drives a [`Search`] waits between its steps.

use crate::file::{begun, rotated_files};
use crate::parse::{Level, parse};
use regex::{Regex, RegexBuilder};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What a line may have.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What is read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Bounds on patterns: how many, how long, and what each compiles to.
const PATTERNS_MAX: usize = 32;
const PATTERN_BYTES_MAX: usize = 4 << 10;
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The files of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    path: PathBuf,
}

impl Files {
    /// Of the log that is written to this file.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Those that may have lines of this time, the oldest first.
    fn within(&self, query: &Query) -> VecDeque<File> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for (moment, path) in rotated_files(&self.path) {
            // It was rotated after its last line.
            if moment.0 >= query.start_ms {
                paths.push(path);
            }
        }
        paths.push(self.path.clone());
        let may_have = |path: &PathBuf| begun(path).is_none_or(|first| first.0 <= query.end_ms);
        paths.retain(may_have);
        // Opened at once: a file is then the same whatever its name becomes.
        paths.iter().flat_map(File::open).collect()
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Query {
    start_ms: i64,
    end_ms: i64,
    /// All if it is empty.
    levels: Vec<Level>,
    /// All of them have to match.
    patterns: Vec<Regex>,
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There are too many.
    #[error("{PATTERNS_MAX} patterns at the most")]
    TooMany,
    /// It is too long.
    #[error("a pattern may have {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It is none, or would take too much memory.
    #[error("pattern: {0}")]
    Malformed(String),
}

impl Query {
    /// Lines between two moments, in milliseconds since the Unix epoch, both included; with any of these levels, or any at
    /// all, and matching all of these patterns.
    ///
    /// # Errors
    /// A pattern is refused.
    pub fn new(
        (start_ms, end_ms): (i64, i64),
        levels: Vec<Level>,
        patterns: &[String],
    ) -> Result<Self, PatternError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(PatternError::TooMany);
        }
        let compile = |pattern: &String| {
            if pattern.len() > PATTERN_BYTES_MAX {
                return Err(PatternError::TooLong);
            }
            let built = RegexBuilder::new(pattern)
                .size_limit(COMPILED_BYTES_MAX)
                .dfa_size_limit(COMPILED_BYTES_MAX)
                .build();
            built.map_err(|error| PatternError::Malformed(error.to_string()))
        };
        Ok(Self {
            start_ms,
            end_ms,
            levels,
            patterns: patterns.iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    fn find(&self, line: &[u8]) -> Option<Found> {
        let line = String::from_utf8_lossy(line);
        let entry = parse(&line)?;
        let is_meant = (self.start_ms..=self.end_ms).contains(&entry.time_ms)
            && (self.levels.is_empty() || self.levels.contains(&entry.level))
            && self
                .patterns
                .iter()
                .all(|pattern| pattern.is_match(&entry.message));
        is_meant.then(|| Found {
            time_ms: entry.time_ms,
            level: entry.level,
            message: entry.message.into_owned(),
        })
    }
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How severe it is.
    pub level: Level,
    /// The rest of the line.
    pub message: String,
}

/// A search under way.
pub struct Search {
    query: Query,
    files: VecDeque<File>,
    current: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl Search {
    /// Begins one.
    pub fn new(files: &Files, query: Query) -> Self {
        Self {
            files: files.within(&query),
            query,
            current: None,
            line: Vec::new(),
        }
    }

    /// Reads on, by a bounded number of bytes, and appends what it finds. How much was read; zero when everything
    /// was.
    ///
    /// # Errors
    /// A file can't be read: the search goes on with the next one.
    pub fn step(&mut self, found: &mut Vec<Found>) -> io::Result<usize> {
        loop {
            let Some(reader) = &mut self.current else {
                match self.files.pop_front() {
                    Some(file) => self.current = Some(BufReader::with_capacity(PIECE_BYTES, file)),
                    None => return Ok(0),
                }
                continue;
            };
            let mut read = 0;
            while read < PIECE_BYTES {
                let bytes = match read_line(reader, &mut self.line) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        self.current = None;
                        return Err(error);
                    }
                };
                if bytes == 0 {
                    self.current = None;
                    break;
                }
                read += bytes;
                found.extend(self.query.find(&self.line));
            }
            if read > 0 {
                return Ok(read);
            }
        }
    }
}

/// Reads a line, of which what is too long is passed over. How many bytes that were; zero at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    let mut read = 0;
    loop {
        let piece = match reader.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = piece.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(piece.len(), |end| end + 1);
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&piece[..length.min(room)]);
        reader.consume(length);
        read += length;
        if end.is_some() || length == 0 {
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::civil::Moment;
    use std::fs;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("k.log")
        }

        /// A file that was rotated at this moment; now: the current one.
        fn write(&self, rotated_ms: Option<i64>, text: &str) {
            let name = match rotated_ms {
                Some(ms) => format!("k-{}.log", Moment(ms).in_name()),
                None => "k.log".to_owned(),
            };
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn search(&self, range: (i64, i64), levels: &[Level], patterns: &[&str]) -> Vec<String> {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.into()).collect();
            let query = Query::new(range, levels.to_vec(), &patterns).unwrap();
            let mut search = Search::new(&Files::of(&self.path()), query);
            let mut found = Vec::new();
            while search.step(&mut found).unwrap() > 0 {}
            found.into_iter().map(|found| found.message).collect()
        }
    }

    fn line(ms: i64, level: &str, message: &str) -> String {
        format!("[{}] [{level}] [{message}]\n", Moment(ms))
    }

    const ALL: (i64, i64) = (0, i64::MAX);

    #[test]
    fn lines_are_found_by_time_level_and_all_patterns_over_rotated_files() {
        let fixture = Fixture::new();
        fixture.write(
            Some(2_000),
            &(line(1_000, "INFO", "a 1") + &line(1_500, "ERROR", "b 2")),
        );
        fixture.write(
            Some(4_000),
            &(line(2_500, "WARN", "a 3") + &line(3_500, "INFO", "b 4")),
        );
        fixture.write(
            None,
            &(line(4_500, "ERROR", "a 5") + "nonsense\n" + &line(5_500, "INFO", "b 6")),
        );
        let all = ["[a 1]", "[b 2]", "[a 3]", "[b 4]", "[a 5]", "[b 6]"];
        assert_eq!(fixture.search(ALL, &[], &[]), all);
        assert_eq!(fixture.search((1_500, 4_500), &[], &[]), all[1..5]);
        assert_eq!(fixture.search((2_000, 2_499), &[], &[]), [""; 0]);
        assert_eq!(
            fixture.search(ALL, &[Level::Error, Level::Warn], &[]),
            ["[b 2]", "[a 3]", "[a 5]"]
        );
        assert_eq!(
            fixture.search(ALL, &[], &["^.a", "[35]"]),
            ["[a 3]", "[a 5]"]
        );
    }

    #[test]
    fn a_line_without_an_end_and_one_that_is_too_long_are_found_and_nothing_else_is_lost() {
        let fixture = Fixture::new();
        let long = "x".repeat(3 * PIECE_BYTES);
        let text =
            line(1, "INFO", &long) + &line(2, "INFO", "after") + line(3, "INFO", "last").trim();
        fixture.write(None, &text);
        let found = fixture.search(ALL, &[], &[]);
        assert_eq!(found[1..], ["[after]", "[last]"]);
        assert!(found[0].len() < LINE_BYTES_MAX && found[0].starts_with("[xxx"));
    }

    #[test]
    fn a_step_reads_no_more_than_a_piece_and_a_line() {
        let fixture = Fixture::new();
        fixture.write(None, &line(1, "INFO", &"x".repeat(1_000)).repeat(2_000));
        let query = Query::new(ALL, Vec::new(), &["y".to_owned()]).unwrap();
        let mut search = Search::new(&Files::of(&fixture.path()), query);
        let mut found = Vec::new();
        let mut steps = 0;
        loop {
            match search.step(&mut found).unwrap() {
                0 => break,
                read => assert!(read < PIECE_BYTES + 2_000),
            }
            steps += 1;
        }
        assert!(steps >= 7 && found.is_empty(), "{steps}");
    }

    #[test]
    fn a_search_goes_on_in_a_file_that_is_rotated_meanwhile() {
        let fixture = Fixture::new();
        fixture.write(None, &line(1, "INFO", "a"));
        let query = Query::new(ALL, Vec::new(), &[]).unwrap();
        let mut search = Search::new(&Files::of(&fixture.path()), query);
        fs::rename(
            fixture.path(),
            fixture.folder.path().join("k-2018-12-15T06-20-11.015.log"),
        )
        .unwrap();
        let mut found = Vec::new();
        search.step(&mut found).unwrap();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn hostile_patterns_are_refused_or_harmless() {
        let refused = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.into()).collect();
            Query::new(ALL, Vec::new(), &patterns).unwrap_err()
        };
        assert!(matches!(refused(&["("]), PatternError::Malformed(_)));
        assert!(matches!(
            refused(&["((a{100}){100}){100}"]),
            PatternError::Malformed(_)
        ));
        assert_eq!(refused(&["a"; PATTERNS_MAX + 1]), PatternError::TooMany);
        assert_eq!(
            refused(&[&"a".repeat(PATTERN_BYTES_MAX + 1)]),
            PatternError::TooLong
        );
        let fixture = Fixture::new();
        fixture.write(None, &line(1, "INFO", &"a".repeat(50_000)).repeat(20));
        // Exponential where patterns are tried one way after the other.
        assert_eq!(fixture.search(ALL, &[], &["(a*)*(a*)*b"]), [""; 0]);
    }

    #[test]
    fn without_files_nothing_is_found() {
        assert_eq!(Fixture::new().search(ALL, &[], &[]), [""; 0]);
    }
}
