//! Checking RocksDB's list of its files (`CURRENT` and the `MANIFEST` that it names) before RocksDB reads it.
//!
//! **Why.** RocksDB takes damage in the last block of the list for an end that a crash tore, as in its
//! write-ahead log: it then has an older list, and deletes tables that this one does not name. Where
//! `CURRENT` is gone it begins a new database.
//!
//! **What it refuses:** no `CURRENT` where there was a database; a list that `CURRENT` names and that is not
//! there, or is older than one that was in use; a broken record in the list with a whole one behind it, or
//! before what was synced.
//!
//! **Known limit.** What was added to the list since its mark was raised last is as in any log: see `wal`.
//!
//! **Not here.** When the mark is raised: see `tail`.

use crate::wal::scan_file;
use engine::file::{failed, read_if_there};
use engine::watermark::Mark;
use engine::{Error, REMEDY, Result};
use std::fs;
use std::path::{Path, PathBuf};

const CURRENT: &str = "CURRENT";
const LIST: &str = "MANIFEST-";
const TABLE: &str = ".sst";

/// Checks the list of the database in `directory`, of which `mark` says how far one was synced; none: it
/// may be that there was none yet.
///
/// # Errors
/// [`Error::Corruption`], with the file and what to do; errors of reading.
pub(crate) fn check(directory: &Path, mark: Option<Mark>) -> Result<()> {
    let Some((number, path)) = current(directory)? else {
        if mark.is_some() || has_tables(directory)? {
            let path = directory.join(CURRENT);
            return Err(Error::damaged(
                path,
                "it is missing, but there was a database",
            ));
        }
        return Ok(());
    };
    if !path.is_file() {
        return Err(Error::damaged(
            path,
            "the list of files that CURRENT names is missing",
        ));
    }
    let mark = mark.unwrap_or_default();
    if number < mark.number {
        let what = format!(
            "CURRENT names list {number}, but list {} was in use",
            mark.number
        );
        return Err(Error::damaged(directory.join(CURRENT), what));
    }
    let synced_bytes = match number == mark.number {
        true => mark.bytes,
        false => 0,
    };
    scan_file(&path)?.check(&path, synced_bytes)
}

/// The list that `CURRENT` names, and its number; none if there is no `CURRENT`.
pub(crate) fn current(directory: &Path) -> Result<Option<(u64, PathBuf)>> {
    let path = directory.join(CURRENT);
    let Some(content) = read_if_there(&path)? else {
        return Ok(None);
    };
    let name = std::str::from_utf8(&content).ok().map(str::trim_end);
    let number = name.and_then(|name| name.strip_prefix(LIST)?.parse().ok());
    match (name, number) {
        (Some(name), Some(number)) => Ok(Some((number, directory.join(name)))),
        _ => Err(Error::corrupt(
            path,
            format!("it names no list of files; {REMEDY}"),
        )),
    }
}

fn has_tables(directory: &Path) -> Result<bool> {
    let entries = fs::read_dir(directory).map_err(|error| failed("list", directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", directory, error))?;
        if entry.file_name().to_string_lossy().ends_with(TABLE) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_current_that_is_gone_or_names_nothing_is_refused_where_there_was_a_database() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let refused = |mark| check(path, mark).expect_err("it is damaged").to_string();
        check(path, None).expect("there is no database yet");
        assert!(refused(Some(Mark::default())).contains("there was a database"));
        fs::write(path.join("000009.sst"), b"").expect("writable");
        assert!(refused(None).contains("there was a database"));
        for (content, complaint) in [
            (&b"nonsense"[..], "names no list"),
            (b"\xff", "names no list"),
            (b"MANIFEST-000004\n", "is missing"),
        ] {
            fs::write(path.join(CURRENT), content).expect("writable");
            let text = refused(None);
            assert!(text.contains(complaint), "{text}");
            assert!(text.contains("replicate"), "{text}");
        }
        fs::write(path.join("MANIFEST-000004"), b"").expect("writable");
        check(path, None).expect("an empty list is for RocksDB to refuse");
        let mark = |number, bytes| Some(Mark { number, bytes });
        assert!(refused(mark(5, 0)).contains("list 5 was in use"));
        assert!(refused(mark(4, 10)).contains("was synced up to offset 10"));
    }
}
