//! The one error type of this crate. What is answered to clients is its text, so some of the words
//! are fixed: clients look for "not leader", and for "invalid store ID" with "not found".
//!
//! Who acts: `NotLeader`, `Loading`, `Busy`, `PersistFailed` mean *retry*; `StateUnusable` needs an operator;
//! everything else means *reject*: the same request fails again.

use types::{Epoch, RegionId, StoreId};

/// What this crate's fallible functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the host could not persist a write. The write may still come true later: the host can't
/// always know. Nothing was promised on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PersistFailed {
    /// What the host says about it.
    pub reason: String,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This node does not lead the placement Region, or no longer does.
    #[error("not leader of placement{}", hint(.leader))]
    NotLeader {
        /// Who does, if that is known. This crate does not know it; the host may fill it in.
        leader: Option<StoreId>,
    },
    /// This node leads, but the state was not there in time.
    #[error("placement has just got a leader that is still reading its state")]
    Loading,
    /// Too many bytes of requests are pending.
    #[error("placement is busy: requests of {pending_bytes} bytes are pending")]
    Busy {
        /// How many.
        pending_bytes: usize,
    },
    /// The change could not be replicated.
    #[error("placement could not persist the change")]
    PersistFailed(#[from] PersistFailed),
    /// The persisted state can't be read: it is damaged, or a newer version wrote it.
    #[error("placement state is unusable at key {key:?}: {reason}")]
    StateUnusable {
        /// The key at fault, printable.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such store.
    #[error("invalid store ID {0}, not found")]
    StoreNotFound(StoreId),
    /// The store has left the cluster for good.
    #[error("store is tombstone: store {0} was drained and has left; start it as a new store")]
    StoreTombstone(StoreId),
    /// A store can't be taken out of service or back into it.
    #[error("store {store_id} {reason}")]
    StoreRefused {
        /// The store.
        store_id: StoreId,
        /// Why, as the rest of a sentence.
        reason: String,
    },
    /// There is no such Region, or it has not reported to this leader yet.
    #[error("region {0} not found")]
    RegionNotFound(RegionId),
    /// An operator is at work on the Region.
    #[error("region {region_id} has an operator already: {operator}")]
    OperatorExists {
        /// The Region.
        region_id: RegionId,
        /// What that one is for.
        operator: &'static str,
    },
    /// As many operators of the kind are at work as may be, or a store is given no more for now.
    #[error("no operator for region {region_id}: {limit} is reached")]
    OperatorLimit {
        /// The Region.
        region_id: RegionId,
        /// Which limit.
        limit: &'static str,
    },
    /// What is asked for the Region can't be done.
    #[error("no operator for region {region_id}: {reason}")]
    OperatorRefused {
        /// The Region.
        region_id: RegionId,
        /// Why.
        reason: &'static str,
    },
    /// No operator was at work on the Region lately.
    #[error("region {0} has no operator")]
    OperatorNotFound(RegionId),
    /// There is no setting of this name.
    #[error("there is no setting {name:?}{}", suggestion(.nearest))]
    UnknownSetting {
        /// The name.
        name: String,
        /// The name that may be meant.
        nearest: Option<String>,
    },
    /// A setting can't have this value.
    #[error("{name} can't be {value:?}: it is {expected}")]
    InvalidSetting {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// There is no scheduler of this name.
    #[error("there is no scheduler {name:?}{}", suggestion(.nearest))]
    UnknownScheduler {
        /// The name.
        name: String,
        /// The name that may be meant.
        nearest: Option<String>,
    },
    /// Another store has this address already.
    #[error("duplicated store address {address:?}: store {store_id} has it")]
    StoreAddressTaken {
        /// The address.
        address: String,
        /// Who has it.
        store_id: StoreId,
    },
    /// A store's description that makes no sense.
    #[error("invalid store {store_id}: {reason}")]
    InvalidStore {
        /// The id in the request.
        store_id: StoreId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A Region's report that makes no sense.
    #[error("invalid region {region_id}: {reason}")]
    InvalidRegion {
        /// The id in the report.
        region_id: RegionId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The report is older than what is known.
    #[error(
        "region {region_id} is stale: {known_id} is known with epoch {known:?}, reported is {reported:?}"
    )]
    StaleRegion {
        /// The Region reported.
        region_id: RegionId,
        /// The epoch reported.
        reported: Epoch,
        /// The Region that proves it: the same, or one that owns a part of its range now.
        known_id: RegionId,
        /// That one's epoch.
        known: Epoch,
    },
    /// The report comes from a leader that has been replaced.
    #[error(
        "region {region_id} was reported by its leader of term {reported}, known is term {known}"
    )]
    StaleTerm {
        /// The Region reported.
        region_id: RegionId,
        /// The term reported.
        reported: u64,
        /// The newest term known.
        known: u64,
    },
    /// There is no keyspace of this name.
    #[error("keyspace {name:?} does not exist")]
    KeyspaceNotFound {
        /// The name asked for.
        name: String,
    },
    /// A number of timestamps that no batch can have.
    #[error("{count} timestamps were asked for; a batch has 1 to {max}")]
    InvalidTimestampCount {
        /// The number asked for.
        count: u32,
        /// The most there can be.
        max: u64,
    },
    /// The last millisecond that fits into a timestamp has been used.
    #[error("no timestamp is left")]
    TimestampsExhausted,
    /// The bootstrapped cluster is another one than this node's.
    #[error("the placement state belongs to cluster {found}, this node to cluster {expected}")]
    ForeignCluster {
        /// This node's cluster.
        expected: types::ClusterId,
        /// The cluster in the state.
        found: types::ClusterId,
    },
}

impl Error {
    /// The answer of a node that does not lead, and does not know who does.
    pub const NOT_LEADER: Error = Error::NotLeader { leader: None };

    /// Whether the same request may succeed later, or elsewhere.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::NotLeader { .. }
            | Error::Loading
            | Error::Busy { .. }
            | Error::PersistFailed(_) => true,
            Error::StateUnusable { .. }
            | Error::StoreNotFound(_)
            | Error::StoreTombstone(_)
            | Error::StoreRefused { .. }
            | Error::RegionNotFound(_)
            | Error::OperatorExists { .. }
            | Error::OperatorLimit { .. }
            | Error::OperatorRefused { .. }
            | Error::OperatorNotFound(_)
            | Error::UnknownSetting { .. }
            | Error::InvalidSetting { .. }
            | Error::UnknownScheduler { .. }
            | Error::StoreAddressTaken { .. }
            | Error::InvalidStore { .. }
            | Error::InvalidRegion { .. }
            | Error::StaleRegion { .. }
            | Error::StaleTerm { .. }
            | Error::KeyspaceNotFound { .. }
            | Error::InvalidTimestampCount { .. }
            | Error::TimestampsExhausted
            | Error::ForeignCluster { .. } => false,
        }
    }
}

fn hint(leader: &Option<StoreId>) -> String {
    leader.map_or_else(String::new, |store| {
        format!(", the leader is store {store}")
    })
}

fn suggestion(nearest: &Option<String>) -> String {
    let hint = |name: &String| format!("; did you mean {name:?}?");
    nearest.as_ref().map_or_else(String::new, hint)
}
