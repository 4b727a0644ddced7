//! [`Watermark`]: how far the newest file of a log is known to be durable, beside the log.
//!
//! **Why.** A log that is shorter than it was looks like one whose end a crash tore. Only something
//! outside of it can tell that what is missing had been synced, and therefore promised.
//!
//! **Why without a sync of its own.** A mark is written after the sync that it tells of, so it is never
//! ahead of the log. A killed process leaves the newest one; after a power loss an older one may be
//! found, which is true as well and only says less.
//!
//! ```text
//! file: slot, at 0 | slot, at 512
//! slot: number (8, big-endian) | bytes (8, big-endian) | CRC-32 of both (4, big-endian)
//! ```
//!
//! **Invariants.** A mark is written into the slot that does not hold the one before it, so that a torn
//! write leaves that one; the higher mark counts. A mark that can't be written is left out.
//!
//! **Not here.** What is done with a log that ends before its mark: the engine refuses it.

use crate::Result;
use crate::file::{failed, parent, read_if_there, sync_directory, sync_failed};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Slots lie in different sectors of a disk.
const SLOT_BYTES: usize = 512;
const SLOTS: usize = 2;
const CONTENT_BYTES: usize = 16;
const MARK_BYTES: usize = CONTENT_BYTES + 4;

/// So many bytes of a file are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The file's number; later files have higher ones.
    pub number: u64,
    /// How many of its bytes.
    pub bytes: u64,
}

impl Mark {
    fn encode(self) -> [u8; MARK_BYTES] {
        let mut slot = [0; MARK_BYTES];
        slot[..8].copy_from_slice(&self.number.to_be_bytes());
        slot[8..CONTENT_BYTES].copy_from_slice(&self.bytes.to_be_bytes());
        let checksum = crc32fast::hash(&slot[..CONTENT_BYTES]);
        slot[CONTENT_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        slot
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let (number, rest) = slot.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let mark = Self {
            number: u64::from_be_bytes(*number),
            bytes: u64::from_be_bytes(*bytes),
        };
        let checksum = rest.first_chunk::<4>()?;
        (mark.encode()[CONTENT_BYTES..] == *checksum).then_some(mark)
    }

    /// The highest mark in the file at `path`; none if there is no file, or no whole mark in it.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file is there and can't be read.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let content = read_if_there(path)?.unwrap_or_default();
        Ok(content.chunks(SLOT_BYTES).filter_map(Mark::decode).max())
    }
}

/// Where the marks of one log are written.
#[derive(Debug)]
pub struct Watermark {
    file: File,
    last: Mark,
    next_slot: usize,
}

impl Watermark {
    /// Begins with `mark` in the file at `path`, durably, whatever was there.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`], [`crate::Error::Io`] and [`crate::Error::Sync`].
    pub fn begin(path: &Path, mark: Mark) -> Result<Self> {
        // Empty first: a power cut must not leave a higher mark of an earlier log in the other slot.
        let file = File::create(path).map_err(|error| failed("create", path, error))?;
        let mut content = [0; SLOT_BYTES * SLOTS];
        content[..MARK_BYTES].copy_from_slice(&mark.encode());
        let written = file.write_all_at(&content, 0);
        written.map_err(|error| failed("write", path, error))?;
        file.sync_all().map_err(|error| sync_failed(path, error))?;
        sync_directory(parent(path))?;
        Ok(Self {
            file,
            last: mark,
            next_slot: 1,
        })
    }

    /// Raises the mark: so much has been synced. A lower one than before changes nothing.
    pub fn raise(&mut self, mark: Mark) {
        if mark <= self.last {
            return;
        }
        let offset = (self.next_slot * SLOT_BYTES) as u64;
        // Failing, it leaves the mark before, which says less and is true.
        if self.file.write_all_at(&mark.encode(), offset).is_ok() {
            self.last = mark;
            self.next_slot = (self.next_slot + 1) % SLOTS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mark(number: u64, bytes: u64) -> Mark {
        Mark { number, bytes }
    }

    #[test]
    fn the_highest_mark_is_found_and_an_older_one_where_the_newest_is_torn() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("MARK");
        assert_eq!(Mark::load(&path).expect("loads"), None);
        let mut watermark = Watermark::begin(&path, mark(3, 10)).expect("begins");
        assert_eq!(Mark::load(&path).expect("loads"), Some(mark(3, 10)));
        for (raised, found) in [
            (mark(3, 20), mark(3, 20)),
            (mark(3, 15), mark(3, 20)),
            (mark(4, 1), mark(4, 1)),
        ] {
            watermark.raise(raised);
            assert_eq!(Mark::load(&path).expect("loads"), Some(found));
        }
        // The last one went into the first slot.
        let mut content = fs::read(&path).expect("the file is readable");
        content[7] ^= 1;
        fs::write(&path, &content).expect("the file is writable");
        assert_eq!(Mark::load(&path).expect("loads"), Some(mark(3, 20)));
        fs::write(&path, &content[..5]).expect("the file is writable");
        assert_eq!(Mark::load(&path).expect("loads"), None);
    }

    #[test]
    fn fuzz_marks() {
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "marks")
            .seed(mark(7, 1 << 40).encode())
            .run(|input| {
                let found = Mark::decode(input);
                if let Some(mark) = found {
                    assert_eq!(mark.encode(), input[..MARK_BYTES]);
                }
                (found.is_some(), input.len())
            });
    }

    #[test]
    fn no_changed_byte_passes_for_a_mark() {
        let slot = mark(7, 1 << 40).encode();
        for at in 0..slot.len() {
            let mut changed = slot;
            changed[at] ^= 0x10;
            assert_eq!(Mark::decode(&changed), None, "byte {at}");
        }
        assert_eq!(Mark::decode(&[0; SLOT_BYTES]), None);
    }

    #[test]
    fn a_new_beginning_forgets_what_was_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("MARK");
        Watermark::begin(&path, mark(9, 9))
            .expect("begins")
            .raise(mark(10, 10));
        Watermark::begin(&path, mark(1, 2)).expect("begins");
        assert_eq!(Mark::load(&path).expect("loads"), Some(mark(1, 2)));
    }
}
