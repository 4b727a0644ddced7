//! Merges as appliers see them: the source's state, and a target that waits for a source.
//!
//! **Waiting.** A target that comes to a *commit* before its source is ready keeps that entry and all
//! behind it, and goes on when it hears that the source is. It is an entry of its own, so nothing of it was
//! applied before. A snapshot that takes a source in waits in the same way.
//!
//! **Invariants.** A source that is taken in applies nothing behind the entry that began its merge, and
//! writes none of its records any more. Whether a commit counts is decided by the target's epoch alone,
//! and so on every store alike.
//!
//! **Not here.** Who tells whom (`node`).

use super::{Applied, Applier, ApplyError, ApplyStore, Change, RegionChange};
use crate::admin::{MergeSource, TAG_COMMIT_MERGE};
use crate::command::{BatchReader, Logged, Outcome};
use crate::effect::{ApplyEntry, Reply};
use crate::error::RequestError;
use crate::op::last_merge::LastMerge;
use crate::op::merge::{self, ReadySource, SourceWish};
use crate::op::snapshot::InstallSnapshot;
use crate::op::split::put_shape;
use crate::state::{Merging, RegionRecord};
use engine::Cf;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{EntryKind, Epoch, LogEntry, Region, keys};

/// A target that waits.
#[derive(Debug)]
pub(super) struct Parked {
    wish: SourceWish,
    /// The commit, and what came behind it.
    pub(super) entries: VecDeque<ApplyEntry>,
    /// Or the snapshot that takes the place of the commit.
    install: Option<InstallSnapshot>,
}

impl Applier {
    /// The merge that the Region has begun.
    pub fn merging(&self) -> Option<&Merging> {
        self.merging.as_ref()
    }

    /// Goes on with a merge that was begun in an earlier life.
    #[must_use]
    pub fn with_merging(self, merging: Option<Merging>) -> Self {
        Self { merging, ..self }
    }

    /// A target waits for this source: nothing behind the entry that it waits for is applied any more.
    pub fn freeze(&mut self, wish: SourceWish) {
        self.frozen_for = Some(wish);
    }

    /// The wish that is fulfilled once this round is written.
    pub fn fulfils(&self) -> Option<ReadySource> {
        let wish = self.frozen_for?;
        if self.is_removed() || self.state.applied_index < wish.index {
            return None;
        }
        let began = self.merging.as_ref().map(|merging| merging.index);
        assert_eq!(
            began,
            Some(wish.index),
            "Region {} is taken in by a merge that it did not begin",
            self.region.id
        );
        let quarantine = self.quarantine.as_deref().copied();
        Some(ReadySource { wish, quarantine })
    }

    /// A snapshot is to take the place of what the Region holds.
    pub fn install(&mut self, install: InstallSnapshot, out: &mut Applied) {
        let Some(taken) = install.takes_in else {
            return out.installs.push(install);
        };
        out.wishes.push(taken.wish);
        self.parked = Some(Box::new(Parked {
            wish: taken.wish,
            entries: VecDeque::new(),
            install: Some(install),
        }));
    }

    /// A target that was removed waits no more: its answers are others' to give.
    pub fn stop_waiting(&mut self, out: &mut Applied) {
        let parked = self.parked.take();
        let entries = parked.map(|parked| parked.entries).unwrap_or_default();
        let requests = entries.into_iter().flat_map(|entry| entry.requests);
        let undetermined = |request| (request, Err(RequestError::Undetermined));
        out.answers.extend(requests.map(undetermined));
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen_for
            .is_some_and(|wish| self.state.applied_index >= wish.index)
    }

    /// Of an entry behind a removal, or behind the one that began a merge which was committed.
    pub(super) fn why_not_applied(&self) -> RequestError {
        match self.is_removed() {
            // It is committed: the members apply it.
            true => RequestError::Undetermined,
            // All that was proposed before is refused by every replica, and nothing was since.
            false => RequestError::RegionNotFound {
                region_id: self.region.id,
            },
        }
    }

    /// A source has come so far, and that can be read: a target that waits for it goes on.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub fn source_is_ready(
        &mut self,
        source: ReadySource,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<(), ApplyError> {
        let Some(parked) = self.parked.take_if(|parked| parked.wish == source.wish) else {
            return Ok(());
        };
        if let Some(install) = parked.install {
            out.installs.push(install);
            return Ok(());
        }
        self.ready_source = Some(Box::new(source));
        self.apply(parked.entries.into(), store, out)
    }

