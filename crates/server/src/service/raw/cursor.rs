//! Where a read of ranges stands, so that it can stop between rows and go on later.
//!
//! **Where a range begins** must lie in the Region, since rows before the Region's edge would be missing
//! unnoticed. Its far end is cut at the Region's edge.
//!
//! **Invariants.** However often a read is interrupted, it shows each living row once and in order, since
//! it goes on behind the last row that it saw, in the same view. Each slice sees at least one row, or ends the read.
//!
//! **Not here.** The order of rows within the engine. One step of the engine's iterator is never
//! interrupted, however many deleted rows it has to skip.

use super::budget::Budget;
use super::{key_not_in_region, now_s, unreadable};
use crate::backend::{Direction, ReadView};
use crate::error::Failure;
use pool::{Progress, Slice};
use std::ops::ControlFlow;
use types::{KeyRange, RawValueRef, Region};

/// The slice is asked once in so many rows, or bytes.
const ROWS_PER_QUESTION: usize = 16;
const BYTES_PER_QUESTION: usize = 64 << 10;

/// Ranges that are read one after the other.
pub(super) struct Cursor {
    direction: Direction,
    /// The most rows of one range; none for all of them.
    limit: Option<u32>,
    ranges: std::vec::IntoIter<KeyRange>,
    /// What is left of the range that was begun.
    begun: Option<Begun>,
}

struct Begun {
    range: KeyRange,
    rows_left: Option<u32>,
}

/// How the rows of one range ended, or did not.
enum Stop {
    /// They are all seen, or enough of them.
    Complete,
    /// The slice is over; this was the last row.
    Interrupted(Vec<u8>),
    Failed(Failure),
}

impl Cursor {
    /// Before the first of `ranges`, of each of which `limit` rows are wanted: at least one.
    pub(super) fn new(ranges: Vec<KeyRange>, direction: Direction, limit: Option<u32>) -> Self {
        Self {
            direction,
            limit,
            ranges: ranges.into_iter(),
            begun: None,
        }
    }

    /// Bytes of the ranges that have not begun.
    pub(super) fn held_bytes(&self) -> usize {
        let ranges = self.ranges.as_slice().iter();
        ranges
            .map(|range| range.start.len() + range.end.len())
            .sum()
    }

    /// Shows `row` the Region key and the user's value of each living row, until there is none or the slice is
    /// over.
    pub(super) fn go_on(
        &mut self,
        view: &impl ReadView,
        budget: &mut Budget,
        slice: &Slice<'_>,
        mut row: impl FnMut(&[u8], &[u8], &mut Budget) -> Result<(), Failure>,
    ) -> Result<Progress, Failure> {
        while let Some(mut begun) = self.next_range(view, budget)? {
            match begun.read(view, self.direction, slice, budget, &mut row)? {
                Stop::Complete => {}
                Stop::Failed(failure) => return Err(failure),
                Stop::Interrupted(last) => {
                    begun.skip_to(last, self.direction);
                    self.begun = Some(begun);
                    return Ok(Progress::Yielded);
                }
            }
        }
        Ok(Progress::Done)
    }

    /// The range to go on with.
    fn next_range(
        &mut self,
        view: &impl ReadView,
        budget: &Budget,
    ) -> Result<Option<Begun>, Failure> {
        if let Some(begun) = self.begun.take() {
            budget.check_time()?;
            return Ok(Some(begun));
        }
        for range in self.ranges.by_ref() {
            budget.check_time()?;
            if range.is_empty() {
                continue;
            }
            return Ok(Some(Begun {
                range: clip(view.region(), range, self.direction)?,
                rows_left: self.limit,
            }));
        }
        Ok(None)
    }
}

