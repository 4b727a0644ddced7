//! What ends a run without a result.

use std::path::PathBuf;
use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server process could not be driven.
    #[error(transparent)]
    Process(#[from] e2e::Error),
    /// A node has ended though nobody killed it.
    #[error("node n{} has ended by itself; the end of its output:\n{tail}", node + 1)]
    Ended {
        /// Which one.
        node: usize,
        /// What it said last.
        tail: String,
    },
    /// The cluster should serve and does not.
    #[error("not every Region was served within {within:?}: {last}")]
    Outage {
        /// The time it was given.
        within: Duration,
        /// What was heard last.
        last: String,
    },
    /// Nobody leads.
    #[error("nobody leads {what} after {within:?}")]
    NoLeader {
        /// What is not led.
        what: String,
        /// The time it was given.
        within: Duration,
    },
    /// Our own client can't find the cluster.
    #[error("the client: {0}")]
    Client(#[from] client::Error),
    /// Replicas that should be equal are not, or can't be compared.
    #[error("the replicas of Region {region}: {said}")]
    Replicas {
        /// Which Region.
        region: u64,
        /// What the comparison said.
        said: String,
    },
    /// A file or folder can't be used.
    #[error("can't use {}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
