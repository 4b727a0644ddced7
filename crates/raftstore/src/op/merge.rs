//! Merge: a Region, the *source*, becomes a part of its neighbour, the *target*. Both have replicas on
//! the same stores, so that no data moves.
//!
//! **The way of a merge.** Every step is an entry of one of the two logs.
//!
//! 1. *Prepare* (source). From its proposal on the source has no lease; once it is applied the source is
//!    another epoch, serves nobody and changes nothing but its own state: it is *merging*.
//! 2. *Seal* (source). Its leader has seen every replica acknowledge the entry of step 1. No store will
//!    lack a part of the source any more; what a replica may still lack is the news that it is committed.
//! 3. *Commit* (target). On each store the target's applier waits until the source's has come to the
//!    entry of step 1, which the news of this entry also proves to be committed. Then one batch, synced, holds
//!    the target's new shape and the source's tombstone; the source's data is the target's. Its replica
//!    stops, and its log goes.
//!
//! **How it fails.** Until it is sealed the target knows nothing of it, and the source's log decides:
//! after a while its leader proposes *rollback*, which counts if it comes before the seal. Behind the seal the
//! target's log decides. *Prepare* names the target's epoch, and *commit* counts in that epoch only. Whatever
//! changes the epoch before is the decision against the merge: a split, a change of membership, a merge of
//! the target's own, or *refuse*, which does nothing else and which the target's leader proposes when a
//! replica of the source has waited for too long. The source learns it from a target's replica beside one
//! of its own, and goes on by *rollback* in its own log.
//!
//! **What proves a refusal.** A replica of the target here that has left the epoch while the source's
//! replica here is alive: had it left by *commit*, the source's would be gone. That holds only if it left
//! the epoch entry by entry; a snapshot may have carried it over the commit. So a store keeps for each
//! Region the epoch in which a snapshot brought it here ([`History`]), and what a Region was that is
//! merged itself. A leader of the source whose store has no proof hands its leadership on.
//!
//! **Crash.** All of it is in the logs and the Region's records; waiting and asking begin anew. A target's
//! batch that is lost is replayed, and with it the wait for the source, whose log is still there: it
//! goes only after that batch is durable.
//!
//! **Invariants.** The owner of a key has a higher version after each split, merge and rollback. While a Region is
//! merging its membership and its range stand still, and its log is not compacted by its leader. A source is
//! rolled back only if no replica of the target ever takes it in.
//!
//! **Snapshots and the target.** A replica of the target that has yet to apply the commit must not be carried
//! over it without the source's replica beside it, which would stay behind, holding its range. *Commit* is
//! proposed only while no replica needs a snapshot, and the log is not cut before all have the entry. So a
//! snapshot is needed only where a replica leads that joined later. It names the last merge that it holds the
//! effect of: a replica that has the entry in its log learns so that it is committed, and applies it before;
//! any other takes the source in by the snapshot (`op::last_merge`).
//!
//! **Orphans.** A replica of the target may be removed before it has come to the commit; nothing on its store
//! takes the source's in then. That one hears of no leader any more and asks its members. A store that
//! knows of the merge, by the tombstone, answers with a farewell that names the target and the version which
//! the merge gave it. Beside a replica of the target in a lower version the farewell means nothing: it is
//! to take the source in. Otherwise none here ever will: whoever joins the target later begins with a
//! snapshot from behind the merge. Then the source's replica goes, and its data with it. So it is, too, with
//! one that was removed from the source before, and missed that.
//!
//! **Quarantine.** A Region with a replica that is known to be quarantined begins no merge, nor does one
//! whose replicas are being compared. Where the source's replica is quarantined all the same, the target's
//! beside it is so from the commit on: it has the data that is wrong.
//!
//! **What is left.** A store that is down when a merge begins keeps it from being sealed; entries are not
//! carried along for it. A target keeps its log, beyond all bounds, for a replica that was down at the
//! commit, until it is back or removed.
//!
//! **Not here.** Which Regions merge, and that they get to the same stores before (`placement`).
//!
//! After TiKV's merge, which carries entries along instead of sealing.

use crate::error::RequestError;
use crate::op::conf_change::is_joint;
use crate::op::consistency::Quarantine;
use crate::state::Merging;
use std::collections::BTreeSet;
use types::{Epoch, Region, RegionId, StoreId};

/// How many entries the slowest replica of the source may be behind when a merge begins (TiKV's
/// `merge-max-log-gap`).
pub(crate) const LOG_GAP_MAX: u64 = 10;

/// A replica of the source asks the one of the target on its store to go on with the merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeAsk {
    /// The source's shape.
    pub source: Region,
    /// Its merge.
    pub merging: Merging,
    /// Whether it has waited for too long.
    pub gives_up: bool,
}

/// A target's applier waits for a source's on the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceWish {
    /// Who waits.
    pub target_id: RegionId,
    /// For whom.
    pub source_id: RegionId,
    /// Until this entry, which is committed, is applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// A source that has come to the entry of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadySource {
    /// What it fulfils.
    pub wish: SourceWish,
    /// If its replica here is quarantined: why. The target's is from then on.
    pub quarantine: Option<Quarantine>,
}

/// Through which epochs a Region went on one store, entry by entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// From this one on: that of the last snapshot, or none.
    pub since: Epoch,
    /// Its present or last one.
    pub now: Epoch,
}

impl History {
    /// Of a Region that was taken in, last in `epoch`: it has left that, too.
    pub fn ended(since: Epoch, epoch: Epoch) -> Self {
        let version = epoch.version + 1;
        let now = Epoch { version, ..epoch };
        Self { since, now }
    }

