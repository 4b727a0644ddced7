//! The typed tree of all items, with their defaults. `etc/kontiki.toml` shows it as a file.
//!
//! **Invariants.** No item is optional: an empty text stands for "derived", so that the serialised
//! default names every key there is.
//!
//! **Not here.** Items that nothing reads.

use super::units::{ReadableDuration, ReadableSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that an operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The file of the slow log. Empty: its lines are among the others.
    pub slow_log_file: PathBuf,
    /// Requests and steps of Raft, applying and engines that take so long are written to the slow log. 0: none.
    pub slow_log_threshold: ReadableDuration,
    /// The memory that the process may have; above it new work waits, and is refused after a while. 0: three quarters
    /// of the machine's, or of what its group of processes may have.
    pub memory_usage_limit: ReadableSize,
    /// What is logged, and where to.
    pub log: Log,
    /// Who may see what.
    pub security: Security,
    /// What is counted.
    pub metrics: Metrics,
    /// Which requests are traced, and where their spans go.
    pub tracing: Tracing,
    /// Which cluster this node founds or joins.
    pub cluster: Cluster,
    /// How this node is reached.
    pub server: Server,
    /// The threads of scans and batch reads.
    pub readpool: Readpool,
    /// Where and how data is kept.
    pub storage: Storage,
    /// What clients may do in a second.
    pub quota: Quota,
    /// The engine of the data.
    pub rocksdb: Rocksdb,
    /// The engine of the Raft logs.
    pub raft_engine: RaftEngine,
    /// Replication.
    pub raftstore: Raftstore,
    /// How large Regions get.
    pub coprocessor: Coprocessor,
    /// How busy Regions get.
    pub split: Split,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slow_log_file: PathBuf::new(),
            slow_log_threshold: ReadableDuration::secs(1),
            memory_usage_limit: ReadableSize(0),
            log: Log::default(),
            security: Security::default(),
            metrics: Metrics::default(),
            tracing: Tracing::default(),
            cluster: Cluster::default(),
            server: Server::default(),
            readpool: Readpool::default(),
            storage: Storage::default(),
            quota: Quota::default(),
            rocksdb: Rocksdb::default(),
            raft_engine: RaftEngine::default(),
            raftstore: Raftstore::default(),
            coprocessor: Coprocessor::default(),
            split: Split::default(),
        }
    }
}

/// What is logged, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Log {
    /// The least severe events that are logged.
    pub level: LogLevel,
    /// How an event is written.
    pub format: LogFormat,
    /// Where to.
    pub file: LogFile,
}

/// Severities, the least severe last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What stops this node or loses a request.
    Error,
    /// What an operator should look at.
    Warn,
    /// What happens a few times an hour.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// TiDB's unified log format.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The log file, and the file of the slow log likewise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogFile {
    /// Its path; it is appended to. Empty for the standard error stream.
    pub filename: PathBuf,
    /// It is rotated before it becomes larger, in MiB. 0: never for its size.
    pub max_size: u64,
    /// It is rotated when its first line is so old. 0: never for its age.
    pub rotation_timespan: ReadableDuration,
    /// Rotated files are kept for so many days. 0: for ever.
    pub max_days: u64,
    /// So many rotated files are kept. 0: all of them.
    pub max_backups: usize,
}

impl Default for LogFile {
    fn default() -> Self {
        Self {
            filename: PathBuf::new(),
            max_size: 300,
            rotation_timespan: ReadableDuration::secs(86_400),
            max_days: 30,
            max_backups: 30,
        }
    }
}

/// Who may see what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Security {
    /// Keys and values in logs: shown (off), a `?` in their place (on), or shown between `‹` and `›` (marker).
    pub redact_info_log: RedactInfoLog,
}

/// What is done with keys and values in logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedactInfoLog {
    /// They are shown.
    #[default]
    Off,
    /// A `?` stands for each.
    On,
    /// They are shown between marks.
    Marker,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metrics {
    /// Whether hot paths count and take times; one switch for the whole process.
    pub enable: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enable: true }
    }
}

/// Which requests are traced, and where their spans go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tracing {
    /// An OpenTelemetry collector that takes OTLP over gRPC, as `http://host:port`. Empty: nothing is traced.
    pub endpoint: String,
    /// One request in so many is traced, beside those that come with a sampled `traceparent`. 0: only these.
    pub sample_one_in: u64,
    /// So many spans are sent together at the most.
    pub batch_size: usize,
    /// So many spans wait for the collector at the most, about a KiB each; more are dropped and counted.
    pub queue_size: usize,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            sample_one_in: 1_000,
            batch_size: 512,
            queue_size: 4_096,
        }
    }
}

