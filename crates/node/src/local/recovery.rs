//! Recovery by force: Regions that have lost most of their replicas go on with those that are left.
//!
//! **Why by force.** A majority that is gone can't agree to its own removal. So the membership is changed on disk,
//! behind Raft's back, on each store that is left. What a lost majority had acknowledged and the replicas that are
//! left have not is gone for good, and what was never acknowledged may come to be.
//!
//! **What is written** is the state of each such Region, without the Peers on the lost stores, and with an epoch
//! whose `conf_ver` is higher by one for each change: a lost store that comes back by mistake is told that it is no
//! member any more, and placement takes the report of the Region, which it may know with all its Peers. Logs, votes
//! and data stay. A joint configuration ends.
//!
//! **Invariants.**
//! - All Regions are written in one synced batch; done again, there is nothing left to do.
//! - The same replicas are left on every store on which the state was the same and the same stores are named.
//! - Where several replicas are left, none is changed whose log has entries about Peers that are not applied yet:
//!   another one may have applied them, and the two would not agree on who they are. One alone has nobody to
//!   disagree with; such an entry has no effect on it, since it was proposed in another epoch.
//! - A Region that can go on by itself, is damaged, or would serve nobody is left as it is.
//!
//! **Not here.** The decision to give data up, and the warning before it (`kontiki ctl local recover`).

use super::{LocalError, LocalRegion, LocalStore, failed, problems, regions};
use engine::{Cf, Durability, KvBatch, KvEngine, RaftLog};
use raftstore::EntryContent;
use raftstore::op::conf_change::is_voter_after;
use raftstore::state::RegionRecord;
use std::collections::BTreeSet;
use types::{PeerRole, Region, RegionId, StoreId, keys};

const FETCH_BYTES: u64 = 1 << 20;

/// What is to be recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryOptions {
    /// The stores that are lost for good.
    pub failed: BTreeSet<StoreId>,
    /// Only these Regions; all if there are none.
    pub regions: BTreeSet<RegionId>,
    /// Whether learners that are left become voters.
    pub promotes_learners: bool,
    /// Whether Regions are changed, too, whose majority is left.
    pub even_with_majority: bool,
}

/// What becomes of one Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The Region.
    pub region_id: RegionId,
    /// Its shape now, if it can be read.
    pub before: Option<Region>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has this state afterwards.
    Change(RegionRecord),
    /// It has no replica on a lost store.
    NotConcerned,
    /// It elects a leader by itself.
    HasMajority,
    /// It is left as it is, for this reason.
    Refused(String),
}

/// What recovery would do. Regions that have no replica on a lost store are left out, unless they are named.
///
/// # Errors
/// The directory is no store's or that of a lost one, a Region that is named is not here, or an engine failed.
pub fn plan<K: KvEngine, L: RaftLog>(
    kv: &K,
    log: &L,
    options: &RecoveryOptions,
) -> Result<Vec<Planned>, LocalError> {
    let store = LocalStore::read(kv)?.store_id;
    if options.failed.contains(&store) {
        return Err(LocalError::OwnStore(store));
    }
    let all = regions(kv, log)?;
    let is_here = |id: &RegionId| all.iter().any(|region| region.id == *id);
    if let Some(missing) = options.regions.iter().find(|id| !is_here(id)) {
        return Err(LocalError::NoRegion(*missing));
    }
    let problems = problems(store, &all);
    let mut planned = Vec::new();
    for region in &all {
        let is_named = options.regions.contains(&region.id);
        if !is_named && !options.regions.is_empty() {
            continue;
        }
        let problem = problems.iter().find(|found| found.region_id == region.id);
        let mut outcome = match problem {
            Some(problem) => Outcome::Refused(format!("it is damaged: {}", problem.what)),
            None => decide(store, region, options),
        };
        if let Outcome::Change(record) = &outcome
            && has_others(record)
            && let Some(reason) = unsettled(log, region)?
        {
            outcome = Outcome::Refused(reason);
        }
        if outcome != Outcome::NotConcerned || is_named {
            planned.push(Planned {
                region_id: region.id,
                before: region.region().cloned(),
                outcome,
            });
        }
    }
    Ok(planned)
}

/// Writes what was planned, durably and at once. Answers how many Regions were changed.
///
/// # Errors
/// The engine's: nothing was changed, or all of it; do it again.
pub fn perform<K: KvEngine>(kv: &K, planned: &[Planned]) -> Result<usize, LocalError> {
    let mut batch = kv.batch();
    let mut changed = 0;
    for one in planned {
        if let Outcome::Change(record) = &one.outcome {
            let key = keys::region_state_key(one.region_id);
            batch.put(Cf::Raft, &key, &record.encode());
            changed += 1;
        }
    }
    if changed > 0 {
        let written = kv.write(&mut batch, Durability::Synced);
        written.map_err(failed("writing the states of the Regions"))?;
    }
    Ok(changed)
}

