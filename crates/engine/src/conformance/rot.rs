//! Damage to the files of a Raft log: bytes flipped, files cut and deleted, one at a time, and what the
//! log says when it is opened again.
//!
//! **What may happen.** It opens with everything; it opens without some of what was never promised; it is
//! refused, at once or where it is read, with an error that says what to do. What it must not do is to
//! open without an entry or a state that was synced.
//!
//! **How it is told.** After each write the log is read whole, and a digest of that is kept. A log that
//! opens has to look as it did after one of them, and not one before the last that was synced.
//!
//! **Not here.** Two damages at once, and what a machine that loses its power leaves.

use crate::{Action, Durability, Error, RaftLog, RaftLogBatch, Result};
use fuzz::Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use types::{ApplyState, EntryKind, HardState, LogEntry, PeerId, RegionId};

/// Damages a run makes; each opens a copy of a log.
const CASES: &str = "ROT_CASES";
const CASES_DEFAULT: u64 = 200;
const SEED: &str = "ROT_SEED";
const REGIONS: u64 = 4;
const BATCHES: u64 = 120;
/// What zeros behind a file's content are damaged as well: engines allocate ahead.
const BEHIND_BYTES: u64 = 64;

/// The engine under test.
pub trait RotPlace {
    /// Its type.
    type Log: RaftLog;

    /// Opens the log in `directory`, of files as small as number `size` wants them (from zero).
    ///
    /// # Errors
    /// The engine's.
    fn open(directory: &Path, size: u64) -> Result<Self::Log>;

    /// Files that only say that the log is in use.
    fn is_lock(name: &str) -> bool;

    /// Where in a file's content a record ends, as far as it is known: cuts there are the hardest to tell.
    fn ends(name: &str, content: &[u8]) -> Vec<u64>;
}

/// How many damages a run shall make, and its seed: both as the environment says.
#[must_use]
pub fn asked() -> (u64, u64) {
    let cases = std::env::var(CASES).ok().and_then(|text| text.parse().ok());
    (cases.unwrap_or(CASES_DEFAULT), Rng::seed_of(SEED))
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A bit of the byte at this offset is another.
    Flip(u64),
    /// It ends here.
    Cut(u64),
    /// It is gone.
    Delete,
}

impl Damage {
    fn name(self) -> &'static str {
        match self {
            Damage::Flip(_) => "a byte flipped",
            Damage::Cut(_) => "a file cut",
            Damage::Delete => "a file deleted",
        }
    }

    /// One for a file of this content, whose records end at `ends`.
    pub fn draw(rng: &mut Rng, content: &[u8], ends: &[u64]) -> Self {
        let length = content.len() as u64;
        let content_bytes = crate::chain::content_bytes(content);
        let near = length.min(content_bytes + BEHIND_BYTES);
        match rng.below(20) {
            0..12 if length > 0 => Damage::Flip(rng.below(near.max(1))),
            12..15 if !ends.is_empty() => Damage::Cut(*rng.pick(ends)),
            12..18 if length > 0 => Damage::Cut(rng.below(near.max(1))),
            _ => Damage::Delete,
        }
    }

    /// Does it to the file at `path`.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn inflict(self, rng: &mut Rng, path: &Path) {
        if self == Damage::Delete {
            return fs::remove_file(path).expect("the file was there");
        }
        let mut content = fs::read(path).expect("the file is readable");
        match self {
            Damage::Flip(at) => content[at as usize] ^= 1 << rng.below(8),
            Damage::Cut(at) => content.truncate(at as usize),
            Damage::Delete => unreachable!("handled above"),
        }
        fs::write(path, content).expect("the file is writable");
    }
}

/// What a damaged store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing is missing.
    Whole,
    /// Something is missing that was not promised.
    TailCut,
    /// It did not open, and said what to do.
    Refused,
    /// It opened; a read failed, and said what to do.
    RefusedRead,
    /// It failed and did not say what to do.
    Unexplained,
    /// The last thing that was promised is gone without a word.
    LastLost,
    /// More than that is gone without a word, or something is there that never was.
    Lost,
}

impl Outcome {
    const ALL: [Outcome; 7] = [
        Outcome::Whole,
        Outcome::TailCut,
        Outcome::Refused,
        Outcome::RefusedRead,
        Outcome::Unexplained,
        Outcome::LastLost,
        Outcome::Lost,
    ];

    fn name(self) -> &'static str {
        match self {
            Outcome::Whole => "all there",
            Outcome::TailCut => "unsynced end cut",
            Outcome::Refused => "refused",
            Outcome::RefusedRead => "read refused",
            Outcome::Unexplained => "unexplained",
            Outcome::LastLost => "last record lost",
            Outcome::Lost => "lost or wrong",
        }
    }

    /// Of an error: it has to stop the store, and to say how to get over it.
    #[must_use]
    pub fn of_error(error: &Error, refused: Outcome) -> Self {
        let says_what_to_do = error.to_string().contains("replicate");
        match error.action() == Action::Crash && says_what_to_do {
            true => refused,
            false => Outcome::Unexplained,
        }
    }
}

