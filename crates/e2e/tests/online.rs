//! Items of different kinds that are set by HTTP while a node is under load: each has its effect within a second.
//!
//! **What counts as an effect** is what an operator wants of the item (threads that are there, a rate that falls), not
//! that the configuration shows it: that is tested for every item in `kontiki/tests/operate.rs`.

use bytes::Bytes;
use client::{Client, Config};
use e2e::{LoneNode, until};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WITHIN: Duration = Duration::from_secs(1);
const WRITERS: usize = 16;
const VALUE_BYTES: usize = 4 << 10;
/// With small memtables there are files at level 0 soon. The Region stays whole until it shall not.
const SETTINGS: &str = "rocksdb.defaultcf.write-buffer-size = \"1MiB\"\n\
                        raftstore.pd-heartbeat-tick-interval = \"10m\"\n\
                        raftstore.split-region-check-tick-interval = \"100ms\"\n\
                        coprocessor.region-split-size = \"64GiB\"\n\
                        split.qps-threshold = 1000000\n\
                        split.byte-threshold = \"1TiB\"\n\
                        split.region-cpu-threshold = \"1h\"";

/// Writers at work until it is dropped, and the bytes of what they have written.
struct Load {
    written: Arc<AtomicU64>,
    _writers: JoinSet<()>,
}

impl Load {
    async fn start(node: &LoneNode) -> Self {
        let addresses = [node.address.clone()];
        let client = Client::connect(&addresses, Config::default()).await;
        let client = client.unwrap();
        let (written, mut writers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for writer in 0..WRITERS {
            let (client, written) = (client.clone(), written.clone());
            writers.spawn(async move {
                for number in 0_u64.. {
                    let key = format!("{writer:02}/{:05}", number % 10_000);
                    let value = Bytes::from(vec![number as u8; VALUE_BYTES]);
                    client.put(key.as_bytes(), value).await.unwrap();
                    written.fetch_add(VALUE_BYTES as u64, Ordering::Relaxed);
                }
            });
        }
        Self {
            written,
            _writers: writers,
        }
    }

    /// Bytes a second, over a while that is short beside a second.
    fn rate(&self) -> f64 {
        let (before, since) = (self.written.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(WITHIN / 4);
        let written = self.written.load(Ordering::Relaxed) - before;
        written as f64 / since.elapsed().as_secs_f64()
    }
}

struct Operator {
    node: LoneNode,
    kinds: usize,
}

impl Operator {
    fn series(&self, name: &str) -> f64 {
        self.node.series().get(name).copied().unwrap_or(0.0)
    }

    /// Threads whose names begin like this.
    fn threads(&self, name: &str) -> usize {
        let pid = self.node.process.as_ref().expect("it runs").pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Linux has it");
        let names = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|found| found.starts_with(name)).count()
    }

    /// Sets items, and waits for their effect: for a second at the most, from the moment of the request.
    fn set(&mut self, items: Value, mut is_seen: impl FnMut(&Self) -> bool) {
        assert!(!is_seen(self), "{items} is in force already");
        let since = Instant::now();
        let answer = self.node.set(&items);
        assert_eq!(answer.code, 200, "{items}: {}", answer.text());
        until(&items.to_string(), WITHIN, || is_seen(self).then_some(()));
        println!("{items}: {:.0?}", since.elapsed());
        self.kinds += 1;
    }

    /// The same for what has to grow by more than this.
    fn set_and_see_more(&mut self, items: Value, series: &str, by: f64) {
        let before = self.series(series);
        self.set(items, |operator| operator.series(series) > before + by);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_dozen_kinds_have_their_effect_within_a_second_under_load() {
    let node = LoneNode::start(SETTINGS);
    let load = Load::start(&node).await;
    let mut operator = Operator { node, kinds: 0 };
    let level0 = "kontiki_rocksdb_level0_files{db=\"kv\",cf=\"default\"}";
    until("files at level 0", Duration::from_secs(60), || {
        (operator.series(level0) >= 2.0).then_some(())
    });

    // Of Regions that keep a poller for long every second one is moved: there have to be two.
    let small = json!({ "coprocessor.region-split-size": "1MiB" });
    operator.set(small, |operator| operator.series("kontiki_regions") > 3.0);
    let pool = json!({ "raftstore.store-pool-size": 4 });
    operator.set(pool, |operator| operator.threads("peer-") == 4);
    let pool = json!({ "raftstore.apply-pool-size": 3 });
    operator.set(pool, |operator| operator.threads("apply-") == 3);
    let rescheduled = "kontiki_actor_rescheduled_total{system=\"peer\",reason=\"hot\"}";
    let often = json!({ "raftstore.reschedule-duration": "1ms" });
    operator.set_and_see_more(often, rescheduled, 3.0);
    let limit = json!({ "memory-usage-limit": "900MiB" });
    operator.set(limit, |operator| {
        operator.series("kontiki_memory_usage_limit_bytes") == f64::from(900 << 20)
    });
    let mailboxes = json!({ "raftstore.mailbox-memory-limit": "64MiB" });
    operator.set(mailboxes, |operator| {
        let limit = "kontiki_memory_limit_bytes{component=\"mailboxes\"}";
        operator.series(limit) == f64::from(64 << 20)
    });
    let slow = json!({ "slow-log-threshold": "1ms" });
    operator.set(slow, |operator| operator.node.output().contains("took_ms"));
    operator.set(
        json!({ "slow-log-threshold": "10s", "log.level": "debug" }),
        |operator| {
            // Which is worth a line at that level only.
            let mut stranger = TcpStream::connect(&operator.node.status).unwrap();
            stranger.write_all(b"nonsense\r\n\r\n").unwrap();
            operator.node.output().contains("DEBUG")
        },
    );
    let reports = "kontiki_placement_heartbeats_total{of=\"region\"}";
    let often = json!({ "raftstore.pd-heartbeat-tick-interval": "100ms" });
    operator.set_and_see_more(often, reports, 2.0);
    let flow = json!({ "storage.flow-control.l0-files-threshold": 1 });
    let active = "kontiki_flow_control_active";
    operator.set(flow, |operator| operator.series(active) == 1.0);
    let off = json!({ "storage.flow-control.enable": false });
    operator.set(off, |operator| operator.series(active) == 0.0);
    let quota =
        json!({ "quota.foreground-write-bandwidth": "256KiB", "quota.max-delay-duration": "0s" });
    operator.set(quota, |_| load.rate() < f64::from(512 << 10));
    let none = json!({ "quota.foreground-write-bandwidth": "0" });
    operator.set(none, |_| load.rate() > f64::from(1 << 20));
    let written = "kontiki_grpc_request_seconds_count{method=\"RawPut\"}";
    operator.set(json!({ "metrics.enable": false }), |operator| {
        let before = operator.series(written);
        load.rate();
        operator.series(written) == before
    });
    assert!(operator.kinds >= 12);
    assert!(operator.node.process.as_mut().unwrap().ended().is_none());
}
