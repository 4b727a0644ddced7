//! Reading RocksDB's write-ahead log before RocksDB does.
//!
//! **Why.** In the last block RocksDB takes any damage for the end that a crash tore: one flipped bit in
//! a length, and all records behind it are gone without a word. And it doesn't miss the newest file
//! at all. For the data that is no harm, since the Raft log has it; for the Raft log it is.
//!
//! ```text
//! file:   blocks of 32768 bytes; the last one may be shorter
//! block:  records; less than seven bytes are left at its end
//! record: masked CRC-32C of the rest (4) | length (2) | type (1) | content; numbers little-endian
//! types:  1 a whole write; 2, 3, 4 the first, a middle, the last piece of one
//! ```
//!
//! Source: `db/log_format.h` and `db/log_reader.cc` of RocksDB 11.
//!
//! **What it refuses:** a broken record with whole ones behind it, in the same file or in a newer one;
//! a file whose whole records end before its mark (`tail`); the newest file gone, told by the mark and by a
//! note beside the files: RocksDB always has a file with those numbers or a higher one.
//!
//! **Known limits.** What no mark covers is as in any log: damage to the very last record looks like a
//! torn end, and a newest file that was cut between two records is just shorter. After a power loss,
//! pieces of one large write may be there without the piece before them; that is refused though nothing
//! was promised.
//!
//! **Not here.** Older files: RocksDB itself notes their lengths when it has synced them.

use crate::crc32c::crc32c;
use engine::chain::{Budget, Record, content_bytes, find_chain};
use engine::file::{failed, read_if_there, write_atomically};
use engine::watermark::Mark;
use engine::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const TYPES: std::ops::RangeInclusive<u8> = 1..=4;
const MASK_DELTA: u32 = 0xa282_ead8;
const NOTE: &str = "NEWEST-WAL";
const TITLE: &str = "kontiki newest write-ahead log, version 1";

/// Checks every file of the write-ahead log of the database in `directory`, of which `mark` says how far
/// one of them was synced.
///
/// # Errors
/// [`Error::Corruption`], with the file, the offset and what to do; errors of reading.
pub(crate) fn check(directory: &Path, mark: Mark) -> Result<()> {
    let files = list(directory)?;
    let noted = load_note(directory)?;
    let newest = noted.unwrap_or(0).max(mark.number);
    if newest > 0 && files.range(newest..).next().is_none() {
        let path = directory.join(name(newest));
        return Err(Error::damaged(
            path,
            "the newest write-ahead log is missing",
        ));
    }
    let mut torn: Option<(&Path, Broken)> = None;
    for (number, path) in &files {
        let found = scan_file(path)?;
        if found.records && noted.is_none() {
            let what = format!("the note is missing, but {} holds records", path.display());
            return Err(Error::damaged(directory.join(NOTE), what));
        }
        if found.records
            && let Some((path, Broken { at, why, .. })) = torn
        {
            let what =
                format!("the record at offset {at} is broken ({why}), and a later log follows");
            return Err(Error::damaged(path, what));
        }
        let synced_bytes = match mark.number == *number {
            true => mark.bytes,
            false => 0,
        };
        found.check(path, synced_bytes)?;
        torn = found.broken.map(|broken| (path.as_path(), broken)).or(torn);
    }
    Ok(())
}

/// Notes the newest file of the write-ahead log, if it isn't `noted` already, and answers its number.
///
/// # Errors
/// Errors of reading the directory and writing the note.
pub(crate) fn note(directory: &Path, noted: Option<u64>) -> Result<Option<u64>> {
    let newest = list(directory)?.into_keys().next_back();
    if let Some(newest) = newest
        && noted != Some(newest)
    {
        write_atomically(&directory.join(NOTE), encode_note(newest).as_bytes())?;
    }
    Ok(newest)
}

fn encode_note(number: u64) -> String {
    let text = format!("{TITLE}\nnumber {number}\n");
    let checksum = crc32c(text.as_bytes());
    text + &format!("checksum {checksum:08x}\n")
}

fn load_note(directory: &Path) -> Result<Option<u64>> {
    let path = directory.join(NOTE);
    let Some(content) = read_if_there(&path)? else {
        return Ok(None);
    };
    let number = || {
        let text = std::str::from_utf8(&content).ok()?;
        let number = text.lines().nth(1)?.strip_prefix("number ")?.parse().ok()?;
        (encode_note(number) == text).then_some(number)
    };
    let damaged = || Error::damaged(&path, "the note of the newest write-ahead log is damaged");
    number().map(Some).ok_or_else(damaged)
}

