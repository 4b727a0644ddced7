//! Operations on ranges: cut along Regions, one after the other.
//!
//! **Invariants.** A scan comes in pages, so that neither an answer nor the memory for it grows with
//! the number of pairs that are asked for. A part of a range that lies in one Region is deleted
//! atomically; an error leaves the parts before it done.
//!
//! **Not here.** Operations on lists of keys (`batch`).

use crate::page::Page;
use crate::raw::{Client, Inner};
use crate::retry::Budget;
use crate::routes::Route;
use crate::rpc::RawRequest;
use crate::{Error, Result};
use bytes::Bytes;
use proto::kvrpcpb::{RawDeleteRangeRequest, RawScanRequest};
use types::{ApiVersion, KeyMode, keys};

/// What of each pair a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Its key and its value.
    Pairs,
    /// Its key; values stay at the store, and are empty here.
    Keys,
}

/// A scan under way.
pub struct Scan {
    client: Client,
    contents: Contents,
    /// What is left of the range.
    rest: Option<Range>,
    /// How many pairs are still wanted.
    limit: usize,
    page: Page,
}

/// `[start, end)` of keys as stores know them, never empty; an end without a byte is the end of all.
#[derive(Clone, Debug)]
struct Range {
    start: Bytes,
    end: Bytes,
}

impl Range {
    fn new(start: Bytes, end: Bytes) -> Option<Range> {
        (end.is_empty() || start < end).then_some(Range { start, end })
    }

    /// What is left of it behind a part.
    fn behind(&self, part: &Range) -> Option<Range> {
        match part.end.is_empty() {
            true => None,
            false => Range::new(part.end.clone(), self.end.clone()),
        }
    }
}

impl Client {
    /// All pairs in `[start, end)` in the order of their keys, at most `limit`; an empty `end` means
    /// to the end of the keyspace.
    pub async fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let mut scan = self.scan_pages(start, end, limit, Contents::Pairs)?;
        let mut pairs = Vec::new();
        while let Some(page) = scan.next_page().await? {
            pairs.extend(page);
        }
        Ok(pairs)
    }

    /// The same, to be taken page by page, for results of any size.
    ///
    /// # Errors
    /// When the range's end is before its start.
    pub fn scan_pages(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        contents: Contents,
    ) -> Result<Scan> {
        Ok(Scan {
            client: self.clone(),
            contents,
            rest: self.0.range(start, end)?,
            limit,
            page: Page::READ,
        })
    }

    /// Deletes all keys in `[start, end)`; an empty `end` means to the end of the keyspace. Atomic
    /// in each Region, not over them.
    pub async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<()> {
        let range = self.0.range(start, end)?;
        let mut budget = Budget::new(self.0.config.deadline);
        let done = self.0.delete_within(&mut budget, range).await;
        done.map_err(|error| budget.verdict(error))
    }
}

impl Scan {
    /// The next pairs, at least one; none at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<(Bytes, Bytes)>>> {
        while let Some(rest) = self.rest.clone().filter(|_| self.limit > 0) {
            let pairs = self.region_page(&rest).await?;
            if !pairs.is_empty() {
                self.limit = self.limit.saturating_sub(pairs.len());
                return Ok(Some(pairs));
            }
        }
        Ok(None)
    }

    /// The next pairs of the first Region in `rest`; there may be none.
    async fn region_page(&mut self, rest: &Range) -> Result<Vec<(Bytes, Bytes)>> {
        let inner = &*self.client.0;
        let key_only = self.contents == Contents::Keys;
        let request = |part: &Range, keys: usize| RawScanRequest {
            start_key: part.start.clone(),
            end_key: part.end.clone(),
            limit: keys as u32,
            key_only,
            ..Default::default()
        };
        self.page = self.page.at_most(self.limit);
        let mut budget = Budget::new(inner.config.deadline);
        let asked = inner.part(&mut budget, rest, &mut self.page, request);
        let (response, part) = asked.await?;
        let last = response.kvs.last();
        // A page that is not full goes to the end of its part.
        self.rest = match last.filter(|_| response.kvs.len() >= self.page.keys()) {
            Some(last) => Range::new([&last.key[..], &[0]].concat().into(), rest.end.clone()),
            None => rest.behind(&part),
        };
        self.page.answered();
        let pairs = response.kvs.into_iter();
        Ok(pairs
            .map(|pair| (inner.user_key(pair.key), pair.value))
            .collect())
    }
}

impl Inner {
    /// Deletes the part of a range in one Region after the other.
    async fn delete_within(&self, budget: &mut Budget, range: Option<Range>) -> Result<()> {
        let request = |part: &Range, _| RawDeleteRangeRequest {
            start_key: part.start.clone(),
            end_key: part.end.clone(),
            ..Default::default()
        };
        let (mut left, mut page) = (range, Page::WHOLE);
        while let Some(rest) = left {
            let (_, part) = self.part(budget, &rest, &mut page, request).await?;
            left = rest.behind(&part);
            // What got no answer may have been about more than this part, since Regions split.
            budget.renew();
        }
        Ok(())
    }

    /// Sends a request about the part of a range that lies in the first Region of it, and about a
    /// page of keys. Returns the answer and that part.
    async fn part<R: RawRequest>(
        &self,
        budget: &mut Budget,
        range: &Range,
        page: &mut Page,
        request: impl Fn(&Range, usize) -> R,
    ) -> Result<(R::Response, Range)> {
        let region_start = self.boundary(&range.start);
        loop {
            let route = self.route(budget, &region_start).await?;
            let part = Range {
                start: range.start.clone(),
                end: self.clip(&range.end, &route)?,
            };
            let message = request(&part, page.keys());
            match self.attempt(budget, &route, message).await? {
                Ok(response) => return Ok((response, part)),
                Err(failure) => {
                    if !page.failed(page.keys(), &failure) {
                        self.recover::<R>(budget, &route, failure).await?;
                    }
                }
            }
        }
    }

    /// The smaller of `end` and the route's own end, as a key that stores know.
    fn clip(&self, end: &Bytes, route: &Route) -> Result<Bytes> {
        let region_end = &route.region.range.end;
        if region_end.is_empty() {
            return Ok(end.clone());
        }
        let region_end: Bytes = match self.config.api_version {
            ApiVersion::V1 => Bytes::copy_from_slice(region_end),
            ApiVersion::V2 => keys::decode(region_end)
                .map_err(|error| Error::Protocol(format!("a Region's boundary: {error}")))?
                .into(),
        };
        Ok(if end.is_empty() || region_end < *end {
            region_end
        } else {
            end.clone()
        })
    }

    /// A range of the user's keys as stores know it; none if nothing can be in it.
    fn range(&self, start: &[u8], end: &[u8]) -> Result<Option<Range>> {
        let stored_start = self.stored_key(start);
        let stored_end = match (end.is_empty(), self.config.api_version) {
            (true, ApiVersion::V1) => Bytes::new(),
            (true, ApiVersion::V2) => Bytes::copy_from_slice(&self.keyspace.end(KeyMode::Raw)),
            (false, _) => self.stored_key(end),
        };
        if !stored_end.is_empty() && stored_start > stored_end {
            return Err(types::CodecError::InvertedRange.into());
        }
        Ok(Range::new(stored_start, stored_end))
    }

    /// A key as Regions' boundaries are written, though it may be no valid key by itself.
    fn boundary(&self, stored: &[u8]) -> Vec<u8> {
        match self.config.api_version {
            ApiVersion::V1 => stored.to_vec(),
            ApiVersion::V2 => keys::encode(stored),
        }
    }
}
