//! The first Regions of a cluster, derived from the list of its first members alone.
//!
//! **Why derived.** Every listed node computes the same stores, Regions and replicas, so that the
//! first boot needs no coordination and a crash in it is repaired by doing it again. The convention
//! of a list of first members is etcd's.
//!
//! **Invariants.** The same list gives the same cluster on every node. The data Regions tile the
//! client key space. The reserved Region's range is all of its own key space.
//!
//! **Not here.** Writing any of it down (`node`).

use types::{
    ApiVersion, ApplyState, Epoch, HardState, KeyRange, Peer, PeerId, PeerRole, Region, RegionId,
    StoreId, keys,
};

/// The index at which every first log is considered truncated, and its term (TiKV's
/// `RAFT_INIT_LOG_INDEX`): a replica with nothing at all is thereby told apart from one with an
/// empty log.
pub const FIRST_INDEX: u64 = 5;

/// The version of every first Region: what was cut off from one has a higher one.
pub const FIRST_VERSION: u64 = 1;

/// Replicas of each first Region, where there are that many stores.
pub const REPLICAS: usize = 3;

/// Under API V2, the end of the raw keys of keyspace DEFAULT: the first data Region ends there,
/// since the official Rust client's scan wraps around at a Region with an open end.
const DEFAULT_KEYSPACE_END: &[u8] = b"r\0\0\x01";

/// The first Regions of a cluster whose first members are the stores `1..=members`.
pub fn first_regions(members: usize, api: ApiVersion) -> Vec<Region> {
    assert!(members > 0, "a cluster has a member");
    let mut ranges = vec![KeyRange::default()];
    match api {
        ApiVersion::V1 => ranges.push(KeyRange::default()),
        ApiVersion::V2 => {
            let cut = keys::encode(DEFAULT_KEYSPACE_END);
            ranges.push(KeyRange {
                start: Vec::new(),
                end: cut.clone(),
            });
            ranges.push(KeyRange {
                start: cut,
                end: Vec::new(),
            });
        }
    }
    let replicas = members.min(REPLICAS) as u64;
    (RegionId::PLACEMENT.get()..)
        .zip(ranges)
        .map(|(id, range)| Region {
            id: RegionId(id),
            range,
            epoch: Epoch {
                conf_ver: 1,
                version: FIRST_VERSION,
            },
            peers: first_peers(id, replicas),
        })
        .collect()
}

/// The placement driver gives out the ids above the highest of these (`placement::Bootstrap`).
fn first_peers(region: u64, replicas: u64) -> Vec<Peer> {
    (1..=replicas)
        .map(|store| Peer {
            id: PeerId(region * 10 + store),
            store_id: StoreId(store),
            role: PeerRole::Voter,
        })
        .collect()
}

/// The apply state of every first replica.
pub fn first_apply_state() -> ApplyState {
    ApplyState {
        applied_index: FIRST_INDEX,
        applied_term: FIRST_INDEX,
        truncated_index: FIRST_INDEX,
        truncated_term: FIRST_INDEX,
    }
}

/// The hard state of every first replica.
pub fn first_hard_state() -> HardState {
    HardState {
        term: FIRST_INDEX,
        vote: PeerId(0),
        commit: FIRST_INDEX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_regions_tile_the_key_space_under_both_api_versions() {
        for api in [ApiVersion::V1, ApiVersion::V2] {
            let regions = first_regions(3, api);
            assert_eq!(regions[0].id, RegionId::PLACEMENT);
            let data = &regions[1..];
            assert!(data[0].range.start.is_empty());
            assert!(data.last().unwrap().range.end.is_empty());
            for pair in data.windows(2) {
                assert_eq!(pair[0].range.end, pair[1].range.start);
            }
        }
    }

    #[test]
    fn ids_are_unique_and_replicas_are_three_at_most() {
        let regions = first_regions(5, ApiVersion::V2);
        let mut ids: Vec<_> = regions
            .iter()
            .flat_map(|r| &r.peers)
            .map(|p| p.id)
            .collect();
        assert_eq!(ids.len(), 3 * REPLICAS);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3 * REPLICAS);
        assert_eq!(first_regions(1, ApiVersion::V1)[1].peers.len(), 1);
    }
}