/// Of the file with this number.
pub(crate) fn name(number: u64) -> String {
    format!("{number:06}.log")
}

/// The files of the write-ahead log by their numbers.
pub(crate) fn list(directory: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(directory).map_err(|error| failed("list", directory, error))?;
    for entry in entries {
        let path = entry
            .map_err(|error| failed("list", directory, error))?
            .path();
        let number = path.file_name().and_then(|name| name.to_str());
        let number = number.and_then(|name| name.strip_suffix(".log")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    Ok(files)
}

/// A record that is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    at: u64,
    why: &'static str,
    /// Where the first whole record behind it stands.
    next: Option<u64>,
}

/// What is in a file.
#[derive(Default)]
pub(crate) struct Found {
    records: bool,
    /// Where the whole records end that nothing broken stands before.
    pub(crate) end: u64,
    broken: Option<Broken>,
}

impl Found {
    /// What a crash can't explain, whatever was synced: a broken record with a whole one behind it.
    pub(crate) fn damage(&self) -> Option<String> {
        let Broken { at, why, next } = self.broken?;
        let next = next?;
        Some(format!(
            "the record at offset {at} is broken ({why}), but a whole one follows at offset {next}"
        ))
    }

    /// Refuses what a crash can't explain in the file at `path`, of which so much was synced.
    pub(crate) fn check(&self, path: &Path, synced_bytes: u64) -> Result<()> {
        let refuse = |what: String| Err(Error::damaged(path, what));
        if let Some(what) = self.damage() {
            return refuse(what);
        }
        match self.broken {
            Some(Broken { at, why, .. }) if at < synced_bytes => refuse(format!(
                "the record at offset {at} is broken ({why}), but the file was synced up to offset \
                 {synced_bytes}"
            )),
            None if self.end < synced_bytes => refuse(format!(
                "the file ends at offset {}, but was synced up to offset {synced_bytes}",
                self.end
            )),
            _ => Ok(()),
        }
    }
}

/// As [`scan`], of the file at `path`.
pub(crate) fn scan_file(path: &Path) -> Result<Found> {
    let found = File::open(path).and_then(scan);
    found.map_err(|error| failed("read", path, error))
}

/// Reads a file to its end, or to the first whole record behind a broken one.
fn scan(mut file: impl Read) -> io::Result<Found> {
    let mut found = Found::default();
    let mut start = 0;
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        file.by_ref()
            .take(BLOCK_BYTES as u64)
            .read_to_end(&mut block)?;
        if block.is_empty() || found.broken.is_some_and(|broken| broken.next.is_some()) {
            return Ok(found);
        }
        scan_block(&block, start, &mut found)?;
        start += block.len() as u64;
    }
}

fn scan_block(block: &[u8], start: u64, found: &mut Found) -> io::Result<()> {
    let mut at = 0;
    // What is left of a full block and too small for a record is nothing.
    while found.broken.is_none() && at < block.len() && at + HEADER_BYTES <= BLOCK_BYTES {
        match look(block, at) {
            Record::Whole(bytes) => {
                found.records = true;
                at += bytes as usize;
                found.end = start + at as u64;
            }
            Record::Broken { why, .. } => {
                found.broken = Some(Broken {
                    at: start + at as u64,
                    why,
                    next: None,
                });
                at += 1;
            }
        }
    }
    if let Some(broken) = &mut found.broken {
        let mut budget = Budget::new(BLOCK_BYTES as u64);
        let content = content_bytes(block);
        let look = |at| Ok(look(block, at as usize));
        let next = find_chain(at as u64, content, &mut budget, look)?;
        broken.next = next.map(|next| start + next);
    }
    Ok(())
}

