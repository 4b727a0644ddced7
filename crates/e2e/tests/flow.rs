//! Writes that an engine can't keep up with, and quotas: clients are slowed down and none fails.

use bytes::Bytes;
use client::{Client, Config};
use e2e::{LoneNode, until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Flushes and compactions get less of the disk than writers want, and small buffers make many of them.
const SLOW_ENGINE: &str = "rocksdb.rate-bytes-per-sec = \"16MiB\"\n\
                           rocksdb.defaultcf.write-buffer-size = \"8MiB\"\n\
                           coprocessor.region-split-size = \"4GiB\"\n\
                           split.byte-threshold = \"1TiB\"\n\
                           split.qps-threshold = 1000000\n\
                           split.region-cpu-threshold = \"1h\"";
const VALUE_BYTES: usize = 16 << 10;
const CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that put, or get, one value after the other, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    /// Bytes of the values.
    bytes: Arc<AtomicU64>,
    clients: JoinSet<Duration>,
}

impl Load {
    fn start(client: &Client, is_write: bool) -> Self {
        let (stop, bytes) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, stop, bytes) = (client.clone(), stop.clone(), bytes.clone());
            clients.spawn(async move {
                let mut longest = Duration::ZERO;
                for round in (0_u64..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let key = format!("{number:02}/{:04}", round % 1_000);
                    let since = Instant::now();
                    let moved = match is_write {
                        true => {
                            // Nothing that could be compressed.
                            let mut rng = workload::Rng::new(round, number as u64);
                            let value =
                                (0..VALUE_BYTES / 8).flat_map(|_| rng.next_u64().to_le_bytes());
                            let value: Bytes = value.collect();
                            client.put(key.as_bytes(), value).await.unwrap();
                            VALUE_BYTES
                        }
                        false => {
                            let found = client.get(key.as_bytes()).await.unwrap();
                            found.map_or(0, |value| value.len())
                        }
                    };
                    longest = longest.max(since.elapsed());
                    bytes.fetch_add(moved as u64, Ordering::Relaxed);
                }
                longest
            });
        }
        Self {
            stop,
            bytes,
            clients,
        }
    }

    /// Bytes a second, from now on for so long.
    async fn rate(&self, time: Duration) -> f64 {
        let (before, since) = (self.bytes.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(time).await;
        let moved = self.bytes.load(Ordering::Relaxed) - before;
        moved as f64 / since.elapsed().as_secs_f64()
    }

    /// Waits until so much is moved a second.
    async fn until_rate(&self, is_met: impl Fn(f64) -> bool) {
        let since = Instant::now();
        while !is_met(self.rate(Duration::from_millis(500)).await) {
            assert!(since.elapsed() < PATIENCE, "it has no effect");
        }
    }

    /// How long the longest operation took.
    async fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.clients.join_all().await;
        longest.into_iter().max().unwrap_or_default()
    }
}

async fn connect(node: &LoneNode) -> Client {
    let addresses = [node.address.clone()];
    Client::connect(&addresses, Config::default())
        .await
        .unwrap()
}

fn series(node: &LoneNode, name: &str) -> f64 {
    node.series()[name]
}

const ACTIVE: &str = "kontiki_flow_control_active";
const STOPPED: &str = "kontiki_rocksdb_write_stopped{db=\"kv\"}";

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_the_engine_can_not_keep_up_with_are_slowed_down_before_it_stops_them() {
    let node = LoneNode::start(SLOW_ENGINE);
    let client = connect(&node).await;
    let load = Load::start(&client, true);
    until("the engine is behind", PATIENCE, || {
        (series(&node, ACTIVE) == 1.0).then_some(())
    });
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(15) {
        assert_eq!(series(&node, STOPPED), 0.0);
        let looked = Instant::now();
        client.get(b"00/0000").await.unwrap();
        assert!(looked.elapsed() < Duration::from_secs(1), "reads go on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rate = load.rate(Duration::from_secs(5)).await;
    let (paced, waits) = (
        series(&node, "kontiki_flow_control_bytes_per_second"),
        series(
            &node,
            "kontiki_flow_control_waits_total{result=\"admitted\"}",
        ),
    );
    let longest = load.stop().await;
    println!("{rate:.0} bytes a second were written, {paced:.0} allowed; longest {longest:?}");
    assert!(rate > 100e3, "writes go on: {rate}");
    assert!(waits > 100.0);
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    until("the engine catches up", PATIENCE, || {
        (series(&node, ACTIVE) == 0.0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn flow_control_can_be_switched_off_while_it_is_at_work() {
    let node = LoneNode::start(SLOW_ENGINE);
    let client = connect(&node).await;
    let load = Load::start(&client, true);
    until("the engine is behind", PATIENCE, || {
        (series(&node, ACTIVE) == 1.0).then_some(())
    });
    set(&node, json!({ "storage.flow-control.enable": false }));
    until("it is off", Duration::from_secs(1), || {
        (series(&node, ACTIVE) == 0.0).then_some(())
    });
    load.stop().await;
}

fn set(node: &LoneNode, items: Value) {
    let answer = node.set(&items);
    assert_eq!(answer.code, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_write_and_read_as_much_as_their_quota_says_from_the_moment_it_is_set() {
    const MIB: f64 = (1 << 20) as f64;
    let node = LoneNode::start("");
    let client = connect(&node).await;
    for is_write in [true, false] {
        let item = match is_write {
            true => "quota.foreground-write-bandwidth",
            false => "quota.foreground-read-bandwidth",
        };
        let load = Load::start(&client, is_write);
        let free = load.rate(Duration::from_secs(2)).await;
        set(
            &node,
            json!({ item: "1MiB", "quota.max-delay-duration": "0s" }),
        );
        load.until_rate(|rate| rate < 1.2 * MIB).await;
        let bound = load.rate(Duration::from_secs(5)).await;
        set(&node, json!({ item: "0" }));
        load.until_rate(|rate| rate > 2.0 * MIB).await;
        let freed = load.rate(Duration::from_secs(2)).await;
        load.stop().await;
        println!("{item}: {free:.0}, {bound:.0}, {freed:.0} bytes a second");
        assert!((0.7 * MIB..1.1 * MIB).contains(&bound), "{item}: {bound}");
        assert!(free > 2.0 * MIB && freed > 2.0 * MIB, "{free} {freed}");
    }
    let delays = series(&node, "kontiki_quota_delays_total{kind=\"write\"}");
    assert!(delays > 10.0);
}
