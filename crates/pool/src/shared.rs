//! What handles, workers and drivers share: the core behind one lock, and what slices look at without it.
//!
//! **Why one lock.** It is held for the few steps of the core and never while a task runs, is dropped or is
//! told something. A slice is hundreds of times longer.
//!
//! **Invariant.** After each change under the lock, [`Signals::due`] is what the core would say.

use crate::clock::Clock;
use crate::config::{Config, LEVELS, Options};
use crate::error::{Error, SpawnError};
use crate::panic::PanicPolicy;
use crate::queue::{After, Queue, Running};
use crate::stats::Stats;
use crate::task::{Abandoned, Progress, Slice, Task, TaskKey, Timing};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What slices that run have to know. They may see it a moment late.
pub(crate) struct Signals {
    /// The level of the task that is next; [`LEVELS`] for none.
    due: AtomicUsize,
    /// Counts the reasons for which every slice should end.
    generation: AtomicU64,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            due: AtomicUsize::new(LEVELS),
            generation: AtomicU64::new(0),
        }
    }
}

impl Signals {
    pub(crate) fn due(&self) -> usize {
        self.due.load(Ordering::Relaxed)
    }

    pub(crate) fn set_due(&self, level: Option<usize>) {
        self.due.store(level.unwrap_or(LEVELS), Ordering::Relaxed);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn interrupt(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Shared<T> {
    pub(crate) state: Mutex<State<T>>,
    /// Where workers sleep while no task waits.
    pub(crate) wake: Condvar,
    signals: Signals,
    clock: Arc<dyn Clock>,
    panic_policy: PanicPolicy,
}

pub(crate) struct State<T> {
    pub(crate) queue: Queue<T>,
    pub(crate) stopped: bool,
}

/// A slice that has ended.
pub(crate) struct Ran<T> {
    pub(crate) running: Running<T>,
    pub(crate) elapsed: Duration,
    /// None if it panicked.
    pub(crate) progress: Option<Progress>,
    now: Duration,
}

/// A task that is not in the core any more and has to be dropped, outside of the lock.
pub(crate) struct Gone<T> {
    key: TaskKey,
    task: T,
    /// What it has to be told.
    why: Option<Abandoned>,
}

impl<T: Task> Shared<T> {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        options.config.check()?;
        Ok(Self {
            state: Mutex::new(State {
                queue: Queue::new(options.config),
                stopped: false,
            }),
            wake: Condvar::new(),
            signals: Signals::default(),
            clock: options.clock,
            panic_policy: options.panic_policy,
        })
    }

    fn spawn(&self, key: TaskKey, bytes: usize, task: T) -> Result<(), SpawnError<T>> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(SpawnError::Stopped(task));
        }
        state.queue.push(self.clock.now(), key, bytes, task)?;
        self.signals.set_due(state.queue.due());
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// The next task, if one waits.
    pub(crate) fn pop(&self, state: &mut State<T>) -> Option<Running<T>> {
        if state.queue.is_empty() {
            return None;
        }
        let running = state.queue.pop(self.clock.now());
        self.signals.set_due(state.queue.due());
        running
    }

    /// Runs one slice, which also ends at its `questions`-th question.
    pub(crate) fn run(&self, mut running: Running<T>, config: &Config, questions: u32) -> Ran<T> {
        let began = self.clock.now();
        let timing = Timing {
            clock: self.clock.as_ref(),
            signals: &self.signals,
            generation: self.signals.generation(),
            level: running.level,
            began,
            level_left: running.level_left,
            least: config.slice_min,
            most: config.slice,
        };
        let slice = Slice::new(questions, timing);
        let task = &mut running.task;
        let progress = self.panic_policy.guard(running.key, || task.run(&slice));
        let now = self.clock.now();
        Ran {
            running,
            elapsed: now.saturating_sub(began),
            progress,
            now,
        }
    }

    /// Takes a task back after a slice. What comes out is for [`Self::bury`].
    pub(crate) fn settle(&self, state: &mut State<T>, ran: Ran<T>) -> Option<Gone<T>> {
        let (after, why) = match ran.progress {
            Some(Progress::Done) => (After::Done, None),
            Some(Progress::Yielded) if !state.stopped => (After::Again, None),
            Some(Progress::Yielded) => (After::Abandoned, Some(Abandoned::Stopped)),
            None => (After::Abandoned, Some(Abandoned::Panicked)),
        };
        let key = ran.running.key;
        let task = state.queue.ran(ran.now, ran.running, ran.elapsed, after);
        self.signals.set_due(state.queue.due());
        task.map(|task| Gone { key, task, why })
    }

    /// Tells a task why it is not run any more, and drops it. Both are the task's own code.
    pub(crate) fn bury(&self, gone: Gone<T>) {
        let Gone { key, mut task, why } = gone;
        self.panic_policy.guard(key, move || {
            if let Some(why) = why {
                task.abandon(why);
            }
        });
    }

    /// Takes a task back that was popped and not run.
    pub(crate) fn give_up(&self, running: Running<T>, why: Abandoned) {
        let key = running.key;
        let mut state = self.state.lock();
        let now = self.clock.now();
        let task = state
            .queue
            .ran(now, running, Duration::ZERO, After::Abandoned);
        drop(state);
        if let Some(task) = task {
            let why = Some(why);
            self.bury(Gone { key, task, why });
        }
    }

    /// Changes the config, and ends all slices.
    pub(crate) fn set_config(&self, config: &Config) -> Result<(), Error> {
        config.check()?;
        let mut state = self.state.lock();
        if state.stopped {
            return Err(Error::Stopped);
        }
        state.queue.set_config(config.clone());
        self.signals.interrupt();
        Ok(())
    }

    /// Nothing is accepted or begun from now on; tasks that wait are abandoned. False if that was so already.
    pub(crate) fn stop(&self) -> bool {
        let waiting = {
            let mut state = self.state.lock();
            if state.stopped {
                return false;
            }
            state.stopped = true;
            self.signals.interrupt();
            state.queue.drain()
        };
        self.wake.notify_all();
        for (key, task) in waiting {
            let why = Some(Abandoned::Stopped);
            self.bury(Gone { key, task, why });
        }
        true
    }
}

/// A way into the pool. Clones lead to the same pool; it does not keep the pool running.
pub struct Handle<T: Task> {
    shared: Arc<Shared<T>>,
}

impl<T: Task> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Task> Handle<T> {
    pub(crate) fn new(shared: &Arc<Shared<T>>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    /// Gives the pool a task that holds about so many bytes. Never blocks. Tasks may spawn others.
    ///
    /// # Errors
    /// With the task, if a bound of the pool is reached or it was shut down.
    pub fn spawn(&self, key: TaskKey, bytes: usize, task: T) -> Result<(), SpawnError<T>> {
        self.shared.spawn(key, bytes, task)
    }

    /// What the pool has done so far, and what waits.
    pub fn stats(&self) -> Stats {
        self.shared.state.lock().queue.stats()
    }

    /// The config in force.
    pub fn config(&self) -> Config {
        self.shared.state.lock().queue.config().clone()
    }
}
