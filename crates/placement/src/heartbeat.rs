//! What heartbeats say: of a Region by its leader, of a store by itself.
//!
//! **Not here.** What is remembered of them: `observed`.

use types::{Peer, PeerId, Region, StoreId};

/// What was read and written in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How long the interval was, in seconds; zero if it is unknown, and then nothing was measured.
    pub interval_s: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Keys written.
    pub written_keys: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Keys read.
    pub read_keys: u64,
    /// Requests that read.
    pub read_requests: u64,
    /// Requests that wrote.
    pub write_requests: u64,
    /// The part of one core that reading took, in percent. Stores don't tell theirs.
    pub cpu_percent: u64,
}

/// A leader's report of its Region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionHeartbeat {
    /// The Region's shape.
    pub region: Region,
    /// Who reports: the Region's leader.
    pub leader: PeerId,
    /// The Raft term in which it leads.
    pub term: u64,
    /// Replicas that it has not heard of for long.
    pub down_peers: Vec<PeerId>,
    /// Replicas that are catching up.
    pub pending_peers: Vec<PeerId>,
    /// Replicas that hold something else than most, and serve nobody.
    pub quarantined_peers: Vec<PeerId>,
    /// About how many bytes it holds; zero if that is not known.
    pub approximate_size_bytes: u64,
    /// About how many keys it holds; zero if that is not known.
    pub approximate_keys: u64,
    /// What was read and written since its last report.
    pub traffic: Traffic,
}

/// A store's report of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Who reports.
    pub store_id: StoreId,
    /// Size of its disk.
    pub capacity_bytes: u64,
    /// What is left of it.
    pub available_bytes: u64,
    /// What the store uses of it.
    pub used_bytes: u64,
    /// Replicas on the store.
    pub region_count: u64,
    /// When its process started, in seconds since the Unix epoch.
    pub start_time_s: u64,
    /// Snapshots that it is sending.
    pub sending_snapshots: u64,
    /// Snapshots that it is receiving.
    pub receiving_snapshots: u64,
    /// Snapshots that it is applying.
    pub applying_snapshots: u64,
    /// Whether it refuses writes for having too much to do.
    pub is_busy: bool,
    /// How slow it is, from 1 to 100; zero if that is not measured.
    pub slow_score: u64,
    /// What was read and written since its last report.
    pub traffic: Traffic,
}

impl RegionHeartbeat {
    pub(crate) fn size_bytes(&self) -> usize {
        let lists = [
            &self.down_peers,
            &self.pending_peers,
            &self.quarantined_peers,
        ];
        let lists: usize = lists.map(Vec::len).iter().sum::<usize>() * size_of::<PeerId>();
        size_of::<Self>() + region_bytes(&self.region) + lists
    }
}

/// About how much memory a Region's shape holds.
pub(crate) fn region_bytes(region: &Region) -> usize {
    let range = region.range.start.len() + region.range.end.len();
    size_of::<Region>() + range + region.peers.len() * size_of::<Peer>()
}
