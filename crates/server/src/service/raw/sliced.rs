//! Reads of many rows, in slices on the read pool.
//!
//! **Why.** They read from the disk and may take seconds: on the runtime's threads they would hold up
//! everything else, and on threads in the order of their arrival the short ones would wait for the huge ones. In the
//! pool, those that have run for a while give way (see [`pool`]).
//!
//! **The way of a read.** It waits until it is one of so many at a time, and there is room for its answer; takes its
//! view of the Region; runs in slices, each of which goes on where the last one stopped; and answers. Only then it
//! has a view and an answer in the making: what waits before holds nothing but its request.
//!
//! **Invariants.** A read that this store can't do is refused at once, even when others wait for their
//! turn; and nobody waits for a place, or reads on, for longer than the read may take. Whoever waits gets one
//! answer, also after a panic and at the end of the pool. When the answer is there, the view is gone.
//!
//! **Not here.** Turns by level: when all places are taken, short reads wait for one as long ones do. A read whose
//! client has left is noticed between slices only.

use super::Raw;
use super::budget::Budget;
use crate::backend::{Backend, ReadView};
use crate::context::Checked;
use crate::error::Failure;
use crate::service::answers::Held;
use crate::service::read_pool::{Place, Reply};
use pool::{Abandoned, Progress, Slice, Task};
use std::time::Duration;

/// What was gathered, and what it counts as.
type Outcome<A> = Result<(A, Held), Failure>;

/// A read that can stop between rows and go on later, in the same view.
pub(super) trait SlicedRead<V>: Send + 'static {
    /// What it gathers.
    type Answer: Send + 'static;

    /// Bytes of the request that it holds.
    fn held_bytes(&self) -> usize;

    /// Reads on, until it is done or the slice is over.
    fn go_on(
        &mut self,
        view: &V,
        budget: &mut Budget,
        slice: &Slice<'_>,
    ) -> Result<Progress, Failure>;

    /// What was gathered.
    fn answer(self) -> Self::Answer;
}

impl<B: Backend> Raw<B> {
    /// Runs `read` in a view of the Region, within the request's budget. It waits for its turn until the
    /// budget's deadline.
    pub(super) async fn sliced_read<R: SlicedRead<B::View>>(
        &self,
        checked: Checked,
        read: R,
    ) -> Outcome<R::Answer> {
        let mut budget = self.budget(&checked);
        let place = match self.reads.take_place() {
            Some(place) => place,
            None => {
                // Who has to ask another store must hear it at once, and not after the queue.
                self.backend.read(checked.request.clone()).await?;
                self.reads.wait_for_place(budget.deadline()).await?
            }
        };
        let gathering = self.answers.gather_by(budget.deadline()).await?;
        budget.gather(gathering);
        let view = self.backend.read(checked.request).await?;
        let bytes = read.held_bytes();
        let state = State {
            view,
            read,
            budget,
            _place: place,
        };
        let task = |reply| ReadTask {
            state: Some(state),
            reply,
        };
        self.reads.run(bytes, task).await
    }

    pub(super) fn budget(&self, checked: &Checked) -> Budget {
        let ms = checked
            .max_ms
            .unwrap_or(u64::MAX)
            .min(self.limits.read_ms_max);
        let time_max = Duration::from_millis(ms);
        Budget::new(self.limits.read_bytes_max, time_max, self.answers.gather())
    }
}

/// A read on the pool.
struct ReadTask<V, R: SlicedRead<V>> {
    /// None when it is over.
    state: Option<State<V, R>>,
    reply: Reply<(R::Answer, Held)>,
}

struct State<V, R> {
    view: V,
    read: R,
    budget: Budget,
    _place: Place,
}

impl<V: ReadView, R: SlicedRead<V>> Task for ReadTask<V, R> {
    fn run(&mut self, slice: &Slice<'_>) -> Progress {
        node::begin_work();
        let is_wanted = self.reply.is_wanted();
        let Some(state) = self.state.as_mut().filter(|_| is_wanted) else {
            return Progress::Done;
        };
        let end = state.read.go_on(&state.view, &mut state.budget, slice);
        if matches!(end, Ok(Progress::Yielded)) {
            return Progress::Yielded;
        }
        // The view and the place go here.
        let split = |State { read, budget, .. }: State<V, R>| (read.answer(), budget.end());
        if let Some(answer) = self.state.take().map(split) {
            self.reply.send(end.map(|_| answer));
        }
        Progress::Done
    }

