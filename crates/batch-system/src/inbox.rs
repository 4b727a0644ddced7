//! The inbox: what an FSM may handle in this round.
//!
//! **Invariant.** Messages come out in the order in which they were accepted, those included that arrive
//! while others are handled (unless handling them is over so soon that looking would cost more). What is not
//! popped waits for the next round; whether the inbox was emptied is how the runtime tells a released FSM from one that is kept.

use crate::fsm::{Address, Message};
use crate::mailbox::Taken;
use std::collections::VecDeque;

/// Messages that a poller took out of a mailbox.
pub(crate) struct Local<M> {
    pub(crate) queue: VecDeque<M>,
    /// Bytes of the budget that belong to `queue`.
    pub(crate) bytes: usize,
    pub(crate) closing: bool,
}

impl<M> Local<M> {
    pub(crate) fn new(buffer: VecDeque<M>) -> Self {
        Self {
            queue: buffer,
            bytes: 0,
            closing: false,
        }
    }

    /// Takes what waits in the mailbox, unless there is something left of an earlier time.
    fn look(&mut self, take: Take<'_, M>) {
        if self.queue.is_empty() {
            let taken = take(&mut self.queue);
            self.bytes += taken.bytes;
            self.closing = taken.closing;
        }
    }
}

/// How the owner of an FSM takes what waits in its mailbox.
pub(crate) type Take<'a, M> = &'a dyn Fn(&mut VecDeque<M>) -> Taken;

/// The messages of one FSM in one round.
pub struct Inbox<'a, M: Message> {
    local: &'a mut Local<M>,
    take: Take<'a, M>,
    /// A bound that counts while others wait: messages, and whether anybody does.
    while_others_wait: Option<(u64, &'a dyn Fn() -> bool)>,
    address: Address,
    left: usize,
    popped: u64,
    /// What `popped` was at the last look into the mailbox, and how many messages are worth another one.
    looked: u64,
    worth_a_look: u64,
    freed_bytes: usize,
}

impl<'a, M: Message> Inbox<'a, M> {
    pub(crate) fn new(
        local: &'a mut Local<M>,
        take: Take<'a, M>,
        address: Address,
        limit: usize,
    ) -> Self {
        local.look(take);
        Self {
            local,
            take,
            while_others_wait: None,
            address,
            left: limit,
            popped: 0,
            looked: 0,
            worth_a_look: 1,
            freed_bytes: 0,
        }
    }

    /// The same with another bound on the messages, which counts while others wait.
    pub(crate) fn shortened(self, messages: usize, others_wait: &'a dyn Fn() -> bool) -> Self {
        Self {
            while_others_wait: Some((messages as u64, others_wait)),
            ..self
        }
    }

    /// The same, but it looks for more messages only after so many. To look after each message, where these are handled
    /// in no time, costs their sender more than the messages do: it finds the mailbox's lock with another processor.
    pub(crate) fn looking_after(self, messages: u64) -> Self {
        Self {
            worth_a_look: messages.max(1),
            ..self
        }
    }

    /// The next message; `None` when all that were found are handled or the FSM has had its share of this round.
    pub fn pop(&mut self) -> Option<M> {
        let is_over = |(messages, others_wait): (u64, &dyn Fn() -> bool)| {
            self.popped >= messages && others_wait()
        };
        if self.left == 0 || self.while_others_wait.is_some_and(is_over) {
            return None;
        }
        if self.local.queue.is_empty() && self.popped - self.looked >= self.worth_a_look {
            self.looked = self.popped;
            self.local.look(self.take);
        }
        let message = self.local.queue.pop_front()?;
        self.left -= 1;
        self.popped += 1;
        if self.local.bytes > 0 {
            let bytes = message.size_bytes().min(self.local.bytes);
            self.local.bytes -= bytes;
            self.freed_bytes += bytes;
        }
        Some(message)
    }

    /// How many messages are at hand.
    pub fn len(&self) -> usize {
        self.local.queue.len().min(self.left)
    }

    /// True if nothing is at hand; `pop` may still find what has just arrived.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the mailbox was closed: the FSM is removed once its messages have been popped.
    pub fn is_closing(&self) -> bool {
        self.local.closing
    }

    /// The address of the FSM; zero for the control FSM.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Messages popped, and bytes to give back to the budget.
    pub(crate) fn finish(self) -> (u64, usize) {
        // A size that changed while the message waited must not leak budget.
        let rest = if self.local.queue.is_empty() {
            std::mem::take(&mut self.local.bytes)
        } else {
            0
        };
        (self.popped, self.freed_bytes + rest)
    }
}
