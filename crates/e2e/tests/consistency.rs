//! A value that is another one on one store's disk: comparing the replicas finds it, and placement replaces
//! the one that is wrong.

use bytes::Bytes;
use client::Config;
use e2e::{Cluster, Error, Options, own_client};
use engine::{Cf, Durability, KvBatch, KvEngine, KvIterator, KvSnapshot};
use engine_rocks::{RocksKv, RocksOptions};
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const KEYS: usize = 100;
/// The node whose disk is damaged.
const DAMAGED: usize = 1;

/// Placement hears of everything soon, and looks after it at once.
fn options() -> Options {
    Options {
        extra: "raftstore.pd-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"500ms\"\n"
            .to_owned(),
        ..Options::default()
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("key/{number:03}").into_bytes()
}

/// Turns over a bit of one value in the data folder of a node that does not run. RocksDB's checksums hold:
/// it is as if the value had been written so.
fn damage(data_dir: &Path, key: &[u8]) {
    let kv = RocksKv::open(&data_dir.join("db"), &RocksOptions::default()).unwrap();
    let snapshot = kv.snapshot();
    let mut iter = snapshot.iter(Cf::Default, b"z", b"{").unwrap();
    let mut is_pair = iter.seek_to_first().unwrap();
    while is_pair && !iter.key().ends_with(key) {
        is_pair = iter.next().unwrap();
    }
    assert!(is_pair, "the store has the pair");
    let (key, mut value) = (iter.key().to_vec(), iter.value().to_vec());
    *value.last_mut().expect("it has a value") ^= 1;
    let mut batch = kv.batch();
    batch.put(Cf::Default, &key, &value);
    kv.write(&mut batch, Durability::Synced).unwrap();
}

/// What a table of `ctl region check-consistency` says of a store's replica: its hash, and the verdict.
fn verdict(table: &str, store: usize) -> Option<(String, String)> {
    let of_store = |line: &&str| {
        let peer = line.split_whitespace().next();
        peer.is_some_and(|peer| peer.ends_with(&format!("@{store}")))
    };
    let line = table.lines().find(of_store)?;
    let mut cells = line.split_whitespace().skip(1).map(str::to_owned);
    Some((cells.next()?, cells.next()?))
}

/// Compares replicas until no one is missing: the table, and the message if they differ.
async fn compare(cluster: &Cluster, region: &str) -> (String, bool) {
    let start = Instant::now();
    loop {
        let (table, differs) = match cluster.ctl(&["region", "check-consistency", region]) {
            Ok(table) => (table, false),
            Err(Error::BadExit { output, .. }) => (output, true),
            Err(other) => panic!("{other}"),
        };
        println!("after {:.1?}:\n{table}", start.elapsed());
        let is_complete = (1..=3).all(|store| verdict(&table, store).is_some());
        if is_complete && !table.contains("no answer") {
            return (table, differs);
        }
        assert!(start.elapsed() < PATIENCE, "{table}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn await_ctl(cluster: &Cluster, args: &[&str], is_met: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let table = cluster.ctl(args).unwrap();
        if is_met(&table) {
            return table;
        }
        assert!(start.elapsed() < PATIENCE, "{args:?}: {table}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_damaged_on_one_disk_is_found_by_request_and_its_replica_replaced() {
    let mut cluster = Cluster::start(3, options()).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    // The machine's disk may be fuller than placement likes.
    let set = ["config", "placement", "set", "low-space-percent", "99"];
    cluster.ctl(&set).unwrap();
    for number in 0..KEYS {
        let value = Bytes::from_static(b"value");
        client.put(&key(number), value).await.unwrap();
    }
    let info = client.regions().await.unwrap().pop().unwrap();
    let region = info.region.id.to_string();
    let (table, differs) = compare(&cluster, &region).await;
    assert!(!differs, "{table}");

    cluster.stop_node(DAMAGED, STOPS_WITHIN).unwrap();
    damage(&cluster.data_dir(DAMAGED), &key(7));
    cluster.start_node(DAMAGED).unwrap();
    let (table, differs) = compare(&cluster, &region).await;
    assert!(differs, "{table}");
    let (found, what) = verdict(&table, DAMAGED + 1).unwrap();
    assert_eq!(what, "quarantined", "{table}");
    for store in [1, 3] {
        let (agreed, what) = verdict(&table, store).unwrap();
        assert_eq!(what, "agrees", "{table}");
        assert_ne!(agreed, found, "{table}");
        assert_eq!(agreed.len(), 32, "both hashes are there in full: {table}");
    }

    // Its own, unless it was replaced before it came to the verdict, and its leader's.
    let start = Instant::now();
    while !(0..3).any(|node| cluster.node(node).unwrap().output().contains(&found)) {
        assert!(start.elapsed() < PATIENCE, "a log says so");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let old = info.region.peers[DAMAGED];
    let old = format!("{}@{}", old.id, old.store_id);
    let at = format!("@{}", DAMAGED + 1);
    let is_replaced = |table: &str| !table.contains(&old) && table.contains(&at);
    await_ctl(&cluster, &["region", &region], is_replaced).await;
    let check = ["region", "check", "quarantined-peer"];
    await_ctl(&cluster, &check, |table| table.trim().is_empty()).await;
    let (table, differs) = compare(&cluster, &region).await;
    assert!(!differs, "{table}");
    for number in 0..KEYS {
        let value = client.get(&key(number)).await.unwrap();
        assert_eq!(value.as_deref(), Some(&b"value"[..]));
    }
}
