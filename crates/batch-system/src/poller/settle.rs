//! What becomes of each FSM when a round has ended: released, kept, moved on, or removed.
//!
//! The reasons are in the crate's documentation. This file only decides for FSMs that this poller owns, after
//! the handler's `end` has seen them.

use super::{ControlEntry, Poller, SHARE_AFTER};
use crate::batch::Entry;
use crate::fsm::Fsm;
use crate::handler::Handler;
use crate::meters::Rescheduled;
use crate::panic::drop_quietly;
use crate::shared::{DeadLetter, Shared, Task};
use std::collections::VecDeque;
use std::mem::take;

/// Queue buffers kept for reuse, and the largest (in messages) that is worth keeping.
const SPARE_BUFFERS: usize = 32;
const SPARE_CAPACITY: usize = 1024;

impl<N: Fsm, C: Fsm, H: Handler<N, C>> Poller<N, C, H> {
    pub(super) fn settle_control(&mut self) {
        let Some(entry) = self.control.take() else {
            return;
        };
        let shared = &self.shared;
        if !entry.local.queue.is_empty() {
            shared.control.settle(entry.local.queue.len());
            self.control = Some(entry);
        } else if entry.fsm.is_stopped() && shared.control.retire() {
            drop(entry.fsm);
        } else if let Err(fsm) = shared.control.release(entry.fsm) {
            self.control = Some(ControlEntry {
                fsm,
                local: entry.local,
            });
        }
    }

    pub(super) fn settle_round(&mut self) {
        let mut handled = take(&mut self.handled);
        for entry in handled.drain(..) {
            self.settle(entry);
        }
        self.handled = handled;
    }

    /// Decides what becomes of one FSM after the round.
    fn settle(&mut self, mut entry: Entry<N>) {
        let backlog = !entry.local.queue.is_empty();
        if backlog {
            entry.mailbox.settle(entry.local.queue.len());
        } else if entry.local.closing || entry.fsm.is_stopped() {
            self.retire(entry);
            return;
        } else {
            match entry.mailbox.release(entry.fsm) {
                Ok(buffer) => {
                    self.recycle(buffer);
                    self.recycle(entry.local.queue);
                    return;
                }
                Err(fsm) => entry.fsm = fsm,
            }
        }
        let elsewhere = self.config.low_pool_size > 0 && entry.fsm.priority() != self.priority;
        if elsewhere {
            self.cells.count_rescheduled(Rescheduled::Priority, 1);
            reschedule(&self.shared, entry);
        } else {
            self.keep(entry, backlog);
        }
    }

    /// One with a backlog goes to the end. One to which something came in the meantime is as good as new.
    fn keep(&mut self, mut entry: Entry<N>, backlog: bool) {
        entry.stayed = backlog;
        match backlog {
            true => self.queue.push_back(entry),
            false => self.queue.push_front(entry),
        }
    }

    /// Removes an FSM that has come to its end, unless there is something left to answer.
    fn retire(&mut self, entry: Entry<N>) {
        if !entry.mailbox.retire() {
            self.keep(entry, false);
            return;
        }
        self.shared.directory.remove(entry.mailbox.address);
        self.handler.removed(entry.mailbox.address, entry.fsm);
    }

    /// Moves every second hot FSM on. Hot is one that has been here for `reschedule_duration`; while
    /// another poller has nothing to do, one with a backlog is hot as soon as it is worth that poller's
    /// wake-up. They are looked for once in that time only, so that what moves on has come to rest.
    pub(super) fn spread(&mut self) {
        let help = !self.brisk && self.shared.lane(self.priority).is_hungry();
        let wait = match help {
            true => SHARE_AFTER,
            false => self.config.reschedule_duration,
        };
        if self.now.saturating_sub(self.spread) < wait {
            return;
        }
        self.spread = self.now;
        let mut hot = 0u64;
        for _ in 0..self.queue.len() {
            let entry = self.queue.pop_front().expect("as many as were counted");
            let here = self.now.saturating_sub(entry.since);
            let is_hot = here >= wait && !(help && entry.local.queue.is_empty());
            hot += u64::from(is_hot);
            if is_hot && hot.is_multiple_of(2) {
                let reason = match help {
                    true => Rescheduled::Shared,
                    false => Rescheduled::Hot,
                };
                self.cells.count_rescheduled(reason, 1);
                entry.mailbox.stats.count_move();
                reschedule(&self.shared, entry);
            } else {
                self.queue.push_back(entry);
            }
        }
    }

    fn recycle(&mut self, buffer: VecDeque<N::Message>) {
        let worth = buffer.capacity() > 0 && buffer.capacity() <= SPARE_CAPACITY;
        if worth && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// Removes an FSM that can't be trusted any more.
    pub(super) fn discard(&self, entry: Entry<N>) {
        let Entry {
            mailbox,
            fsm,
            local,
            ..
        } = entry;
        self.shared.budget.release(local.bytes);
        for message in local.queue {
            (self.shared.dead_letters)(DeadLetter::Normal(mailbox.address, message));
        }
        let left = mailbox.kill();
        drop_quietly(self.shared.bury(mailbox.address, left));
        drop_quietly(fsm);
        self.shared.directory.remove(mailbox.address);
    }
}

/// Hands an FSM on to the tail of its run queue.
pub(super) fn reschedule<N: Fsm, C: Fsm>(shared: &Shared<N, C>, entry: Entry<N>) {
    entry.mailbox.put_back(entry.local.queue, entry.local.bytes);
    shared.schedule(Task::Normal(entry.mailbox, entry.fsm));
}