/// What stands at `at`, which must lie within the block.
fn look(block: &[u8], at: usize) -> Record {
    let rest = &block[at..];
    let broken = |why, claimed_bytes: usize| Record::Broken {
        why,
        claimed_bytes: claimed_bytes.min(rest.len()) as u64,
    };
    let Some((header, content)) = rest.split_first_chunk::<HEADER_BYTES>() else {
        return broken("its header is cut off", rest.len());
    };
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    if !TYPES.contains(&kind) {
        return broken("its header is not one", 0);
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    if at + HEADER_BYTES + length > BLOCK_BYTES {
        return broken("it reaches behind the end of its block", 0);
    }
    if length > content.len() {
        return broken(
            "it reaches behind the end of the file",
            HEADER_BYTES + length,
        );
    }
    let checked = crc32c(&rest[HEADER_BYTES - 1..HEADER_BYTES + length]);
    let masked = checked.rotate_right(15).wrapping_add(MASK_DELTA);
    if masked != u32::from_le_bytes([c0, c1, c2, c3]) {
        return broken("its checksum is wrong", HEADER_BYTES + length);
    }
    Record::Whole((HEADER_BYTES + length) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let checked = [&[kind], content].concat();
        let masked = crc32c(&checked).rotate_right(15).wrapping_add(MASK_DELTA);
        let length = u16::try_from(content.len()).expect("it fits into a block");
        [&masked.to_le_bytes()[..], &length.to_le_bytes(), &checked].concat()
    }

    fn found(file: &[u8]) -> (bool, Option<(u64, Option<u64>)>) {
        let found = scan(file).expect("a slice is readable");
        let broken = found.broken.map(|broken| (broken.at, broken.next));
        (found.records, broken)
    }

    /// Two blocks and a bit, with a write over the first boundary.
    fn sample() -> Vec<u8> {
        let mut file = record(1, &[1; 30_000]);
        file.extend(record(2, &vec![2; BLOCK_BYTES - file.len() - HEADER_BYTES]));
        file.extend(record(4, &[4; 100]));
        file.extend(record(
            1,
            &vec![1; 2 * BLOCK_BYTES - file.len() - HEADER_BYTES - 3],
        ));
        file.extend([0; 3]);
        file.extend(record(1, b"short"));
        file.extend(record(1, b"last"));
        file
    }

    #[test]
    fn whole_records_are_found_over_blocks_and_behind_a_trailer() {
        assert_eq!(found(&sample()), (true, None));
        assert_eq!(found(&[]), (false, None));
    }

    #[test]
    fn a_torn_end_and_zeros_behind_the_records_are_an_end() {
        let file = sample();
        let last = file.len() - 11;
        for torn in last + 1..file.len() {
            assert_eq!(
                found(&file[..torn]),
                (true, Some((last as u64, None))),
                "{torn}"
            );
        }
        let mut file = file;
        file.extend(vec![0; 3 * BLOCK_BYTES]);
        assert_eq!(found(&file).1, Some(((last + 11) as u64, None)));
    }

    #[test]
    fn a_flipped_bit_before_the_last_record_is_told_from_an_end() {
        let file = sample();
        let last = file.len() - 11;
        for at in (0..last).step_by(211).chain(2 * BLOCK_BYTES..last) {
            // Of the trailer RocksDB reads nothing.
            if (2 * BLOCK_BYTES - 3..2 * BLOCK_BYTES).contains(&at) {
                continue;
            }
            for bit in [0, 7] {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                let (_, broken) = found(&flipped);
                assert!(
                    broken.is_some_and(|(_, next)| next.is_some()),
                    "{at}, bit {bit}"
                );
            }
        }
    }

    #[test]
    fn fuzz_write_ahead_logs() {
        let records = [record(1, b"one"), record(2, b"two"), record(4, &[4; 60])].concat();
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "write-ahead-logs")
            .seed(records)
            .allocates(128 << 10, 64)
            .run(|input| {
                // At the end of a block as well, which is where records break off.
                let before = record(1, &vec![1; BLOCK_BYTES - 100]);
                for file in [input.to_vec(), [&before, input].concat()] {
                    let found = scan(&file[..]).expect("a slice is readable");
                    assert!(found.end <= file.len() as u64);
                    if let Some(broken) = found.broken {
                        assert!(found.end <= broken.at);
                        assert!(broken.next.is_none_or(|next| next > broken.at));
                    }
                }
                found(input).1.map(|(at, next)| (at, next.is_some()))
            });
    }

    #[test]
    fn a_value_that_looks_like_a_record_is_none() {
        let value = [
            b"before".to_vec(),
            record(1, b"inner"),
            b"more of the value".to_vec(),
        ]
        .concat();
        let whole = record(1, &value);
        assert_eq!(found(&whole[..whole.len() - 1]), (false, Some((0, None))));
    }

    #[test]
    fn a_note_comes_back_and_no_changed_byte_passes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(load_note(directory.path()).expect("loads"), None);
        let path = directory.path().join(NOTE);
        let good = encode_note(17).into_bytes();
        fs::write(&path, &good).expect("writable");
        assert_eq!(load_note(directory.path()).expect("loads"), Some(17));
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).expect("writable");
            load_note(directory.path()).expect_err("it is damaged");
        }
    }
}