/// Which cluster this node founds or joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cluster {
    /// This node's name.
    pub name: String,
    /// The first members, as `n1=host:port,n2=host:port`. The same on each of them. Empty: this node alone.
    pub initial_cluster: String,
    /// Nodes of a running cluster, as `host:port,host:port`, that this node joins if its folder is new.
    pub join: String,
    /// Tells apart what clusters the same members found, one after the other. The same on each of them.
    pub token: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "n1".to_owned(),
            initial_cluster: String::new(),
            join: String::new(),
            token: node::DEFAULT_TOKEN.to_owned(),
        }
    }
}

/// How this node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Server {
    /// The address to listen on, for everything: clients, other stores, placement.
    pub addr: String,
    /// The address that others dial. Empty: this member's in `initial-cluster`, or else `addr`.
    pub advertise_addr: String,
    /// The address of the status server, for operators: what the node is and does. Empty for none.
    pub status_addr: String,
    /// How long a stop waits for other stores to take over what is led here. 0: not at all.
    pub graceful_shutdown_timeout: ReadableDuration,
    /// What placement may know of this store, such as its zone and host.
    pub labels: BTreeMap<String, String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:2379".to_owned(),
            advertise_addr: String::new(),
            status_addr: "127.0.0.1:20180".to_owned(),
            graceful_shutdown_timeout: ReadableDuration::secs(5),
            labels: BTreeMap::new(),
        }
    }
}

/// The threads of scans and batch reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Readpool {
    /// The pool that all of them share.
    pub unified: UnifiedReadpool,
}

/// The pool that all scans and batch reads share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UnifiedReadpool {
    /// Its threads. 0: four of five processors, so that one is left for requests that are short.
    pub max_thread_count: usize,
}

/// Where and how data is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Storage {
    /// The folder of all data; locked by the process that uses it.
    pub data_dir: PathBuf,
    /// Which API the cluster speaks, 1 or 2; fixed when it is bootstrapped.
    pub api_version: u8,
    /// The most bytes of writes in flight; further ones wait, and are refused after a while.
    pub scheduler_pending_write_threshold: ReadableSize,
    /// The cache of blocks read from disk.
    pub block_cache: BlockCache,
    /// When clients' writes are slowed down because the engine is behind.
    pub flow_control: FlowControl,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("kontiki-data"),
            api_version: 1,
            scheduler_pending_write_threshold: ReadableSize::mib(100),
            block_cache: BlockCache::default(),
            flow_control: FlowControl::default(),
        }
    }
}

/// When clients' writes are slowed down because the engine is behind: before it stops all of them by itself. Each number
/// is of the family that has most; at twice as much only a tenth of the pace is taken for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FlowControl {
    /// Whether they are.
    pub enable: bool,
    /// From so many memtables on that wait to be flushed.
    pub memtables_threshold: u64,
    /// From so many files at level 0 on.
    pub l0_files_threshold: u64,
    /// From so many bytes on that wait to be compacted.
    pub soft_pending_compaction_bytes_limit: ReadableSize,
    /// With so many only a tenth of the pace is taken for a while.
    pub hard_pending_compaction_bytes_limit: ReadableSize,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self {
            enable: true,
            memtables_threshold: 3,
            l0_files_threshold: 20,
            soft_pending_compaction_bytes_limit: ReadableSize::mib(48 << 10),
            hard_pending_compaction_bytes_limit: ReadableSize::mib(192 << 10),
        }
    }
}

/// What clients may do in a second. What exceeds it takes longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quota {
    /// The most bytes that clients write in a second, at leaders on this node. 0: no bound.
    pub foreground_write_bandwidth: ReadableSize,
    /// The most bytes that clients read from this node in a second. 0: no bound.
    pub foreground_read_bandwidth: ReadableSize,
    /// The longest that a quota holds a request up; more than the quota passes then. 0: as long as it takes.
    pub max_delay_duration: ReadableDuration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            foreground_write_bandwidth: ReadableSize(0),
            foreground_read_bandwidth: ReadableSize(0),
            max_delay_duration: ReadableDuration(Duration::from_millis(500)),
        }
    }
}

/// The cache of blocks read from disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BlockCache {
    /// Its size.
    pub capacity: ReadableSize,
}

impl Default for BlockCache {
    fn default() -> Self {
        Self {
            capacity: ReadableSize::mib(256),
        }
    }
}

/// The engine of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rocksdb {
    /// Threads for flushes and compactions together.
    pub max_background_jobs: u16,
    /// The most bytes that flushes and compactions write in a second; below it they go no faster than they need to. 0:
    /// no bound.
    pub rate_bytes_per_sec: ReadableSize,
    /// The family of the data itself.
    pub defaultcf: DefaultCf,
}

