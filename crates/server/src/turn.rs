//! How long one task may go on before others have their turn, and whose turn comes next.
//!
//! **Why.** A connection polls its requests itself, and its streams of commands. A client that always has more to ask
//! would keep such a task, and with it a thread of the runtime, for as long as it likes: others waited seconds behind
//! twenty thousand commands that were sent at once.
//!
//! **The line.** A task that has had much of late waits in line for each turn. Out of it come as many at a time as the
//! runtime has threads, and each only when its thread has nothing else to do and has looked at its sockets. So whoever
//! asks for little waits for one turn, however many others ask for much.
//!
//! **Newcomers** wait in line until they have rested. A client that is sent away for what it does would otherwise come back with
//! all that is little before it.
//!
//! **Who wants another turn.** Whoever is woken in the midst of its own. It is polled again at once while the turn is not
//! over.
//!
//! **Invariants.** A task that waits in line is called, unless it is dropped before. While it waits nothing else wakes
//! it. One that was called gives its place up at the end of that turn, or when it is dropped.
//!
//! **Not here.** One request that takes long: it must go to another thread.

use futures::task::{ArcWake, AtomicWaker, waker};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Long beside what the change to another task costs, and a look at all sockets.
const LENGTH: Duration = Duration::from_micros(50);
/// Who had less of a processor of late asks for little. It is more than a turn.
const LITTLE: Duration = Duration::from_micros(400);
/// No more than this is remembered.
const REMEMBERED: Duration = Duration::from_millis(4);
/// What was had is forgotten after so many times as long without a wish.
const FORGOTTEN_AFTER: u32 = 8;

thread_local! {
    /// When the turn began in which the calling thread is.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether the calling task should let others have their turn: it wakes itself and stops. What is no part of a turn may
/// go on.
pub(crate) fn is_over() -> bool {
    BEGUN.get().is_some_and(|begun| begun.elapsed() >= LENGTH)
}

/// A turn, and the one that it is within; it ends with a panic, too.
struct Begun(Option<Instant>);

impl Drop for Begun {
    fn drop(&mut self) {
        BEGUN.set(self.0);
    }
}

/// The tasks of one runtime that wait for another turn. Clones are the same line.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By ticket: the lowest comes first.
    waiting: BTreeMap<u64, Waker>,
    next_ticket: u64,
    /// So many were called and have not had their turn yet.
    called: usize,
}

/// The turns of one task.
pub(crate) struct Turns {
    line: Line,
    place: Place,
    bell: Arc<Bell>,
    had: Had,
}

/// What a task has had of late.
#[derive(Default)]
struct Had {
    /// Of a processor. By the clock on the wall a turn of little may last long, for the threads that it wakes run before it
    /// goes on.
    time: Duration,
    /// Since when it has wanted nothing.
    rests_since: Option<Instant>,
}

impl Had {
    /// Whether it has a wish now that should wait in line.
    fn is_much(&mut self, now: Instant) -> bool {
        if let Some(since) = self.rests_since.take() {
            let rested = now.saturating_duration_since(since);
            self.time = self.time.saturating_sub(rested / FORGOTTEN_AFTER);
        }
        self.time >= LITTLE
    }
}

#[derive(Clone, Copy)]
enum Place {
    /// It wanted no other turn at the end of its last one.
    Elsewhere,
    /// It waits, or was called since.
    InLine {
        ticket: u64,
    },
    Called,
}

/// What the parts of a task ring to have it polled.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    state: AtomicU8,
}

/// It wakes the task.
const HEARD: u8 = 0;
/// The task has its turn, and will look whether it rang.
const IN_TURN: u8 = 1;
const RANG: u8 = 2;
/// The task waits in line.
const MUTED: u8 = 3;

impl ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        let ring = |state| (state == IN_TURN).then_some(RANG);
        let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
        if bell.state.fetch_update(order, failed, ring) == Err(HEARD) {
            bell.task.wake();
        }
    }
}

impl Line {
    /// The turns of one more task.
    pub(crate) fn turns(&self) -> Turns {
        Turns {
            line: self.clone(),
            place: Place::Elsewhere,
            bell: Arc::default(),
            had: Had::default(),
        }
    }

    /// Changes the line, and calls whoever comes first.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock();
        let changed = change(&mut state);
        let mut called = state.call(threads());
        drop(state);
        while let Some(waker) = called {
            wake_when_idle(&waker);
            called = self.0.lock().call(threads());
        }
        changed
    }
}

impl State {
    /// Whoever comes first, if there is a place.
    fn call(&mut self, places: usize) -> Option<Waker> {
        if self.called >= places {
            return None;
        }
        let (_, first) = self.waiting.pop_first()?;
        self.called += 1;
        Some(first)
    }
}

/// Of the runtime that the caller is in.
fn threads() -> usize {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(1, |runtime| runtime.metrics().num_workers())
}

