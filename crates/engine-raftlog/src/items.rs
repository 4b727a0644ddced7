//! The items of a record, as far as it takes to tell how long its entries are.
//!
//! ```text
//! items:   count | items
//! item:    region | type (1) | content
//! entries: count | first index | for each: the offset of its end among the entries
//! command: 1, or 2 | index
//! value:   1 | key length | key | value length | value, or 2 | key length | key
//! ```
//!
//! Counts, ids, offsets and lengths are variable-length numbers.
//!
//! **Invariants.** What passes here is read by raft-engine without a panic.
//!
//! **Not here.** What the items mean.

const ENTRIES: u8 = 1;
const COMMAND: u8 = 2;
const VALUE: u8 = 3;
const CLEAN: u8 = 1;
const COMPACT: u8 = 2;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// How long all entries are that the items in `bytes` name; none if these are no items.
pub(crate) fn entries_bytes(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader(bytes);
    let mut entries_end = 0;
    for _ in 0..reader.number()? {
        reader.number()?;
        match reader.byte()? {
            ENTRIES => entries_end = entries(&mut reader, entries_end)?,
            COMMAND => match reader.byte()? {
                CLEAN => {}
                COMPACT => drop(reader.number()?),
                _ => return None,
            },
            VALUE => match reader.byte()? {
                PUT => {
                    reader.run()?;
                    reader.run()?;
                }
                DELETE => reader.run()?,
                _ => return None,
            },
            _ => return None,
        }
    }
    reader.0.is_empty().then_some(entries_end)
}

/// Where the last of these entries ends; the first begins at `end`.
fn entries(reader: &mut Reader<'_>, mut end: u64) -> Option<u64> {
    let count = reader.number()?;
    if count > 0 {
        reader.number()?;
    }
    for _ in 0..count {
        let next = reader.number()?;
        if next < end || next > u32::MAX.into() {
            return None;
        }
        end = next;
    }
    Some(end)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Seven bits a byte, the lowest first; the last byte is less than 128.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A length, and so many bytes.
    fn run(&mut self) -> Option<()> {
        let length = usize::try_from(self.number()?).ok()?;
        self.0 = self.0.get(length..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_end_counts_over_all_items() {
        // Two Regions with entries, between them a compaction, a put and a delete.
        let items = [
            &[5, 9, ENTRIES, 2, 7, 10, 0xac, 2][..],
            &[9, COMMAND, COMPACT, 0x80, 1],
            &[9, VALUE, PUT, 1, b'k', 2, b'v', b'v'],
            &[9, VALUE, DELETE, 1, b'k'],
            &[3, ENTRIES, 1, 1, 0xad, 2],
        ];
        assert_eq!(entries_bytes(&items.concat()), Some(301));
        assert_eq!(entries_bytes(&[1, 9, COMMAND, CLEAN]), Some(0));
    }

    #[test]
    fn fuzz_items() {
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "items")
            .seed([2, 5, ENTRIES, 2, 7, 10, 0xac, 2, 9, COMMAND, COMPACT, 1])
            .seed([
                2, 9, VALUE, PUT, 1, b'k', 1, b'v', 9, VALUE, DELETE, 1, b'k',
            ])
            .run(entries_bytes);
    }

    #[test]
    fn other_bytes_are_no_items() {
        for bytes in [
            &[][..],
            &[1],
            &[1, 9, 4],
            &[1, 9, COMMAND, 3],
            &[1, 9, COMMAND, CLEAN, 0],
            &[1, 9, VALUE, PUT, 200],
            &[1, 9, VALUE, PUT, 1, b'k', 0xff, 0xff, 3],
            &[1, 9, ENTRIES, 2, 1, 10, 9],
            &[0xff; 30],
        ] {
            assert_eq!(entries_bytes(bytes), None, "{bytes:?}");
        }
    }
}