impl Default for Rocksdb {
    fn default() -> Self {
        Self {
            max_background_jobs: 2,
            rate_bytes_per_sec: ReadableSize(0),
            defaultcf: DefaultCf::default(),
        }
    }
}

/// The family of the data itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DefaultCf {
    /// Memory for recent writes before they are flushed. Writes of values over some KiB want a larger one.
    pub write_buffer_size: ReadableSize,
}

impl Default for DefaultCf {
    fn default() -> Self {
        Self {
            write_buffer_size: ReadableSize::mib(16),
        }
    }
}

/// The engine of the Raft logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RaftEngine {
    /// Whether logs are in the log engine; otherwise in RocksDB. A change moves them at start.
    pub enable: bool,
}

impl Default for RaftEngine {
    fn default() -> Self {
        Self { enable: true }
    }
}

/// Replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Raftstore {
    /// The length of a Raft tick.
    pub raft_base_tick_interval: ReadableDuration,
    /// Ticks between a leader's heartbeats.
    pub raft_heartbeat_ticks: u32,
    /// Ticks without a leader before an election.
    pub raft_election_timeout_ticks: u32,
    /// The least that a Peer draws for its own timeout. 0: the item above.
    pub raft_min_election_timeout_ticks: u32,
    /// What it draws stays below this. 0: twice the item above.
    pub raft_max_election_timeout_ticks: u32,
    /// The most log bytes in one append message.
    pub raft_max_size_per_msg: ReadableSize,
    /// The most append messages in flight to one follower.
    pub raft_max_inflight_msgs: u32,
    /// The largest entry; a larger write is refused before it is proposed.
    pub raft_entry_max_size: ReadableSize,
    /// Threads that drive Peers. 0: one on a machine of one or two processors, otherwise two.
    pub store_pool_size: usize,
    /// The most Peers in one round of such a thread.
    pub store_max_batch_size: usize,
    /// Threads that apply committed entries. 0: as many as store-pool-size has then.
    pub apply_pool_size: usize,
    /// The most Regions in one round of such a thread.
    pub apply_max_batch_size: usize,
    /// How long a busy Peer may stay with one thread before others can take it.
    pub reschedule_duration: ReadableDuration,
    /// The most messages that wait for one Peer.
    pub notify_capacity: usize,
    /// The most messages that one Peer handles in one round.
    pub messages_per_tick: usize,
    /// The most bytes that wait for all Peers of the store together.
    pub mailbox_memory_limit: ReadableSize,
    /// Whether Regions at which nothing happens stop their clocks.
    pub hibernate_regions: bool,
    /// How long nothing has to happen before; an election timeout at the least.
    pub hibernate_timeout: ReadableDuration,
    /// How often a replica that hibernates, or hears of no leader, looks whether its Region went on
    /// without it.
    pub peer_stale_state_check_interval: ReadableDuration,
    /// How often Regions that have grown are looked at.
    pub split_region_check_tick_interval: ReadableDuration,
    /// How often a Region's leader reports to placement.
    pub pd_heartbeat_tick_interval: ReadableDuration,
    /// How often a store reports to placement.
    pub pd_store_heartbeat_tick_interval: ReadableDuration,
    /// The most that the store may have of its disk, by what it tells placement. 0: all of it.
    pub capacity: ReadableSize,
    /// A store of which every tenth write of the Raft log takes longer becomes a slow one.
    pub slow_log_write_timeout: ReadableDuration,
    /// How often a leader looks whether its log can be cut.
    pub raft_log_gc_tick_interval: ReadableDuration,
    /// The least entries that are worth a cut.
    pub raft_log_gc_threshold: u64,
    /// The most entries that a follower behind can hold back.
    pub raft_log_gc_count_limit: u64,
    /// The most bytes of log that a follower behind can hold back.
    pub raft_log_gc_size_limit: ReadableSize,
    /// How often the space of what was cut is given back.
    pub raft_log_purge_interval: ReadableDuration,
    /// The most snapshots that a store sends at the same time.
    pub concurrent_send_snap_limit: usize,
    /// The most snapshots that a store receives at the same time.
    pub concurrent_recv_snap_limit: usize,
    /// How long a received snapshot may wait to be installed.
    pub snap_gc_timeout: ReadableDuration,
    /// The most bytes of snapshots that a store sends in a second. 0: no bound.
    pub snap_io_max_bytes_per_sec: ReadableSize,
    /// Time after which the replicas of the next Region that is led here are compared, whether it sleeps or
    /// not. 0: only by request.
    pub consistency_check_interval: ReadableDuration,
    /// The most bytes that a store reads in a second to compare replicas. 0: no bound.
    pub consistency_check_io_max_bytes_per_sec: ReadableSize,
}

