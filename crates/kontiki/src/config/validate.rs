//! What values must be, alone and together.
//!
//! **Why.** A node that starts with a wrong setting fails later, and elsewhere.
//!
//! **Invariants.** Every check runs, whatever the others found. A problem names the item as the
//! operator wrote it: its key, and where.
//!
//! **Not here.** What only the machine can say: whether a port is free, a folder writable.

use super::layers::{Problem, Source, Sources};
use super::tree::{Config, Coprocessor, Raftstore, Split, Tracing};
use super::units::{ReadableDuration, ReadableSize};
use node::{Members, MembersError, is_address, is_member_name};
use std::time::Duration;

/// Threads and rounds beyond this are a typing error, not a wish.
const POOL_SIZE_MAX: usize = 256;
const JOBS_MAX: u16 = 64;
/// About a hundred MiB.
const SPANS_MAX: usize = 100_000;
/// What a node needs beside its block cache: memtables, queues, connections, code.
const MEMORY_BESIDE_CACHE: ReadableSize = ReadableSize::mib(256);
/// The largest Raft entry: what a client's limit of a request leaves room for.
const ENTRY_SIZE_MAX: ReadableSize = ReadableSize::mib(8);

/// Whether nobody can dial what a server listens on here.
fn is_wildcard(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:")
}

/// Checks everything, and adds what is wrong to `problems`.
pub(super) fn check(config: &Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let mut check = Check { sources, problems };
    check.logs(config);
    check.tracing(&config.tracing);
    check.addresses(config);
    check.cluster(config);
    check.readpool(config);
    check.storage(config);
    check.rocksdb(config);
    check.election(&config.raftstore);
    check.intervals(&config.raftstore);
    check.raftstore(&config.raftstore);
    check.coprocessor(&config.coprocessor);
    check.split(&config.split);
}

