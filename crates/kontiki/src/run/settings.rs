//! From the configuration's items to each crate's own settings.
//!
//! **Why.** Crates below know nothing of files and names of items; here is the one place where a name
//! meets what it does.
//!
//! **Not here.** Defaults and checks (`config`).

use super::memory;
use super::online::Online;
use crate::config::{Config, Raftstore};
use engine_rocks::RocksOptions;
use node::snap::SnapOptions;
use node::{
    ConsistencyOptions, FlowOptions, Identity, NodeOptions, QuotaOptions, SplitOptions, Told,
};
use placement::Bootstrap;
use raftstore::LogGcOptions;
use raftstore::op::load_split::LoadLimits;
use raftstore::op::measure::SplitLimits;
use raftstore::peer::PeerOptions;
use raftstore::store::SlowScoreOptions;
use server::{Joining, Limits, NodeStatus, TracerOptions};
use std::sync::Arc;
use std::time::Duration;
use types::ApiVersion;

/// What the node is told of itself and its cluster.
pub fn told(config: &Config) -> Told {
    let first_members = config.listed_members().transpose();
    Told {
        name: config.cluster.name.clone(),
        address: config.dialled_address(),
        first_members: first_members.expect("the configuration was checked"),
        joins: !config.join_nodes().is_empty(),
        api_version: api_version(config),
        token: config.cluster.token.clone(),
    }
}

/// What the node is told of the cluster that it joins.
pub fn joining(config: &Config) -> Joining {
    Joining {
        nodes: config.join_nodes(),
        name: config.cluster.name.clone(),
        address: config.dialled_address(),
        api_version: api_version(config),
    }
}

fn api_version(config: &Config) -> ApiVersion {
    let version = ApiVersion::from_number(u32::from(config.storage.api_version));
    version.expect("the configuration was checked")
}

/// What the status server shows from the beginning.
pub fn status(config: &Config, online: Arc<Online>) -> NodeStatus {
    NodeStatus::new(
        config.cluster.name.clone(),
        config.dialled_address(),
        online,
    )
}

/// For both databases.
pub fn rocks_options(config: &Config) -> RocksOptions {
    RocksOptions {
        block_cache_bytes: to_usize(config.storage.block_cache.capacity.0),
        background_jobs: config.rocksdb.max_background_jobs,
        background_bytes_per_sec: config.rocksdb.rate_bytes_per_sec.0,
        write_buffer_bytes: to_usize(config.rocksdb.defaultcf.write_buffer_size.0),
        ..RocksOptions::default()
    }
}

