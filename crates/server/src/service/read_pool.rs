//! The read pool: threads for reads of many rows, and for what is done to a whole answer.
//!
//! **Why the same threads.** Both are large work: it takes whole milliseconds, and gives way to everybody who needs a
//! microsecond ([`node::give_way`]). And whatever of it there is, a processor is left to those.
//!
//! **Invariants.** So many reads run at a time, and no more answers are finished at a time than there are threads.
//! Whoever waits gets one answer, also after a panic and at the end of the pool.
//!
//! **Not here.** What a read does (`raw::sliced`), and what is done to an answer (`encoded`).

use crate::error::Failure;
use crate::limits::Limits;
use pool::{
    Abandoned, Full, Options, PanicPolicy, PanicVerdict, Progress, Slice, SpawnError, Task,
    TaskKey, ThreadPool,
};
use raftstore::RequestError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// One of the reads that run at a time; it ends when this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// The threads, the places for reads that run at the same time, and the turns of answers that are finished.
pub(super) struct ReadPool {
    pub(super) pool: ThreadPool<Box<dyn Task>>,
    pub(super) places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    keys: AtomicU64,
}

impl ReadPool {
    /// # Panics
    /// The operating system refuses the threads.
    pub(super) fn start(limits: &Limits) -> Self {
        let threads = limits.read_threads.max(1);
        let mut options = Options::new(pool::Config {
            threads,
            // Places and turns are the bound. They are given back a moment before a task leaves the pool.
            tasks_max: limits.reads_concurrent_max + 2 * threads,
            bytes_max: limits.read_request_bytes_max,
            ..pool::Config::default()
        });
        options.prepare = node::give_way;
        options.panic_policy = PanicPolicy::Ask(Arc::new(|report| {
            tracing::error!(message = %report.message, "a read has panicked");
            PanicVerdict::Abandon
        }));
        Self {
            pool: ThreadPool::start("read", options).expect("the read pool gets its threads"),
            places: Arc::new(Semaphore::new(limits.reads_concurrent_max)),
            turns: Arc::new(Semaphore::new(threads)),
            keys: AtomicU64::new(0),
        }
    }

    /// A place, if one is free.
    pub(super) fn take_place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A place, as soon as one is free.
    ///
    /// # Errors
    /// None is in time.
    pub(super) async fn wait_for_place(&self, deadline: Instant) -> Result<Place, Failure> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout_at(deadline.into(), place).await {
            Ok(place) => place.map_err(|_| Failure::Internal("reads are closed".to_owned())),
            Err(_) => Err(busy("too many reads of many rows wait")),
        }
    }

    /// Runs a task that holds so many bytes of a request, and hands on what it replies.
    pub(super) async fn run<A, T: Task>(
        &self,
        bytes: usize,
        task: impl FnOnce(Reply<A>) -> T,
    ) -> Result<A, Failure> {
        let (reply, answer) = oneshot::channel();
        let key = TaskKey(self.keys.fetch_add(1, Ordering::Relaxed));
        let task = Box::new(task(Reply(Some(reply))));
        let spawned = self.pool.handle().spawn(key, bytes, task);
        spawned.map_err(|error| match error {
            SpawnError::Busy(_, Full::Bytes) => busy("too many bytes of reads of many rows"),
            SpawnError::Busy(_, Full::Tasks) => busy("too many reads of many rows"),
            SpawnError::Stopped(_) => Failure::Request(RequestError::Stopping),
        })?;
        let lost = |_| Failure::Internal("a read was dropped unanswered".to_owned());
        answer.await.map_err(lost)?
    }

    /// Does something to a whole answer, when it is its turn.
    pub(super) async fn finish<A: Send + 'static>(
        &self,
        work: impl FnOnce() -> A + Send + 'static,
    ) -> Result<A, Failure> {
        let closed = |_| Failure::Request(RequestError::Stopping);
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let work = Some((work, turn.map_err(closed)?));
        self.run(0, |reply| Finishing { work, reply }).await
    }
}

fn busy(reason: &'static str) -> Failure {
    Failure::Request(RequestError::ServerIsBusy { reason })
}

/// To whom a task replies, once.
pub(super) struct Reply<A>(Option<oneshot::Sender<Result<A, Failure>>>);

impl<A> Reply<A> {
    /// Whether somebody still waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    pub(super) fn send(&mut self, result: Result<A, Failure>) {
        if let Some(reply) = self.0.take() {
            // Who has left does not need it.
            let _ = reply.send(result);
        }
    }

    /// The task is not run any more.
    pub(super) fn abandon(&mut self, why: Abandoned) {
        self.send(Err(match why {
            Abandoned::Stopped => Failure::Request(RequestError::Stopping),
            Abandoned::Panicked => Failure::Internal("the read has panicked".to_owned()),
        }));
    }
}

/// An answer that waits to be finished. Whoever has asked may have left: then nothing is done.
struct Finishing<A, F> {
    work: Option<(F, OwnedSemaphorePermit)>,
    reply: Reply<A>,
}

impl<A: Send + 'static, F: FnOnce() -> A + Send + 'static> Task for Finishing<A, F> {
    fn run(&mut self, _: &Slice<'_>) -> Progress {
        node::begin_work();
        let is_wanted = self.reply.is_wanted();
        if let Some((work, turn)) = self.work.take().filter(|_| is_wanted) {
            let answer = work();
            // Before whoever waits goes on.
            drop(turn);
            self.reply.send(Ok(answer));
        }
        Progress::Done
    }

    fn abandon(&mut self, why: Abandoned) {
        self.work = None;
        self.reply.abandon(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::mpsc;

    fn pool() -> ReadPool {
        ReadPool::start(&Limits {
            read_threads: 1,
            reads_concurrent_max: 1,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn answers_are_finished_one_after_the_other_and_not_for_those_who_have_left() {
        let pool = pool();
        let (go_on, held) = mpsc::channel();
        let mut first = Box::pin(pool.finish(move || held.recv().is_ok()));
        assert!((&mut first).now_or_never().is_none());
        let mut left = Box::pin(pool.finish(|| panic!("nobody waits for this")));
        assert!((&mut left).now_or_never().is_none());
        let mut last = Box::pin(pool.finish(|| "last"));
        assert!((&mut last).now_or_never().is_none());
        drop(left);
        go_on.send(()).expect("the pool waits for it");
        assert!(first.await.is_ok_and(|was_sent| was_sent));
        assert!(last.await.is_ok_and(|answer| answer == "last"));
        assert_eq!(pool.turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_panic_and_the_end_of_the_pool_are_answers() {
        let pool = pool();
        let panicked: Result<(), Failure> = pool.finish(|| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Failure::Internal(text)) if text.contains("panicked")));
        assert!(pool.finish(|| ()).await.is_ok());
        pool.pool.shutdown();
        let stopped = pool.finish(|| ()).await;
        assert!(matches!(
            stopped,
            Err(Failure::Request(RequestError::Stopping))
        ));
    }
}
