//! The start of a store: its first Regions when the directory is new, else what it finds there.
//!
//! **Crash.** Bootstrap writes the Raft logs' first states, synced, and then everything else, the
//! ident included, in one synced batch. A crash between the two leaves a directory without an ident:
//! bootstrap is done again and writes the same.
//!
//! **Invariants.** A store whose Raft log has lost what it promised does not start: every Region of
//! the key-value state has its hard state, its log reaches to its applied index, and a directory
//! without an ident has no log entries and no vote. An uninitialised replica has no log either: it never
//! acknowledged anything.
//!
//! **Not here.** Damage inside a file: the engines find it when they open.

use crate::error::StartError;
use crate::ident::{Ident, Identified, Origin};
use crate::identity::Identity;
use crate::owner::put_members;
use bytes::Bytes;
use engine::{Cf, Durability, KvBatch, KvEngine, KvIterator, KvSnapshot, RaftLog, RaftLogBatch};
use raftstore::apply::Applier;
use raftstore::bootstrap::{FIRST_VERSION, first_apply_state, first_hard_state, first_regions};
use raftstore::op::consistency::Quarantine;
use raftstore::op::merge::History;
use raftstore::peer::{LogInfo, PeerOptions, TermRun};
use raftstore::state::{RegionRecord, Tombstone};
use raftstore::{LastMerge, Peer, state, store};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{ApplyState, Epoch, HardState, Region, RegionId, keys};

/// What was found on disk.
pub struct Recovered {
    /// Each replica with its applier.
    pub replicas: Vec<(Peer, Applier)>,
    /// Of each Region whose replica was removed.
    pub tombstones: BTreeMap<RegionId, Tombstone>,
    /// Of each Region that a snapshot brought here or that a neighbour has taken in.
    pub histories: BTreeMap<RegionId, History>,
}

/// Makes a new directory this store's, with its share of the cluster's first Regions if it is a first
/// member; does nothing to one that is this store's already.
///
/// # Errors
/// There are Raft logs without the data that they belong to.
pub fn bootstrap<K: KvEngine, L: RaftLog>(
    kv: &K,
    log: &L,
    identified: &Identified,
) -> Result<(), StartError> {
    if !identified.is_new {
        return Ok(());
    }
    let Identified {
        identity, members, ..
    } = identified;
    refuse_orphaned_log(log)?;
    let mut logs = log.batch();
    let mut batch = kv.batch();
    let here = |region: &Region| region.peer_on(identity.store_id).is_some();
    let regions: Vec<_> = match identified.origin {
        Origin::Founded => first_regions(members.len(), identity.api_version)
            .into_iter()
            .filter(here)
            .collect(),
        Origin::Joined => {
            put_members(&mut batch, members);
            Vec::new()
        }
    };
    for region in &regions {
        logs.put_hard_state(region.id, &first_hard_state());
        logs.put_apply_state(region.id, &first_apply_state());
        let region_key = keys::region_state_key(region.id);
        batch.put(
            Cf::Raft,
            &region_key,
            &RegionRecord::Normal(region.clone()).encode(),
        );
        let apply_key = keys::apply_state_key(region.id);
        let applied = state::encode_apply_state(&first_apply_state());
        batch.put(Cf::Raft, &apply_key, &applied);
    }
    let ident = Ident::of(identified).encode();
    batch.put(Cf::Raft, keys::STORE_IDENT_KEY, &ident);
    failpoint::at!("node::bootstrap::before_log");
    log.write(&mut logs, Durability::Synced)
        .map_err(StartError::engine("writing the first Raft states"))?;
    failpoint::at!("node::bootstrap::log_written");
    kv.write(&mut batch, Durability::Synced)
        .map_err(StartError::engine("writing the store's ident"))?;
    failpoint::at!("node::bootstrap::ident_written");
    tracing::info!(
        cluster = %identity.cluster_id,
        store = %identity.store_id,
        regions = regions.len(),
        "bootstrapped"
    );
    Ok(())
}

fn refuse_orphaned_log<L: RaftLog>(log: &L) -> Result<(), StartError> {
    let regions = log
        .regions()
        .map_err(StartError::engine("listing the Raft logs"))?;
    for region in regions {
        let failed = || StartError::engine("reading a Raft log");
        let bounds = log.bounds(region).map_err(failed())?;
        let hard_state = log.hard_state(region).map_err(failed())?;
        // What a bootstrap that was cut short has written; a vote would be forgotten with it.
        let is_first = hard_state.is_none_or(|state| state == first_hard_state());
        if bounds.is_some() || !is_first {
            let what = "there is a Raft log, but no key-value data";
            return Err(inconsistent(region, what));
        }
    }
    Ok(())
}

