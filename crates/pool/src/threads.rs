//! The driver for production: workers on threads of the operating system.
//!
//! **How a worker sleeps and is woken.** It looks for a task and begins to sleep under the core's lock, and the
//! lock is given up by the sleep itself. So a task that is pushed is either seen by the worker, or pushed when the
//! worker already sleeps; whoever pushes one wakes one, after the push. Two cases are left:
//!
//! - The one that is woken finds the task taken by a worker that came to its end of a slice. It sleeps again.
//! - The one that is woken has to leave, since the pool has shrunk. It can't take the wake-up with it: all were
//!   woken *after* the size was changed, so each that stays has looked at the queue since, and each that leaves
//!   does so before it sleeps again. What such a worker itself put back after that, with all others asleep
//!   again, is why one that leaves wakes another if a task waits.
//!
//! **How a worker ends.** Each has a number; one whose number is not below [`Config::threads`] leaves after its
//! slice, whose end is hastened. At the end of the pool, tasks that wait are abandoned at once, those that run
//! after their slice.
//!
//! **Invariants.** While tasks wait and the pool runs, no worker sleeps without having been woken. When
//! [`ThreadPool::set_config`] returns there are exactly as many workers as it says; when
//! [`ThreadPool::shutdown`] returns, none, and every task is gone.

use crate::config::{Config, Options};
use crate::error::Error;
use crate::shared::{Handle, Shared};
use crate::task::Task;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A pool on threads. When it is dropped it is shut down.
pub struct ThreadPool<T: Task> {
    name: String,
    prepare: fn(),
    shared: Arc<Shared<T>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: Task> ThreadPool<T> {
    /// Starts the workers, named `name-0` and so on.
    ///
    /// # Errors
    /// A config that makes no sense, or a thread that the operating system refuses.
    pub fn start(name: &str, options: Options) -> Result<Self, Error> {
        let config = options.config.clone();
        let pool = Self {
            name: name.to_owned(),
            prepare: options.prepare,
            shared: Arc::new(Shared::new(options)?),
            workers: Mutex::new(Vec::new()),
        };
        pool.set_config(&config)?;
        Ok(pool)
    }

    /// A way in, for those who spawn.
    pub fn handle(&self) -> Handle<T> {
        Handle::new(&self.shared)
    }

    /// Changes any part of the config while the pool runs. Workers that leave finish their slice first. Must
    /// not be called from a task: it may wait for that task's own worker.
    ///
    /// # Errors
    /// A config that makes no sense, a pool that was shut down; or a thread that the operating system
    /// refuses, and then the rest is changed.
    pub fn set_config(&self, config: &Config) -> Result<(), Error> {
        let mut workers = self.workers.lock();
        self.shared.set_config(config)?;
        self.shared.wake.notify_all();
        let stay = config.threads.min(workers.len());
        workers.drain(stay..).for_each(join);
        while workers.len() < config.threads {
            let number = workers.len();
            let (shared, prepare) = (Arc::clone(&self.shared), self.prepare);
            let worker = std::thread::Builder::new()
                .name(format!("{}-{number}", self.name))
                .spawn(move || {
                    prepare();
                    work_or_abort(&shared, number)
                })
                .map_err(Error::Spawn)?;
            workers.push(worker);
        }
        Ok(())
    }

    /// Changes the number of workers; at least one.
    ///
    /// # Errors
    /// As [`Self::set_config`].
    pub fn resize(&self, threads: usize) -> Result<(), Error> {
        self.set_config(&Config {
            threads,
            ..self.handle().config()
        })
    }

    /// Ends the pool: new tasks are refused, those that wait are abandoned, and those that run when their
    /// slice is over. Waits for these, unless a task calls it. A second call finds nothing to do.
    pub fn shutdown(&self) {
        self.shared.stop();
        let this = std::thread::current().id();
        for worker in self.workers.lock().drain(..) {
            if worker.thread().id() != this {
                join(worker);
            }
        }
    }
}

impl<T: Task> Drop for ThreadPool<T> {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn join(worker: JoinHandle<()>) {
    worker
        .join()
        .unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// Panics of tasks are caught around each slice. One that comes through here is a fault of the pool
/// itself, or of the owner's panic policy; going on with a worker less would be a silent hang.
fn work_or_abort<T: Task>(shared: &Shared<T>, number: usize) {
    if catch_unwind(AssertUnwindSafe(|| work(shared, number))).is_err() {
        eprintln!("pool: a worker has panicked outside of a task; aborting");
        std::process::abort();
    }
}

/// A worker's life.
fn work<T: Task>(shared: &Shared<T>, number: usize) {
    let mut state = shared.state.lock();
    loop {
        if state.stopped {
            return;
        }
        if number >= state.queue.config().threads {
            let pass_on = !state.queue.is_empty();
            drop(state);
            if pass_on {
                shared.wake.notify_one();
            }
            return;
        }
        let Some(running) = shared.pop(&mut state) else {
            shared.wake.wait(&mut state);
            continue;
        };
        let config = state.queue.config().clone();
        drop(state);
        let ran = shared.run(running, &config, u32::MAX);
        state = shared.state.lock();
        if let Some(gone) = shared.settle(&mut state, ran) {
            drop(state);
            shared.bury(gone);
            state = shared.state.lock();
        }
    }
}
