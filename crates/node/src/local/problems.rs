//! What is wrong with the Regions of a directory.
//!
//! **Why more than a start finds.** A start asks whether this store can keep its promises. Somebody who looks for
//! the cause of something strange wants to hear of ranges that overlap and of terms that go back as well.
//!
//! **Invariants.** What a start repairs by itself is no problem: the log of a replica that was removed, one that
//! a snapshot has just replaced, a snapshot that was half installed.
//!
//! **Not here.** Entries and pairs one by one (`records`).

use super::{LocalRegion, LocalState};
use raftstore::bootstrap::{FIRST_VERSION, first_apply_state};
use raftstore::op::conf_change::is_voter_after;
use raftstore::state::RegionRecord;
use std::collections::BTreeSet;
use types::{Region, RegionId, Space, StoreId};

/// Something wrong with a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The Region.
    pub region_id: RegionId,
    /// What it is.
    pub what: String,
}

/// All that is wrong with these Regions of a store, in their order.
pub fn problems(store: StoreId, regions: &[LocalRegion]) -> Vec<Problem> {
    let mut found = Vec::new();
    let overlaps = overlaps(regions);
    for region in regions {
        let others = overlaps.iter().filter(|(id, _)| *id == region.id);
        let others = others.map(|(_, other)| format!("its range overlaps that of Region {other}"));
        let all = of_region(store, region).into_iter().chain(others);
        found.extend(all.map(|what| Problem {
            region_id: region.id,
            what,
        }));
    }
    found
}

fn of_region(store: StoreId, region: &LocalRegion) -> Vec<String> {
    let mut found = unreadable(region);
    match &region.record {
        None => found.extend(without_record(store, region)),
        Some(Ok(RegionRecord::Tombstone(tombstone))) if tombstone.region_id != region.id => {
            found.push(format!(
                "its state is that of Region {}",
                tombstone.region_id
            ));
        }
        Some(Ok(RegionRecord::Tombstone(_)) | Err(_)) => {}
        Some(Ok(RegionRecord::Normal(shape) | RegionRecord::Merging(shape, _))) => {
            found.extend(of_shape(store, region.id, shape));
            found.extend(of_log(region, shape));
        }
    }
    found
}

fn unreadable(region: &LocalRegion) -> Vec<String> {
    let record = region
        .record
        .as_ref()
        .and_then(|found| found.as_ref().err());
    let applied = region
        .applied
        .as_ref()
        .and_then(|found| found.as_ref().err());
    let hard_state = region.hard_state.as_ref();
    let hard_state = hard_state.and_then(|found| found.as_ref().err());
    let quarantine = region.quarantine.as_ref();
    let quarantine = quarantine.and_then(|found| found.as_ref().err());
    [
        ("its state", record),
        ("its apply state", applied),
        ("its hard state", hard_state),
        ("the record of its quarantine", quarantine),
    ]
    .into_iter()
    .filter_map(|(what, error)| Some(format!("{what} can't be read: {}", error?)))
    .collect()
}

/// A Region of which there is something, but not what it is.
fn without_record(store: StoreId, region: &LocalRegion) -> Option<String> {
    let what = match region.state(store) {
        LocalState::Uninitialised | LocalState::Installing => return None,
        _ if region.bounds.is_some() => "there is a Raft log, but no state of the Region",
        _ => "there is something of the Region, but not its state",
    };
    Some(what.to_owned())
}

fn of_shape(store: StoreId, id: RegionId, shape: &Region) -> Vec<String> {
    let mut found = Vec::new();
    if shape.id != id {
        found.push(format!("its state is that of Region {}", shape.id));
    }
    if shape.peer_on(store).is_none() {
        found.push("no replica of it belongs to this store".to_owned());
    }
    if shape.range.is_empty() {
        found.push("its range holds no key".to_owned());
    }
    if !shape.peers.iter().any(|peer| is_voter_after(peer.role)) {
        found.push("it has no voter".to_owned());
    }
    let stores: BTreeSet<_> = shape.peers.iter().map(|peer| peer.store_id).collect();
    if stores.len() < shape.peers.len() {
        found.push("two of its replicas are on one store".to_owned());
    }
    found
}

/// The state of a replica against its log.
fn of_log(region: &LocalRegion, shape: &Region) -> Vec<String> {
    let mut found = Vec::new();
    if region.applied.is_none() {
        found.push("its apply state is missing".to_owned());
    }
    let Some(applied) = region.applied() else {
        return found;
    };
    // A part that was just cut off gets its hard state with its first message.
    let is_new = shape.epoch.version > FIRST_VERSION && *applied == first_apply_state();
    if region.hard_state.is_none() && !is_new {
        found.push("its Raft log is missing".to_owned());
    }
    let last = region.last_index().unwrap_or(0);
    let index = applied.applied_index;
    if last < index {
        found.push(format!(
            "its Raft log ends at {last}, but entries up to {index} were applied"
        ));
    }
    if applied.truncated_index > index {
        found.push(format!(
            "its Raft log begins behind {}, but only entries up to {index} were applied",
            applied.truncated_index
        ));
    }
    if let Some((first, _)) = region.bounds
        && region.continues
        && first > applied.truncated_index + 1
    {
        found.push(format!(
            "its Raft log begins at {first}, but {} should be its first entry",
            applied.truncated_index + 1
        ));
    }
    if let Some(term) = region.terms.0
        && region.continues
        && term != applied.applied_term
    {
        found.push(format!(
            "entry {index} was applied in term {}, but has term {term} in its log",
            applied.applied_term
        ));
    }
    if let Some(state) = region.hard_state() {
        if state.commit > last {
            let commit = state.commit;
            found.push(format!(
                "its Raft log ends at {last}, but entries up to {commit} were committed"
            ));
        }
        if let Some(term) = region.terms.1
            && term > state.term
        {
            found.push(format!(
                "its last entry has term {term}, but its replica knows of term {} only",
                state.term
            ));
        }
    }
    found
}

