//! `ctl local regions` and `raft-state`: the Regions of a folder, and what is wrong with them.
//!
//! **Not here.** Finding it: `node::local`.

use super::super::encoding::Encoding;
use super::super::output::Printer;
use super::super::region::peer;
use super::super::table::{Cell, Row};
use crate::error::Result;
use engine::{KvEngine, RaftLog};
use node::local::{self, LocalError, LocalRegion, LocalState, LocalStore, Problem};
use raftstore::state::RegionRecord;
use serde_json::{Value, json};
use types::{Epoch, RegionId, StoreId};

/// Prints these Regions, or all; or what is wrong with them.
pub(super) fn show<K: KvEngine, L: RaftLog>(
    (kv, log): (&K, &L),
    ids: &[RegionId],
    bad: bool,
    printer: &mut Printer,
) -> Result<()> {
    let store = LocalStore::read(kv)?.store_id;
    let all = local::regions(kv, log)?;
    let is_here = |id: &RegionId| all.iter().any(|region| region.id == *id);
    if let Some(missing) = ids.iter().find(|id| !is_here(id)) {
        return Err(LocalError::NoRegion(*missing).into());
    }
    let is_wanted = |id: &RegionId| ids.is_empty() || ids.contains(id);
    let rows: Vec<Row> = match bad {
        true => {
            // Overlaps show only beside the others.
            let problems = local::problems(store, &all).into_iter();
            let wanted = problems.filter(|problem| is_wanted(&problem.region_id));
            wanted
                .map(|problem| problem_row(&all, store, &problem))
                .collect()
        }
        false => {
            let wanted = all.iter().filter(|region| is_wanted(&region.id));
            wanted.map(|region| row(region, store)).collect()
        }
    };
    printer.table(&rows)
}

fn row(region: &LocalRegion, store: StoreId) -> Row {
    let applied = region.applied().map(|applied| applied.applied_index);
    let term = region.hard_state().map(|state| state.term);
    let mut row = shape(region, store);
    row.extend([
        Cell::new("applied_index", applied),
        Cell::new("last_index", region.last_index()),
        Cell::new("term", term),
        Cell::bytes("size_bytes", &json!(region.size_bytes)),
    ]);
    row
}

/// What a Region is, as far as that can be read.
fn shape(region: &LocalRegion, store: StoreId) -> Row {
    let bound = |key: &[u8]| Value::String(Encoding::Escaped.encode(key));
    let epoch = |epoch: Epoch| Value::String(format!("{}.{}", epoch.conf_ver, epoch.version));
    let (start, end, epoch, peers) = match (&region.record, region.region()) {
        (_, Some(shape)) => (
            bound(&shape.range.start),
            bound(&shape.range.end),
            epoch(shape.epoch),
            shape.peers.iter().map(peer).collect(),
        ),
        (Some(Ok(RegionRecord::Tombstone(tombstone))), None) => (
            Value::Null,
            Value::Null,
            epoch(tombstone.epoch),
            Value::Null,
        ),
        _ => (Value::Null, Value::Null, Value::Null, Value::Null),
    };
    vec![
        Cell::new("id", region.id.get()),
        Cell::new("state", region.state(store).name()),
        Cell::new("start", start),
        Cell::new("end", end),
        Cell::new("epoch", epoch),
        Cell::new("peers", peers),
    ]
}

fn problem_row(all: &[LocalRegion], store: StoreId, problem: &Problem) -> Row {
    let region = all.iter().find(|region| region.id == problem.region_id);
    let state = region.map_or(LocalState::Unknown, |region| region.state(store));
    vec![
        Cell::new("id", problem.region_id.get()),
        Cell::new("state", state.name()),
        Cell::new("problem", problem.what.clone()),
    ]
}

/// Prints the Raft state of one Region.
pub(super) fn raft_state<K: KvEngine, L: RaftLog>(
    kv: &K,
    log: &L,
    id: RegionId,
    printer: &mut Printer,
) -> Result<()> {
    let region = local::region(kv, log, id)?;
    if region.record.is_none() && region.applied.is_none() && region.hard_state.is_none() {
        return Err(LocalError::NoRegion(id).into());
    }
    let (state, applied) = (region.hard_state(), region.applied());
    let row = vec![
        Cell::new("id", id.get()),
        Cell::new("term", state.map(|state| state.term)),
        Cell::new("vote", state.map(|state| state.vote.get())),
        Cell::new("commit", state.map(|state| state.commit)),
        Cell::new("first_index", region.bounds.map(|(first, _)| first)),
        Cell::new("last_index", region.last_index()),
        Cell::new("last_term", region.terms.1),
        Cell::new("applied_index", applied.map(|state| state.applied_index)),
        Cell::new("applied_term", applied.map(|state| state.applied_term)),
        Cell::new(
            "truncated_index",
            applied.map(|state| state.truncated_index),
        ),
        Cell::new("truncated_term", applied.map(|state| state.truncated_term)),
    ];
    printer.table(&[row])
}

#[cfg(test)]
mod tests {
    use super::super::super::table;
    use super::*;
    use raftstore::state::Tombstone;
    use types::{ApplyState, HardState, KeyRange, Peer, PeerId, PeerRole, Region};

    fn region(record: Option<std::result::Result<RegionRecord, String>>) -> LocalRegion {
        LocalRegion {
            id: RegionId(7),
            record,
            applied: Some(Ok(ApplyState {
                applied_index: 9,
                applied_term: 6,
                truncated_index: 5,
                truncated_term: 5,
            })),
            hard_state: Some(Ok(HardState {
                term: 6,
                vote: PeerId(71),
                commit: 8,
            })),
            bounds: Some((6, 10)),
            terms: (Some(6), Some(6)),
            continues: true,
            quarantine: None,
            is_installing: false,
            size_bytes: Some(2048),
        }
    }

    fn cells(region: &LocalRegion) -> Vec<String> {
        let lines = table::lines(&[row(region, StoreId(1))]);
        lines[1].split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_region_is_a_row_and_what_is_not_known_of_it_is_a_dash() {
        let shape = Region {
            id: RegionId(7),
            range: KeyRange {
                start: b"a\n".to_vec(),
                end: Vec::new(),
            },
            epoch: Epoch {
                conf_ver: 3,
                version: 4,
            },
            peers: vec![Peer {
                id: PeerId(71),
                store_id: StoreId(1),
                role: PeerRole::Voter,
            }],
        };
        let whole = region(Some(Ok(RegionRecord::Normal(shape))));
        let expected = [
            "7", "normal", "a\\n", "-", "3.4", "71@1", "9", "10", "6", "2.0KiB",
        ];
        assert_eq!(cells(&whole), expected);
        let tombstone = Tombstone {
            region_id: RegionId(7),
            epoch: Epoch {
                conf_ver: 3,
                version: 4,
            },
            peer_id: PeerId(71),
            merged_into: None,
        };
        let removed = region(Some(Ok(RegionRecord::Tombstone(tombstone))));
        assert_eq!(cells(&removed)[1..6], ["tombstone", "-", "-", "3.4", "-"]);
        let damaged = region(Some(Err("cut".to_owned())));
        assert_eq!(cells(&damaged)[1..6], ["unknown", "-", "-", "-", "-"]);
    }

    #[test]
    fn a_problem_is_a_row_with_the_regions_state() {
        let damaged = region(Some(Err("cut".to_owned())));
        let all = [damaged];
        let problems = local::problems(StoreId(1), &all);
        let lines = table::lines(&[problem_row(&all, StoreId(1), &problems[0])]);
        assert_eq!(lines[1], "7   unknown  its state can't be read: cut");
    }
}
