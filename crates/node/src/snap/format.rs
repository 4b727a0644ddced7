//! The form of a snapshot, in a stream and in a file: frames one behind the other.
//!
//! ```text
//! snapshot := header pairs* footer
//! frame    := kind:u8  len:u32le  crc32:u32le  body[len]      crc32 over kind, len and body
//! header   := kind 1, body = "KONTSNAP" version:u8=1 meta      see raftstore::SnapshotMeta
//! pairs    := kind 2, body = family:u8 (key:bytes value:bytes)+
//! footer   := kind 3, body = (pairs:u64le bytes:u64le){3}      for each family; of keys and values
//! bytes    := len:u32le byte[len]
//! family   := 0 default, 1 lock, 2 write
//! ```
//!
//! **Why a footer.** The pairs are counted while they are read; a stream that ends without it is cut.
//!
//! **Invariants.** Keys are Region keys, lie in the Region's range, and ascend within a family;
//! families ascend. [`Checker`] holds each frame against that, so that nothing else gets near the
//! engine. A frame is at most [`FRAME_BYTES_MAX`] long.
//!
//! **Not here.** Files (`dir`), and what is done with the pairs (`install`).

use bytes::Bytes;
use engine::{Cf, KvIterator, KvSnapshot};
use raftstore::SnapshotMeta;
use std::io::{self, Read};
use thiserror::Error;
use types::Space;

/// The longest frame, in bytes: a chunk and the largest pair that an entry of the log can carry.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// A frame of pairs is closed when it has so many bytes.
const CHUNK_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 9;
const MAGIC: &[u8] = b"KONTSNAP\x01";
const KIND_HEADER: u8 = 1;
const KIND_PAIRS: u8 = 2;
const KIND_FOOTER: u8 = 3;

/// The families that hold a Region's data.
pub(super) const FAMILIES: [Cf; 3] = [Cf::Default, Cf::Lock, Cf::Write];

/// Why bytes are not the snapshot that they should be.
#[derive(Debug, Error)]
pub enum FormatError {
    /// A frame is not one, or its checksum is another.
    #[error("frame {number} is damaged")]
    Damaged {
        /// Counted from 0.
        number: u64,
    },
    /// A whole frame that does not belong here.
    #[error("frame {number} does not belong to this snapshot: {what}")]
    Foreign {
        /// Counted from 0.
        number: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It ends before its footer.
    #[error("it is cut off behind frame {number}")]
    Cut {
        /// How many there are.
        number: u64,
    },
    /// It can't be read.
    #[error("it can't be read")]
    Io(#[from] io::Error),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    pairs: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.pairs += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let len = (body.len() as u32).to_le_bytes();
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.push(kind);
    out.extend(len);
    out.extend(checksum(kind, len, body).to_le_bytes());
    out.extend(body);
    out.into()
}

fn checksum(kind: u8, len: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&len);
    hasher.update(body);
    hasher.finalize()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let (bytes, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

/// The frames of a pinned view. Each is read when it is asked for.
pub struct Frames<S> {
    snapshot: S,
    meta: SnapshotMeta,
    next: Next,
    counts: [Count; FAMILIES.len()],
}

enum Next {
    Header,
    /// The pairs of a family from an engine key on.
    Pairs(usize, Vec<u8>),
    Footer,
    End,
}

impl<S: KvSnapshot> Frames<S> {
    pub(super) fn new(snapshot: S, meta: SnapshotMeta) -> Self {
        Self {
            snapshot,
            meta,
            next: Next::Header,
            counts: Default::default(),
        }
    }

    fn first_key(&self) -> Vec<u8> {
        Space::of(self.meta.region.id).key(&self.meta.region.range.start)
    }

    /// The next frame of pairs; none if there is no further pair.
    fn pairs(&mut self, mut family: usize, mut from: Vec<u8>) -> engine::Result<Option<Bytes>> {
        while family < FAMILIES.len() {
            let mut body = vec![family as u8];
            match self.fill(family, &from, &mut body)? {
                Some(next) => self.next = Next::Pairs(family, next),
                None => self.next = Next::Pairs(family + 1, self.first_key()),
            }
            if body.len() > 1 {
                return Ok(Some(frame(KIND_PAIRS, &body)));
            }
            family += 1;
            from = self.first_key();
        }
        Ok(None)
    }

    /// Adds a chunk of pairs to `body`, and returns where to go on in this family.
    fn fill(
        &mut self,
        family: usize,
        from: &[u8],
        body: &mut Vec<u8>,
    ) -> engine::Result<Option<Vec<u8>>> {
        let space = Space::of(self.meta.region.id);
        let upper = space.end_key(&self.meta.region.range.end);
        let mut iter = self.snapshot.iter(FAMILIES[family], from, &upper)?;
        let mut is_pair = iter.seek_to_first()?;
        while is_pair {
            let key = space.strip(iter.key()).expect("the bounds lie within it");
            if body.len() + key.len() + iter.value().len() > CHUNK_BYTES && body.len() > 1 {
                return Ok(Some(iter.key().to_vec()));
            }
            put_bytes(body, key);
            put_bytes(body, iter.value());
            self.counts[family].add(key, iter.value());
            is_pair = iter.next()?;
        }
        Ok(None)
    }

    fn footer(&self) -> Bytes {
        let mut body = Vec::new();
        for count in self.counts {
            body.extend(count.pairs.to_le_bytes());
            body.extend(count.bytes.to_le_bytes());
        }
        frame(KIND_FOOTER, &body)
    }
}

impl<S: KvSnapshot> Iterator for Frames<S> {
    type Item = engine::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Header => {
                self.next = Next::Pairs(0, self.first_key());
                let body = [MAGIC, &self.meta.encode()].concat();
                Some(Ok(frame(KIND_HEADER, &body)))
            }
            Next::Pairs(family, from) => match self.pairs(family, from) {
                Ok(Some(frame)) => Some(Ok(frame)),
                Ok(None) => {
                    self.next = Next::Footer;
                    self.next()
                }
                Err(error) => Some(Err(error)),
            },
            Next::Footer => Some(Ok(self.footer())),
            Next::End => None,
        }
    }
}

/// Holds the frames of a snapshot, as they come, against what they have to be.
pub(super) struct Checker {
    meta: SnapshotMeta,
    number: u64,
    /// The last pair's place.
    last: Option<(usize, Vec<u8>)>,
    counts: [Count; FAMILIES.len()],
    is_whole: bool,
}

impl Checker {
    /// For the snapshot that `meta` describes.
    pub(super) fn new(meta: SnapshotMeta) -> Self {
        Self {
            meta,
            number: 0,
            last: None,
            counts: Default::default(),
            is_whole: false,
        }
    }

