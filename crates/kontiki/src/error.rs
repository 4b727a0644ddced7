//! What ends a command: the message for the person who called it, and the exit code.
//!
//! **Invariants.** Each message says what was attempted. The source is kept, and printed below it.
//!
//! **Not here.** What went wrong with single lines or pairs: that is in a report.

use crate::config::Problems;
use std::error::Error as StdError;
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has to be changed.
    #[error("{0}")]
    Config(#[from] Problems),
    /// An argument has to be changed.
    #[error("{0}")]
    Usage(String),
    /// A file, folder or port could not be used.
    #[error("{attempt}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The cluster could not be reached, or did not do what it was asked to.
    #[error(transparent)]
    Cluster(#[from] client::Error),
    /// The node does not start with this data, or on this machine.
    #[error("the node does not start")]
    Start(#[source] node::StartError),
    /// An engine failed while it was opened or synced.
    #[error("the storage engine failed")]
    Engine(#[source] engine::Error),
    /// The data folder of a stopped node can't be looked at, or not be changed as asked.
    #[error(transparent)]
    Local(#[from] node::local::LocalError),
    /// The store's directory is new, but the store is not.
    #[error("the node does not start")]
    Newcomer(#[from] server::NewcomerError),
    /// The node must not join the cluster that it was told to.
    #[error("the node does not start")]
    Join(#[from] server::JoinError),
    /// The process was asked to stop before the start had ended.
    #[error("asked to stop")]
    Interrupted,
    /// A part of a running node has ended, which it does by a panic only.
    #[error("{0} has ended by a panic: the node can't go on")]
    PartEnded(&'static str),
    /// A part of the program ended by a panic.
    #[error("a part of the program failed")]
    Failed(#[source] tokio::task::JoinError),
    /// The standard output does not take the result.
    #[error("writing to the standard output")]
    Output(#[source] std::io::Error),
    /// The command ran and has reported that it did not do everything.
    #[error("{0}")]
    Incomplete(String),
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: what was attempted, with the cause to come.
    pub fn io(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    /// 2 when the caller has to write the command or its configuration differently, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Config(_) | Error::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether whoever read the output has had enough: no failure of the command.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Error::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The message and all its causes, in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some errors repeat their source in their own message.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_printed_once() {
        let cause = || std::io::Error::other("disk on fire");
        assert_eq!(
            Error::io("reading x")(cause()).in_full(),
            "reading x: disk on fire"
        );
        let repeated = Error::io("reading x: disk on fire")(cause());
        assert_eq!(repeated.in_full(), "reading x: disk on fire");
    }
}
