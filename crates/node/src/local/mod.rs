//! The directory of a node that is stopped, as it can be looked at and mended without the node.
//!
//! **Why not `recover`.** A start refuses at the first thing that it can't explain. Who looks at a directory that
//! does not start has to see all of it, so here a record that can't be read is a fact like any other.
//!
//! **Invariants.** Reading changes nothing and stops at no record. An engine that answers an error is the only
//! thing that ends it.
//!
//! **Not here.** What is wrong with what was read (`problems`), reading every entry and every pair (`records`), and
//! the only thing that writes (`recovery`). Opening the engines, and the lock.

mod problems;
mod records;
mod recovery;

pub use problems::{Problem, problems};
pub use records::{FamilyCount, LogCount, read_family, read_log};
pub use recovery::{Outcome, Planned, RecoveryOptions, perform, plan};

use crate::ident::Ident;
use crate::recover::continues;
use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator, KvSnapshot, RaftLog};
use raftstore::op::consistency::Quarantine;
use raftstore::state::{self, RegionRecord};
use std::collections::BTreeSet;
use thiserror::Error;
use types::{ApplyState, ClusterId, HardState, Region, RegionId, Space, StoreId, keys};

/// Why nothing can be said about a directory, or done to it.
#[derive(Debug, Error)]
pub enum LocalError {
    /// An engine failed.
    #[error("the storage engine failed while {doing}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: engine::Error,
    },
    /// The directory is no store's.
    #[error("the directory holds no store: its node was never through with its first start")]
    NoStore,
    /// The record that says whose the directory is can't be read.
    #[error(
        "the record that says whose the directory is can't be read: `verify` says what else is damaged"
    )]
    Ident,
    /// The store itself is named among those that are lost.
    #[error(
        "store {0} is the one of this directory: name those that are lost, not the one that is left"
    )]
    OwnStore(StoreId),
    /// A Region that is named has no record here.
    #[error("there is no Region {0} in this directory: `regions` lists those that are")]
    NoRegion(RegionId),
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(engine::Error) -> LocalError {
    move |source| LocalError::Engine { doing, source }
}

/// Whose a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalStore {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The store.
    pub store_id: StoreId,
}

impl LocalStore {
    /// Reads it.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub fn read<K: KvEngine>(kv: &K) -> Result<Self, LocalError> {
        match Ident::read(kv) {
            Ok(Some(ident)) => Ok(Self {
                cluster_id: ident.cluster_id,
                store_id: ident.store_id,
            }),
            Ok(None) => Err(LocalError::NoStore),
            Err(crate::StartError::Engine { source, .. }) => {
                Err(failed("reading the store's ident")(source))
            }
            Err(_) => Err(LocalError::Ident),
        }
    }
}

/// A record that there may be, and that may be unreadable: then why.
pub type Found<T> = Option<Result<T, String>>;

/// All that a directory says of one Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRegion {
    /// The Region.
    pub id: RegionId,
    /// Its shape, or that it was here.
    pub record: Found<RegionRecord>,
    /// How far its log was applied.
    pub applied: Found<ApplyState>,
    /// What its replica has promised.
    pub hard_state: Found<HardState>,
    /// The first and the last entry of its log.
    pub bounds: Option<(u64, u64)>,
    /// The terms of the entry that was applied last and of the last one, if the log has them.
    pub terms: (Option<u64>, Option<u64>),
    /// Whether the log goes on from the data; not, if a snapshot has just replaced that.
    pub continues: bool,
    /// Why the replica serves nobody.
    pub quarantine: Found<Quarantine>,
    /// Whether a snapshot was being installed.
    pub is_installing: bool,
    /// About how much its range takes. Bytes.
    pub size_bytes: Option<u64>,
}

