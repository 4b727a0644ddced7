//! Linearizability of one register: is there an order of the operations, each at a moment between
//! its invocation and its answer, in which every answer is right?
//!
//! The search is Wing and Gong's (1993), with Lowe's memoisation (2017): a set of operations that
//! were placed, together with the state they led to, is never tried twice. The events stand in a
//! doubly linked list; placing an operation takes its two events out, going back puts them in again.
//!
//! An operation without an answer may be placed at any time after its invocation, or never. One that
//! writes a value that nobody has seen is left out from the start: whatever order there is with it,
//! there is one without it.
//!
//! A value that has expired is there as long as a clock is behind its expiry, whatever other clocks say:
//! each operation brings the time by which it was decided.
//!
//! **Not here.** Several keys: linearizability is local, so each key is checked alone.

use crate::{Action, Operation};
use std::collections::{BTreeMap, BTreeSet};

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated,
    /// The search was ended before it knew.
    Undecided,
}

/// Steps after which the search is ended.
const STEPS_MAX: u64 = 5_000_000;

type State = Option<u64>;

/// Checks the operations on one key that has no value at first.
pub fn check(operations: &[Operation]) -> Verdict {
    let seen = seen_values(operations);
    let relevant: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.completed.is_some() || may_matter(&operation.action, &seen))
        .collect();
    let expiries = Expiries::of(operations);
    Search::new(&relevant).run(&relevant, &expiries)
}

/// The stamp of the answer with which these operations, which are not linearizable, ceased to be: what was
/// answered before it still has an order. `None` if they are linearizable, or it can't be decided.
pub fn violated_at(operations: &[Operation]) -> Option<u64> {
    let is_violated = |until: u64| check(&known_at(operations, until)) == Verdict::Violated;
    let mut answers: Vec<u64> = operations.iter().filter_map(|o| o.completed).collect();
    answers.sort_unstable();
    // What is wrong once stays wrong, whatever is answered later.
    let at = answers.partition_point(|stamp| !is_violated(*stamp));
    answers.get(at).copied()
}

/// What was known of the operations at a moment: later answers were still open.
fn known_at(operations: &[Operation], until: u64) -> Vec<Operation> {
    let begun = operations.iter().filter(|o| o.invoked < until);
    begun
        .map(|operation| {
            let mut known = operation.clone();
            if known.completed.is_some_and(|stamp| stamp > until) {
                known.completed = None;
                if let Action::Swap { answer, .. } = &mut known.action {
                    *answer = None;
                }
            }
            known
        })
        .collect()
}

/// When values expire, in seconds since the Unix epoch. Those that are not there never do.
struct Expiries(BTreeMap<u64, u64>);

impl Expiries {
    fn of(operations: &[Operation]) -> Self {
        let expiry = |operation: &Operation| match operation.action {
            Action::PutUntil {
                value,
                expires_at_s,
            } => Some((value, expires_at_s)),
            _ => None,
        };
        Self(operations.iter().filter_map(expiry).collect())
    }

    /// What is there of a value at this time.
    fn visible(&self, state: State, now_s: u64) -> State {
        let is_there = |value: &u64| self.0.get(value).is_none_or(|expiry| *expiry > now_s);
        state.filter(is_there)
    }
}

fn seen_values(operations: &[Operation]) -> BTreeSet<u64> {
    let mut seen = BTreeSet::new();
    for operation in operations {
        match &operation.action {
            Action::Get(found) => seen.extend(found),
            Action::Swap {
                expected, answer, ..
            } => {
                seen.extend(expected);
                seen.extend(answer.and_then(|(_, previous)| previous));
            }
            Action::Put(_) | Action::PutUntil { .. } | Action::Delete => {}
        }
    }
    seen
}

fn may_matter(action: &Action, seen: &BTreeSet<u64>) -> bool {
    match action {
        Action::Put(value) | Action::Swap { new: value, .. } => seen.contains(value),
        // That nothing is there may be due to it, though its value was never seen.
        Action::PutUntil { .. } | Action::Delete => true,
        Action::Get(_) => false,
    }
}

/// The state after an operation, if its answer fits.
fn step(state: State, operation: &Operation, expiries: &Expiries) -> Option<State> {
    let seen = expiries.visible(state, operation.now_s);
    match &operation.action {
        Action::Put(value) | Action::PutUntil { value, .. } => Some(Some(*value)),
        Action::Delete => Some(None),
        Action::Get(found) => (*found == seen).then_some(state),
        Action::Swap {
            expected,
            new,
            answer,
        } => {
            let succeeds = seen == *expected;
            if answer.is_some_and(|answer| answer != (succeeds, seen)) {
                return None;
            }
            Some(if succeeds { Some(*new) } else { state })
        }
    }
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    Return(usize),
}

