//! The files of a range, and their compaction on request.
//!
//! **Why in steps.** RocksDB does a range in one go, however large it is, and a store that stops would wait for that.
//!
//! **Not here.** Compactions that RocksDB starts itself; they go on meanwhile.

use crate::kv::Database;
use engine::{Cf, Files, Result};
use rocksdb::{BottommostLevelCompaction, CompactOptions, LiveFile};

/// A step has at least so many bytes of files, if there are as many.
const STEP_BYTES: u64 = 256 << 20;

/// The files that hold keys of the range.
fn overlapping(database: &Database, cf: Cf, start: &[u8], end: &[u8]) -> Result<Vec<LiveFile>> {
    let live = database.db.live_files();
    let live = live.map_err(|error| database.translate(error, "list files"))?;
    let overlaps = |file: &LiveFile| {
        let is_before = file.end_key.as_deref().unwrap_or_default() < start;
        let first = file.start_key.as_deref().unwrap_or_default();
        !is_before && (end.is_empty() || first < end)
    };
    let of_family = live
        .into_iter()
        .filter(|file| file.column_family_name == cf.name());
    Ok(of_family.filter(overlaps).collect())
}

pub(crate) fn files(database: &Database, cf: Cf, start: &[u8], end: &[u8]) -> Result<Files> {
    let mut all = Files::default();
    for file in overlapping(database, cf, start, end)? {
        all += Files {
            count: 1,
            bytes: file.size as u64,
            entries: file.num_entries,
            removals: file.num_deletions,
        };
    }
    Ok(all)
}

pub(crate) fn compact(
    database: &Database,
    cf: Cf,
    (start, end): (&[u8], &[u8]),
    go_on: &dyn Fn() -> bool,
) -> Result<()> {
    let files = overlapping(database, cf, start, end)?;
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    // The last level, too: that is where removed rows are.
    options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
    let bounds = steps(&files, start);
    let ends = bounds.iter().skip(1).map(Vec::as_slice).chain([end]);
    for (from, to) in bounds.iter().zip(ends) {
        if !go_on() {
            break;
        }
        database.check_running()?;
        let to = (!to.is_empty()).then_some(to);
        let family = database.family(cf);
        database
            .db
            .compact_range_cf_opt(family, Some(from), to, &options);
    }
    database.check_running()
}

/// Where each step begins: at the first keys of files.
fn steps(files: &[LiveFile], start: &[u8]) -> Vec<Vec<u8>> {
    let mut sorted: Vec<(&[u8], u64)> = files
        .iter()
        .map(|file| {
            let first = file.start_key.as_deref().unwrap_or_default();
            (first, file.size as u64)
        })
        .collect();
    sorted.sort_unstable();
    let mut bounds = vec![start.to_vec()];
    let mut bytes = 0;
    for (first, size) in sorted {
        if bytes >= STEP_BYTES && bounds.last().is_some_and(|last| last.as_slice() < first) {
            bounds.push(first.to_vec());
            bytes = 0;
        }
        bytes += size;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first: &str, size: u64) -> LiveFile {
        LiveFile {
            column_family_name: String::new(),
            name: String::new(),
            size: size as usize,
            level: 6,
            start_key: Some(first.as_bytes().to_vec()),
            end_key: None,
            num_entries: 0,
            num_deletions: 0,
        }
    }

    #[test]
    fn a_step_ends_where_a_file_begins_and_enough_lies_before_it() {
        let none: [&[u8]; 1] = [b"a"];
        assert_eq!(steps(&[], b"a"), none);
        let half = STEP_BYTES / 2;
        let files = [
            file("d", half),
            file("b", half),
            file("c", half),
            // One that begins before the range counts, and is no bound.
            file("A", half),
            file("e", half),
        ];
        let bounds: [&[u8]; 3] = [b"a", b"c", b"e"];
        assert_eq!(steps(&files, b"a"), bounds);
    }
}