/// What a store's replica of a Region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalState {
    /// A replica.
    Normal,
    /// A replica whose data a snapshot was replacing; the next start goes on with it.
    Installing,
    /// A replica of a Region that is about to merge into its neighbour.
    Merging,
    /// A replica that serves nobody, since its data differs from the others'.
    Quarantined,
    /// A replica that knows nothing of its Region yet.
    Uninitialised,
    /// One that was removed.
    Tombstone,
    /// One whose Region was taken in by a neighbour.
    Merged,
    /// Nobody knows: its record can't be read, or there is none.
    Unknown,
}

impl LocalState {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            LocalState::Normal => "normal",
            LocalState::Installing => "installing-snapshot",
            LocalState::Merging => "merging",
            LocalState::Quarantined => "quarantined",
            LocalState::Uninitialised => "uninitialised",
            LocalState::Tombstone => "tombstone",
            LocalState::Merged => "merged",
            LocalState::Unknown => "unknown",
        }
    }
}

impl LocalRegion {
    /// Its shape, if it has a replica here.
    pub fn region(&self) -> Option<&Region> {
        match self.record.as_ref()?.as_ref().ok()? {
            RegionRecord::Normal(region) | RegionRecord::Merging(region, _) => Some(region),
            RegionRecord::Tombstone(_) => None,
        }
    }

    /// How far its log was applied, if that can be read.
    pub fn applied(&self) -> Option<&ApplyState> {
        self.applied.as_ref()?.as_ref().ok()
    }

    /// What its replica has promised, if that can be read.
    pub fn hard_state(&self) -> Option<&HardState> {
        self.hard_state.as_ref()?.as_ref().ok()
    }

    /// Whether its replica on this store serves nobody.
    pub fn is_quarantined(&self, store: StoreId) -> bool {
        let me = self.region().and_then(|region| region.peer_on(store));
        match (&self.quarantine, me) {
            (Some(Ok(quarantine)), Some(me)) => quarantine.peer_id == me.id,
            _ => false,
        }
    }

    /// What its replica on this store is.
    pub fn state(&self, store: StoreId) -> LocalState {
        if self.is_installing {
            return LocalState::Installing;
        }
        match &self.record {
            Some(Ok(RegionRecord::Tombstone(tombstone))) => match tombstone.merged_into {
                Some(_) => LocalState::Merged,
                None => LocalState::Tombstone,
            },
            Some(Ok(_)) if self.is_quarantined(store) => LocalState::Quarantined,
            Some(Ok(RegionRecord::Merging(..))) => LocalState::Merging,
            Some(Ok(RegionRecord::Normal(_))) => LocalState::Normal,
            None if self.is_uninitialised() => LocalState::Uninitialised,
            None | Some(Err(_)) => LocalState::Unknown,
        }
    }

    /// A message has created the replica, which has voted at the most.
    fn is_uninitialised(&self) -> bool {
        let has_committed = self.hard_state().is_none_or(|state| state.commit > 0);
        self.applied.is_none() && self.bounds.is_none() && !has_committed
    }

    /// The last entry of its log as its data knows it.
    pub fn last_index(&self) -> Option<u64> {
        match (self.bounds, self.applied()) {
            (Some((_, last)), _) if self.continues => Some(last),
            (_, Some(applied)) => Some(applied.truncated_index),
            (bounds, None) => bounds.map(|(_, last)| last),
        }
    }
}

/// All Regions of a directory, in the order of their ids.
///
/// # Errors
/// An engine failed.
pub fn regions<K: KvEngine, L: RaftLog>(kv: &K, log: &L) -> Result<Vec<LocalRegion>, LocalError> {
    let logs = log.regions().map_err(failed("listing the Raft logs"))?;
    let mut ids: BTreeSet<RegionId> = logs.into_iter().collect();
    for range in [
        keys::REGION_STATE_RANGE,
        keys::APPLY_STATE_RANGE,
        keys::SNAPSHOT_MARK_RANGE,
    ] {
        ids.extend(ids_within(kv, range)?);
    }
    ids.into_iter().map(|id| region(kv, log, id)).collect()
}

