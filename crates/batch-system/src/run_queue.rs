//! The run queue: FSMs that have something to do, and the pollers that wait for them.
//!
//! **Why not a channel.** A poller takes its share of what is ready at once, and neither side should pay
//! for a wake-up that is not needed: it costs the sender a system call, and the system a context switch.
//!
//! **When a push wakes a sleeper.** Not if a poller is *searching*: without work, one poller at a time
//! looks for a few microseconds before it sleeps. Not if a poller at work is *brisk*: its last rounds were
//! shorter than a wake-up takes, so it will be back sooner (unless it has not been heard of for longer than
//! that). So little work stays with one poller, in fewer and fuller batches, and as soon as rounds grow
//! longer the others are called. A sleeper that is
//! woken counts as searching from that moment on, so that a burst of pushes wakes one, which wakes the
//! next if it leaves work behind.
//!
//! All counters change under the one lock; two of them are mirrored in atomics as hints.
//!
//! **Invariants.**
//! - If tasks wait while a poller sleeps, then another one is searching, or brisk and at work.
//! - A poller that is brisk and at work calls `try_fetch` or `fetch` after its round, or `set_brisk`.
//! - `searching` counts pollers that are looking plus wake-ups under way.
//! - After `close` every push hands its task back.
//!
//! **Not here.** What a task is.

use crate::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, spin_until};
use std::collections::VecDeque;

/// A queue of tasks with its sleeping pollers.
pub(crate) struct RunQueue<T> {
    inner: Mutex<Inner<T>>,
    wake: Condvar,
    /// Length of the queue; a hint that lets a busy poller skip the lock.
    ready: AtomicUsize,
    /// When a poller was last known to get on, in nanoseconds.
    beat: AtomicU64,
    /// Pollers that search or sleep; a hint that lets a busy poller share its batch.
    hungry: AtomicUsize,
}

struct Inner<T> {
    tasks: VecDeque<T>,
    closed: bool,
    /// Counts calls of `interrupt`.
    generation: u64,
    /// Pollers among which the work is shared.
    pollers: usize,
    searching: usize,
    sleeping: usize,
    /// Pollers at work whose rounds are so short that no sleeper would be there earlier.
    brisk: usize,
    /// Wake-ups sent that no sleeper has taken yet.
    tokens: usize,
}

/// A brisk poller that has not been heard of for so long was taken off its processor, or met something slow.
const HELD_UP_NS: u64 = 30_000;

/// The most tasks taken at a time.
const FEW: usize = 16;

/// A poller's call for work.
#[derive(Clone, Copy)]
pub(crate) struct Fetch {
    /// FSMs that it has before it already.
    pub(crate) held: usize,
    /// How many more it can have.
    pub(crate) max: usize,
    /// True if it counts as brisk.
    pub(crate) brisk: bool,
}

/// What came of a call that may wait.
pub(crate) struct Fetched {
    /// Tasks that are still due in this round.
    pub(crate) due: usize,
    /// False if there was something at once, so that hardly any time has passed.
    pub(crate) waited: bool,
}

/// How many sleepers a change under the lock wants woken, once the lock is gone.
#[must_use]
#[derive(Clone, Copy)]
enum Wake {
    None,
    One,
}

impl<T> RunQueue<T> {
    /// An open queue for so many pollers.
    pub(crate) fn new(pollers: usize) -> Self {
        let inner = Inner {
            tasks: VecDeque::new(),
            closed: false,
            generation: 0,
            pollers,
            searching: 0,
            sleeping: 0,
            brisk: 0,
            tokens: 0,
        };
        Self {
            inner: Mutex::new(inner),
            wake: Condvar::new(),
            ready: AtomicUsize::new(0),
            beat: AtomicU64::new(0),
            hungry: AtomicUsize::new(0),
        }
    }

