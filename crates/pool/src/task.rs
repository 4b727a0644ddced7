//! What a pool runs: tasks, in slices.
//!
//! **Invariants.** A task is run by one thread at a time. After [`Progress::Done`], a panic or
//! [`Task::abandon`] it is not run again, but dropped.
//!
//! **Not here.** Which task is next (`queue`).

use crate::clock::Clock;
use crate::config::LEVELS;
use crate::shared::Signals;
use std::cell::Cell;
use std::time::Duration;

/// Whose run time a task's is: all slices of all tasks with one key are accounted together, so that a
/// request that spawns many tasks is not taken for many short requests. The account lasts for as long as
/// the pool has a task of that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey(pub u64);

/// What a task says at the end of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// To be run again, when it is its turn.
    Yielded,
}

/// Why a task is not run any more, although it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// The pool was shut down.
    Stopped,
    /// A slice of it panicked. What it holds may be half changed.
    Panicked,
}

/// Work that can be resumed.
pub trait Task: Send + 'static {
    /// Goes on with the work, until it is done or `slice` is over. Makes some progress each time, even if
    /// the slice is over at once.
    fn run(&mut self, slice: &Slice<'_>) -> Progress;

    /// The task will be dropped unfinished. Whoever waits for it has to be told. Must not block.
    fn abandon(&mut self, why: Abandoned);
}

impl<T: Task + ?Sized> Task for Box<T> {
    fn run(&mut self, slice: &Slice<'_>) -> Progress {
        (**self).run(slice)
    }

    fn abandon(&mut self, why: Abandoned) {
        (**self).abandon(why);
    }
}

/// The time that a task has for now.
pub struct Slice<'a> {
    /// How many more times the answer may be no; the greatest number stands for no bound.
    questions: Cell<u32>,
    timing: Option<Timing<'a>>,
}

/// A slice that ends when somebody else should be run.
pub(crate) struct Timing<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) signals: &'a Signals,
    /// What the signals' generation was when the slice began.
    pub(crate) generation: u64,
    pub(crate) level: usize,
    pub(crate) began: Duration,
    /// After so long the task leaves its level.
    pub(crate) level_left: Duration,
    /// Not over before this because of a better level.
    pub(crate) least: Duration,
    /// Not over before this because of the same level or a worse one.
    pub(crate) most: Duration,
}

impl<'a> Slice<'a> {
    /// A slice that is over when it is asked for the time after `questions`: for tests of tasks, which must
    /// be resumable wherever they ask.
    pub fn of_questions(questions: u32) -> Self {
        Self {
            questions: Cell::new(questions),
            timing: None,
        }
    }

    /// A slice that is never over: to run a task to its end without a pool.
    pub fn endless() -> Self {
        Self::of_questions(u32::MAX)
    }

    pub(crate) fn new(questions: u32, timing: Timing<'a>) -> Self {
        Self {
            questions: Cell::new(questions),
            timing: Some(timing),
        }
    }

    /// True if the task should stop here for now. Costs a look at the clock.
    pub fn should_yield(&self) -> bool {
        match self.questions.get() {
            0 => return true,
            u32::MAX => {}
            left => self.questions.set(left - 1),
        }
        self.timing.as_ref().is_some_and(Timing::is_over)
    }
}

impl Timing<'_> {
    fn is_over(&self) -> bool {
        if self.signals.generation() != self.generation {
            return true;
        }
        let elapsed = self.clock.now().saturating_sub(self.began);
        let enough = match self.signals.due() {
            LEVELS => self.level_left,
            better if better < self.level => self.level_left.min(self.least),
            _ => self.level_left.min(self.most),
        };
        elapsed >= enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slice_ends_only_for_somebody_and_sooner_for_a_better_level() {
        let (clock, signals) = (ManualClock::default(), Signals::default());
        let slice = Slice::new(
            u32::MAX,
            Timing {
                clock: &clock,
                signals: &signals,
                generation: signals.generation(),
                level: 1,
                began: clock.now(),
                level_left: 9 * MS,
                least: 2 * MS,
                most: 5 * MS,
            },
        );
        signals.set_due(None);
        clock.advance(2 * MS);
        assert!(!slice.should_yield());
        for (due, over) in [(Some(1), false), (Some(2), false), (Some(0), true)] {
            signals.set_due(due);
            assert_eq!(slice.should_yield(), over, "{due:?}");
        }
        clock.advance(3 * MS);
        for (due, over) in [(None, false), (Some(1), true), (Some(2), true)] {
            signals.set_due(due);
            assert_eq!(slice.should_yield(), over, "{due:?}");
        }
        signals.set_due(None);
        signals.interrupt();
        assert!(slice.should_yield());
    }

    #[test]
    fn a_slice_ends_where_its_task_leaves_the_level() {
        let (clock, signals) = (ManualClock::default(), Signals::default());
        let timing = Timing {
            clock: &clock,
            signals: &signals,
            generation: signals.generation(),
            level: 0,
            began: clock.now(),
            level_left: 4 * MS,
            least: MS,
            most: 5 * MS,
        };
        let slice = Slice::new(u32::MAX, timing);
        clock.advance(3 * MS);
        assert!(!slice.should_yield());
        clock.advance(MS);
        assert!(slice.should_yield());
    }

    #[test]
    fn a_slice_of_questions_counts_them() {
        let slice = Slice::of_questions(2);
        let answers: Vec<bool> = (0..4).map(|_| slice.should_yield()).collect();
        assert_eq!(answers, [false, false, true, true]);
        assert!(!Slice::endless().should_yield());
    }
}