fn decide(store: StoreId, region: &LocalRegion, options: &RecoveryOptions) -> Outcome {
    let refused = |reason: &str| Outcome::Refused(reason.to_owned());
    let Some(shape) = region.region() else {
        return Outcome::NotConcerned;
    };
    if !concerns(shape, &options.failed) {
        return Outcome::NotConcerned;
    }
    if has_majority(shape, &options.failed) && !options.even_with_majority {
        return Outcome::HasMajority;
    }
    if region.is_installing {
        return refused(
            "a snapshot was being installed: start the node, which ends that, stop it, and come back",
        );
    }
    if region.is_quarantined(store) {
        return refused(
            "the replica here is quarantined: its data differs from the others', and it serves nobody",
        );
    }
    let after = without(shape, &options.failed, options.promotes_learners);
    if !after.peers.iter().any(|peer| peer.role == PeerRole::Voter) {
        return refused("only learners are left: --promote-learners makes them voters");
    }
    match &region.record {
        Some(Ok(RegionRecord::Merging(_, merging))) => {
            Outcome::Change(RegionRecord::Merging(after, merging.clone()))
        }
        _ => Outcome::Change(RegionRecord::Normal(after)),
    }
}

fn concerns(region: &Region, failed: &BTreeSet<StoreId>) -> bool {
    let mut stores = region.peers.iter().map(|peer| peer.store_id);
    stores.any(|store| failed.contains(&store))
}

/// Whether most voters are left: of the old ones and of the new ones, in a joint configuration.
fn has_majority(region: &Region, failed: &BTreeSet<StoreId>) -> bool {
    let votes_before = |role| matches!(role, PeerRole::Voter | PeerRole::DemotingVoter);
    let is_left = |votes: &dyn Fn(PeerRole) -> bool| {
        let voters = || region.peers.iter().filter(|peer| votes(peer.role));
        let left = voters().filter(|peer| !failed.contains(&peer.store_id));
        2 * left.count() > voters().count()
    };
    is_left(&is_voter_after) && is_left(&votes_before)
}

/// The Region without what is on these stores.
fn without(region: &Region, failed: &BTreeSet<StoreId>, promotes_learners: bool) -> Region {
    let mut after = region.clone();
    after.peers.retain(|peer| !failed.contains(&peer.store_id));
    let mut changes = region.peers.len() - after.peers.len();
    // Those on their way out have the data, and are all that is left.
    let needs_old = !after.peers.iter().any(|peer| is_voter_after(peer.role));
    for peer in &mut after.peers {
        let role = match peer.role {
            PeerRole::Voter | PeerRole::IncomingVoter => PeerRole::Voter,
            PeerRole::DemotingVoter if needs_old || promotes_learners => PeerRole::Voter,
            PeerRole::Learner if promotes_learners => PeerRole::Voter,
            PeerRole::DemotingVoter | PeerRole::Learner => PeerRole::Learner,
        };
        changes += usize::from(role != peer.role);
        peer.role = role;
    }
    after.epoch.conf_ver += changes as u64;
    after
}

/// Whether more than one replica is left.
fn has_others(record: &RegionRecord) -> bool {
    match record {
        RegionRecord::Normal(region) | RegionRecord::Merging(region, _) => region.peers.len() > 1,
        RegionRecord::Tombstone(_) => false,
    }
}