/// Position 0 is the list's head; events follow from 1 on; the last position is its end.
struct Search {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// For each operation the positions of its call and its return.
    places: Vec<(usize, usize)>,
    placed: Vec<u64>,
    tried: BTreeSet<(Vec<u64>, State)>,
}

impl Search {
    fn new(operations: &[&Operation]) -> Self {
        let mut stamped = Vec::with_capacity(operations.len() * 2);
        for (number, operation) in operations.iter().enumerate() {
            stamped.push((operation.invoked, Event::Call(number)));
            let end = operation.completed.unwrap_or(u64::MAX);
            stamped.push((end, Event::Return(number)));
        }
        stamped.sort_by_key(|(stamp, _)| *stamp);
        let count = stamped.len();
        let mut places = vec![(0, 0); operations.len()];
        for (position, (_, event)) in (1..).zip(&stamped) {
            match event {
                Event::Call(number) => places[*number].0 = position,
                Event::Return(number) => places[*number].1 = position,
            }
        }
        Self {
            events: stamped.into_iter().map(|(_, event)| event).collect(),
            next: (1..count + 3).collect(),
            previous: (0..count + 2).map(|at| at.saturating_sub(1)).collect(),
            places,
            placed: vec![0; operations.len().div_ceil(64)],
            tried: BTreeSet::new(),
        }
    }

    fn run(mut self, operations: &[&Operation], expiries: &Expiries) -> Verdict {
        let end = self.events.len() + 1;
        let mut state: State = None;
        let mut done: Vec<(usize, State)> = Vec::new();
        let mut at = self.next[0];
        for _ in 0..STEPS_MAX {
            if at == end {
                return Verdict::Linearizable;
            }
            match self.events[at - 1] {
                Event::Call(number) => match step(state, operations[number], expiries)
                    .and_then(|after| self.place(number, after))
                {
                    Some(after) => {
                        done.push((number, state));
                        state = after;
                        at = self.next[0];
                    }
                    None => at = self.next[at],
                },
                Event::Return(number) if operations[number].completed.is_none() => {
                    // From here on there are only operations that may never have happened.
                    return Verdict::Linearizable;
                }
                Event::Return(_) => {
                    let Some((number, before)) = done.pop() else {
                        return Verdict::Violated;
                    };
                    self.take_back(number);
                    state = before;
                    at = self.next[self.places[number].0];
                }
            }
        }
        Verdict::Undecided
    }

    /// Places an operation next, which leads to the state `after`, if this was not tried before.
    fn place(&mut self, number: usize, after: State) -> Option<State> {
        self.placed[number / 64] |= 1 << (number % 64);
        if !self.tried.insert((self.placed.clone(), after)) {
            self.placed[number / 64] &= !(1 << (number % 64));
            return None;
        }
        let (call, end) = self.places[number];
        self.unlink(call);
        self.unlink(end);
        Some(after)
    }

    fn take_back(&mut self, number: usize) {
        self.placed[number / 64] &= !(1 << (number % 64));
        let (call, end) = self.places[number];
        self.relink(end);
        self.relink(call);
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn relink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Delete, Get, Put};
    use Verdict::{Linearizable, Violated};

    fn done(action: Action, invoked: u64, completed: u64) -> Operation {
        Operation {
            action,
            invoked,
            completed: Some(completed),
            now_s: 0,
        }
    }

    fn open(action: Action, invoked: u64) -> Operation {
        Operation {
            action,
            invoked,
            completed: None,
            now_s: 0,
        }
    }

    fn swap(expected: Option<u64>, new: u64, answer: Option<(bool, Option<u64>)>) -> Action {
        Action::Swap {
            expected,
            new,
            answer,
        }
    }

    #[test]
    fn an_empty_history_and_a_sequential_one_are_linearizable() {
        assert_eq!(check(&[]), Linearizable);
        let history = [
            done(Get(None), 1, 2),
            done(Put(1), 3, 4),
            done(Get(Some(1)), 5, 6),
            done(Delete, 7, 8),
            done(Get(None), 9, 10),
        ];
        assert_eq!(check(&history), Linearizable);
    }

    #[test]
    fn a_read_may_see_a_write_that_runs_beside_it_or_not() {
        for found in [None, Some(1)] {
            let history = [done(Put(1), 1, 10), done(Get(found), 2, 3)];
            assert_eq!(check(&history), Linearizable);
        }
    }

    #[test]
    fn a_stale_read_is_a_violation() {
        let history = [
            done(Put(1), 1, 2),
            done(Put(2), 3, 4),
            done(Get(Some(1)), 5, 6),
        ];
        assert_eq!(check(&history), Violated);
    }

    #[test]
    fn two_reads_may_not_see_two_writes_in_opposite_order() {
        let history = [
            done(Put(1), 1, 20),
            done(Put(2), 2, 21),
            done(Get(Some(1)), 3, 4),
            done(Get(Some(2)), 5, 6),
            done(Get(Some(1)), 7, 8),
        ];
        assert_eq!(check(&history), Violated);
    }