struct Check<'a> {
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            let source = self.sources.get(key).cloned().unwrap_or(Source::Default);
            self.problems.push(Problem::of_key(source, key, &message()));
        }
    }

    fn logs(&mut self, config: &Config) {
        let file = &config.log.file;
        let year_days = 366;
        let span_max = Duration::from_secs(year_days * 86_400);
        let span = file.rotation_timespan.0;
        let fine = span.is_zero() || (Duration::from_secs(60)..=span_max).contains(&span);
        self.require(fine, "log.file.rotation-timespan", || {
            format!("must be 0s, or between 1m and {year_days}d")
        });
        let size_max_mib = 1 << 20;
        self.require(file.max_size <= size_max_mib, "log.file.max-size", || {
            format!("must be {size_max_mib} MiB or less")
        });
        let slow = &config.slow_log_file;
        let fine = slow.as_os_str().is_empty() || *slow != file.filename;
        self.require(fine, "slow-log-file", || {
            "must be another file than log.file.filename".to_owned()
        });
        let threshold = config.slow_log_threshold.0;
        let hour = Duration::from_secs(3_600);
        self.require(threshold <= hour, "slow-log-threshold", || {
            "must be 1h or less".to_owned()
        });
    }

    fn tracing(&mut self, items: &Tracing) {
        let endpoint = &items.endpoint;
        let address = endpoint.strip_prefix("http://");
        let fine = endpoint.is_empty() || address.is_some_and(is_address);
        self.require(fine, "tracing.endpoint", || {
            format!("`{endpoint}` is not of the form http://host:port")
        });
        let sizes = 1..=SPANS_MAX;
        self.require(
            sizes.contains(&items.batch_size),
            "tracing.batch-size",
            || format!("must be between 1 and {SPANS_MAX}"),
        );
        self.require(
            sizes.contains(&items.queue_size),
            "tracing.queue-size",
            || format!("must be between 1 and {SPANS_MAX}"),
        );
    }

    fn addresses(&mut self, config: &Config) {
        let server = &config.server;
        self.require(is_address(&server.addr), "server.addr", || {
            format!("`{}` is not of the form host:port", server.addr)
        });
        let advertised = &server.advertise_addr;
        self.require(
            advertised.is_empty() || is_address(advertised),
            "server.advertise-addr",
            || format!("`{advertised}` is not of the form host:port"),
        );
        let dialled = config.dialled_address();
        self.require(!is_wildcard(&dialled), "server.advertise-addr", || {
            format!("others can't dial `{dialled}`: set the address that they reach this node at")
        });
        let status = &server.status_addr;
        self.require(
            status.is_empty() || is_address(status),
            "server.status-addr",
            || format!("`{status}` is not of the form host:port"),
        );
        self.require(*status != server.addr, "server.status-addr", || {
            "must be another address than server.addr".to_owned()
        });
        for (name, value) in &server.labels {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            let fine = !name.is_empty() && name.chars().chain(value.chars()).all(allowed);
            self.require(fine, "server.labels", || {
                format!("`{name} = {value}`: letters, digits and -_./ only")
            });
        }
    }

    fn cluster(&mut self, config: &Config) {
        let name = &config.cluster.name;
        self.require(is_member_name(name), "cluster.name", || {
            MembersError::Name(name.clone()).to_string()
        });
        self.require(!config.cluster.token.is_empty(), "cluster.token", || {
            "is empty".to_owned()
        });
        for node in config.join_nodes() {
            self.require(is_address(&node), "cluster.join", || {
                format!("`{node}` is not of the form host:port")
            });
        }
        let key = "cluster.initial-cluster";
        let members = match config.listed_members() {
            Some(Ok(members)) => members,
            Some(Err(error)) => return self.require(false, key, || error.to_string()),
            None => return,
        };
        let own = members.find(name);
        self.require(own.is_some(), "cluster.name", || {
            format!("`{name}` is not in `{key}`: use one of the names there")
        });
        let advertised = &config.server.advertise_addr;
        let same = advertised.is_empty() || own.is_none_or(|own| own.address == *advertised);
        self.require(same, "server.advertise-addr", || {
            format!("differs from the address of `{name}` in `{key}`")
        });
    }

    fn readpool(&mut self, config: &Config) {
        let fine = config.readpool.unified.max_thread_count <= POOL_SIZE_MAX;
        self.require(fine, "readpool.unified.max-thread-count", || {
            format!("must be {POOL_SIZE_MAX} or less")
        });
    }

    fn storage(&mut self, config: &Config) {
        let storage = &config.storage;
        self.require(
            !storage.data_dir.as_os_str().is_empty(),
            "storage.data-dir",
            || "is empty".to_owned(),
        );
        self.require(
            matches!(storage.api_version, 1 | 2),
            "storage.api-version",
            || format!("{} is not a version: 1 or 2", storage.api_version),
        );
        let pending = storage.scheduler_pending_write_threshold;
        let entry = config.raftstore.raft_entry_max_size;
        // The semaphore that counts them has 32 bits.
        let fine = pending >= entry && pending.0 <= u64::from(u32::MAX >> 1);
        self.require(fine, "storage.scheduler-pending-write-threshold", || {
            format!("must be between raft-entry-max-size ({entry}) and 2GiB")
        });
        let flow = &storage.flow_control;
        let (soft, hard) = (
            flow.soft_pending_compaction_bytes_limit,
            flow.hard_pending_compaction_bytes_limit,
        );
        for (key, threshold) in [
            ("memtables-threshold", flow.memtables_threshold),
            ("l0-files-threshold", flow.l0_files_threshold),
        ] {
            let key = format!("storage.flow-control.{key}");
            self.require(threshold > 0, &key, || "must be 1 or more".to_owned());
        }
        let key = "storage.flow-control.hard-pending-compaction-bytes-limit";
        self.require(hard > soft, key, || {
            format!("must be more than the soft limit ({soft})")
        });
        let (limit, cache) = (config.memory_usage_limit, storage.block_cache.capacity);
        let least = cache.0.saturating_add(MEMORY_BESIDE_CACHE.0);
        let fine = limit.0 == 0 || limit.0 >= least;
        self.require(fine, "memory-usage-limit", || {
            format!(
                "{limit} must be 0, for three quarters of the machine's, or at least {MEMORY_BESIDE_CACHE} more than \
                 storage.block-cache.capacity ({cache})"
            )
        });
        self.require(
            storage.block_cache.capacity >= ReadableSize::mib(1),
            "storage.block-cache.capacity",
            || "must be 1MiB or more".to_owned(),
        );
    }

    fn rocksdb(&mut self, config: &Config) {
        let rocksdb = &config.rocksdb;
        let fine = (1..=JOBS_MAX).contains(&rocksdb.max_background_jobs);
        self.require(fine, "rocksdb.max-background-jobs", || {
            format!("must be between 1 and {JOBS_MAX}")
        });
        let rate = rocksdb.rate_bytes_per_sec;
        let fine = rate.0 == 0 || rate >= ReadableSize::mib(1);
        self.require(fine, "rocksdb.rate-bytes-per-sec", || {
            "must be 0, for no bound, or 1MiB or more".to_owned()
        });
        let buffer = rocksdb.defaultcf.write_buffer_size;
        let fine = buffer >= ReadableSize::mib(1) && buffer <= ReadableSize::mib(1_024);
        self.require(fine, "rocksdb.defaultcf.write-buffer-size", || {
            "must be between 1MiB and 1GiB".to_owned()
        });
    }

    fn election(&mut self, raftstore: &Raftstore) {
        let key = "raftstore.raft-election-timeout-ticks";
        self.require(
            raftstore.raft_heartbeat_ticks > 0,
            "raftstore.raft-heartbeat-ticks",
            || "must be 1 or more".to_owned(),
        );
        let election = raftstore.raft_election_timeout_ticks;
        let heartbeat = raftstore.raft_heartbeat_ticks;
        self.require(election > heartbeat, key, || {
            format!("{election} must be more than raft-heartbeat-ticks ({heartbeat})")
        });
        self.require(election <= 10_000, key, || {
            "must be 10000 or less".to_owned()
        });
        let drawn = raftstore.election_range_ticks();
        self.require(
            drawn.start >= election,
            "raftstore.raft-min-election-timeout-ticks",
            || {
                format!(
                    "{} must not be less than raft-election-timeout-ticks ({election})",
                    drawn.start
                )
            },
        );
        self.require(
            drawn.end > drawn.start,
            "raftstore.raft-max-election-timeout-ticks",
            || {
                format!(
                    "{} must be more than the least timeout ({})",
                    drawn.end, drawn.start
                )
            },
        );
    }

    fn intervals(&mut self, raftstore: &Raftstore) {
        for (key, span) in [
            (
                "raftstore.raft-base-tick-interval",
                raftstore.raft_base_tick_interval,
            ),
            (
                "raftstore.reschedule-duration",
                raftstore.reschedule_duration,
            ),
            (
                "raftstore.pd-heartbeat-tick-interval",
                raftstore.pd_heartbeat_tick_interval,
            ),
            (
                "raftstore.pd-store-heartbeat-tick-interval",
                raftstore.pd_store_heartbeat_tick_interval,
            ),
            (
                "raftstore.split-region-check-tick-interval",
                raftstore.split_region_check_tick_interval,
            ),
            (
                "raftstore.slow-log-write-timeout",
                raftstore.slow_log_write_timeout,
            ),
            (
                "raftstore.raft-log-gc-tick-interval",
                raftstore.raft_log_gc_tick_interval,
            ),
            (
                "raftstore.raft-log-purge-interval",
                raftstore.raft_log_purge_interval,
            ),
            ("raftstore.snap-gc-timeout", raftstore.snap_gc_timeout),
            ("raftstore.hibernate-timeout", raftstore.hibernate_timeout),
            (
                "raftstore.peer-stale-state-check-interval",
                raftstore.peer_stale_state_check_interval,
            ),
        ] {
            let day = ReadableDuration(Duration::from_secs(86_400));
            let fine = span >= ReadableDuration::millis(1) && span <= day;
            self.require(fine, key, || "must be between 1ms and 1d".to_owned());
        }
    }

    fn coprocessor(&mut self, items: &Coprocessor) {
        let (max_bytes, max_keys) = items.region_max();
        let size = items.region_split_size;
        // Less than a write buffer is for tests, and less than this is for nobody.
        let least = ReadableSize(16 << 10);
        self.require(size >= least, "coprocessor.region-split-size", || {
            format!("must be {least} or more")
        });
        self.require(max_bytes > size.0, "coprocessor.region-max-size", || {
            format!("must be more than region-split-size ({size})")
        });
        let keys = items.region_split_keys;
        self.require(keys >= 2, "coprocessor.region-split-keys", || {
            "must be 2 or more".to_owned()
        });
        self.require(max_keys > keys, "coprocessor.region-max-keys", || {
            format!("must be more than region-split-keys ({keys})")
        });
        let cuts = (1..=256).contains(&items.batch_split_limit);
        self.require(cuts, "coprocessor.batch-split-limit", || {
            "must be between 1 and 256".to_owned()
        });
    }

    fn split(&mut self, items: &Split) {
        self.require(items.qps_threshold > 0, "split.qps-threshold", || {
            "must be 1 or more".to_owned()
        });
        self.require(items.byte_threshold.0 > 0, "split.byte-threshold", || {
            "must be 1B or more".to_owned()
        });
        for (key, span) in [
            ("split.region-cpu-threshold", items.region_cpu_threshold),
            ("split.detect-duration", items.detect_duration),
        ] {
            let hour = ReadableDuration(Duration::from_secs(3_600));
            let fine = span >= ReadableDuration::millis(1) && span <= hour;
            self.require(fine, key, || "must be between 1ms and 1h".to_owned());
        }
    }

    fn raftstore(&mut self, raftstore: &Raftstore) {
        for (key, size) in [
            ("raftstore.store-pool-size", raftstore.store_pool_size),
            ("raftstore.apply-pool-size", raftstore.apply_pool_size),
        ] {
            self.require(size <= POOL_SIZE_MAX, key, || {
                format!("must be {POOL_SIZE_MAX} or less")
            });
        }
        for (key, count) in [
            (
                "raftstore.store-max-batch-size",
                raftstore.store_max_batch_size,
            ),
            (
                "raftstore.apply-max-batch-size",
                raftstore.apply_max_batch_size,
            ),
            (
                "raftstore.concurrent-send-snap-limit",
                raftstore.concurrent_send_snap_limit,
            ),
            (
                "raftstore.concurrent-recv-snap-limit",
                raftstore.concurrent_recv_snap_limit,
            ),
            ("raftstore.notify-capacity", raftstore.notify_capacity),
            ("raftstore.messages-per-tick", raftstore.messages_per_tick),
            (
                "raftstore.raft-max-inflight-msgs",
                raftstore.raft_max_inflight_msgs as usize,
            ),
        ] {
            self.require(count > 0, key, || "must be 1 or more".to_owned());
        }
        // Below two, each cut would be worth the next one.
        let threshold = raftstore.raft_log_gc_threshold;
        self.require(threshold >= 2, "raftstore.raft-log-gc-threshold", || {
            "must be 2 or more".to_owned()
        });
        let count = raftstore.raft_log_gc_count_limit;
        self.require(
            count >= threshold,
            "raftstore.raft-log-gc-count-limit",
            || format!("must be raft-log-gc-threshold ({threshold}) or more"),
        );
        let entry = raftstore.raft_entry_max_size;
        let held = raftstore.raft_log_gc_size_limit;
        self.require(held >= entry, "raftstore.raft-log-gc-size-limit", || {
            format!("must be raft-entry-max-size ({entry}) or more")
        });
        let fine = entry >= ReadableSize::kib(16) && entry <= ENTRY_SIZE_MAX;
        self.require(fine, "raftstore.raft-entry-max-size", || {
            format!("must be between 16KiB and {ENTRY_SIZE_MAX}")
        });
        let message = raftstore.raft_max_size_per_msg;
        let fine = message > ReadableSize(0) && message <= ENTRY_SIZE_MAX;
        self.require(fine, "raftstore.raft-max-size-per-msg", || {
            format!("must be between 1B and {ENTRY_SIZE_MAX}")
        });
        let waiting = raftstore.mailbox_memory_limit;
        self.require(
            waiting.0 >= 2 * entry.0,
            "raftstore.mailbox-memory-limit",
            || format!("must be twice raft-entry-max-size ({entry}) or more"),
        );
    }
}

