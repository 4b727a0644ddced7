//! Conversions between the placement driver's vocabulary and `pdpb`, in both directions.
//!
//! **Invariants.** From the wire nothing panics; what can't be is refused with the reason.
//!
//! **Not here.** Headers and errors (`service::pd`).

pub(crate) mod instruction;
mod merge;
mod raft;

pub(crate) use merge::{merged_into_from_wire, merged_into_to_wire};
pub(crate) use raft::{extra_from_wire, extra_to_wire};

use bytes::Bytes;
use placement::{RegionHeartbeat, RegionRoute, Store, StoreState, StoreStats, StoreView, Traffic};
use proto::{metapb, pdpb};
use types::{Peer, PeerId, Region, StoreId, Timestamp};

const NS_PER_MS: u64 = 1_000_000;

fn peer_stats(peers: &[Peer]) -> Vec<pdpb::PeerStats> {
    let stats = |peer: &Peer| pdpb::PeerStats {
        peer: Some((*peer).into()),
        down_seconds: 0,
    };
    peers.iter().map(stats).collect()
}

/// A quarantined replica is on the wire one that has been down for ever: a placement driver that knows
/// nothing of quarantine may then replace it, and clients don't ask it.
const QUARANTINED_SECONDS: u64 = u64::MAX;

fn quarantined_stats(peers: &[Peer]) -> Vec<pdpb::PeerStats> {
    let mut stats = peer_stats(peers);
    for stats in &mut stats {
        stats.down_seconds = QUARANTINED_SECONDS;
    }
    stats
}

/// Replicas that a client should not ask.
fn unavailable(route: &RegionRoute) -> Vec<pdpb::PeerStats> {
    let quarantined = quarantined_stats(&route.quarantined_peers);
    [peer_stats(&route.down_peers), quarantined].concat()
}

fn peers(peers: &[Peer]) -> Vec<metapb::Peer> {
    peers.iter().copied().map(Into::into).collect()
}

/// A Region and who to ask, for `GetRegion` and its relatives.
pub(crate) fn get_region_response(route: &RegionRoute) -> pdpb::GetRegionResponse {
    pdpb::GetRegionResponse {
        header: None,
        region: Some((&*route.region).into()),
        leader: route.leader_or_guess().map(Into::into),
        down_peers: unavailable(route),
        pending_peers: peers(&route.pending_peers),
    }
}

/// A Region and who to ask, for scans.
pub(crate) fn region(route: &RegionRoute) -> pdpb::Region {
    pdpb::Region {
        region: Some((&*route.region).into()),
        leader: route.leader_or_guess().map(Into::into),
        down_peers: unavailable(route),
        pending_peers: peers(&route.pending_peers),
    }
}

/// A Region and who to ask, for `QueryRegion`.
pub(crate) fn region_response(route: &RegionRoute) -> pdpb::RegionResponse {
    pdpb::RegionResponse {
        region: Some((&*route.region).into()),
        leader: route.leader_or_guess().map(Into::into),
        down_peers: unavailable(route),
        pending_peers: peers(&route.pending_peers),
    }
}

/// A store for the wire.
pub(crate) fn store_to_wire(view: &StoreView) -> metapb::Store {
    let store = &view.store;
    let label = |(key, value): &(String, String)| metapb::StoreLabel {
        key: key.clone(),
        value: value.clone(),
    };
    let heard_ns = view
        .last_heartbeat_wall_ms
        .unwrap_or(0)
        .saturating_mul(NS_PER_MS);
    let (state, node_state) = match store.state {
        StoreState::Up => (metapb::StoreState::Up, metapb::NodeState::Serving),
        StoreState::Offline => (metapb::StoreState::Offline, metapb::NodeState::Removing),
        StoreState::Tombstone => (metapb::StoreState::Tombstone, metapb::NodeState::Removed),
    };
    metapb::Store {
        id: store.id.get(),
        address: store.address.clone(),
        state: state as i32,
        labels: store.labels.iter().map(label).collect(),
        version: store.version.clone(),
        peer_address: store.address.clone(),
        status_address: store.status_address.clone(),
        start_timestamp: signed(store.start_time_s),
        last_heartbeat: signed(heard_ns),
        node_state: node_state as i32,
        ..Default::default()
    }
}

/// What a store registers.
pub(crate) fn store_from_wire(store: metapb::Store) -> Store {
    let labels = store
        .labels
        .into_iter()
        .map(|label| (label.key, label.value));
    Store {
        id: StoreId(store.id),
        address: store.address,
        status_address: store.status_address,
        version: store.version,
        labels: labels.collect(),
        start_time_s: u64::try_from(store.start_timestamp).unwrap_or(0),
        // Not the store's own to say.
        state: StoreState::Up,
    }
}

