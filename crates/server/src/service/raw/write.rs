//! Writes: from the request to a [`Command`] for the log, and from its outcome to the response.
//!
//! **Invariants.** Sizes are checked before anything is encoded. A batch is one command: all of it
//! happens, or none.
//!
//! **Not here.** Conditions: compare-and-swap is decided when the log is applied.

use super::{Raw, now_ms};
use crate::backend::Backend;
use crate::context::Checked;
use crate::error::{FailableResponse, Failure};
use crate::limits::Refusal;
use bytes::Bytes;
use engine::Cf;
use proto::kvrpcpb::{
    RawBatchDeleteRequest, RawBatchDeleteResponse, RawBatchPutRequest, RawBatchPutResponse,
    RawCasRequest, RawCasResponse, RawDeleteRangeRequest, RawDeleteRangeResponse, RawDeleteRequest,
    RawDeleteResponse, RawPutRequest, RawPutResponse,
};
use raftstore::{Command, Mutation, Outcome, RequestError};
use types::raw_value;

impl<B: Backend> Raw<B> {
    /// Sets a key.
    pub(crate) async fn put(&self, request: RawPutRequest) -> RawPutResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            self.check_size(&checked, request.key.len() + request.value.len())?;
            let key = self.region_key(&checked, request.key)?;
            let value = stored(&request.value, request.ttl, now_ms());
            self.write(
                checked,
                vec![Mutation::Put {
                    cf: Cf::Default,
                    key,
                    value,
                }],
            )
            .await
        };
        FailableResponse::from_result(result.await, |_: &mut RawPutResponse, ()| ())
    }

    /// Sets many keys, all or none of them.
    pub(crate) async fn batch_put(&self, request: RawBatchPutRequest) -> RawBatchPutResponse {
        let result = self.try_batch_put(request).await;
        FailableResponse::from_result(result, |_: &mut RawBatchPutResponse, ()| ())
    }

    async fn try_batch_put(&self, request: RawBatchPutRequest) -> Result<(), Failure> {
        #[allow(deprecated)] // Older clients send it, and it is the only field they know.
        let one_ttl = request.ttl;
        let checked = self.check(request.context, request.cf)?;
        let (pairs, ttls) = (request.pairs, request.ttls);
        if ttls.len() > 1 && ttls.len() != pairs.len() {
            return Err(Refusal::TtlCount {
                ttls: ttls.len(),
                pairs: pairs.len(),
            }
            .into());
        }
        let bytes = pairs
            .iter()
            .map(|pair| pair.key.len() + pair.value.len())
            .sum();
        self.check_size(&checked, bytes)?;
        let ttl_of = |position: usize| match ttls.as_slice() {
            [] => one_ttl,
            [one] => *one,
            each => each[position],
        };
        let now_ms = now_ms();
        let mut mutations = Vec::with_capacity(pairs.len());
        for (position, pair) in pairs.into_iter().enumerate() {
            let key = self.region_key(&checked, pair.key)?;
            let value = stored(&pair.value, ttl_of(position), now_ms);
            mutations.push(Mutation::Put {
                cf: Cf::Default,
                key,
                value,
            });
        }
        self.write(checked, mutations).await
    }

    /// Removes a key.
    pub(crate) async fn delete(&self, request: RawDeleteRequest) -> RawDeleteResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let key = self.region_key(&checked, request.key)?;
            self.write(
                checked,
                vec![Mutation::Delete {
                    cf: Cf::Default,
                    key,
                }],
            )
            .await
        };
        FailableResponse::from_result(result.await, |_: &mut RawDeleteResponse, ()| ())
    }

    /// Removes many keys, all or none of them.
    pub(crate) async fn batch_delete(
        &self,
        request: RawBatchDeleteRequest,
    ) -> RawBatchDeleteResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            self.check_size(&checked, request.keys.iter().map(Bytes::len).sum())?;
            let mut mutations = Vec::with_capacity(request.keys.len());
            for key in request.keys {
                let key = self.region_key(&checked, key)?;
                mutations.push(Mutation::Delete {
                    cf: Cf::Default,
                    key,
                });
            }
            self.write(checked, mutations).await
        };
        FailableResponse::from_result(result.await, |_: &mut RawBatchDeleteResponse, ()| ())
    }

    /// Removes all keys in `[start_key, end_key)`, which lies within the Region.
    pub(crate) async fn delete_range(
        &self,
        request: RawDeleteRangeRequest,
    ) -> RawDeleteRangeResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let range = self.region_range(&checked, &request.start_key, &request.end_key)?;
            if range.is_empty() {
                return Ok(());
            }
            let (start, end) = (range.start.into(), range.end.into());
            self.write(
                checked,
                vec![Mutation::DeleteRange {
                    cf: Cf::Default,
                    start,
                    end,
                }],
            )
            .await
        };
        FailableResponse::from_result(result.await, |_: &mut RawDeleteRangeResponse, ()| ())
    }

    /// Sets a key if its present value is the expected one.
    pub(crate) async fn compare_and_swap(&self, request: RawCasRequest) -> RawCasResponse {
        let result = async {
            let checked = self.check(request.context, request.cf)?;
            let bytes = request.key.len() + request.value.len() + request.previous_value.len();
            self.check_size(&checked, bytes)?;
            let now_ms = now_ms();
            let command = Command::CompareAndSwap {
                key: self.region_key(&checked, request.key)?,
                expected: (!request.previous_not_exist).then_some(request.previous_value),
                value: stored(&request.value, request.ttl, now_ms),
                now_ms,
            };
            match self.backend.write(checked.request, command).await? {
                Outcome::Swapped {
                    succeeded,
                    previous,
                } => Ok((succeeded, previous)),
                other => Err(mismatched_outcome(&other)),
            }
        };
        FailableResponse::from_result(
            result.await,
            |response: &mut RawCasResponse, (succeeded, previous)| {
                response.succeed = succeeded;
                response.previous_not_exist = previous.is_none();
                response.previous_value = previous.unwrap_or_default();
            },
        )
    }

    async fn write(&self, checked: Checked, mutations: Vec<Mutation>) -> Result<(), Failure> {
        if mutations.is_empty() {
            return Ok(());
        }
        let command = Command::Write(mutations);
        failpoint::at!("server::raw::write");
        let outcome = self.backend.write(checked.request, command).await?;
        failpoint::at!("server::raw::written");
        match outcome {
            Outcome::Written => Ok(()),
            other => Err(mismatched_outcome(&other)),
        }
    }

    fn check_size(&self, checked: &Checked, bytes: usize) -> Result<(), Failure> {
        let limit = self.limits.raft_entry_bytes_max;
        if bytes > limit {
            return Err(Failure::Request(RequestError::EntryTooLarge {
                region_id: checked.request.region_id,
                bytes: bytes as u64,
                limit_bytes: limit as u64,
            }));
        }
        Ok(())
    }
}

/// The value as it is stored.
fn stored(value: &[u8], ttl_s: u64, now_ms: u64) -> Bytes {
    let expires_at_s = raw_value::expiry_of_ttl(ttl_s, now_ms / 1_000);
    raw_value::encode(value, expires_at_s).into()
}

fn mismatched_outcome(outcome: &Outcome) -> Failure {
    Failure::Internal(format!(
        "the command was answered with that of another one: {outcome:?}"
    ))
}
