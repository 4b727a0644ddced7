//! The file format of raft-engine 0.4, as far as it takes to tell a whole record from a broken one.
//!
//! ```text
//! file:   magic (53) | version (8) | alignment (8) | records
//! record: length << 8 | compression (8) | offset of items (8) | entries | crc (4) | items | crc (4)
//! ```
//!
//! Header numbers are big-endian, checksums little-endian. The checksum of the items is xored with
//! the file's number. Without entries their checksum is absent too. This is version 2, the only one
//! that is written here.
//!
//! Source: `src/file_pipe_log/format.rs` and `src/log_batch.rs` of raft-engine 0.4.2.
//!
//! **Not here.** What items and entries say.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const VERSION: u64 = 2;
const NUMBER_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const RECORD_HEADER_BYTES: u64 = 16;
/// The compressions that raft-engine knows: none and LZ4.
const COMPRESSION_MAX: u64 = 1;
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

/// Whether a record is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// It is, and takes so many bytes.
    Whole(u64),
    /// It isn't, because of this.
    Broken(&'static str),
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

    /// Whether a whole record stands at `offset`, which must lie within the file.
    pub(crate) fn record(&mut self, header: Header, offset: u64) -> io::Result<Record> {
        let rest = self.length - offset;
        if rest < RECORD_HEADER_BYTES {
            return Ok(Record::Broken("its header is cut off"));
        }
        let first = self.number(offset)?;
        let items_at = self.number(offset + NUMBER_BYTES as u64)?;
        let (length, compression) = (first >> 8, first & 0xff);
        if compression > COMPRESSION_MAX || items_at < RECORD_HEADER_BYTES || items_at >= length {
            return Ok(Record::Broken("its header is not one"));
        }
        if length > rest {
            return Ok(Record::Broken("it reaches behind the end of the file"));
        }
        let items = self.bytes(offset + items_at, (length - items_at) as usize)?;
        if !checksum_matches(items, header.signature) {
            return Ok(Record::Broken("the checksum of its items is wrong"));
        }
        let entries = (items_at - RECORD_HEADER_BYTES) as usize;
        if entries > 0 {
            let entries = self.bytes(offset + RECORD_HEADER_BYTES, entries)?;
            if !checksum_matches(entries, 0) {
                return Ok(Record::Broken("the checksum of its entries is wrong"));
            }
        }
        Ok(Record::Whole(length))
    }

    /// Where the first whole record at or behind `offset` stands.
    pub(crate) fn find_record(&mut self, header: Header, offset: u64) -> io::Result<Option<u64>> {
        for offset in offset..self.length {
            if let Record::Whole(_) = self.record(header, offset)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }
}

/// Whether the last bytes of `block` are the checksum of the others, under `signature`.
fn checksum_matches(block: &[u8], signature: u32) -> bool {
    let Some((content, checksum)) = block.split_last_chunk::<CHECKSUM_BYTES>() else {
        return false;
    };
    !content.is_empty() && crc32fast::hash(content) == u32::from_le_bytes(*checksum) ^ signature
}