/// What a store registers, for the wire.
pub(crate) fn registration(store: &Store) -> metapb::Store {
    store_to_wire(&StoreView {
        store: store.clone(),
        liveness: placement::Liveness::Connected,
        last_heartbeat_wall_ms: None,
        stats: None,
        leader_count: 0,
        peer_count: 0,
        region_bytes: 0,
        is_slow: false,
    })
}

/// A store's figures, for the wire.
pub(crate) fn stats_to_wire(stats: &StoreStats) -> pdpb::StoreStats {
    pdpb::StoreStats {
        store_id: stats.store_id.get(),
        capacity: stats.capacity_bytes,
        available: stats.available_bytes,
        used_size: stats.used_bytes,
        region_count: narrow(stats.region_count),
        start_time: narrow(stats.start_time_s),
        sending_snap_count: narrow(stats.sending_snapshots),
        receiving_snap_count: narrow(stats.receiving_snapshots),
        applying_snap_count: narrow(stats.applying_snapshots),
        is_busy: stats.is_busy,
        slow_score: stats.slow_score,
        bytes_written: stats.traffic.written_bytes,
        keys_written: stats.traffic.written_keys,
        bytes_read: stats.traffic.read_bytes,
        keys_read: stats.traffic.read_keys,
        interval: interval_to_wire(&stats.traffic),
        query_stats: Some(queries(&stats.traffic)),
    }
}

/// A store's figures.
pub(crate) fn stats_from_wire(stats: &pdpb::StoreStats) -> StoreStats {
    StoreStats {
        store_id: StoreId(stats.store_id),
        capacity_bytes: stats.capacity,
        available_bytes: stats.available,
        used_bytes: stats.used_size,
        region_count: u64::from(stats.region_count),
        start_time_s: u64::from(stats.start_time),
        sending_snapshots: u64::from(stats.sending_snap_count),
        receiving_snapshots: u64::from(stats.receiving_snap_count),
        applying_snapshots: u64::from(stats.applying_snap_count),
        is_busy: stats.is_busy,
        slow_score: stats.slow_score,
        traffic: Traffic {
            read_requests: stats.query_stats.map_or(0, |queries| queries.get),
            write_requests: stats.query_stats.map_or(0, |queries| queries.put),
            cpu_percent: 0,
            interval_s: interval_from_wire(stats.interval.as_ref()),
            written_bytes: stats.bytes_written,
            written_keys: stats.keys_written,
            read_bytes: stats.bytes_read,
            read_keys: stats.keys_read,
        },
    }
}

fn queries(traffic: &Traffic) -> pdpb::QueryStats {
    pdpb::QueryStats {
        get: traffic.read_requests,
        put: traffic.write_requests,
    }
}

/// How long something was measured. When it was is not told: it is not asked for.
fn interval_to_wire(traffic: &Traffic) -> Option<pdpb::TimeInterval> {
    (traffic.interval_s > 0).then_some(pdpb::TimeInterval {
        start_timestamp: 0,
        end_timestamp: traffic.interval_s,
    })
}

fn interval_from_wire(interval: Option<&pdpb::TimeInterval>) -> u64 {
    interval.map_or(0, |interval| {
        interval
            .end_timestamp
            .saturating_sub(interval.start_timestamp)
    })
}

/// A leader's report from the wire.
pub(crate) fn heartbeat_from_wire(
    request: pdpb::RegionHeartbeatRequest,
) -> Result<RegionHeartbeat, String> {
    let region = request
        .region
        .ok_or("a Region heartbeat without a Region")?;
    let region = Region::try_from(region).map_err(|error| error.to_string())?;
    let leader = request
        .leader
        .ok_or("a Region heartbeat without a leader")?;
    let is_quarantined = |stats: &pdpb::PeerStats| stats.down_seconds == QUARANTINED_SECONDS;
    let (quarantined, down): (Vec<_>, Vec<_>) =
        request.down_peers.into_iter().partition(is_quarantined);
    let ids = |stats: Vec<pdpb::PeerStats>| {
        let peers = stats.into_iter().filter_map(|stats| stats.peer);
        peers.map(|peer| PeerId(peer.id)).collect()
    };
    Ok(RegionHeartbeat {
        region,
        leader: PeerId(leader.id),
        term: request.term,
        down_peers: ids(down),
        quarantined_peers: ids(quarantined),
        pending_peers: request
            .pending_peers
            .iter()
            .map(|peer| PeerId(peer.id))
            .collect(),
        approximate_size_bytes: request.approximate_size,
        approximate_keys: request.approximate_keys,
        traffic: Traffic {
            read_requests: request.query_stats.map_or(0, |queries| queries.get),
            write_requests: request.query_stats.map_or(0, |queries| queries.put),
            cpu_percent: request.cpu_usage,
            interval_s: interval_from_wire(request.interval.as_ref()),
            written_bytes: request.bytes_written,
            written_keys: request.keys_written,
            read_bytes: request.bytes_read,
            read_keys: request.keys_read,
        },
    })
}

