//! The poller: a batch of FSMs, a handler, and what happens in a round.
//!
//! **Invariants.**
//! - Every FSM of the queue and of the round is owned by this poller; its mailbox is *notified*.
//! - In the queue, newcomers stand before those that stayed from an earlier round.
//! - An FSM that was handled leaves the poller only after `end`; one that waits in the queue may be given
//!   to an idle poller at any time.
//! - Messages that were taken and not handled go back to the front of their mailbox before the FSM
//!   changes hands, so their order is kept.
//!
//! **Not here.** Waiting: both drivers run rounds with this code, each decides when and with what.

mod pace;
mod settle;

use crate::batch::{Batch, Entry};
use crate::config::Config;
use crate::fsm::{Fsm, Priority};
use crate::handler::{Handler, RoundInfo};
use crate::inbox::{Inbox, Local, Turn};
use crate::meters::{PollerCells, Rescheduled, Round};
use crate::panic::{PanicPlace, drop_quietly};
use crate::run_queue::Fetch;
use crate::shared::{DeadLetter, Shared, Task};
use pace::{Pace, Turns};
use settle::reschedule;
use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

/// A round that has lasted so long is worth another poller's wake-up, which costs about half of it.
const SHARE_AFTER: Duration = Duration::from_micros(50);
/// A poller that is always busy gives way after so long: much less than a time slice of the kernel.
const GIVE_WAY_AFTER: Duration = Duration::from_micros(60);

/// The control FSM in this poller's hands.
struct ControlEntry<C: Fsm> {
    fsm: Box<C>,
    local: Local<C::Message>,
}

pub(crate) struct Poller<N: Fsm, C: Fsm, H> {
    pub(crate) shared: Arc<Shared<N, C>>,
    pub(crate) priority: Priority,
    handler: H,
    config: Config,
    control: Option<ControlEntry<C>>,
    /// FSMs that wait for their turn.
    queue: VecDeque<Entry<N>>,
    /// FSMs that have had their turn in this round.
    handled: Vec<Entry<N>>,
    spare: Vec<VecDeque<N::Message>>,
    /// Buffer for what is fetched.
    tasks: Vec<Task<N, C>>,
    /// FSMs that are still to be fetched for this round.
    due: usize,
    /// When the last round ended, or the wait after it. Reading the clock for each purpose would cost
    /// more than a small round itself.
    now: Duration,
    /// How long the last round took.
    last_round: Duration,
    /// When hot FSMs were last looked for.
    spread: Duration,
    pace: Pace,
    /// The end of the last round that left no backlog.
    behind_since: Duration,
    /// When its thread last had nothing to do, or gave way.
    ran_since: Duration,
    /// True if it is brisk as far as the run queue knows.
    brisk: bool,
    cells: Arc<PollerCells>,
    /// Messages of the round under way.
    messages: u64,
}

impl<N: Fsm, C: Fsm, H: Handler<N, C>> Poller<N, C, H> {
    pub(crate) fn new(shared: Arc<Shared<N, C>>, priority: Priority, handler: H) -> Self {
        let (config, now) = (shared.config(), shared.clock.now());
        let cells = shared.meters.cells();
        Self {
            shared,
            priority,
            handler,
            config,
            control: None,
            queue: VecDeque::new(),
            handled: Vec::new(),
            spare: Vec::new(),
            tasks: Vec::new(),
            due: 0,
            now,
            last_round: Duration::ZERO,
            spread: now,
            pace: Pace::new(),
            behind_since: now,
            ran_since: now,
            brisk: false,
            cells,
            messages: 0,
        }
    }

    /// FSMs in the poller's hands, between rounds.
    pub(crate) fn held(&self) -> usize {
        self.queue.len() + usize::from(self.control.is_some())
    }

    /// Fetches FSMs for the next round; waits for one if none is held, unless the run queue is closed or
    /// interrupted since generation `seen`.
    pub(crate) fn fetch(&mut self, seen: u64) {
        self.config = self.shared.config();
        let lane = self.shared.lane(self.priority);
        let call = self.call();
        let mut tasks = take(&mut self.tasks);
        if self.held() == 0 {
            let fetched = lane.fetch(seen, call, &mut tasks);
            self.due = fetched.as_ref().map_or(0, |fetched| fetched.due);
            if fetched.is_none_or(|fetched| fetched.waited) {
                self.now = self.shared.clock.now();
            }
            self.behind_since = self.now;
        } else {
            self.due = lane.try_fetch(call, &mut tasks);
        }
        self.take_in(tasks.drain(..));
        self.tasks = tasks;
    }

    /// What this poller may ask for.
    fn call(&self) -> Fetch {
        let round = self.queue.len() + self.handled.len();
        Fetch {
            held: self.queue.len(),
            max: self.config.max_batch_size.saturating_sub(round),
            brisk: self.brisk,
        }
    }

    /// Takes FSMs over that a driver chose.
    pub(crate) fn admit(&mut self, tasks: impl DoubleEndedIterator<Item = Task<N, C>>) {
        self.config = self.shared.config();
        self.now = self.shared.clock.now();
        self.take_in(tasks);
    }