/// The Regions whose records lie in this range of keys.
fn ids_within<K: KvEngine>(
    kv: &K,
    (lower, upper): (&[u8], &[u8]),
) -> Result<Vec<RegionId>, LocalError> {
    let doing = "listing the Regions";
    let snapshot = kv.snapshot();
    let mut iter = snapshot
        .iter(Cf::Raft, lower, upper)
        .map_err(failed(doing))?;
    let mut found = Vec::new();
    let mut valid = iter.seek_to_first().map_err(failed(doing))?;
    while valid {
        let id = iter.key().get(lower.len()..);
        if let Some(id) = id.and_then(|id| id.try_into().ok()) {
            found.push(RegionId(u64::from_be_bytes(id)));
        }
        valid = iter.next().map_err(failed(doing))?;
    }
    Ok(found)
}

/// All that a directory says of this Region; nothing at all, if it was never here.
///
/// # Errors
/// An engine failed.
pub fn region<K: KvEngine, L: RaftLog>(
    kv: &K,
    log: &L,
    id: RegionId,
) -> Result<LocalRegion, LocalError> {
    let doing = || failed("reading a Region's state");
    let get = |key: &[u8]| kv.get(Cf::Raft, key).map_err(doing());
    let record = decoded(get(&keys::region_state_key(id))?, RegionRecord::decode);
    let applied = decoded(get(&keys::apply_state_key(id))?, state::decode_apply_state);
    let bounds = log.bounds(id).map_err(doing())?;
    let hard_state = match log.hard_state(id) {
        Err(engine::Error::Corruption { reason, .. }) => Some(Err(reason)),
        other => other.map_err(doing())?.map(Ok),
    };
    let term = |index: Option<u64>| -> Result<Option<u64>, LocalError> {
        let Some(index) = index else {
            return Ok(None);
        };
        let entry = log.entry(id, index).map_err(doing())?;
        Ok(entry.map(|entry| entry.term))
    };
    let known: Option<ApplyState> = applied.as_ref().and_then(|found| found.clone().ok());
    let mut found = LocalRegion {
        id,
        record,
        terms: (
            term(known.map(|applied| applied.applied_index))?,
            term(bounds.map(|(_, last)| last))?,
        ),
        continues: match known {
            Some(applied) => continues(log, id, &applied, bounds).map_err(doing())?,
            None => true,
        },
        applied,
        hard_state,
        bounds,
        quarantine: decoded(get(&keys::quarantine_key(id))?, Quarantine::decode),
        is_installing: get(&keys::snapshot_mark_key(id))?.is_some(),
        size_bytes: None,
    };
    found.size_bytes = match found.region() {
        Some(region) => size(kv, region).map_err(doing())?.into(),
        None => None,
    };
    Ok(found)
}

fn size<K: KvEngine>(kv: &K, region: &Region) -> engine::Result<u64> {
    let space = Space::of(region.id);
    let start = space.key(&region.range.start);
    let end = space.end_key(&region.range.end);
    let sizes = [Cf::Default, Cf::Lock, Cf::Write].map(|cf| kv.approximate_size(cf, &start, &end));
    sizes.into_iter().sum()
}

