//! Regions and actors as JSON, for whoever looks for a fault.
//!
//! **Not here.** Finding out (`node::inspect`).

use crate::http::{hex, peer_json};
use engine::{Files, KvEngine};
use node::{CompactError, Compaction, FsmStats, NodeHandle, RegionInspection};
use raftstore::state::RegionRecord;
use serde_json::{Value, json};
use types::{Region, RegionId};

/// What can be looked at while a node runs.
pub trait Inspect: Send + Sync {
    /// A Region, as this store knows it; none if it never heard of it. May wait for the disk.
    ///
    /// # Errors
    /// What it knows can't be read.
    fn region(&self, id: u64) -> Result<Option<Value>, String>;

    /// Compacts, for as long as it takes.
    ///
    /// # Errors
    /// As [`NodeHandle::compact`].
    fn compact(&self, wanted: &Compaction) -> Result<Value, CompactError>;

    /// The actors that stand out, so many in each respect.
    fn actors(&self, count: usize) -> Value;
}

impl<K: KvEngine> Inspect for NodeHandle<K> {
    fn region(&self, id: u64) -> Result<Option<Value>, String> {
        let found = self.inspect(RegionId(id))?;
        Ok(found.map(|found| region_json(id, &found)))
    }

    fn compact(&self, wanted: &Compaction) -> Result<Value, CompactError> {
        let done = NodeHandle::compact(self, wanted)?;
        Ok(json!({
            "before": files_json(done.before),
            "after": files_json(done.after),
            "took_ms": done.took.as_millis() as u64,
        }))
    }

    fn actors(&self, count: usize) -> Value {
        let systems = NodeHandle::actors(self, count);
        let shown = systems.iter().map(|(system, actors)| {
            let list = |actors: &[(u64, FsmStats)]| -> Value {
                let lines = actors.iter().map(|(region, stats)| actor(*region, stats));
                lines.collect()
            };
            let lists = json!({
                "slowest": list(&actors.slowest),
                "longest_queues": list(&actors.longest),
                "busiest": list(&actors.busiest),
                "rescheduled": list(&actors.moved),
            });
            ((*system).to_owned(), lists)
        });
        Value::Object(shown.collect())
    }
}

fn files_json(files: Files) -> Value {
    json!({
        "count": files.count,
        "bytes": files.bytes,
        "entries": files.entries,
        "removals": files.removals,
    })
}

fn actor(region: u64, stats: &FsmStats) -> Value {
    let mut line = stats_json(stats);
    line["region_id"] = region.into();
    line
}

fn stats_json(stats: &FsmStats) -> Value {
    json!({
        "messages": stats.messages,
        "rounds": stats.rounds,
        "poll_time_ms": stats.poll_time.as_secs_f64() * 1_000.0,
        "moves": stats.moves,
        "waiting": stats.pending,
    })
}

fn region_json(id: u64, found: &RegionInspection) -> Value {
    let (state, region) = match &found.record {
        None => ("uninitialized", None),
        Some(RegionRecord::Normal(region)) => ("normal", Some(region)),
        Some(RegionRecord::Merging(region, _)) => ("merging", Some(region)),
        Some(RegionRecord::Tombstone(_)) => ("tombstone", None),
    };
    let applied = found.applied.as_ref().map(|applied| {
        json!({
            "applied_index": applied.applied_index,
            "applied_term": applied.applied_term,
            "truncated_index": applied.truncated_index,
            "truncated_term": applied.truncated_term,
        })
    });
    json!({
        "region_id": id,
        "state": state,
        "region": region.map(shape),
        "leader": found.leader.as_ref().map(peer_json),
        "leads_here": found.leads,
        "log": applied,
        "approximate_size_bytes": found.size.map(|size| size.bytes),
        "approximate_keys": found.size.map(|size| size.keys),
        "files": files_json(found.files),
        "peer": found.peer.as_ref().map(stats_json),
        "applier": found.applier.as_ref().map(stats_json),
    })
}

fn shape(region: &Region) -> Value {
    json!({
        "start_key": hex(&region.range.start),
        "end_key": hex(&region.range.end),
        "conf_ver": region.epoch.conf_ver,
        "version": region.epoch.version,
        "peers": region.peers.iter().map(peer_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ApplyState, Peer};

    #[test]
    fn a_region_is_shown_with_its_log_and_its_actors() {
        let region = Region {
            id: RegionId(7),
            ..Region::default()
        };
        let found = RegionInspection {
            record: Some(RegionRecord::Normal(region)),
            applied: Some(ApplyState {
                applied_index: 9,
                ..ApplyState::default()
            }),
            leader: Some(Peer::default()),
            leads: true,
            size: None,
            files: Files {
                removals: 4,
                ..Files::default()
            },
            peer: Some(FsmStats::default()),
            applier: None,
        };
        let shown = region_json(7, &found);
        assert_eq!(shown["state"], "normal");
        assert_eq!(shown["log"]["applied_index"], 9);
        assert_eq!(shown["files"]["removals"], 4);
        assert_eq!(shown["peer"]["waiting"], 0);
        assert_eq!(shown["approximate_keys"], Value::Null);
        let nothing = RegionInspection {
            record: None,
            ..found
        };
        assert_eq!(region_json(7, &nothing)["state"], "uninitialized");
    }
}
