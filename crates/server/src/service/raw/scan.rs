//! Scans and checksums: reads of ranges.
//!
//! **Where a scan ends.** At its limit, at its range's end, or at the Region's end, whichever comes
//! first: the client goes on in the next Region. Where it *begins* must lie in the Region, since rows
//! before the Region's edge would be missing unnoticed.
//!
//! **Invariants.** A read that this store can't do is refused at once, even when others wait for their
//! turn; and nobody waits for longer than the read itself may take.
//!
//! **Not here.** The order of rows within the engine; what a read may cost (`budget`).

use super::budget::Budget;
use super::{Raw, key_not_in_region, now_s, unreadable};
use crate::backend::{Backend, Direction, ReadView};
use crate::checksum::crc64;
use crate::context::Checked;
use crate::error::{FailableResponse, Failure};
use crate::limits::Refusal;
use bytes::Bytes;
use proto::kvrpcpb::{
    ChecksumAlgorithm, KvPair, RawBatchScanRequest, RawBatchScanResponse, RawChecksumRequest,
    RawChecksumResponse, RawScanRequest, RawScanResponse,
};
use raftstore::RequestError;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use types::{ApiVersion, KeyRange, RawValueRef, Region};

impl<B: Backend> Raw<B> {
    /// The rows of one range.
    pub(crate) async fn scan(&self, request: RawScanRequest) -> RawScanResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let direction = direction(request.reverse);
            let range =
                self.scan_range(&checked, &request.start_key, &request.end_key, direction)?;
            let limit = request.limit;
            self.scan_ranges(
                checked,
                vec![range],
                Rows {
                    direction,
                    limit,
                    key_only: request.key_only,
                },
            )
            .await
        };
        FailableResponse::from_result(result.await, |response: &mut RawScanResponse, rows| {
            response.kvs = rows;
        })
    }

    /// The rows of each of many ranges.
    pub(crate) async fn batch_scan(&self, request: RawBatchScanRequest) -> RawBatchScanResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let direction = direction(request.reverse);
            let mut ranges = Vec::with_capacity(request.ranges.len());
            for (position, range) in request.ranges.iter().enumerate() {
                // A range without an end reaches to where the next one begins.
                let next = request
                    .ranges
                    .get(position + 1)
                    .filter(|_| range.end_key.is_empty());
                let end = next.map_or(&range.end_key, |next| &next.start_key);
                ranges.push(self.scan_range(&checked, &range.start_key, end, direction)?);
            }
            let rows = Rows {
                direction,
                limit: request.each_limit,
                key_only: request.key_only,
            };
            self.scan_ranges(checked, ranges, rows).await
        };
        FailableResponse::from_result(result.await, |response: &mut RawBatchScanResponse, rows| {
            response.kvs = rows;
        })
    }

    /// The checksum, the number and the size of the rows of many ranges.
    pub(crate) async fn checksum(&self, request: RawChecksumRequest) -> RawChecksumResponse {
        let result = async {
            let checked = self.check(request.context, String::new())?;
            if ChecksumAlgorithm::try_from(request.algorithm).is_err() {
                return Err(Refusal::ChecksumAlgorithm(request.algorithm).into());
            }
            let mut ranges = Vec::with_capacity(request.ranges.len());
            for range in &request.ranges {
                ranges.push(self.region_range(&checked, &range.start_key, &range.end_key)?);
            }
            let api_version = self.identity.api_version;
            self.blocking_read(checked, move |view, budget| {
                Self::sum(&view, api_version, ranges, budget)
            })
            .await
        };
        FailableResponse::from_result(result.await, |response: &mut RawChecksumResponse, sum| {
            response.checksum = sum.checksum;
            response.total_kvs = sum.rows;
            response.total_bytes = sum.bytes;
        })
    }

    /// Runs `read` on a view of the Region, on a thread for blocking work, within the request's
    /// budget. It waits for its turn until the budget's deadline.
    pub(super) async fn blocking_read<T: Send + 'static>(
        &self,
        checked: Checked,
        read: impl FnOnce(B::View, Budget) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let budget = self.budget(&checked);
        let permit = match self.reads.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // Who has to ask another store must hear it at once, and not after the queue.
                self.backend.read(checked.request.clone()).await?;
                self.wait_for_turn(budget.deadline()).await?
            }
        };
        let view = self.backend.read(checked.request).await?;
        let task = tokio::task::spawn_blocking(move || {
            let result = read(view, budget);
            drop(permit);
            result
        });
        task.await
            .unwrap_or_else(|error| Err(Failure::Internal(error.to_string())))
    }

    async fn wait_for_turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let turn = self.reads.clone().acquire_owned();
        match tokio::time::timeout_at(deadline.into(), turn).await {
            Ok(permit) => permit.map_err(|_| Failure::Internal("reads are closed".to_owned())),
            Err(_) => Err(Failure::Request(RequestError::ServerIsBusy {
                reason: "too many reads of many rows wait",
            })),
        }
    }

    /// A reverse scan names its upper bound first.
    fn scan_range(
        &self,
        checked: &Checked,
        from: &[u8],
        to: &[u8],
        direction: Direction,
    ) -> Result<KeyRange, Failure> {
        match direction {
            Direction::Forward => self.region_range(checked, from, to),
            Direction::Reverse => self.region_range(checked, to, from),
        }
    }

    async fn scan_ranges(
        &self,
        checked: Checked,
        ranges: Vec<KeyRange>,
        rows: Rows,
    ) -> Result<Vec<KvPair>, Failure> {
        let api_version = self.identity.api_version;
        self.blocking_read(checked, move |view, budget| {
            Self::collect(&view, api_version, ranges, &rows, budget)
        })
        .await
    }

    pub(super) fn budget(&self, checked: &Checked) -> Budget {
        let ms = checked
            .max_ms
            .unwrap_or(u64::MAX)
            .min(self.limits.read_ms_max);
        Budget::new(self.limits.read_bytes_max, Duration::from_millis(ms))
    }

    fn collect(
        view: &B::View,
        api_version: ApiVersion,
        ranges: Vec<KeyRange>,
        rows: &Rows,
        mut budget: Budget,
    ) -> Result<Vec<KvPair>, Failure> {
        let mut pairs = Vec::new();
        if rows.limit == 0 {
            return Ok(pairs);
        }
        for range in ranges {
            let mut left = rows.limit;
            for_each_row(
                view,
                range,
                rows.direction,
                &mut budget,
                |key, value, budget| {
                    let value = match rows.key_only {
                        true => Bytes::new(),
                        false => Bytes::copy_from_slice(value),
                    };
                    budget.take_bytes(key.len() + value.len())?;
                    pairs.push(KvPair {
                        error: None,
                        key: Self::client_key(api_version, key)?,
                        value,
                    });
                    left -= 1;
                    Ok(left > 0)
                },
            )?;
        }
        Ok(pairs)
    }

    fn sum(
        view: &B::View,
        api_version: ApiVersion,
        ranges: Vec<KeyRange>,
        mut budget: Budget,
    ) -> Result<Sum, Failure> {
        let mut sum = Sum::default();
        for range in ranges {
            for_each_row(
                view,
                range,
                Direction::Forward,
                &mut budget,
                |key, value, _| {
                    let key = Self::client_key(api_version, key)?;
                    sum.checksum ^= crc64(&[&key, value]);
                    sum.rows += 1;
                    sum.bytes += (key.len() + value.len()) as u64;
                    Ok(true)
                },
            )?;
        }
        Ok(sum)
    }
}

