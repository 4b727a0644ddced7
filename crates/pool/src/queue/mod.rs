//! The scheduling core: which task is run next, and at which level. Pure: time is an input.
//!
//! **Invariants.**
//! - A task that was pushed is in one level's line, or with whoever popped it, until [`Queue::ran`] lets it go.
//! - `stats.tasks` and `stats.bytes` count exactly these; they exceed the bounds only if those were lowered.
//! - A key has an account as long as there is a task of it. Run times of an account only grow, so its tasks never
//!   go to a better level, unless the limits are raised. Those that wait in a level which their account has left are moved when they come up.
//! - Within a level, tasks are taken in the order in which they came to it.
//!
//! **Not here.** Threads (`threads`), and what a level's share means (`shares`).

#[cfg(test)]
mod tests;

use crate::config::{Config, LEVELS};
use crate::error::{Full, SpawnError};
use crate::shares::{Charge, Shares};
use crate::stats::Stats;
use crate::task::TaskKey;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Tasks that wait, and accounts of those that run.
pub(crate) struct Queue<T> {
    config: Config,
    lines: [VecDeque<Waiting<T>>; LEVELS],
    shares: Shares,
    accounts: BTreeMap<TaskKey, Account>,
    contention: Contention,
    stats: Stats,
}

/// For how long some task has been waiting, whichever it was. Only such time counts for the levels' shares: a
/// level that ran while nobody wanted to has taken nothing from anyone, and must not pay for it later.
#[derive(Default)]
struct Contention {
    /// Before `since`.
    total: Duration,
    /// Since when a task has been waiting now.
    since: Option<Duration>,
}

impl Contention {
    fn until(&self, now: Duration) -> Duration {
        let going_on = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.total + going_on
    }

    fn set(&mut self, now: Duration, somebody_waits: bool) {
        self.total = self.until(now);
        self.since = somebody_waits.then_some(now);
    }
}

struct Waiting<T> {
    task: T,
    key: TaskKey,
    bytes: usize,
    since: Duration,
}

/// What the tasks of one key have in common.
#[derive(Default)]
struct Account {
    tasks: usize,
    ran: Duration,
}

/// A task that was popped. It has to come back by [`Queue::ran`].
pub(crate) struct Running<T> {
    pub(crate) task: T,
    pub(crate) key: TaskKey,
    /// The level that its slice counts for.
    pub(crate) level: usize,
    /// After so long the account leaves that level.
    pub(crate) level_left: Duration,
    bytes: usize,
    charge: Charge,
    /// [`Contention::until`] when it was popped.
    contention: Duration,
}

