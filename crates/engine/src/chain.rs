//! Telling a torn end of a log from damage: the search for whole records behind a broken one.
//!
//! **Why.** A crash tears the last record of a log. A record that is broken with whole ones behind it
//! was damaged later, and cutting it would forget what was promised.
//!
//! **Why a chain.** A torn record may hold a client's value that looks like a record. So one counts only
//! where records stand one behind the other until the content ends, or the last of them is broken.
//!
//! **Why a budget.** What looks like the header of a long record costs a checksum over all of it, and a
//! client may have written a million of those.
//!
//! **Not here.** How a record looks: each engine knows its own.

use std::io;

/// What a search may check, as a multiple of what is searched.
const BUDGET_FACTOR: u64 = 32;

/// What stands at a place of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A whole record of so many bytes.
    Whole(u64),
    /// None that is whole.
    Broken {
        /// What is wrong.
        why: &'static str,
        /// How many bytes a record whose header this may be would have here; zero if it is none.
        claimed_bytes: u64,
    },
}

/// How much a search may check. Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left_bytes: u64,
}

impl Budget {
    /// A budget for a search through so many bytes.
    pub fn new(searched_bytes: u64) -> Self {
        Self {
            left_bytes: searched_bytes.saturating_mul(BUDGET_FACTOR),
        }
    }

    fn spend(&mut self, bytes: u64) -> bool {
        let left = self.left_bytes.checked_sub(bytes);
        self.left_bytes = left.unwrap_or(0);
        left.is_some()
    }
}

/// Where in `[from, content_end)` the first chain of whole records begins; `look` says what stands at
/// a place. If the budget doesn't suffice to tell, where it ended: there may be one.
///
/// # Errors
/// Those of `look`.
pub fn find_chain(
    from: u64,
    content_end: u64,
    budget: &mut Budget,
    mut look: impl FnMut(u64) -> io::Result<Record>,
) -> io::Result<Option<u64>> {
    for candidate in from..content_end {
        let mut at = candidate;
        let goes_on = loop {
            if at >= content_end {
                break true;
            }
            let record = look(at)?;
            let (Record::Whole(bytes)
            | Record::Broken {
                claimed_bytes: bytes,
                ..
            }) = record;
            if !budget.spend(bytes) {
                return Ok(Some(candidate));
            }
            match record {
                Record::Whole(bytes) => at += bytes,
                Record::Broken { claimed_bytes, .. } => break claimed_bytes > 0,
            }
        };
        if goes_on && at > candidate {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// How many of `bytes` there are before the zeros at their end.
pub fn content_bytes(bytes: &[u8]) -> u64 {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records are `<n...>` for `n` bytes; `<` alone begins a broken one.
    fn find(text: &str) -> Option<u64> {
        let bytes = text.as_bytes();
        let look = |at: u64| {
            let rest = &bytes[at as usize..];
            let end = rest.iter().position(|byte| *byte == b'>');
            let inner = rest.iter().skip(1).position(|byte| *byte == b'<');
            Ok(match (rest[0], end) {
                (b'<', Some(end)) if inner.is_none_or(|inner| inner + 1 > end) => {
                    Record::Whole(end as u64 + 1)
                }
                (first, _) => Record::Broken {
                    why: "",
                    claimed_bytes: if first == b'<' { rest.len() as u64 } else { 0 },
                },
            })
        };
        let end = content_bytes(bytes);
        find_chain(0, end, &mut Budget::new(end), look).expect("reads")
    }

    #[test]
    fn a_chain_ends_with_the_content_or_with_a_broken_record() {
        assert_eq!(find("xx<a>"), Some(2));
        assert_eq!(find("xx<a><b>\0\0\0"), Some(2));
        assert_eq!(find("xx<a><b><c"), Some(2));
        assert_eq!(find("<<<<a>"), Some(3));
    }

    #[test]
    fn a_record_amid_other_bytes_is_no_chain() {
        assert_eq!(find("xx<a>yy"), None);
        assert_eq!(find("xx<a><b>yy"), None);
        assert_eq!(find("<a"), None);
        assert_eq!(find("\0\0"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn where_too_much_looks_like_records_there_may_be_one() {
        assert!(find(&"<".repeat(1000)).is_some());
    }
}
