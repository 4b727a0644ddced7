//! What becomes of each FSM when a round has ended: released, kept, moved on, or removed.
//!
//! The reasons are in the crate's documentation. This file only decides for FSMs that this poller owns, after
//! the handler's `end` has seen them.

use super::{ControlEntry, Poller, SHARE_AFTER};
use crate::batch::Entry;
use crate::fsm::Fsm;
use crate::handler::Handler;
use crate::panic::drop_quietly;
use crate::shared::{DeadLetter, Shared, Task};
use std::collections::VecDeque;
use std::time::Duration;

/// Queue buffers kept for reuse, and the largest (in messages) that is worth keeping.
const SPARE_BUFFERS: usize = 32;
const SPARE_CAPACITY: usize = 1024;

/// What a round's end knows of hot FSMs.
struct Heat {
    now: Duration,
    /// True if another poller has nothing to do.
    hungry: bool,
    /// Hot FSMs so far.
    met: u64,
}

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

    pub(super) fn settle_batch(&mut self, now: Duration) {
        let hungry = self.shared.lane(self.priority).is_hungry();
        let mut heat = Heat {
            now,
            hungry,
            met: 0,
        };
        let mut batch = std::mem::take(&mut self.batch);
        let mut waiting = std::mem::take(&mut self.waiting);
        for entry in waiting.drain(..) {
            self.keep_or_move(entry, true, &mut heat);
        }
        for entry in batch.drain(..) {
            self.settle(entry, &mut heat);
        }
        self.waiting = waiting;
        if heat.met > 1 {
            self.moved = now;
        }
        self.batch = std::mem::replace(&mut self.kept, batch);
    }

    /// Decides what becomes of one FSM after the round.
    fn settle(&mut self, mut entry: Entry<N>, heat: &mut Heat) {
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
        self.keep_or_move(entry, backlog, heat);
    }

    /// An FSM that has something left to do stays, unless another poller should do it.
    fn keep_or_move(&mut self, entry: Entry<N>, backlog: bool, heat: &mut Heat) {
        let elsewhere = self.config.low_pool_size > 0 && entry.fsm.priority() != self.priority;
        if elsewhere || self.is_second_hot(&entry, backlog, heat) {
            reschedule(&self.shared, entry);
        } else {
            self.keep(entry);
        }
    }

    fn keep(&mut self, mut entry: Entry<N>) {
        entry.stayed = true;
        self.kept.push(entry);
    }

    /// Removes an FSM that has come to its end, unless there is something left to answer.
    fn retire(&mut self, entry: Entry<N>) {
        if !entry.mailbox.retire() {
            self.keep(entry);
            return;
        }
        self.shared.directory.remove(entry.mailbox.address);
        self.handler.removed(entry.mailbox.address, entry.fsm);
    }

    /// True for every second hot FSM of a round, if none moved on lately. Hot is one that has been
    /// here for `reschedule_duration`; while another poller has nothing to do, one with a backlog is
    /// hot as soon as it is worth that poller's wake-up.
    fn is_second_hot(&mut self, entry: &Entry<N>, backlog: bool, heat: &mut Heat) -> bool {
        let here = heat.now.saturating_sub(entry.since);
        let help = heat.hungry && backlog && !self.brisk;
        let wait = if help {
            SHARE_AFTER
        } else {
            self.config.reschedule_duration
        };
        if here < wait || heat.now.saturating_sub(self.moved) < wait {
            return false;
        }
        heat.met += 1;
        heat.met.is_multiple_of(2)
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
