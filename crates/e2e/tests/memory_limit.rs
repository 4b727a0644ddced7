//! More load than a node bears, on one with little memory: it stays within its limit, lives, and does about as much
//! as at its best.
//!
//! **What is asserted** holds on a machine that is busy with other things, too: the limit, the node's life, and half
//! of the goodput. `MEMORY_LIMIT_GOODPUT=90` asks for ninety per cent, on a quiet machine; the ignored test is the same
//! for five minutes.
//!
//! **One kind of client.** Each writes and scans in turn, in a fixed proportion, so that what a node does under either load
//! is the same work. With clients for each, more of them would shift what is done from the one to the other, and a
//! byte of a scan is much cheaper than one that is written.

use bytes::Bytes;
use client::{Client, Config};
use e2e::{Cluster, Options, leader_context, own_client, store_client};
use proto::kvrpcpb;
use proto::tikvpb::tikv_client::TikvClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Little beside what the scans below ask for: 256 of them, 16 MiB each. The one Region stays whole.
const LIMIT_MIB: u64 = 512;
const SETTINGS: &str = "memory-usage-limit = \"512MiB\"\n\
                        storage.block-cache.capacity = \"64MiB\"\n\
                        split.byte-threshold = \"1TiB\"\n\
                        split.region-cpu-threshold = \"1h\"\n\
                        coprocessor.region-split-size = \"4GiB\"";
const VALUE_BYTES: usize = 16 << 10;
const VALUES: usize = 2_048;
const SCANNED: usize = 1_024;

/// So many clients a node can bear.
const BEST: usize = 16;
/// And so many are too much.
const TOO_MUCH: usize = 256;
/// A client writes so often, then it scans once.
const WRITES_A_SCAN: usize = 64;

/// What came of a load.
#[derive(Default)]
struct Done {
    bytes: AtomicU64,
    operations: AtomicU64,
    failed: AtomicU64,
}

impl Done {
    fn count(&self, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => {
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.operations.fetch_add(1, Ordering::Relaxed);
            }
            None => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

fn bulk_key(number: usize) -> Bytes {
    Bytes::from(format!("bulk/{number:06}"))
}

async fn fill(client: &Client) {
    for first in (0..VALUES).step_by(64) {
        let pair = |number| (bulk_key(number), Bytes::from(vec![7; VALUE_BYTES]));
        let pairs: Vec<_> = (first..first + 64).map(pair).collect();
        client.batch_put(&pairs).await.unwrap();
    }
}

async fn write(client: &Client, writer: usize, number: usize) -> Option<usize> {
    let key = format!("write/{writer:03}/{:02}", number % 50);
    let value = Bytes::from(vec![number as u8; VALUE_BYTES]);
    let put = client.put(key.as_bytes(), value).await;
    put.ok().map(|()| VALUE_BYTES)
}

/// Who scans: each on a connection of its own, and with all of a scan in one answer.
#[derive(Clone)]
struct Scanners {
    address: String,
    context: kvrpcpb::Context,
}

impl Scanners {
    fn store(&self) -> TikvClient<Channel> {
        store_client(&self.address).max_decoding_message_size(64 << 20)
    }

    async fn scan(&self, store: &mut TikvClient<Channel>, number: usize) -> Option<usize> {
        let scan = kvrpcpb::RawScanRequest {
            context: Some(self.context),
            start_key: bulk_key(number * 17 % (VALUES - SCANNED)),
            limit: SCANNED as u32,
            ..Default::default()
        };
        let answer = store.raw_scan(scan).await.ok()?.into_inner();
        if let Some(error) = answer.region_error {
            let text = error.message;
            let busy = error.server_is_busy.expect(&text);
            tokio::time::sleep(Duration::from_millis(busy.backoff_ms)).await;
            return None;
        }
        assert_eq!(answer.kvs.len(), SCANNED, "never a part of it");
        Some(answer.kvs.iter().map(|pair| pair.value.len()).sum())
    }
}

/// The node under test, and who loads it.
struct Node {
    cluster: Cluster,
    client: Client,
    scanners: Scanners,
}

/// Goodput with so many clients, in MiB a second, and the most that was resident, in MiB.
async fn drive(node: &mut Node, count: usize, time: Duration) -> (u64, u64) {
    let (done, stop) = (Arc::new(Done::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for number in 0..count {
        let (client, scanners) = (node.client.clone(), node.scanners.clone());
        let (done, stop) = (done.clone(), stop.clone());
        clients.spawn(async move {
            let mut store = scanners.store();
            // They don't all scan at the same time.
            for turn in (number * 7..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                match turn % WRITES_A_SCAN {
                    0 => done.count(scanners.scan(&mut store, turn).await),
                    _ => done.count(write(&client, number, turn).await),
                }
            }
        });
    }
    let (begun, mut peak) = (Instant::now(), 0);
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let process = node.cluster.node(0).unwrap();
        peak = peak.max(process.resident_bytes().unwrap() >> 20);
    }
    let bytes = done.bytes.load(Ordering::Relaxed);
    let goodput = (bytes as f64 / begun.elapsed().as_secs_f64()) as u64 >> 20;
    stop.store(true, Ordering::Relaxed);
    println!(
        "{count} clients: {goodput} MiB/s, {} operations, {} failed, {peak} MiB resident",
        done.operations.load(Ordering::Relaxed),
        done.failed.load(Ordering::Relaxed)
    );
    clients.join_all().await;
    (goodput, peak)
}

/// Drives a node so long at its best, and so long with too much.
async fn overload(at_its_best: Duration, time: Duration) {
    let options = Options {
        extra: SETTINGS.to_owned(),
        ..Options::default()
    };
    let cluster = Cluster::start(1, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    fill(&client).await;
    let (_, context) = leader_context(&cluster, &client, b"bulk/").await.unwrap();
    let address = cluster.endpoints()[0].clone();
    let scanners = Scanners { address, context };
    let mut node = Node {
        cluster,
        client,
        scanners,
    };
    let (best, _) = drive(&mut node, BEST, at_its_best).await;
    let (goodput, peak) = drive(&mut node, TOO_MUCH, time).await;
    let process = node.cluster.node(0).unwrap();
    assert!(process.ended().is_none());
    assert!(
        !process.output().contains("panicked"),
        "{}",
        process.output()
    );
    assert!(peak <= LIMIT_MIB, "{peak} MiB are resident");
    let least = std::env::var("MEMORY_LIMIT_GOODPUT").ok();
    let least: u64 = least.map_or(50, |text| text.parse().expect("per cent"));
    assert!(goodput * 100 >= best * least, "{goodput} of {best} MiB/s");
    node.client.put(b"after", Bytes::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_too_much_load_a_node_stays_within_its_memory_and_goes_on() {
    overload(Duration::from_secs(8), Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes five minutes, and wants a quiet machine"]
async fn for_five_minutes_under_too_much_load_a_node_stays_within_its_memory_and_goes_on() {
    // What flushes and compactions cost is a part of what it does at its best.
    overload(Duration::from_secs(60), Duration::from_secs(300)).await;
}
