//! The batch: the normal FSMs that a poller holds.

use crate::fsm::{Address, Fsm};
use crate::inbox::Local;
use crate::mailbox::Mailbox;
use std::sync::Arc;
use std::time::Duration;

/// One FSM in a poller's hands.
pub(crate) struct Entry<N: Fsm> {
    pub(crate) mailbox: Arc<Mailbox<N>>,
    pub(crate) fsm: Box<N>,
    pub(crate) local: Local<N::Message>,
    /// When it came.
    pub(crate) since: Duration,
    /// True if this poller has handled it before.
    pub(crate) stayed: bool,
}

/// The normal FSMs of a round, as the handler's `end` sees them.
pub struct Batch<'a, N: Fsm> {
    entries: &'a mut [Entry<N>],
}

impl<'a, N: Fsm> Batch<'a, N> {
    pub(crate) fn new(entries: &'a mut [Entry<N>]) -> Self {
        Self { entries }
    }

    /// How many FSMs were handled.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if only the control FSM was handled.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Each FSM with its address, in the order in which they were handled.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Address, &mut N)> {
        self.entries
            .iter_mut()
            .map(|entry| (entry.mailbox.address, &mut *entry.fsm))
    }

    /// The FSM with this address, if it is in the batch. A search along the batch.
    pub fn get_mut(&mut self, address: Address) -> Option<&mut N> {
        self.iter_mut()
            .find(|(at, _)| *at == address)
            .map(|(_, fsm)| fsm)
    }

    /// The FSM at this position, in the order in which they were handled.
    pub fn at_mut(&mut self, position: usize) -> Option<(Address, &mut N)> {
        self.entries
            .get_mut(position)
            .map(|entry| (entry.mailbox.address, &mut *entry.fsm))
    }
}