impl Config {
    /// The nodes of the cluster that this node joins. Spaces and one comma at the end are tolerated.
    pub fn join_nodes(&self) -> Vec<String> {
        let list = self.cluster.join.trim();
        let list = list.strip_suffix(',').unwrap_or(list);
        match list {
            "" => Vec::new(),
            list => list.split(',').map(|node| node.trim().to_owned()).collect(),
        }
    }

    /// The list of first members, if there is one.
    pub fn listed_members(&self) -> Option<Result<Members, MembersError>> {
        let list = self.cluster.initial_cluster.as_str();
        (!list.is_empty()).then(|| Members::parse(list))
    }

    /// The address that others dial this node at.
    pub fn dialled_address(&self) -> String {
        if !self.server.advertise_addr.is_empty() {
            return self.server.advertise_addr.clone();
        }
        let listed = self.listed_members().and_then(Result::ok);
        let own = listed
            .as_ref()
            .and_then(|list| list.find(&self.cluster.name));
        own.map_or_else(|| self.server.addr.clone(), |own| own.address.clone())
    }

    /// The address that others dial this node's status server at; empty for none.
    pub fn dialled_status_address(&self) -> String {
        let status = self.server.status_addr.as_str();
        let dialled = self.dialled_address();
        match (status.rsplit_once(':'), dialled.rsplit_once(':')) {
            (Some((_, port)), Some((host, _))) if is_wildcard(status) => format!("{host}:{port}"),
            _ => status.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Vec::new();
        check(&config, &Sources::new(), &mut problems);
        problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect()
    }

    /// Exactly one problem, and it is with this key.
    fn refused(key: &str, change: impl FnOnce(&mut Config)) {
        let found = found(change);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{key}: ")), "{found:?}");
    }

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        refused("server.addr", |c| c.server.addr = "nowhere".into());
        refused("server.advertise-addr", |c| {
            c.server.advertise_addr = "x".into()
        });
        refused("server.advertise-addr", |c| {
            c.server.addr = "0.0.0.0:2379".into()
        });
        refused("server.status-addr", |c| c.server.status_addr = "x".into());
        refused("server.status-addr", |c| {
            c.server.status_addr = c.server.addr.clone()
        });
        refused("cluster.name", |c| c.cluster.name = String::new());
        refused("cluster.name", |c| c.cluster.name = "a=b".into());
        refused("cluster.token", |c| c.cluster.token = String::new());
        refused("cluster.initial-cluster", |c| {
            c.cluster.initial_cluster = ",".into()
        });
        refused("server.labels", |c| {
            drop(c.server.labels.insert("zone".into(), "a b".into()))
        });
        refused("cluster.initial-cluster", |c| {
            c.cluster.initial_cluster = "n1".into()
        });
        refused("cluster.join", |c| c.cluster.join = "h1:1,n2".into());
        refused("cluster.join", |c| c.cluster.join = "h1:1,,".into());
        refused("cluster.name", |c| {
            c.cluster.initial_cluster = "n2=h:1".into()
        });
        refused("storage.data-dir", |c| c.storage.data_dir = "".into());
        refused("storage.api-version", |c| c.storage.api_version = 0);
        refused("storage.scheduler-pending-write-threshold", |c| {
            c.storage.scheduler_pending_write_threshold = ReadableSize::mib(7);
        });
        refused("storage.flow-control.memtables-threshold", |c| {
            c.storage.flow_control.memtables_threshold = 0;
        });
        refused("storage.flow-control.l0-files-threshold", |c| {
            c.storage.flow_control.l0_files_threshold = 0;
        });
        let hard = "storage.flow-control.hard-pending-compaction-bytes-limit";
        refused(hard, |c| {
            let flow = &mut c.storage.flow_control;
            flow.hard_pending_compaction_bytes_limit = flow.soft_pending_compaction_bytes_limit;
        });
        refused("rocksdb.max-background-jobs", |c| {
            c.rocksdb.max_background_jobs = 0;
        });
        refused("rocksdb.rate-bytes-per-sec", |c| {
            c.rocksdb.rate_bytes_per_sec = ReadableSize(1);
        });
        refused("rocksdb.defaultcf.write-buffer-size", |c| {
            c.rocksdb.defaultcf.write_buffer_size = ReadableSize(0);
        });
        refused("storage.block-cache.capacity", |c| {
            c.storage.block_cache.capacity = ReadableSize(1)
        });
        refused("memory-usage-limit", |c| {
            c.memory_usage_limit = ReadableSize::mib(256 + 255);
        });
    }