/// Hears how many Regions of a store were read, and of how many.
pub type Progress = dyn Fn(usize, usize) + Send + Sync;

/// Reads every replica of this store.
///
/// # Errors
/// What is on disk contradicts itself, or can't be read.
pub fn recover<K: KvEngine, L: RaftLog>(
    kv: &K,
    log: &L,
    identity: &Identity,
    options: &Arc<PeerOptions>,
    progress: &Progress,
) -> Result<Recovered, StartError> {
    let mut replicas = Vec::new();
    let mut tombstones = BTreeMap::new();
    let mut histories = BTreeMap::new();
    let records = region_records(kv)?;
    let total = records.len();
    for (done, record) in records.into_iter().enumerate() {
        progress(done, total);
        let (region, merging) = match record {
            RegionRecord::Normal(region) => (region, None),
            RegionRecord::Merging(region, merging) => (region, Some(merging)),
            RegionRecord::Tombstone(tombstone) => {
                tombstones.insert(tombstone.region_id, tombstone);
                if tombstone.merged_into.is_some() {
                    let history = history(kv, tombstone.region_id, tombstone.epoch)?;
                    let ended = History::ended(history.since, history.now);
                    histories.insert(tombstone.region_id, ended);
                }
                continue;
            }
        };
        let me = region
            .peer_on(identity.store_id)
            .copied()
            .ok_or_else(|| inconsistent(region.id, "no replica of it belongs to this store"))?;
        let applied = apply_state(kv, region.id)?;
        histories.insert(region.id, history(kv, region.id, region.epoch)?);
        let last_merge = last_merge(kv, region.id)?;
        let (peer, applier) = replica(log, &region, me, applied, options)?;
        let mut peer = peer
            .with_merging(merging.clone())
            .with_last_merge(last_merge);
        let mut applier = applier.with_merging(merging);
        if let Some(quarantine) = quarantine(kv, region.id, me)? {
            let (region, index) = (region.id, quarantine.index);
            tracing::warn!(%region, index, "the replica here is quarantined");
            peer.set_quarantine(quarantine);
            applier.set_quarantine(quarantine);
        }
        replicas.push((peer, applier));
    }
    progress(total, total);
    remove_buried_logs(log, &tombstones)?;
    Ok(Recovered {
        replicas,
        tombstones,
        histories,
    })
}

/// The index and the term of the entry with which a Region last took a neighbour in; zeros for none.
fn last_merge<K: KvEngine>(kv: &K, region: RegionId) -> Result<(u64, u64), StartError> {
    let record = kv.get(Cf::Raft, &keys::last_merge_key(region));
    let record = record.map_err(StartError::engine("reading a last merge"))?;
    let merge = record.map(LastMerge::decode).transpose();
    let merge = merge.map_err(|error| StartError::Damaged {
        what: format!("the last merge of Region {region}: {error}"),
    })?;
    Ok(merge.map_or((0, 0), |merge| merge.place))
}

/// Through which epochs a Region came to its last one here.
fn history<K: KvEngine>(kv: &K, region: RegionId, now: Epoch) -> Result<History, StartError> {
    let record = kv.get(Cf::Raft, &keys::restored_epoch_key(region));
    let record = record.map_err(StartError::engine("reading the epoch of a snapshot"))?;
    let since = record.map_or(Ok(Epoch::default()), state::decode_epoch);
    let since = since.map_err(|error| StartError::Damaged {
        what: format!("epoch of the last snapshot of Region {region}: {error}"),
    })?;
    Ok(History { since, now })
}

