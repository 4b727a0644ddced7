//! The bytes of all answers that this server holds, and the bound on them.
//!
//! **Why.** A client that asks and does not read leaves its answers here. Each of them is bounded,
//! and so is the number of a connection's requests; without a bound on all together, one connection
//! could still take gigabytes. So could many that ask at the same time for all that one answer may hold: an
//! answer counts from its first rows on, and not when it is whole.
//!
//! **The way of an answer.** A read of many rows waits until an answer as large as others were lately has room,
//! and then counts what it gathers ([`Gathering`]): to refuse one that has half of its rows wastes all of them. Any
//! other answer is counted when it is there ([`Answers::count`]). The [`Held`] goes with it: as an extension of a
//! unary response, whose frames then keep it alive (`listener::answer`), or in the outbox of its stream. One that
//! does not fit any more is replaced by the error that the server is busy.
//!
//! **Invariants.** The budget has the sum over all that is held, and what was set aside for reads that have begun.
//!
//! **Not here.** A share for each connection: one that reads nothing can use the whole bound up, and
//! others are refused large answers then. Small answers are not counted: the number of requests
//! bounds them. While an answer is encoded it is there twice: in as many as the runtime has threads.

use crate::error::{FailableResponse, Failure};
use node::{ByteBudget, MemoryBudget};
use raftstore::RequestError;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Below so many bytes an answer is not counted.
const SMALL_BYTES: usize = 4 << 10;
/// What is gathered is counted in steps of this.
const STEP_BYTES: usize = 64 << 10;
/// Whoever waits looks again after so long: room in memory does not always come from an answer that went.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// With less than this left there is room for no more than the answers that are being made.
const ROOM_BYTES: usize = 1 << 20;
/// By this part a read of another size changes what the next one is taken for.
const SMOOTHING: usize = 8;

/// All answers of a server. Clones count together.
#[derive(Clone)]
pub(crate) struct Answers(Arc<Shared>);

struct Shared {
    bytes: ByteBudget,
    memory: MemoryBudget,
    /// About what reads of many rows gather.
    typical: AtomicUsize,
    freed: Notify,
}

/// The bytes of some answers, until it is dropped.
pub(crate) struct Held {
    all: Answers,
    bytes: usize,
}

/// An answer in the making.
pub(crate) struct Gathering {
    held: Held,
    gathered: usize,
}

/// An answer, and what it was counted as while it was gathered.
pub(crate) struct Gathered<R> {
    pub(crate) response: R,
    held: Option<Held>,
}

impl Answers {
    /// So many bytes at the most, and what the process has memory for.
    pub(crate) fn new(bytes_max: usize, memory: &MemoryBudget) -> Self {
        memory.want(|wanted| wanted.answers = bytes_max);
        Self(Arc::new(Shared {
            bytes: memory.parts().answers.clone(),
            memory: memory.clone(),
            typical: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// The beginning of an answer.
    pub(crate) fn gather(&self) -> Gathering {
        Gathering {
            held: self.nothing(),
            gathered: 0,
        }
    }

    /// The same, for a read that may wait until there is room.
    ///
    /// # Errors
    /// There is none in time.
    pub(crate) async fn gather_by(&self, deadline: Instant) -> Result<Gathering, Failure> {
        let mut gathering = self.gather();
        loop {
            let mut freed = pin!(self.0.freed.notified());
            // From here on no answer goes unnoticed.
            freed.as_mut().enable();
            if self.0.memory.left_for_answers() > 0 && gathering.held.resize(self.usual()).is_ok() {
                return Ok(gathering);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(busy());
            }
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), freed).await;
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

    /// Whether answers that are not small are likely to fit.
    pub(crate) fn have_room(&self) -> bool {
        let bytes = &self.0.bytes;
        let left = bytes.limit_bytes().saturating_sub(bytes.used_bytes());
        left >= ROOM_BYTES && self.0.memory.left_for_answers() >= ROOM_BYTES
    }

    /// What to set aside for a read. Half of what there is at the most, so that nobody waits for what never comes.
    fn usual(&self) -> usize {
        let typical = self.0.typical.load(Ordering::Relaxed);
        let left = self.0.memory.left_for_answers();
        let most = left.min(self.0.bytes.limit_bytes());
        typical.min(most / 2)
    }

    fn nothing(&self) -> Held {
        Held {
            all: self.clone(),
            bytes: 0,
        }
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.0.bytes.release(bytes);
            self.0.freed.notify_waiters();
        }
    }
}

fn busy() -> Failure {
    Failure::Request(RequestError::ServerIsBusy {
        reason: "too many bytes of answers wait to be sent",
    })
}

impl Held {
    /// Holds so many bytes from now on; if they don't fit, as many as before.
    fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => {
                let all = &*self.all.0;
                let fits = more == 0 || all.memory.left_for_answers() >= more;
                if !fits || !all.bytes.try_acquire(more) {
                    return Err(busy());
                }
            }
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
        self.gathered += bytes;
        if self.gathered >= self.held.bytes + STEP_BYTES {
            self.held.resize(self.gathered)?;
        }
        Ok(())
    }

    /// It is whole.
    pub(crate) fn end(self) -> Held {
        // Two that end at the same time may forget one of them.
        let typical = &self.held.all.0.typical;
        let before = typical.load(Ordering::Relaxed);
        let next = before - before / SMOOTHING + self.gathered / SMOOTHING;
        typical.store(next, Ordering::Relaxed);
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
    use futures::FutureExt;
    use proto::kvrpcpb::RawGetResponse;

    fn answer(bytes: usize) -> RawGetResponse {
        RawGetResponse {
            value: vec![0; bytes].into(),
            ..Default::default()
        }
    }

    fn answers(bytes_max: usize) -> (Answers, ByteBudget) {
        let memory = MemoryBudget::unlimited();
        let answers = Answers::new(bytes_max, &memory);
        (answers, memory.parts().answers.clone())
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

    #[tokio::test]
    async fn a_read_waits_until_one_of_the_usual_size_has_room() {
        let (answers, budget) = answers(1_000_000);
        for _ in 0..50 {
            let mut read = answers.gather();
            read.take(300_000).unwrap();
            drop(read.end());
        }
        let later = || Instant::now() + Duration::from_secs(3_600);
        let first = answers.gather_by(later()).await.unwrap();
        assert!(
            (290_000..=300_000).contains(&budget.used_bytes()),
            "it is set aside"
        );
        let (second, third) = (answers.gather_by(later()), answers.gather_by(later()));
        let (second, _third) = (second.await.unwrap(), third.await.unwrap());
        let mut fourth = Box::pin(answers.gather_by(later()));
        assert!((&mut fourth).now_or_never().is_none());
        assert!(answers.gather_by(Instant::now()).await.is_err());
        drop(first);
        drop(fourth.await.unwrap());
        drop(second.end());
        assert!(budget.used_bytes() <= 300_000);
    }

    #[tokio::test]
    async fn without_room_in_memory_nothing_is_gathered() {
        let memory = MemoryBudget::unlimited();
        let answers = Answers::new(1_000_000, &memory);
        memory.set_limit_bytes(1_600_000);
        let resident = |resident| node::Seen {
            resident,
            unfilled: 0,
        };
        memory.observe(resident(1_300_000));
        let mut begun = answers.gather_by(Instant::now()).await.unwrap();
        assert!(begun.take(90_000).is_ok());
        assert!(begun.take(90_000).is_err());
        assert!(
            memory.has_room(),
            "whoever takes no answer holds no write up"
        );
        memory.observe(resident(1_500_000));
        assert!(answers.gather_by(Instant::now()).await.is_err());
    }
}
