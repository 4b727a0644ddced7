//! The order of writes: what is visible, what is staged, and what is on its way between them.
//!
//! A change is evaluated on the *staged* state, which has all changes before it. It queues, goes out
//! with all that queued while the write before it was under way, and is *visible* when its own write
//! is acknowledged. When a write fails, everything that was evaluated on top of it falls with it.
//!
//! **A failed write may be persisted after all.** Its changes are not in the visible state, and what
//! comes next is not evaluated on them; both together could be a state that nobody allowed (two
//! Regions that overlap). So the next write first puts back what the failed one was about.
//!
//! **Invariants.**
//! - `staged` is `visible` with the changes under way and queued, in that order.
//! - At most one write is under way, so writes are persisted in the order of their evaluation.
//! - An answer leaves after its changes, and all before it, are persisted.
//!
//! **A crash.** Whatever is under way is persisted as a whole or not at all; nothing was answered
//! for it.
//!
//! **Not here.** Which changes are allowed.

use crate::leader::{Step, Ticket};
use crate::message::{Effect, Response, WriteId};
use crate::state::{Change, Durable};
use std::collections::{BTreeMap, VecDeque};

/// Changes that belong together, and whom to answer after them.
#[derive(Debug)]
struct Unit {
    changes: Vec<Change>,
    answer: Option<Answer>,
}

/// An answer that waits for its changes.
pub(crate) type Answer = (Ticket, Response);

/// The persisted state of a leader, and the changes on their way into it.
#[derive(Debug)]
pub(crate) struct Ledger {
    visible: Durable,
    staged: Durable,
    queue: VecDeque<Unit>,
    under_way: Option<(WriteId, Vec<Unit>)>,
    /// Changes of failed writes, by their keys: they may be persisted, though they are not visible.
    uncertain: BTreeMap<Vec<u8>, Change>,
}

impl Ledger {
    /// Begins with what is persisted.
    pub(crate) fn new(persisted: Durable) -> Self {
        Self {
            staged: persisted.clone(),
            visible: persisted,
            queue: VecDeque::new(),
            under_way: None,
            uncertain: BTreeMap::new(),
        }
    }

    /// What is persisted: questions are answered from it.
    pub(crate) fn visible(&self) -> &Durable {
        &self.visible
    }

    /// What is going to be persisted if no write fails: changes are evaluated on it.
    pub(crate) fn staged(&self) -> &Durable {
        &self.staged
    }

    /// Whether nothing is under way or queued.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.queue.is_empty()
    }

    /// Queues changes that were evaluated on the staged state just now. Without any change the
    /// answer still waits for those that it was evaluated on.
    pub(crate) fn submit(&mut self, changes: Vec<Change>, answer: Option<Answer>) {
        for change in &changes {
            self.staged.apply(change);
        }
        self.queue.push_back(Unit { changes, answer });
    }

    /// Begins the next write if none is under way. Answers that need no write are returned.
    pub(crate) fn flush(&mut self, step: &mut Step<'_>) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.under_way.is_some() {
            return answers;
        }
        // What needs no write does not wait for one.
        while self
            .queue
            .front()
            .is_some_and(|unit| unit.changes.is_empty())
            && let Some(unit) = self.queue.pop_front()
        {
            answers.extend(unit.answer);
        }
        if self.queue.is_empty() {
            return answers;
        }
        let mut puts: BTreeMap<_, _> = self
            .uncertain
            .values()
            .map(|change| self.visible.pair_about(change))
            .collect();
        let mut size_bytes: usize = puts.iter().map(pair_bytes).sum();
        let mut units = Vec::new();
        while size_bytes < step.config.write_bytes_max
            && let Some(unit) = self.queue.pop_front()
        {
            for (key, value) in unit.changes.iter().map(Change::encode) {
                size_bytes += pair_bytes((&key, &value));
                puts.insert(key, value);
            }
            units.push(unit);
        }
        let write = WriteId(step.next_number());
        self.under_way = Some((write, units));
        step.effects.push(Effect::Persist {
            write,
            puts: puts.into_iter().collect(),
        });
        answers
    }

    /// The write is persisted: its changes become visible and are returned with the answers. `None`
    /// for a write that is not under way.
    pub(crate) fn persisted(&mut self, write: WriteId) -> Option<(Vec<Change>, Vec<Answer>)> {
        let (_, units) = self.under_way.take_if(|(id, _)| *id == write)?;
        self.uncertain.clear();
        let mut changes = Vec::new();
        let mut answers = Vec::new();
        for unit in units {
            for change in &unit.changes {
                self.visible.apply(change);
            }
            changes.extend(unit.changes);
            answers.extend(unit.answer);
        }
        Some((changes, answers))
    }

    /// The write has failed: it and all that queued behind it are dropped. Returns whom to tell, or
    /// `None` for a write that is not under way.
    pub(crate) fn failed(&mut self, write: WriteId) -> Option<Vec<Ticket>> {
        let (_, units) = self.under_way.take_if(|(id, _)| *id == write)?;
        for change in units.iter().flat_map(|unit| &unit.changes) {
            self.uncertain.insert(change.encode().0, change.clone());
        }
        self.staged = self.visible.clone();
        let answers = units.into_iter().filter_map(|unit| unit.answer);
        Some(
            answers
                .map(|(ticket, _)| ticket)
                .chain(self.give_up())
                .collect(),
        )
    }

    /// Drops everything under way and queued, and returns whom to tell.
    pub(crate) fn give_up(&mut self) -> Vec<Ticket> {
        let under_way = self.under_way.take().map(|(_, units)| units);
        let queued = std::mem::take(&mut self.queue);
        let units = under_way.into_iter().flatten().chain(queued);
        units
            .filter_map(|unit| unit.answer)
            .map(|(ticket, _)| ticket)
            .collect()
    }

    /// What waits, for checks.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Ticket> {
        let under_way = self.under_way.iter().flat_map(|(_, units)| units);
        under_way
            .chain(&self.queue)
            .filter_map(|unit| unit.answer.as_ref())
            .map(|(ticket, _)| ticket)
    }

    /// Checks all invariants, expensively.
    pub(crate) fn check_invariants(&self) {
        self.visible.routes.check_invariants();
        self.staged.routes.check_invariants();
        let mut staged = self.visible.clone();
        let under_way = self.under_way.iter().flat_map(|(_, units)| units);
        for change in under_way.chain(&self.queue).flat_map(|unit| &unit.changes) {
            staged.apply(change);
        }
        assert!(
            staged.routes.iter().eq(self.staged.routes.iter()),
            "staged routes are not explained"
        );
        assert!(
            staged.stores.iter().eq(self.staged.stores.iter()),
            "staged stores are not explained"
        );
        assert_eq!(staged.overrides, self.staged.overrides);
        assert_eq!(staged.schedulers, self.staged.schedulers);
        let numbers = |state: &Durable| (state.id_limit, state.tso_limit_ms, state.safe_point);
        assert_eq!(
            numbers(&staged),
            numbers(&self.staged),
            "staged numbers are not explained"
        );
    }
}

fn pair_bytes((key, value): (&Vec<u8>, &Option<Vec<u8>>)) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}
