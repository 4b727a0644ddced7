//! The mailbox: an FSM's queue, and the place where the FSM itself lies while it has nothing to do.
//!
//! **Why.** Many threads send to an FSM, one thread at a time may touch it. Ownership settles this,
//! not a lock around the FSM: the `Box` is either in its mailbox or in the hands of the run queue or
//! a poller. Whoever puts the message that turns *idle* into *notified* takes the `Box` out and must
//! schedule it; the poller that ends up with it puts it back.
//!
//! **Invariants.**
//! - *idle* ⇒ the queue is empty and nothing is outstanding. So no message waits without an owner
//!   on its way: the queue and the state change under one lock, which is what closes the lost-wakeup
//!   race at release.
//! - *notified* ⇒ exactly one owner of the `Box` exists outside.
//! - *dropped* is final; the queue is empty, every send is refused.
//! - While idle the queue has no buffer: a hundred thousand idle FSMs cost their slots only.
//!
//! The critical sections move pointers; no message and no FSM is dropped, and nothing is called,
//! under the lock. Capacity is counted in messages that are queued or taken but not yet settled.
//!
//! **Not here.** Bytes are only carried along (the budget is the router's), and scheduling is the
//! caller's.

use crate::fsm::{Address, Fsm};
use crate::stats::StatCells;
use crate::sync::Mutex;
use std::collections::VecDeque;

/// Who owns the FSM.
enum State<F> {
    /// The mailbox; nothing waits for it.
    Idle(Box<F>),
    /// The run queue, a poller, or the sender that is about to schedule it.
    Notified,
    /// Nobody; it will never be run again.
    Dropped,
}

struct Slot<F: Fsm> {
    state: State<F>,
    queue: VecDeque<F::Message>,
    /// Sum of the sizes of what is in `queue`.
    queued_bytes: usize,
    /// Messages that the owner took and has not reported as handled.
    outstanding: u32,
    /// No new messages; those inside are still handled.
    closing: bool,
}

/// The sending side of one FSM and its place of rest.
pub(crate) struct Mailbox<F: Fsm> {
    pub(crate) address: Address,
    pub(crate) stats: StatCells,
    slot: Mutex<Slot<F>>,
}

/// Why a message was not accepted; it is given back.
pub(crate) enum Refused<M> {
    /// Stopped, closing or dropped.
    Gone(M),
    /// As many messages wait as may.
    Full(M),
}

/// What an owner learns when it looks into its mailbox.
#[derive(Clone, Copy, Default)]
pub(crate) struct Taken {
    /// Sum of the sizes of the messages that were taken now.
    pub(crate) bytes: usize,
    /// True if the mailbox refuses new messages.
    pub(crate) closing: bool,
}

/// All that was left in a mailbox when it was dropped.
pub(crate) struct Left<F: Fsm> {
    pub(crate) fsm: Option<Box<F>>,
    pub(crate) messages: VecDeque<F::Message>,
    pub(crate) bytes: usize,
}

impl<F: Fsm> Mailbox<F> {
    /// A mailbox with its FSM at rest inside.
    pub(crate) fn new(address: Address, fsm: Box<F>) -> Self {
        let slot = Slot {
            state: State::Idle(fsm),
            queue: VecDeque::new(),
            queued_bytes: 0,
            outstanding: 0,
            closing: false,
        };
        Self {
            address,
            stats: StatCells::default(),
            slot: Mutex::new(slot),
        }
    }

    /// Queues a message. `Some` is the FSM, which the caller must schedule now.
    pub(crate) fn send(
        &self,
        message: F::Message,
        bytes: usize,
        capacity: usize,
    ) -> Result<Option<Box<F>>, Refused<F::Message>> {
        let mut slot = self.slot.lock();
        if slot.closing || matches!(slot.state, State::Dropped) {
            return Err(Refused::Gone(message));
        }
        if slot.queue.len() + slot.outstanding as usize >= capacity {
            return Err(Refused::Full(message));
        }
        if slot.queue.capacity() == 0 {
            // Most get one message before they are run, and a broadcast reaches all at once.
            slot.queue.reserve_exact(1);
        }
        slot.queue.push_back(message);
        slot.queued_bytes += bytes;
        Ok(slot.notify())
    }

