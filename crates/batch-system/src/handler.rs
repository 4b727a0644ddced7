//! The handler: the owner's code that a poller runs, round by round.
//!
//! A round is `begin`, the control FSM if it is ready, each normal FSM, `end`. After `end` the runtime
//! releases, keeps, reschedules or removes each FSM. One handler belongs to one poller, so it may keep
//! what its rounds share: a write batch, buffers, a connection.

use crate::batch::Batch;
use crate::fsm::Fsm;
use crate::inbox::Inbox;

/// What is known at the start of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundInfo {
    /// Normal FSMs that the poller has or is about to fetch: an estimate. Fewer are handled if other pollers
    /// take some over or the round is cut short, more if newcomers join in.
    pub batch_size: usize,
    /// True if the control FSM is in the round.
    pub control: bool,
    /// The most messages that one FSM gets in this round.
    pub messages_per_round: usize,
}

/// The owner's code. It must not block for long in `handle_*`: the whole batch waits for it.
pub trait Handler<N: Fsm, C: Fsm>: Send {
    /// A round begins; also the place to look for a changed configuration.
    fn begin(&mut self, round: RoundInfo);

    /// The control FSM has messages.
    fn handle_control(&mut self, control: &mut C, inbox: &mut Inbox<'_, C::Message>);

    /// A normal FSM has messages, or is closing (then perhaps without any). One whose inbox is not
    /// emptied comes again in the next round.
    fn handle_normal(&mut self, fsm: &mut N, inbox: &mut Inbox<'_, N::Message>);

    /// The round ends: the effects of the whole batch are performed here, and fed back to the FSMs
    /// while they are still at hand.
    fn end(&mut self, batch: &mut Batch<'_, N>);

    /// An FSM that came to its end has left the system; its address is free again. Not called for
    /// FSMs removed after a panic, nor at shutdown.
    fn removed(&mut self, address: crate::Address, fsm: Box<N>) {
        let _ = (address, fsm);
    }
}
