//! What can go wrong, and what the caller gets back.
//!
//! **Why generic.** A refused task is handed back, never dropped: somebody waits for its answer.

use std::fmt;

/// Which bound of a pool was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`Config::tasks_max`](crate::Config::tasks_max).
    Tasks,
    /// [`Config::bytes_max`](crate::Config::bytes_max).
    Bytes,
}

/// A task that was not accepted, with the task.
#[derive(thiserror::Error)]
pub enum SpawnError<T> {
    /// Too much is in the pool. Whoever asked should slow down and retry.
    #[error("too many {} in the pool", if *.1 == Full::Tasks { "tasks" } else { "bytes" })]
    Busy(T, Full),
    /// The pool has been shut down.
    #[error("the pool has stopped")]
    Stopped(T),
}

impl<T> SpawnError<T> {
    /// The task that was refused.
    pub fn into_task(self) -> T {
        match self {
            SpawnError::Busy(task, _) | SpawnError::Stopped(task) => task,
        }
    }
}

impl<T> fmt::Debug for SpawnError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Busy(_, full) => write!(f, "Busy({full:?})"),
            SpawnError::Stopped(_) => f.write_str("Stopped"),
        }
    }
}

/// Starting or changing a pool failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that makes no sense; nothing was changed.
    #[error("invalid pool config: {0}")]
    Config(&'static str),
    /// The operating system refused a thread. A pool that runs goes on with those it has.
    #[error("cannot start a thread of the pool")]
    Spawn(#[source] std::io::Error),
    /// The pool has been shut down.
    #[error("the pool has stopped")]
    Stopped,
}
