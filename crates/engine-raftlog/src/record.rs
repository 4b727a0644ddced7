//! The file format of raft-engine 0.4, as far as it takes to tell a whole record from a broken one.
//!
//! ```text
//! file:   magic (53) | version (8) | alignment (8) | records
//! record: length << 8 | compression (8) | offset of items (8) | entries | crc (4) | items | crc (4)
//! ```
//!
//! Header numbers are big-endian, checksums little-endian. The checksum of the items is xored with
//! the file's number. Without entries their checksum is absent too. This is version 2, the only one
//! that is written here. Compressed entries begin with their length before (4, little-endian).
//!
//! **Why the items are read.** No checksum covers the compression; but the items say how long the
//! entries are, and only with the right compression that fits.
//!
//! Source: `src/file_pipe_log/format.rs` and `src/log_batch.rs` of raft-engine 0.4.2.
//!
//! **Not here.** What items say: see `items`.

use crate::items::entries_bytes;
use engine::chain::{Budget, Record, content_bytes, find_chain};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const VERSION: u64 = 2;
const NUMBER_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const RECORD_HEADER_BYTES: u64 = 16;
/// The compressions that raft-engine knows.
const UNCOMPRESSED: u64 = 0;
const LZ4: u64 = 1;
/// What one read takes from a file at least, if it has it.
const READ_BYTES: usize = 256 << 10;

/// A log file, read through a window.
pub(crate) struct LogFile {
    file: File,
    length: u64,
    /// The bytes from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
}

/// What follows from a file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where the records begin.
    pub(crate) bytes: u64,
    /// Xored into the checksums of items.
    signature: u32,
}

impl Header {
    /// The header that raft-engine would write to file number `sequence` today.
    pub(crate) fn expected(sequence: u64) -> Self {
        Self {
            bytes: (MAGIC.len() + 2 * NUMBER_BYTES) as u64,
            // raft-engine takes the low half of the number.
            signature: sequence as u32,
        }
    }
}

impl LogFile {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            window: Vec::new(),
            window_start: 0,
        })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// `count` bytes at `offset`, which must lie within the file.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + count as u64 > window_end {
            let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
            self.window.resize(count.max(READ_BYTES.min(rest)), 0);
            self.window_start = offset;
            let read = self.file.read_exact_at(&mut self.window, offset);
            if read.is_err() {
                self.window.clear();
            }
            read?;
        }
        let start = (offset - self.window_start) as usize;
        Ok(&self.window[start..start + count])
    }

    fn number(&mut self, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; NUMBER_BYTES];
        bytes.copy_from_slice(self.bytes(offset, NUMBER_BYTES)?);
        Ok(u64::from_be_bytes(bytes))
    }

    /// The header of file number `sequence`; none if it isn't whole or not one of ours.
    pub(crate) fn header(&mut self, sequence: u64) -> io::Result<Option<Header>> {
        let version_at = MAGIC.len() as u64;
        let first_end = version_at + NUMBER_BYTES as u64;
        if self.length < first_end || self.bytes(0, MAGIC.len())? != MAGIC {
            return Ok(None);
        }
        // Nothing else is ever written here: an alignment is for direct I/O, and version 1 has no
        // signatures.
        let expected = Header::expected(sequence);
        let whole = self.length >= expected.bytes
            && self.number(version_at)? == VERSION
            && self.number(first_end)? == 0;
        Ok(whole.then_some(expected))
    }

    /// What stands at `offset`, which must lie within the file.
    pub(crate) fn record(&mut self, header: Header, offset: u64) -> io::Result<Record> {
        let rest = self.length - offset;
        let broken = |why, claimed_bytes| {
            Ok(Record::Broken {
                why,
                claimed_bytes: rest.min(claimed_bytes),
            })
        };
        if rest < RECORD_HEADER_BYTES {
            return broken("its header is cut off", rest);
        }
        let first = self.number(offset)?;
        let items_at = self.number(offset + NUMBER_BYTES as u64)?;
        let (length, compression) = (first >> 8, first & 0xff);
        if compression > LZ4 || items_at < RECORD_HEADER_BYTES || items_at >= length {
            return broken("its header is not one", 0);
        }
        if length > rest {
            return broken("it reaches behind the end of the file", length);
        }
        let items = self.bytes(offset + items_at, (length - items_at) as usize)?;
        let Some(items) = checked(items, header.signature) else {
            return broken("the checksum of its items is wrong", length);
        };
        let Some(entries_bytes) = entries_bytes(items) else {
            return broken("its items are none", length);
        };
        let block_bytes = (items_at - RECORD_HEADER_BYTES) as usize;
        let mut block = self.bytes(offset + RECORD_HEADER_BYTES, block_bytes)?;
        if block_bytes > 0 {
            let Some(checked) = checked(block, 0) else {
                return broken("the checksum of its entries is wrong", length);
            };
            block = checked;
        }
        if uncompressed_bytes(block, compression) != Some(entries_bytes) {
            return broken("its entries do not fit its compression", length);
        }
        Ok(Record::Whole(length))
    }

    /// Where at or behind `offset` whole records stand, or may stand.
    pub(crate) fn find_record(&mut self, header: Header, offset: u64) -> io::Result<Option<u64>> {
        // One window over all of it, since the search goes back and forth.
        let rest = self.bytes(offset, (self.length - offset) as usize)?;
        let content_end = offset + content_bytes(rest);
        let mut budget = Budget::new(self.length - offset);
        let look = |at| self.record(header, at);
        find_chain(offset, content_end, &mut budget, look)
    }
}

