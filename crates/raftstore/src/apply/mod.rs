//! The applier: what committed entries do to the key-value state of one Region.
//!
//! Every replica runs the same entries in the same order and must come to the same state, so nothing
//! here looks at a clock or at who leads; a command that needs the time carries it.
//!
//! **Crash.** All writes of one round, and the index they bring the Region to, are one atomic batch
//! ([`Applier::finish_round`] adds the index): after a crash the log is replayed from exactly there.
//! Replies are released by the caller after that batch is written.
//!
//! **Invariants.** Entries come without gaps. The applied index never goes back. A command that was
//! checked against another epoch than the Region's present one has no effect. Once its replica is
//! removed, an applier applies nothing any more.
//!
//! **The entry that removes this replica** writes nothing: its Peer may still allow reads until it hears
//! of the removal. It then has the applier [destroy](Applier::destroy) what is here; a crash before that
//! applies the entry again.
//!
//! **Not here.** The engine: the applier writes through [`ApplyStore`]. The rules of each change of the
//! Region itself (`op`).

use crate::admin::{Admin, Cut, PeerChange, PeerChanges};
use crate::codec::DecodeError;
use crate::command::{BatchReader, Logged, Mutation, Outcome};
use crate::effect::{ApplyEntry, Reply};
use crate::error::RequestError;
use crate::op::consistency::{HashWish, Quarantine, Verdict};
use crate::op::measure::Size;
use crate::op::merge::{ReadySource, SourceWish};
use crate::op::snapshot::InstallSnapshot;
use crate::op::{conf_change, split};
use crate::peer::conf_change_context;
use crate::state::{Merging, RegionRecord, Tombstone, encode_apply_state, encode_epoch};
use bytes::Bytes;
use engine::Cf;
use merge::Parked;
use std::sync::Arc;
use thiserror::Error;
use types::{
    ApplyState, CodecError, EntryKind, Epoch, LogEntry, RawValue, Region, RegionId, RequestId,
    Space, StoreId, keys,
};

mod consistency;
mod merge;

#[cfg(test)]
pub(crate) mod map;
#[cfg(test)]
mod tests;

/// The key-value state as the applier sees it.
pub trait ApplyStore {
    /// From here on [`Self::get`] shows every write. What was written before this call is consistent
    /// with the indexes that were written with it, so the store may write it out.
    fn begin_reads(&mut self) -> engine::Result<()>;
    /// The value of an engine key.
    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>>;
    /// Sets an engine key.
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]);
    /// Removes an engine key.
    fn delete(&mut self, cf: Cf, key: &[u8]);
    /// Removes the engine keys in `[start, end)`, a real range.
    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]);
    /// Has the Region hashed as it is after what was written before this call, which is consistent with
    /// the indexes that were written with it.
    fn pin(&mut self, wish: HashWish);
}

/// The answer to one request.
pub type Answer = (RequestId, Result<Reply, RequestError>);

/// What a round of one applier brings: for others to hear once its writes can be read.
#[derive(Debug, Default)]
pub struct Applied {
    /// In the order of the commands.
    pub answers: Vec<Answer>,
    /// In the order of the entries.
    pub changes: Vec<RegionChange>,
    /// Sources that targets wait for.
    pub wishes: Vec<SourceWish>,
    /// Snapshots that nothing keeps any more from taking the place of what their Regions hold.
    pub installs: Vec<InstallSnapshot>,
}

/// The Region is another since an entry. Its Peer has to hear of it before it hears that the entry is
/// applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionChange {
    /// The Region.
    pub region_id: RegionId,
    /// The entry.
    pub index: u64,
    /// What it did.
    pub change: Change,
}

/// What an entry changed beside data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The Region was cut into these, in the order of their keys; the last one is what is left of it.
    Split(Vec<Region>),
    /// Its membership is that of this shape now.
    Peers {
        /// What was asked for.
        changes: Vec<PeerChange>,
        /// What came of it.
        region: Region,
    },
    /// The log begins behind this entry.
    CompactLog {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// It begins to merge into a neighbour, goes on with that, or is alone again.
    Merging {
        /// Its shape.
        region: Region,
        /// The merge that it is in.
        merging: Option<Merging>,
    },
    /// It has taken a neighbour in.
    Merged {
        /// The term of the entry.
        term: u64,
        /// Its shape.
        region: Region,
        /// The neighbour's replica.
        source: Tombstone,
        /// If that was quarantined, and this replica was not: its own quarantine now.
        inherits: Option<Box<Quarantine>>,
    },
    /// What it holds at this entry is being hashed.
    Hashing,
    /// Its replicas were compared.
    Verified(Verdict),
}