/// How often each damage had each outcome, for each kind of file.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<(String, &'static str), BTreeMap<Outcome, u64>>,
    worst: Vec<String>,
}

impl Table {
    /// Counts one, and keeps what must not be.
    pub fn count(&mut self, file: &Path, damage: Damage, outcome: Outcome, said: &str) {
        let row = (kind_of(file), damage.name());
        *self
            .rows
            .entry(row)
            .or_default()
            .entry(outcome)
            .or_default() += 1;
        if outcome >= Outcome::Unexplained {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            self.worst
                .push(format!("{outcome:?}: {name}, {damage:?}: {said}"));
        }
    }

    /// How many there were of this outcome.
    #[must_use]
    pub fn total(&self, outcome: Outcome) -> u64 {
        let counts = self.rows.values().filter_map(|row| row.get(&outcome));
        counts.sum()
    }

    /// Fails where anything that was promised went without a word, or an error does not say what to do.
    ///
    /// # Panics
    /// That is so.
    pub fn check(&self, seed: u64) {
        println!("{self}");
        assert!(self.worst.is_empty(), "{SEED}={seed}: {:#?}", self.worst);
    }
}

/// The name of a file without its numbers.
fn kind_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let kind = name.chars().filter(|c| !c.is_ascii_digit());
    kind.collect::<String>().trim_matches(['.', '-']).to_owned()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Outcome::ALL.map(Outcome::name).to_vec();
        writeln!(f, "| file | damage | {} |", names.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(names.len()))?;
        for ((kind, damage), row) in &self.rows {
            let counts = Outcome::ALL.map(|outcome| row.get(&outcome).unwrap_or(&0).to_string());
            writeln!(f, "| `{kind}` | {damage} | {} |", counts.join(" | "))?;
        }
        let totals = Outcome::ALL.map(|outcome| self.total(outcome).to_string());
        writeln!(f, "| all | | {} |", totals.join(" | "))
    }
}

/// The files of a killed log.
struct Specimen {
    directory: TempDir,
    size: u64,
    /// The digest after each write.
    history: Vec<u64>,
    /// The last of them that was synced.
    promised: usize,
}

/// Damages logs of many shapes so many times, and counts what they say.
///
/// # Panics
/// A log that nobody has damaged does not do what it promises.
#[must_use]
pub fn damage_logs<P: RotPlace>(cases: u64, seed: u64) -> Table {
    let mut rng = Rng::new(seed);
    let specimens: Vec<Specimen> = (0..8)
        .map(|number| specimen::<P>(&mut rng, number))
        .collect();
    let mut table = Table::default();
    for _ in 0..cases {
        let specimen = rng.pick(&specimens);
        let copy = copy_of(specimen.directory.path(), P::is_lock);
        let files = files_of(copy.path());
        let file = rng.pick(&files);
        let content = fs::read(file).expect("the file is readable");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let damage = Damage::draw(&mut rng, &content, &P::ends(&name, &content));
        damage.inflict(&mut rng, file);
        let (outcome, said) = judge::<P>(copy.path(), specimen);
        table.count(file, damage, outcome, &said);
    }
    table
}

fn judge<P: RotPlace>(directory: &Path, specimen: &Specimen) -> (Outcome, String) {
    let log = match P::open(directory, specimen.size) {
        Ok(log) => log,
        Err(error) => {
            return (
                Outcome::of_error(&error, Outcome::Refused),
                error.to_string(),
            );
        }
    };
    let digest = match digest(&log) {
        Ok(digest) => digest,
        Err(error) => {
            let outcome = Outcome::of_error(&error, Outcome::RefusedRead);
            return (outcome, error.to_string());
        }
    };
    let found = specimen.history.iter().rposition(|known| *known == digest);
    let last = specimen.history.len() - 1;
    let outcome = match found {
        Some(found) if found == last => Outcome::Whole,
        Some(found) if found >= specimen.promised => Outcome::TailCut,
        Some(found) if found + 1 == specimen.promised => Outcome::LastLost,
        _ => Outcome::Lost,
    };
    let said = format!(
        "as after write {found:?}, {} was promised",
        specimen.promised
    );
    (outcome, said)
}

