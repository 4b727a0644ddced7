//! Reads of single keys, and of lists of keys.
//!
//! **Invariants.** The pairs of a batch get stand in the order of the request's keys; keys without a
//! value are left out.
//!
//! **Not here.** Ranges (`scan`).

use super::budget::Budget;
use super::sliced::SlicedRead;
use super::{Raw, gathered, key_not_in_region, now_s, unreadable};
use crate::backend::{Backend, ReadView};
use crate::error::{FailableResponse, Failure};
use crate::service::answers::{Gathered, Held};
use bytes::Bytes;
use pool::{Progress, Slice};
use proto::kvrpcpb::{
    KvPair, RawBatchGetRequest, RawBatchGetResponse, RawGetKeyTtlRequest, RawGetKeyTtlResponse,
    RawGetRequest, RawGetResponse,
};
use types::RawValue;

/// So many keys are read where the request is; more of them on the read pool.
const INLINE_KEYS_MAX: usize = 8;

impl<B: Backend> Raw<B> {
    /// The value of a key.
    pub(crate) async fn get(&self, request: RawGetRequest) -> RawGetResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let key = self.region_key(&checked, request.key)?;
            living(self.backend.get(checked.request, &key).await?, now_s())
        };
        FailableResponse::from_result(result.await, |response: &mut RawGetResponse, value| {
            match value {
                Some(value) => response.value = value.user_value,
                None => response.not_found = true,
            }
        })
    }

    /// What is left of a key's time to live.
    pub(crate) async fn get_key_ttl(&self, request: RawGetKeyTtlRequest) -> RawGetKeyTtlResponse {
        let now_s = now_s();
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let key = self.region_key(&checked, request.key)?;
            living(self.backend.get(checked.request, &key).await?, now_s)
        };
        FailableResponse::from_result(
            result.await,
            |response: &mut RawGetKeyTtlResponse, value| match value {
                Some(value) => response.ttl = value.ttl_s(now_s),
                None => response.not_found = true,
            },
        )
    }

    /// The values of those keys that have one.
    pub(crate) async fn batch_get(
        &self,
        request: RawBatchGetRequest,
    ) -> Gathered<RawBatchGetResponse> {
        let result = self.try_batch_get(request).await;
        gathered(result, |response: &mut RawBatchGetResponse, pairs| {
            response.pairs = pairs;
        })
    }

    async fn try_batch_get(
        &self,
        request: RawBatchGetRequest,
    ) -> Result<(Vec<KvPair>, Held), Failure> {
        let checked = self.check(request.context, request.cf)?;
        let mut keys = Vec::with_capacity(request.keys.len());
        for key in request.keys {
            let region_key = self.region_key(&checked, key.clone())?;
            keys.push((key, region_key));
        }
        let is_short = keys.len() <= INLINE_KEYS_MAX;
        let mut read = ReadKeys::new(keys);
        if !is_short {
            return self.sliced_read(checked, read).await;
        }
        let mut budget = self.budget(&checked);
        let view = self.backend.read(checked.request).await?;
        read.go_on(&view, &mut budget, &Slice::endless())?;
        Ok((read.pairs, budget.end()))
    }
}

/// The value that a stored one is, unless there is none or it has expired.
fn living(stored: Option<Bytes>, now_s: u64) -> Result<Option<RawValue>, Failure> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    let value = RawValue::decode(&stored).map_err(|error| unreadable("value", &error))?;
    Ok(if value.is_expired(now_s) {
        None
    } else {
        Some(value)
    })
}

/// A read of keys, each given as the client sent it and as the Region has it.
struct ReadKeys {
    keys: std::vec::IntoIter<(Bytes, Bytes)>,
    pairs: Vec<KvPair>,
}

impl ReadKeys {
    fn new(keys: Vec<(Bytes, Bytes)>) -> Self {
        Self {
            keys: keys.into_iter(),
            pairs: Vec::new(),
        }
    }
}

impl<V: ReadView> SlicedRead<V> for ReadKeys {
    type Answer = Vec<KvPair>;

    fn held_bytes(&self) -> usize {
        let keys = self.keys.as_slice().iter();
        keys.map(|(key, region_key)| key.len() + region_key.len())
            .sum()
    }

    fn go_on(
        &mut self,
        view: &V,
        budget: &mut Budget,
        slice: &Slice<'_>,
    ) -> Result<Progress, Failure> {
        let now_s = now_s();
        for (key, region_key) in self.keys.by_ref() {
            budget.take_row()?;
            if !view.region().range.contains(&region_key) {
                return Err(key_not_in_region(&region_key, view.region()));
            }
            if let Some(RawValue { user_value, .. }) = living(view.get(&region_key)?, now_s)? {
                budget.take_bytes(key.len() + user_value.len())?;
                self.pairs.push(KvPair {
                    error: None,
                    key,
                    value: user_value,
                });
            }
            node::rest_if_due();
            if slice.should_yield() {
                return Ok(Progress::Yielded);
            }
        }
        Ok(Progress::Done)
    }

    fn answer(self) -> Vec<KvPair> {
        self.pairs
    }
}