    /// Whether this entry has to wait for a source; the wish is told then.
    pub(super) fn must_wait(
        &mut self,
        entry: &LogEntry,
        out: &mut Applied,
    ) -> Result<bool, ApplyError> {
        if entry.kind != EntryKind::Normal || entry.data.is_empty() {
            return Ok(false);
        }
        let index = entry.index;
        let unreadable = |source| ApplyError::Entry { index, source };
        let mut reader = BatchReader::open(entry.data.clone()).map_err(unreadable)?;
        let is_current = reader.epoch() == self.region.epoch && self.merging.is_none();
        if !is_current || !reader.begins_with(TAG_COMMIT_MERGE) {
            return Ok(false);
        }
        let Some(Logged::Admin(crate::Admin::CommitMerge(source))) =
            reader.next().map_err(unreadable)?
        else {
            return Ok(false);
        };
        let wish = SourceWish {
            target_id: self.region.id,
            source_id: source.region.id,
            index: source.index,
            term: source.term,
        };
        let counts = merge::merged(&self.region, &source.region).is_ok();
        let ready = self.ready_source.as_ref();
        if !counts || ready.is_some_and(|ready| ready.wish == wish) {
            return Ok(false);
        }
        out.wishes.push(wish);
        self.parked = Some(Box::new(Parked {
            wish,
            entries: VecDeque::new(),
            install: None,
        }));
        Ok(true)
    }

    pub(super) fn prepare_merge(
        &mut self,
        place: (u64, u64),
        epoch: Epoch,
        target: &Region,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        if epoch != self.region.epoch || self.merging.is_some() {
            return Err(self.epoch_not_match());
        }
        self.region = Arc::new(merge::prepared(&self.region, target)?);
        self.put_merging(
            Some(Merging {
                target: target.clone(),
                index: place.0,
                term: place.1,
                is_sealed: false,
            }),
            store,
        );
        self.tell_merging(place.0, out);
        Ok(Reply::Command(Outcome::Changed(Region::clone(
            &self.region,
        ))))
    }

    pub(super) fn seal_merge(
        &mut self,
        at: u64,
        index: u64,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        if let Some(mut merging) = self.merging.take_if(|merging| merging.index == index) {
            merging.is_sealed = true;
            self.put_merging(Some(merging), store);
            self.tell_merging(at, out);
        }
        Ok(Reply::Command(Outcome::Written))
    }

    pub(super) fn rollback_merge(
        &mut self,
        at: u64,
        (index, unless_sealed): (u64, bool),
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        let counts = |it: &mut Merging| it.index == index && !(unless_sealed && it.is_sealed);
        if self.merging.take_if(counts).is_some() {
            self.region = Arc::new(merge::in_next_version(&self.region));
            self.put_merging(None, store);
            self.tell_merging(at, out);
        }
        Ok(Reply::Command(Outcome::Written))
    }

    pub(super) fn refuse_merge(
        &mut self,
        at: u64,
        epoch: Epoch,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        if epoch != self.region.epoch || self.merging.is_some() {
            return Err(self.epoch_not_match());
        }
        self.region = Arc::new(merge::in_next_version(&self.region));
        put_shape(&self.region, store);
        self.tell_merging(at, out);
        Ok(Reply::Command(Outcome::Written))
    }

    pub(super) fn commit_merge(
        &mut self,
        place: (u64, u64),
        epoch: Epoch,
        source: &MergeSource,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Result<Reply, RequestError> {
        if epoch != self.region.epoch || self.merging.is_some() {
            return Err(self.epoch_not_match());
        }
        self.region = Arc::new(merge::merged(&self.region, &source.region)?);
        let ready = self.ready_source.take().expect("the source is ready");
        let inherits = self.inherit_quarantine(ready.quarantine, store);
        let last_merge = LastMerge {
            place,
            version: self.region.epoch.version,
            source: source.clone(),
        };
        let taken = last_merge.take_in(self.region.id, self.store_id);
        let taken = taken.expect("both live on the same stores");
        let (key, record) = taken.tombstone_record();
        store.put(Cf::Raft, &key, &record);
        for key in taken.dead_records() {
            store.delete(Cf::Raft, &key);
        }
        let key = keys::last_merge_key(self.region.id);
        store.put(Cf::Raft, &key, &last_merge.encode());
        put_shape(&self.region, store);
        out.changes.push(RegionChange {
            region_id: self.region.id,
            index: place.0,
            change: Change::Merged {
                term: place.1,
                region: Region::clone(&self.region),
                source: taken.tombstone,
                inherits,
            },
        });
        Ok(Reply::Command(Outcome::Changed(Region::clone(
            &self.region,
        ))))
    }

    fn put_merging(&mut self, merging: Option<Merging>, store: &mut impl ApplyStore) {
        self.merging = merging;
        match &self.merging {
            Some(merging) => {
                let record = RegionRecord::Merging(Region::clone(&self.region), merging.clone());
                let key = keys::region_state_key(self.region.id);
                store.put(Cf::Raft, &key, &record.encode());
            }
            None => put_shape(&self.region, store),
        }
    }

    fn tell_merging(&self, index: u64, out: &mut Applied) {
        out.changes.push(RegionChange {
            region_id: self.region.id,
            index,
            change: Change::Merging {
                region: Region::clone(&self.region),
                merging: self.merging.clone(),
            },
        });
    }
}
