//! Why a node does not start. Each message says what to do about it.

use crate::identity::MembersError;
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
    /// The list of first members is refused.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The directory belongs to another member of its cluster.
    #[error(
        "the data directory belongs to member {found:?} (store {store} of cluster {cluster}), but \
         this node is configured as {configured:?}: point it to its own directory, or set its name \
         back to {found:?}"
    )]
    ForeignName {
        /// As configured.
        configured: String,
        /// As found.
        found: String,
        /// The directory's store.
        store: StoreId,
        /// The directory's cluster.
        cluster: ClusterId,
    },
    /// The list has members that the directory's cluster was not founded with.
    #[error(
        "the data directory belongs to cluster {cluster} with the first members {known}, but the \
         list of first members has {names}, too: point this node to its own directory, or set the \
         list back; further stores join with --join"
    )]
    UnknownMembers {
        /// Those that only the list has.
        names: String,
        /// Those of the directory.
        known: String,
        /// The directory's cluster.
        cluster: ClusterId,
    },
    /// The list lacks members that the directory's cluster was founded with.
    #[error(
        "the data directory belongs to cluster {cluster}, and the list of first members lacks its \
         members {names}: add them, with the addresses that they have today"
    )]
    UnlistedMembers {
        /// Those that only the directory has.
        names: String,
        /// The directory's cluster.
        cluster: ClusterId,
    },
    /// A new directory can't begin in two ways.
    #[error(
        "the data directory is new, and this node is told both to found a cluster (initial-cluster) \
         and to join one (join): drop one of the two"
    )]
    FoundOrJoin,
    /// The directory's store joined its cluster later.
    #[error(
        "the data directory belongs to store {store}, which joined cluster {cluster} and is none of its \
         first members: start it with --join or without either, or point this node to its own directory"
    )]
    JoinedDirectory {
        /// The directory's store.
        store: StoreId,
        /// The directory's cluster.
        cluster: ClusterId,
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
        "Region {region}: {what}. Part of this store's data is lost or not mounted, and starting \
         without it would break promises that it made. Bring back the directory as it was when the \
         node stopped; if it is lost, leave this node down: the others serve as long as they are a \
         majority. Do not empty the directory and start again, and do not use an older copy: a store \
         that forgot its votes can lose acknowledged writes"
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