/// A leader's report for the wire.
pub(crate) fn heartbeat_to_wire(
    header: pdpb::RequestHeader,
    heartbeat: &RegionHeartbeat,
) -> pdpb::RegionHeartbeatRequest {
    let region = &heartbeat.region;
    let find = |id: &PeerId| {
        region.peer(*id).copied().unwrap_or(Peer {
            id: *id,
            ..Peer::default()
        })
    };
    let find_all = |ids: &[PeerId]| -> Vec<Peer> { ids.iter().map(find).collect() };
    let quarantined = quarantined_stats(&find_all(&heartbeat.quarantined_peers));
    let down_peers = [peer_stats(&find_all(&heartbeat.down_peers)), quarantined].concat();
    pdpb::RegionHeartbeatRequest {
        header: Some(header),
        region: Some(region.into()),
        leader: Some(find(&heartbeat.leader).into()),
        term: heartbeat.term,
        down_peers,
        pending_peers: heartbeat
            .pending_peers
            .iter()
            .map(|id| find(id).into())
            .collect(),
        bytes_written: heartbeat.traffic.written_bytes,
        bytes_read: heartbeat.traffic.read_bytes,
        keys_written: heartbeat.traffic.written_keys,
        keys_read: heartbeat.traffic.read_keys,
        approximate_size: heartbeat.approximate_size_bytes,
        interval: interval_to_wire(&heartbeat.traffic),
        approximate_keys: heartbeat.approximate_keys,
        query_stats: Some(queries(&heartbeat.traffic)),
        cpu_usage: heartbeat.traffic.cpu_percent,
    }
}

/// A timestamp for the wire.
pub(crate) fn timestamp(timestamp: Timestamp) -> pdpb::Timestamp {
    pdpb::Timestamp {
        physical: signed(timestamp.physical_ms()),
        logical: signed(timestamp.logical()),
        suffix_bits: 0,
    }
}

/// A key from the wire.
pub(crate) fn key(key: &Bytes) -> Vec<u8> {
    key.to_vec()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Epoch, KeyRange, RegionId};

    fn traffic() -> Traffic {
        Traffic {
            interval_s: 60,
            written_bytes: 1,
            written_keys: 2,
            read_bytes: 3,
            read_keys: 4,
            read_requests: 5,
            write_requests: 6,
            cpu_percent: 0,
        }
    }

    #[test]
    fn a_region_heartbeat_survives_the_way_over_the_wire() {
        let peer = |id| Peer {
            id: PeerId(id),
            store_id: StoreId(id + 10),
            ..Peer::default()
        };
        let sent = RegionHeartbeat {
            region: Region {
                id: RegionId(9),
                range: KeyRange {
                    start: b"a".to_vec(),
                    end: Vec::new(),
                },
                epoch: Epoch {
                    conf_ver: 1,
                    version: 2,
                },
                peers: vec![peer(4), peer(5), peer(6)],
            },
            leader: PeerId(4),
            term: 6,
            down_peers: vec![PeerId(5)],
            pending_peers: vec![PeerId(6)],
            quarantined_peers: vec![PeerId(4)],
            approximate_size_bytes: 7,
            approximate_keys: 8,
            traffic: Traffic {
                cpu_percent: 7,
                ..traffic()
            },
        };
        let header = pdpb::RequestHeader {
            cluster_id: 1,
            sender_id: 2,
        };
        assert_eq!(
            heartbeat_from_wire(heartbeat_to_wire(header, &sent)),
            Ok(sent)
        );
    }

    #[test]
    fn a_heartbeat_without_its_parts_is_refused() {
        assert!(heartbeat_from_wire(pdpb::RegionHeartbeatRequest::default()).is_err());
        let no_id = pdpb::RegionHeartbeatRequest {
            region: Some(metapb::Region::default()),
            leader: Some(metapb::Peer::default()),
            ..Default::default()
        };
        assert!(heartbeat_from_wire(no_id).is_err());
    }

    #[test]
    fn store_figures_survive_the_way_over_the_wire() {
        let stats = StoreStats {
            store_id: StoreId(3),
            capacity_bytes: 10,
            available_bytes: 4,
            used_bytes: 6,
            region_count: 2,
            start_time_s: 1_700_000_000,
            sending_snapshots: 5,
            receiving_snapshots: 6,
            applying_snapshots: 7,
            is_busy: true,
            slow_score: 80,
            traffic: traffic(),
        };
        assert_eq!(stats_from_wire(&stats_to_wire(&stats)), stats);
    }

    #[test]
    fn a_registration_survives_the_way_over_the_wire() {
        let store = Store {
            id: StoreId(3),
            address: "h:1".to_owned(),
            status_address: "h:2".to_owned(),
            version: "1.0".to_owned(),
            labels: vec![("zone".to_owned(), "a".to_owned())],
            start_time_s: 12,
            state: StoreState::Up,
        };
        assert_eq!(store_from_wire(registration(&store)), store);
    }
}
