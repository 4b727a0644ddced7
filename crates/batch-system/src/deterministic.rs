//! The driver for simulations: rounds on the caller's thread, in an order that a seed decides.
//!
//! **Why.** A cluster in a test must behave the same twice. Which FSMs come together in a round, in which
//! order, and whether one stays in the poller's batch, are drawn from the seed; with another seed, other
//! interleavings are seen. FSMs, handlers and router are those of production.
//!
//! **Invariant.** The same seed, the same calls and a deterministic handler give the same rounds, provided
//! that no other thread sends. All of it runs on the caller's thread: nothing waits, nothing is spawned.
//!
//! **Not here.** Time: build the system with a [`ManualClock`](crate::ManualClock) and advance it between
//! steps. With the machine's clock, the lengths of rounds would depend on it and runs would differ.

use crate::builder::System;
use crate::config::Config;
use crate::error::Error;
use crate::fsm::{Fsm, Priority};
use crate::handler::Handler;
use crate::poller::Poller;
use crate::router::Router;
use crate::shared::{Remains, Shared, Task};
use std::sync::Arc;

/// A batch system that runs when it is told to.
pub struct DeterministicDriver<N: Fsm, C: Fsm, H: Handler<N, C>> {
    shared: Arc<Shared<N, C>>,
    poller: Poller<N, C, H>,
    ready: Vec<Task<N, C>>,
    /// Whose wake-up was lost, and how many messages waited for it then.
    asleep: Vec<(Task<N, C>, usize)>,
    random: SplitMix64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Rounds that were run.
    pub rounds: u64,
    /// True if nothing was left to do; false if the limit came first.
    pub idle: bool,
}

impl<N: Fsm, C: Fsm, H: Handler<N, C>> DeterministicDriver<N, C, H> {
    /// A driver for `system`, with one handler for all rounds.
    pub fn new(system: System<N, C>, handler: H, seed: u64) -> Self {
        let shared = system.shared;
        let poller = Poller::new(Arc::clone(&shared), Priority::Normal, handler);
        Self {
            shared,
            poller,
            ready: Vec::new(),
            asleep: Vec::new(),
            random: SplitMix64(seed),
        }
    }

    /// A handle for those who send.
    pub fn router(&self) -> Router<N, C> {
        Router::new(Arc::clone(&self.shared))
    }

    /// Changes bounds while the system runs. There is one poller, whatever the sizes of pools.
    pub fn set_config(&self, config: &Config) -> Result<(), Error> {
        config.check()?;
        self.shared.tunables.store(config);
        Ok(())
    }

    /// Runs one round with some of the FSMs that have something to do. False if none has.
    pub fn step(&mut self) -> bool {
        self.gather();
        if self.ready.is_empty() && self.poller.held() == 0 {
            return false;
        }
        let room = self
            .shared
            .config()
            .max_batch_size
            .saturating_sub(self.poller.held())
            .min(self.ready.len());
        let least = usize::from(self.poller.held() == 0);
        let count = self.random.between(least, room.max(least));
        let mut chosen = Vec::with_capacity(count);
        for _ in 0..count {
            let position = self.random.between(0, self.ready.len() - 1);
            chosen.push(self.ready.swap_remove(position));
        }
        self.poller.admit(chosen.into_iter());
        self.poller.round();
        if self.random.between(0, 1) == 0 {
            self.poller.disband();
        }
        true
    }

    /// One of the normal FSMs that have something to do is forgotten until more comes for it, as if the
    /// wake-up by what waits for it had been lost. For tests of those who look for such defects.
    pub fn lose_wake_up(&mut self) {
        self.gather();
        if self.ready.is_empty() {
            return;
        }
        let position = self.random.between(0, self.ready.len() - 1);
        if let Task::Normal(mailbox, _) = &self.ready[position] {
            let waiting = mailbox.pending();
            self.asleep
                .push((self.ready.swap_remove(position), waiting));
        }
    }

    fn gather(&mut self) {
        self.shared.low_lane.take_all(&mut self.ready);
        self.shared.normal_lane.take_all(&mut self.ready);
        let has_more = |(task, waiting): &mut (Task<N, C>, usize)| match task {
            Task::Normal(mailbox, _) => mailbox.pending() > *waiting,
            Task::Control(_) => true,
        };
        let woken = self.asleep.extract_if(.., has_more);
        self.ready.extend(woken.map(|(task, _)| task));
    }

    /// Runs rounds until nothing is left to do, at most `limit`.
    pub fn run_until_idle(&mut self, limit: u64) -> Ran {
        for rounds in 0..limit {
            if !self.step() {
                return Ran { rounds, idle: true };
            }
        }
        Ran {
            rounds: limit,
            idle: false,
        }
    }

    /// Ends the system in good order: messages left go to the dead letters.
    pub fn shutdown(mut self) -> Remains<N, C> {
        self.end()
    }

    /// Ends the system as a crash would: nothing is handled, messages are dropped unanswered, and all FSMs
    /// are handed over.
    pub fn crash(mut self) -> Remains<N, C> {
        let mut remains = Remains::default();
        self.collect(&mut remains);
        for mailbox in self.shared.directory.all() {
            self.shared.directory.remove(mailbox.address);
            let left = mailbox.kill();
            self.shared.budget.release(left.bytes);
            remains
                .normals
                .extend(left.fsm.map(|fsm| (mailbox.address, fsm)));
        }
        let left = self.shared.control.kill();
        self.shared.budget.release(left.bytes);
        remains.control = left.fsm.or(remains.control);
        remains
            .normals
            .sort_unstable_by_key(|(address, _)| *address);
        remains
    }

    fn end(&mut self) -> Remains<N, C> {
        let mut remains = Remains::default();
        if !self.shared.is_stopped() {
            self.collect(&mut remains);
            self.shared.empty(&mut remains);
        }
        remains
    }

    /// Stops the system and collects the FSMs that are outside of their mailboxes.
    fn collect(&mut self, remains: &mut Remains<N, C>) {
        self.shared.stop(remains);
        let asleep = self.asleep.drain(..).map(|(task, _)| task);
        let ready = self.ready.drain(..).chain(asleep);
        for task in ready.chain(self.poller.give_away()) {
            remains.add(task);
        }
    }
}

impl<N: Fsm, C: Fsm, H: Handler<N, C>> Drop for DeterministicDriver<N, C, H> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Steele, Lea and Flood's generator (OOPSLA 2014): one word of state, good enough to choose with.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low) as u64 + 1;
        low + (self.next() % span) as usize
    }
}
