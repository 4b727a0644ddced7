//! A log file, and those that it was before: `kontiki.log`, `kontiki-2018-12-15T06-20-11.015.log`, ….
//!
//! **Invariants.** The file is opened for appending, so that a tool may rotate it by copying and truncating, too.
//! A rotation that fails is tried again later, and meanwhile the lines go where they went. No file is removed but
//! those whose names say that they are this log's.
//!
//! **Not here.** Which thread writes, and what becomes of a line that can't be written (`sink`).

use crate::civil::Moment;
use crate::parse::parse;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which file, and when another one is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// Its path.
    pub path: PathBuf,
    /// It is rotated before it becomes larger. 0: never for its size.
    pub bytes_max: u64,
    /// It is rotated when it was begun so long ago. Zero: never for its age.
    pub span: Duration,
    /// So many rotated files are kept. 0: all of them.
    pub backups_max: usize,
    /// They are kept for so long. Zero: for ever.
    pub age_max: Duration,
}

/// A log file that is written to.
#[derive(Debug)]
pub struct LogFile {
    options: FileOptions,
    file: File,
    bytes: u64,
    begun: Moment,
}

impl LogFile {
    /// Opens it, and makes the folder if it is not there. What was rotated and is too old, or too much, is removed.
    ///
    /// # Errors
    /// It can't be opened; with its path.
    pub fn open(options: FileOptions) -> io::Result<Self> {
        let shown = options.path.display().to_string();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{shown}: {error}"));
        if let Some(folder) = options.path.parent() {
            fs::create_dir_all(folder).map_err(named)?;
        }
        let file = append(&options.path).map_err(named)?;
        let log = Self {
            bytes: file.metadata().map_err(named)?.len(),
            begun: begun(&options.path).unwrap_or_else(Moment::now),
            options,
            file,
        };
        log.remove_old(Moment::now());
        Ok(log)
    }

    /// Begins another file if this one is full or old enough, before so many bytes are written.
    pub(crate) fn prepare(&mut self, bytes: u64) {
        let now = Moment::now();
        if !self.is_due(bytes, now) {
            return;
        }
        // Somebody may have truncated it.
        self.bytes = self.file.metadata().map_or(self.bytes, |meta| meta.len());
        if self.bytes == 0 {
            self.begun = now;
        } else if self.is_due(bytes, now) {
            self.rotate(now);
        }
    }

    fn is_due(&self, bytes: u64, now: Moment) -> bool {
        let options = &self.options;
        let is_full = options.bytes_max > 0 && self.bytes + bytes > options.bytes_max;
        let is_old = options.span > Duration::ZERO && now >= later(self.begun, options.span);
        is_full || is_old
    }

    /// If it fails, the next attempt comes when as much was written again, or as much time has passed.
    fn rotate(&mut self, now: Moment) {
        let path = &self.options.path;
        let rotated = rotated_name(path, now).and_then(|name| {
            let to = path.with_file_name(name);
            fs::rename(path, &to).ok()?;
            match append(path) {
                Ok(file) => Some(file),
                Err(_) => {
                    let _ = fs::rename(&to, path);
                    None
                }
            }
        });
        if let Some(file) = rotated {
            self.file = file;
            self.remove_old(now);
        }
        (self.bytes, self.begun) = (0, now);
    }