    fn abandon(&mut self, why: Abandoned) {
        self.state = None;
        self.reply.abandon(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeNode, FakeView};
    use crate::limits::Limits;
    use crate::service::raw::Raw;
    use crate::tests::v1;
    use futures::FutureExt;
    use proto::kvrpcpb::RawScanRequest;
    use raftstore::RequestError;

    /// What a read does in each slice.
    enum Act {
        /// Nothing, for ever, until the slice is over.
        Run,
        Panic,
    }

    impl SlicedRead<FakeView> for Act {
        type Answer = ();

        fn held_bytes(&self) -> usize {
            100
        }

        fn go_on(
            &mut self,
            _: &FakeView,
            budget: &mut Budget,
            slice: &Slice<'_>,
        ) -> Result<Progress, Failure> {
            if let Act::Panic = self {
                panic!("on purpose");
            }
            while !slice.should_yield() {
                budget.check_time()?;
            }
            Ok(Progress::Yielded)
        }

        fn answer(self) {}
    }

    fn raw(limits: Limits) -> Raw<FakeNode> {
        let node = FakeNode::v1();
        node.insert(b"k", types::raw_value::encode(b"v", None));
        Raw::new(node, limits, Default::default())
    }

    fn one_thread() -> Limits {
        Limits {
            read_threads: 1,
            ..Limits::default()
        }
    }

    async fn act(raw: &Raw<FakeNode>, act: Act) -> Result<(), Failure> {
        let checked = raw.check(v1(), String::new()).expect("it is in order");
        raw.sliced_read(checked, act).await.map(|_| ())
    }

    async fn rows(raw: &Raw<FakeNode>) -> usize {
        let request = RawScanRequest {
            context: v1(),
            limit: 10,
            ..Default::default()
        };
        raw.scan(request).await.kvs.len()
    }

    #[tokio::test]
    async fn a_scan_is_answered_while_long_reads_have_the_only_thread() {
        let raw = raw(one_thread());
        let mut long = Vec::new();
        for _ in 0..3 {
            let mut read = Box::pin(act(&raw, Act::Run));
            assert!((&mut read).now_or_never().is_none());
            long.push(read);
        }
        for _ in 0..10 {
            assert_eq!(rows(&raw).await, 1);
        }
        assert!(long.iter_mut().all(|read| read.now_or_never().is_none()));
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_error_and_the_next_one_is_served() {
        let raw = raw(one_thread());
        let failure = act(&raw, Act::Panic).await;
        assert!(matches!(failure, Err(Failure::Internal(text)) if text.contains("panicked")));
        assert_eq!(rows(&raw).await, 1);
        assert_eq!(raw.reads.places.available_permits(), 64);
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_any_more_gives_its_place_back() {
        let limits = Limits {
            reads_concurrent_max: 2,
            ..one_thread()
        };
        let raw = raw(limits);
        let mut left = Box::pin(act(&raw, Act::Run));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        // Both places are needed at once, twice.
        for _ in 0..2 {
            let (one, other) = tokio::join!(rows(&raw), rows(&raw));
            assert_eq!((one, other), (1, 1));
        }
    }

    #[tokio::test]
    async fn a_long_read_ends_by_its_time() {
        let limits = Limits {
            read_ms_max: 20,
            ..one_thread()
        };
        let failure = act(&raw(limits), Act::Run).await;
        assert!(matches!(failure, Err(Failure::OverBudget(_))));
    }

    #[tokio::test]
    async fn requests_that_hold_too_much_are_refused() {
        let limits = Limits {
            read_request_bytes_max: 150,
            ..one_thread()
        };
        let raw = raw(limits);
        let mut first = Box::pin(act(&raw, Act::Run));
        assert!((&mut first).now_or_never().is_none());
        let second = act(&raw, Act::Run).await;
        let busy = |failure: &Failure| {
            matches!(failure, Failure::Request(RequestError::ServerIsBusy { .. }))
        };
        assert!(second.is_err_and(|failure| busy(&failure)));
    }

    #[tokio::test]
    async fn whoever_waits_at_the_end_is_told() {
        let raw = raw(one_thread());
        let mut read = Box::pin(act(&raw, Act::Run));
        assert!((&mut read).now_or_never().is_none());
        raw.reads.pool.shutdown();
        let stopping =
            |failure: &Failure| matches!(failure, Failure::Request(RequestError::Stopping));
        assert!(read.await.is_err_and(|failure| stopping(&failure)));
        let late = act(&raw, Act::Run).await;
        assert!(late.is_err_and(|failure| stopping(&failure)));
    }
}