    #[test]
    fn each_rule_of_logs_refuses_what_breaks_it() {
        refused("log.file.rotation-timespan", |c| {
            c.log.file.rotation_timespan = ReadableDuration::secs(59);
        });
        refused("log.file.max-size", |c| c.log.file.max_size = 2 << 20);
        refused("slow-log-file", |c| {
            c.slow_log_file = "k.log".into();
            c.log.file.filename = "k.log".into();
        });
        refused("slow-log-threshold", |c| {
            c.slow_log_threshold = ReadableDuration::secs(3_601);
        });
        let fine = found(|c| {
            c.log.file.rotation_timespan = ReadableDuration::secs(0);
            c.log.file.max_size = 0;
            c.slow_log_threshold = ReadableDuration::secs(0);
        });
        assert_eq!(fine, [""; 0]);
    }

    #[test]
    fn each_rule_of_raftstore_refuses_what_breaks_it() {
        refused("raftstore.raft-heartbeat-ticks", |c| {
            c.raftstore.raft_heartbeat_ticks = 0
        });
        refused("raftstore.raft-election-timeout-ticks", |c| {
            c.raftstore.raft_election_timeout_ticks = 2
        });
        refused("raftstore.raft-min-election-timeout-ticks", |c| {
            c.raftstore.raft_min_election_timeout_ticks = 9;
        });
        refused("raftstore.raft-max-election-timeout-ticks", |c| {
            c.raftstore.raft_max_election_timeout_ticks = 10;
        });
        refused("raftstore.raft-base-tick-interval", |c| {
            c.raftstore.raft_base_tick_interval = ReadableDuration::secs(0);
        });
        refused("raftstore.hibernate-timeout", |c| {
            c.raftstore.hibernate_timeout = ReadableDuration::secs(0);
        });
        refused("raftstore.peer-stale-state-check-interval", |c| {
            c.raftstore.peer_stale_state_check_interval = ReadableDuration::secs(0);
        });
        refused("raftstore.store-pool-size", |c| {
            c.raftstore.store_pool_size = 257
        });
        refused("raftstore.apply-pool-size", |c| {
            c.raftstore.apply_pool_size = 257
        });
        refused("raftstore.notify-capacity", |c| {
            c.raftstore.notify_capacity = 0
        });
        refused("raftstore.raft-entry-max-size", |c| {
            c.raftstore.raft_entry_max_size = ReadableSize::mib(9)
        });
        refused("raftstore.raft-max-size-per-msg", |c| {
            c.raftstore.raft_max_size_per_msg = ReadableSize(0)
        });
        refused("raftstore.mailbox-memory-limit", |c| {
            c.raftstore.mailbox_memory_limit = ReadableSize::mib(15);
        });
    }

