//! The driver for simulations: slices on the caller's thread, in an order that a seed decides.
//!
//! **Why.** A cluster in a test must behave the same twice. Which workers would have taken tasks before others
//! came to the end of their slices, and where tasks were interrupted, is drawn from the seed; with another seed,
//! other interleavings are seen. Tasks and core are those of production.
//!
//! **Invariant.** The same seed, the same calls and deterministic tasks give the same steps, provided that no
//! other thread spawns. All of it runs on the caller's thread: nothing waits.
//!
//! **Not here.** Time: make the pool with a [`ManualClock`](crate::ManualClock), and let tasks or the caller
//! advance it. With the machine's clock runs would differ.

use crate::config::{Config, Options};
use crate::error::Error;
use crate::queue::Running;
use crate::shared::{Handle, Shared};
use crate::task::{Abandoned, Progress, Task, TaskKey};
use std::sync::Arc;
use std::time::Duration;

/// A slice is interrupted after fewer questions than this.
const QUESTIONS_MAX: u64 = 64;

/// A pool that runs when it is told to.
pub struct DeterministicPool<T: Task> {
    shared: Arc<Shared<T>>,
    /// What workers have taken and not run yet.
    taken: Vec<Running<T>>,
    random: SplitMix64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A worker took a task.
    Took {
        /// Whose.
        key: TaskKey,
        /// From which level.
        level: usize,
    },
    /// A slice was run.
    Ran {
        /// Whose.
        key: TaskKey,
        /// For which level it counted.
        level: usize,
        /// How long it took by the pool's clock.
        elapsed: Duration,
        /// How it ended; none for a panic.
        progress: Option<Progress>,
    },
}

impl<T: Task> DeterministicPool<T> {
    /// A pool whose choices are drawn from `seed`.
    ///
    /// # Errors
    /// A config that makes no sense.
    pub fn new(options: Options, seed: u64) -> Result<Self, Error> {
        Ok(Self {
            shared: Arc::new(Shared::new(options)?),
            taken: Vec::new(),
            random: SplitMix64(seed),
        })
    }

    /// A way in, for those who spawn.
    pub fn handle(&self) -> Handle<T> {
        Handle::new(&self.shared)
    }

    /// Changes any part of the config. With fewer threads, those that are too many leave after their slice.
    ///
    /// # Errors
    /// A config that makes no sense.
    pub fn set_config(&mut self, config: &Config) -> Result<(), Error> {
        self.shared.set_config(config)
    }

    /// Lets a worker take a task, or run the slice of one that it has taken. None if there is nothing to do.
    pub fn step(&mut self) -> Option<Step> {
        let mut state = self.shared.state.lock();
        let config = state.queue.config().clone();
        let may_take = self.taken.len() < config.threads && !state.queue.is_empty();
        if may_take && (self.taken.is_empty() || self.random.below(2) == 0) {
            let running = self.shared.pop(&mut state)?;
            let (key, level) = (running.key, running.level);
            self.taken.push(running);
            return Some(Step::Took { key, level });
        }
        drop(state);
        if self.taken.is_empty() {
            return None;
        }
        let chosen = self.random.below(self.taken.len() as u64) as usize;
        let running = self.taken.swap_remove(chosen);
        let (key, level) = (running.key, running.level);
        let questions = self.random.below(QUESTIONS_MAX) as u32;
        let ran = self.shared.run(running, &config, questions);
        let (elapsed, progress) = (ran.elapsed, ran.progress);
        let gone = self.shared.settle(&mut self.shared.state.lock(), ran);
        if let Some(gone) = gone {
            self.shared.bury(gone);
        }
        Some(Step::Ran {
            key,
            level,
            elapsed,
            progress,
        })
    }

    /// Makes steps until nothing is left to do, at most `limit`. True if nothing is.
    pub fn run_until_idle(&mut self, limit: u64) -> bool {
        (0..limit).any(|_| self.step().is_none())
    }

    /// Ends the pool: every task that is left is abandoned.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop();
        for running in self.taken.drain(..) {
            self.shared.give_up(running, Abandoned::Stopped);
        }
    }
}

impl<T: Task> Drop for DeterministicPool<T> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Steele, Lea and Flood's generator (OOPSLA 2014): one word of state, good enough to choose with.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
