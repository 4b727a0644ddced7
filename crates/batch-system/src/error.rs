//! What can go wrong, and what the caller gets back.
//!
//! **Why generic.** A refused message and a refused FSM are handed back, never dropped: the sender
//! still owes somebody an answer.

use std::fmt;

/// A message that was not accepted, with the message.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// No FSM with this address, or one that is stopping.
    #[error("no such mailbox")]
    NotFound(M),
    /// The mailbox, or the shared byte budget, is full. The sender should slow down and retry.
    #[error("too many messages or bytes pending")]
    Full(M),
    /// The system is shutting down.
    #[error("the batch system has stopped")]
    Stopped(M),
}

impl<M> SendError<M> {
    /// The message that was refused.
    pub fn into_message(self) -> M {
        match self {
            SendError::NotFound(message)
            | SendError::Full(message)
            | SendError::Stopped(message) => message,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::NotFound(_) => "NotFound",
            SendError::Full(_) => "Full",
            SendError::Stopped(_) => "Stopped",
        })
    }
}

/// An FSM that was not registered, with the FSM.
#[derive(thiserror::Error)]
pub enum RegisterError<N> {
    /// The address is taken, perhaps by an FSM that is stopping and not gone yet.
    #[error("the address is taken")]
    Duplicate(Box<N>),
    /// The system is shutting down.
    #[error("the batch system has stopped")]
    Stopped(Box<N>),
}

impl<N> fmt::Debug for RegisterError<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegisterError::Duplicate(_) => "Duplicate",
            RegisterError::Stopped(_) => "Stopped",
        })
    }
}

/// Starting or changing a system failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that makes no sense; nothing was changed.
    #[error("invalid batch system config: {0}")]
    Config(&'static str),
    /// The operating system refused a thread. Pollers that were started go on.
    #[error("cannot start a poller")]
    Spawn(#[source] std::io::Error),
    /// The system has been shut down.
    #[error("the batch system has stopped")]
    Stopped,
}