impl Default for Raftstore {
    fn default() -> Self {
        Self {
            raft_base_tick_interval: ReadableDuration::secs(1),
            raft_heartbeat_ticks: 2,
            raft_election_timeout_ticks: 10,
            raft_min_election_timeout_ticks: 0,
            raft_max_election_timeout_ticks: 0,
            raft_max_size_per_msg: ReadableSize::mib(1),
            raft_max_inflight_msgs: 256,
            raft_entry_max_size: ReadableSize::mib(8),
            store_pool_size: 0,
            store_max_batch_size: 256,
            apply_pool_size: 0,
            apply_max_batch_size: 256,
            reschedule_duration: ReadableDuration::secs(5),
            notify_capacity: 40_960,
            messages_per_tick: 4_096,
            mailbox_memory_limit: ReadableSize::mib(256),
            hibernate_regions: true,
            hibernate_timeout: ReadableDuration::secs(20),
            peer_stale_state_check_interval: ReadableDuration::secs(300),
            split_region_check_tick_interval: ReadableDuration::secs(10),
            pd_heartbeat_tick_interval: ReadableDuration::secs(60),
            pd_store_heartbeat_tick_interval: ReadableDuration::secs(10),
            capacity: ReadableSize(0),
            slow_log_write_timeout: ReadableDuration::millis(500),
            raft_log_gc_tick_interval: ReadableDuration::secs(3),
            raft_log_gc_threshold: 50,
            raft_log_gc_count_limit: 196_608,
            raft_log_gc_size_limit: ReadableSize::mib(192),
            raft_log_purge_interval: ReadableDuration::secs(10),
            concurrent_send_snap_limit: 32,
            concurrent_recv_snap_limit: 32,
            snap_gc_timeout: ReadableDuration::secs(4 * 60 * 60),
            snap_io_max_bytes_per_sec: ReadableSize::mib(100),
            consistency_check_interval: ReadableDuration::secs(0),
            consistency_check_io_max_bytes_per_sec: ReadableSize::mib(32),
        }
    }
}

/// How large Regions get. TiKV keeps these items under this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Coprocessor {
    /// About how large the parts of a Region become that is split.
    pub region_split_size: ReadableSize,
    /// A Region of this size is split. 0: one and a half of the item above.
    pub region_max_size: ReadableSize,
    /// How many keys the parts have at the most.
    pub region_split_keys: u64,
    /// A Region with so many keys is split. 0: one and a half of the item above.
    pub region_max_keys: u64,
    /// The most cuts of one split.
    pub batch_split_limit: usize,
}

impl Default for Coprocessor {
    fn default() -> Self {
        Self {
            region_split_size: ReadableSize::mib(256),
            region_max_size: ReadableSize(0),
            region_split_keys: 2_560_000,
            region_max_keys: 0,
            batch_split_limit: 10,
        }
    }
}

/// How much Regions are read: one that is over any of these for long enough is split where its reads are halved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Split {
    /// Reads in a second.
    pub qps_threshold: u64,
    /// Bytes that are read in a second.
    pub byte_threshold: ReadableSize,
    /// Time that threads spend on its reads in a second; "250ms" is a quarter of a core.
    pub region_cpu_threshold: ReadableDuration,
    /// For how long.
    pub detect_duration: ReadableDuration,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            qps_threshold: 3_000,
            byte_threshold: ReadableSize::mib(30),
            region_cpu_threshold: ReadableDuration::millis(250),
            detect_duration: ReadableDuration::secs(10),
        }
    }
}

impl Coprocessor {
    /// What a Region may be at the most: bytes and keys.
    pub fn region_max(&self) -> (u64, u64) {
        let or = |item: u64, part: u64| {
            if item == 0 {
                part.saturating_mul(3) / 2
            } else {
                item
            }
        };
        (
            or(self.region_max_size.0, self.region_split_size.0),
            or(self.region_max_keys, self.region_split_keys),
        )
    }
}

impl Raftstore {
    /// The ticks between which each Peer draws its election timeout: the least, and one past the most.
    pub fn election_range_ticks(&self) -> std::ops::Range<u32> {
        let ticks = self.raft_election_timeout_ticks;
        let or = |item: u32, derived: u32| if item == 0 { derived } else { item };
        or(self.raft_min_election_timeout_ticks, ticks)
            ..or(
                self.raft_max_election_timeout_ticks,
                ticks.saturating_mul(2),
            )
    }
}