    /// Appends a task. Hands it back if the queue is closed. `now` reads the clock, in nanoseconds; it is
    /// asked for only if it matters.
    pub(crate) fn push(&self, task: T, now: impl FnOnce() -> u64) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(task);
        }
        inner.tasks.push_back(task);
        self.ready.store(inner.tasks.len(), Ordering::Release);
        let held_up = inner.brisk > 0
            && inner.sleeping > 0
            && now().saturating_sub(self.beat.load(Ordering::Relaxed)) > HELD_UP_NS;
        let wake = inner.wake_one(held_up);
        drop(inner);
        self.notify(wake);
        Ok(())
    }

    /// A poller at work is getting on, at this time in nanoseconds.
    pub(crate) fn beat(&self, now: u64) {
        self.beat.store(now, Ordering::Relaxed);
    }

    /// Takes what is due to a poller that has `held` FSMs before it already; never waits. Gives how
    /// many more are due to it in this round.
    pub(crate) fn try_fetch(&self, call: Fetch, out: &mut Vec<T>) -> usize {
        if self.ready() == 0 {
            return 0;
        }
        let inner = self.inner.lock();
        self.take_share(inner, call, out)
    }

    /// Waits for a task and takes what is due. `None` if there is none because the queue was closed,
    /// or interrupted since generation `seen`. The poller does not count as brisk while it waits.
    pub(crate) fn fetch(&self, seen: u64, call: Fetch, out: &mut Vec<T>) -> Option<Fetched> {
        let mut inner = self.inner.lock();
        inner.brisk -= usize::from(call.brisk);
        let (mut searched, mut waited) = (false, false);
        loop {
            if inner.is_changed(seen) {
                inner.brisk += usize::from(call.brisk);
                return None;
            }
            if !inner.tasks.is_empty() {
                inner.brisk += usize::from(call.brisk);
                let due = self.take_share(inner, call, out);
                return Some(Fetched { due, waited });
            }
            waited = true;
            if !searched && inner.searching == 0 {
                searched = true;
                inner = self.search(inner);
            } else {
                searched = false;
                inner = self.sleep(inner, seen);
            }
        }
    }

    /// A poller at work became brisk, or ceased to be.
    pub(crate) fn set_brisk(&self, brisk: bool) {
        let mut inner = self.inner.lock();
        if brisk {
            inner.brisk += 1;
            return;
        }
        inner.brisk -= 1;
        let wake = inner.wake_one(false);
        drop(inner);
        self.notify(wake);
    }

    fn search<'a>(&'a self, mut inner: MutexGuard<'a, Inner<T>>) -> MutexGuard<'a, Inner<T>> {
        inner.searching += 1;
        self.hint(&inner);
        drop(inner);
        spin_until(|| self.ready.load(Ordering::Acquire) > 0);
        let mut inner = self.inner.lock();
        inner.searching -= 1;
        self.hint(&inner);
        inner
    }

    /// Sleeps until a token comes, or until what the poller has to look at has changed. A token may be taken
    /// by one who has just begun to sleep, so that reasons which concern all must be seen by each.
    fn sleep<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<T>>,
        seen: u64,
    ) -> MutexGuard<'a, Inner<T>> {
        inner.sleeping += 1;
        self.hint(&inner);
        while inner.tokens == 0 && !inner.is_changed(seen) {
            inner = self.wake.wait(inner);
        }
        if inner.tokens > 0 {
            inner.tokens -= 1;
            inner.searching -= 1;
        } else {
            inner.sleeping -= 1;
        }
        self.hint(&inner);
        inner
    }

    /// How much is due to a poller in one round: all, if it is brisk, for small rounds are best done in
    /// one batch. Otherwise guided self-scheduling: a part of what is ready, so that the parts shrink
    /// as the queue runs dry and all pollers end together; one that has work leaves what idle ones
    /// can take. Of what is due only a few are taken at a time: the rest stays within reach of others,
    /// should this poller be held up.
    fn take_share(
        &self,
        mut inner: MutexGuard<'_, Inner<T>>,
        call: Fetch,
        out: &mut Vec<T>,
    ) -> usize {
        let ready = inner.tasks.len();
        let pollers = inner.pollers.max(1);
        let idle = inner.sleeping + inner.searching;
        let share = if call.brisk {
            ready
        } else if call.held > 0 && idle > 0 {
            (call.held + ready)
                .div_ceil(pollers)
                .saturating_sub(call.held)
        } else {
            ready.div_ceil(pollers)
        };
        let share = share.min(call.max).min(ready);
        let few = (ready / (4 * pollers)).clamp(1, FEW).min(share);
        out.extend(inner.tasks.drain(..few));
        self.ready.store(inner.tasks.len(), Ordering::Release);
        let wake = inner.wake_one(false);
        drop(inner);
        self.notify(wake);
        share - few
    }

    /// The queue's generation; read it before the reasons for which `interrupt` is called.
    pub(crate) fn generation(&self) -> u64 {
        self.inner.lock().generation
    }

    /// Makes every poller that waits, and every one that saw an older generation, look around.
    pub(crate) fn interrupt(&self) {
        self.inner.lock().generation += 1;
        self.wake.notify_all();
    }

    /// Changes the number of pollers that share the work.
    pub(crate) fn set_pollers(&self, pollers: usize) {
        self.inner.lock().pollers = pollers;
    }

    /// Refuses tasks from now on, and gives away those that wait.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let tasks = std::mem::take(&mut inner.tasks);
        self.ready.store(0, Ordering::Release);
        drop(inner);
        self.wake.notify_all();
        tasks
    }

    /// Accepts tasks again.
    pub(crate) fn reopen(&self) {
        self.inner.lock().closed = false;
    }

    /// All that is ready, for a driver that chooses by itself.
    pub(crate) fn take_all(&self, out: &mut Vec<T>) {
        let mut inner = self.inner.lock();
        out.extend(inner.tasks.drain(..));
        self.ready.store(0, Ordering::Release);
    }

    /// Tasks that wait.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// True if a poller has nothing to do and nothing waits for it.
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0 && self.ready() == 0
    }

    fn hint(&self, inner: &Inner<T>) {
        self.hungry
            .store(inner.searching + inner.sleeping, Ordering::Relaxed);
    }

    fn notify(&self, wake: Wake) {
        if let Wake::One = wake {
            self.wake.notify_one();
        }
    }
}

impl<T> Inner<T> {
    /// True if there is no reason to wait for tasks any more.
    fn is_changed(&self, seen: u64) -> bool {
        self.closed || self.generation != seen
    }

    /// If work waits, a sleeper becomes a searcher, unless somebody will look soon anyway. A brisk poller
    /// will, if it is not `held_up`.
    fn wake_one(&mut self, held_up: bool) -> Wake {
        let soon = self.searching > 0 || (self.brisk > 0 && !held_up);
        if soon || self.sleeping == 0 || self.tasks.is_empty() {
            return Wake::None;
        }
        self.sleeping -= 1;
        self.searching += 1;
        self.tokens += 1;
        Wake::One
    }
}