/// Which rows of a range a scan returns, and how much of each.
struct Rows {
    direction: Direction,
    limit: u32,
    key_only: bool,
}

#[derive(Default)]
struct Sum {
    checksum: u64,
    rows: u64,
    bytes: u64,
}

fn direction(reverse: bool) -> Direction {
    if reverse {
        Direction::Reverse
    } else {
        Direction::Forward
    }
}

/// Shows `row` the Region key and the user's value of each living row, until it says that it has
/// enough (`Ok(false)`).
fn for_each_row(
    view: &impl ReadView,
    range: KeyRange,
    direction: Direction,
    budget: &mut Budget,
    mut row: impl FnMut(&[u8], &[u8], &mut Budget) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    budget.check_time()?;
    if range.is_empty() {
        return Ok(());
    }
    let range = clip(view.region(), range, direction)?;
    let now_s = now_s();
    let mut result = Ok(());
    let mut visit = |key: &[u8], stored: &[u8]| {
        let more = budget.take_row().and_then(|()| {
            let value = RawValueRef::decode(stored).map_err(|error| unreadable("value", &error))?;
            if value.is_expired(now_s) {
                Ok(true)
            } else {
                row(key, value.user_value, budget)
            }
        });
        match more {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(failure) => {
                result = Err(failure);
                ControlFlow::Break(())
            }
        }
    };
    view.scan(&range, direction, &mut visit)?;
    result
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
    use types::RegionId;

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
