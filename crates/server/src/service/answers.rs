//! The bytes of all answers that this server holds, and the bound on them.
//!
//! **Why.** A client that asks and does not read leaves its answers here. Each of them is bounded,
//! and so is the number of a connection's requests; without a bound on all together, one connection
//! could still take gigabytes.
//!
//! **The way of an answer.** It is counted when it is there ([`Answers::count`]), and the [`Held`]
//! goes with it: as an extension of a unary response, whose frames then keep it alive
//! (`listener::answer`), or in the outbox of its stream. One that does not fit any more is replaced
//! by the error that the server is busy.
//!
//! **Invariants.** `bytes` is the sum over all that is held.
//!
//! **Not here.** A share for each connection: one that reads nothing can use the whole bound up, and
//! others are refused large answers then. Small answers are not counted: the number of requests
//! bounds them. Answers that are being collected count only when they are complete; how many there
//! can be is bounded by `reads_concurrent_max`.

use crate::error::{FailableResponse, Failure};
use raftstore::RequestError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below so many bytes an answer is not counted.
const SMALL_BYTES: usize = 4 << 10;

/// All answers of a server. Clones count together.
#[derive(Clone)]
pub(crate) struct Answers {
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The bytes of some answers, until it is dropped.
pub(crate) struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Answers {
    /// Of `bytes_max` bytes at the most, counted in `bytes`.
    pub(crate) fn new(bytes_max: usize, bytes: Arc<AtomicUsize>) -> Self {
        Self { bytes, bytes_max }
    }

    /// Counts an answer that is not small; one that does not fit becomes an error.
    pub(crate) fn count<R: FailableResponse>(&self, answer: R, held: &mut Option<Held>) -> R {
        let bytes = answer.held_bytes();
        if bytes < SMALL_BYTES {
            return answer;
        }
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        *held = Some(Held {
            all: Arc::clone(&self.bytes),
            bytes,
        });
        if before + bytes <= self.bytes_max {
            return answer;
        }
        *held = None;
        R::failed(Failure::Request(RequestError::ServerIsBusy {
            reason: "too many bytes of answers wait to be sent",
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
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

    #[test]
    fn an_answer_that_does_not_fit_becomes_an_error_until_others_are_sent() {
        let answers = Answers::new(10_000, Arc::default());
        let (mut first, mut second) = (None, None);
        assert_eq!(answers.count(answer(8_000), &mut first).value.len(), 8_000);
        let refused = answers.count(answer(8_000), &mut second);
        assert!(refused.value.is_empty() && second.is_none());
        assert!(refused.region_error.unwrap().server_is_busy.is_some());
        assert_eq!(answers.count(answer(100), &mut second).value.len(), 100);
        drop(first.take());
        assert_eq!(answers.count(answer(8_000), &mut second).value.len(), 8_000);
        drop(second);
        assert_eq!(answers.bytes.load(Ordering::Relaxed), 0);
    }
}