/// What becomes of a task after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It waits for another slice.
    Again,
    /// It said that it is done.
    Done,
    /// It is not run any more, although it is not done.
    Abandoned,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            lines: [const { VecDeque::new() }; LEVELS],
            shares: Shares::new(&config),
            accounts: BTreeMap::new(),
            contention: Contention::default(),
            stats: Stats::default(),
            config,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Changes everything that can be tuned. What is in the queue stays, whatever the new bounds.
    pub(crate) fn set_config(&mut self, config: Config) {
        self.shares.set_config(&config);
        self.config = config;
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.stats;
        for (level, line) in self.lines.iter().enumerate() {
            stats.levels[level].waiting = line.len();
        }
        stats
    }

    /// True if no task waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// A new task, at the level of its account.
    pub(crate) fn push(
        &mut self,
        now: Duration,
        key: TaskKey,
        bytes: usize,
        task: T,
    ) -> Result<(), SpawnError<T>> {
        if let Some(full) = self.full(bytes) {
            self.stats.refused += 1;
            return Err(SpawnError::Busy(task, full));
        }
        self.stats.tasks += 1;
        self.stats.bytes += bytes;
        self.accounts.entry(key).or_default().tasks += 1;
        let waiting = Waiting {
            task,
            key,
            bytes,
            since: now,
        };
        self.line_up(waiting);
        self.watch(now);
        Ok(())
    }

    fn full(&self, bytes: usize) -> Option<Full> {
        let bytes_after = self.stats.bytes.checked_add(bytes);
        if self.stats.tasks >= self.config.tasks_max {
            Some(Full::Tasks)
        } else if bytes_after.is_none_or(|after| after > self.config.bytes_max) {
            Some(Full::Bytes)
        } else {
            None
        }
    }

    /// Where a task that is popped now would come from; one that waits where its account has left may be
    /// moved before that.
    pub(crate) fn due(&self) -> Option<usize> {
        self.shares
            .next(std::array::from_fn(|level| !self.lines[level].is_empty()))
    }

    /// The task that is next.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Running<T>> {
        loop {
            let level = self.due()?;
            let waiting = self.lines[level].pop_front()?;
            if self.level_of(waiting.key) > level {
                self.line_up(waiting);
                continue;
            }
            let waited = now.saturating_sub(waiting.since);
            let stats = &mut self.stats.levels[level];
            stats.running += 1;
            stats.wait_time += waited;
            stats.wait_max = stats.wait_max.max(waited);
            self.watch(now);
            let limit = self.config.level_after.get(level);
            let ran = self.ran_of(waiting.key);
            return Some(Running {
                level_left: limit.map_or(Duration::MAX, |limit| limit.saturating_sub(ran)),
                contention: self.contention.until(now),
                charge: self.shares.begin(level),
                task: waiting.task,
                key: waiting.key,
                bytes: waiting.bytes,
                level,
            });
        }
    }

    /// A task that was popped has run for `elapsed`. Gives it back if it is gone, to be dropped.
    pub(crate) fn ran(
        &mut self,
        now: Duration,
        running: Running<T>,
        elapsed: Duration,
        after: After,
    ) -> Option<T> {
        let level = running.level;
        let contended = self
            .contention
            .until(now)
            .saturating_sub(running.contention);
        self.shares.end(level, running.charge, elapsed, contended);
        let stats = &mut self.stats.levels[level];
        stats.slices += 1;
        stats.run_time += elapsed;
        if let Some(account) = self.accounts.get_mut(&running.key) {
            account.ran += elapsed;
        }
        let gone = self.put_back(now, running, after);
        // Only now: a level whose one task comes back was not idle in between.
        self.stats.levels[level].running -= 1;
        gone
    }

    fn put_back(&mut self, now: Duration, running: Running<T>, after: After) -> Option<T> {
        match after {
            After::Again => {
                self.line_up(Waiting {
                    task: running.task,
                    key: running.key,
                    bytes: running.bytes,
                    since: now,
                });
                self.watch(now);
                return None;
            }
            After::Done => self.stats.done += 1,
            After::Abandoned => self.stats.abandoned += 1,
        }
        self.leave(running.key, running.bytes);
        Some(running.task)
    }

    /// Gives away all tasks that wait; they count as abandoned.
    pub(crate) fn drain(&mut self) -> Vec<(TaskKey, T)> {
        let lines = std::mem::take(&mut self.lines);
        self.contention.since = None;
        let mut tasks = Vec::with_capacity(self.stats.tasks);
        for waiting in lines.into_iter().flatten() {
            self.stats.abandoned += 1;
            self.leave(waiting.key, waiting.bytes);
            tasks.push((waiting.key, waiting.task));
        }
        tasks
    }

    fn leave(&mut self, key: TaskKey, bytes: usize) {
        self.stats.tasks -= 1;
        self.stats.bytes -= bytes;
        if let Some(account) = self.accounts.get_mut(&key) {
            account.tasks -= 1;
            if account.tasks == 0 {
                self.accounts.remove(&key);
            }
        }
    }

    fn line_up(&mut self, waiting: Waiting<T>) {
        let level = self.level_of(waiting.key);
        let busy = std::array::from_fn(|level| {
            !self.lines[level].is_empty() || self.stats.levels[level].running > 0
        });
        if !busy[level] {
            self.shares.wake(level, busy);
        }
        self.lines[level].push_back(waiting);
    }

    fn watch(&mut self, now: Duration) {
        let somebody_waits = !self.is_empty();
        if somebody_waits != self.contention.since.is_some() {
            self.contention.set(now, somebody_waits);
        }
    }

    fn ran_of(&self, key: TaskKey) -> Duration {
        self.accounts
            .get(&key)
            .map_or(Duration::ZERO, |account| account.ran)
    }

    fn level_of(&self, key: TaskKey) -> usize {
        let ran = self.ran_of(key);
        let left = self
            .config
            .level_after
            .iter()
            .filter(|limit| ran >= **limit);
        left.count()
    }
}