/// Why the replicas that are left may not agree on who they are.
fn unsettled<L: RaftLog>(log: &L, region: &LocalRegion) -> Result<Option<String>, LocalError> {
    let (Some(applied), Some(last)) = (region.applied(), region.last_index()) else {
        return Ok(None);
    };
    let mut next = applied.applied_index + 1;
    while next <= last {
        let read = log.fetch(region.id, next, last + 1, FETCH_BYTES);
        for entry in read.map_err(failed("reading a Raft log"))? {
            match EntryContent::read(&entry) {
                Ok(content) if !content.concerns_peers() => {}
                Ok(_) => {
                    return Ok(Some(format!(
                        "entry {} about its Peers is in the log and not applied here, and other replicas are left: \
                         let one alone go on, and name the stores of the others as lost, too",
                        entry.index
                    )));
                }
                Err(error) => {
                    let index = entry.index;
                    return Ok(Some(format!("entry {index} can't be decoded: {error}")));
                }
            }
            next = entry.index + 1;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{healthy, shape};
    use super::*;
    use crate::ident::{Configured, identify};
    use crate::identity::Members;
    use crate::recover::bootstrap;
    use engine::mem::{Disk, MemKv, MemLog};
    use raftstore::op::consistency::{Hash, Quarantine};
    use types::{ApiVersion, PeerId};

    const STORE: StoreId = StoreId(1);

    fn options(failed: &[u64]) -> RecoveryOptions {
        RecoveryOptions {
            failed: failed.iter().copied().map(StoreId).collect(),
            ..RecoveryOptions::default()
        }
    }

    fn peers(outcome: &Outcome) -> Vec<(u64, PeerRole)> {
        let Outcome::Change(RegionRecord::Normal(region)) = outcome else {
            panic!("it is changed: {outcome:?}");
        };
        let peers = region.peers.iter();
        peers.map(|peer| (peer.store_id.get(), peer.role)).collect()
    }

    fn with_roles(roles: &[PeerRole]) -> Region {
        let stores: Vec<u64> = (1..=roles.len() as u64).collect();
        let mut region = shape(2, ("", ""), &stores);
        for (peer, role) in region.peers.iter_mut().zip(roles) {
            peer.role = *role;
        }
        region
    }

    #[test]
    fn a_region_that_lost_its_majority_goes_on_with_who_is_left_in_a_newer_epoch() {
        let region = healthy(shape(2, ("", ""), &[1, 2, 3]));
        let outcome = decide(STORE, &region, &options(&[2, 3]));
        assert_eq!(peers(&outcome), [(1, PeerRole::Voter)]);
        let Outcome::Change(RegionRecord::Normal(after)) = outcome else {
            panic!("it is changed");
        };
        assert_eq!(after.epoch.conf_ver, 3);
        let five = healthy(shape(2, ("", ""), &[1, 2, 3, 4, 5]));
        let outcome = decide(STORE, &five, &options(&[2, 3, 4]));
        assert_eq!(
            peers(&outcome),
            [(1, PeerRole::Voter), (5, PeerRole::Voter)]
        );
    }

    #[test]
    fn a_region_with_its_majority_is_left_alone_unless_asked_for() {
        let region = healthy(shape(2, ("", ""), &[1, 2, 3]));
        let mut asked = options(&[3]);
        assert_eq!(decide(STORE, &region, &asked), Outcome::HasMajority);
        asked.even_with_majority = true;
        assert_eq!(peers(&decide(STORE, &region, &asked)).len(), 2);
        asked.failed = [StoreId(9)].into();
        assert_eq!(decide(STORE, &region, &asked), Outcome::NotConcerned);
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities_and_ends() {
        use PeerRole::*;
        // Old voters: 1, 2, 3; new ones: 1, 4, 5.
        let roles = [
            Voter,
            DemotingVoter,
            DemotingVoter,
            IncomingVoter,
            IncomingVoter,
        ];
        let region = healthy(with_roles(&roles));
        assert_eq!(decide(STORE, &region, &options(&[2])), Outcome::HasMajority);
        let of_old = peers(&decide(STORE, &region, &options(&[2, 3])));
        assert_eq!(of_old, [(1, Voter), (4, Voter), (5, Voter)]);
        let of_new = peers(&decide(STORE, &region, &options(&[4, 5])));
        assert_eq!(of_new, [(1, Voter), (2, Learner), (3, Learner)]);
        let only_old = healthy(with_roles(&[DemotingVoter, IncomingVoter, IncomingVoter]));
        let left = peers(&decide(STORE, &only_old, &options(&[2, 3])));
        assert_eq!(left, [(1, Voter)]);
    }

    #[test]
    fn learners_become_voters_only_if_asked_to() {
        use PeerRole::*;
        let region = healthy(with_roles(&[Learner, Voter, Voter, Voter]));
        let mut asked = options(&[2, 3, 4]);
        let refused = decide(STORE, &region, &asked);
        assert!(matches!(&refused, Outcome::Refused(why) if why.contains("learners")));
        asked.promotes_learners = true;
        assert_eq!(peers(&decide(STORE, &region, &asked)), [(1, Voter)]);
    }

    #[test]
    fn a_replica_that_would_serve_nobody_is_not_made_the_only_one() {
        let mut region = healthy(shape(2, ("", ""), &[1, 2, 3]));
        region.quarantine = Some(Ok(Quarantine {
            peer_id: PeerId(21),
            index: 8,
            found: Hash(1),
            agreed: Hash(2),
        }));
        let refused = decide(STORE, &region, &options(&[2, 3]));
        assert!(matches!(&refused, Outcome::Refused(why) if why.contains("quarantined")));
        region.quarantine = None;
        region.is_installing = true;
        let refused = decide(STORE, &region, &options(&[2, 3]));
        assert!(matches!(&refused, Outcome::Refused(why) if why.contains("snapshot")));
    }

    /// The first of five members, after its bootstrap.
    fn first_member() -> (MemKv, MemLog) {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let configured = Configured {
            name: "a".to_owned(),
            members: Members::parse("a=h:1,b=h:2,c=h:3,d=h:4,e=h:5").unwrap(),
            api_version: ApiVersion::V1,
            token: String::new(),
        };
        let identified = identify(&kv, &configured).unwrap();
        bootstrap(&kv, &log, &identified).unwrap();
        (kv, log)
    }

    fn outcomes(planned: &[Planned]) -> Vec<(u64, bool)> {
        let is_change = |one: &Planned| matches!(one.outcome, Outcome::Change(_));
        planned
            .iter()
            .map(|one| (one.region_id.get(), is_change(one)))
            .collect()
    }

    #[test]
    fn placement_and_data_are_recovered_together_and_a_second_time_there_is_nothing_to_do() {
        let (kv, log) = first_member();
        let asked = options(&[2, 3]);
        let planned = plan(&kv, &log, &asked).unwrap();
        assert_eq!(outcomes(&planned), [(1, true), (2, true)]);
        // Planning changes nothing.
        assert_eq!(plan(&kv, &log, &asked).unwrap(), planned);
        assert_eq!(perform(&kv, &planned).unwrap(), 2);
        let again = plan(&kv, &log, &asked).unwrap();
        assert_eq!(again, []);
        assert_eq!(perform(&kv, &again).unwrap(), 0);
        for region in regions(&kv, &log).unwrap() {
            assert_eq!(region.region().unwrap().peers.len(), 1);
        }
    }

    #[test]
    fn only_named_regions_are_changed_and_unknown_ones_are_an_error() {
        let (kv, log) = first_member();
        let mut asked = options(&[2, 3]);
        asked.regions = [RegionId(2)].into();
        assert_eq!(outcomes(&plan(&kv, &log, &asked).unwrap()), [(2, true)]);
        asked.failed = [StoreId(4)].into();
        let named = plan(&kv, &log, &asked).unwrap();
        assert_eq!(named[0].outcome, Outcome::NotConcerned);
        asked.regions = [RegionId(77)].into();
        let error = plan(&kv, &log, &asked).unwrap_err();
        assert!(matches!(error, LocalError::NoRegion(RegionId(77))));
        let error = plan(&kv, &log, &options(&[1, 2])).unwrap_err();
        assert!(matches!(error, LocalError::OwnStore(STORE)));
    }

    #[test]
    fn a_region_whose_state_contradicts_its_log_is_left_as_it_is() {
        use engine::RaftLogBatch;
        let (kv, log) = first_member();
        let mut logs = log.batch();
        logs.remove(RegionId(2));
        log.write(&mut logs, Durability::Synced).unwrap();
        let planned = plan(&kv, &log, &options(&[2, 3])).unwrap();
        assert_eq!(outcomes(&planned), [(1, true), (2, false)]);
        assert!(
            matches!(&planned[1].outcome, Outcome::Refused(why) if why.contains("log is missing"))
        );
    }

    #[test]
    fn a_change_that_is_not_applied_is_refused_where_another_replica_may_have_applied_it() {
        use engine::RaftLogBatch;
        use types::{EntryKind, LogEntry};
        let (kv, log) = first_member();
        let entry = LogEntry {
            index: 6,
            term: 5,
            kind: EntryKind::Normal,
            // A split into nothing.
            data: bytes::Bytes::from_static(&[1, 0, 1, 1, 3, 0]),
        };
        let mut logs = log.batch();
        logs.append(RegionId(2), &[entry]);
        log.write(&mut logs, Durability::Synced).unwrap();
        let mut asked = options(&[2]);
        asked.even_with_majority = true;
        let planned = plan(&kv, &log, &asked).unwrap();
        assert_eq!(outcomes(&planned), [(1, true), (2, false)]);
        assert!(matches!(&planned[1].outcome, Outcome::Refused(why) if why.contains("entry 6")));
        // One alone has nobody to disagree with.
        let planned = plan(&kv, &log, &options(&[2, 3])).unwrap();
        assert_eq!(outcomes(&planned), [(1, true), (2, true)]);
    }
}