impl Begun {
    /// Shows rows until the slice is over.
    fn read(
        &mut self,
        view: &impl ReadView,
        direction: Direction,
        slice: &Slice<'_>,
        budget: &mut Budget,
        row: &mut impl FnMut(&[u8], &[u8], &mut Budget) -> Result<(), Failure>,
    ) -> Result<Stop, Failure> {
        let now_s = now_s();
        let (mut rows, mut bytes) = (0, 0);
        let mut stop = Stop::Complete;
        let rows_left = &mut self.rows_left;
        let mut visit = |key: &[u8], stored: &[u8]| {
            match show(stored, now_s, budget, |value, budget| {
                row(key, value, budget)
            }) {
                Err(failure) => {
                    stop = Stop::Failed(failure);
                    return ControlFlow::Break(());
                }
                Ok(false) => {}
                Ok(true) => {
                    *rows_left = rows_left.map(|left| left - 1);
                    if *rows_left == Some(0) {
                        return ControlFlow::Break(());
                    }
                }
            }
            rows += 1;
            bytes += key.len() + stored.len();
            if rows < ROWS_PER_QUESTION && bytes < BYTES_PER_QUESTION {
                return ControlFlow::Continue(());
            }
            (rows, bytes) = (0, 0);
            node::rest_if_due();
            if slice.should_yield() {
                stop = Stop::Interrupted(key.to_vec());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        view.scan(&self.range, direction, &mut visit)?;
        Ok(stop)
    }

    /// Leaves out what was seen up to the row with key `last`.
    fn skip_to(&mut self, mut last: Vec<u8>, direction: Direction) {
        match direction {
            Direction::Forward => {
                // The least key behind it.
                last.push(0);
                self.range.start = last;
            }
            Direction::Reverse => self.range.end = last,
        }
    }
}

/// Shows a row's value if it is living; says whether it is.
fn show(
    stored: &[u8],
    now_s: u64,
    budget: &mut Budget,
    row: impl FnOnce(&[u8], &mut Budget) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    budget.take_row()?;
    let value = RawValueRef::decode(stored).map_err(|error| unreadable("value", &error))?;
    if value.is_expired(now_s) {
        return Ok(false);
    }
    row(value.user_value, budget)?;
    Ok(true)
}

/// Cuts the far end of a range at the Region's edge; the near end must lie in the Region.
fn clip(region: &Region, range: KeyRange, direction: Direction) -> Result<KeyRange, Failure> {
    let edge = &region.range;
    match direction {
        Direction::Forward if !edge.contains(&range.start) => {
            Err(key_not_in_region(&range.start, region))
        }
        Direction::Forward => {
            let beyond = range.end.is_empty() || (!edge.end.is_empty() && range.end > edge.end);
            let end = if beyond { edge.end.clone() } else { range.end };
            Ok(KeyRange {
                start: range.start,
                end,
            })
        }
        Direction::Reverse => {
            let begins_inside = if range.end.is_empty() {
                edge.end.is_empty()
            } else {
                range.end > edge.start && (edge.end.is_empty() || range.end <= edge.end)
            };
            if !begins_inside {
                return Err(key_not_in_region(&range.end, region));
            }
            Ok(KeyRange {
                start: range.start.max(edge.start.clone()),
                end: range.end,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::answers::Answers;
    use bytes::Bytes;
    use node::MemoryBudget;
    use std::time::Duration;
    use types::{RegionId, raw_value};

    /// A view of some keys, all with the same value.
    struct View {
        region: Region,
        keys: Vec<Vec<u8>>,
        stored: Vec<u8>,
    }

    impl View {
        /// Of three times 100 keys, of which some are beginnings of others. Every seventh has expired.
        fn new(value: &[u8]) -> Self {
            let keys = (0..100u8).flat_map(|n| [vec![n], vec![n, 0], vec![n, 0, 1]]);
            Self {
                region: Region::default(),
                keys: keys.collect(),
                stored: raw_value::encode(value, None),
            }
        }
    }

    impl ReadView for View {
        fn region(&self) -> &Region {
            &self.region
        }

        fn get(&self, _: &[u8]) -> Result<Option<Bytes>, Failure> {
            unreachable!("a cursor scans")
        }

        fn scan(
            &self,
            range: &KeyRange,
            direction: Direction,
            visit: crate::backend::Visit<'_>,
        ) -> Result<(), Failure> {
            let expired = raw_value::encode(b"", Some(1));
            let mut rows: Vec<_> = self.keys.iter().enumerate().collect();
            if direction == Direction::Reverse {
                rows.reverse();
            }
            for (number, key) in rows {
                let stored = if number % 7 == 0 {
                    &expired
                } else {
                    &self.stored
                };
                if range.contains(key) && visit(key, stored).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    fn budget(time_max: Duration) -> Budget {
        let answers = Answers::new(usize::MAX, &MemoryBudget::unlimited());
        Budget::new(usize::MAX, time_max, answers.gather())
    }

    /// What a cursor shows if each slice is over at its `questions`-th question, and the number of slices.
    fn shown(view: &View, cursor: &mut Cursor, questions: u32) -> (Vec<Vec<u8>>, usize) {
        let mut budget = budget(Duration::from_secs(60));
        let (mut keys, mut slices) = (Vec::new(), 0);
        loop {
            slices += 1;
            let slice = Slice::of_questions(questions);
            let row = |key: &[u8], _: &[u8], _: &mut Budget| {
                keys.push(key.to_vec());
                Ok(())
            };
            if cursor.go_on(view, &mut budget, &slice, row).unwrap() == Progress::Done {
                return (keys, slices);
            }
        }
    }

    fn cursor(direction: Direction, limit: Option<u32>) -> Cursor {
        let bytes = |start: &[u8], end: &[u8]| KeyRange {
            start: start.to_vec(),
            end: end.to_vec(),
        };
        let ranges = vec![
            bytes(&[3], &[60, 0]),
            bytes(&[7], &[7]),
            bytes(&[50, 0, 0], &[]),
            bytes(&[], &[]),
        ];
        Cursor::new(ranges, direction, limit)
    }

    #[test]
    fn an_interrupted_read_shows_what_an_uninterrupted_one_does() {
        for value in [&b"v"[..], &[0; BYTES_PER_QUESTION]] {
            let view = View::new(value);
            for direction in [Direction::Forward, Direction::Reverse] {
                for limit in [None, Some(1), Some(16), Some(17), Some(40), Some(1_000)] {
                    let (whole, _) = shown(&view, &mut cursor(direction, limit), u32::MAX);
                    for questions in 0..4 {
                        let (parts, _) = shown(&view, &mut cursor(direction, limit), questions);
                        assert_eq!(parts, whole, "{direction:?} {limit:?} {questions}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_slice_is_asked_by_rows_and_by_bytes() {
        let everything = || {
            let range = KeyRange::default();
            Cursor::new(vec![range], Direction::Forward, None)
        };
        let (keys, slices) = shown(&View::new(b"v"), &mut everything(), 0);
        assert_eq!((keys.len(), slices), (257, 300 / ROWS_PER_QUESTION + 1));
        // Rows that have expired are small.
        let (keys, slices) = shown(&View::new(&[0; BYTES_PER_QUESTION]), &mut everything(), 0);
        assert_eq!((keys.len(), slices), (257, 257 + 1));
    }

    #[test]
    fn a_read_whose_time_is_up_ends_in_its_next_slice() {
        let mut cursor = Cursor::new(vec![KeyRange::default()], Direction::Forward, None);
        let mut budget = budget(Duration::ZERO);
        let mut go_on = || {
            let row = |_: &[u8], _: &[u8], _: &mut Budget| Ok(());
            cursor.go_on(&View::new(b"v"), &mut budget, &Slice::of_questions(0), row)
        };
        assert!(matches!(go_on(), Err(Failure::OverBudget(_))));
    }

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange {
            start: start.into(),
            end: end.into(),
        }
    }

    fn clipped(region: KeyRange, scan: KeyRange, direction: Direction) -> Option<KeyRange> {
        let region = Region {
            id: RegionId(2),
            range: region,
            ..Region::default()
        };
        clip(&region, scan, direction).ok()
    }

    #[test]
    fn a_forward_scan_is_cut_at_the_regions_end_and_must_begin_inside() {
        use Direction::Forward;
        let region = || range("d", "m");
        assert_eq!(
            clipped(region(), range("d", "z"), Forward),
            Some(range("d", "m"))
        );
        assert_eq!(
            clipped(region(), range("e", ""), Forward),
            Some(range("e", "m"))
        );
        assert_eq!(
            clipped(region(), range("e", "f"), Forward),
            Some(range("e", "f"))
        );
        assert_eq!(clipped(region(), range("c", "f"), Forward), None);
        assert_eq!(clipped(region(), range("", "f"), Forward), None);
        assert_eq!(clipped(region(), range("m", "z"), Forward), None);
        assert_eq!(
            clipped(range("", ""), range("", ""), Forward),
            Some(range("", ""))
        );
    }

    #[test]
    fn a_reverse_scan_is_cut_at_the_regions_start_and_must_begin_inside() {
        use Direction::Reverse;
        let region = || range("d", "m");
        assert_eq!(
            clipped(region(), range("a", "m"), Reverse),
            Some(range("d", "m"))
        );
        assert_eq!(
            clipped(region(), range("", "e"), Reverse),
            Some(range("d", "e"))
        );
        assert_eq!(clipped(region(), range("a", "n"), Reverse), None);
        assert_eq!(clipped(region(), range("a", ""), Reverse), None);
        assert_eq!(clipped(region(), range("a", "c"), Reverse), None);
        assert_eq!(clipped(region(), range("a", "d"), Reverse), None);
        assert_eq!(
            clipped(range("d", ""), range("a", ""), Reverse),
            Some(range("d", ""))
        );
    }
}