    /// What can't be removed stays until the next rotation.
    fn remove_old(&self, now: Moment) {
        let options = &self.options;
        let rotated = rotated_files(&options.path);
        let kept = match options.backups_max {
            0 => rotated.len(),
            most => most,
        };
        let surplus = rotated.len().saturating_sub(kept);
        for (position, (moment, path)) in rotated.iter().enumerate() {
            let is_old = options.age_max > Duration::ZERO && now >= later(*moment, options.age_max);
            if position < surplus || is_old {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn later(moment: Moment, span: Duration) -> Moment {
    let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Moment(moment.0.saturating_add(span_ms))
}

/// When a file was begun, as its first line says; none if it has none.
pub(crate) fn begun(path: &Path) -> Option<Moment> {
    const FIRST_LINE_BYTES_MAX: u64 = 64 << 10;
    let file = io::Read::take(File::open(path).ok()?, FIRST_LINE_BYTES_MAX);
    let mut line = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut line).ok()?;
    let entry = parse(std::str::from_utf8(&line).ok()?).map(|entry| entry.time_ms);
    entry.map(Moment)
}

/// The name without its ending, and the ending with its dot.
fn split_name(path: &Path) -> Option<(&str, String)> {
    let stem = path.file_stem()?.to_str()?;
    let ending = match path.extension() {
        Some(ending) => format!(".{}", ending.to_str()?),
        None => String::new(),
    };
    Some((stem, ending))
}

fn rotated_name(path: &Path, now: Moment) -> Option<String> {
    let (stem, ending) = split_name(path)?;
    Some(format!("{stem}-{}{ending}", now.in_name()))
}

/// The files that this one was before, the oldest first, each with when it was rotated.
pub(crate) fn rotated_files(path: &Path) -> Vec<(Moment, PathBuf)> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let moment_of = |name: &str| {
        let (stem, ending) = split_name(path)?;
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
        Moment::of_name(rest.strip_suffix(&*ending)?)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(Moment, PathBuf)> = entries
        .filter_map(|entry| Some((moment_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder }
        }

        fn options(&self) -> FileOptions {
            FileOptions {
                path: self.folder.path().join("logs/a.b.log"),
                bytes_max: 0,
                span: Duration::ZERO,
                backups_max: 0,
                age_max: Duration::ZERO,
            }
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join("logs")).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<String> = entries
                .map(|entry| name(entry).into_string().unwrap())
                .collect();
            names.sort_unstable();
            names
        }

        fn rotated(&self) -> usize {
            rotated_files(&self.options().path).len()
        }
    }

    fn write(log: &mut LogFile, text: &str) {
        log.prepare(text.len() as u64);
        log.write_all(text.as_bytes()).unwrap();
        // A rotated file is named after its millisecond.
        std::thread::sleep(Duration::from_millis(2));
    }

    #[test]
    fn a_file_is_rotated_before_it_is_too_large_and_only_so_many_are_kept() {
        let fixture = Fixture::new();
        let options = FileOptions {
            bytes_max: 10,
            backups_max: 2,
            ..fixture.options()
        };
        let mut log = LogFile::open(options.clone()).unwrap();
        for text in [
            "12345\n",
            "123\n",
            "1\n",
            "1234567890123\n",
            "2\n",
            "123456789\n",
        ] {
            write(&mut log, text);
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&options.path), "123456789\n");
        let rotated = rotated_files(&options.path);
        let texts: Vec<String> = rotated.iter().map(|(_, path)| read(path)).collect();
        assert_eq!(texts, ["1234567890123\n", "2\n"]);
    }

    #[test]
    fn a_file_is_rotated_for_the_age_of_its_first_line_over_restarts() {
        let fixture = Fixture::new();
        let options = FileOptions {
            span: Duration::from_secs(3_600),
            ..fixture.options()
        };
        let line = |moment: Moment| format!("[{moment}] [INFO] [x]\n");
        let mut log = LogFile::open(options.clone()).unwrap();
        write(&mut log, &line(Moment::now()));
        drop(log);
        let mut log = LogFile::open(options.clone()).unwrap();
        write(&mut log, &line(Moment::now()));
        assert_eq!(fixture.rotated(), 0);
        fs::write(&options.path, line(Moment(Moment::now().0 - 3_600_001))).unwrap();
        let mut log = LogFile::open(options).unwrap();
        write(&mut log, "new\n");
        assert_eq!(fixture.rotated(), 1);
    }

    #[test]
    fn files_that_are_too_old_are_removed_and_those_of_others_never() {
        let fixture = Fixture::new();
        let options = FileOptions {
            age_max: Duration::from_secs(86_400),
            ..fixture.options()
        };
        drop(LogFile::open(options.clone()).unwrap());
        let days_ago = |days: i64| Moment(Moment::now().0 - days * 86_400_000).in_name();
        let (old, new) = (days_ago(2), days_ago(0));
        let others = [
            "a.b-yesterday.log".to_owned(),
            format!("a.c-{old}.log"),
            format!("a.b-{old}.gz"),
        ];
        for name in [&format!("a.b-{old}.log"), &format!("a.b-{new}.log")]
            .into_iter()
            .chain(&others)
        {
            fs::write(options.path.with_file_name(name), "x").unwrap();
        }
        drop(LogFile::open(options).unwrap());
        let mut expected = [
            vec!["a.b.log".to_owned(), format!("a.b-{new}.log")],
            others.to_vec(),
        ]
        .concat();
        expected.sort_unstable();
        assert_eq!(fixture.names(), expected);
    }

    #[test]
    fn a_file_that_somebody_truncates_goes_on_from_nothing() {
        let fixture = Fixture::new();
        let options = FileOptions {
            bytes_max: 10,
            ..fixture.options()
        };
        let mut log = LogFile::open(options.clone()).unwrap();
        write(&mut log, "12345678\n");
        fs::write(&options.path, "").unwrap();
        write(&mut log, "abcdefgh\n");
        assert_eq!(fixture.rotated(), 0);
        assert_eq!(fs::read_to_string(&options.path).unwrap(), "abcdefgh\n");
    }

    #[test]
    fn a_folder_in_its_place_is_named() {
        let fixture = Fixture::new();
        let options = fixture.options();
        fs::create_dir_all(&options.path).unwrap();
        let error = LogFile::open(options).unwrap_err().to_string();
        assert!(error.contains("a.b.log: "), "{error}");
    }
}
