//! Operations on many keys: cut along Regions, one after the other.
//!
//! **Invariants.** What goes to one Region in one request is atomic there; an operation that needs
//! several requests is not atomic, and an error leaves those before it done. Scans come in pages, so
//! that no answer grows with the limit.

use crate::raw::{Client, Inner};
use crate::retry::Budget;
use crate::routes::Route;
use crate::rpc::RawRequest;
use crate::{Error, Result};
use bytes::Bytes;
use proto::kvrpcpb::{KvPair, RawBatchDeleteRequest, RawBatchGetRequest, RawBatchPutRequest};
use proto::kvrpcpb::{RawDeleteRangeRequest, RawScanRequest};
use types::{ApiVersion, KeyMode, keys};

/// A request takes keys and values of so many bytes at most, far below a Raft entry's limit; a pair
/// that is larger has a request of its own.
const REQUEST_BYTES: usize = 1 << 20;
/// Keys of a request that reads: the answer's size is not known before.
const READ_KEYS: usize = 256;
const SCAN_PAGE: u32 = 256;

impl Client {
    /// The pairs that exist of these keys, in no particular order.
    pub async fn batch_get(&self, keys: &[Bytes]) -> Result<Vec<(Bytes, Bytes)>> {
        let items = self.0.items(keys.iter().map(|key| (key, 0)), |at| at)?;
        let mut found = Vec::new();
        let request = |chunk: &[Item<usize>]| RawBatchGetRequest {
            keys: chunk.iter().map(|item| item.stored.clone()).collect(),
            ..Default::default()
        };
        let collect = |response: proto::kvrpcpb::RawBatchGetResponse| {
            found.extend(
                response
                    .pairs
                    .into_iter()
                    .map(|pair| (pair.key, pair.value)),
            );
        };
        self.0.many(items, READ_KEYS, request, collect).await?;
        Ok(found
            .into_iter()
            .map(|(key, value)| (self.0.user_key(key), value))
            .collect())
    }

    /// Writes pairs. Those of one Region are written atomically up to a mebibyte; of two pairs with
    /// the same key the later one stays.
    pub async fn batch_put(&self, pairs: &[(Bytes, Bytes)]) -> Result<()> {
        let sized = pairs.iter().map(|(key, value)| (key, value.len()));
        let items = self.0.items(sized, |at| pairs[at].1.clone())?;
        let request = |chunk: &[Item<Bytes>]| {
            let pair = |item: &Item<Bytes>| KvPair {
                key: item.stored.clone(),
                value: item.what.clone(),
                ..Default::default()
            };
            RawBatchPutRequest {
                pairs: chunk.iter().map(pair).collect(),
                ..Default::default()
            }
        };
        self.0.many(items, usize::MAX, request, |_| ()).await
    }

    /// Deletes keys, whether they exist or not. As atomic as [`Self::batch_put`].
    pub async fn batch_delete(&self, keys: &[Bytes]) -> Result<()> {
        let items = self.0.items(keys.iter().map(|key| (key, 0)), |at| at)?;
        let request = |chunk: &[Item<usize>]| RawBatchDeleteRequest {
            keys: chunk.iter().map(|item| item.stored.clone()).collect(),
            ..Default::default()
        };
        self.0.many(items, usize::MAX, request, |_| ()).await
    }

    /// Pairs in `[start, end)` in the order of their keys, at most `limit`; an empty `end` means to
    /// the end of the keyspace.
    pub async fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let inner = &*self.0;
        let (mut next, end) = inner.range(start, end)?;
        let mut pairs: Vec<(Bytes, Bytes)> = Vec::new();
        while pairs.len() < limit && !is_empty(&next, &end) {
            let page = SCAN_PAGE.min((limit - pairs.len()).try_into().unwrap_or(SCAN_PAGE));
            let request = |from: &Bytes, to: &Bytes| RawScanRequest {
                start_key: from.clone(),
                end_key: to.clone(),
                limit: page,
                ..Default::default()
            };
            let mut budget = Budget::new(inner.config.deadline);
            let (response, piece_end) = inner.piece(&mut budget, &next, &end, request).await?;
            let full = response.kvs.len() >= page as usize;
            let last = response.kvs.last().map(|pair| pair.key.clone());
            let read = response
                .kvs
                .into_iter()
                .map(|pair| (inner.user_key(pair.key), pair.value));
            pairs.extend(read);
            next = match (full, last) {
                (true, Some(last)) => [&last[..], &[0]].concat().into(),
                _ if piece_end == end => break,
                _ => piece_end,
            };
        }
        Ok(pairs)
    }

    /// Deletes all keys in `[start, end)`; an empty `end` means to the end of the keyspace. Atomic
    /// in each Region, not over them.
    pub async fn delete_range(&self, start: &[u8], end: &[u8]) -> Result<()> {
        let inner = &*self.0;
        let (start, end) = inner.range(start, end)?;
        let mut budget = Budget::new(inner.config.deadline);
        let done = inner.delete_within(&mut budget, start, &end).await;
        done.map_err(|error| budget.verdict(error))
    }
}

fn is_empty(start: &Bytes, end: &Bytes) -> bool {
    !end.is_empty() && start >= end
}

/// One key of many.
struct Item<T> {
    stored: Bytes,
    region_key: Vec<u8>,
    bytes: usize,
    what: T,
}