/// The files of a log that was killed after some history.
fn specimen<P: RotPlace>(rng: &mut Rng, number: u64) -> Specimen {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = P::open(directory.path(), number).expect("the log opens");
    let mut history = vec![digest(&log).expect("reads")];
    let mut promised = 0;
    // Every other one ends with what was not synced.
    let synced_end = number.is_multiple_of(2);
    for batch in 1..=BATCHES {
        let is_end = batch + 3 > BATCHES;
        let is_synced = if is_end { synced_end } else { rng.percent(80) };
        write(&log, rng, is_synced, &mut history);
        if is_synced {
            promised = history.len() - 1;
        }
        if rng.percent(10) {
            log.purge().expect("the purge succeeds");
        }
    }
    let copy = copy_of(directory.path(), P::is_lock);
    drop(log);
    let specimen = Specimen {
        directory: copy,
        size: number,
        history,
        promised,
    };
    let whole = copy_of(specimen.directory.path(), P::is_lock);
    let (outcome, said) = judge::<P>(whole.path(), &specimen);
    assert_eq!(outcome, Outcome::Whole, "{said}");
    specimen
}

/// Some writes, to some Regions, of which the last one is synced or none.
fn write(log: &impl RaftLog, rng: &mut Rng, is_synced: bool, history: &mut Vec<u64>) {
    let mut batch = log.batch();
    for _ in 0..=rng.below(3) {
        let region = RegionId(2 + rng.below(REGIONS));
        let bounds = log.bounds(region).expect("reads");
        match (rng.below(10), bounds) {
            (0, Some((first, last))) => batch.compact(region, first + rng.below(last - first + 2)),
            (1, _) if rng.percent(20) => batch.remove(region),
            (2 | 3, _) => {
                let [term, vote, commit] = [(); 3].map(|()| rng.below(1_000));
                let vote = PeerId(vote);
                batch.put_hard_state(region, &HardState { term, vote, commit });
            }
            (4, _) => {
                let state = ApplyState {
                    applied_index: rng.number(),
                    ..ApplyState::default()
                };
                batch.put_apply_state(region, &state);
            }
            (_, bounds) => append(&mut batch, rng, region, bounds),
        }
        // The bounds of the next round have to be those that this one leaves.
        let durability = Durability::Buffered;
        log.write(&mut batch, durability)
            .expect("the write succeeds");
        history.push(digest(log).expect("reads"));
    }
    if is_synced {
        let state = HardState {
            term: rng.number(),
            ..HardState::default()
        };
        batch.put_hard_state(RegionId(2), &state);
        log.write(&mut batch, Durability::Synced)
            .expect("the write succeeds");
        history.push(digest(log).expect("reads"));
    }
}

fn append(
    batch: &mut impl RaftLogBatch,
    rng: &mut Rng,
    region: RegionId,
    bounds: Option<(u64, u64)>,
) {
    let first = match bounds {
        Some((first, last)) => (last + 1 - rng.below(3).min(last)).max(first),
        None => 1 + rng.below(1_000),
    };
    let entry = |index| {
        let bytes = match rng.below(12) {
            0 => 0,
            1 => 4_000,
            _ => 10 + rng.index(300),
        };
        LogEntry {
            index,
            term: 1 + rng.below(9),
            kind: EntryKind::Normal,
            data: rng.bytes(bytes).into(),
        }
    };
    let entries: Vec<LogEntry> = (first..=first + 2).map(entry).collect();
    batch.append(region, &entries);
}

/// All that a log holds, in a number.
fn digest(log: &impl RaftLog) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for region in log.regions()? {
        hasher.write_u64(region.get());
        if let Some((first, last)) = log.bounds(region)? {
            for entry in log.fetch(region, first, last + 1, u64::MAX)? {
                hasher.write(format!("{} {} {:?}", entry.index, entry.term, entry.kind).as_bytes());
                hasher.write(&entry.data);
            }
        }
        let states = (log.hard_state(region)?, log.apply_state(region)?);
        hasher.write(format!("{states:?}").as_bytes());
    }
    Ok(hasher.finish())
}

/// The files in `directory`, in the order of their names.
///
/// # Panics
/// It can't be read.
#[must_use]
pub fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory is readable");
    let paths = entries.map(|entry| entry.expect("the directory is readable").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// A copy of an open engine's directory without its locks: what a killed process leaves.
///
/// # Panics
/// It can't be copied.
#[must_use]
pub fn copy_of(directory: &Path, is_lock: fn(&str) -> bool) -> TempDir {
    loop {
        let before = sizes_of(directory);
        let copy = tempfile::tempdir().expect("a temporary directory");
        for (path, _) in &before {
            let name = path.file_name().unwrap_or_default();
            // One that is gone has changed the directory.
            if !is_lock(&name.to_string_lossy()) && path.exists() {
                let copied = fs::copy(path, copy.path().join(name));
                assert!(copied.is_ok() || !path.exists(), "{copied:?}");
            }
        }
        // Flushes and compactions go on: a copy in the middle of one is of no moment.
        if sizes_of(directory) == before {
            return copy;
        }
    }
}

fn sizes_of(directory: &Path) -> Vec<(PathBuf, u64)> {
    let size = |path: PathBuf| {
        let size = fs::metadata(&path).map_or(0, |found| found.len());
        (path, size)
    };
    files_of(directory).into_iter().map(size).collect()
}
