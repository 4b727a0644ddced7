//! What an operation can end with, by what the caller can do about it.

use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No placement member answered. Check the addresses; nothing was written.
    #[error("no placement member answers at {endpoints:?}; the last answer: {last}")]
    NoMember {
        /// Where they were looked for.
        endpoints: Vec<String>,
        /// What was heard last.
        last: String,
    },
    /// The endpoints belong to different clusters.
    #[error("{endpoint} belongs to cluster {actual}, the others to {expected}")]
    ForeignMember {
        /// The odd one.
        endpoint: String,
        /// Its cluster's id.
        actual: u64,
        /// The cluster id of the first that answered.
        expected: u64,
    },
    /// The deadline has passed, and the request that it passed for had no effect. It may be tried
    /// again.
    #[error("not done within {deadline:?}; the last answer: {last}")]
    Deadline {
        /// The time that it was given.
        deadline: Duration,
        /// Why the last attempt did not succeed.
        last: String,
    },
    /// A write may or may not have taken effect: only a read can tell.
    #[error("it can't be known whether the write took effect: {last}")]
    Undetermined {
        /// Why the last attempt did not succeed.
        last: String,
    },
    /// A server refuses the request as it is; trying again is of no use. It had no effect.
    #[error("refused: {reason}")]
    Refused {
        /// The server's words.
        reason: String,
    },
    /// The request does not make sense; nothing was sent.
    #[error("not a valid request: {0}")]
    Invalid(#[from] types::CodecError),
    /// The write does not fit into one entry of the Raft log. Write less at once.
    #[error("too large for Region {region_id}: {bytes} bytes")]
    TooLarge {
        /// The Region that refused it.
        region_id: u64,
        /// The size of the entry that it would have been.
        bytes: u64,
    },
    /// The stores' disks take no more ordinary writes. Make room.
    #[error("disk full on stores {stores:?}: {reason}")]
    DiskFull {
        /// The stores concerned.
        stores: Vec<u64>,
        /// The server's words.
        reason: String,
    },
    /// The keyspace does not exist.
    #[error("there is no keyspace {0:?}")]
    NoKeyspace(String),
    /// A server's answer does not follow the protocol.
    #[error("a server answers against the protocol: {0}")]
    Protocol(String),
}
