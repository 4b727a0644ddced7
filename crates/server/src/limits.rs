//! What a request may cost, and the refusals that come before any work.
//!
//! **Why here and all together.** A request that is too large, malformed or meant for somebody else
//! must cost nothing but its decoding, and an operator must find every bound in one place.
//!
//! **Invariants.** A [`Refusal`] is final: the same request is refused again, and it has had no
//! effect.
//!
//! **Not here.** Bounds on what is already accepted (the node's budgets answer `ServerIsBusy`).

use proto::kvrpcpb;
use std::time::Duration;
use thiserror::Error;
use types::{ApiVersion, ClusterId, CodecError};

/// Bounds on requests and connections. [`Default`] gives what clients are built for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest key as a client sends it, in bytes.
    pub key_bytes_max: usize,
    /// The largest write that one entry of the Raft log may carry, in bytes.
    pub raft_entry_bytes_max: usize,
    /// The largest message on a connection, after decompression, in bytes.
    pub request_bytes_max: usize,
    /// The most that the answer of one scan or batch read may hold, in bytes.
    pub read_bytes_max: usize,
    /// The longest that one scan may take, in milliseconds.
    pub read_ms_max: u64,
    /// Scans and batch reads that may run at the same time; more of them wait.
    pub reads_concurrent_max: usize,
    /// Threads that scans and batch reads share; at least one.
    pub read_threads: usize,
    /// Bytes of the requests of scans and batch reads that run at the same time; one that does not fit any
    /// more is refused.
    pub read_request_bytes_max: usize,
    /// Bytes of all answers that wait to be sent; one that does not fit any more is refused.
    pub answer_bytes_max: usize,
    /// Commands under way on one `BatchCommands` stream; the stream is not read further until some
    /// are done.
    pub batch_commands_max: usize,
    /// Bytes of commands under way on one `BatchCommands` stream, likewise.
    pub batch_bytes_max: usize,
    /// Bytes of answers that wait for the client of one `BatchCommands` stream, likewise.
    pub batch_answer_bytes_max: usize,
    /// Open connections of clients; one more is closed, unless it is a store's.
    pub connections_max: usize,
    /// Open connections of other stores.
    pub store_connections_max: usize,
    /// A connection that has not said which protocol it speaks after so long is closed.
    pub first_bytes_timeout: Duration,
    /// A message that has begun and is not complete after so long ends its request.
    pub message_timeout: Duration,
    /// Streams (requests) at the same time on one connection.
    pub streams_per_connection_max: u32,
    /// The header list of one request, in bytes.
    pub header_list_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        Self {
            key_bytes_max: 8 * KIB,
            raft_entry_bytes_max: 8 * MIB,
            request_bytes_max: 16 * MIB,
            read_bytes_max: 32 * MIB,
            read_ms_max: 10_000,
            reads_concurrent_max: 64,
            read_threads: default_read_threads(),
            read_request_bytes_max: 64 * MIB,
            answer_bytes_max: 512 * MIB,
            batch_commands_max: 4_096,
            batch_bytes_max: 32 * MIB,
            batch_answer_bytes_max: 4 * MIB,
            connections_max: 4_096,
            store_connections_max: 256,
            first_bytes_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            streams_per_connection_max: 1_024,
            header_list_bytes_max: 16 * KIB as u32,
        }
    }
}

impl Limits {
    /// Refuses a key that is too long. Whether it is empty is the API version's business.
    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), Refusal> {
        if key.len() > self.key_bytes_max {
            return Err(Refusal::KeyTooLarge {
                bytes: key.len(),
                limit_bytes: self.key_bytes_max,
            });
        }
        Ok(())
    }
}

/// Four of five processors: the others are left to requests that are short.
fn default_read_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors * 4 / 5).max(1)
}

/// Why a request is refused for good. The text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The key is longer than a key may be.
    #[error("key too large: {bytes} bytes, the limit is {limit_bytes}")]
    KeyTooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A key or a range is not one that this cluster can hold.
    #[error("invalid key: {0}")]
    Key(#[from] CodecError),
    /// The request was made for another API version.
    #[error(
        "API version mismatch: the request is for {asked}, this cluster was bootstrapped with \
         storage.api-version = {}", .cluster.number()
    )]
    ApiVersion {
        /// What the request says.
        asked: &'static str,
        /// What the cluster is.
        cluster: ApiVersion,
    },
    /// The request is for another cluster.
    #[error("cluster id mismatch: the request is for cluster {asked}, this is cluster {actual}")]
    ForeignCluster {
        /// What the request says.
        asked: ClusterId,
        /// What this cluster is.
        actual: ClusterId,
    },
    /// Raw keys live in the default column family only: the others belong to transactions.
    #[error("column family {name:?} does not hold raw keys, only \"default\" does")]
    ColumnFamily {
        /// What the request says.
        name: String,
    },
    /// The times to live of a batch are neither none, nor one, nor one for each pair.
    #[error("{ttls} times to live for {pairs} pairs: give none, one, or one for each")]
    TtlCount {
        /// How many there are.
        ttls: usize,
        /// How many pairs there are.
        pairs: usize,
    },
    /// An algorithm that this server does not know.
    #[error("unknown checksum algorithm {0}")]
    ChecksumAlgorithm(i32),
}

/// The name of the API version that a request's context says.
pub(crate) fn api_version_name(asked: i32) -> &'static str {
    match kvrpcpb::ApiVersion::try_from(asked) {
        Ok(kvrpcpb::ApiVersion::V1) => "V1",
        Ok(kvrpcpb::ApiVersion::V1ttl) => "V1 with TTL",
        Ok(kvrpcpb::ApiVersion::V2) => "V2",
        Err(_) => "an unknown version",
    }
}