impl Inner {
    /// Keys with what belongs to them, in the order of the keys (and of their arrival, where equal).
    fn items<'a, T>(
        &self,
        keys: impl Iterator<Item = (&'a Bytes, usize)>,
        what: impl Fn(usize) -> T,
    ) -> Result<Vec<Item<T>>> {
        let item = |(at, (key, value_bytes)): (usize, (&Bytes, usize))| -> Result<Item<T>> {
            let stored = self.stored_key(key);
            let region_key = self.config.api_version.region_key(KeyMode::Raw, &stored)?;
            let bytes = stored.len() + value_bytes;
            Ok(Item {
                stored,
                region_key,
                bytes,
                what: what(at),
            })
        };
        let mut items: Vec<Item<T>> = keys.enumerate().map(item).collect::<Result<_>>()?;
        items.sort_by(|a, b| a.region_key.cmp(&b.region_key));
        Ok(items)
    }

    /// Sends items to their Regions.
    async fn many<T, R: RawRequest>(
        &self,
        items: Vec<Item<T>>,
        keys_max: usize,
        request: impl Fn(&[Item<T>]) -> R,
        collect: impl FnMut(R::Response),
    ) -> Result<()> {
        let mut budget = Budget::new(self.config.deadline);
        let done = self.many_within(&mut budget, &items, keys_max, request, collect);
        let done = done.await;
        done.map_err(|error| budget.verdict(error))
    }

    /// Sends a chunk at a time, in order.
    async fn many_within<T, R: RawRequest>(
        &self,
        budget: &mut Budget,
        items: &[Item<T>],
        keys_max: usize,
        request: impl Fn(&[Item<T>]) -> R,
        mut collect: impl FnMut(R::Response),
    ) -> Result<()> {
        let mut rest = items;
        // So many of the next items may have been done by an attempt that got no answer.
        let mut unsure = 0_usize;
        while let Some(first) = rest.first() {
            let route = self.route(budget, &first.region_key).await?;
            let chunk = &rest[..chunk_len(rest, &route, keys_max)];
            match self.attempt(budget, &route, request(chunk)).await? {
                Ok(response) => {
                    collect(response);
                    rest = &rest[chunk.len()..];
                    budget.renew();
                    unsure = unsure.saturating_sub(chunk.len());
                    if unsure == 0 {
                        budget.settle();
                    }
                }
                // The Region may be another one now: the chunk is cut anew.
                Err(failure) => {
                    self.recover::<R>(budget, &route, failure).await?;
                    if budget.is_ambiguous() {
                        unsure = unsure.max(chunk.len());
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes a range, the part in one Region after the other.
    async fn delete_within(&self, budget: &mut Budget, start: Bytes, end: &Bytes) -> Result<()> {
        let mut next = start;
        while !is_empty(&next, end) {
            let request = |from: &Bytes, to: &Bytes| RawDeleteRangeRequest {
                start_key: from.clone(),
                end_key: to.clone(),
                ..Default::default()
            };
            let (_, piece_end) = self.piece(budget, &next, end, request).await?;
            if piece_end == *end {
                break;
            }
            next = piece_end;
            // What got no answer may have been about more than this part, since Regions split.
            budget.renew();
        }
        Ok(())
    }

    /// Sends a request about the part of `[start, end)` that lies in the first Region of it, and
    /// returns the answer and where that part ends.
    async fn piece<R: RawRequest>(
        &self,
        budget: &mut Budget,
        start: &Bytes,
        end: &Bytes,
        request: impl Fn(&Bytes, &Bytes) -> R,
    ) -> Result<(R::Response, Bytes)> {
        let region_start = self.boundary(start);
        loop {
            let route = self.route(budget, &region_start).await?;
            let piece_end = self.clip(end, &route)?;
            let message = request(start, &piece_end);
            match self.attempt(budget, &route, message).await? {
                Ok(response) => return Ok((response, piece_end)),
                Err(failure) => self.recover::<R>(budget, &route, failure).await?,
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

    /// A range of the user's keys as stores know it.
    fn range(&self, start: &[u8], end: &[u8]) -> Result<(Bytes, Bytes)> {
        let stored_start = self.stored_key(start);
        let stored_end = match (end.is_empty(), self.config.api_version) {
            (true, ApiVersion::V1) => Bytes::new(),
            (true, ApiVersion::V2) => Bytes::copy_from_slice(&self.keyspace.end(KeyMode::Raw)),
            (false, _) => self.stored_key(end),
        };
        if !stored_end.is_empty() && stored_start > stored_end {
            return Err(types::CodecError::InvertedRange.into());
        }
        Ok((stored_start, stored_end))
    }

    /// A key as Regions' boundaries are written, though it may be no valid key by itself.
    fn boundary(&self, stored: &[u8]) -> Vec<u8> {
        match self.config.api_version {
            ApiVersion::V1 => stored.to_vec(),
            ApiVersion::V2 => keys::encode(stored),
        }
    }

    /// The user's own part of a key that a store returned.
    fn user_key(&self, stored: Bytes) -> Bytes {
        match self.config.api_version {
            ApiVersion::V1 => stored,
            ApiVersion::V2 => {
                let prefix = self.keyspace.prefix(KeyMode::Raw).len();
                stored.slice(prefix.min(stored.len())..)
            }
        }
    }
}

/// How many of the items go to the first one's Region at once; at least one.
fn chunk_len<T>(items: &[Item<T>], route: &Route, keys_max: usize) -> usize {
    let mut bytes = 0;
    let fits = items.iter().take(keys_max).take_while(|item| {
        bytes += item.bytes;
        bytes <= REQUEST_BYTES && route.region.range.contains(&item.region_key)
    });
    fits.count().max(1)
}