    /// Puts newcomers before the FSMs that stayed.
    fn take_in(&mut self, tasks: impl DoubleEndedIterator<Item = Task<N, C>>) {
        for task in tasks.rev() {
            match task {
                Task::Normal(mailbox, fsm) => {
                    let local = Local::new(self.spare.pop().unwrap_or_default());
                    self.queue.push_front(Entry {
                        mailbox,
                        fsm,
                        local,
                        since: self.now,
                        stayed: false,
                    });
                }
                Task::Control(fsm) => {
                    assert!(self.control.is_none(), "there is one control FSM");
                    self.control = Some(ControlEntry {
                        fsm,
                        local: Local::new(VecDeque::new()),
                    });
                }
            }
        }
    }

    /// One round over all FSMs that are held, and those that join in.
    pub(crate) fn round(&mut self) {
        let shared = Arc::clone(&self.shared);
        let started = self.now;
        shared.lane(self.priority).beat(started.as_nanos() as u64);
        let turns = self.pace.turns();
        let info = RoundInfo {
            batch_size: self.queue.len() + self.due,
            control: self.control.is_some(),
            messages_per_round: self.config.messages_per_round,
        };
        let policy = &shared.panic_policy;
        let mut ending = started;
        let mut broken = policy.guard(PanicPlace::Batch, || self.handler.begin(info));
        if broken.is_none() {
            self.handle_control();
            ending = self.handle_queue(started, turns);
            let mut batch = Batch::new(&mut self.handled);
            broken = policy.guard(PanicPlace::Batch, || self.handler.end(&mut batch));
        }
        if broken.is_some() {
            let (handled, queue) = (take(&mut self.handled), take(&mut self.queue));
            for entry in handled.into_iter().chain(queue) {
                self.discard(entry);
            }
        }
        self.now = shared.clock.now();
        self.last_round = self.now.saturating_sub(started);
        let end = self.now.saturating_sub(ending);
        self.cells.count_round(&Round {
            fsms: self.handled.len(),
            messages: take(&mut self.messages),
            took: self.last_round,
            end,
        });
        self.pace.learn_round(self.last_round, end);
        self.tell_whether_brisk();
        self.settle_control();
        self.settle_round();
        self.spread();
    }

    /// Between rounds, lets messages gather for a moment where all that is held are FSMs to which something
    /// came in the meantime.
    pub(crate) fn gather(&mut self) {
        let until = self.now + self.pace.pause_after(self.last_round);
        if self.control.is_some() || self.queue.back().is_none_or(|last| last.stayed) {
            return;
        }
        while self.now < until && self.shared.lane(self.priority).ready() == 0 {
            std::hint::spin_loop();
            self.now = self.shared.clock.now();
        }
    }

    /// Lets other threads have the processor, between rounds, where all that is held is busy anyway. The kernel
    /// would take it away sooner or later, and then in the middle of a round, from newcomers too.
    pub(crate) fn give_way(&mut self) {
        let stayed = |entry: Option<&Entry<N>>| entry.is_some_and(|entry| entry.stayed);
        if !stayed(self.queue.back()) {
            self.ran_since = self.now;
        } else if stayed(self.queue.front())
            && self.now.saturating_sub(self.ran_since) > GIVE_WAY_AFTER
        {
            std::thread::yield_now();
            self.now = self.shared.clock.now();
            self.ran_since = self.now;
        }
    }

    /// After a round, tells the run queue how soon the next one will be over.
    fn tell_whether_brisk(&mut self) {
        let emptied = |entry: &Entry<N>| entry.local.queue.is_empty();
        if self.queue.is_empty() && self.handled.iter().all(emptied) {
            self.behind_since = self.now;
        }
        let behind = self.now.saturating_sub(self.behind_since);
        self.set_brisk(self.pace.is_brisk() && behind < SHARE_AFTER);
    }

    /// Tells the run queue when the poller's pace changes.
    pub(crate) fn set_brisk(&mut self, brisk: bool) {
        if self.brisk != brisk {
            self.brisk = brisk;
            self.shared.lane(self.priority).set_brisk(brisk);
        }
    }

    fn handle_control(&mut self) {
        let Some(mut entry) = self.control.take() else {
            return;
        };
        let shared = &self.shared;
        let started = shared.clock.now();
        let take = |buffer: &mut _| shared.control.take(buffer);
        let messages_max = self.config.messages_per_round;
        let mut inbox = Inbox::new(&mut entry.local, &take, 0, messages_max);
        let must_go = shared.panic_policy.guard(PanicPlace::Control, || {
            self.handler.handle_control(&mut entry.fsm, &mut inbox);
        });
        let (messages, freed_bytes) = inbox.finish();
        shared.budget.release(freed_bytes);
        self.messages += messages;
        shared
            .control
            .stats
            .record(messages, shared.clock.now().saturating_sub(started));
        if must_go.is_none() {
            self.control = Some(entry);
            return;
        }
        self.shared.budget.release(entry.local.bytes);
        for message in entry.local.queue {
            (self.shared.dead_letters)(DeadLetter::Control(message));
        }
        drop_quietly(entry.fsm);
        drop_quietly(self.shared.bury_control(self.shared.control.kill()));
    }

