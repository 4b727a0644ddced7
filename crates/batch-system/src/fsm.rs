//! What an owner of the batch system defines: messages and FSMs.
//!
//! **Why traits so small.** The runtime needs to know three things only: how many bytes a message
//! holds in memory, whether an FSM has come to its end, and which pool should run it.
//!
//! **Not here.** What a message means, and any identity beyond the address, a `u64`.

/// The address of a normal FSM: for a store, the id of its Region.
pub type Address = u64;

/// Something that is sent to an FSM.
pub trait Message: Send + 'static {
    /// Bytes of memory that this message keeps alive, counted against the shared byte budget while
    /// it waits. It must not change between sending and handling. Zero is not counted at all.
    fn size_bytes(&self) -> usize {
        0
    }
}

/// Which pool of pollers runs an FSM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// The pool of [`Config::pool_size`](crate::Config::pool_size) pollers.
    #[default]
    Normal,
    /// The pool of [`Config::low_pool_size`](crate::Config::low_pool_size) pollers; the normal pool
    /// where that size is zero.
    Low,
}

/// An actor: state that one thread at a time touches, driven by messages.
pub trait Fsm: Send + 'static {
    /// What is sent to it.
    type Message: Message;

    /// True once it has come to its end. The runtime then refuses new messages, lets the handler
    /// answer those that were accepted, and removes the FSM.
    fn is_stopped(&self) -> bool;

    /// Which pool should run it; may change over time, and is looked at after each round.
    fn priority(&self) -> Priority {
        Priority::Normal
    }
}
