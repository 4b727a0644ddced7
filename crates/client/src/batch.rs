//! Operations on many keys: cut along Regions, one after the other.
//!
//! **Invariants.** What goes to one Region in one request is atomic there; an operation that needs
//! several requests is not atomic, and an error leaves those before it done.
//!
//! **Not here.** Operations on ranges (`scan`).

use crate::Result;
use crate::page::Page;
use crate::raw::{Client, Inner};
use crate::retry::Budget;
use crate::routes::Route;
use crate::rpc::RawRequest;
use bytes::Bytes;
use proto::kvrpcpb::{KvPair, RawBatchDeleteRequest, RawBatchGetRequest, RawBatchPutRequest};
use types::KeyMode;

/// A request takes keys and values of so many bytes at most, far below a Raft entry's limit; a pair
/// that is larger has a request of its own.
const REQUEST_BYTES: usize = 1 << 20;

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
        self.0.many(items, Page::READ, request, collect).await?;
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
        self.0.many(items, Page::WHOLE, request, |_| ()).await
    }

    /// Deletes keys, whether they exist or not. As atomic as [`Self::batch_put`].
    pub async fn batch_delete(&self, keys: &[Bytes]) -> Result<()> {
        let items = self.0.items(keys.iter().map(|key| (key, 0)), |at| at)?;
        let request = |chunk: &[Item<usize>]| RawBatchDeleteRequest {
            keys: chunk.iter().map(|item| item.stored.clone()).collect(),
            ..Default::default()
        };
        self.0.many(items, Page::WHOLE, request, |_| ()).await
    }
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
        page: Page,
        request: impl Fn(&[Item<T>]) -> R,
        collect: impl FnMut(R::Response),
    ) -> Result<()> {
        let mut budget = Budget::new(self.config.deadline);
        let done = self.many_within(&mut budget, &items, page, request, collect);
        let done = done.await;
        done.map_err(|error| budget.verdict(error))
    }

    /// Sends a chunk at a time, in order.
    async fn many_within<T, R: RawRequest>(
        &self,
        budget: &mut Budget,
        items: &[Item<T>],
        mut page: Page,
        request: impl Fn(&[Item<T>]) -> R,
        mut collect: impl FnMut(R::Response),
    ) -> Result<()> {
        let mut rest = items;
        // So many of the next items may have been done by an attempt that got no answer.
        let mut unsure = 0_usize;
        while let Some(first) = rest.first() {
            let route = self.route(budget, &first.region_key).await?;
            let chunk = &rest[..chunk_len(rest, &route, page.keys())];
            match self.attempt(budget, &route, request(chunk)).await? {
                Ok(response) => {
                    collect(response);
                    page.answered();
                    rest = &rest[chunk.len()..];
                    budget.renew();
                    unsure = unsure.saturating_sub(chunk.len());
                    if unsure == 0 {
                        budget.settle();
                    }
                }
                // The Region may be another one now: the chunk is cut anew.
                Err(failure) => {
                    if !page.failed(chunk.len(), &failure) {
                        self.recover::<R>(budget, &route, failure).await?;
                    }
                    if budget.is_ambiguous() {
                        unsure = unsure.max(chunk.len());
                    }
                }
            }
        }
        Ok(())
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
