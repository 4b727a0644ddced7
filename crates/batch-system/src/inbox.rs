//! The inbox: what an FSM may handle in this round.
//!
//! **Invariant.** Messages come out in the order in which they were accepted, those included that arrive
//! while others are handled, as far as another look into the mailbox is worth it. What is not popped waits for the
//! next round; whether the inbox was emptied is how the runtime tells a released FSM from one that is kept.

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

/// What bounds an FSM's turn in a round with others.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// While others wait, so many messages.
    pub(crate) messages: u64,
    /// True if somebody may wait that is not seen to be ready.
    pub(crate) others_may_wait: bool,
    /// Another look into the mailbox is worth it after so many messages.
    pub(crate) worth_a_look: u64,
}

/// The turn of one that is alone.
const ALONE: Turn = Turn {
    messages: u64::MAX,
    others_may_wait: false,
    worth_a_look: 1,
};

/// The messages of one FSM in one round.
pub struct Inbox<'a, M: Message> {
    local: &'a mut Local<M>,
    take: Take<'a, M>,
    turn: Turn,
    somebody_is_ready: &'a dyn Fn() -> bool,
    address: Address,
    left: usize,
    popped: u64,
    /// What `popped` was at the last look into the mailbox.
    looked: u64,
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
            turn: ALONE,
            somebody_is_ready: &|| false,
            address,
            left: limit,
            popped: 0,
            looked: 0,
            freed_bytes: 0,
        }
    }

    /// The same in a round with others.
    pub(crate) fn for_turn(self, turn: Turn, somebody_is_ready: &'a dyn Fn() -> bool) -> Self {
        Self {
            turn,
            somebody_is_ready,
            ..self
        }
    }

    /// True if the turn is over because others wait.
    fn gives_way(&self) -> bool {
        self.popped >= self.turn.messages
            && (self.turn.others_may_wait || (self.somebody_is_ready)())
    }

    /// The next message; `None` when all that were found are handled or the FSM has had its share of this round.
    pub fn pop(&mut self) -> Option<M> {
        if self.left == 0 || self.gives_way() {
            return None;
        }
        let worth_a_look = self.popped - self.looked >= self.turn.worth_a_look;
        if self.local.queue.is_empty() && worth_a_look {
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
