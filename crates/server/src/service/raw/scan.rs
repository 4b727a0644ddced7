//! Scans and checksums: reads of ranges.
//!
//! **Where a scan ends.** At its limit, at its range's end, or at the Region's end, whichever comes
//! first: the client goes on in the next Region.
//!
//! **Not here.** Where a read stands and is interrupted (`cursor`, `sliced`); what it may cost (`budget`).

use super::budget::Budget;
use super::cursor::Cursor;
use super::sliced::SlicedRead;
use super::{Raw, client_key, gathered};
use crate::backend::{Backend, Direction, ReadView};
use crate::checksum::crc64;
use crate::context::Checked;
use crate::error::{FailableResponse, Failure};
use crate::limits::Refusal;
use crate::service::answers::{Gathered, Held};
use bytes::Bytes;
use pool::{Progress, Slice};
use proto::kvrpcpb::{
    ChecksumAlgorithm, KvPair, RawBatchScanRequest, RawBatchScanResponse, RawChecksumRequest,
    RawChecksumResponse, RawScanRequest, RawScanResponse,
};
use types::{ApiVersion, KeyRange};

impl<B: Backend> Raw<B> {
    /// The rows of one range.
    pub(crate) async fn scan(&self, request: RawScanRequest) -> Gathered<RawScanResponse> {
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
        gathered(result.await, |response: &mut RawScanResponse, rows| {
            response.kvs = rows;
        })
    }

    /// The rows of each of many ranges.
    pub(crate) async fn batch_scan(
        &self,
        request: RawBatchScanRequest,
    ) -> Gathered<RawBatchScanResponse> {
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
        gathered(result.await, |response: &mut RawBatchScanResponse, rows| {
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
            let read = SumRows {
                api_version: self.identity.api_version,
                cursor: Cursor::new(ranges, Direction::Forward, None),
                sum: Sum::default(),
            };
            self.sliced_read(checked, read).await
        };
        let result = result.await.map(|(sum, _)| sum);
        FailableResponse::from_result(result, |response: &mut RawChecksumResponse, sum| {
            response.checksum = sum.checksum;
            response.total_kvs = sum.rows;
            response.total_bytes = sum.bytes;
        })
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
    ) -> Result<(Vec<KvPair>, Held), Failure> {
        // Nothing is asked of the ranges then, not even whether they are in this Region.
        let ranges = if rows.limit == 0 { Vec::new() } else { ranges };
        let read = CollectRows {
            api_version: self.identity.api_version,
            key_only: rows.key_only,
            cursor: Cursor::new(ranges, rows.direction, Some(rows.limit)),
            pairs: Vec::new(),
        };
        self.sliced_read(checked, read).await
    }
}

/// Which rows of a range a scan returns, and how much of each.
struct Rows {
    direction: Direction,
    limit: u32,
    key_only: bool,
}

/// The rows of many ranges.
struct CollectRows {
    api_version: ApiVersion,
    key_only: bool,
    cursor: Cursor,
    pairs: Vec<KvPair>,
}

impl<V: ReadView> SlicedRead<V> for CollectRows {
    type Answer = Vec<KvPair>;

    fn held_bytes(&self) -> usize {
        self.cursor.held_bytes()
    }

    fn go_on(
        &mut self,
        view: &V,
        budget: &mut Budget,
        slice: &Slice<'_>,
    ) -> Result<Progress, Failure> {
        let (pairs, api_version, key_only) = (&mut self.pairs, self.api_version, self.key_only);
        let row = |key: &[u8], value: &[u8], budget: &mut Budget| {
            let value = match key_only {
                true => Bytes::new(),
                false => Bytes::copy_from_slice(value),
            };
            budget.take_bytes(key.len() + value.len())?;
            pairs.push(KvPair {
                error: None,
                key: client_key(api_version, key)?,
                value,
            });
            Ok(())
        };
        self.cursor.go_on(view, budget, slice, row)
    }

    fn answer(self) -> Vec<KvPair> {
        self.pairs
    }
}

/// The checksum of the rows of many ranges.
struct SumRows {
    api_version: ApiVersion,
    cursor: Cursor,
    sum: Sum,
}

#[derive(Default)]
struct Sum {
    checksum: u64,
    rows: u64,
    bytes: u64,
}

impl<V: ReadView> SlicedRead<V> for SumRows {
    type Answer = Sum;

    fn held_bytes(&self) -> usize {
        self.cursor.held_bytes()
    }

    fn go_on(
        &mut self,
        view: &V,
        budget: &mut Budget,
        slice: &Slice<'_>,
    ) -> Result<Progress, Failure> {
        let (sum, api_version) = (&mut self.sum, self.api_version);
        let row = |key: &[u8], value: &[u8], _: &mut Budget| {
            let key = client_key(api_version, key)?;
            sum.checksum ^= crc64(&[&key, value]);
            sum.rows += 1;
            sum.bytes += (key.len() + value.len()) as u64;
            Ok(())
        };
        self.cursor.go_on(view, budget, slice, row)
    }

    fn answer(self) -> Sum {
        self.sum
    }
}

fn direction(reverse: bool) -> Direction {
    if reverse {
        Direction::Reverse
    } else {
        Direction::Forward
    }
}
