//! Primitive encodings shared by everything of ours that is written to a log or to a state record:
//! LEB128 varints and length-prefixed byte strings.
//!
//! **Invariants.** A decoder never panics and never allocates more than its input holds: byte
//! strings are slices of the input.
//!
//! **Not here.** What the fields mean.

use bytes::{Buf, Bytes};
use thiserror::Error;

/// Why bytes could not be decoded. Such bytes came from our own log or state, so whoever meets
/// this must stop rather than skip.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("the record ends inside a field")]
    Truncated,
    /// A number takes more than 64 bits.
    #[error("a number does not fit 64 bits")]
    Overflow,
    /// A tag or version that this program does not know.
    #[error("unknown {what}: {value}")]
    Unknown {
        /// The kind of tag.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Bytes are left after the last field.
    #[error("{0} bytes after the end of the record")]
    Trailing(usize),
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads fields off the front of a record.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(record: Bytes) -> Self {
        Self { rest: record }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.rest.first().ok_or(DecodeError::Truncated)?;
        self.rest.advance(1);
        Ok(byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * at as u32;
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(DecodeError::Overflow);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest.advance(at + 1);
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.varint()?;
        if len > self.rest.len() as u64 {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len as usize))
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(self.rest.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varint_reads_back_as_it_was_written(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.into());
            while reader.varint().is_ok() && reader.bytes().is_ok() {}
        }
    }

    #[test]
    fn a_number_over_64_bits_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff; 11]));
        assert_eq!(reader.varint(), Err(DecodeError::Overflow));
    }
}
