//! The bytes of all answers that this server holds, and the bound on them.
//!
//! **Why.** A client that asks and does not read leaves its answers here. Each of them is bounded,
//! and so is the number of a connection's requests; without a bound on all together, one connection
//! could still take gigabytes. So could many that ask at the same time for all that one answer may hold: an
//! answer counts from its first rows on, and not when it is whole.
//!
//! **The way of an answer.** Reads of many rows count what they gather ([`Gathering`]); any other answer is counted
//! when it is there ([`Answers::count`]). The [`Held`] goes with it: as an extension of a unary response, whose
//! frames then keep it alive (`listener::answer`), or in the outbox of its stream. One that does not fit any more is
//! replaced by the error that the server is busy.
//!
//! **Invariants.** The budget has the sum over all that is held.
//!
//! **Not here.** A share for each connection: one that reads nothing can use the whole bound up, and
//! others are refused large answers then. Small answers are not counted: the number of requests
//! bounds them. While an answer is encoded it is there twice: in as many as the runtime has threads.

use crate::error::{FailableResponse, Failure};
use node::ByteBudget;
use raftstore::RequestError;
use std::mem;
use std::ops::Deref;

/// Below so many bytes an answer is not counted.
const SMALL_BYTES: usize = 4 << 10;
/// What is gathered is counted in steps of this.
const STEP_BYTES: usize = 64 << 10;

/// All answers of a server. Clones count together.
#[derive(Clone)]
pub(crate) struct Answers(ByteBudget);

/// The bytes of some answers, until it is dropped.
pub(crate) struct Held {
    all: ByteBudget,
    bytes: usize,
}

/// An answer in the making.
pub(crate) struct Gathering {
    held: Held,
    uncounted: usize,
}

/// An answer, and what it was counted as while it was gathered.
pub(crate) struct Gathered<R> {
    pub(crate) response: R,
    held: Option<Held>,
}

impl Answers {
    /// Counted in `bytes`, and bounded by it.
    pub(crate) fn new(bytes: ByteBudget) -> Self {
        Self(bytes)
    }

    /// The beginning of an answer.
    pub(crate) fn gather(&self) -> Gathering {
        Gathering {
            held: self.nothing(),
            uncounted: 0,
        }
    }

    /// Counts an answer that is not small; one that does not fit becomes an error.
    pub(crate) fn count<R: FailableResponse>(
        &self,
        answer: impl Into<Gathered<R>>,
        held: &mut Option<Held>,
    ) -> R {
        let Gathered {
            response,
            held: gathered,
        } = answer.into();
        let bytes = response.held_bytes();
        if bytes < SMALL_BYTES {
            return response;
        }
        let mut own = gathered.unwrap_or_else(|| self.nothing());
        match own.resize(bytes) {
            Ok(()) => {
                *held = Some(own);
                response
            }
            Err(failure) => R::failed(failure),
        }
    }

    fn nothing(&self) -> Held {
        Held {
            all: self.0.clone(),
            bytes: 0,
        }
    }
}

impl Held {
    /// Holds so many bytes from now on; if they don't fit, as many as before.
    fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        match bytes.checked_sub(self.bytes) {
            Some(more) if !self.all.try_acquire(more) => {
                return Err(Failure::Request(RequestError::ServerIsBusy {
                    reason: "too many bytes of answers wait to be sent",
                }));
            }
            Some(_) => {}
            None => self.all.release(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.release(self.bytes);
    }
}

impl Gathering {
    /// So many bytes more.
    ///
    /// # Errors
    /// All answers together have too many.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        self.uncounted += bytes;
        if self.uncounted >= STEP_BYTES {
            let more = mem::take(&mut self.uncounted);
            self.held.resize(self.held.bytes + more)?;
        }
        Ok(())
    }

    /// It is whole.
    pub(crate) fn end(self) -> Held {
        self.held
    }
}

impl<R> Gathered<R> {
    /// An answer that was gathered.
    pub(crate) fn new(response: R, held: Option<Held>) -> Self {
        Self { response, held }
    }
}

impl<R> From<R> for Gathered<R> {
    fn from(response: R) -> Self {
        Self::new(response, None)
    }
}

impl<R> Deref for Gathered<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::kvrpcpb::RawGetResponse;

    fn answer(bytes: usize) -> RawGetResponse {
        RawGetResponse {
            value: vec![0; bytes].into(),
            ..Default::default()
        }
    }

    fn answers(bytes_max: usize) -> (Answers, ByteBudget) {
        let budget = ByteBudget::new(bytes_max);
        (Answers::new(budget.clone()), budget)
    }

    #[test]
    fn an_answer_that_does_not_fit_becomes_an_error_until_others_are_sent() {
        let (answers, budget) = answers(10_000);
        let (mut first, mut second) = (None, None);
        let count = |bytes, held: &mut Option<Held>| -> RawGetResponse {
            answers.count(answer(bytes), held)
        };
        assert_eq!(count(8_000, &mut first).value.len(), 8_000);
        let refused = count(8_000, &mut second);
        assert!(refused.value.is_empty() && second.is_none());
        assert!(refused.region_error.unwrap().server_is_busy.is_some());
        assert_eq!(count(100, &mut second).value.len(), 100);
        drop(first.take());
        assert_eq!(count(8_000, &mut second).value.len(), 8_000);
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_is_gathered_counts_before_the_answer_is_whole() {
        let (answers, budget) = answers(300_000);
        let mut first = answers.gather();
        for _ in 0..20 {
            first.take(10_000).unwrap();
        }
        assert!(budget.used_bytes() > 200_000 - STEP_BYTES);
        let mut second = answers.gather();
        let refused: Result<(), Failure> = (0..40).try_for_each(|_| second.take(10_000));
        assert!(matches!(
            refused,
            Err(Failure::Request(RequestError::ServerIsBusy { .. }))
        ));
        drop(second);
        let mut held = None;
        let whole = Gathered::new(answer(200_000), Some(first.end()));
        let sent: RawGetResponse = answers.count(whole, &mut held);
        assert_eq!(sent.value.len(), 200_000);
        assert!((200_000..201_000).contains(&budget.used_bytes()));
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
    }
}