fn decoded<T, E: ToString>(
    record: Option<Bytes>,
    decode: impl FnOnce(Bytes) -> Result<T, E>,
) -> Found<T> {
    record.map(|record| decode(record).map_err(|error| error.to_string()))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Regions as a directory may have them, for the tests of this module.
    //!
    //! **Not here.** Engines.

    use super::LocalRegion;
    use raftstore::state::RegionRecord;
    use types::{
        ApplyState, Epoch, HardState, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId,
    };

    /// A Region `[start, end)` with voters on these stores.
    pub(crate) fn shape(id: u64, range: (&str, &str), stores: &[u64]) -> Region {
        let peer = |store: &u64| Peer {
            id: PeerId(id * 10 + store),
            store_id: StoreId(*store),
            role: PeerRole::Voter,
        };
        Region {
            id: RegionId(id),
            range: KeyRange {
                start: range.0.as_bytes().to_vec(),
                end: range.1.as_bytes().to_vec(),
            },
            epoch: Epoch {
                conf_ver: 1,
                version: 1,
            },
            peers: stores.iter().map(peer).collect(),
        }
    }

    /// It, with a log `[6, 10]` of which all but one entry was applied.
    pub(crate) fn healthy(region: Region) -> LocalRegion {
        LocalRegion {
            id: region.id,
            record: Some(Ok(RegionRecord::Normal(region))),
            applied: Some(Ok(ApplyState {
                applied_index: 9,
                applied_term: 6,
                truncated_index: 5,
                truncated_term: 5,
            })),
            hard_state: Some(Ok(HardState {
                term: 6,
                vote: PeerId(0),
                commit: 8,
            })),
            bounds: Some((6, 10)),
            terms: (Some(6), Some(6)),
            continues: true,
            quarantine: None,
            is_installing: false,
            size_bytes: Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{healthy, shape};
    use super::*;
    use engine::mem::Disk;
    use engine::{Durability, KvBatch, RaftLogBatch};
    use raftstore::state::{MergedInto, Tombstone};
    use types::{Epoch, PeerId};

    #[test]
    fn a_directory_shows_every_region_that_any_record_or_log_names() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let mut batch = kv.batch();
        let region = shape(2, ("", ""), &[1]);
        let record = RegionRecord::Normal(region.clone()).encode();
        batch.put(Cf::Raft, &keys::region_state_key(RegionId(2)), &record);
        batch.put(Cf::Raft, &keys::apply_state_key(RegionId(3)), b"\xff");
        batch.put(Cf::Raft, &keys::snapshot_mark_key(RegionId(4)), b"mark");
        kv.write(&mut batch, Durability::Synced).unwrap();
        let mut logs = log.batch();
        logs.put_hard_state(RegionId(5), &HardState::default());
        log.write(&mut logs, Durability::Synced).unwrap();
        let found = regions(&kv, &log).unwrap();
        let ids: Vec<u64> = found.iter().map(|region| region.id.get()).collect();
        assert_eq!(ids, [2, 3, 4, 5]);
        let states: Vec<_> = found.iter().map(|r| r.state(StoreId(1))).collect();
        use LocalState::*;
        assert_eq!(states, [Normal, Unknown, Installing, Uninitialised]);
        assert_eq!(found[0].region(), Some(&region));
        assert!(matches!(found[1].applied, Some(Err(_))));
    }

    #[test]
    fn a_new_directory_is_no_stores() {
        let kv = Disk::new().open_kv("kv").unwrap();
        assert!(matches!(LocalStore::read(&kv), Err(LocalError::NoStore)));
        let mut batch = kv.batch();
        batch.put(Cf::Raft, keys::STORE_IDENT_KEY, b"?");
        kv.write(&mut batch, Durability::Synced).unwrap();
        assert!(matches!(LocalStore::read(&kv), Err(LocalError::Ident)));
    }

    #[test]
    fn a_replica_that_was_removed_is_told_from_one_that_was_taken_in() {
        let mut region = healthy(shape(2, ("", ""), &[1]));
        for (merged_into, state) in [
            (None, LocalState::Tombstone),
            (Some(MergedInto::default()), LocalState::Merged),
        ] {
            region.record = Some(Ok(RegionRecord::Tombstone(Tombstone {
                region_id: RegionId(2),
                epoch: Epoch::default(),
                peer_id: PeerId(21),
                merged_into,
            })));
            assert_eq!(region.state(StoreId(1)), state);
            assert_eq!(region.region(), None);
        }
    }

    #[test]
    fn a_log_that_a_snapshot_has_replaced_does_not_count() {
        let mut region = healthy(shape(2, ("", ""), &[1]));
        assert_eq!(region.last_index(), Some(10));
        region.continues = false;
        assert_eq!(region.last_index(), Some(5));
    }
}