    #[test]
    fn a_lost_acknowledged_write_is_a_violation() {
        let history = [done(Put(1), 1, 2), done(Get(None), 3, 4)];
        assert_eq!(check(&history), Violated);
    }

    #[test]
    fn a_write_without_an_answer_may_happen_late_or_never_but_not_twice() {
        let late = [
            open(Put(1), 1),
            done(Put(2), 2, 3),
            done(Get(Some(2)), 4, 5),
            done(Get(Some(1)), 6, 7),
        ];
        assert_eq!(check(&late), Linearizable);
        assert_eq!(check(&late[..3]), Linearizable);
        let mut twice = late.to_vec();
        twice.push(done(Put(3), 8, 9));
        twice.push(done(Get(Some(1)), 10, 11));
        assert_eq!(check(&twice), Violated);
    }

    #[test]
    fn a_value_that_nobody_wrote_is_a_violation() {
        assert_eq!(check(&[done(Get(Some(9)), 1, 2)]), Violated);
        let early = [done(Get(Some(1)), 1, 2), open(Put(1), 3)];
        assert_eq!(check(&early), Violated, "seen before it was asked for");
    }

    #[test]
    fn of_two_swaps_from_the_same_value_only_one_succeeds() {
        let one = [
            done(swap(None, 1, Some((true, None))), 1, 10),
            done(swap(None, 2, Some((false, Some(1)))), 2, 11),
        ];
        assert_eq!(check(&one), Linearizable);
        let both = [
            done(swap(None, 1, Some((true, None))), 1, 10),
            done(swap(None, 2, Some((true, None))), 2, 11),
        ];
        assert_eq!(check(&both), Violated);
    }

    #[test]
    fn a_swap_without_an_answer_explains_what_was_seen() {
        let history = [
            done(Put(1), 1, 2),
            open(swap(Some(1), 2, None), 3),
            done(Get(Some(2)), 4, 5),
        ];
        assert_eq!(check(&history), Linearizable);
        let impossible = [
            done(Put(7), 1, 2),
            open(swap(Some(1), 2, None), 3),
            done(Get(Some(2)), 4, 5),
        ];
        assert_eq!(check(&impossible), Violated);
    }

    #[test]
    fn many_concurrent_operations_are_decided() {
        let mut history: Vec<_> = (0..12).map(|n| done(Put(n), n + 1, 100 + n)).collect();
        history.push(done(Get(Some(3)), 200, 201));
        assert_eq!(check(&history), Linearizable);
        history.push(done(Get(Some(4)), 202, 203));
        assert_eq!(check(&history), Violated);
    }

    #[test]
    fn the_answer_is_named_with_which_it_went_wrong_and_not_what_came_after_it() {
        let mut history = vec![
            done(Put(1), 1, 2),
            done(Put(2), 3, 30),
            done(Get(Some(2)), 4, 5),
            done(Get(Some(1)), 6, 7),
            done(swap(Some(2), 3, Some((true, Some(2)))), 8, 40),
        ];
        assert_eq!(violated_at(&history), Some(7));
        history.remove(3);
        assert_eq!(violated_at(&history), None);
    }

    fn at(now_s: u64, operation: Operation) -> Operation {
        Operation { now_s, ..operation }
    }

    fn until(value: u64, expires_at_s: u64) -> Action {
        Action::PutUntil {
            value,
            expires_at_s,
        }
    }

    #[test]
    fn a_value_is_there_until_it_expires_by_the_clock_of_who_looks() {
        let look = |now_s, found| {
            let history = [done(until(1, 10), 1, 2), at(now_s, done(Get(found), 3, 4))];
            check(&history)
        };
        assert_eq!(look(9, Some(1)), Linearizable);
        assert_eq!(look(9, None), Violated);
        assert_eq!(look(10, None), Linearizable);
        assert_eq!(look(10, Some(1)), Violated);
    }

    #[test]
    fn a_swap_takes_what_has_expired_for_nothing() {
        let swap_at = |now_s, answer| {
            let put = done(until(1, 10), 1, 2);
            check(&[put, at(now_s, done(swap(None, 2, Some(answer)), 3, 4))])
        };
        assert_eq!(swap_at(10, (true, None)), Linearizable);
        assert_eq!(swap_at(10, (false, Some(1))), Violated);
        assert_eq!(swap_at(9, (false, Some(1))), Linearizable);
    }

    #[test]
    fn a_value_that_nobody_saw_may_have_expired_over_another() {
        let history = [
            done(Put(1), 1, 2),
            open(until(2, 10), 3),
            at(10, done(Get(None), 4, 5)),
        ];
        assert_eq!(check(&history), Linearizable);
        assert_eq!(check(&[history[0].clone(), history[2].clone()]), Violated);
    }
}