    #[test]
    fn the_threads_of_reads_may_be_derived_but_not_too_many() {
        assert_eq!(found(|c| c.readpool.unified.max_thread_count = 0), [""; 0]);
        refused("readpool.unified.max-thread-count", |c| {
            c.readpool.unified.max_thread_count = 257
        });
    }

    #[test]
    fn an_advertised_address_must_agree_with_the_members() {
        refused("server.advertise-addr", |c| {
            c.cluster.initial_cluster = "n1=h1:1,n2=h2:1".into();
            c.server.advertise_addr = "h2:1".into();
        });
    }

    #[test]
    fn others_dial_the_advertised_address_or_the_members_or_the_listening_one() {
        let mut config = Config::default();
        assert_eq!(config.dialled_address(), "127.0.0.1:2379");
        config.cluster.initial_cluster = "n1=h1:1".into();
        config.server.addr = "0.0.0.0:1".into();
        assert_eq!(config.dialled_address(), "h1:1");
        config.server.advertise_addr = "h9:9".into();
        assert_eq!(config.dialled_address(), "h9:9");
    }

    #[test]
    fn others_dial_a_status_server_that_listens_everywhere_at_the_nodes_own_host() {
        let mut config = Config::default();
        assert_eq!(config.dialled_status_address(), "127.0.0.1:20180");
        config.server.status_addr = "0.0.0.0:1".into();
        config.server.advertise_addr = "h9:9".into();
        assert_eq!(config.dialled_status_address(), "h9:1");
        config.server.status_addr = String::new();
        assert_eq!(config.dialled_status_address(), "");
    }

    #[test]
    fn a_list_that_passes_is_the_one_that_the_node_gets() {
        let mut config = Config::default();
        assert!(config.listed_members().is_none());
        config.cluster.initial_cluster = "n1 = h1:1 , n2=h2:1,".into();
        assert_eq!(found(|c| c.cluster = config.cluster.clone()), [""; 0]);
        assert_eq!(config.listed_members().unwrap().unwrap().len(), 2);
    }
}