/// Why an entry could not be applied. The replica contradicts its log: the store must stop.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The entry can't be read.
    #[error("entry {index} can't be read")]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A stored value can't be read.
    #[error("a value that entry {index} reads is damaged")]
    Value {
        /// The entry's index.
        index: u64,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// The engine failed.
    #[error("reading for entry {index}")]
    Engine {
        /// The entry's index.
        index: u64,
        /// Why.
        #[source]
        source: engine::Error,
    },
    /// A change of membership that says nothing.
    #[error("entry {index} is a change of membership that can't be read")]
    ConfChange {
        /// Its index.
        index: u64,
    },
}

/// Applies the log of one Region.
#[derive(Debug)]
pub struct Applier {
    /// Shared with the Peer, until one of them changes.
    region: Arc<Region>,
    store_id: StoreId,
    space: Space,
    state: ApplyState,
    is_dirty: bool,
    /// As a source.
    merging: Option<Merging>,
    /// As a source: a target waits for it, or has taken it in.
    frozen_for: Option<SourceWish>,
    /// As a target that waits for a source.
    /// Boxed: hardly ever there.
    parked: Option<Box<Parked>>,
    /// As a target: the source that it need not wait for.
    ready_source: Option<Box<ReadySource>>,
    quarantine: Option<Box<Quarantine>>,
    /// Written since it was asked last; what was overwritten counts again.
    growth: Size,
    /// Keys that were deleted since it was asked last; a range counts as any number.
    deletions: u64,
    /// Reused for engine keys.
    key: Vec<u8>,
}

impl Applier {
    /// An applier on the store `store_id` that continues at `state`.
    pub fn new(region: impl Into<Arc<Region>>, store_id: StoreId, state: ApplyState) -> Self {
        let region = region.into();
        Self {
            space: Space::of(region.id),
            region,
            store_id,
            state,
            is_dirty: false,
            merging: None,
            frozen_for: None,
            parked: None,
            ready_source: None,
            quarantine: None,
            growth: Size::default(),
            deletions: 0,
            key: Vec::new(),
        }
    }

    /// The Region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// How far it has come, the current round included.
    pub fn state(&self) -> ApplyState {
        self.state
    }

    /// What was written since the last call that returned it, once that is `step` or more in bytes or
    /// keys.
    pub fn take_growth(&mut self, step: Size) -> Option<Size> {
        let has_grown = self.growth.bytes >= step.bytes || self.growth.keys >= step.keys;
        has_grown.then(|| std::mem::take(&mut self.growth))
    }

    /// Whether `step` or more keys may have been deleted since the last call that said so.
    pub fn take_deletions(&mut self, step: u64) -> bool {
        let has_shrunk = self.deletions >= step;
        if has_shrunk {
            self.deletions = 0;
        }
        has_shrunk
    }

    /// Goes on where a snapshot has put the Region.
    pub fn restore(&mut self, region: Region, state: ApplyState) {
        assert!(!self.is_dirty, "what was applied before is written");
        (self.region, self.state) = (Arc::new(region), state);
        self.merging = None;
    }

    /// Applies entries that follow the last ones.
    pub fn apply(
        &mut self,
        entries: Vec<ApplyEntry>,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<(), ApplyError> {
        for ApplyEntry { entry, requests } in entries {
            if let Some(parked) = &mut self.parked {
                parked.entries.push_back(ApplyEntry { entry, requests });
                continue;
            }
            if self.is_removed() || self.is_frozen() {
                let why = self.why_not_applied();
                let answers = requests.into_iter().map(|id| (id, Err(why.clone())));
                out.answers.extend(answers);
                continue;
            }
            assert_eq!(
                entry.index,
                self.state.applied_index + 1,
                "a gap in the entries of Region {}",
                self.region.id
            );
            if self.must_wait(&entry, out)? {
                let parked = self.parked.as_mut().expect("it waits");
                parked.entries.push_back(ApplyEntry { entry, requests });
                continue;
            }
            let (index, term) = (entry.index, entry.term);
            let answered = out.answers.len();
            self.apply_entry(entry, requests, store, out)?;
            self.distrust(&mut out.answers[answered..]);
            self.state.applied_index = index;
            self.state.applied_term = term;
            self.is_dirty = !self.is_removed();
        }
        Ok(())
    }

    /// Adds the applied index to the round's batch, unless it is there. To be called before another
    /// Region writes to the same batch.
    pub fn finish_round(&mut self, store: &mut impl ApplyStore) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let key = keys::apply_state_key(self.region.id);
        store.put(Cf::Raft, &key, &encode_apply_state(&self.state));
    }

    /// Whether the Region has no replica here any more.
    fn is_removed(&self) -> bool {
        self.region.peer_on(self.store_id).is_none()
    }