/// For Raft logs in RocksDB: they are read from memory or once, at the start, and need little cache. What
/// is written comes in order, so that a large buffer costs no more than a small one.
pub fn rocks_log_options(config: &Config) -> RocksOptions {
    let data = rocks_options(config);
    RocksOptions {
        block_cache_bytes: data.block_cache_bytes / 8,
        write_buffer_bytes: 64 << 20,
        ..data
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads of a batch system, by what the configuration says. While one of two processors waits for the disk the other
/// has its share of clients and appliers to serve: a second poller would only make of each round two, with a sync each.
fn pollers(wanted: usize, processors: usize) -> usize {
    match wanted {
        0 if processors <= 2 => 1,
        0 => 2,
        wanted => wanted,
    }
}

/// For the services.
pub fn limits(config: &Config) -> Limits {
    let mut limits = Limits::default();
    let read_threads = config.readpool.unified.max_thread_count;
    if read_threads > 0 {
        limits.read_threads = read_threads;
    }
    limits
}

/// For traces, if there are any.
pub fn tracer_options(config: &Config, identity: &Identity) -> Option<TracerOptions> {
    let items = &config.tracing;
    (!items.endpoint.is_empty()).then(|| TracerOptions {
        endpoint: items.endpoint.clone(),
        sample_one_in: items.sample_one_in,
        batch_size: items.batch_size,
        queue_size: items.queue_size,
        instance: (config.cluster.name.clone(), identity.store_id.get()),
    })
}

/// For the node. `seed` decides its election timeouts.
pub fn node_options(config: &Config, seed: u64) -> NodeOptions {
    let raftstore = &config.raftstore;
    let tick = raftstore.raft_base_tick_interval.0;
    let election = raftstore.election_range_ticks();
    let pool = |pool_size, max_batch_size| batch_system::Config {
        pool_size: pollers(pool_size, processors()),
        low_pool_size: 0,
        max_batch_size,
        messages_per_round: raftstore.messages_per_tick,
        reschedule_duration: raftstore.reschedule_duration.0,
        mailbox_capacity: raftstore.notify_capacity,
    };
    NodeOptions {
        peer: PeerOptions {
            tick,
            heartbeat_ticks: raftstore.raft_heartbeat_ticks as usize,
            election_ticks_min: election.start as usize,
            election_ticks_max: election.end as usize,
            append_bytes_max: raftstore.raft_max_size_per_msg.0,
            inflight_appends_max: raftstore.raft_max_inflight_msgs as usize,
            entry_bytes_max: raftstore.raft_entry_max_size.0,
            report_ticks: ticks(raftstore.pd_heartbeat_tick_interval.0, tick),
            stale_check_ticks: ticks(raftstore.peer_stale_state_check_interval.0, tick),
            asleep_check_ticks: ticks(raftstore.peer_stale_state_check_interval.0, tick),
            hibernate_ticks: hibernate_ticks(raftstore, tick),
            log_gc: log_gc_options(raftstore, tick),
            seed,
            ..PeerOptions::default()
        },
        peer_pool: pool(raftstore.store_pool_size, raftstore.store_max_batch_size),
        apply_pool: pool(raftstore.apply_pool_size, raftstore.apply_max_batch_size),
        memory_bytes_max: memory_bytes_max(config),
        flow: flow_options(config),
        quota: quota_options(config),
        mailbox_bytes_max: to_usize(raftstore.mailbox_memory_limit.0),
        write_bytes_max: to_usize(config.storage.scheduler_pending_write_threshold.0),
        store_report_ticks: ticks(raftstore.pd_store_heartbeat_tick_interval.0, tick),
        snap: SnapOptions {
            send_max: raftstore.concurrent_send_snap_limit,
            receive_max: raftstore.concurrent_recv_snap_limit,
            bytes_per_s_max: raftstore.snap_io_max_bytes_per_sec.0,
            file_age_max: raftstore.snap_gc_timeout.0,
            ..SnapOptions::default()
        },
        split: split_options(config),
        load: LoadLimits {
            qps: config.split.qps_threshold,
            bytes: config.split.byte_threshold.0,
            cpu: config.split.region_cpu_threshold.0,
            patience: config.split.detect_duration.0,
        },
        slow: SlowScoreOptions {
            timeout: raftstore.slow_log_write_timeout.0,
            ..SlowScoreOptions::default()
        },
        log_gc_sync_interval: raftstore.raft_log_gc_tick_interval.0,
        log_purge_interval: raftstore.raft_log_purge_interval.0,
        consistency: ConsistencyOptions {
            interval: raftstore.consistency_check_interval.0,
            bytes_per_s_max: raftstore.consistency_check_io_max_bytes_per_sec.0,
        },
        ..NodeOptions::default()
    }
}

fn flow_options(config: &Config) -> FlowOptions {
    let items = &config.storage.flow_control;
    FlowOptions {
        enable: items.enable,
        memtables: items.memtables_threshold,
        level0_files: items.l0_files_threshold,
        compaction_bytes_soft: items.soft_pending_compaction_bytes_limit.0,
        compaction_bytes_hard: items.hard_pending_compaction_bytes_limit.0,
    }
}

fn quota_options(config: &Config) -> QuotaOptions {
    let items = &config.quota;
    QuotaOptions {
        write_bytes_per_s: items.foreground_write_bandwidth.0,
        read_bytes_per_s: items.foreground_read_bandwidth.0,
        delay_max: items.max_delay_duration.0,
    }
}

fn memory_bytes_max(config: &Config) -> usize {
    to_usize(match config.memory_usage_limit.0 {
        0 => memory::default_limit_bytes(),
        bytes => bytes,
    })
}

/// What placement goes by, around a cluster's beginning.
pub fn placement_config(config: &Config, beginning: Bootstrap) -> placement::Config {
    let items = &config.coprocessor;
    let mut placement = placement::Config::new(beginning);
    placement.region_split = (items.region_split_size.0, items.region_split_keys);
    placement
}

fn split_options(config: &Config) -> SplitOptions {
    let items = &config.coprocessor;
    let (max_bytes, max_keys) = items.region_max();
    let limits = SplitLimits {
        split_bytes: items.region_split_size.0,
        max_bytes,
        split_keys: items.region_split_keys,
        max_keys,
        cuts_max: items.batch_split_limit,
    };
    SplitOptions::new(limits, config.raftstore.split_region_check_tick_interval.0)
}

fn log_gc_options(raftstore: &Raftstore, tick: Duration) -> LogGcOptions {
    LogGcOptions {
        interval_ticks: ticks(raftstore.raft_log_gc_tick_interval.0, tick),
        threshold: raftstore.raft_log_gc_threshold,
        count_max: raftstore.raft_log_gc_count_limit,
        bytes_max: raftstore.raft_log_gc_size_limit.0,
        ..LogGcOptions::default()
    }
}

/// Zero: never. In less than an election timeout a follower that lives may not have been heard.
fn hibernate_ticks(raftstore: &Raftstore, tick: Duration) -> u64 {
    let least = u64::from(raftstore.raft_election_timeout_ticks);
    match raftstore.hibernate_regions {
        true => ticks(raftstore.hibernate_timeout.0, tick).max(least),
        false => 0,
    }
}

/// How many ticks a span is; at least one.
fn ticks(span: Duration, tick: Duration) -> u64 {
    let ticks = span.as_millis() / tick.as_millis().max(1);
    u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::ReadableDuration;

    #[test]
    fn spans_become_whole_ticks_and_never_none() {
        let tick = Duration::from_millis(50);
        assert_eq!(ticks(Duration::from_secs(10), tick), 200);
        assert_eq!(ticks(Duration::from_millis(1), tick), 1);
    }

    #[test]
    fn regions_hibernate_after_their_timeout_or_never() {
        let mut config = Config::default();
        let ticks = |config: &Config| node_options(config, 1).peer.hibernate_ticks;
        assert_eq!(ticks(&config), 20);
        config.raftstore.hibernate_timeout = ReadableDuration::secs(1);
        assert_eq!(ticks(&config), 10, "an election timeout at the least");
        config.raftstore.hibernate_regions = false;
        assert_eq!(ticks(&config), 0);
    }

    #[test]
    fn a_node_is_told_to_found_or_to_join_or_neither() {
        let mut config = Config::default();
        let neither = told(&config);
        assert!(neither.first_members.is_none() && !neither.joins);
        assert_eq!(neither.address, "127.0.0.1:2379");
        config.cluster.join = " h1:1 , h2:1, ".to_owned();
        assert!(told(&config).joins);
        assert_eq!(joining(&config).nodes, ["h1:1", "h2:1"]);
        config.cluster.initial_cluster = "n1=h1:1,n2=h2:1".to_owned();
        assert_eq!(told(&config).first_members.unwrap().len(), 2);
    }

    #[test]
    fn the_threads_of_reads_are_derived_or_given() {
        let mut config = Config::default();
        assert!(limits(&config).read_threads >= 1);
        config.readpool.unified.max_thread_count = 7;
        assert_eq!(limits(&config).read_threads, 7);
    }

    #[test]
    fn the_number_of_pollers_is_derived_or_given() {
        let derived = [1, 2, 3, 64].map(|processors| pollers(0, processors));
        assert_eq!(derived, [1, 1, 2, 2]);
        assert_eq!(pollers(3, 1), 3);
        assert!(node_options(&Config::default(), 1).peer_pool.pool_size >= 1);
    }

    #[test]
    fn the_election_range_is_derived_or_given() {
        let mut config = Config::default();
        let peer = node_options(&config, 1).peer;
        assert_eq!((peer.election_ticks_min, peer.election_ticks_max), (10, 20));
        config.raftstore.raft_max_election_timeout_ticks = 15;
        assert_eq!(node_options(&config, 1).peer.election_ticks_max, 15);
    }
}