/// The length of the entries in `block` before they were compressed.
fn uncompressed_bytes(block: &[u8], compression: u64) -> Option<u64> {
    match (compression, block.first_chunk::<4>()) {
        (UNCOMPRESSED, _) => Some(block.len() as u64),
        (LZ4, Some(length)) => Some(u32::from_le_bytes(*length).into()),
        _ => None,
    }
}

/// `block` without the checksum at its end, if that is right under `signature`.
fn checked(block: &[u8], signature: u32) -> Option<&[u8]> {
    let (content, checksum) = block.split_last_chunk::<CHECKSUM_BYTES>()?;
    let right = crc32fast::hash(content) == u32::from_le_bytes(*checksum) ^ signature;
    (right && !content.is_empty()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A record with one item, a command that removes a Region, and no entries.
    fn record(signature: u32) -> Vec<u8> {
        let items = [1, 2, 2, 1];
        let mut record = Vec::new();
        record.extend_from_slice(&((16 + 8) << 8 | UNCOMPRESSED).to_be_bytes());
        record.extend_from_slice(&16_u64.to_be_bytes());
        record.extend_from_slice(&items);
        record.extend_from_slice(&(crc32fast::hash(&items) ^ signature).to_le_bytes());
        record
    }

    fn find(content: &[u8]) -> Option<u64> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("the file is writable");
        let mut file = LogFile::new(file).expect("the file is readable");
        file.find_record(Header::expected(7), 0)
            .expect("the file is readable")
    }

    #[test]
    fn a_record_is_found_where_the_file_ends_behind_it_or_has_zeros_or_a_torn_one() {
        let whole = record(7);
        for behind in [vec![], vec![0; 100], whole[..20].to_vec()] {
            let content = [b"garbage".to_vec(), whole.clone(), behind].concat();
            assert_eq!(find(&content), Some(7));
        }
        assert_eq!(find(&[&whole[..], &whole].concat()), Some(0));
    }

    #[test]
    fn what_looks_like_a_record_amid_other_bytes_is_none() {
        let inner = record(7);
        assert_eq!(
            find(&[b"torn", &inner[..], b"more of the value"].concat()),
            None
        );
        assert_eq!(
            find(&[b"torn", &inner[..], &inner, b"more of the value"].concat()),
            None
        );
        assert_eq!(find(&record(8)), None, "it is of another file");
        assert_eq!(find(&[0; 1000]), None);
    }

    #[test]
    fn a_search_through_a_million_headers_ends() {
        // Each says that its items reach to the end.
        let headers = 1 << 20_u64;
        let header = |n: u64| {
            [
                (((headers - n) * 16) << 8).to_be_bytes(),
                16_u64.to_be_bytes(),
            ]
        };
        let content: Vec<u8> = (0..headers).flat_map(header).flatten().collect();
        assert!(find(&content).is_some(), "it may hold records");
    }
}