    /// Refuses messages from now on. `Some` is the FSM, which the caller must schedule so that it
    /// can be removed; `None` if an owner is on its way to it already.
    pub(crate) fn close(&self) -> Option<Box<F>> {
        let mut slot = self.slot.lock();
        slot.closing = true;
        slot.notify()
    }

    /// The owner takes all that is queued. `into` must be empty; its buffer takes the queue's place,
    /// so that a busy mailbox allocates nothing.
    pub(crate) fn take(&self, into: &mut VecDeque<F::Message>) -> Taken {
        assert!(
            into.is_empty(),
            "messages of an earlier round would be overtaken"
        );
        let mut slot = self.slot.lock();
        debug_assert!(
            matches!(slot.state, State::Notified),
            "only the owner takes"
        );
        std::mem::swap(&mut slot.queue, into);
        slot.outstanding = u32::try_from(into.len()).unwrap_or(u32::MAX);
        Taken {
            bytes: std::mem::take(&mut slot.queued_bytes),
            closing: slot.closing,
        }
    }

    /// The owner reports how many of the messages it took are still not handled.
    pub(crate) fn settle(&self, unhandled: usize) {
        self.slot.lock().outstanding = u32::try_from(unhandled).unwrap_or(u32::MAX);
    }

    /// The owner has handled all it took and lets go of the FSM. Fails, and hands the FSM back, if a
    /// message slipped in (or the mailbox was closed) in between: the caller stays the owner and has to look
    /// again. Gives back the queue's spare buffer.
    pub(crate) fn release(&self, fsm: Box<F>) -> Result<VecDeque<F::Message>, Box<F>> {
        let mut slot = self.slot.lock();
        assert!(
            matches!(slot.state, State::Notified),
            "released by one that is not the owner"
        );
        slot.outstanding = 0;
        if !slot.queue.is_empty() || slot.closing {
            return Err(fsm);
        }
        slot.state = State::Idle(fsm);
        Ok(std::mem::take(&mut slot.queue))
    }

    /// The owner gives unhandled messages back to the front of the queue, to hand the FSM on.
    pub(crate) fn put_back(&self, mut unhandled: VecDeque<F::Message>, bytes: usize) {
        let mut slot = self.slot.lock();
        unhandled.append(&mut slot.queue);
        slot.queue = unhandled;
        slot.queued_bytes += bytes;
        slot.outstanding = 0;
    }

    /// The owner of a stopped FSM ends the mailbox if nothing is left to answer. From the first call
    /// on, new messages are refused, so a second round is the last.
    pub(crate) fn retire(&self) -> bool {
        let mut slot = self.slot.lock();
        slot.closing = true;
        slot.outstanding = 0;
        if slot.queue.is_empty() {
            slot.state = State::Dropped;
        }
        slot.queue.is_empty()
    }

    /// Ends the mailbox at once, whoever owns the FSM. An owner outside keeps its `Box` and must
    /// drop it.
    pub(crate) fn kill(&self) -> Left<F> {
        let mut slot = self.slot.lock();
        let state = std::mem::replace(&mut slot.state, State::Dropped);
        let fsm = if let State::Idle(fsm) = state {
            Some(fsm)
        } else {
            None
        };
        slot.outstanding = 0;
        Left {
            fsm,
            messages: std::mem::take(&mut slot.queue),
            bytes: std::mem::take(&mut slot.queued_bytes),
        }
    }

    /// Messages that wait, including those that the present owner took.
    pub(crate) fn pending(&self) -> usize {
        let slot = self.slot.lock();
        slot.queue.len() + slot.outstanding as usize
    }
}

impl<F: Fsm> Slot<F> {
    /// Idle becomes notified, and the caller the owner.
    fn notify(&mut self) -> Option<Box<F>> {
        if !matches!(self.state, State::Idle(_)) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Notified) {
            State::Idle(fsm) => Some(fsm),
            State::Notified | State::Dropped => None,
        }
    }
}