/// Wakes a task once the calling thread has nothing else to do. Whoever is woken at once comes before all others.
fn wake_when_idle(waker: &Waker) {
    let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(waker));
}

impl Turns {
    /// Of somebody new, who may just have gone: it waits in line until it has rested.
    pub(crate) fn begin_as_newcomer(&mut self) {
        self.had.time = LITTLE;
    }

    /// Takes a turn with `work`, if the task need not wait for it.
    pub(crate) fn take<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.is_waiting(cx) {
            return Poll::Pending;
        }
        let (begun, had) = (Instant::now(), node::processor_time());
        if self.had.is_much(begun) && matches!(self.place, Place::Elsewhere) {
            self.wait(cx);
            return Poll::Pending;
        }
        self.bell.task.register(cx.waker());
        let bell = waker(Arc::clone(&self.bell));
        let turn = Begun(BEGUN.replace(Some(begun)));
        let (progress, wants_another) = loop {
            self.bell.state.store(IN_TURN, Ordering::Release);
            let progress = work(&mut Context::from_waker(&bell));
            let rang = self.bell.state.swap(HEARD, Ordering::AcqRel) == RANG;
            let wants_another = rang && progress.is_pending();
            if !wants_another || is_over() {
                break (progress, wants_another);
            }
        };
        drop(turn);
        let ended = Instant::now();
        let had = node::processor_time().saturating_sub(had);
        self.had.time = (self.had.time + had).min(REMEMBERED);
        if !wants_another {
            self.had.rests_since = Some(ended);
            self.leave();
        } else if self.had.is_much(ended) {
            self.wait(cx);
        } else {
            self.leave();
            wake_when_idle(cx.waker());
        }
        node::rest_if_due();
        progress
    }

    /// Whether it was woken before its turn has come.
    fn is_waiting(&mut self, cx: &Context<'_>) -> bool {
        let Place::InLine { ticket } = self.place else {
            return false;
        };
        if let Some(waker) = self.line.0.lock().waiting.get_mut(&ticket) {
            waker.clone_from(cx.waker());
            return true;
        }
        self.place = Place::Called;
        false
    }

    /// Goes to the end of the line.
    fn wait(&mut self, cx: &Context<'_>) {
        // What is rung before is done in the next turn as well.
        self.bell.state.store(MUTED, Ordering::Release);
        let was_called = matches!(self.place, Place::Called);
        self.place = self.line.change(|state| {
            state.called -= usize::from(was_called);
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.insert(ticket, cx.waker().clone());
            Place::InLine { ticket }
        });
    }

    /// Gives up its place, if it has one.
    fn leave(&mut self) {
        match mem::replace(&mut self.place, Place::Elsewhere) {
            Place::Elsewhere => {}
            Place::InLine { ticket } => self.line.change(|state| {
                let was_called = state.waiting.remove(&ticket).is_none();
                state.called -= usize::from(was_called);
            }),
            Place::Called => self.line.change(|state| state.called -= 1),
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A task of which one knows how often it was woken. Outside of a runtime that is at once.
    struct Task {
        turns: Turns,
        woken: Arc<Woken>,
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl ArcWake for Woken {
        fn wake_by_ref(woken: &Arc<Self>) {
            woken.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        /// One that will have had much after one turn.
        fn of(line: &Line) -> Self {
            let mut turns = line.turns();
            turns.had.time = LITTLE - Duration::from_nanos(1);
            let woken = Arc::default();
            Self { turns, woken }
        }

        /// Polled once; returns whether it had a turn.
        fn had_turn(&mut self, wants_another: bool) -> bool {
            let waker = waker(Arc::clone(&self.woken));
            let mut had_turn = false;
            let _ = self.turns.take(&mut Context::from_waker(&waker), |cx| {
                had_turn = true;
                if wants_another {
                    while !is_over() {}
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            });
            had_turn
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn one_after_the_other_is_called() {
        let line = Line::default();
        let (mut one, mut other) = (Task::of(&line), Task::of(&line));
        assert!(one.had_turn(true) && other.had_turn(true));
        assert_eq!((one.woken(), other.woken()), (1, 0));
        assert!(!other.had_turn(true), "it was woken by something else");
        assert!(one.had_turn(true));
        assert_eq!((one.woken(), other.woken()), (1, 1));
        assert!(other.had_turn(false));
        assert_eq!((one.woken(), other.woken()), (2, 1));
        assert!(one.had_turn(false));
        assert_eq!((one.woken(), other.woken()), (2, 1), "nobody waits");
    }

    #[test]
    fn whoever_has_had_much_waits_until_it_has_rested() {
        let line = Line::default();
        let mut task = Task::of(&line);
        task.turns.had.time = Duration::from_secs(3600);
        assert!(!task.had_turn(false), "it has had much");
        assert_eq!(task.woken(), 1);
        assert!(task.had_turn(false));
        task.turns.had.rests_since = Some(Instant::now());
        assert!(!task.had_turn(false), "it has not rested for long");
        assert!(task.had_turn(false));
        task.turns.had = Had::default();
        assert!(task.had_turn(false));
        assert_eq!(task.woken(), 2);
    }

    #[test]
    fn a_newcomer_waits() {
        let mut task = Task::of(&Line::default());
        task.turns.begin_as_newcomer();
        assert!(!task.had_turn(false));
        assert_eq!(task.woken(), 1);
        assert!(task.had_turn(false));
    }

    #[test]
    fn what_was_had_is_forgotten_while_nothing_is_wanted() {
        let now = Instant::now();
        let mut had = Had {
            time: 2 * LITTLE,
            rests_since: Some(now),
        };
        let later = now + LITTLE * FORGOTTEN_AFTER;
        assert!(had.is_much(later), "half of it is too much");
        assert!(had.is_much(later + Duration::from_secs(1)), "it waited");
        had.rests_since = Some(later);
        assert!(!had.is_much(later + Duration::from_micros(8)));
    }

    #[test]
    fn whoever_goes_is_not_waited_for() {
        let line = Line::default();
        let mut tasks: Vec<_> = (0..4).map(|_| Task::of(&line)).collect();
        assert!(tasks.iter_mut().all(|task| task.had_turn(true)));
        let mut last = tasks.pop().unwrap();
        // One that waits, one that was called, and one whose turn it is.
        drop(tasks.remove(1));
        drop(tasks.remove(0));
        assert_eq!(tasks[0].woken(), 1);
        let cx = Context::from_waker(Waker::noop());
        assert!(!tasks[0].turns.is_waiting(&cx));
        drop(tasks);
        assert_eq!(last.woken(), 1);
        assert!(last.had_turn(false));
        let state = line.0.lock();
        assert!(state.called == 0 && state.waiting.is_empty());
    }

    #[test]
    fn little_is_had_without_the_line() {
        let line = Line::default();
        let (mut task, mut waits) = (Task::of(&line), Task::of(&line));
        task.turns.had.time = Duration::ZERO;
        assert!(waits.had_turn(true));
        let turns = (0..).take_while(|_| task.had_turn(true)).count();
        assert!(turns > 1, "one turn is little");
        assert!(task.turns.had.time >= LITTLE);
        assert_eq!(task.woken(), turns - 1, "it waits after the last one");
    }

    /// On a busy machine the threads that a request is handed to run on the same processor, and in its turn.
    #[test]
    fn what_others_have_of_the_processor_meanwhile_is_not_counted() {
        let mut turns = Line::default().turns();
        let mut cx = Context::from_waker(Waker::noop());
        let begun = Instant::now();
        let turn = turns.take(&mut cx, |_| {
            let other = std::thread::spawn(|| {
                let until = Instant::now() + 50 * LITTLE;
                while Instant::now() < until {}
            });
            other.join().unwrap();
            Poll::Ready(())
        });
        assert!(turn.is_ready());
        assert!(begun.elapsed() >= 50 * LITTLE);
        assert!(turns.had.time < REMEMBERED, "{:?}", turns.had.time);
        assert!(turns.had.time < begun.elapsed() / 8);
    }

    #[test]
    fn whoever_is_woken_in_its_turn_goes_on_at_once() {
        let mut task = Task::of(&Line::default());
        let waker = waker(Arc::clone(&task.woken));
        let mut polls = 0;
        let mut inner = None;
        let _ = task.turns.take(&mut Context::from_waker(&waker), |cx| {
            polls += 1;
            inner = Some(cx.waker().clone());
            if polls < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert_eq!((polls, task.woken()), (3, 0));
        inner.unwrap().wake();
        assert_eq!(task.woken(), 1, "it has no turn any more");
    }

    #[test]
    fn a_turn_ends_by_time() {
        assert!(!is_over(), "outside of a turn");
        let mut turns = Line::default().turns();
        let mut cx = Context::from_waker(Waker::noop());
        let turn = turns.take(&mut cx, |_| {
            while !is_over() {}
            Poll::Ready(())
        });
        assert!(turn.is_ready() && !is_over());
    }

    /// Whoever has little to do comes before the one that was called.
    #[tokio::test]
    async fn other_tasks_come_first() {
        let line = Line::default();
        let mut greedy = line.turns();
        let seen = Arc::new(AtomicUsize::new(0));
        let (sees, done) = (Arc::clone(&seen), Arc::clone(&seen));
        let mut turns_taken = 0;
        let greedy = tokio::spawn(std::future::poll_fn(move |cx| {
            greedy.take(cx, |cx| {
                turns_taken += 1;
                if turns_taken == 1 {
                    let small = Arc::clone(&sees);
                    tokio::spawn(async move { small.fetch_add(1, Ordering::Relaxed) });
                    while !is_over() {}
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(sees.load(Ordering::Relaxed))
            })
        }));
        assert_eq!(greedy.await.unwrap(), 1);
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
}
