//! A walk over the fields of an encoded message, without decoding it.
//!
//! **Why.** What comes from the network is looked at before a decoder allocates for it, or follows
//! it into a nesting without end.
//!
//! **Invariants.** Groups are refused: they nest without a limit, and no message of ours has one.
//! A tag that does not fit 32 bits is refused, since decoders disagree about it: some cut it off,
//! and would see another field than this walk does.
//!
//! **Not here.** What the fields mean.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A number, of any type.
    Number,
    /// Bytes, text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

const WIRE_VARINT: u32 = 0;
const WIRE_FIXED64: u32 = 1;
const WIRE_BYTES: u32 = 2;
const WIRE_FIXED32: u32 = 5;

/// Shows `visit` the number and the content of each field, in the order of the encoding.
///
/// # Errors
/// What `visit` says, or why the bytes are no message.
pub fn fields<'a>(
    mut rest: &'a [u8],
    mut visit: impl FnMut(u32, Content<'a>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    const CUT: &str = "it is cut off";
    while !rest.is_empty() {
        let tag = varint(&mut rest).ok_or(CUT)?;
        let tag = u32::try_from(tag).map_err(|_| "it has a tag of more than 32 bits")?;
        let number = tag >> 3;
        if number == 0 {
            return Err("it has a field of number 0");
        }
        let length = match tag & 7 {
            WIRE_VARINT => {
                varint(&mut rest).ok_or(CUT)?;
                0
            }
            WIRE_FIXED64 => 8,
            WIRE_BYTES => varint(&mut rest).ok_or(CUT)?,
            WIRE_FIXED32 => 4,
            _ => return Err("it has a field of a type that is not in use"),
        };
        let length = usize::try_from(length).map_err(|_| CUT)?;
        let (content, after) = rest.split_at_checked(length).ok_or(CUT)?;
        rest = after;
        let content = if tag & 7 == WIRE_BYTES {
            Content::Bytes(content)
        } else {
            Content::Number
        };
        visit(number, content)?;
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (position, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * position as u32)?;
        if byte & 0x80 == 0 {
            *rest = &rest[position + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u32>, &'static str> {
        let mut numbers = Vec::new();
        fields(bytes, |number, _| {
            numbers.push(number);
            Ok(())
        })?;
        Ok(numbers)
    }

    #[test]
    fn fields_are_shown_in_their_order() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, 0xaa, 0xbb, 0x1d, 0, 0, 0, 0];
        assert_eq!(numbers(&bytes), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn groups_and_cuts_are_refused() {
        assert!(numbers(&[0x0b]).is_err(), "the start of a group");
        assert!(
            numbers(&[0x12, 0x05, 0x00]).is_err(),
            "a content that is cut off"
        );
        assert!(numbers(&[0x00, 0x00]).is_err(), "a field of number 0");
        assert!(numbers(&[0xff; 11]).is_err(), "a number without an end");
    }

    #[test]
    fn a_tag_that_some_decoders_would_cut_off_is_refused() {
        // 2^32 + (1 << 3 | 2): cut to 32 bits, it is field 1.
        let tag = [0x8a, 0x80, 0x80, 0x80, 0x10];
        let bytes: Vec<u8> = tag.into_iter().chain([0x00]).collect();
        assert!(numbers(&bytes).unwrap_err().contains("32 bits"));
    }
}