    fn apply_entry(
        &mut self,
        entry: LogEntry,
        requests: Vec<RequestId>,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<(), ApplyError> {
        let (index, term) = (entry.index, entry.term);
        if entry.kind != EntryKind::Normal {
            let result = self.change_peers(&entry, store, &mut out.changes)?;
            let answers = requests.into_iter().map(|id| (id, result.clone()));
            out.answers.extend(answers);
            return Ok(());
        }
        if entry.data.is_empty() {
            // A new leader's first entry.
            assert!(requests.is_empty(), "nobody asks for an empty entry");
            return Ok(());
        }
        let unreadable = |source| ApplyError::Entry { index, source };
        let mut reader = BatchReader::open(entry.data).map_err(unreadable)?;
        if reader.reads() {
            self.begin_reads(index, store)?;
        }
        let epoch = reader.epoch();
        let is_current = epoch.version == self.region.epoch.version;
        let mut requests = requests.into_iter();
        while let Some(command) = reader.next().map_err(unreadable)? {
            let result = match command {
                Logged::Admin(admin) => self.administer((index, term), epoch, &admin, store, out),
                command if is_current => self
                    .execute(index, command, &mut reader, store)
                    .map(|outcome| Ok(Reply::Command(outcome)))?,
                command => {
                    reader.skip(&command).map_err(unreadable)?;
                    Err(self.epoch_not_match())
                }
            };
            if let Some(request) = requests.next() {
                out.answers.push((request, result));
            }
        }
        assert!(
            requests.next().is_none(),
            "more requests than commands in entry {index}"
        );
        Ok(())
    }

    fn epoch_not_match(&self) -> RequestError {
        RequestError::EpochNotMatch {
            current: vec![Region::clone(&self.region)],
        }
    }

    fn administer(
        &mut self,
        place: (u64, u64),
        epoch: Epoch,
        admin: &Admin,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        let index = place.0;
        match admin {
            Admin::Split(cuts) => {
                let parts = self.split(epoch, cuts, store)?;
                out.changes.push(RegionChange {
                    region_id: self.region.id,
                    index,
                    change: Change::Split(parts.clone()),
                });
                Ok(Reply::Command(Outcome::Split(parts)))
            }
            Admin::CompactLog { index: last, term } => {
                if (self.state.truncated_index + 1..index).contains(last) {
                    (self.state.truncated_index, self.state.truncated_term) = (*last, *term);
                    let (last, term) = (*last, *term);
                    out.changes.push(RegionChange {
                        region_id: self.region.id,
                        index,
                        change: Change::CompactLog { index: last, term },
                    });
                }
                Ok(Reply::Command(Outcome::Written))
            }
            Admin::PrepareMerge(target) => self.prepare_merge(place, epoch, target, store, out),
            Admin::SealMerge { index: began } => self.seal_merge(index, *began, store, out),
            Admin::CommitMerge(source) => self.commit_merge(place, epoch, source, store, out),
            Admin::RefuseMerge { .. } => self.refuse_merge(index, epoch, store, out),
            Admin::RollbackMerge {
                index: began,
                unless_sealed,
            } => self.rollback_merge(index, (*began, *unless_sealed), store, out),
            Admin::ComputeHash => Ok(self.compute_hash(index, store, out)),
            Admin::VerifyHash(verdict) => Ok(self.verify_hash(index, verdict, store, out)),
        }
    }

    fn split(
        &mut self,
        epoch: Epoch,
        cuts: &[Cut],
        store: &mut impl ApplyStore,
    ) -> Result<Vec<Region>, RequestError> {
        // The Peers of the new Regions were named for just these Peers.
        if epoch != self.region.epoch {
            return Err(self.epoch_not_match());
        }
        let parts = split::parts(&self.region, cuts)?;
        split::write(&parts, store);
        self.quarantine_parts(&parts, store);
        self.region = Arc::new(parts.last().expect("a split has parts").clone());
        Ok(parts)
    }

    fn change_peers(
        &mut self,
        entry: &LogEntry,
        store: &mut impl ApplyStore,
        changes: &mut Vec<RegionChange>,
    ) -> Result<Result<Reply, RequestError>, ApplyError> {
        let index = entry.index;
        let context = conf_change_context(&entry.data).ok_or(ApplyError::ConfChange { index })?;
        let asked =
            PeerChanges::decode(context).map_err(|source| ApplyError::Entry { index, source })?;
        if asked.epoch.conf_ver != self.region.epoch.conf_ver {
            return Ok(Err(self.epoch_not_match()));
        }
        let region = match conf_change::changed(&self.region, &asked.changes) {
            Ok(region) => region,
            Err(error) => return Ok(Err(error)),
        };
        if region.peer_on(self.store_id).is_none() {
            // What the round has written so far; this entry counts as applied only with the end.
            self.finish_round(store);
        } else {
            split::put_shape(&region, store);
        }
        self.region = Arc::new(region.clone());
        changes.push(RegionChange {
            region_id: region.id,
            index,
            change: Change::Peers {
                changes: asked.changes,
                region: region.clone(),
            },
        });
        Ok(Ok(Reply::Command(Outcome::Changed(region))))
    }

    /// Removes the replica: its data and its state go, and the tombstone stays. Nothing is applied after
    /// it. Before the log is removed, this has to be written synced.
    pub fn destroy(&mut self, tombstone: Tombstone, store: &mut impl ApplyStore) {
        let range = &self.region.range;
        // An uninitialised replica has neither a range nor data.
        if !self.region.peers.is_empty() {
            let (start, end) = (self.space.key(&range.start), self.space.end_key(&range.end));
            for cf in [Cf::Default, Cf::Lock, Cf::Write] {
                store.delete_range(cf, &start, &end);
            }
        }
        let id = tombstone.region_id;
        store.delete(Cf::Raft, &keys::apply_state_key(id));
        store.delete(Cf::Raft, &keys::quarantine_key(id));
        match tombstone.merged_into {
            // It does not know what was before: see `History`.
            Some(_) => {
                let since = encode_epoch(tombstone.epoch);
                store.put(Cf::Raft, &keys::restored_epoch_key(id), &since);
            }
            None => store.delete(Cf::Raft, &keys::restored_epoch_key(id)),
        }
        store.delete(Cf::Raft, &keys::last_merge_key(id));
        let record = RegionRecord::Tombstone(tombstone).encode();
        let key = keys::region_state_key(id);
        store.put(Cf::Raft, &key, &record);
        Arc::make_mut(&mut self.region).peers.clear();
        self.is_dirty = false;
    }

    /// Closes what the round has written so far with the index it belongs to: a command that reads
    /// would not come to the same result if it were replayed over its own effect.
    fn begin_reads(&mut self, index: u64, store: &mut impl ApplyStore) -> Result<(), ApplyError> {
        self.finish_round(store);
        store
            .begin_reads()
            .map_err(|source| ApplyError::Engine { index, source })
    }

    fn execute(
        &mut self,
        index: u64,
        command: Logged,
        reader: &mut BatchReader,
        store: &mut impl ApplyStore,
    ) -> Result<Outcome, ApplyError> {
        match command {
            Logged::Write { mutations } => {
                for _ in 0..mutations {
                    let mutation = reader.mutation();
                    let mutation =
                        mutation.map_err(|source| ApplyError::Entry { index, source })?;
                    self.mutate(&mutation, store);
                }
                Ok(Outcome::Written)
            }
            Logged::CompareAndSwap {
                key,
                expected,
                value,
                now_ms,
            } => {
                let key = self.engine_key(&key);
                let stored = store
                    .get(Cf::Default, key)
                    .map_err(|source| ApplyError::Engine { index, source })?;
                let previous = present_value(stored, now_ms / 1000)
                    .map_err(|source| ApplyError::Value { index, source })?;
                let succeeded = previous == expected;
                if succeeded {
                    store.put(Cf::Default, key, &value);
                }
                Ok(Outcome::Swapped {
                    succeeded,
                    previous,
                })
            }
            Logged::Admin(_) => unreachable!("it is not a command about data"),
        }
    }

    fn mutate(&mut self, mutation: &Mutation, store: &mut impl ApplyStore) {
        match mutation {
            Mutation::Put { cf, key, value } => {
                self.growth.add(Size {
                    bytes: (key.len() + value.len()) as u64,
                    keys: 1,
                });
                store.put(*cf, self.engine_key(key), value);
            }
            Mutation::Delete { cf, key } => {
                self.deletions = self.deletions.saturating_add(1);
                store.delete(*cf, self.engine_key(key));
            }
            Mutation::DeleteRange { cf, start, end } => {
                let end = self.space.end_key(end);
                let start = self.engine_key(start);
                if start < end.as_slice() {
                    store.delete_range(*cf, start, &end);
                    self.deletions = u64::MAX;
                }
            }
        }
    }

    fn engine_key(&mut self, key: &[u8]) -> &[u8] {
        self.key.clear();
        self.space.key_into(key, &mut self.key);
        &self.key
    }
}

fn present_value(stored: Option<Bytes>, now_s: u64) -> Result<Option<Bytes>, CodecError> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    let value = RawValue::decode(&stored)?;
    Ok((!value.is_expired(now_s)).then_some(value.user_value))
}