/// The Regions that hold the same keys, each pair in both orders.
fn overlaps(regions: &[LocalRegion]) -> Vec<(RegionId, RegionId)> {
    let mut found = Vec::new();
    for space in [Space::Placement, Space::Data] {
        let of_space = regions
            .iter()
            .filter(|region| Space::of(region.id) == space);
        let shapes = of_space.filter_map(|region| Some((region.id, region.region()?)));
        let mut shapes: Vec<_> = shapes
            .filter(|(_, shape)| !shape.range.is_empty() && !shape.peers.is_empty())
            .collect();
        shapes.sort_by(|(_, a), (_, b)| a.range.start.cmp(&b.range.start));
        // The one that reaches furthest of those before.
        let mut furthest: Option<(RegionId, &Region)> = None;
        for (id, shape) in shapes {
            if let Some((other, before)) = furthest
                && before.range.contains(&shape.range.start)
            {
                found.extend([(id, other), (other, id)]);
            }
            let is_further = furthest.is_none_or(|(_, before)| {
                let end = &before.range.end;
                !end.is_empty() && (shape.range.end.is_empty() || shape.range.end > *end)
            });
            if is_further {
                furthest = Some((id, shape));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{healthy, shape};
    use super::*;
    use types::{HardState, PeerId, PeerRole};

    const STORE: StoreId = StoreId(1);

    fn whole() -> LocalRegion {
        healthy(shape(2, ("a", "m"), &[1, 2, 3]))
    }

    fn said(change: impl FnOnce(&mut LocalRegion)) -> Vec<String> {
        let mut region = whole();
        change(&mut region);
        let found = problems(STORE, &[region]).into_iter();
        found.map(|problem| problem.what).collect()
    }

    fn says(expected: &str, change: impl FnOnce(&mut LocalRegion)) {
        let said = said(change);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }

    fn reshape(region: &mut LocalRegion, change: impl FnOnce(&mut Region)) {
        let Some(Ok(RegionRecord::Normal(shape))) = &mut region.record else {
            panic!("it is a usual one");
        };
        change(shape);
    }

    #[test]
    fn a_region_as_it_should_be_has_no_problem() {
        assert_eq!(said(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn records_that_do_not_decode_are_named() {
        says("its state can't be read: cut", |region| {
            region.record = Some(Err("cut".to_owned()));
        });
        says("its apply state can't be read", |region| {
            region.applied = Some(Err("cut".to_owned()));
        });
    }

    #[test]
    fn a_log_that_does_not_reach_the_data_is_one() {
        says("ends at 8, but entries up to 9 were applied", |region| {
            region.bounds = Some((6, 8));
        });
        says("begins at 8, but 6 should be its first", |region| {
            region.bounds = Some((8, 10));
        });
        says("up to 11 were committed", |region| {
            region.hard_state = Some(Ok(HardState {
                term: 6,
                vote: PeerId(0),
                commit: 11,
            }));
        });
        says("Raft log is missing", |region| region.hard_state = None);
        says("has term 7 in its log", |region| region.terms.0 = Some(7));
        says("knows of term 6 only", |region| region.terms.1 = Some(7));
    }

    #[test]
    fn a_state_without_what_belongs_to_it_is_one_and_so_is_a_log_without_a_state() {
        says("its apply state is missing", |region| region.applied = None);
        says("a Raft log, but no state", |region| region.record = None);
        says("belongs to this store", |region| {
            reshape(region, |shape| {
                shape.peers.retain(|peer| peer.store_id != STORE)
            });
        });
        says("is that of Region 3", |region| {
            reshape(region, |shape| shape.id = RegionId(3));
        });
        says("has no voter", |region| {
            let learn = |shape: &mut Region| {
                shape
                    .peers
                    .iter_mut()
                    .for_each(|peer| peer.role = PeerRole::Learner);
            };
            reshape(region, learn);
        });
    }

    #[test]
    fn a_replica_that_only_knows_of_a_vote_is_none() {
        let said = said(|region| {
            region.record = None;
            region.applied = None;
            region.bounds = None;
            region.hard_state = Some(Ok(HardState::default()));
        });
        assert_eq!(said, Vec::<String>::new());
    }

    #[test]
    fn ranges_that_overlap_are_told_of_both_and_neighbours_are_none() {
        let region = |id, range| healthy(shape(id, range, &[1]));
        let tiled = [
            region(2, ("", "m")),
            region(3, ("m", "")),
            region(1, ("", "")),
        ];
        assert_eq!(problems(STORE, &tiled), []);
        // Behind a short one that lies within the first.
        let crossed = [
            region(2, ("", "p")),
            region(3, ("b", "c")),
            region(4, ("o", "")),
        ];
        let said: Vec<String> = problems(STORE, &crossed)
            .into_iter()
            .map(|problem| format!("{}: {}", problem.region_id, problem.what))
            .collect();
        let expected = [
            "2: its range overlaps that of Region 3",
            "2: its range overlaps that of Region 4",
            "3: its range overlaps that of Region 2",
            "4: its range overlaps that of Region 2",
        ];
        assert_eq!(said, expected);
    }
}