    /// Handles FSMs until all have had their turn, or until the round has lasted long enough and one of
    /// those that stayed has had its turn; the others then wait for the next round. Gives the time.
    fn handle_queue(&mut self, started: Duration, turns: Turns) -> Duration {
        let mut now = started;
        let mut of_stayed = 0;
        // What has come to an FSM that was emptied in this round is not seen in the run queue.
        let mut others_may_wait = false;
        loop {
            self.join_in();
            let lasted = now.saturating_sub(started);
            if lasted > SHARE_AFTER {
                self.share();
            }
            let over = lasted > turns.slice && of_stayed > 0;
            if over && self.queue.front().is_some_and(|next| next.stayed) {
                return now;
            }
            let Some(mut entry) = self.queue.pop_front() else {
                return now;
            };
            let before = now;
            let turn = Turn {
                messages: turns.messages(entry.stayed),
                worth_a_look: turns.worth_a_look,
                others_may_wait,
            };
            if self.handle_normal(&mut entry, turn, before, &mut now) {
                self.discard(entry);
                continue;
            }
            of_stayed += usize::from(entry.stayed);
            others_may_wait |= entry.local.queue.is_empty();
            self.handled.push(entry);
        }
    }

    /// Newcomers join the round: those that are due, and whatever waits before the next FSM that
    /// stayed, which would otherwise keep all of them waiting. Bounded by the batch size, since each FSM
    /// is handled once in a round.
    fn join_in(&mut self) {
        let due = match self.queue.front() {
            Some(next) if next.stayed => usize::MAX,
            Some(_) => return,
            None => self.due,
        };
        let lane = self.shared.lane(self.priority);
        let call = self.call();
        let max = call.max.min(due);
        if max == 0 || lane.ready() == 0 {
            return;
        }
        let mut tasks = take(&mut self.tasks);
        lane.try_fetch(Fetch { max, ..call }, &mut tasks);
        self.due = self.due.saturating_sub(tasks.len());
        self.take_in(tasks.drain(..));
        self.tasks = tasks;
    }

    /// True if the FSM panicked and must go.
    fn handle_normal(
        &mut self,
        entry: &mut Entry<N>,
        turn: Turn,
        started: Duration,
        now: &mut Duration,
    ) -> bool {
        let Entry {
            mailbox,
            fsm,
            local,
            ..
        } = entry;
        let shared = &self.shared;
        let take = |buffer: &mut _| mailbox.take(buffer);
        let lane = shared.lane(self.priority);
        let somebody_is_ready = || lane.ready() > 0;
        let messages_max = self.config.messages_per_round;
        let mut inbox = Inbox::new(local, &take, mailbox.address, messages_max)
            .for_turn(turn, &somebody_is_ready);
        let must_go = shared
            .panic_policy
            .guard(PanicPlace::Normal(mailbox.address), || {
                self.handler.handle_normal(fsm, &mut inbox);
            });
        let (messages, freed_bytes) = inbox.finish();
        shared.budget.release(freed_bytes);
        *now = shared.clock.now();
        lane.beat(now.as_nanos() as u64);
        let took = now.saturating_sub(started);
        mailbox.stats.record(messages, took);
        self.messages += messages;
        self.pace.learn_turn(messages, took);
        must_go.is_some()
    }

    /// Gives half of the FSMs that wait to a poller that has nothing to do, if there is one.
    fn share(&mut self) {
        self.set_brisk(false);
        if !self.shared.lane(self.priority).is_hungry() {
            return;
        }
        let keep = self.queue.len() - self.queue.len() / 2;
        let given = self.queue.split_off(keep);
        let fsms = given.len() as u64;
        self.cells.count_rescheduled(Rescheduled::Shared, fsms);
        for entry in given {
            reschedule(&self.shared, entry);
        }
    }

    /// Puts all FSMs back into the run queue.
    pub(crate) fn disband(&mut self) {
        for entry in take(&mut self.queue) {
            reschedule(&self.shared, entry);
        }
        if let Some(ControlEntry { fsm, local }) = self.control.take() {
            self.shared.control.put_back(local.queue, local.bytes);
            self.shared.schedule(Task::Control(fsm));
        }
    }

    /// Gives all FSMs away, their messages back into their mailboxes.
    pub(crate) fn give_away(&mut self) -> Vec<Task<N, C>> {
        let mut tasks = Vec::with_capacity(self.held());
        for entry in take(&mut self.queue) {
            entry.mailbox.put_back(entry.local.queue, entry.local.bytes);
            tasks.push(Task::Normal(entry.mailbox, entry.fsm));
        }
        if let Some(ControlEntry { fsm, local }) = self.control.take() {
            self.shared.control.put_back(local.queue, local.bytes);
            tasks.push(Task::Control(fsm));
        }
        tasks
    }
}

#[cfg(test)]
mod tests;