    /// Takes the next frame, and shows its pairs: family, Region key, value.
    pub(super) fn check(
        &mut self,
        frame: &[u8],
        mut visit: impl FnMut(Cf, &[u8], &[u8]),
    ) -> Result<(), FormatError> {
        let number = self.number;
        let (kind, body) = open(frame).ok_or(FormatError::Damaged { number })?;
        let foreign = |what| FormatError::Foreign { number, what };
        let checked = match kind {
            _ if self.is_whole => Err("there is a footer before it"),
            KIND_HEADER if number == 0 => self.check_header(body),
            _ if number == 0 => Err("there is no header before it"),
            KIND_PAIRS => self.check_pairs(body, &mut visit),
            KIND_FOOTER => self.check_footer(body),
            _ => Err("it is of an unknown kind"),
        };
        self.number += 1;
        checked.map_err(foreign)
    }

    /// Whether the footer was there.
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        let number = self.number;
        match self.is_whole {
            true => Ok(()),
            false => Err(FormatError::Cut { number }),
        }
    }

    fn check_header(&self, body: &[u8]) -> Result<(), &'static str> {
        match body.strip_prefix(MAGIC) {
            Some(meta) if meta == self.meta.encode() => Ok(()),
            Some(_) => Err("it describes another snapshot"),
            None => Err("it is of another version"),
        }
    }

    fn check_pairs(
        &mut self,
        body: &[u8],
        visit: &mut impl FnMut(Cf, &[u8], &[u8]),
    ) -> Result<(), &'static str> {
        let (family, mut rest) = body.split_first().ok_or("it is empty")?;
        let family = usize::from(*family);
        let cf = *FAMILIES.get(family).ok_or("its family is unknown")?;
        while !rest.is_empty() {
            let key = take_bytes(&mut rest).ok_or("a key is cut off")?;
            let value = take_bytes(&mut rest).ok_or("a value is cut off")?;
            if !self.meta.region.range.contains(key) {
                return Err("a key is not the Region's");
            }
            let last = self.last.as_ref();
            if last.is_some_and(|(at, last)| (*at, last.as_slice()) >= (family, key)) {
                return Err("its keys do not ascend");
            }
            self.last = Some((family, key.to_vec()));
            self.counts[family].add(key, value);
            visit(cf, key, value);
        }
        Ok(())
    }

    fn check_footer(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let counts = self.counts.iter();
        let counted: Vec<u8> = counts
            .flat_map(|count| [count.pairs, count.bytes])
            .flat_map(u64::to_le_bytes)
            .collect();
        self.is_whole = counted == body;
        match self.is_whole {
            true => Ok(()),
            false => Err("it counts other pairs than there were"),
        }
    }
}

/// A frame's kind and body, if it is whole.
fn open(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (head, body) = frame.split_first_chunk::<HEAD_BYTES>()?;
    let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let len = [l0, l1, l2, l3];
    let is_whole = u32::from_le_bytes(len) as usize == body.len()
        && u32::from_le_bytes([c0, c1, c2, c3]) == checksum(kind, len, body);
    is_whole.then_some((kind, body))
}

/// Reads the next frame of a file; none at its end.
pub(super) fn read_frame(file: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        match file.read(&mut frame[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    let len = u32::from_le_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // As much as there is, whatever the head claims.
    let body_bytes = file.take(len as u64).read_to_end(&mut frame)?;
    match body_bytes == len {
        true => Ok(Some(frame)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests;