    /// Whether the Region has been in `epoch`, and has left it.
    pub fn has_left(&self, epoch: Epoch) -> bool {
        let began = self.since.version <= epoch.version && self.since.conf_ver <= epoch.conf_ver;
        let left = self.now.version > epoch.version || self.now.conf_ver > epoch.conf_ver;
        began && left
    }
}

/// The source as it is while it merges into `target`.
///
/// # Errors
/// They can't merge.
pub fn prepared(source: &Region, target: &Region) -> Result<Region, RequestError> {
    check_pair(source, target, source.id)?;
    let mut prepared = source.clone();
    prepared.epoch.version += 1;
    prepared.epoch.conf_ver += 1;
    Ok(prepared)
}

/// The target once it has taken in `source`.
///
/// # Errors
/// They can't merge.
pub fn merged(target: &Region, source: &Region) -> Result<Region, RequestError> {
    check_pair(source, target, target.id)?;
    let mut merged = target.clone();
    match source.range.start == target.range.end && !source.range.start.is_empty() {
        true => merged.range.end.clone_from(&source.range.end),
        false => merged.range.start.clone_from(&source.range.start),
    }
    merged.epoch.version = target.epoch.version.max(source.epoch.version) + 1;
    Ok(merged)
}

/// The Region in its next version, otherwise as it was: after a refusal or a rollback.
pub(crate) fn in_next_version(region: &Region) -> Region {
    let mut next = region.clone();
    next.epoch.version += 1;
    next
}

fn check_pair(source: &Region, target: &Region, asked: RegionId) -> Result<(), RequestError> {
    let invalid = |reason| {
        Err(RequestError::InvalidChange {
            region_id: asked,
            reason,
        })
    };
    let ids = [source.id, target.id];
    if source.id == target.id || ids.contains(&RegionId::PLACEMENT) || ids.contains(&RegionId(0)) {
        return invalid("a merge is one of two Regions of clients' data");
    }
    let (left, right) = (&source.range, &target.range);
    let touches = |end: &[u8], start: &[u8]| !end.is_empty() && end == start;
    if !touches(&left.end, &right.start) && !touches(&right.end, &left.start) {
        return invalid("the Regions are no neighbours");
    }
    if is_joint(source) || is_joint(target) {
        return invalid("one of the Regions is in a joint configuration");
    }
    match stores(source) == stores(target) && stores(source).len() == source.peers.len() {
        true => Ok(()),
        false => invalid("the Regions have replicas on different stores"),
    }
}

fn stores(region: &Region) -> BTreeSet<StoreId> {
    region.peers.iter().map(|peer| peer.store_id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{KeyRange, Peer, PeerId, PeerRole};

    fn region(id: u64, start: &str, end: &str, version: u64) -> Region {
        let peer = |store| Peer {
            id: PeerId(id * 10 + store),
            store_id: StoreId(store),
            ..Peer::default()
        };
        Region {
            id: RegionId(id),
            range: KeyRange {
                start: start.into(),
                end: end.into(),
            },
            epoch: Epoch {
                conf_ver: id,
                version,
            },
            peers: [1, 2, 3].map(peer).into(),
        }
    }

    #[test]
    fn the_target_covers_both_ranges_in_a_version_above_both() {
        let (a, b) = (region(5, "", "m", 9), region(6, "m", "", 3));
        for (target, source) in [(&a, &b), (&b, &a)] {
            let prepared = prepared(source, target).unwrap();
            assert_eq!(prepared.epoch.version, source.epoch.version + 1);
            assert_eq!(prepared.epoch.conf_ver, source.epoch.conf_ver + 1);
            let merged = merged(target, &prepared).unwrap();
            assert_eq!(merged.range, KeyRange::default());
            assert!(merged.epoch.version > prepared.epoch.version.max(target.epoch.version));
            assert_eq!(merged.epoch.conf_ver, target.epoch.conf_ver);
            assert_eq!(
                (merged.id, &merged.peers),
                (target.id, &target.peers),
                "the target stays who it is"
            );
        }
    }

    #[test]
    fn regions_that_do_not_fit_are_refused() {
        let source = region(5, "b", "m", 9);
        let target = region(6, "m", "x", 3);
        let mut elsewhere = target.clone();
        elsewhere.peers[0].store_id = StoreId(9);
        let mut fewer = target.clone();
        fewer.peers.pop();
        let mut joint = target.clone();
        joint.peers[0].role = PeerRole::IncomingVoter;
        for wrong in [
            region(6, "n", "x", 3),
            region(6, "", "", 3),
            region(5, "m", "x", 3),
            region(RegionId::PLACEMENT.get(), "m", "x", 3),
            elsewhere,
            fewer,
            joint,
        ] {
            assert!(prepared(&source, &wrong).is_err(), "{wrong:?}");
            assert!(merged(&wrong, &source).is_err(), "{wrong:?}");
        }
        assert!(prepared(&region(5, "", "", 1), &region(6, "", "", 1)).is_err());
    }

    #[test]
    fn an_epoch_was_left_only_if_no_snapshot_came_from_behind_it() {
        let epoch = |version, conf_ver| Epoch { conf_ver, version };
        let history = |since, now| History { since, now };
        let passed = history(epoch(0, 0), epoch(4, 2));
        assert!(passed.has_left(epoch(3, 2)));
        assert!(passed.has_left(epoch(4, 1)));
        assert!(!passed.has_left(epoch(4, 2)));
        assert!(!passed.has_left(epoch(5, 2)));
        let jumped = history(epoch(4, 2), epoch(6, 2));
        assert!(!jumped.has_left(epoch(3, 2)), "a snapshot carried it over");
        assert!(jumped.has_left(epoch(4, 2)));
    }
}
