//! The arithmetic of a log's bounds, shared by every [`crate::RaftLog`].
//!
//! **Why shared.** Engines check a batch before they write anything of it. If each had rules of its
//! own, a log that one accepts would stop another, and the simulation would not be true.
//!
//! **Invariants.** `Some((first, last))` has `first <= last`; a log without entries is `None` and
//! may start anywhere.
//!
//! **Not here.** Terms, and where entries are.

use crate::{Error, Result};
use types::{LogEntry, RegionId};

/// The first and last index of a log, both inclusive; none without entries.
pub type Bounds = Option<(u64, u64)>;

/// The bounds after `entries` were appended to a log with `bounds`.
///
/// # Errors
/// [`Error::Hole`] if they don't continue the log, or each other; [`Error::Compacted`] if they begin
/// before it.
pub fn after_append(region: RegionId, bounds: Bounds, entries: &[LogEntry]) -> Result<Bounds> {
    let (Some(head), Some(tail)) = (entries.first(), entries.last()) else {
        return Ok(bounds);
    };
    for pair in entries.windows(2) {
        if pair[0].index.checked_add(1) != Some(pair[1].index) {
            return Err(Error::Hole {
                region,
                index: pair[1].index,
                expected: pair[0].index.saturating_add(1),
            });
        }
    }
    let Some((first, last)) = bounds else {
        return Ok(Some((head.index, tail.index)));
    };
    if head.index < first {
        return Err(Error::Compacted {
            region,
            index: head.index,
            first,
        });
    }
    if head.index > last.saturating_add(1) {
        return Err(Error::Hole {
            region,
            index: head.index,
            expected: last.saturating_add(1),
        });
    }
    Ok(Some((first, tail.index)))
}

/// The bounds after the entries before `up_to` were dropped.
pub fn after_compact(bounds: Bounds, up_to: u64) -> Bounds {
    let (first, last) = bounds?;
    (up_to <= last).then_some((first.max(up_to), last))
}

/// Whether `[low, high)` can be fetched from a log with `bounds`; an empty range always can.
///
/// # Errors
/// [`Error::Compacted`] and [`Error::Missing`], as [`crate::RaftLog::fetch`] promises.
pub fn check_fetch(region: RegionId, bounds: Bounds, low: u64, high: u64) -> Result<()> {
    if low >= high {
        return Ok(());
    }
    match bounds {
        None => Err(Error::Missing {
            region,
            index: low,
            last: 0,
        }),
        Some((first, _)) if low < first => Err(Error::Compacted {
            region,
            index: low,
            first,
        }),
        Some((_, last)) if high - 1 > last => Err(Error::Missing {
            region,
            index: high - 1,
            last,
        }),
        Some(_) => Ok(()),
    }
}