/// A crash between a replica's tombstone and the removal of its log.
fn remove_buried_logs<L: RaftLog>(
    log: &L,
    tombstones: &BTreeMap<RegionId, Tombstone>,
) -> Result<(), StartError> {
    let regions = log
        .regions()
        .map_err(StartError::engine("listing the Raft logs"))?;
    let mut batch = log.batch();
    for region in regions {
        // A later, uninitialised replica has at most a vote, which must stay.
        let failed = || StartError::engine("reading a Raft log");
        let has_entries = log.bounds(region).map_err(failed())?.is_some();
        let hard_state = log.hard_state(region).map_err(failed())?;
        let has_committed = hard_state.is_some_and(|state| state.commit > 0);
        if (has_entries || has_committed) && tombstones.contains_key(&region) {
            batch.remove(region);
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    failpoint::at!("node::recover::before_logs_removed");
    log.write(&mut batch, Durability::Synced)
        .map_err(StartError::engine("removing the logs of removed replicas"))?;
    failpoint::at!("node::recover::logs_removed");
    Ok(())
}

/// The replica that a running store asks for: new, or cut off from another.
///
/// # Errors
/// Its log can't be read, or contradicts what is asked for.
pub(crate) fn create_replica<L: RaftLog>(
    log: &L,
    create: &store::Create,
    options: &Arc<PeerOptions>,
) -> Result<(Peer, Applier), StartError> {
    let applied = match create.region.peers.is_empty() {
        true => ApplyState::default(),
        false => first_apply_state(),
    };
    replica(log, &create.region, create.me, applied, options)
}

fn replica<L: RaftLog>(
    log: &L,
    region: &Region,
    me: types::Peer,
    applied: ApplyState,
    options: &Arc<PeerOptions>,
) -> Result<(Peer, Applier), StartError> {
    let info = log_info(log, region, &applied)?;
    let region = Arc::new(region.clone());
    let applier = Applier::new(Arc::clone(&region), me.store_id, applied);
    let index = applied.applied_index;
    let peer = Peer::new(region, me, info, index, Arc::clone(options))?;
    Ok((peer, applier))
}

/// The hard state with which a replica begins that has none yet: only one of a Region that was just cut
/// off, or that a message has just created, may be without.
fn hard_state_before_any(region: &Region, applied: &ApplyState) -> Option<HardState> {
    let is_new_part = region.epoch.version > FIRST_VERSION && *applied == first_apply_state();
    match region.peers.is_empty() {
        true => Some(HardState::default()),
        false => is_new_part.then(first_hard_state),
    }
}

fn inconsistent(region: RegionId, what: &str) -> StartError {
    StartError::Inconsistent {
        region,
        what: what.to_owned(),
    }
}

fn region_records<K: KvEngine>(kv: &K) -> Result<Vec<RegionRecord>, StartError> {
    let failed = || StartError::engine("reading the Region states");
    let snapshot = kv.snapshot();
    let lower = keys::region_state_key(RegionId(0));
    let upper = keys::apply_state_key(RegionId(0));
    let mut iter = snapshot.iter(Cf::Raft, &lower, &upper).map_err(failed())?;
    let mut records = Vec::new();
    let mut valid = iter.seek_to_first().map_err(failed())?;
    while valid {
        let record = Bytes::copy_from_slice(iter.value());
        let record = RegionRecord::decode(record).map_err(|error| StartError::Damaged {
            what: format!("Region state {:02x?}: {error}", iter.key()),
        })?;
        records.push(record);
        valid = iter.next().map_err(failed())?;
    }
    Ok(records)
}

fn apply_state<K: KvEngine>(kv: &K, region: RegionId) -> Result<ApplyState, StartError> {
    let record = kv
        .get(Cf::Raft, &keys::apply_state_key(region))
        .map_err(StartError::engine("reading an apply state"))?
        .ok_or_else(|| inconsistent(region, "its apply state is missing"))?;
    state::decode_apply_state(record).map_err(|error| StartError::Damaged {
        what: format!("apply state of Region {region}: {error}"),
    })
}

fn quarantine<K: KvEngine>(
    kv: &K,
    region: RegionId,
    me: types::Peer,
) -> Result<Option<Quarantine>, StartError> {
    let record = kv
        .get(Cf::Raft, &keys::quarantine_key(region))
        .map_err(StartError::engine("reading a quarantine"))?;
    let found = record.map(Quarantine::decode).transpose();
    let found = found.map_err(|error| StartError::Damaged {
        what: format!("quarantine of Region {region}: {error}"),
    })?;
    // A later replica has nothing to do with it.
    Ok(found.filter(|quarantine| quarantine.peer_id == me.id))
}

fn log_info<L: RaftLog>(
    log: &L,
    shape: &Region,
    applied: &ApplyState,
) -> Result<LogInfo, StartError> {
    let region = shape.id;
    let failed = || StartError::engine("reading a Raft log");
    let mut hard_state = log
        .hard_state(region)
        .map_err(failed())?
        .or_else(|| hard_state_before_any(shape, applied))
        .ok_or_else(|| inconsistent(region, "its Raft log is missing"))?;
    let mut bounds = log.bounds(region).map_err(failed())?;
    if shape.peers.is_empty() && bounds.is_some() {
        let what = "there is a Raft log of a replica that knows nothing of its Region";
        return Err(inconsistent(region, what));
    }
    if let Some((_, last)) = bounds
        && !continues(log, region, applied, bounds).map_err(failed())?
    {
        drop_entries(log, region, last + 1)?;
        bounds = None;
    }
    let last_index = bounds.map_or(applied.truncated_index, |(_, last)| last);
    if last_index < applied.applied_index {
        let what = format!(
            "its Raft log ends at {last_index}, but entries up to {} were applied",
            applied.applied_index
        );
        return Err(StartError::Inconsistent { region, what });
    }
    // A commit index alone is never written; what was applied was committed.
    hard_state.commit = hard_state.commit.max(applied.applied_index);
    if hard_state.commit > last_index {
        let what = format!(
            "its Raft log ends at {last_index}, but entries up to {} were committed",
            hard_state.commit
        );
        return Err(StartError::Inconsistent { region, what });
    }
    let tail = match applied.applied_index < last_index {
        true => log
            .fetch(region, applied.applied_index + 1, last_index + 1, u64::MAX)
            .map_err(failed())?,
        false => Vec::new(),
    };
    Ok(LogInfo {
        hard_state,
        runs: term_runs(log, region, applied, last_index)?,
        last_index,
        tail,
    })
}

/// Whether the log goes on from where the data was put by a snapshot. A crash between the two leaves
/// the log of before: it ends sooner, or has another entry at that place.
pub(crate) fn continues<L: RaftLog>(
    log: &L,
    region: RegionId,
    applied: &ApplyState,
    bounds: Option<(u64, u64)>,
) -> engine::Result<bool> {
    let place = applied.truncated_index;
    match bounds {
        // What is applied has been in the log.
        _ if applied.applied_index > place => Ok(true),
        Some((_, last)) if last < place => Ok(false),
        Some((first, _)) if first <= place => {
            let entry = log.entry(region, place)?;
            Ok(entry.is_some_and(|entry| entry.term == applied.truncated_term))
        }
        _ => Ok(true),
    }
}

fn drop_entries<L: RaftLog>(log: &L, region: RegionId, end: u64) -> Result<(), StartError> {
    let mut batch = log.batch();
    batch.compact(region, end);
    failpoint::at!("node::recover::before_log_dropped");
    log.write(&mut batch, Durability::Synced)
        .map_err(StartError::engine("beginning a Raft log behind a snapshot"))?;
    failpoint::at!("node::recover::log_dropped");
    Ok(())
}

/// The runs of equal terms along the log. Terms never decrease, so the end of each run is found by
/// bisection: a few reads for each election that the log has seen.
fn term_runs<L: RaftLog>(
    log: &L,
    region: RegionId,
    applied: &ApplyState,
    last_index: u64,
) -> Result<Vec<TermRun>, StartError> {
    let term_at = |index: u64| -> Result<u64, StartError> {
        log.entry(region, index)
            .map_err(StartError::engine("reading a Raft log"))?
            .map(|entry| entry.term)
            .ok_or_else(|| inconsistent(region, &format!("entry {index} of its log is missing")))
    };
    let mut runs = vec![TermRun {
        index: applied.truncated_index,
        term: applied.truncated_term,
    }];
    let mut index = applied.truncated_index + 1;
    while index <= last_index {
        let term = term_at(index)?;
        if runs.last().is_none_or(|run| run.term != term) {
            runs.push(TermRun { index, term });
        }
        let (mut low, mut high) = (index, last_index);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match term_at(middle)? == term {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        index = low + 1;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Configured, identify};
    use crate::identity::Members;
    use engine::mem::{Disk, MemKv, MemLog};
    use types::{ApiVersion, LogEntry, PeerId};

    const DATA: RegionId = RegionId::FIRST_DATA;

    /// Who opens this directory, with four members.
    fn opened_by(name: &str, kv: &MemKv) -> Identified {
        let configured = Configured {
            name: name.to_owned(),
            members: Members::parse("a=h:1,b=h:2,c=h:3,d=h:4").unwrap(),
            api_version: ApiVersion::V1,
            token: String::new(),
        };
        identify(kv, &configured).unwrap()
    }

    fn recovered(kv: &MemKv, log: &MemLog, who: &Identified) -> Result<Recovered, StartError> {
        recover(kv, log, &who.identity, &Arc::default(), &|_, _| ())
    }

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry {
            index,
            term,
            ..LogEntry::default()
        }
    }

    #[test]
    fn a_new_directory_gets_this_stores_share_and_keeps_it() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        for is_new in [true, false] {
            let a = opened_by("a", &kv);
            assert_eq!(a.is_new, is_new);
            bootstrap(&kv, &log, &a).unwrap();
            let found = recovered(&kv, &log, &a).unwrap();
            let ids: Vec<_> = found
                .replicas
                .iter()
                .map(|(peer, _)| peer.region().id)
                .collect();
            assert_eq!(ids, [RegionId::PLACEMENT, DATA]);
        }
    }

    #[test]
    fn a_fourth_member_starts_empty() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let d = opened_by("d", &kv);
        bootstrap(&kv, &log, &d).unwrap();
        let found = recovered(&kv, &log, &d).unwrap();
        assert!(found.replicas.is_empty());
    }

    #[test]
    fn a_store_that_lost_a_part_does_not_start() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let a = opened_by("a", &kv);
        bootstrap(&kv, &log, &a).unwrap();
        let empty_log = disk.open_log("other").unwrap();
        let result = recovered(&kv, &empty_log, &a);
        assert!(
            matches!(result, Err(StartError::Inconsistent { .. })),
            "no hard state"
        );
        let mut batch = log.batch();
        batch.append(DATA, &[entry(6, 6)]);
        log.write(&mut batch, Durability::Synced).unwrap();
        let empty_kv = disk.open_kv("other").unwrap();
        let result = bootstrap(&empty_kv, &log, &a);
        assert!(
            matches!(result, Err(StartError::Inconsistent { .. })),
            "an orphaned log"
        );
    }

    #[test]
    fn a_vote_without_key_value_data_is_not_overwritten() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let a = opened_by("a", &kv);
        let mut batch = log.batch();
        batch.put_hard_state(DATA, &first_hard_state());
        log.write(&mut batch, Durability::Synced).unwrap();
        bootstrap(&kv, &log, &a).expect("a bootstrap that was cut short is done again");
        let vote = HardState {
            term: 6,
            vote: PeerId(22),
            commit: 5,
        };
        batch.put_hard_state(DATA, &vote);
        log.write(&mut batch, Durability::Synced).unwrap();
        let empty_kv = disk.open_kv("other").unwrap();
        let result = bootstrap(&empty_kv, &log, &a);
        assert!(matches!(result, Err(StartError::Inconsistent { .. })));
        assert_eq!(log.hard_state(DATA).unwrap(), Some(vote));
    }

    #[test]
    fn of_a_removed_replica_no_log_stays_and_of_a_later_one_the_vote_does() {
        let disk = Disk::new();
        let log = disk.open_log("log").unwrap();
        let [with_entries, without, later] = [7, 8, 9].map(RegionId);
        let voted = |commit| HardState {
            term: 7,
            vote: PeerId(91),
            commit,
        };
        let mut batch = log.batch();
        batch.append(with_entries, &[entry(6, 6)]);
        for region in [with_entries, without] {
            batch.put_hard_state(region, &voted(6));
        }
        batch.put_hard_state(later, &voted(0));
        log.write(&mut batch, Durability::Synced).unwrap();
        let tombstone = |region_id| Tombstone {
            region_id,
            epoch: Epoch::default(),
            peer_id: PeerId(90),
            merged_into: None,
        };
        let tombstones = [with_entries, without, later].map(|region| (region, tombstone(region)));
        remove_buried_logs(&log, &tombstones.into()).unwrap();
        assert_eq!(log.bounds(with_entries).unwrap(), None);
        assert_eq!(log.hard_state(with_entries).unwrap(), None);
        assert_eq!(log.hard_state(without).unwrap(), None);
        assert_eq!(log.hard_state(later).unwrap(), Some(voted(0)));
    }

    #[test]
    fn a_log_shorter_than_what_was_promised_is_refused() {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let a = opened_by("a", &kv);
        bootstrap(&kv, &log, &a).unwrap();
        let mut batch = log.batch();
        let hard_state = HardState {
            term: 6,
            vote: PeerId(1),
            commit: 9,
        };
        batch.put_hard_state(DATA, &hard_state);
        log.write(&mut batch, Durability::Synced).unwrap();
        let result = recovered(&kv, &log, &a);
        assert!(matches!(result, Err(StartError::Inconsistent { .. })));
    }

    #[test]
    fn runs_of_terms_are_found_wherever_they_change() {
        let disk = Disk::new();
        let log = disk.open_log("log").unwrap();
        let terms = [6, 6, 6, 8, 9, 9, 9, 9, 9, 12];
        let entries: Vec<_> = (6..)
            .zip(terms)
            .map(|(index, term)| entry(index, term))
            .collect();
        let mut batch = log.batch();
        batch.append(DATA, &entries);
        log.write(&mut batch, Durability::Synced).unwrap();
        let runs = term_runs(&log, DATA, &first_apply_state(), 15).unwrap();
        let found: Vec<_> = runs.iter().map(|run| (run.index, run.term)).collect();
        assert_eq!(found, [(5, 5), (6, 6), (9, 8), (10, 9), (15, 12)]);
    }
}
