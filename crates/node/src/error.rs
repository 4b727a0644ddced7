//! Why a node does not start. Each message says what to do about it.

use thiserror::Error;
use types::{ClusterId, RegionId, StoreId};

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The engine failed.
    #[error("the storage engine failed while {doing}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: engine::Error,
    },
    /// The directory belongs to another cluster.
    #[error(
        "the data directory belongs to cluster {found}, but this node is configured for cluster \
         {expected}: point it to the right directory, or correct the list of first members"
    )]
    ForeignCluster {
        /// As configured.
        expected: ClusterId,
        /// As found.
        found: ClusterId,
    },
    /// The directory belongs to another store of the cluster.
    #[error(
        "the data directory belongs to store {found}, but this node is configured as store \
         {expected}: two nodes have exchanged their directories or names"
    )]
    ForeignStore {
        /// As configured.
        expected: StoreId,
        /// As found.
        found: StoreId,
    },
    /// The API version is fixed when a cluster is bootstrapped.
    #[error(
        "this cluster was bootstrapped with storage.api-version = {found}, and it can't be changed \
         to {expected}: set it back to {found}"
    )]
    ForeignApiVersion {
        /// As configured.
        expected: u32,
        /// As found.
        found: u32,
    },
    /// The Raft log or the key-value data is not what the other one needs.
    #[error(
        "Region {region}: {what}. Part of this store's data is lost; starting would break promises \
         that it made. Remove the whole data directory and let the store be filled anew from the \
         other replicas"
    )]
    Inconsistent {
        /// The Region.
        region: RegionId,
        /// What is wrong.
        what: String,
    },
    /// A record of the store's own state can't be read.
    #[error("the store's state is damaged: {what}")]
    Damaged {
        /// Which record, and why.
        what: String,
    },
    /// The Raft library refuses its configuration.
    #[error("the Raft configuration is refused")]
    Raft(#[from] raft::Error),
    /// The actor runtime refuses its configuration, or a thread can't be started.
    #[error("the actor runtime does not start")]
    BatchSystem(#[from] batch_system::Error),
    /// A thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[from] std::io::Error),
}

impl StartError {
    pub(crate) fn engine(doing: &'static str) -> impl FnOnce(engine::Error) -> Self {
        move |source| Self::Engine { doing, source }
    }
}
