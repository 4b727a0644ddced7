//! The inbox: what an FSM may handle in this round.
//!
//! **Invariant.** Messages come out in the order in which they were accepted. What is not popped waits
//! for the next round; whether the inbox was emptied is how the runtime tells a released FSM from one
//! that is kept.

use crate::fsm::{Address, Message};
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
}

/// The messages of one FSM in one round.
pub struct Inbox<'a, M: Message> {
    local: &'a mut Local<M>,
    address: Address,
    left: usize,
    popped: u64,
    freed_bytes: usize,
}

impl<'a, M: Message> Inbox<'a, M> {
    pub(crate) fn new(local: &'a mut Local<M>, address: Address, limit: usize) -> Self {
        Self {
            local,
            address,
            left: limit,
            popped: 0,
            freed_bytes: 0,
        }
    }

    /// The next message; `None` when all are handled or the FSM has had its share of this round.
    pub fn pop(&mut self) -> Option<M> {
        if self.left == 0 {
            return None;
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

    /// How many messages `pop` will give.
    pub fn len(&self) -> usize {
        self.local.queue.len().min(self.left)
    }

    /// True if `pop` will give nothing.
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
