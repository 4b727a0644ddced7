//! The typed refusals that a request can meet, and who has to act on each.
//!
//! **Invariants.** A request that is answered with an error other than
//! [`RequestError::Undetermined`] has had no effect and never will.
//!
//! **Not here.** Their form on the wire (`server::error`).

use thiserror::Error;
use types::{Peer, PeerId, Region, RegionId, StoreId};

/// Why a Region did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Ask the leader, where it is known. The client retries.
    #[error("the replica of Region {region_id} here is not its leader")]
    NotLeader {
        /// The Region.
        region_id: RegionId,
        /// The leader as this replica knows it.
        leader: Option<Peer>,
    },
    /// What this replica holds differs from what most hold, and it serves nobody. Ask the leader.
    #[error(
        "the replica of Region {region_id} here is quarantined: its data differs from the others'"
    )]
    Quarantined {
        /// The Region.
        region_id: RegionId,
        /// The leader as this replica knows it, if that is another one.
        leader: Option<Peer>,
    },
    /// No replica of the Region lives here. The client drops its route and retries.
    #[error("no replica of Region {region_id} on this store")]
    RegionNotFound {
        /// The Region.
        region_id: RegionId,
    },
    /// The Region has changed shape. The client installs the present one and retries.
    #[error("the Region's epoch has changed")]
    EpochNotMatch {
        /// The Regions that hold the keys now, as far as this store knows.
        current: Vec<Region>,
    },
    /// The key is not the Region's. The client drops its route and retries.
    #[error("the key is not in Region {}", .region.id)]
    KeyNotInRegion {
        /// The key.
        key: Vec<u8>,
        /// The Region that was addressed.
        region: Box<Region>,
    },
    /// The command was overtaken by a change of leadership and was not executed; retry.
    #[error("the command was overtaken by a change of leadership")]
    StaleCommand,
    /// A bound in messages or bytes is reached; back off and retry.
    #[error("the server is busy: {reason}")]
    ServerIsBusy {
        /// Which bound.
        reason: &'static str,
    },
    /// The request was for another store. The client drops its address and retries.
    #[error("the request is for store {asked}, this is store {actual}")]
    StoreNotMatch {
        /// As asked.
        asked: StoreId,
        /// This one.
        actual: StoreId,
    },
    /// The request was for another replica of the Region. The client drops its route and retries.
    #[error("the request is for Peer {asked}, this is Peer {actual}")]
    PeerMismatch {
        /// As asked.
        asked: PeerId,
        /// This one.
        actual: PeerId,
    },
    /// The command is larger than a log entry may be. The client must not retry.
    #[error("a command of {bytes} bytes is over the limit of {limit_bytes}")]
    EntryTooLarge {
        /// The Region.
        region_id: RegionId,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A change of the Region that does not fit it; nothing happened, and asking again won't help
    /// before the Region is another.
    #[error("Region {region_id} can't change like that: {reason}")]
    InvalidChange {
        /// The Region.
        region_id: RegionId,
        /// What does not fit.
        reason: &'static str,
    },
    /// The store is short of disk space: ordinary writes are refused, reads go on.
    #[error("the disk of this store is full")]
    DiskFull,
    /// The node is stopping; another will lead soon.
    #[error("the node is stopping")]
    Stopping,
    /// The command was proposed, and the replica stopped or lost its leadership before its fate was
    /// known.
    #[error("the replica stopped or was deposed before the fate of the command was known")]
    Undetermined,
}
